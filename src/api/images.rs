//! The images that the service has: lists them by pages, and deletes one.

use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::call::{Answer, Call};
use super::client::{Client, next, total};
use super::error::{ApiError, DELETE, ErrorKind};
use super::inventory::Seen;
use super::response::{self, BuildProgress, ImageRow};
use super::retry::{Attempts, Repeat};
use crate::base::limit::Class;
use crate::base::name::{ImageRef, Owner};

/// Images a page of the listing holds: the most that the provider's own client asks for.
pub(super) const IMAGES_PER_PAGE: u64 = 250;

/// A page of the listing of images. What it counts are images, each of which may have several rows
/// (`api.md` §3).
#[derive(Debug, Clone)]
pub struct ImagesPage {
    /// The rows that could be read, in the service's order.
    pub rows: Vec<ImageRow>,
    /// How many rows could not be read. Each may be of an image of its own.
    pub unread: usize,
    /// How many images are on it at most, where the service says.
    pub limit: Option<u64>,
    /// How many images there are in all, where the service says.
    pub total: Option<u64>,
    /// Where the next page begins; none where this is the last.
    pub next: Option<u64>,
    /// The service's clock when it answered, to the second.
    pub now: Option<Timestamp>,
}

impl Client {
    /// `GET /images`: a page of an owner's images; only those that a search finds, if there is one:
    /// by a part of their name, tag or reference, in any case.
    pub async fn images(
        &self,
        owner: &Owner,
        search: Option<&str>,
        offset: u64,
    ) -> Result<ImagesPage, ApiError> {
        let search = search.filter(|search| !search.is_empty()).map(escape);
        let search = search.map(|search| format!("&search={search}")).unwrap_or_default();
        let scope = scope(owner).map(|scope| format!("&{scope}")).unwrap_or_default();
        let limit = IMAGES_PER_PAGE;
        let path = format!("/images?offset={offset}&limit={limit}{scope}{search}");
        let call = Call::get(Class::List, "list the images", path);
        let mut tries = Attempts::new(Repeat::Safe);
        let read = |answer: &Answer<'_>| {
            let value = answer.json()?;
            let rows = value.get("data").and_then(Value::as_array);
            let rows = rows.ok_or_else(|| answer.odd("the answer has no `data`"))?;
            let views: Vec<ImageRow> = rows.iter().filter_map(|row| self.row(row)).collect();
            let unread = rows.len() - views.len();
            let images = (Seen::of(&views).images() + unread) as u64;
            let granted = value.get("limit").and_then(Value::as_u64).filter(|limit| *limit > 0);
            // Where it does not say what it granted, that is what is there: to go on by what was
            // asked for would leave images out. Only a page without any is surely the last then.
            let step = if granted.is_some() { limit } else { images.min(limit) };
            let total = total(&value);
            let next = next(offset, images, (step, value.get("limit")), total);
            let next = next.filter(|_| images > 0);
            Ok(ImagesPage { rows: views, unread, limit: granted, total, next, now: answer.now })
        };
        self.call(&call, &mut tries, None, read).await
    }

    fn row(&self, row: &Value) -> Option<ImageRow> {
        let mut view = response::image_view(row)?;
        if let BuildProgress::Failed(reason) = &mut view.progress {
            *reason = self.clean(reason);
        }
        Some(view)
    }

    /// `DELETE /images/{name}/{tag}`: deletes an owner's image, with all its builds. `stop` ends the
    /// wait for a turn, never a request that has left.
    ///
    /// It may be sent again as it is. An image that the service does not know is a success, on the
    /// first try as well: an answer may have been lost in an earlier run, and what was wanted, that
    /// there is no such image, is so. That there is no such endpoint says nothing of the image.
    pub async fn delete(
        &self,
        owner: &Owner,
        image: &ImageRef,
        stop: &CancellationToken,
    ) -> Result<(), ApiError> {
        // A platform image's name may hold slashes, which stand in the path as they are.
        let name: Vec<String> = image.name.as_str().split('/').map(escape).collect();
        let tag = escape(image.tag.as_str());
        let scope = scope(owner).map(|scope| format!("?{scope}")).unwrap_or_default();
        let path = format!("/images/{}/{tag}{scope}", name.join("/"));
        let call = Call { method: Method::DELETE, ..Call::get(Class::Delete, DELETE, path) };
        let call = Call { stop: Some(stop), ..call };
        let mut tries = Attempts::new(Repeat::Safe);
        let read = |answer: &Answer<'_>| answer.not_html();
        match self.call(&call, &mut tries, None, read).await {
            Err(error) if error.kind == ErrorKind::NotFound && !error.is_of_endpoint() => Ok(()),
            other => other,
        }
    }
}

/// The part of a query that says whose images are meant; a personal account is meant without one.
fn scope(owner: &Owner) -> Option<String> {
    match owner {
        Owner::Personal => None,
        Owner::Team(id) => Some(format!("teamId={}", escape(id))),
        Owner::Platform => Some("ownerScope=platform".to_owned()),
    }
}

/// A text as it may stand in a URL, whatever is in it.
fn escape(text: &str) -> String {
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

    #[tokio::test(start_paused = true)]
    async fn pages_count_images_and_not_rows() {
        let row = |name: &str| json!({ "imageName": name, "imageTag": "1", "status": "COMPLETED" });
        let page = |extra: Value| {
            let mut page = json!({ "data": [row("a"), row("a"), row("b"), 7], "limit": 2 });
            page.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            Reply::json(200, &page)
        };
        for (extra, expected) in [
            (json!({ "total_count": 9 }), Some(6)),
            (json!({ "totalCount": 6 }), None),
            // Two images and one that cannot be read are a page of two, and more.
            (json!({}), Some(6)),
            (json!({ "limit": 250 }), None),
            // It does not say how many it granted.
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
    async fn a_deletion_may_come_twice() {
        let gone = Reply::detail(404, "Image ns/app:v1 not found");
        let (lost, busy) = (Reply::Broken { sent: true }, Reply::detail(503, "busy"));
        let page = Reply::new(404, "default backend - 404");
        for (replies, requests) in [
            (vec![Reply::json(200, &json!({ "success": true }))], 1),
            (vec![Reply::new(204, "")], 1),
            (vec![gone.clone()], 1),
            (vec![lost, busy, gone.clone()], 3),
            (vec![page, Reply::html(), gone], 3),
        ] {
            let fake = FakeServer::script(replies);
            let client = Client::fake(&fake);
            let stop = CancellationToken::new();
            client.delete(&team(), &"ns/app:v1".parse().unwrap(), &stop).await.unwrap();
            assert_eq!(fake.lines(), vec!["DELETE /images/ns/app/v1?teamId=t%26x%3D1"; requests]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_cannot_delete_has_deleted_nothing() {
        let fake = FakeServer::script([Reply::detail(404, "Not Found")]);
        let client = Client::fake(&fake);
        let (stop, image) = (CancellationToken::new(), "app:v1".parse().unwrap());
        let error = client.delete(&Owner::Personal, &image, &stop).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot delete the image (HTTP 404): Not Found");
        assert!(error.help().unwrap().contains("has no such endpoint"));
        assert!(!error.stops_run());
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_not_delete_one_image_may_delete_others() {
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
