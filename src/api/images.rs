//! Images of the service: lists them page by page, and deletes one.

use std::collections::{HashMap, HashSet};

use reqwest::Method;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::call::{Call, CallResponse};
use super::client::{Client, next_offset, total};
use super::error::{ApiError, DELETE, ErrorKind};
use super::response::{self, BuildProgress, ImageRow};
use super::retry::{Attempts, Repeat};
use crate::base::limit::Class;
use crate::base::name::{ImageRef, Owner};

/// Requested number of images per page: the maximum that the provider's own client requests.
pub(super) const IMAGES_PER_PAGE: u64 = 250;

/// A page of the listing of images. The service counts images, each of which may have several rows
/// (API contract, section 3).
#[derive(Debug, Clone)]
pub struct ImagesPage {
    /// The rows that could be read, in the service's order.
    pub rows: Vec<ImageRow>,
    /// Number of rows that could not be read. Each may belong to another image.
    pub unreadable: usize,
    /// Maximum number of images per page, if the service states it.
    pub limit: Option<u64>,
    /// Total number of images, if the service states it.
    pub total: Option<u64>,
    /// Offset of the next page; `None` on the last page.
    pub next: Option<u64>,
}

/// The distinct images of some rows, of all owners. This is what the service counts (API
/// contract, section 3).
#[derive(Default)]
pub(super) struct DistinctImages {
    /// Named owners of each name and tag.
    owners: HashMap<(String, String), HashSet<Owner>>,
    count: usize,
}

impl DistinctImages {
    pub(super) fn of(rows: &[ImageRow]) -> Self {
        let mut images = Self::default();
        images.add(rows);
        images
    }

    pub(super) fn add(&mut self, rows: &[ImageRow]) {
        for row in rows {
            let keys_before = self.owners.len();
            let owners = self.owners.entry((row.name.clone(), row.tag.clone())).or_default();
            let owners_before = owners.len();
            owners.extend(row.owner.clone());
            // A first owner may own the image that was counted without one.
            let is_further_owner = owners_before > 0 && owners.len() > owners_before;
            self.count += usize::from(is_further_owner || self.owners.len() > keys_before);
        }
    }

    /// Returns the number of images. A row without an owner may belong to any of the named owners.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

impl Client {
    /// `GET /images`: returns the page of an owner's images at an offset. `search` selects images
    /// whose name, tag or reference contains it, in any case.
    ///
    /// # Errors
    ///
    /// Fails if the request fails for good.
    pub async fn images(
        &self,
        owner: &Owner,
        search: Option<&str>,
        offset: u64,
    ) -> Result<ImagesPage, ApiError> {
        let search = search.filter(|search| !search.is_empty()).map(percent_encode);
        let search = search.map(|search| format!("&search={search}")).unwrap_or_default();
        let scope = owner_query(owner).map(|scope| format!("&{scope}")).unwrap_or_default();
        let limit = IMAGES_PER_PAGE;
        let path = format!("/images?offset={offset}&limit={limit}{scope}{search}");
        let call = Call::get(Class::List, "list the images", path);
        let mut attempts = Attempts::new(Repeat::Safe);
        let read = |response: &CallResponse<'_>| {
            let page = response.json()?;
            let data = page.get("data").and_then(Value::as_array);
            let data = data.ok_or_else(|| response.bad("the response has no `data`"))?;
            let rows: Vec<ImageRow> = data.iter().filter_map(|row| self.image_row(row)).collect();
            let unreadable = data.len() - rows.len();
            let images = (DistinctImages::of(&rows).count() + unreadable) as u64;
            let granted = page.get("limit").and_then(Value::as_u64).filter(|limit| *limit > 0);
            // A service that does not state the granted limit may have granted less than requested.
            // Then the images on the page are the step, and only an empty page is surely the last.
            let step = if granted.is_some() { limit } else { images.min(limit) };
            let total = total(&page);
            let next = next_offset(offset, images, (step, page.get("limit")), total);
            let next = next.filter(|_| images > 0);
            Ok(ImagesPage { rows, unreadable, limit: granted, total, next })
        };
        self.caller.call(&call, &mut attempts, None, read).await
    }

    fn image_row(&self, row: &Value) -> Option<ImageRow> {
        let mut row = response::image_row(row)?;
        if let BuildProgress::Failed(reason) = &mut row.progress {
            *reason = self.caller.clean(reason);
        }
        Some(row)
    }

    /// `DELETE /images/{name}/{tag}`: deletes an owner's image with all its builds. `stop` ends the
    /// wait for the rate limit, never a request that was sent.
    ///
    /// Returns false if the service does not know the image. After an attempt whose response was
    /// lost, an unknown image is a deleted one.
    ///
    /// # Errors
    ///
    /// Fails if the request fails for good, and if the service has no such endpoint.
    pub async fn delete(
        &self,
        owner: &Owner,
        image: &ImageRef,
        stop: &CancellationToken,
    ) -> Result<bool, ApiError> {
        // The name of a platform image may contain slashes, which are not encoded.
        let name: Vec<String> = image.name.as_str().split('/').map(percent_encode).collect();
        let tag = percent_encode(image.tag.as_str());
        let scope = owner_query(owner).map(|scope| format!("?{scope}")).unwrap_or_default();
        let path = format!("/images/{}/{tag}{scope}", name.join("/"));
        let call = Call::new(Class::Delete, DELETE, Method::DELETE, path).until(Some(stop));
        let mut attempts = Attempts::new(Repeat::Safe);
        let read = |response: &CallResponse<'_>| response.reject_html();
        match self.caller.call(&call, &mut attempts, None, read).await {
            Err(error) if error.kind == ErrorKind::NotFound && !error.is_missing_endpoint() => {
                Ok(attempts.may_have_taken_effect())
            }
            result => result.map(|()| true),
        }
    }
}

