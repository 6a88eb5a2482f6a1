//! Waits under a clock that jumps.

use super::*;

const SEC: Duration = Duration::from_secs(1);

fn gate(class: Class, count: u32) -> Arc<RateLimiter> {
    Arc::new(RateLimiter::new(&[(class, Limit { count, window: 60 * SEC })]))
}

#[tokio::test(start_paused = true)]
async fn all_that_wait_go_as_soon_as_they_may() {
    let gate = gate(Class::Initiate, 10);
    let start = Instant::now();
    let tasks: Vec<_> = (0..35)
        .map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                let _permit = gate.request(Class::Initiate).await;
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
async fn accounts_transfer_apart() {
    let gate = RateLimiter::new(&[]);
    let (personal, team) = (Owner::Personal, Owner::Team("t".to_owned()));
    let start = Instant::now();
    let (count, ten) = gate.transfer_up_to(&personal, 100).await;
    let (team_count, _sixty) = gate.transfer_up_to(&team, 100).await;
    let (all, none) = gate.transfer_up_to(&Owner::Platform, 100).await;
    assert_eq!((count, team_count, all, none.is_none()), (10, 60, 100, true));
    assert_eq!(start.elapsed().as_secs(), 0);
    drop(ten);
    let (count, _permit) = gate.transfer_up_to(&personal, 3).await;
    assert_eq!((count, start.elapsed().as_secs()), (3, 60));
    assert_eq!(gate.transfer_limit(&team).map(|limit| limit.count), Some(60));
    assert_eq!(gate.transfer_limit(&Owner::Platform), None);
    // A limit that was given is one for all.
    let given = RateLimiter::new(&[(Class::Images, Limit { count: 5, window: SEC })]);
    for owner in [personal, team, Owner::Platform] {
        assert_eq!(given.transfer_up_to(&owner, 100).await.0, 5);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_needed_is_given_back_at_once() {
    let gate = gate(Class::Images, 10);
    let start = Instant::now();
    let (_, permit) = gate.transfer_up_to(&Owner::Personal, 10).await;
    let mut permit = permit.unwrap();
    let waiter = tokio::spawn({
        let gate = Arc::clone(&gate);
        async move { gate.transfer_up_to(&Owner::Personal, 4).await.0 }
    });
    tokio::time::sleep(SEC).await;
    permit.keep(6);
    assert_eq!((waiter.await.unwrap(), permit.slots()), (4, 6));
    assert_eq!(start.elapsed(), SEC);
}

/// Slots that were taken one by one free one by one. A bulk request waits for some of them, and
/// yet nearly all of the limit is used.
#[tokio::test(start_paused = true)]
async fn transfers_are_not_cut_into_single_images_and_lose_nearly_nothing() {
    // How far apart the first are answered, and how many are asked for at once.
    for (gap, most, count) in [(100, 100, 60), (1000, 100, 60), (6000, 100, 10), (10, 10, 10)] {
        let gate = gate(Class::Images, count);
        let gap = Duration::from_millis(gap);
        for _ in 0..count {
            drop(gate.transfer_up_to(&Owner::Personal, 1).await);
            tokio::time::sleep(gap).await;
        }
        let (start, mut images, mut requests) = (Instant::now(), 0, 0);
        while images < 20 * count {
            let (some, permit) = gate.transfer_up_to(&Owner::Personal, most).await;
            drop(permit);
            images += some;
            requests += 1;
        }
        // Twenty windows' worth, of which the first may go as its slots free.
        let ideal = 20 * 60 * SEC;
        let used = ideal.as_secs_f64() / start.elapsed().as_secs_f64();
        assert!(used >= 0.95, "{gap:?} {most} {count}: {used}");
        let each = f64::from(images) / f64::from(requests);
        let expected = if gap < SEC { f64::from(count) / 2.0 } else { 1.0 };
        assert!(each >= expected, "{gap:?} {most} {count}: {each} images a request");
    }
}

/// Whoever leaves the queue, wherever it stands in it, takes neither a slot nor a wake-up along.
#[tokio::test(start_paused = true)]
async fn whoever_leaves_loses_nothing() {
    for leaves_at in [0u64, 1, 30, 59, 60, 61] {
        let gate = gate(Class::Images, 4);
        let start = Instant::now();
        let (_, held) = gate.transfer_up_to(&Owner::Personal, 2).await;
        let (_, late) = gate.transfer_up_to(&Owner::Personal, 2).await;
        let wait = |most| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                let (some, permit) = gate.transfer_up_to(&Owner::Personal, most).await;
                // Two a window: for the next are two more slots.
                tokio::time::sleep(SEC / 10).await;
                drop(permit);
                (some, start.elapsed().as_secs())
            })
        };
        let (first, second, third, fourth) = (wait(2), wait(2), wait(2), wait(2));
        tokio::task::yield_now().await;
        drop(held);
        tokio::time::sleep(Duration::from_secs(leaves_at)).await;
        // The first sleeps, was just woken, or is through; the third waits to be the first.
        first.abort();
        third.abort();
        drop(late);
        let first_left = first.await.is_err();
        let _ = third.await;
        let (second, fourth) = (second.await.unwrap(), fourth.await.unwrap());
        assert_eq!((second.0, fourth.0), (2, 2), "left at {leaves_at}");
        let latest = if first_left { leaves_at.max(60) } else { 60 + leaves_at };
        assert!(second.1 <= latest, "left at {leaves_at}: {second:?}");
        assert!(fourth.1 <= 121 + leaves_at, "left at {leaves_at}: {fourth:?}");
    }
}

