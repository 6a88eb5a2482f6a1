//! Reads what the service answers into one form, whatever shape it came in. Lenient: whatever else
//! is odd about an answer, a build ID in it is found. Pure.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::error::{is_quota, is_rate, shorten};
use crate::base::name::{BuildId, Owner, Visibility};
use crate::base::secret::SignedUrl;

/// No storage signs a URL for longer; so sums with a clock cannot overflow.
const LONGEST_URL: Duration = Duration::from_secs(7 * 86_400);

/// A build that the service accepted.
#[derive(Debug, Clone)]
pub struct AcceptedBuild {
    /// Its ID.
    pub build: BuildId,
    /// Where the image will be.
    pub path: Option<String>,
    /// Where the context goes; none for a transfer.
    pub upload: Option<SignedUrl>,
    /// For how long the upload's URL is good, where the service says.
    pub expires_in: Option<Duration>,
    /// Who will be able to pull it.
    pub visibility: Option<Visibility>,
    /// The source that it transfers, as it was asked for: shapes b and c of `api.md` §2 name it.
    pub source: Option<String>,
}

/// A source that the service did not take, out of a bulk answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSource {
    /// Why.
    pub message: String,
    /// Whether asking again may help.
    pub retryable: bool,
    /// The source, as it was asked for.
    pub source: Option<String>,
}

impl RefusedSource {
    /// Whether it was refused for a rate of the service, and waiting is all that is asked. What a
    /// registry says of a rate of its own is a refusal like any other.
    pub fn is_rate(&self) -> bool {
        !self.is_quota() && is_rate(&self.message)
    }

    /// Whether it was refused for lack of quota.
    pub fn is_quota(&self) -> bool {
        is_quota(&self.message)
    }
}

/// Reads an answer to `POST /images/build`: one result for each build or source in it, in its
/// order. `None` where there is no build ID and no refusal in it at all.
pub fn initiated(answer: &Value) -> Option<Vec<Result<AcceptedBuild, RefusedSource>>> {
    let list = |key: &&str| answer.get(*key)?.as_array().filter(|list| !list.is_empty());
    if let Some(results) = list(&"results") {
        return Some(results.iter().map(result).collect());
    }
    let ids = ["buildIds", "build_ids"].iter().find_map(list);
    let ids: Vec<BuildId> = ids.into_iter().flatten().filter_map(build_id).collect();
    let single = accepted(answer);
    match (single, ids.len()) {
        (Some(single), 0 | 1) => Some(vec![Ok(single)]),
        // Several builds of a comma list share one object: its path is that of the first alone.
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
            message: text(item, &["error"]).unwrap_or("the service gave no reason").to_owned(),
            retryable: item.get("retryable").and_then(Value::as_bool).unwrap_or(false),
            source,
        }),
    }
}

fn accepted(answer: &Value) -> Option<AcceptedBuild> {
    let build = first_id(answer, &["build_id", "buildId"])?;
    Some(AcceptedBuild {
        build,
        path: text(answer, &["fullImagePath", "full_image_path"]).and_then(image_path),
        upload: text(answer, &["upload_url", "uploadUrl"])
            .map(|url| SignedUrl::new(url.to_owned())),
        expires_in: ["expires_in", "expiresIn"]
            .iter()
            .find_map(|key| answer.get(*key)?.as_u64())
            .map(|seconds| Duration::from_secs(seconds).min(LONGEST_URL)),
        source: None,
        visibility: text(answer, &["visibility"]).and_then(|text| text.parse().ok()),
    })
}

/// A path goes into Dockerfiles and onto terminals, so it may only hold what references hold.
fn image_path(text: &str) -> Option<String> {
    let ok =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@' | '+');
    (text.len() <= 1024 && text.chars().all(ok)).then(|| text.to_owned())
}

fn build_id(value: &Value) -> Option<BuildId> {
    BuildId::new(value.as_str()?)
}

/// The first of some fields that is a build's ID: one that is none hides no other.
fn first_id(answer: &Value, keys: &[&str]) -> Option<BuildId> {
    keys.iter().find_map(|key| build_id(answer.get(*key)?))
}

/// The first of some fields that is a text.
fn text<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| value.get(*key)?.as_str().filter(|text| !text.is_empty()))
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildProgress {
    /// Not at its end; the service's own word for it, known to us or not.
    Running(String),
    /// The image is there.
    Completed,
    /// It failed, for this reason.
    Failed(String),
    /// Somebody stopped it.
    Cancelled,
}