/// Returns the query parameter that names an owner. The personal account is the default.
fn owner_query(owner: &Owner) -> Option<String> {
    match owner {
        Owner::Personal => None,
        Owner::Team(id) => Some(format!("teamId={}", percent_encode(id))),
        Owner::Platform => Some("ownerScope=platform".to_owned()),
    }
}

/// Percent-encodes a text for a path segment or query value of a URL.
fn percent_encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::fake::{FakeServer, Reply};

    fn team() -> Owner {
        Owner::Team("t&x=1".to_owned())
    }

    #[test]
    fn an_image_counts_once_for_each_owner() {
        let row = |name: &str, owner: Option<&str>| {
            let row = json!({
                "imageName": name, "imageTag": "1", "status": "COMPLETED", "ownerType": owner,
                "teamId": "t",
            });
            response::image_row(&row).unwrap()
        };
        let (team, personal) = (Some("team"), Some("personal"));
        for (rows, count) in [
            (&[][..], 0),
            (&[("a", None), ("a", None), ("b", None)], 2),
            (&[("a", None), ("a", team), ("a", team)], 1),
            (&[("a", team), ("a", None), ("a", personal)], 2),
        ] {
            let rows: Vec<ImageRow> = rows.iter().map(|(name, owner)| row(name, *owner)).collect();
            assert_eq!(DistinctImages::of(&rows).count(), count, "{rows:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pages_count_images_not_rows() {
        let row = |name: &str| json!({ "imageName": name, "imageTag": "1", "status": "COMPLETED" });
        let page = |extra: Value| {
            let mut page = json!({ "data": [row("a"), row("a"), row("b"), 7], "limit": 2 });
            page.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            Reply::json(200, &page)
        };
        for (extra, expected) in [
            (json!({ "total_count": 9 }), Some(6)),
            (json!({ "totalCount": 6 }), None),
            // Two images and an unreadable row fill a page of two.
            (json!({}), Some(6)),
            (json!({ "limit": 250 }), None),
            // The service does not state the granted limit.
            (json!({ "limit": null, "total_count": 9 }), Some(7)),
            (json!({ "limit": null, "total_count": 7 }), None),
            (json!({ "limit": null }), Some(7)),
            (json!({ "limit": 0, "data": [] }), None),
            (json!({ "data": [], "total_count": 9 }), None),
        ] {
            let fake = FakeServer::script([page(extra.clone())]);
            let client = Client::fake(&fake);
            let page = client.images(&Owner::Personal, None, 4).await.unwrap();
            assert_eq!(page.next, expected, "{extra}");
            assert_eq!(fake.lines(), ["GET /images?offset=4&limit=250"]);
        }
        let fake = FakeServer::script([page(json!({}))]);
        let client = Client::fake(&fake);
        for (owner, search) in
            [(team(), Some("a b/ä")), (Owner::Platform, Some("")), (Owner::Personal, Some("x"))]
        {
            client.images(&owner, search, 0).await.unwrap();
        }
        assert_eq!(
            fake.lines(),
            [
                "GET /images?offset=0&limit=250&teamId=t%26x%3D1&search=a%20b%2F%C3%A4",
                "GET /images?offset=0&limit=250&ownerScope=platform",
                "GET /images?offset=0&limit=250&search=x",
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_image_counts_as_deleted_only_after_a_lost_response() {
        let not_found = Reply::detail(404, "Image ns/app:v1 not found");
        let (lost, busy) = (Reply::Broken { sent: true }, Reply::detail(503, "busy"));
        let page = Reply::new(404, "default backend - 404");
        for (replies, requests, deleted) in [
            (vec![Reply::json(200, &json!({ "success": true }))], 1, true),
            (vec![Reply::new(204, "")], 1, true),
            (vec![not_found.clone()], 1, false),
            (vec![Reply::Broken { sent: false }, not_found.clone()], 2, false),
            (vec![lost, busy, not_found.clone()], 3, true),
            (vec![page, Reply::html(), not_found], 3, true),
        ] {
            let fake = FakeServer::script(replies);
            let client = Client::fake(&fake);
            let stop = CancellationToken::new();
            let image = "ns/app:v1".parse().unwrap();
            assert_eq!(client.delete(&team(), &image, &stop).await, Ok(deleted));
            assert_eq!(fake.lines(), vec!["DELETE /images/ns/app/v1?teamId=t%26x%3D1"; requests]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_endpoint_is_not_an_unknown_image() {
        let fake = FakeServer::script([Reply::detail(404, "Not Found")]);
        let client = Client::fake(&fake);
        let (stop, image) = (CancellationToken::new(), "app:v1".parse().unwrap());
        let error = client.delete(&Owner::Personal, &image, &stop).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot delete the image (HTTP 404): Not Found");
        assert!(error.help().unwrap().contains("has no such endpoint"));
        assert!(!error.stops_run());
    }

    #[tokio::test(start_paused = true)]
    async fn a_forbidden_deletion_does_not_stop_the_run() {
        let fake = FakeServer::script([Reply::detail(403, "Not the creator")]);
        let client = Client::fake(&fake);
        let (stop, image) = (CancellationToken::new(), "app:v1".parse().unwrap());
        let error = client.delete(&Owner::Platform, &image, &stop).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot delete the image (HTTP 403): Not the creator");
        assert!(error.help().unwrap().contains("an admin of its team"));
        assert!(!error.stops_run());
        assert_eq!(fake.lines(), ["DELETE /images/app/v1?ownerScope=platform"]);
    }
}
