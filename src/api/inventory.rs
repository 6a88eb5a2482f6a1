//! All images of an owner, one value an image, out of the pages and rows of the service's listing.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::client::Client;
use super::error::{ApiError, ErrorKind};
use super::images::IMAGES_PER_PAGE;
use super::response::{BuildProgress, ImageRow};
use crate::base::name::{ImageRef, Owner, Visibility};

/// Pages that are read at most: a hundred thousand images. A listing longer than this has no end.
const MOST_PAGES: usize = 400;

/// How often a listing that changed while it was read is read, before what was seen is taken for
/// all.
const PASSES: usize = 3;

/// An image that the service knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteImage {
    /// Its name, as the service has it: maybe none that we would give.
    pub name: String,
    /// Its tag, likewise.
    pub tag: String,
    /// Whether it can be pulled.
    pub state: RemoteImageState,
    /// Who can pull it, where the service says so.
    pub visibility: Option<Visibility>,
    /// Where it is, where the service says so.
    pub path: Option<String>,
    /// When its content changed last, by the service's clock: when it was pushed, else when its build
    /// was completed.
    pub changed: Option<Timestamp>,
    /// When its build was completed, likewise; or when it failed, or was begun where that is all that
    /// is known.
    pub ended: Option<Timestamp>,
    /// The ID of the row that all this is from. It changes with the content.
    pub id: Option<String>,
}

/// Whether an image can be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteImageState {
    /// It can; there may be another build of it under way all the same.
    Available,
    /// It is being made for the first time.
    Building,
    /// It could not be made.
    Failed,
}

impl RemoteImage {
    /// The image as units are called; none where no unit can be called so.
    pub fn key(&self) -> Option<ImageRef> {
        Some(ImageRef { name: self.name.parse().ok()?, tag: self.tag.parse().ok()? })
    }
}

/// The images of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Those that were listed, in the service's order.
    pub images: Vec<RemoteImage>,
    /// Whether these are all. Where the listing says itself that there are more, or not all of it can
    /// be read, an image that is missing may be there all the same.
    pub complete: bool,
}

impl Inventory {
    /// The images by the names of units; those that none could have are left out. The service may
    /// write an owner before the name of one that is `wanted` and not there by its own name: never
    /// one of the platform's, whose names may have several parts.
    pub fn by_key<'k>(
        self,
        owner: &Owner,
        wanted: impl IntoIterator<Item = &'k ImageRef>,
    ) -> HashMap<ImageRef, RemoteImage> {
        let own = self.images.iter().filter_map(|image| Some((image.key()?, image.clone())));
        let mut images: HashMap<ImageRef, RemoteImage> = own.collect();
        let mut wanted: Vec<&ImageRef> = wanted.into_iter().collect();
        let taken: HashSet<&ImageRef> = wanted.iter().copied().collect();
        let mut alike: HashMap<(String, &str), Vec<&RemoteImage>> = HashMap::new();
        let named = |image: &&RemoteImage| image.key().is_none_or(|key| !taken.contains(&key));
        for image in self.images.iter().filter(named) {
            alike.entry((name_without_owner(&image.name), &image.tag)).or_default().push(image);
        }
        wanted.retain(|key| *owner != Owner::Platform && !images.contains_key(*key));
        for key in wanted {
            let place = (name_without_owner(key.name.as_str()), key.tag.as_str());
            let found = alike.get(&place).map_or(&[][..], Vec::as_slice);
            let complete = found.iter().find(|image| image.state == RemoteImageState::Available);
            let Some(&image) = complete.or(found.first()) else { continue };
            let mut image = image.clone();
            if found.len() > 1 {
                // One of them is it, but nobody can tell which.
                image = RemoteImage {
                    visibility: None,
                    path: None,
                    changed: None,
                    ended: None,
                    ..image
                };
            }
            if let Some(own) = image.key() {
                images.remove(&own);
            }
            images.insert(key.clone(), image);
        }
        images
    }
}

/// A name without the owner that a service may write before it, and in one case.
pub(crate) fn name_without_owner(name: &str) -> String {
    name.rsplit('/').next().unwrap_or_default().to_lowercase()
}

