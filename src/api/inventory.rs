//! Lists all images of an owner: one value per image, from the pages and rows of the service.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::client::Client;
use super::error::{ApiError, ErrorKind};
use super::images::{DistinctImages, IMAGES_PER_PAGE};
use super::response::{BuildProgress, ImageRow};
use crate::base::image_path::ImagePath;
use crate::base::name::{ImageRef, Owner, Visibility};

/// Maximum number of pages: 250,000 images. A longer listing counts as endless.
const MAX_PAGES: usize = 1000;

/// Maximum number of passes over a listing that changes while it is read.
const MAX_PASSES: usize = 3;

/// An image at the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteImage {
    /// Name at the service. It need not be a valid name of a unit.
    pub name: String,
    /// Tag at the service. It need not be a valid tag of a unit.
    pub tag: String,
    /// Progress of the image.
    pub state: RemoteImageState,
    /// Visibility, if the service states it.
    pub visibility: Option<Visibility>,
    /// Path to pull the image from, if the service states it.
    pub path: Option<ImagePath>,
    /// Time of the last change of the content, by the service's clock: of the push, or else of the
    /// end of the build.
    pub changed: Option<Timestamp>,
    /// Time of the end of the build, by the service's clock. For a failed build without one, the
    /// time of its start or creation.
    pub ended: Option<Timestamp>,
    /// ID of the row that describes the image. It changes with the content.
    pub id: Option<String>,
}

/// Progress of an image at the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteImageState {
    /// The image can be pulled. Another build of it may be running.
    Available,
    /// The first build of the image is running.
    Building,
    /// All builds of the image failed.
    Failed,
}

impl RemoteImage {
    /// Returns the name and tag of the image, or `None` if no unit can have them.
    pub fn key(&self) -> Option<ImageRef> {
        Some(ImageRef { name: self.name.parse().ok()?, tag: self.tag.parse().ok()? })
    }
}

/// The images of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The listed images, in the service's order.
    pub images: Vec<RemoteImage>,
    /// True if all images are listed. If false, an image that is not listed may exist: the service
    /// counts more images, or some rows could not be read.
    pub complete: bool,
}

impl Inventory {
    /// Returns the images by name and tag, without those that no unit can have.
    ///
    /// The service may write an owner before a name. Therefore each key of `requested` that is not
    /// listed gets the image that has the same name after its last slash; but not for the platform,
    /// whose names may have several parts.
    pub fn by_key<'k>(
        self,
        owner: &Owner,
        requested: impl IntoIterator<Item = &'k ImageRef>,
    ) -> HashMap<ImageRef, RemoteImage> {
        let exact = self.images.iter().filter_map(|image| Some((image.key()?, image.clone())));
        let mut images: HashMap<ImageRef, RemoteImage> = exact.collect();
        let mut missing: Vec<&ImageRef> = requested.into_iter().collect();
        let requested: HashSet<&ImageRef> = missing.iter().copied().collect();
        let mut by_base_name: HashMap<(String, &str), Vec<&RemoteImage>> = HashMap::new();
        let is_free =
            |image: &&RemoteImage| image.key().is_none_or(|key| !requested.contains(&key));
        for image in self.images.iter().filter(is_free) {
            let key = (name_without_owner(&image.name), &*image.tag);
            by_base_name.entry(key).or_default().push(image);
        }
        missing.retain(|key| *owner != Owner::Platform && !images.contains_key(*key));
        for key in missing {
            let base_name = (name_without_owner(key.name.as_str()), key.tag.as_str());
            let candidates = by_base_name.get(&base_name).map_or(&[][..], Vec::as_slice);
            let available =
                candidates.iter().find(|image| image.state == RemoteImageState::Available);
            let Some(&image) = available.or(candidates.first()) else { continue };
            let mut image = image.clone();
            if candidates.len() > 1 {
                // Any of them may be the image: leave out the details, which may be of another one.
                image = RemoteImage {
                    visibility: None,
                    path: None,
                    changed: None,
                    ended: None,
                    ..image
                };
            }
            if let Some(listed_key) = image.key() {
                images.remove(&listed_key);
            }
            images.insert(key.clone(), image);
        }
        images
    }
}

