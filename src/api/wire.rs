//! The structs exactly as they stand on the wire (`api.md`), shared by the client, which sends what
//! the seed documents and reads every shape that was ever seen, and by the local server, which
//! does the opposite. Pure.

use serde::{Deserialize, Serialize};

/// `POST /images/build`: a build from a context, or a transfer where `sourceImage` is set.
///
/// Written with the seed's names; read with the snake case names of the provider's own client too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildImageRequest {
    /// Required for context builds.
    #[serde(alias = "imageName", skip_serializing_if = "Option::is_none", default)]
    pub image_name: Option<String>,
    /// Required for context builds.
    #[serde(alias = "imageTag", skip_serializing_if = "Option::is_none", default)]
    pub image_tag: Option<String>,
    /// The Dockerfile inside the archive; `Dockerfile` where absent.
    #[serde(alias = "dockerfilePath", skip_serializing_if = "Option::is_none", default)]
    pub dockerfile_path: Option<String>,
    /// A public image, or several between commas.
    #[serde(
        rename = "sourceImage",
        alias = "source_image",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub source_image: Option<String>,
    /// `linux/amd64` where absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub platform: Option<String>,
    /// The team that will own the image.
    #[serde(
        rename = "teamId",
        alias = "team_id",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub team_id: Option<String>,
    /// `INHERIT` where absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub visibility: Option<String>,
    /// `platform` for an image without an owner.
    #[serde(
        rename = "ownerScope",
        alias = "owner_scope",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub owner_scope: Option<String>,
}

/// The seed's answer to `POST /images/build` (shape a of `api.md` §2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildImageResponse {
    /// The build, or the first of several.
    #[serde(alias = "buildId")]
    pub build_id: String,
    /// Where the image will be. Opaque.
    #[serde(rename = "fullImagePath", alias = "full_image_path", default)]
    pub full_image_path: Option<String>,
    /// Every build of a comma list.
    #[serde(rename = "buildIds", alias = "build_ids", default)]
    pub build_ids: Option<Vec<String>>,
    /// Where the context goes; null for transfers.
    #[serde(alias = "uploadUrl", default)]
    pub upload_url: Option<String>,
    /// For how many seconds the upload URL is good.
    #[serde(alias = "expiresIn", default)]
    pub expires_in: Option<i64>,
    /// The effective visibility once the build completes.
    #[serde(default)]
    pub visibility: Option<String>,
}

/// One source's result in the bulk shapes b (flat) and c (with `build` inside).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferResult {
    /// The source as it was asked for.
    #[serde(rename = "sourceImage", alias = "source_image", default)]
    pub source_image: Option<String>,
    /// Shape b only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// Shape b.
    #[serde(
        rename = "buildId",
        alias = "build_id",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub build_id: Option<String>,
    /// Shape b.
    #[serde(
        rename = "fullImagePath",
        alias = "full_image_path",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub full_image_path: Option<String>,
    /// Shape b.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
    /// Shape c.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildImageResponse>,
    /// Why this source was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether asking again may help.
    #[serde(default)]
    pub retryable: bool,
}

/// The bulk answers b and c: told from a by the key `results`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferResults {
    /// One for each source.
    pub results: Vec<TransferResult>,
    /// Shape b repeats the failing ones here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Vec<TransferResult>>,
}

/// `POST /images/build/{id}/start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartBuildRequest {
    /// True where absent.
    #[serde(default = "yes", alias = "contextUploaded")]
    pub context_uploaded: bool,
}

fn yes() -> bool {
    true
}

/// What the service says of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildStatusResponse {
    /// The build's ID.
    #[serde(default)]
    pub id: String,
    /// The image's name.
    #[serde(default)]
    pub image_name: Option<String>,
    /// The image's tag.
    #[serde(default)]
    pub image_tag: Option<String>,
    /// `PENDING`, `UPLOADING`, `BUILDING`, `COMPLETED`, `FAILED`, `CANCELLED`, or a word of later days.
    #[serde(default)]
    pub status: String,
    /// When it was initiated.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When it was started.
    #[serde(default)]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(default)]
    pub completed_at: Option<String>,
    /// What it made, each with a status and an error of its own.
    #[serde(default)]
    pub artifacts: Option<Vec<Artifact>>,
    /// Flat in older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_image_path: Option<String>,
    /// Flat in older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

