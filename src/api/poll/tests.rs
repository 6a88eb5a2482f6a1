//! Looks at a service inside the process.

use serde_json::{Value, json};

use super::*;
use crate::api::BuildProgress;
use crate::http::fake::{FakeServer, Reply};

fn id(number: usize) -> BuildId {
    BuildId::new(format!("b-{number}")).unwrap()
}

fn ids(numbers: impl IntoIterator<Item = usize>) -> Vec<BuildId> {
    numbers.into_iter().map(id).collect()
}

fn row(number: usize) -> Value {
    json!({ "id": format!("b-{number}"), "status": "BUILDING" })
}

/// A service that has builds of these numbers, newest first, and lists only some of them.
fn service(builds: usize, listed: fn(usize) -> bool) -> std::sync::Arc<FakeServer> {
    FakeServer::new(move |asked| {
        if let Some(number) = asked.line.strip_prefix("GET /images/build/b-") {
            let number: usize = number.parse().unwrap();
            let known = number < builds;
            return if known { Reply::json(200, &row(number)) } else { Reply::detail(404, "no") };
        }
        let query = asked.line.strip_prefix("GET /images/builds?offset=").unwrap();
        let (offset, limit) = query.split_once("&limit=").unwrap();
        let (offset, limit): (usize, usize) = (offset.parse().unwrap(), limit.parse().unwrap());
        let all: Vec<usize> = (0..builds).rev().filter(|number| listed(*number)).collect();
        let page: Vec<Value> = all.iter().skip(offset).take(limit).map(|n| row(*n)).collect();
        Reply::json(200, &json!({ "data": page, "total_count": all.len() }))
    })
}

/// What a look at builds found, and the requests it took: pages and single ones.
async fn counted(
    fake: &std::sync::Arc<FakeServer>,
    builds: &[BuildId],
    listing: &mut PollState,
) -> (usize, usize, usize) {
    let before = fake.lines().len();
    let found = poll_builds(&Client::fake(&fake), builds, listing).await;
    assert!(found.iter().map(|(build, _)| build).eq(builds), "in their order");
    let lines = fake.lines().split_off(before);
    let pages = lines.iter().filter(|line| line.contains("offset")).count();
    assert_eq!(listing.cost() as usize, lines.len());
    (found.iter().filter(|(_, view)| view.is_ok()).count(), pages, lines.len() - pages)
}

