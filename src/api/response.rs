//! Reads responses of the service, in every shape that was ever seen, into one form. Lenient: a
//! build ID is found whatever else is unexpected. Pure.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::error::{NO_REASON, is_quota, is_rate, shorten};
use crate::base::image_path::ImagePath;
use crate::base::name::{BuildId, Owner, Visibility};
use crate::base::secret::SignedUrl;

/// Maximum lifetime of an upload URL. No storage signs a URL for longer, and sums with a clock do
/// not overflow.
const MAX_URL_LIFETIME: Duration = Duration::from_secs(7 * 86_400);

/// A build that the service accepted.
#[derive(Debug, Clone)]
pub struct AcceptedBuild {
    /// ID of the build.
    pub build: BuildId,
    /// Path of the image once it is built.
    pub path: Option<ImagePath>,
    /// URL for the context; `None` for a transfer.
    pub upload: Option<SignedUrl>,
    /// Lifetime of the upload URL, if the service states it.
    pub expires_in: Option<Duration>,
    /// Visibility of the image once it is built.
    pub visibility: Option<Visibility>,
    /// Source of the transfer as it was requested. Only shapes b and c of the API contract, section
    /// 1, name it.
    pub source: Option<String>,
}

/// A source that the service refused, from a bulk response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSource {
    /// Reason of the refusal.
    pub message: String,
    /// True if the request may succeed when it is sent again.
    pub retryable: bool,
    /// The source as it was requested.
    pub source: Option<String>,
}

impl RefusedSource {
    /// Returns true if the source was refused for a rate limit of the service, so that waiting
    /// helps. A rate limit of a registry is a refusal like any other.
    pub fn is_rate(&self) -> bool {
        !self.is_quota() && is_rate(&self.message)
    }

    /// Returns true if the source was refused because a quota is used up.
    pub fn is_quota(&self) -> bool {
        is_quota(&self.message)
    }
}

/// Reads a response to `POST /images/build`: one result per build or source, in its order. Returns
/// `None` if it has neither a build ID nor a refusal.
pub(super) fn initiated(body: &Value) -> Option<Vec<Result<AcceptedBuild, RefusedSource>>> {
    let list = |key: &&str| body.get(*key)?.as_array().filter(|list| !list.is_empty());
    if let Some(results) = list(&"results") {
        return Some(results.iter().map(result).collect());
    }
    let ids = ["buildIds", "build_ids"].iter().find_map(list);
    let ids: Vec<BuildId> = ids.into_iter().flatten().filter_map(build_id).collect();
    let single = accepted(body);
    match (single, ids.len()) {
        (Some(single), 0 | 1) => Some(vec![Ok(single)]),
        // All builds of a comma-separated list share one object, whose path is that of the first.
        (single, 1..) => Some(
            ids.into_iter()
                .enumerate()
                .map(|(index, build)| {
                    let first = single.as_ref().filter(|_| index == 0);
                    let visibility = single.as_ref().and_then(|single| single.visibility);
                    let path = first.and_then(|first| first.path.clone());
                    let (upload, expires_in, source) = (None, None, None);
                    Ok(AcceptedBuild { build, path, upload, expires_in, visibility, source })
                })
                .collect(),
        ),
        (None, 0) => None,
    }
}

fn result(item: &Value) -> Result<AcceptedBuild, RefusedSource> {
    let failed = item.get("success").and_then(Value::as_bool) == Some(false);
    let source = text(item, &["sourceImage", "source_image"]).map(shorten);
    match item.get("build").and_then(accepted).or_else(|| accepted(item)) {
        Some(accepted) if !failed => Ok(AcceptedBuild { source, ..accepted }),
        _ => Err(RefusedSource {
            message: text(item, &["error"]).unwrap_or(NO_REASON).to_owned(),
            retryable: item.get("retryable").and_then(Value::as_bool).unwrap_or(false),
            source,
        }),
    }
}

fn accepted(item: &Value) -> Option<AcceptedBuild> {
    let build = first_id(item, &["build_id", "buildId"])?;
    Some(AcceptedBuild {
        build,
        path: text(item, &["fullImagePath", "full_image_path"]).and_then(pullable_path),
        upload: text(item, &["upload_url", "uploadUrl"]).map(|url| SignedUrl::new(url.to_owned())),
        expires_in: ["expires_in", "expiresIn"]
            .iter()
            .find_map(|key| item.get(*key)?.as_u64())
            .map(|seconds| Duration::from_secs(seconds).min(MAX_URL_LIFETIME)),
        source: None,
        visibility: text(item, &["visibility"]).and_then(|text| text.parse().ok()),
    })
}