/// Returns a name in lower case, without the owner that a service may write before it.
pub(crate) fn name_without_owner(name: &str) -> String {
    name.rsplit('/').next().unwrap_or_default().to_lowercase()
}

/// Returns all images of an owner, or those that `search` selects.
///
/// A listing that changes while it is read shows some images twice and others not at all. Such a
/// listing is read again, so that no image is taken as deleted; so is one that shows fewer images
/// than it counts.
///
/// # Errors
///
/// Fails if a page cannot be read, or if the listing is endless.
pub async fn list_images(
    client: &Client,
    owner: &Owner,
    search: Option<&str>,
) -> Result<Inventory, ApiError> {
    let mut all_rows = Vec::new();
    let (mut all_readable, mut max_total) = (true, None);
    for _ in 0..MAX_PASSES {
        let Pass { rows, complete, has_unreadable, total } = pass(client, owner, search).await?;
        if complete {
            return Ok(Inventory { images: merge_rows(rows, owner), complete });
        }
        all_readable &= !has_unreadable;
        max_total = max_total.max(total);
        // Rows of the last pass come first: they are the newest.
        all_rows.splice(0..0, rows);
    }
    let count = DistinctImages::of(&all_rows).count() as u64;
    let complete = all_readable && max_total.is_some_and(|total| count >= total);
    Ok(Inventory { images: merge_rows(all_rows, owner), complete })
}

/// The result of reading all pages once.
struct Pass {
    rows: Vec<ImageRow>,
    /// True if the listing did not change while it was read, or if all images were seen
    /// nevertheless.
    complete: bool,
    has_unreadable: bool,
    /// Largest total number of images that a page stated.
    total: Option<u64>,
}

async fn pass(client: &Client, owner: &Owner, search: Option<&str>) -> Result<Pass, ApiError> {
    let (mut rows, mut seen) = (Vec::new(), DistinctImages::default());
    let (mut offset, mut totals) = (0, HashSet::new());
    let (mut changed, mut has_unreadable) = (false, false);
    for _ in 0..MAX_PAGES {
        let page = client.images(owner, search, offset).await?;
        let (before, on_page) = (seen.count(), DistinctImages::of(&page.rows).count());
        seen.add(&page.rows);
        let new = seen.count() - before;
        changed |= new < on_page;
        has_unreadable |= page.unreadable > 0;
        totals.extend(page.total);
        rows.extend(page.rows);
        // A service that ignores the offset sends the same page again and again.
        let repeats = new == 0 && page.next.is_some();
        match page.next {
            Some(next) if !repeats => offset = next,
            _ => {
                let total = totals.iter().max().copied();
                let all_seen = total.map(|total| seen.count() as u64 >= total);
                // A service without pages has sent everything if that is less than a full page.
                let single = repeats && page.limit.is_none() && (on_page as u64) < IMAGES_PER_PAGE;
                let stable = totals.len() <= 1 && (!changed || single || all_seen.is_some());
                let complete = !has_unreadable && stable && all_seen.unwrap_or(!repeats || single);
                return Ok(Pass { rows, complete, has_unreadable, total });
            }
        }
    }
    Err(ApiError::new("list the images", ErrorKind::BadResponse, "the listing does not end"))
}

/// Returns true if a row belongs to another kind of owner, whose image may have the same name. Team
/// IDs are not compared: the service may write them in another form.
fn has_other_owner(row: &ImageRow, owner: &Owner) -> bool {
    let kind = std::mem::discriminant;
    row.owner.as_ref().is_some_and(|row_owner| kind(row_owner) != kind(owner))
}

/// Merges the rows of each name and tag into one image, in the order of the first rows. Pure.
fn merge_rows(rows: Vec<ImageRow>, owner: &Owner) -> Vec<RemoteImage> {
    let mut order: Vec<(String, String)> = Vec::new();
    let mut by_key: HashMap<(String, String), Vec<ImageRow>> = HashMap::new();
    for row in rows.into_iter().filter(|row| !has_other_owner(row, owner)) {
        let key = (row.name.clone(), row.tag.clone());
        let rows = by_key.entry(key.clone()).or_default();
        if rows.is_empty() {
            order.push(key);
        }
        // A row may appear on two pages, or in two passes. The first one is the newest.
        if row.id.is_none() || rows.iter().all(|other| other.id != row.id) {
            rows.push(row);
        }
    }
    let image = |key| {
        let rows = by_key.remove(&key)?;
        merge_image(key, &rows)
    };
    order.into_iter().filter_map(image).collect()
}

