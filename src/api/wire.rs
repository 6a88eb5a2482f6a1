//! The JSON structures of the API (see the API contract). The client sends the documented form and
//! reads every form that was ever seen; the local server does the opposite. Pure.

use serde::{Deserialize, Serialize};

/// Body of `POST /images/build`: a build from a context, or a transfer if `sourceImage` is set.
///
/// Written with the documented names; the snake case names of the provider's own client are read
/// too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildImageRequest {
    /// Required for context builds.
    #[serde(alias = "imageName", skip_serializing_if = "Option::is_none")]
    pub image_name: Option<String>,
    /// Required for context builds.
    #[serde(alias = "imageTag", skip_serializing_if = "Option::is_none")]
    pub image_tag: Option<String>,
    /// Path of the Dockerfile in the archive; `Dockerfile` if absent.
    #[serde(alias = "dockerfilePath", skip_serializing_if = "Option::is_none")]
    pub dockerfile_path: Option<String>,
    /// A public image, or several separated by commas.
    #[serde(
        rename = "sourceImage",
        alias = "source_image",
        skip_serializing_if = "Option::is_none"
    )]
    pub source_image: Option<String>,
    /// `linux/amd64` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// ID of the team that will own the image.
    #[serde(rename = "teamId", alias = "team_id", skip_serializing_if = "Option::is_none")]
    pub team_id: Option<String>,
    /// `INHERIT` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
    /// `platform` for a platform image.
    #[serde(rename = "ownerScope", alias = "owner_scope", skip_serializing_if = "Option::is_none")]
    pub owner_scope: Option<String>,
}

/// Documented response to `POST /images/build` (shape a of the API contract, section 1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildImageResponse {
    /// ID of the build, or of the first of several.
    #[serde(alias = "buildId")]
    pub build_id: String,
    /// Path of the image once it is built. Opaque.
    #[serde(rename = "fullImagePath", alias = "full_image_path", default)]
    pub full_image_path: Option<String>,
    /// IDs of all builds of a comma-separated list.
    #[serde(rename = "buildIds", alias = "build_ids", default)]
    pub build_ids: Option<Vec<String>>,
    /// URL for the context; null for transfers.
    #[serde(alias = "uploadUrl", default)]
    pub upload_url: Option<String>,
    /// Lifetime of the upload URL, in seconds.
    #[serde(alias = "expiresIn", default)]
    pub expires_in: Option<i64>,
    /// Visibility once the build completes.
    #[serde(default)]
    pub visibility: Option<String>,
}

/// Body of `POST /images/build/{id}/start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartBuildRequest {
    /// True if absent.
    #[serde(default = "default_true", alias = "contextUploaded")]
    pub context_uploaded: bool,
}

fn default_true() -> bool {
    true
}

/// A build, as in status responses and listings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BuildStatusResponse {
    /// ID of the build.
    pub id: String,
    /// Name of the image.
    pub image_name: Option<String>,
    /// Tag of the image.
    pub image_tag: Option<String>,
    /// `PENDING`, `UPLOADING`, `BUILDING`, `COMPLETED`, `FAILED`, `CANCELLED`, or a later addition.
    pub status: String,
    /// Time of the creation.
    pub created_at: Option<String>,
    /// Time of the start.
    pub started_at: Option<String>,
    /// Time of the end.
    pub completed_at: Option<String>,
    /// Artifacts, each with its own status and error.
    pub artifacts: Option<Vec<Artifact>>,
    /// Present in older versions only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_image_path: Option<String>,
    /// Present in older versions only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

/// A part of a build's log: an extension of the local server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BuildLogResponse {
    /// Lines of the log.
    pub text: String,
    /// Offset of the next part, in bytes of the log.
    pub next_offset: u64,
    /// Status of the build.
    pub status: String,
    /// True if the build has ended and this is the last part.
    #[serde(rename = "ended")]
    pub has_ended: bool,
}