/// All images of an owner, or those that a search finds. Fails where a page cannot be read, and
/// where the listing has no end.
///
/// A listing that changes while it is read shows some images twice and others not at all. It is read
/// again then, so that none is taken for gone; and so is one that shows fewer than it counts.
pub async fn list_images(
    client: &Client,
    owner: &Owner,
    search: Option<&str>,
) -> Result<Inventory, ApiError> {
    let mut all = Vec::new();
    let (mut read, mut most) = (true, None);
    for _ in 0..PASSES {
        let Pass { rows, whole, unread, total } = pass(client, owner, search).await?;
        if whole {
            return Ok(Inventory { images: merged(rows, owner), complete: true });
        }
        read &= !unread;
        most = most.max(total);
        // What was read last is the newest word.
        all.splice(0..0, rows);
    }
    let seen = Seen::of(&all).images() as u64;
    let complete = read && most.is_some_and(|total| seen >= total);
    Ok(Inventory { images: merged(all, owner), complete })
}

/// What one reading of all pages showed.
struct Pass {
    rows: Vec<ImageRow>,
    /// Nothing moved while it was read, or all were seen nevertheless.
    whole: bool,
    /// There were rows that could not be read.
    unread: bool,
    /// How many there are in all, where the service says: the most that it said.
    total: Option<u64>,
}

async fn pass(client: &Client, owner: &Owner, search: Option<&str>) -> Result<Pass, ApiError> {
    let (mut rows, mut seen) = (Vec::new(), Seen::default());
    let (mut offset, mut totals, mut moved, mut unread) = (0, HashSet::new(), false, false);
    for _ in 0..MOST_PAGES {
        let page = client.images(owner, search, offset).await?;
        let (before, on_page) = (seen.images(), Seen::of(&page.rows).images());
        seen.add(&page.rows);
        let new = seen.images() - before;
        moved |= new < on_page;
        unread |= page.unread > 0;
        totals.extend(page.total);
        rows.extend(page.rows);
        // A service that knows no offset shows the same page again and again.
        let circles = new == 0 && page.next.is_some();
        match page.next {
            Some(next) if !circles => offset = next,
            _ => {
                let total = totals.iter().max().copied();
                let all = total.map(|total| seen.images() as u64 >= total);
                // Of what has no pages, one that is not full is everything.
                let one = circles && page.limit.is_none() && (on_page as u64) < IMAGES_PER_PAGE;
                let still = totals.len() <= 1 && (!moved || one || all.is_some());
                let whole = !unread && still && all.unwrap_or(!circles || one);
                return Ok(Pass { rows, whole, unread, total });
            }
        }
    }
    Err(ApiError::new("list the images", ErrorKind::BadResponse, "the listing does not end"))
}

/// The images that rows are of, whoever owns them: what a listing counts (`api.md` §3).
#[derive(Default)]
pub(super) struct Seen(HashMap<(String, String), HashSet<Owner>>);

impl Seen {
    pub(super) fn of(rows: &[ImageRow]) -> Self {
        let mut seen = Self::default();
        seen.add(rows);
        seen
    }

    fn add(&mut self, rows: &[ImageRow]) {
        for row in rows {
            let owners = self.0.entry((row.name.clone(), row.tag.clone())).or_default();
            owners.extend(row.owner.clone());
        }
    }

    /// How many these are. A row that does not say whose it is may be of any of those that do.
    pub(super) fn images(&self) -> usize {
        self.0.values().map(|owners| owners.len().max(1)).sum()
    }
}

/// Whether a row is of an image of another kind of owner: of the same name, it would pass for ours.
/// In which form a team is named is the service's to choose.
fn is_of_another(row: &ImageRow, owner: &Owner) -> bool {
    let kind = std::mem::discriminant;
    row.owner.as_ref().is_some_and(|of| kind(of) != kind(owner))
}

/// One image of an owner for all rows of one name and tag, in the order of the first of each. Pure.
fn merged(rows: Vec<ImageRow>, owner: &Owner) -> Vec<RemoteImage> {
    let mut order: Vec<(String, String)> = Vec::new();
    let mut of: HashMap<(String, String), Vec<ImageRow>> = HashMap::new();
    for row in rows.into_iter().filter(|row| !is_of_another(row, owner)) {
        let key = (row.name.clone(), row.tag.clone());
        let rows = of.entry(key.clone()).or_default();
        if rows.is_empty() {
            order.push(key);
        }
        // Met on two pages, or in two passes, of which the last comes first.
        if row.id.is_none() || rows.iter().all(|other| other.id != row.id) {
            rows.push(row);
        }
    }
    order
        .into_iter()
        .filter_map(|key| {
            let rows = of.remove(&key)?;
            image(key, rows)
        })
        .collect()
}