/// Merges the rows of one image. A completed build wins: rows of older failures may stay in the
/// listing, and so may rows of abandoned builds (API contract, section 2).
fn merge_image((name, tag): (String, String), rows: &[ImageRow]) -> Option<RemoteImage> {
    let failed = |row: &ImageRow| {
        matches!(row.progress, BuildProgress::Failed(_) | BuildProgress::Cancelled)
    };
    // VM rows count only without container rows. A VM image is made from a container image, so that
    // a failed container row beside it is of another build.
    let has_container = rows.iter().any(|row| row.container && !failed(row));
    let counted = || rows.iter().filter(|row| row.container || !has_container);
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
    // Of equal rows the first one: listings probably have the newest first.
    let better = |best, row| if rank_and_time(row) > rank_and_time(best) { row } else { best };
    let chosen = counted().reduce(better)?;
    let state = match chosen.progress {
        BuildProgress::Completed => RemoteImageState::Available,
        BuildProgress::Running(_) => RemoteImageState::Building,
        BuildProgress::Failed(_) | BuildProgress::Cancelled => RemoteImageState::Failed,
    };
    let is_available = state == RemoteImageState::Available;
    // A VM row listed beside container rows carries its own timestamps; ignore them.
    let has_times = chosen.container || rows.iter().all(|row| !row.container);
    let start = chosen.started.or(chosen.created).filter(|_| state == RemoteImageState::Failed);
    Some(RemoteImage {
        name,
        tag,
        state,
        visibility: chosen.visibility.or_else(|| counted().find_map(|row| row.visibility)),
        path: chosen.path.clone().or_else(|| counted().find_map(|row| row.path.clone())),
        changed: chosen.pushed.or(chosen.completed).filter(|_| is_available && has_times),
        ended: chosen.completed.or(start).filter(|_| has_times),
        id: chosen.id.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    use super::*;
    use crate::http::fake::{FakeServer, Reply};

    /// Creates a row from `id name:tag status minute`. A `!` before the ID marks a VM row.
    fn row(text: &str) -> Value {
        let words: Vec<&str> = text.split(' ').collect();
        let (name, tag) = words[1].split_once(':').unwrap();
        let kind = if words[0].starts_with('!') { "VM_SANDBOX" } else { "CONTAINER_IMAGE" };
        let mut row = json!({
            "id": words[0], "artifactType": kind, "imageName": name, "imageTag": tag,
            "status": words[2], "fullImagePath": format!("prime/{}", words[0]),
            "visibility": "PUBLIC",
        });
        if let Some(minute) = words.get(3) {
            let field = if words[2] == "COMPLETED" { "pushedAt" } else { "createdAt" };
            row[field] = json!(format!("2026-08-01T10:{minute}:00"));
        }
        row
    }

    /// Returns `name:tag state id minute` of each image of these rows.
    fn images(rows: &[&str]) -> Vec<String> {
        let views = rows.iter().filter_map(|text| crate::api::response::image_row(&row(text)));
        merge_rows(views.collect(), &Owner::Personal).iter().map(describe).collect()
    }

    fn describe(image: &RemoteImage) -> String {
        let minute = image
            .changed
            .map_or_else(|| "-".to_owned(), |at| (at.as_second() / 60 % 60).to_string());
        let id = image.id.as_deref().unwrap_or("-");
        format!("{}:{} {:?} {id} {minute}", image.name, image.tag, image.state)
    }

    #[test]
    fn rows_of_one_image_are_merged() {
        for (rows, expected) in [
            (&["r1 a:1 COMPLETED 05"][..], &["a:1 Available r1 5"][..]),
            // An older failure, and a newer build that is still running.
            (&["r2 a:1 FAILED 09", "r1 a:1 COMPLETED 05"], &["a:1 Available r1 5"]),
            (&["r2 a:1 BUILDING 09", "r1 a:1 COMPLETED 05"], &["a:1 Available r1 5"]),
            (&["r1 a:1 COMPLETED 05", "r2 a:1 COMPLETED 09"], &["a:1 Available r2 9"]),
            (&["r1 a:1 COMPLETED", "r2 a:1 COMPLETED 09"], &["a:1 Available r2 9"]),
            (&["r1 a:1 FAILED 05", "r2 a:1 QUANTUM 04"], &["a:1 Building r2 -"]),
            (&["r1 a:1 CANCELLED 05", "r2 a:1 FAILED 04"], &["a:1 Failed r1 -"]),
            // VM rows count only without container rows.
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
    fn missing_fields_come_from_other_rows() {
        let mut bare = row("r2 a:1 COMPLETED 09");
        for field in ["fullImagePath", "visibility", "id"] {
            bare[field] = Value::Null;
        }
        let views = [bare, row("r1 a:1 COMPLETED 05")];
        let views = views.iter().filter_map(crate::api::response::image_row).collect();
        let image = merge_rows(views, &Owner::Personal).remove(0);
        assert_eq!(
            (describe(&image).as_str(), image.path.as_ref().map(ImagePath::as_str)),
            ("a:1 Available - 9", Some("prime/r1"))
        );
        assert_eq!(image.visibility, Some(Visibility::Public));
        assert_eq!(image.key().unwrap().to_string(), "a:1");
        assert_eq!(RemoteImage { name: "Not Ours".to_owned(), ..image }.key(), None);
    }

    #[test]
    fn the_end_of_the_build_is_read() {
        let ended = |status: &str, fields: &[(&str, &str)]| {
            let mut row = row(&format!("r1 a:1 {status}"));
            for (field, minute) in fields {
                row[*field] = json!(format!("2026-08-01T10:{minute}:00"));
            }
            let views = crate::api::response::image_row(&row).into_iter().collect();
            let ended = merge_rows(views, &Owner::Personal).remove(0).ended;
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
    fn an_owner_before_a_name_is_ignored() {
        let find = |owner: Owner, rows: &[&str], requested: &str| {
            let rows = rows.iter().filter_map(|text| crate::api::response::image_row(&row(text)));
            let inventory =
                Inventory { images: merge_rows(rows.collect(), &owner), complete: true };
            let requested: Vec<ImageRef> =
                requested.split(' ').map(|key| key.parse().unwrap()).collect();
            let mut found: Vec<String> = inventory
                .by_key(&owner, &requested)
                .into_iter()
                .map(|(key, image)| format!("{key}={}", image.id.unwrap()))
                .collect();
            found.sort();
            found.join(" ")
        };
        let team = || Owner::Team("t".to_owned());
        let (alice, own) = ("r1 alice/a:1 COMPLETED", "r2 a:1 COMPLETED");
        assert_eq!(find(Owner::Personal, &[alice], "a:1"), "a:1=r1");
        assert_eq!(find(team(), &["r1 Alice/a:1 COMPLETED"], "a:1"), "a:1=r1");
        assert_eq!(find(team(), &["r1 prime/x/a:1 COMPLETED"], "a:1 b:1"), "a:1=r1");
        assert_eq!(find(Owner::Personal, &[alice], "a:2 b:1"), "alice/a:1=r1");
        // An exact name wins.
        assert_eq!(find(Owner::Personal, &[alice, own], "a:1"), "a:1=r2 alice/a:1=r1");
        assert_eq!(find(Owner::Personal, &[alice, own], "a:1 alice/a:1"), "a:1=r2 alice/a:1=r1");
        assert_eq!(find(Owner::Personal, &[alice], "a:1 alice/a:1"), "alice/a:1=r1");
        // Platform names may have several parts.
        assert_eq!(find(Owner::Platform, &[alice], "a:1"), "alice/a:1=r1");
        let other = "r3 bob/a:1 FAILED";
        assert_eq!(find(team(), &[other, alice], "a:1"), "a:1=r1 bob/a:1=r3");
    }

    /// Creates a service that lists these names in pages of two. Calls `change` before each page.
    fn paged(
        names: &[&str],
        with_total: bool,
        mut change: impl FnMut(usize, &mut Vec<String>) + Send + 'static,
    ) -> Arc<FakeServer> {
        let names = Mutex::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let mut pages = 0;
        FakeServer::new(move |request| {
            let mut names = names.lock().unwrap();
            change(pages, &mut names);
            pages += 1;
            let offset = request.line.split("offset=").nth(1).unwrap().split('&').next().unwrap();
            let page_names = names.iter().skip(offset.parse().unwrap()).take(2);
            let data: Vec<Value> =
                page_names.map(|name| row(&format!("{name} {name}:1 COMPLETED 05"))).collect();
            let mut page = json!({ "data": data, "limit": 2 });
            if with_total {
                page["total_count"] = json!(names.len());
            }
            Reply::json(200, &page)
        })
    }

    async fn names(fake: &Arc<FakeServer>) -> String {
        let client = Client::fake(fake);
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
    async fn a_listing_that_changes_while_it_is_read_hides_nothing() {
        // Before the second page, a new build moves the last image to the front.
        let fake = paged(&["a", "b", "c", "d", "e"], true, |page, names| {
            if page == 1 {
                names.rotate_right(1);
            }
        });
        assert_eq!((&*names(&fake).await, fake.requests().len()), ("eabcd", 6));
        // Before the second page, the first image is deleted, and the others move up.
        let fake = paged(&["a", "b", "c", "d", "e"], true, |page, names| {
            if page == 1 {
                names.remove(0);
            }
        });
        assert_eq!((&*names(&fake).await, fake.requests().len()), ("bcde", 4));
        // A listing that changes before every page.
        let fake = paged(&["a", "b", "c", "d", "e"], true, |_, names| names.rotate_right(1));
        let mut all: Vec<char> = names(&fake).await.chars().collect();
        all.sort_unstable();
        assert!(all.len() >= 4 && fake.requests().len() <= 9, "{all:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_listing_is_recognized() {
        let page = |rows: &[&str], extra: Value| {
            let mut page = json!({ "data": rows.iter().map(|text| row(text)).collect::<Vec<_>>() });
            page.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            page
        };
        let mut unreadable = page(&["r1 a:1 COMPLETED"], json!({ "total_count": 1 }));
        unreadable["data"][0]["status"] = Value::Null;
        let one = &["r1 a:1 COMPLETED"][..];
        for (page, complete) in [
            (page(&[], json!({})), true),
            (page(&[], json!({ "total_count": 0 })), true),
            (page(one, json!({ "total_count": 1 })), true),
            (page(one, json!({ "limit": 250 })), true),
            // A service without pages.
            (page(one, json!({})), true),
            (page(&[], json!({ "total_count": 2 })), false),
            (page(one, json!({ "total_count": 2, "limit": 250 })), false),
            // A full page that is repeated.
            (page(one, json!({ "limit": 1 })), false),
            (unreadable, false),
        ] {
            let fake = FakeServer::script([Reply::json(200, &page)]);
            let client = Client::fake(&fake);
            let inventory = list_images(&client, &Owner::Personal, None).await.unwrap();
            assert_eq!(inventory.complete, complete, "{page}");
        }
    }

    /// A service may grant a smaller page size than requested without stating it.
    #[tokio::test(start_paused = true)]
    async fn smaller_pages_than_requested_are_all_read() {
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
    async fn images_of_other_owners_are_left_out() {
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
            assert!(complete, "the service counts the images of all owners");
            let names: String = images.iter().map(|image| image.name.as_str()).collect();
            assert_eq!(names, expected, "{owner}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_listing_is_given_up() {
        let same =
            json!({ "data": [row("r1 a:1 COMPLETED")], "total_count": 1_000_000, "limit": 1 });
        let fake = FakeServer::script([Reply::json(200, &same)]);
        assert_eq!((&*names(&fake).await, fake.requests().len()), ("a", 2 * MAX_PASSES));
        let mut count = 0;
        let fake = FakeServer::new(move |_| {
            count += 1;
            let data = [row(&format!("r{count} n{count}:1 COMPLETED"))];
            Reply::json(200, &json!({ "data": data, "limit": 1 }))
        });
        let client = Client::fake(&fake);
        let error = list_images(&client, &Owner::Personal, Some("n")).await.unwrap_err();
        assert_eq!((error.kind, fake.requests().len()), (ErrorKind::BadResponse, MAX_PAGES));
    }
}