/// Returns the path of a row: not that of the artifact in the storage, but the one to pull (API
/// contract, section 5).
fn row_path(row: &Value) -> Option<ImagePath> {
    let path = |keys| text(row, keys).and_then(pullable_path);
    path(&["fullImagePath", "full_image_path"]).or_else(|| path(&["displayRef", "display_ref"]))
}

/// Returns a path, unless it is one of the storage, which nobody can pull.
fn pullable_path(text: &str) -> Option<ImagePath> {
    ImagePath::new(text).filter(|path| !path.is_empty() && !path.as_str().starts_with("vm/"))
}

fn build_id(value: &Value) -> Option<BuildId> {
    BuildId::new(value.as_str()?)
}

/// Returns the first field that is a valid build ID.
fn first_id(object: &Value, keys: &[&str]) -> Option<BuildId> {
    keys.iter().find_map(|key| build_id(object.get(*key)?))
}

/// Returns the first field that is a text and not empty.
fn text<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| value.get(*key)?.as_str().filter(|text| !text.is_empty()))
}

/// Progress of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildProgress {
    /// Queued or running. Contains the status as the service writes it, which may be unknown.
    Running(String),
    /// The image can be pulled.
    Completed,
    /// The build failed, with this reason.
    Failed(String),
    /// The build was cancelled.
    Cancelled,
}

/// A build at the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteBuild {
    /// ID of the build, if the service states it.
    pub build: Option<BuildId>,
    /// Progress of the build.
    pub progress: BuildProgress,
    /// Path of the image, if the service states it.
    pub path: Option<ImagePath>,
    /// Name and tag of the image, if the service states them.
    pub image: Option<(String, String)>,
    /// Time of the creation, by the service's clock.
    pub created: Option<Timestamp>,
    /// Time of the start, by the service's clock.
    pub started: Option<Timestamp>,
    /// Time of the end, by the service's clock.
    pub completed: Option<Timestamp>,
}

impl RemoteBuild {
    /// Returns the duration of the build, without its time in the queue, by the service's clock.
    pub fn duration(&self) -> Option<Duration> {
        let (started, completed) = (self.started?, self.completed?);
        Duration::try_from(completed.duration_since(started)).ok()
    }

    /// Returns true if the build waits for its context or its start (API contract, section 2).
    pub fn waits_for_start(&self) -> bool {
        self.has_status("PENDING") || self.waits_for_context()
    }

    /// Returns true if the build waits for its context, and was therefore not started (API
    /// contract, section 2).
    pub fn waits_for_context(&self) -> bool {
        self.has_status("UPLOADING")
    }

    fn has_status(&self, status: &str) -> bool {
        matches!(&self.progress, BuildProgress::Running(word) if word.eq_ignore_ascii_case(status))
    }
}

/// A row of the listing of images: one build of an image, as a container or VM image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// ID of the row. It is not a build ID.
    pub id: Option<String>,
    /// Name of the image.
    pub name: String,
    /// Tag of the image.
    pub tag: String,
    /// Progress of the build.
    pub progress: BuildProgress,
    /// Path of the image, if the service states it.
    pub path: Option<ImagePath>,
    /// Visibility of the image, if the service states it.
    pub visibility: Option<Visibility>,
    /// Time of the push, by the service's clock.
    pub pushed: Option<Timestamp>,
    /// Time of the end of the build, by the service's clock.
    pub completed: Option<Timestamp>,
    /// Time of the start of the build, by the service's clock.
    pub started: Option<Timestamp>,
    /// Time of the creation of the build, by the service's clock.
    pub created: Option<Timestamp>,
    /// Owner of the image, if the service states it.
    pub owner: Option<Owner>,
    /// True for a container image, false for a VM image.
    pub container: bool,
}

/// Reads a row of the listing of images. Returns `None` if it has no name, tag or status.
pub(super) fn image_row(row: &Value) -> Option<ImageRow> {
    let progress = progress(row)?;
    let (name, tag) = image(row)?;
    let artifact_type = text(row, &["artifactType", "artifact_type"]);
    Some(ImageRow {
        id: text(row, &["id"]).map(shorten),
        name,
        tag,
        progress,
        path: row_path(row),
        visibility: text(row, &["visibility"]).and_then(|text| text.parse().ok()),
        pushed: time(row, &["pushedAt", "pushed_at"]),
        completed: time(row, &["completedAt", "completed_at"]),
        started: time(row, &["startedAt", "started_at"]),
        created: time(row, &["createdAt", "created_at"]),
        owner: owner(row),
        container: artifact_type.is_none_or(|of| of.eq_ignore_ascii_case("CONTAINER_IMAGE")),
    })
}