/// One result of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the API names the fields")]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Artifact {
    /// ID of the artifact.
    pub id: Option<String>,
    /// `CONTAINER_IMAGE` or `VM_SANDBOX`.
    pub artifact_type: Option<String>,
    /// Same values as for a build.
    pub status: Option<String>,
    /// Path of the image.
    pub full_image_path: Option<String>,
    /// Reason of a failure.
    pub error_message: Option<String>,
    /// Time of the creation.
    pub created_at: Option<String>,
    /// Time of the start of the build.
    pub started_at: Option<String>,
    /// Time of the end of the build.
    pub completed_at: Option<String>,
}

/// A row of `GET /images`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ImageResponse {
    /// ID of the row.
    pub id: String,
    /// `CONTAINER_IMAGE` or `VM_SANDBOX`.
    pub artifact_type: Option<String>,
    /// Name of the image.
    pub image_name: String,
    /// Tag of the image.
    pub image_tag: String,
    /// Same values as for a build.
    pub status: String,
    /// Path of the image.
    pub full_image_path: Option<String>,
    /// Reason of a failure.
    pub error_message: Option<String>,
    /// Size in bytes.
    pub size_bytes: Option<u64>,
    /// `PRIVATE` or `PUBLIC`.
    pub visibility: Option<String>,
    /// Time of the creation.
    pub created_at: Option<String>,
    /// Time of the start of the build.
    pub started_at: Option<String>,
    /// Time of the end of the build.
    pub completed_at: Option<String>,
    /// Time of the push.
    pub pushed_at: Option<String>,
    /// ID of the team that owns the image.
    pub team_id: Option<String>,
    /// `personal`, `team` or `platform`.
    pub owner_type: Option<String>,
    /// Reference for display.
    pub display_ref: Option<String>,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Total number of images or builds on all pages.
    #[serde(alias = "totalCount", default)]
    pub total_count: Option<u64>,
    /// Number of images or builds before this page.
    #[serde(default)]
    pub offset: u64,
    /// Maximum number of images or builds per page.
    #[serde(default)]
    pub limit: u64,
}

/// Body of `PATCH /images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpdateImagesRequest {
    /// Always `explicit`.
    #[serde(default = "default_mode")]
    pub mode: String,
    /// True to check all updates without writing.
    #[serde(default)]
    pub dry_run: bool,
    /// 1 to 100 updates.
    pub updates: Vec<ImageUpdate>,
}

fn default_mode() -> String {
    "explicit".to_owned()
}

/// An update of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUpdate {
    /// The image to update.
    pub source: UpdateSource,
    /// The new values.
    pub set: UpdateSet,
}

/// Identifies an image by owner, name and tag, or by a reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateSource {
    /// Owner; requires `name` and `tag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<WireOwner>,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Reference, instead of owner, name and tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// New values of an image; at least one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateSet {
    /// New name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// New tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// New owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<WireOwner>,
    /// `PRIVATE` or `PUBLIC`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
}

/// An owner as `PATCH /images` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum WireOwner {
    /// The personal account.
    Personal,
    /// A team.
    Team {
        /// ID of the team.
        #[serde(rename = "teamId", alias = "team_id")]
        team_id: String,
    },
    /// The platform.
    Platform,
}

/// Response to `PATCH /images`. Its status is 200 even if updates fail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct UpdateImagesResponse {
    /// True if all updates succeeded.
    pub success: bool,
    /// True if nothing was written.
    pub dry_run: bool,
    /// Results in the order of the request.
    pub results: Vec<UpdateResult>,
}

/// Result of one update.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UpdateResult {
    /// The image as it was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<UpdateSource>,
    /// True if the update succeeded.
    pub success: bool,
    /// The image before the update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<ImageSnapshot>,
    /// The image after the update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<ImageSnapshot>,
    /// Reason of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<UpdateError>,
}

/// An image before or after an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageSnapshot {
    /// Owner.
    pub owner: WireOwner,
    /// Name.
    pub name: String,
    /// Tag.
    pub tag: String,
    /// `PRIVATE` or `PUBLIC`.
    pub visibility: String,
}

/// Reason of a failed update.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UpdateError {
    /// `image_not_found`, `destination_exists`, or a later addition.
    pub code: String,
    /// Text for people.
    pub message: String,
}