/// One thing that a build makes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// The artifact's ID.
    #[serde(default)]
    pub id: Option<String>,
    /// `CONTAINER_IMAGE` or `VM_SANDBOX`.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// As for a build.
    #[serde(default)]
    pub status: Option<String>,
    /// Where it is.
    #[serde(default)]
    pub full_image_path: Option<String>,
    /// Why it failed.
    #[serde(default)]
    pub error_message: Option<String>,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When its build was started.
    #[serde(default)]
    pub started_at: Option<String>,
    /// When its build ended.
    #[serde(default)]
    pub completed_at: Option<String>,
}

/// A row of `GET /images`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageResponse {
    /// The row's ID.
    pub id: String,
    /// `CONTAINER_IMAGE` or `VM_SANDBOX`.
    pub artifact_type: Option<String>,
    /// The image's name.
    pub image_name: String,
    /// The image's tag.
    pub image_tag: String,
    /// As for a build.
    pub status: String,
    /// Where it is.
    pub full_image_path: Option<String>,
    /// Why it failed.
    pub error_message: Option<String>,
    /// How large it is.
    pub size_bytes: Option<u64>,
    /// `PRIVATE` or `PUBLIC`.
    pub visibility: Option<String>,
    /// When it was made.
    pub created_at: Option<String>,
    /// When its build was started.
    pub started_at: Option<String>,
    /// When its build ended.
    pub completed_at: Option<String>,
    /// When it was pushed.
    pub pushed_at: Option<String>,
    /// The team that owns it.
    pub team_id: Option<String>,
    /// `personal`, `team` or `platform`.
    pub owner_type: Option<String>,
    /// The form to show to people.
    pub display_ref: Option<String>,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// How many there are in all, over all pages.
    #[serde(alias = "totalCount", default)]
    pub total_count: Option<u64>,
    /// How many were skipped.
    #[serde(default)]
    pub offset: u64,
    /// How many were asked for.
    #[serde(default)]
    pub limit: u64,
}

/// `PATCH /images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateImagesRequest {
    /// Always `explicit`.
    #[serde(default = "explicit")]
    pub mode: String,
    /// Checks all and writes nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// One to a hundred.
    pub updates: Vec<ImageUpdate>,
}

fn explicit() -> String {
    "explicit".to_owned()
}

/// One image and what it should become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUpdate {
    /// Which image.
    pub source: UpdateSource,
    /// What changes.
    pub set: UpdateSet,
}

/// Which image: owner, name and tag, or a reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateSource {
    /// The owner; with `name` and `tag`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<WireOwner>,
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// The tag.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tag: Option<String>,
    /// A reference, instead of the three above.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reference: Option<String>,
}

/// What changes; at least one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateSet {
    /// A new name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// A new tag.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tag: Option<String>,
    /// A new owner.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<WireOwner>,
    /// `PRIVATE` or `PUBLIC`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub visibility: Option<String>,
}

/// An owner as `PATCH /images` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum WireOwner {
    /// The account.
    Personal,
    /// A team.
    Team {
        /// Its ID.
        #[serde(rename = "teamId", alias = "team_id")]
        team_id: String,
    },
    /// Nobody.
    Platform,
}

/// The answer to `PATCH /images`; 200 even where items failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateImagesResponse {
    /// Whether all went well.
    pub success: bool,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// In the order of the request.
    pub results: Vec<UpdateResult>,
}

/// One item's result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateResult {
    /// Which image was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<UpdateSource>,
    /// Whether it was done.
    pub success: bool,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<ImageSnapshot>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<ImageSnapshot>,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<UpdateError>,
}

/// An image before or after an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSnapshot {
    /// Whose it is.
    pub owner: WireOwner,
    /// Its name.
    pub name: String,
    /// Its tag.
    pub tag: String,
    /// `PRIVATE` or `PUBLIC`.
    pub visibility: String,
}

/// Why an update was not done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateError {
    /// `image_not_found`, `destination_exists`, or a word of later days.
    #[serde(default)]
    pub code: String,
    /// For people.
    #[serde(default)]
    pub message: String,
}