/// Returns the owner of an image, or `None` if its type is unknown.
fn owner(row: &Value) -> Option<Owner> {
    let team = || text(row, &["teamId", "team_id"]).map(|id| Owner::Team(shorten(id)));
    match text(row, &["ownerType", "owner_type"])? {
        "personal" => Some(Owner::Personal),
        "team" => team(),
        "platform" => Some(Owner::Platform),
        _ => None,
    }
}

fn progress(row: &Value) -> Option<BuildProgress> {
    let status = text(row, &["status"])?;
    Some(match status.to_ascii_uppercase().as_str() {
        "COMPLETED" => BuildProgress::Completed,
        "FAILED" => BuildProgress::Failed(failure(row)),
        "CANCELLED" | "CANCELED" => BuildProgress::Cancelled,
        _ => BuildProgress::Running(shorten(status)),
    })
}

/// Reads a build from a status response or a row of a listing. Returns `None` if it has no status.
pub(super) fn remote_build(row: &Value) -> Option<RemoteBuild> {
    let progress = progress(row)?;
    let path = artifacts(row)
        .find_map(|artifact| text(artifact, &["fullImagePath"]))
        .or_else(|| text(row, &["fullImagePath"]));
    Some(RemoteBuild {
        build: first_id(row, &["id", "build_id", "buildId"]),
        progress,
        path: path.and_then(pullable_path),
        image: image(row),
        created: time(row, &["createdAt"]),
        started: time(row, &["startedAt"]),
        completed: time(row, &["completedAt"]),
    })
}

fn image(row: &Value) -> Option<(String, String)> {
    let name = text(row, &["imageName", "image_name"])?;
    let tag = text(row, &["imageTag", "image_tag"])?;
    Some((shorten(name), shorten(tag)))
}

/// Reads a time. Without a time zone it is in UTC (API contract, section 1).
fn time(row: &Value, keys: &[&str]) -> Option<Timestamp> {
    let text = text(row, keys)?;
    text.parse().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(civil).ok()
    })
}

fn artifacts(row: &Value) -> impl Iterator<Item = &Value> {
    row.get("artifacts").and_then(Value::as_array).into_iter().flatten()
}

/// Returns the reason of a failed build: of each artifact, or in older responses of the build.
fn failure(row: &Value) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    for reason in artifacts(row).filter_map(error_message) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons.extend(error_message(row).filter(|_| reasons.is_empty()));
    match reasons[..] {
        [] => NO_REASON.to_owned(),
        _ => reasons.join("; "),
    }
}