/// What the service says of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteBuild {
    /// The build.
    pub build: Option<BuildId>,
    /// How far it is.
    pub progress: BuildProgress,
    /// Where the image is, where it says so.
    pub path: Option<String>,
    /// The image's name and tag, where it says so.
    pub image: Option<(String, String)>,
    /// When it was initiated, by the service's clock.
    pub created: Option<Timestamp>,
    /// When it was started, likewise.
    pub started: Option<Timestamp>,
    /// When it ended, likewise.
    pub completed: Option<Timestamp>,
}

impl RemoteBuild {
    /// Whether the build waits for its context, or to be started (`api.md` §2).
    pub fn waits_for_start(&self) -> bool {
        self.is("PENDING") || self.waits_for_context()
    }

    /// Whether the build waits for its context, and so was not started (`api.md` §2).
    pub fn waits_for_context(&self) -> bool {
        self.is("UPLOADING")
    }

    fn is(&self, status: &str) -> bool {
        matches!(&self.progress, BuildProgress::Running(word) if word.eq_ignore_ascii_case(status))
    }
}

/// What the service says in a row of its listing of images: of one build of an image, for one use
/// of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// The row's ID, which is not that of a build.
    pub id: Option<String>,
    /// The image's name.
    pub name: String,
    /// Its tag.
    pub tag: String,
    /// How far its build is.
    pub progress: BuildProgress,
    /// Where the image is, where it says so.
    pub path: Option<String>,
    /// Who can pull it.
    pub visibility: Option<Visibility>,
    /// When it was pushed, by the service's clock.
    pub pushed: Option<Timestamp>,
    /// When its build ended, likewise.
    pub completed: Option<Timestamp>,
    /// When its build was started, likewise.
    pub started: Option<Timestamp>,
    /// When its build was initiated, likewise.
    pub created: Option<Timestamp>,
    /// Whose it is, where it says so.
    pub owner: Option<Owner>,
    /// Whether it is a container's image, and not one for virtual machines.
    pub container: bool,
}

/// Reads a row of the listing of images. `None` where it names no image, or has no status.
pub fn image_view(row: &Value) -> Option<ImageRow> {
    let progress = progress(row)?;
    let (name, tag) = image(row)?;
    let kind = text(row, &["artifactType", "artifact_type"]);
    Some(ImageRow {
        id: text(row, &["id"]).map(shorten),
        name,
        tag,
        progress,
        path: text(row, &["fullImagePath", "full_image_path"]).and_then(image_path),
        visibility: text(row, &["visibility"]).and_then(|text| text.parse().ok()),
        pushed: time(row, &["pushedAt", "pushed_at"]),
        completed: time(row, &["completedAt", "completed_at"]),
        started: time(row, &["startedAt", "started_at"]),
        created: time(row, &["createdAt", "created_at"]),
        owner: owner(row),
        container: kind.is_none_or(|kind| kind.eq_ignore_ascii_case("CONTAINER_IMAGE")),
    })
}

/// Whose an image is. A word of later days says nothing.
fn owner(row: &Value) -> Option<Owner> {
    let team = || text(row, &["teamId", "team_id"]).map(|id| Owner::Team(shorten(id)));
    match text(row, &["ownerType", "owner_type"])? {
        "personal" => Some(Owner::Personal),
        "team" => team(),
        "platform" => Some(Owner::Platform),
        _ => None,
    }
}

fn progress(answer: &Value) -> Option<BuildProgress> {
    let status = text(answer, &["status"])?;
    Some(match status.to_ascii_uppercase().as_str() {
        "COMPLETED" => BuildProgress::Completed,
        "FAILED" => BuildProgress::Failed(failure(answer)),
        "CANCELLED" | "CANCELED" => BuildProgress::Cancelled,
        _ => BuildProgress::Running(shorten(status)),
    })
}

/// Reads a build out of a status answer or a listing. `None` where it has no status.
pub fn build_view(answer: &Value) -> Option<RemoteBuild> {
    let progress = progress(answer)?;
    let path = artifacts(answer)
        .find_map(|artifact| text(artifact, &["fullImagePath"]))
        .or_else(|| text(answer, &["fullImagePath"]));
    Some(RemoteBuild {
        build: first_id(answer, &["id", "build_id", "buildId"]),
        progress,
        path: path.and_then(image_path),
        image: image(answer),
        created: time(answer, &["createdAt"]),
        started: time(answer, &["startedAt"]),
        completed: time(answer, &["completedAt"]),
    })
}