#[tokio::test(start_paused = true)]
async fn few_are_asked_for_one_by_one_and_many_by_the_listing() {
    let fake = service(1000, |_| true);
    let mut listing = PollState::new();
    assert_eq!(counted(&fake, &ids(0..3), &mut listing).await, (3, 0, 3));
    assert_eq!(counted(&fake, &ids(900..1000), &mut listing).await, (100, 1, 0));
    assert_eq!(counted(&fake, &ids(750..1000), &mut listing).await, (250, 3, 0));
    assert_eq!(
        counted(&fake, &ids([0, 999, 998, 997]), &mut listing).await,
        (4, 3, 1),
        "two barren"
    );
    assert_eq!(counted(&fake, &ids([999, 998, 5000, 899]), &mut listing).await, (3, 4, 1));
    assert_eq!(counted(&fake, &[], &mut listing).await, (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn many_behind_newer_builds_of_others_are_still_found_by_the_listing() {
    let fake = service(1000, |_| true);
    let mut listing = PollState::new();
    assert_eq!(counted(&fake, &ids(300..500), &mut listing).await, (200, 7, 0));
    assert_eq!(counted(&fake, &ids(300..305), &mut listing).await, (5, 5, 5), "not for so few");
}

#[tokio::test(start_paused = true)]
async fn a_listing_without_ours_is_not_asked_for_ever() {
    let fake = service(1000, |number| number < 500);
    let mut listing = PollState::new();
    let team = ids(500..510);
    for _ in 0..2 {
        assert_eq!(counted(&fake, &team, &mut listing).await, (10, 6, 10));
    }
    for _ in 0..3 {
        assert_eq!(counted(&fake, &team, &mut listing).await, (10, 0, 10));
    }
    tokio::time::advance(FIRST_REST).await;
    assert_eq!(counted(&fake, &team, &mut listing).await, (10, 6, 10), "once more");
    tokio::time::advance(FIRST_REST).await;
    assert_eq!(counted(&fake, &team, &mut listing).await, (10, 0, 10), "it rests for longer");
    tokio::time::advance(FIRST_REST).await;
    assert_eq!(counted(&fake, &ids(490..500), &mut listing).await, (10, 1, 0));
    assert_eq!(counted(&fake, &team, &mut listing).await, (10, 6, 10), "it was of use");
    assert_eq!(counted(&fake, &ids(490..500), &mut listing).await, (10, 1, 0));
}

#[test]
fn rests_double_to_ten_minutes() {
    let (mut listing, start) = (PollState::new(), Instant::now());
    let mut rest = || {
        listing.rest(start);
        (listing.resting.unwrap() - start).as_secs()
    };
    let rests: Vec<u64> = (0..9).map(|_| rest()).collect();
    assert_eq!(rests, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    listing.showed(true, start);
    listing.rest(start);
    assert_eq!((listing.resting.unwrap() - start).as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn one_odd_answer_of_the_listing_is_soon_forgotten() {
    let stranger = Reply::new(404, "default backend - 404");
    for odd in [Reply::detail(404, "no"), stranger, Reply::html()] {
        let (began, reply) = (Instant::now(), odd.clone());
        let rows: Vec<Value> = (0..9).map(row).collect();
        let fake = FakeServer::new(move |asked| match asked.line.contains("offset") {
            true if began.elapsed() < Duration::from_secs(3) => reply.clone(),
            true => Reply::json(200, &json!({ "data": rows })),
            false => Reply::json(200, &row(1)),
        });
        let client = Client::fake(&fake);
        let mut listing = PollState::quick();
        for (advance, requests) in [(0, 10), (4, 9), (1, 1)] {
            tokio::time::advance(Duration::from_secs(advance)).await;
            poll_builds(&client, &ids(0..9), &mut listing).await;
            assert_eq!(listing.cost(), requests, "{odd:?}");
        }
    }
}

#[test]
fn pages_grow_with_what_is_looked_for() {
    let table = [(1, 20), (1000, 20), (1001, 21), (5000, 60)];
    for (builds, pages) in table {
        assert_eq!(most_pages(builds), pages, "{builds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_without_a_listing_is_asked_one_by_one() {
    for status in [403, 404, 405, 422] {
        let fake = FakeServer::new(move |asked| {
            let page = asked.line.contains("offset");
            if page { Reply::detail(status, "no such thing") } else { Reply::json(200, &row(1)) }
        });
        let mut listing = PollState::new();
        assert_eq!(counted(&fake, &ids(0..9), &mut listing).await, (9, 1, 9), "{status}");
        assert_eq!(counted(&fake, &ids(0..9), &mut listing).await, (9, 0, 9), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_of_the_listing_is_trouble_of_all() {
    for (reply, tries) in [
        (Reply::Broken { sent: true }, 3),
        (Reply::detail(503, ""), 3),
        (Reply::detail(401, ""), 1),
    ] {
        let fake = FakeServer::script([reply]);
        let client = Client::fake(&fake);
        let found = poll_builds(&client, &ids(0..50), &mut PollState::quick()).await;
        assert_eq!((found.len(), fake.lines().len()), (50, tries));
        assert!(found.iter().all(|(_, view)| view == &found[0].1));
    }
}

#[tokio::test(start_paused = true)]
async fn one_build_in_trouble_is_no_trouble_for_the_others() {
    let fake = FakeServer::new(|asked| match asked.line.as_str() {
        "GET /images/build/b-1" => Reply::detail(500, "oh"),
        _ => Reply::json(200, &json!({ "status": "COMPLETED" })),
    });
    let found = poll_builds(&Client::fake(&fake), &ids(0..3), &mut PollState::quick()).await;
    let ended =
        |at: usize| matches!(&found[at].1, Ok(view) if view.progress == BuildProgress::Completed);
    assert!(ended(0) && !ended(1) && ended(2));
    assert_eq!(fake.lines().len(), 2 + 3);
}
