//! Waits under a paused clock.

use super::*;

const SEC: Duration = Duration::from_secs(1);

fn limiter(class: Class, count: u32) -> Arc<RateLimiter> {
    Arc::new(RateLimiter::new(&[(class, Limit { count, window: 60 * SEC })]))
}

async fn transfers(limiter: &RateLimiter, owner: &Owner, images: u32) -> (u32, Option<Permit>) {
    limiter.acquire_transfers(owner, images, &|_| ()).await
}

#[tokio::test(start_paused = true)]
async fn waiting_requests_are_sent_as_soon_as_the_limit_allows() {
    let limiter = limiter(Class::Initiate, 10);
    let start = Instant::now();
    let tasks: Vec<_> = (0..35)
        .map(|_| {
            let limiter = Arc::clone(&limiter);
            tokio::spawn(async move {
                let _permit = limiter.acquire(Class::Initiate, &|_| ()).await;
                start.elapsed().as_secs()
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.push(task.await.unwrap());
    }
    times.sort_unstable();
    let expected: Vec<u64> =
        [0, 60, 120].into_iter().flat_map(|at| [at; 10]).chain([180; 5]).collect();
    assert_eq!(times, expected);
}

#[tokio::test(start_paused = true)]
async fn owners_have_separate_transfer_limits() {
    let limiter = RateLimiter::new(&[]);
    let (personal, team) = (Owner::Personal, Owner::Team("t".to_owned()));
    let start = Instant::now();
    let (count, ten) = transfers(&limiter, &personal, 100).await;
    let (team_count, _sixty) = transfers(&limiter, &team, 100).await;
    let (all, none) = transfers(&limiter, &Owner::Platform, 100).await;
    assert_eq!((count, team_count, all, none.is_none()), (10, 60, 100, true));
    assert_eq!(start.elapsed().as_secs(), 0);
    drop(ten);
    let (count, _permit) = transfers(&limiter, &personal, 3).await;
    assert_eq!((count, start.elapsed().as_secs()), (3, 60));
    // A configured limit applies to every owner.
    let configured = RateLimiter::new(&[(Class::Images, Limit { count: 5, window: SEC })]);
    for owner in [personal, team, Owner::Platform] {
        assert_eq!(transfers(&configured, &owner, 100).await.0, 5);
    }
}

#[tokio::test(start_paused = true)]
async fn unused_slots_are_free_at_once() {
    let limiter = limiter(Class::Images, 10);
    let start = Instant::now();
    let (_, permit) = transfers(&limiter, &Owner::Personal, 10).await;
    let mut permit = permit.unwrap();
    let waiter = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { transfers(&limiter, &Owner::Personal, 4).await.0 }
    });
    tokio::time::sleep(SEC).await;
    permit.shrink_to(6);
    assert_eq!((waiter.await.unwrap(), permit.slots), (4, 6));
    assert_eq!(start.elapsed(), SEC);
}

/// Slots that were taken one by one become free one by one. A bulk request gathers some of them,
/// and still nearly all of the limit is used.
#[tokio::test(start_paused = true)]
async fn transfers_are_gathered_and_use_nearly_the_whole_limit() {
    // Time between the first responses, and the size of a request.
    for (gap, max_images, count) in [(100, 100, 60), (1000, 100, 60), (6000, 100, 10), (10, 10, 10)]
    {
        let limiter = limiter(Class::Images, count);
        let gap = Duration::from_millis(gap);
        for _ in 0..count {
            drop(transfers(&limiter, &Owner::Personal, 1).await);
            tokio::time::sleep(gap).await;
        }
        let (start, mut images, mut requests) = (Instant::now(), 0, 0);
        while images < 20 * count {
            let (some, permit) = transfers(&limiter, &Owner::Personal, max_images).await;
            drop(permit);
            images += some;
            requests += 1;
        }
        // Images for twenty windows.
        let ideal = 20 * 60 * SEC;
        let used = ideal.as_secs_f64() / start.elapsed().as_secs_f64();
        assert!(used >= 0.95, "{gap:?} {max_images} {count}: {used}");
        let each = f64::from(images) / f64::from(requests);
        let expected = if gap < SEC { f64::from(count) / 2.0 } else { 1.0 };
        assert!(each >= expected, "{gap:?} {max_images} {count}: {each} images a request");
    }
}

/// A cancelled request, wherever it stands in the queue, loses neither a slot nor a wake-up.
#[tokio::test(start_paused = true)]
async fn cancelled_requests_lose_no_slots() {
    for cancelled_at in [0u64, 1, 30, 59, 60, 61] {
        let limiter = limiter(Class::Images, 4);
        let start = Instant::now();
        let (_, held) = transfers(&limiter, &Owner::Personal, 2).await;
        let (_, late) = transfers(&limiter, &Owner::Personal, 2).await;
        let wait = |max_slots| {
            let limiter = Arc::clone(&limiter);
            tokio::spawn(async move {
                let (some, permit) = transfers(&limiter, &Owner::Personal, max_slots).await;
                // Keeps its slots for a moment.
                tokio::time::sleep(SEC / 10).await;
                drop(permit);
                (some, start.elapsed().as_secs())
            })
        };
        let (first, second, third, fourth) = (wait(2), wait(2), wait(2), wait(2));
        tokio::task::yield_now().await;
        drop(held);
        tokio::time::sleep(Duration::from_secs(cancelled_at)).await;
        // The first one sleeps, was just woken, or has its permit; the third waits to be the first.
        first.abort();
        third.abort();
        drop(late);
        let first_cancelled = first.await.is_err();
        let _ = third.await;
        let (second, fourth) = (second.await.unwrap(), fourth.await.unwrap());
        assert_eq!((second.0, fourth.0), (2, 2), "cancelled at {cancelled_at}");
        let latest = if first_cancelled { cancelled_at.max(60) } else { 60 + cancelled_at };
        assert!(second.1 <= latest, "cancelled at {cancelled_at}: {second:?}");
        assert!(fourth.1 <= 121 + cancelled_at, "cancelled at {cancelled_at}: {fourth:?}");
    }
}

/// The same for requests that wait for a response.
#[tokio::test(start_paused = true)]
async fn a_response_wakes_the_first_request_that_is_left() {
    let limiter = limiter(Class::Start, 1);
    let held = limiter.acquire(Class::Start, &|_| ()).await;
    let wait = || {
        let limiter = Arc::clone(&limiter);
        tokio::spawn(async move { drop(limiter.acquire(Class::Start, &|_| ()).await) })
    };
    let (first, second) = (wait(), wait());
    tokio::task::yield_now().await;
    // The first one is woken, and cancelled before it runs.
    drop(held);
    first.abort();
    let start = Instant::now();
    second.await.unwrap();
    assert_eq!(start.elapsed(), 60 * SEC);
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_reported_once_per_window() {
    let limiter = limiter(Class::Initiate, 3);
    let notices = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..12)
        .map(|_| {
            let (limiter, notices) = (Arc::clone(&limiter), Arc::clone(&notices));
            tokio::spawn(async move {
                let observer = |notice| {
                    if !matches!(notice, Notice::Admitted { .. }) {
                        notices.lock().unwrap().push(notice);
                    }
                };
                drop(limiter.acquire(Class::Initiate, &observer).await);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let limit = Limit { count: 3, window: 60 * SEC };
    let wait = |_| Notice::RateWait { class: Class::Initiate, limit, wait: 60 * SEC };
    assert_eq!(*notices.lock().unwrap(), (0..3).map(wait).collect::<Vec<_>>());
}

/// Two independent runs and a service that accepts 60 requests per minute.
#[tokio::test(start_paused = true)]
async fn two_runs_that_share_a_token_find_their_shares() {
    let arrivals: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let admits = move |arrivals: &mut Vec<Instant>| {
        let now = Instant::now();
        arrivals.retain(|at| *at + 60 * SEC > now);
        let admits = arrivals.len() < 60;
        if admits {
            arrivals.push(now);
        }
        admits
    };
    let end = Instant::now() + 40 * 60 * SEC;
    let run = || {
        let (limiter, arrivals) = (limiter(Class::Initiate, 60), Arc::clone(&arrivals));
        tokio::spawn(async move {
            let (mut done, mut refused) = (0u32, 0u32);
            while Instant::now() < end {
                let permit = limiter.acquire(Class::Initiate, &|_| ()).await;
                tokio::time::sleep(SEC / 10).await;
                if admits(&mut arrivals.lock().unwrap()) {
                    permit.accepted();
                    done += 1;
                } else {
                    permit.refused(None);
                    refused += 1;
                }
            }
            (done, refused)
        })
    };
    let (one, two) = (run(), run());
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    let (done, refused) = (one.0 + two.0, one.1 + two.1);
    assert!(done >= 40 * 60 * 7 / 10, "{one:?} {two:?}: the limit is used");
    assert!(refused <= done / 10, "{one:?} {two:?}: few requests are refused");
    assert!(one.0.min(two.0) * 3 >= one.0.max(two.0), "{one:?} {two:?}: neither starves");
}

/// Four runs with half a request per window each, which need different times between the permit and
/// the request.
#[tokio::test(start_paused = true)]
async fn runs_with_turns_send_in_them_however_long_they_prepare() {
    let limit = Limit { count: 2, window: 60 * SEC };
    let arrivals: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let runs: Vec<_> = [Duration::ZERO, SEC, 20 * SEC, 100 * SEC]
        .into_iter()
        .zip(1..)
        .map(|(preparation, part)| {
            let run = format!("{part}/4").parse().unwrap();
            let budget = Budget::new(vec![(Class::Images, limit)]);
            let limiter = RateLimiter::within(budget.with_share("1/4".parse().unwrap(), Some(run)));
            let arrivals = Arc::clone(&arrivals);
            tokio::spawn(async move {
                let start = Instant::now();
                for _ in 0..10 {
                    let (slots, permit) =
                        limiter.acquire_transfers(&Owner::Personal, 5, &|_| ()).await;
                    tokio::time::sleep(preparation).await;
                    permit.unwrap().until_turn(&|_| ()).await;
                    assert_eq!(slots, 1);
                    arrivals.lock().unwrap().push(Instant::now());
                }
                // Turns are 126 s apart. A slot is free again 31.5 s before the next one. The first turn
                // may come before the run is prepared.
                let turns = if preparation < 31 * SEC { 11 } else { 21 };
                assert!(start.elapsed() <= 126 * SEC * turns, "{preparation:?}");
            })
        })
        .collect();
    for run in runs {
        run.await.unwrap();
    }
    let arrivals = arrivals.lock().unwrap();
    for from in arrivals.iter() {
        let within = arrivals.iter().filter(|at| (*from..*from + limit.window).contains(at));
        assert!(within.count() <= 2, "{from:?}: {arrivals:?}");
    }
}