/// What the rows of one image say together. One that is complete wins: a row of an older failure may
/// stay, and so may one of a build that nobody goes on with (`api.md` §2).
fn image((name, tag): (String, String), rows: Vec<ImageRow>) -> Option<RemoteImage> {
    // What is made for virtual machines says nothing of what can be pulled, unless there is nothing
    // else: but it is made of an image, so that a failure beside it is one of another day.
    let failed = |row: &ImageRow| {
        matches!(row.progress, BuildProgress::Failed(_) | BuildProgress::Cancelled)
    };
    let of_containers = rows.iter().any(|row| row.container && !failed(row));
    let counted = || rows.iter().filter(|row| row.container || !of_containers);
    let rank = |row: &ImageRow| match row.progress {
        BuildProgress::Completed => 2,
        BuildProgress::Running(_) => 1,
        BuildProgress::Failed(_) | BuildProgress::Cancelled => 0,
    };
    let time = |row: &ImageRow| {
        let ended = row.pushed.or(row.completed);
        ended.or(row.started).or(row.created)
    };
    let rank_and_time = |row: &ImageRow| (rank(row), time(row));
    // The first of those alike: the newest come first in all likelihood.
    let better = |best, row| if rank_and_time(row) > rank_and_time(best) { row } else { best };
    let chosen = counted().reduce(better)?;
    let state = match chosen.progress {
        BuildProgress::Completed => RemoteImageState::Available,
        BuildProgress::Running(_) => RemoteImageState::Building,
        BuildProgress::Failed(_) | BuildProgress::Cancelled => RemoteImageState::Failed,
    };
    let complete = state == RemoteImageState::Available;
    // Of one for virtual machines beside others, the times are not those of the image.
    let timely = chosen.container || rows.iter().all(|row| !row.container);
    let begun = chosen.started.or(chosen.created).filter(|_| state == RemoteImageState::Failed);
    Some(RemoteImage {
        name,
        tag,
        state,
        visibility: chosen.visibility.or_else(|| counted().find_map(|row| row.visibility)),
        path: chosen.path.clone().or_else(|| counted().find_map(|row| row.path.clone())),
        changed: chosen.pushed.or(chosen.completed).filter(|_| complete && timely),
        ended: chosen.completed.or(begun).filter(|_| timely),
        id: chosen.id.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    use super::*;
    use crate::http::fake::{FakeServer, Reply};

    /// `id name:tag status minute`, where a `!` before the ID says that it is for virtual machines.
    fn row(text: &str) -> Value {
        let words: Vec<&str> = text.split(' ').collect();
        let (name, tag) = words[1].split_once(':').unwrap();
        let kind = if words[0].starts_with('!') { "VM_SANDBOX" } else { "CONTAINER_IMAGE" };
        let mut row = json!({
            "id": words[0], "artifactType": kind, "imageName": name, "imageTag": tag,
            "status": words[2], "fullImagePath": format!("prime/{}", words[0]), "visibility": "PUBLIC",
        });
        if let Some(minute) = words.get(3) {
            let field = if words[2] == "COMPLETED" { "pushedAt" } else { "createdAt" };
            row[field] = json!(format!("2026-08-01T10:{minute}:00"));
        }
        row
    }

    /// `name:tag state id minute` of each image that rows make.
    fn images(rows: &[&str]) -> Vec<String> {
        let views = rows.iter().filter_map(|text| crate::api::response::image_view(&row(text)));
        merged(views.collect(), &Owner::Personal).iter().map(said).collect()
    }

    fn said(image: &RemoteImage) -> String {
        let minute = image
            .changed
            .map_or_else(|| "-".to_owned(), |at| (at.as_second() / 60 % 60).to_string());
        let id = image.id.as_deref().unwrap_or("-");
        format!("{}:{} {:?} {id} {minute}", image.name, image.tag, image.state)
    }

    #[test]
    fn rows_of_one_image_are_one() {
        for (rows, expected) in [
            (&["r1 a:1 COMPLETED 05"][..], &["a:1 Available r1 5"][..]),
            // A failure that is old news, and a build that goes on above what is there.
            (&["r2 a:1 FAILED 09", "r1 a:1 COMPLETED 05"], &["a:1 Available r1 5"]),
            (&["r2 a:1 BUILDING 09", "r1 a:1 COMPLETED 05"], &["a:1 Available r1 5"]),
            (&["r1 a:1 COMPLETED 05", "r2 a:1 COMPLETED 09"], &["a:1 Available r2 9"]),
            (&["r1 a:1 COMPLETED", "r2 a:1 COMPLETED 09"], &["a:1 Available r2 9"]),
            (&["r1 a:1 FAILED 05", "r2 a:1 QUANTUM 04"], &["a:1 Building r2 -"]),
            (&["r1 a:1 CANCELLED 05", "r2 a:1 FAILED 04"], &["a:1 Failed r1 -"]),
            // What is for virtual machines is another thing, unless there is nothing else.
            (&["!v a:1 COMPLETED 09", "r1 a:1 COMPLETED 05"], &["a:1 Available r1 5"]),
            (&["!v a:1 COMPLETED 09", "r1 a:1 FAILED 05"], &["a:1 Available !v -"]),
            (&["!v a:1 FAILED 09", "r1 a:1 FAILED 05"], &["a:1 Failed !v -"]),
            (&["!v a:1 COMPLETED 09", "r1 a:1 BUILDING 05"], &["a:1 Building r1 -"]),
            (&["!v a:1 COMPLETED 09"], &["a:1 Available !v 9"]),
            (
                &["r1 a:1 COMPLETED 05", "r2 b:1 BUILDING", "r3 a:2 FAILED", "r1 a:1 COMPLETED 05"],
                &["a:1 Available r1 5", "b:1 Building r2 -", "a:2 Failed r3 -"],
            ),
        ] {
            assert_eq!(images(rows), expected, "{rows:?}");
        }
    }

    #[test]
    fn what_a_row_does_not_say_another_may() {
        let mut bare = row("r2 a:1 COMPLETED 09");
        for field in ["fullImagePath", "visibility", "id"] {
            bare[field] = Value::Null;
        }
        let views = [bare, row("r1 a:1 COMPLETED 05")];
        let views = views.iter().filter_map(crate::api::response::image_view).collect();
        let image = merged(views, &Owner::Personal).remove(0);
        assert_eq!(
            (said(&image).as_str(), image.path.as_deref()),
            ("a:1 Available - 9", Some("prime/r1"))
        );
        assert_eq!(image.visibility, Some(Visibility::Public));
        assert_eq!(image.key().unwrap().to_string(), "a:1");
        assert_eq!(RemoteImage { name: "Not Ours".to_owned(), ..image }.key(), None);
    }

    #[test]
    fn an_image_tells_when_its_build_ended() {
        let ended = |status: &str, fields: &[(&str, &str)]| {
            let mut row = row(&format!("r1 a:1 {status}"));
            for (field, minute) in fields {
                row[*field] = json!(format!("2026-08-01T10:{minute}:00"));
            }
            let views = crate::api::response::image_view(&row).into_iter().collect();
            let ended = merged(views, &Owner::Personal).remove(0).ended;
            ended.map(|at| at.as_second() / 60 % 60)
        };
        let all = [("completedAt", "03"), ("startedAt", "02"), ("createdAt", "01")];
        assert_eq!(ended("COMPLETED", &all), Some(3));
        assert_eq!(ended("COMPLETED", &[("pushedAt", "04"), ("createdAt", "01")]), None);
        assert_eq!(ended("FAILED", &all), Some(3));
        assert_eq!(ended("FAILED", &all[1..]), Some(2));
        assert_eq!(ended("FAILED", &all[2..]), Some(1));
        assert_eq!(ended("FAILED", &[]), None);
    }

    #[test]
    fn an_owner_may_stand_before_a_name() {
        let found = |owner: Owner, rows: &[&str], wanted: &str| {
            let rows = rows.iter().filter_map(|text| crate::api::response::image_view(&row(text)));
            let inventory = Inventory { images: merged(rows.collect(), &owner), complete: true };
            let wanted: Vec<ImageRef> =
                wanted.split(' ').map(|wanted| wanted.parse().unwrap()).collect();
            let mut found: Vec<String> = inventory
                .by_key(&owner, &wanted)
                .into_iter()
                .map(|(key, image)| format!("{key}={}", image.id.unwrap()))
                .collect();
            found.sort();
            found.join(" ")
        };
        let team = || Owner::Team("t".to_owned());
        let (alice, own) = ("r1 alice/a:1 COMPLETED", "r2 a:1 COMPLETED");
        assert_eq!(found(Owner::Personal, &[alice], "a:1"), "a:1=r1");
        assert_eq!(found(team(), &["r1 Alice/a:1 COMPLETED"], "a:1"), "a:1=r1");
        assert_eq!(found(team(), &["r1 prime/x/a:1 COMPLETED"], "a:1 b:1"), "a:1=r1");
        assert_eq!(found(Owner::Personal, &[alice], "a:2 b:1"), "alice/a:1=r1");
        // What has the very name is it.
        assert_eq!(found(Owner::Personal, &[alice, own], "a:1"), "a:1=r2 alice/a:1=r1");
        assert_eq!(found(Owner::Personal, &[alice, own], "a:1 alice/a:1"), "a:1=r2 alice/a:1=r1");
        assert_eq!(found(Owner::Personal, &[alice], "a:1 alice/a:1"), "alice/a:1=r1");
        // A name of the platform's has several parts of its own.
        assert_eq!(found(Owner::Platform, &[alice], "a:1"), "alice/a:1=r1");
        let other = "r3 bob/a:1 FAILED";
        assert_eq!(found(team(), &[other, alice], "a:1"), "a:1=r1 bob/a:1=r3");
    }

    /// A service that shows these names, by pages of two; `change` is done before each page.
    fn paged(
        names: &[&str],
        with_total: bool,
        mut change: impl FnMut(usize, &mut Vec<String>) + Send + 'static,
    ) -> Arc<FakeServer> {
        let names = Mutex::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let mut asked = 0;
        FakeServer::new(move |request| {
            let mut names = names.lock().unwrap();
            change(asked, &mut names);
            asked += 1;
            let offset = request.line.split("offset=").nth(1).unwrap().split('&').next().unwrap();
            let shown = names.iter().skip(offset.parse().unwrap()).take(2);
            let data: Vec<Value> =
                shown.map(|name| row(&format!("{name} {name}:1 COMPLETED 05"))).collect();
            let mut page = json!({ "data": data, "limit": 2 });
            if with_total {
                page["total_count"] = json!(names.len());
            }
            Reply::json(200, &page)
        })
    }

    async fn names(fake: &Arc<FakeServer>) -> String {
        let client = Client::fake(&fake);
        let images = list_images(&client, &Owner::Personal, None).await.unwrap().images;
        images.iter().map(|image| image.name.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn all_pages_are_read_once() {
        for (with_total, all, requests) in [
            (true, "abcde", 3),
            (true, "abcd", 2),
            (false, "abcde", 3),
            (false, "abcd", 3),
            (true, "", 1),
        ] {
            let each: Vec<String> = all.chars().map(String::from).collect();
            let each: Vec<&str> = each.iter().map(String::as_str).collect();
            let fake = paged(&each, with_total, |_, _| {});
            assert_eq!(
                (&*names(&fake).await, fake.requests().len()),
                (all, requests),
                "{with_total}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_that_changes_meanwhile_hides_nothing() {
        // Before the second page a new build brings the last to the front.
        let fake = paged(&["a", "b", "c", "d", "e"], true, |asked, names| {
            if asked == 1 {
                names.rotate_right(1);
            }
        });
        assert_eq!((&*names(&fake).await, fake.requests().len()), ("eabcd", 6));
        // Before the second page the first is deleted, and all others move up.
        let fake = paged(&["a", "b", "c", "d", "e"], true, |asked, names| {
            if asked == 1 {
                names.remove(0);
            }
        });
        assert_eq!((&*names(&fake).await, fake.requests().len()), ("bcde", 4));
        // A service that is never still.
        let fake = paged(&["a", "b", "c", "d", "e"], true, |_, names| names.rotate_right(1));
        let mut all: Vec<char> = names(&fake).await.chars().collect();
        all.sort_unstable();
        assert!(all.len() >= 4 && fake.requests().len() <= 9, "{all:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_that_says_itself_that_it_is_not_whole_is_not() {
        let page = |rows: &[&str], extra: Value| {
            let mut page = json!({ "data": rows.iter().map(|text| row(text)).collect::<Vec<_>>() });
            page.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            page
        };
        let mut odd = page(&["r1 a:1 COMPLETED"], json!({ "total_count": 1 }));
        odd["data"][0]["status"] = Value::Null;
        let one = &["r1 a:1 COMPLETED"][..];
        for (page, whole) in [
            (page(&[], json!({})), true),
            (page(&[], json!({ "total_count": 0 })), true),
            (page(one, json!({ "total_count": 1 })), true),
            (page(one, json!({ "limit": 250 })), true),
            // It knows no pages.
            (page(one, json!({})), true),
            (page(&[], json!({ "total_count": 2 })), false),
            (page(one, json!({ "total_count": 2, "limit": 250 })), false),
            // It was as full as it can be, and nothing came after it.
            (page(one, json!({ "limit": 1 })), false),
            (odd, false),
        ] {
            let fake = FakeServer::script([Reply::json(200, &page)]);
            let client = Client::fake(&fake);
            let inventory = list_images(&client, &Owner::Personal, None).await.unwrap();
            assert_eq!(inventory.complete, whole, "{page}");
        }
    }

    /// A service may grant fewer images a page than it was asked for, and not say so.
    #[tokio::test(start_paused = true)]
    async fn pages_smaller_than_asked_for_are_all_read() {
        for with_total in [true, false] {
            let fake = FakeServer::new(move |request| {
                let offset = request.line.split("offset=").nth(1).unwrap();
                let offset: usize = offset.split('&').next().unwrap().parse().unwrap();
                let names = (offset..250).take(100);
                let data: Vec<Value> =
                    names.map(|name| row(&format!("r{name} n{name}:1 COMPLETED"))).collect();
                let mut page = json!({ "data": data });
                if with_total {
                    page["total_count"] = json!(250);
                }
                Reply::json(200, &page)
            });
            let client = Client::fake(&fake);
            let inventory = list_images(&client, &Owner::Personal, None).await.unwrap();
            assert_eq!((inventory.images.len(), inventory.complete), (250, true), "{with_total}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_belongs_to_others_is_left_out() {
        let of = |name: &str, owner: Value| {
            let mut row = row(&format!("{name} {name}:1 COMPLETED"));
            row.as_object_mut().unwrap().extend(owner.as_object().unwrap().clone());
            row
        };
        let team = |id: &str| json!({ "ownerType": "team", "teamId": id });
        let data = json!([
            of("a", json!({})),
            of("b", json!({ "ownerType": "personal" })),
            of("c", json!({ "ownerType": "platform" })),
            of("d", json!({ "ownerType": "guild" })),
            of("e", team("t")),
            of("f", team("the-team")),
        ]);
        let fake =
            FakeServer::script([Reply::json(200, &json!({ "data": data, "total_count": 6 }))]);
        let client = Client::fake(&fake);
        for (owner, expected) in [
            (Owner::Personal, "abd"),
            (Owner::Platform, "acd"),
            (Owner::Team("t".to_owned()), "adef"),
        ] {
            let Inventory { images, complete } = list_images(&client, &owner, None).await.unwrap();
            assert!(complete, "what is counted is what is listed, whoever owns it");
            let names: String = images.iter().map(|image| image.name.as_str()).collect();
            assert_eq!(names, expected, "{owner}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_without_an_end_is_left() {
        let same =
            json!({ "data": [row("r1 a:1 COMPLETED")], "total_count": 1_000_000, "limit": 1 });
        let fake = FakeServer::script([Reply::json(200, &same)]);
        assert_eq!((&*names(&fake).await, fake.requests().len()), ("a", 2 * PASSES));
        let mut count = 0;
        let fake = FakeServer::new(move |_| {
            count += 1;
            let data = [row(&format!("r{count} n{count}:1 COMPLETED"))];
            Reply::json(200, &json!({ "data": data, "limit": 1 }))
        });
        let client = Client::fake(&fake);
        let error = list_images(&client, &Owner::Personal, Some("n")).await.unwrap_err();
        assert_eq!((error.kind, fake.requests().len()), (ErrorKind::BadResponse, MOST_PAGES));
    }
}