fn image(answer: &Value) -> Option<(String, String)> {
    let name = text(answer, &["imageName", "image_name"])?;
    let tag = text(answer, &["imageTag", "image_tag"])?;
    Some((shorten(name), shorten(tag)))
}

/// A time; without a zone it is in UTC (`api.md` §1).
fn time(answer: &Value, keys: &[&str]) -> Option<Timestamp> {
    let text = text(answer, keys)?;
    text.parse().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(civil).ok()
    })
}

fn artifacts(answer: &Value) -> impl Iterator<Item = &Value> {
    answer.get("artifacts").and_then(Value::as_array).into_iter().flatten()
}

/// Why a build failed: the artifacts say it, each for itself; older answers said it at the top.
fn failure(answer: &Value) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    for reason in artifacts(answer).filter_map(error_message) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons.extend(error_message(answer).filter(|_| reasons.is_empty()));
    match reasons[..] {
        [] => "the service gave no reason".to_owned(),
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

    fn ids(answer: &Value) -> Vec<Result<String, String>> {
        initiated(answer)
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
        let odd = json!({"buildId": "1", "expires_in": "soon", "visibility": 7, "news": [1]});
        assert_eq!(ids(&odd), [ok("1")]);
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
        for hidden in [
            json!({"build_id": 7, "buildId": "1"}),
            json!({"build_id": null, "buildIds": null, "build_ids": ["1"]}),
            json!({"build_id": "1", "results": []}),
            json!({"results": [{"build": {}, "success": true, "buildId": "1"}]}),
        ] {
            assert_eq!(ids(&hidden), [ok("1")], "{hidden}");
        }
        for nothing in
            [json!({}), json!([]), json!(null), json!({"build_id": 3}), json!({"results": []})]
        {
            assert!(initiated(&nothing).is_none(), "{nothing}");
        }
    }

    #[test]
    fn a_source_and_the_life_of_a_url_are_read() {
        let read = |answer| initiated(&answer).unwrap().remove(0);
        let b = read(json!({"results": [{"sourceImage": "x:1", "success": true, "buildId": "1"}]}));
        assert_eq!(b.unwrap().source.as_deref(), Some("x:1"));
        let c = json!({"results": [{"sourceImage": "y", "build": {"build_id": "1"}}]});
        assert_eq!(read(c).unwrap().source.as_deref(), Some("y"));
        let text = "Image transfer rate limit exceeded: 10/10 images";
        let no = json!({"results": [{"sourceImage": "z", "success": false, "error": text}]});
        let no = read(no).unwrap_err();
        assert_eq!((no.source.as_deref(), no.is_rate(), no.is_quota()), (Some("z"), true, false));
        for (said, expected) in [
            (json!(3600), Some(3600)),
            (json!(u64::MAX), Some(7 * 86_400)),
            (json!(-1), None),
            (json!("soon"), None),
            (json!(null), None),
        ] {
            let accepted = read(json!({"build_id": "1", "expires_in": said})).unwrap();
            assert_eq!(accepted.expires_in.map(|life| life.as_secs()), expected, "{said}");
        }
    }

    #[test]
    fn a_registrys_rate_is_not_the_services() {
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
    fn an_id_that_is_none_hides_no_other() {
        for (answer, expected) in [
            (json!({"id": "1", "build_id": "2"}), Some("1")),
            (json!({"id": 7, "build_id": "2"}), Some("2")),
            (json!({"id": null, "build_id": "2"}), Some("2")),
            (json!({"id": "", "build_id": 3, "buildId": "4"}), Some("4")),
            (json!({"id": 7}), None),
        ] {
            let mut answer = answer;
            answer["status"] = json!("BUILDING");
            let view = build_view(&answer).unwrap();
            assert_eq!(view.build.as_ref().map(BuildId::as_str), expected, "{answer}");
        }
    }

    #[test]
    fn a_build_tells_its_image_and_its_times() {
        let view = |created: &str| {
            let answer = json!({
                "status": "BUILDING", "imageName": "api", "imageTag": "v1", "createdAt": created,
            });
            build_view(&answer).unwrap()
        };
        let zoned: Timestamp = "2026-08-01T10:00:00.5Z".parse().unwrap();
        for text in
            ["2026-08-01T10:00:00.5Z", "2026-08-01T12:00:00.5+02:00", "2026-08-01T10:00:00.5"]
        {
            assert_eq!(view(text).created, Some(zoned), "{text}");
        }
        assert_eq!(view("yesterday").created, None);
        assert_eq!(view("").image, Some(("api".to_owned(), "v1".to_owned())));
        let bare = build_view(&json!({"status": "BUILDING", "imageName": "api", "createdAt": 3}));
        assert_eq!(
            bare.map(|bare| (bare.image, bare.created, bare.started)),
            Some((None, None, None))
        );
    }

    #[test]
    fn a_row_of_an_image_is_read_in_every_spelling() {
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
        let read = image_view(&camel).unwrap();
        assert_eq!(image_view(&snake).unwrap(), read);
        let second = |time: Option<Timestamp>| time.unwrap().as_second() % 60;
        let times = [read.created, read.started, read.completed, read.pushed].map(second);
        assert_eq!(
            (times, read.container, read.progress),
            ([0, 1, 2, 3], true, BuildProgress::Completed)
        );
        let row = |extra: Value| {
            let mut row = json!({ "imageName": "a\u{1b}[2Jb", "imageTag": "v1", "status": "X\n" });
            row.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            image_view(&row)
        };
        let odd = row(json!({ "visibility": 7, "pushedAt": "soon", "fullImagePath": "a b" }));
        let odd = odd.unwrap();
        assert_eq!((&*odd.name, odd.progress), ("a [2Jb", BuildProgress::Running("X".to_owned())));
        assert_eq!((odd.visibility, odd.pushed, odd.path), (None, None, None));
        assert!(!row(json!({ "artifactType": "VM_SANDBOX" })).unwrap().container);
        for (said, expected) in [
            (json!({ "ownerType": "personal", "teamId": "t" }), Some(Owner::Personal)),
            (json!({ "ownerType": "team", "teamId": "t" }), Some(Owner::Team("t".to_owned()))),
            (json!({ "owner_type": "platform" }), Some(Owner::Platform)),
            (json!({ "ownerType": "team" }), None),
            (json!({ "ownerType": "guild", "teamId": "t" }), None),
        ] {
            assert_eq!(row(said.clone()).unwrap().owner, expected, "{said}");
        }
        for unreadable in
            [json!({ "imageName": 3 }), json!({ "imageTag": "" }), json!({ "status": null })]
        {
            assert_eq!(row(unreadable.clone()), None, "{unreadable}");
        }
        assert_eq!(image_view(&json!("row")), None);
    }

    #[test]
    fn a_path_that_could_do_harm_is_none() {
        for (path, ok) in [
            ("prime/local/api:v1", true),
            ("registry.test:5000/x@sha256:00", true),
            ("x\nRUN evil", false),
            ("x\u{1b}[2J", false),
            ("x y", false),
        ] {
            let answer = json!({ "build_id": "1", "fullImagePath": path });
            let read = initiated(&answer).unwrap().remove(0).unwrap();
            assert_eq!(read.path.is_some(), ok, "{path:?}");
        }
    }

    #[test]
    fn a_build_says_why_it_failed() {
        let view = |answer: Value| build_view(&answer).map(|view| view.progress);
        let failed = |text: &str| Some(BuildProgress::Failed(text.to_owned()));
        let artifacts = json!([{"status": "FAILED", "errorMessage": "a"}, {"errorMessage": "b"}]);
        assert_eq!(view(json!({"status": "FAILED", "artifacts": artifacts})), failed("a; b"));
        assert_eq!(view(json!({"status": "failed", "errorMessage": "flat"})), failed("flat"));
        assert_eq!(view(json!({"status": "FAILED"})), failed("the service gave no reason"));
        let odd = Some(BuildProgress::Running("QUANTUM".to_owned()));
        assert_eq!(view(json!({"status": "QUANTUM", "artifacts": 3})), odd);
        assert_eq!(view(json!({"status": "COMPLETED"})), Some(BuildProgress::Completed));
        assert_eq!(view(json!({"status": 3})), None);
    }
}