/// The same for those who wait until an answer comes, at every moment of it.
#[tokio::test(start_paused = true)]
async fn an_answer_wakes_whoever_is_first_then() {
    let gate = gate(Class::Start, 1);
    let held = gate.request(Class::Start).await;
    let wait = || {
        let gate = Arc::clone(&gate);
        tokio::spawn(async move { drop(gate.request(Class::Start).await) })
    };
    let (first, second) = (wait(), wait());
    tokio::task::yield_now().await;
    // Told of the answer, and gone before it could look.
    drop(held);
    first.abort();
    let start = Instant::now();
    second.await.unwrap();
    assert_eq!(start.elapsed(), 60 * SEC);
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_told_once_a_window() {
    let gate = gate(Class::Initiate, 3);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..12)
        .map(|_| {
            let (gate, told) = (Arc::clone(&gate), Arc::clone(&told));
            tokio::spawn(async move {
                let tell = |notice| told.lock().unwrap().push(notice);
                drop(gate.request_told(Class::Initiate, &tell).await);
                // They free 10 s after each other.
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let limit = Limit { count: 3, window: 60 * SEC };
    let wait = |_| Notice::RateWait { class: Class::Initiate, limit, wait: 60 * SEC };
    assert_eq!(*told.lock().unwrap(), (0..3).map(wait).collect::<Vec<_>>());
}

/// Two runs that do not know of each other, before a service that lets 60 a minute through.
#[tokio::test(start_paused = true)]
async fn two_runs_that_share_a_token_find_their_shares() {
    let seen: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let admits = move |seen: &mut Vec<Instant>| {
        let now = Instant::now();
        seen.retain(|at| *at + 60 * SEC > now);
        let admits = seen.len() < 60;
        if admits {
            seen.push(now);
        }
        admits
    };
    let end = Instant::now() + 40 * 60 * SEC;
    let run = || {
        let (gate, seen) = (gate(Class::Initiate, 60), Arc::clone(&seen));
        tokio::spawn(async move {
            let (mut done, mut refused) = (0u32, 0u32);
            while Instant::now() < end {
                let permit = gate.request(Class::Initiate).await;
                tokio::time::sleep(SEC / 10).await;
                if admits(&mut seen.lock().unwrap()) {
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
    assert!(refused <= done / 10, "{one:?} {two:?}: few are in vain");
    assert!(one.0.min(two.0) * 3 >= one.0.max(two.0), "{one:?} {two:?}: neither starves");
}