fn error_message(value: &Value) -> Option<&str> {
    text(value, &["errorMessage", "error_message"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ids(body: &Value) -> Vec<Result<String, String>> {
        initiated(body)
            .unwrap_or_default()
            .into_iter()
            .map(|read| read.map(|a| a.build.to_string()).map_err(|r| r.message))
            .collect()
    }

    #[test]
    fn a_build_id_is_found_in_every_shape() {
        let ok = |id: &str| Ok(id.to_owned());
        let a = json!({"build_id": "1", "fullImagePath": "p", "upload_url": "u", "expires_in": 3});
        assert_eq!(ids(&a), [ok("1")]);
        let unexpected =
            json!({"buildId": "1", "expires_in": "soon", "visibility": 7, "news": [1]});
        assert_eq!(ids(&unexpected), [ok("1")]);
        let list = json!({"build_id": "1", "buildIds": ["1", "2"], "fullImagePath": "p"});
        assert_eq!(ids(&list), [ok("1"), ok("2")]);
        let b = json!({"results": [
            {"sourceImage": "x", "success": true, "buildId": "1"},
            {"sourceImage": "y", "success": false, "error": "no", "retryable": true},
        ], "failed": [{"sourceImage": "y", "success": false, "error": "no"}]});
        assert_eq!(ids(&b), [ok("1"), Err("no".to_owned())]);
        let c = json!({"results": [
            {"sourceImage": "x", "build": {"build_id": "1", "fullImagePath": "p"}},
            {"sourceImage": "y", "build": null, "error": "no"},
        ]});
        assert_eq!(ids(&c), [ok("1"), Err("no".to_owned())]);
        for body in [
            json!({"build_id": 7, "buildId": "1"}),
            json!({"build_id": null, "buildIds": null, "build_ids": ["1"]}),
            json!({"build_id": "1", "results": []}),
            json!({"results": [{"build": {}, "success": true, "buildId": "1"}]}),
        ] {
            assert_eq!(ids(&body), [ok("1")], "{body}");
        }
        for body in
            [json!({}), json!([]), json!(null), json!({"build_id": 3}), json!({"results": []})]
        {
            assert!(initiated(&body).is_none(), "{body}");
        }
    }

    #[test]
    fn sources_and_url_lifetimes_are_read() {
        let read = |body| initiated(&body).unwrap().remove(0);
        let b = read(json!({"results": [{"sourceImage": "x:1", "success": true, "buildId": "1"}]}));
        assert_eq!(b.unwrap().source.as_deref(), Some("x:1"));
        let c = json!({"results": [{"sourceImage": "y", "build": {"build_id": "1"}}]});
        assert_eq!(read(c).unwrap().source.as_deref(), Some("y"));
        let text = "Image transfer rate limit exceeded: 10/10 images";
        let no = json!({"results": [{"sourceImage": "z", "success": false, "error": text}]});
        let no = read(no).unwrap_err();
        assert_eq!((no.source.as_deref(), no.is_rate(), no.is_quota()), (Some("z"), true, false));
        for (expires_in, expected) in [
            (json!(3600), Some(3600)),
            (json!(u64::MAX), Some(7 * 86_400)),
            (json!(-1), None),
            (json!("soon"), None),
            (json!(null), None),
        ] {
            let accepted = read(json!({"build_id": "1", "expires_in": expires_in})).unwrap();
            assert_eq!(accepted.expires_in.map(|life| life.as_secs()), expected, "{expires_in}");
        }
    }

    #[test]
    fn rate_limits_of_registries_are_not_those_of_the_service() {
        for (message, expected) in [
            ("Image transfer rate limit exceeded: 10/10 images", true),
            ("HTTP 429: image transfer rate limit exceeded", true),
            ("Too Many Requests (per-token limit)", true),
            ("Rate limit exceeded", true),
            ("rate limit exceeded.", true),
            ("Rate limit exceeded: 150 per 60 seconds", true),
            ("toomanyrequests: You have reached your pull rate limit.", false),
            ("toomanyrequests: Rate exceeded", false),
            ("docker.io: rate limit exceeded", false),
            ("Failed to pull ghcr.io/a/b: rate limit exceeded", false),
            ("ghcr.io answered: too many requests", false),
            ("429 Too Many Requests", false),
            ("Image limit exceeded. Personal has 100 images.", false),
            ("Image storage limit exceeded", false),
            ("", false),
        ] {
            let refused =
                RefusedSource { message: message.to_owned(), retryable: false, source: None };
            assert_eq!(refused.is_rate(), expected, "{message}");
        }
    }

    #[test]
    fn invalid_ids_are_skipped() {
        for (row, expected) in [
            (json!({"id": "1", "build_id": "2"}), Some("1")),
            (json!({"id": 7, "build_id": "2"}), Some("2")),
            (json!({"id": null, "build_id": "2"}), Some("2")),
            (json!({"id": "", "build_id": 3, "buildId": "4"}), Some("4")),
            (json!({"id": 7}), None),
        ] {
            let mut row = row;
            row["status"] = json!("BUILDING");
            let build = remote_build(&row).unwrap().build;
            assert_eq!(build.as_ref().map(BuildId::as_str), expected, "{row}");
        }
    }

    #[test]
    fn image_and_times_of_a_build_are_read() {
        let build = |created: &str| {
            let row = json!({
                "status": "BUILDING", "imageName": "api", "imageTag": "v1", "createdAt": created,
            });
            remote_build(&row).unwrap()
        };
        let zoned: Timestamp = "2026-08-01T10:00:00.5Z".parse().unwrap();
        for text in
            ["2026-08-01T10:00:00.5Z", "2026-08-01T12:00:00.5+02:00", "2026-08-01T10:00:00.5"]
        {
            assert_eq!(build(text).created, Some(zoned), "{text}");
        }
        assert_eq!(build("yesterday").created, None);
        assert_eq!(build("").image, Some(("api".to_owned(), "v1".to_owned())));
        let bare = remote_build(&json!({"status": "BUILDING", "imageName": "api", "createdAt": 3}));
        assert_eq!(
            bare.map(|bare| (bare.image, bare.created, bare.started)),
            Some((None, None, None))
        );
    }

    #[test]
    fn image_rows_are_read_in_every_spelling() {
        let camel = json!({
            "id": "r-1", "artifactType": "CONTAINER_IMAGE", "imageName": "api", "imageTag": "v1",
            "status": "COMPLETED", "fullImagePath": "prime/me/api:v1", "visibility": "PUBLIC",
            "createdAt": "2026-08-01T10:00:00", "startedAt": "2026-08-01T10:00:01Z",
            "completedAt": "2026-08-01T12:00:02+02:00", "pushedAt": "2026-08-01T10:00:03",
        });
        let snake = json!({
            "id": "r-1", "image_name": "api", "image_tag": "v1", "status": "completed",
            "full_image_path": "prime/me/api:v1", "visibility": "public",
            "created_at": "2026-08-01T10:00:00", "started_at": "2026-08-01T10:00:01Z",
            "completed_at": "2026-08-01T12:00:02+02:00", "pushed_at": "2026-08-01T10:00:03",
        });
        let read = image_row(&camel).unwrap();
        assert_eq!(image_row(&snake).unwrap(), read);
        let second = |time: Option<Timestamp>| time.unwrap().as_second() % 60;
        let times = [read.created, read.started, read.completed, read.pushed].map(second);
        assert_eq!(
            (times, read.container, read.progress),
            ([0, 1, 2, 3], true, BuildProgress::Completed)
        );
        let row = |extra: Value| {
            let mut row = json!({ "imageName": "a\u{1b}[2Jb", "imageTag": "v1", "status": "X\n" });
            row.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            image_row(&row)
        };
        let unexpected =
            row(json!({ "visibility": 7, "pushedAt": "soon", "fullImagePath": "a b" }));
        let unexpected = unexpected.unwrap();
        assert_eq!(
            (&*unexpected.name, unexpected.progress),
            ("a [2Jb", BuildProgress::Running("X".to_owned()))
        );
        assert_eq!((unexpected.visibility, unexpected.pushed, unexpected.path), (None, None, None));
        assert!(!row(json!({ "artifactType": "VM_SANDBOX" })).unwrap().container);
        for (fields, expected) in [
            (json!({ "ownerType": "personal", "teamId": "t" }), Some(Owner::Personal)),
            (json!({ "ownerType": "team", "teamId": "t" }), Some(Owner::Team("t".to_owned()))),
            (json!({ "owner_type": "platform" }), Some(Owner::Platform)),
            (json!({ "ownerType": "team" }), None),
            (json!({ "ownerType": "guild", "teamId": "t" }), None),
        ] {
            assert_eq!(row(fields.clone()).unwrap().owner, expected, "{fields}");
        }
        for unreadable in
            [json!({ "imageName": 3 }), json!({ "imageTag": "" }), json!({ "status": null })]
        {
            assert_eq!(row(unreadable.clone()), None, "{unreadable}");
        }
        assert_eq!(image_row(&json!("row")), None);
    }

    #[test]
    fn unsafe_paths_are_ignored() {
        for (path, is_safe) in [
            ("prime/local/api:v1", true),
            ("registry.test:5000/x@sha256:00", true),
            ("x\nRUN evil", false),
            ("x\u{1b}[2J", false),
            ("x y", false),
        ] {
            let body = json!({ "build_id": "1", "fullImagePath": path });
            let read = initiated(&body).unwrap().remove(0).unwrap();
            assert_eq!(read.path.is_some(), is_safe, "{path:?}");
        }
    }

    #[test]
    fn the_reason_of_a_failed_build_is_read() {
        let progress = |row: Value| remote_build(&row).map(|build| build.progress);
        let failed = |text: &str| Some(BuildProgress::Failed(text.to_owned()));
        let artifacts = json!([{"status": "FAILED", "errorMessage": "a"}, {"errorMessage": "b"}]);
        assert_eq!(progress(json!({"status": "FAILED", "artifacts": artifacts})), failed("a; b"));
        assert_eq!(progress(json!({"status": "failed", "errorMessage": "flat"})), failed("flat"));
        assert_eq!(progress(json!({"status": "FAILED"})), failed(NO_REASON));
        let unknown = Some(BuildProgress::Running("QUANTUM".to_owned()));
        assert_eq!(progress(json!({"status": "QUANTUM", "artifacts": 3})), unknown);
        assert_eq!(progress(json!({"status": "COMPLETED"})), Some(BuildProgress::Completed));
        assert_eq!(progress(json!({"status": 3})), None);
    }
}
