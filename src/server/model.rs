//! The stored builds and images. Pure except for the random numbers of new IDs.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ServerError;
use super::location::Location;
use crate::api::wire::{Artifact, BuildStatusResponse, ImageResponse};
use crate::base::name::{BuildId, Owner, Platform};
use crate::base::reference::OciDigest;

/// A point in time, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct UnixMillis(i64);

impl UnixMillis {
    pub(super) const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the time `time` later.
    pub(super) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Returns whole seconds since 1970.
    pub(super) fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Returns the time as a timestamp of jiff.
    pub(super) fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or_default()
    }
}

impl fmt::Display for UnixMillis {
    /// RFC 3339, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.timestamp())
    }
}

/// Returns an ID that cannot be guessed and that may be part of a URL.
///
/// # Errors
/// Fails if the operating system provides no random numbers.
pub(super) fn new_id() -> Result<BuildId, ServerError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(ServerError::Random)?;
    Ok(BuildId::of_number(u128::from_be_bytes(bytes)))
}

/// The status of a build, as the API writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum BuildStatus {
    Pending,
    Uploading,
    Building,
    Completed,
    Failed,
    Cancelled,
}

impl BuildStatus {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Uploading => "UPLOADING",
            Self::Building => "BUILDING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// True if the build has not ended.
    pub(super) fn is_active(self) -> bool {
        matches!(self, Self::Pending | Self::Uploading | Self::Building)
    }
}

/// The visibility of an image, as the API writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum StoredVisibility {
    Private,
    Public,
}

impl StoredVisibility {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Private => "PRIVATE",
            Self::Public => "PUBLIC",
        }
    }
}

/// The content of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StoredOrigin {
    /// An archive, with the path of the Dockerfile inside it, and its size once it is uploaded.
    Context { dockerfile_path: String, uploaded: Option<u64> },
    /// An image of another registry.
    Transfer { source: String },
}

/// A build or transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredBuild {
    /// Position in the order in which builds were initiated.
    pub(super) seq: u64,
    pub(super) id: BuildId,
    /// ID of its only artifact, which has the form of a build ID.
    pub(super) artifact: BuildId,
    #[serde(rename = "place")]
    pub(super) location: Location,
    pub(super) platform: Platform,
    pub(super) origin: StoredOrigin,
    /// Requested visibility; `None` is `INHERIT`.
    pub(super) visibility: Option<StoredVisibility>,
    pub(super) status: BuildStatus,
    pub(super) created_at: UnixMillis,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) started_at: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) completed_at: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) error: Option<String>,
}

/// An image that can be pulled: the result of the last completed build at its location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredImage {
    #[serde(rename = "place")]
    pub(super) location: Location,
    /// ID of the build that made it.
    pub(super) build: BuildId,
    pub(super) visibility: StoredVisibility,
    pub(super) pushed_at: UnixMillis,
    #[serde(flatten)]
    pub(super) content: StoredContent,
}

/// The content of an image, as far as the server knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredContent {
    /// Size in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) size: Option<u64>,
    /// Digest in the registry behind the server; `None` if the image is not there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) digest: Option<OciDigest>,
    /// Digests of the manifests in an index, which must stay as long as it does.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) children: Vec<OciDigest>,
}

/// The form in which responses show builds and images.
#[derive(Debug, Clone)]
pub(super) struct ArtifactForm {
    pub(super) artifact_type: &'static str,
    /// True if the paths are storage paths, `vm/<name>:<tag>`.
    pub(super) vm_paths: bool,
    /// Registry that has the images, with its port; `None` if nothing is built.
    pub(super) registry: Option<String>,
}

impl ArtifactForm {
    fn path(&self, location: &Location) -> String {
        if self.vm_paths { format!("vm/{}", location.short()) } else { self.full_path(location) }
    }

    /// Returns the reference with which an image is pulled: with the registry, if there is one.
    pub(super) fn full_path(&self, location: &Location) -> String {
        match &self.registry {
            Some(registry) => format!("{registry}/{}", location.full_path()),
            None => location.full_path(),
        }
    }

    /// Returns a reference without the host of the registry; `None` if it does not begin with it. The
    /// case of host names does not matter.
    pub(super) fn without_registry<'r>(&self, reference: &'r str) -> Option<&'r str> {
        let registry = self.registry.as_deref()?;
        let (host, path) = reference.split_once('/')?;
        host.eq_ignore_ascii_case(registry).then_some(path)
    }

    /// Returns a reference or path as the server knows it: without the registry, if it has one.
    pub(super) fn stripped<'r>(&self, reference: &'r str) -> &'r str {
        self.without_registry(reference).unwrap_or(reference)
    }
}

impl StoredBuild {
    /// Returns the build, cancelled.
    pub(super) fn cancelled(self, now: UnixMillis) -> Self {
        Self { status: BuildStatus::Cancelled, completed_at: Some(now), ..self }
    }

    /// Returns the build as `GET /images/build/{id}` shows it.
    pub(super) fn to_wire(&self, form: &ArtifactForm) -> BuildStatusResponse {
        let text = |stamp: Option<UnixMillis>| stamp.map(|stamp| stamp.to_string());
        BuildStatusResponse {
            id: self.id.to_string(),
            image_name: Some(self.location.name.to_string()),
            image_tag: Some(self.location.tag.to_string()),
            status: self.status.as_str().to_owned(),
            created_at: Some(self.created_at.to_string()),
            started_at: text(self.started_at),
            completed_at: text(self.completed_at),
            artifacts: Some(vec![Artifact {
                id: Some(self.artifact.to_string()),
                artifact_type: Some(form.artifact_type.to_owned()),
                status: Some(self.status.as_str().to_owned()),
                full_image_path: Some(form.path(&self.location)),
                error_message: self.error.clone(),
                created_at: Some(self.created_at.to_string()),
                started_at: text(self.started_at),
                completed_at: text(self.completed_at),
            }]),
            full_image_path: None,
            error_message: None,
        }
    }

    /// Returns the build as a row of `GET /images`. `image` is the image if this build made it.
    pub(super) fn to_row(
        &self,
        visibility: StoredVisibility,
        image: Option<&StoredImage>,
        form: &ArtifactForm,
    ) -> ImageResponse {
        let text = |stamp: Option<UnixMillis>| stamp.map(|stamp| stamp.to_string());
        let (team_id, owner_type) = match &self.location.owner {
            Owner::Personal => (None, "personal"),
            Owner::Team(id) => (Some(id.clone()), "team"),
            Owner::Platform => (None, "platform"),
        };
        ImageResponse {
            id: self.artifact.to_string(),
            artifact_type: Some(form.artifact_type.to_owned()),
            image_name: self.location.name.to_string(),
            image_tag: self.location.tag.to_string(),
            status: self.status.as_str().to_owned(),
            full_image_path: Some(form.path(&self.location)),
            error_message: self.error.clone(),
            size_bytes: image.and_then(|image| image.content.size),
            visibility: Some(visibility.as_str().to_owned()),
            created_at: Some(self.created_at.to_string()),
            started_at: text(self.started_at),
            completed_at: text(self.completed_at),
            pushed_at: image.map(|image| image.pushed_at.to_string()),
            team_id,
            owner_type: Some(owner_type.to_owned()),
            display_ref: Some(self.location.full_path()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_rfc_3339() {
        assert_eq!(UnixMillis(1_700_000_000_120).to_string(), "2023-11-14T22:13:20.120Z");
    }

    #[test]
    fn paths_have_the_registry() {
        let form = |registry: Option<&str>, vm_paths| ArtifactForm {
            artifact_type: "VM_SANDBOX",
            vm_paths,
            registry: registry.map(str::to_owned),
        };
        let location =
            |owner| Location { owner, name: "app".parse().unwrap(), tag: "v1".parse().unwrap() };
        let with = form(Some("localhost:5000"), false);
        let own = location(Owner::Personal);
        assert_eq!(with.path(&own), "localhost:5000/prime/local/app:v1");
        assert_eq!(with.path(&location(Owner::Platform)), "localhost:5000/app:v1");
        assert_eq!(form(None, false).path(&own), "prime/local/app:v1");
        assert_eq!(form(Some("localhost:5000"), true).path(&own), "vm/app:v1");
        assert_eq!(with.stripped("LocalHost:5000/prime/local/app:v1"), "prime/local/app:v1");
        assert_eq!(with.without_registry("localhost:5001/app:v1"), None);
        assert_eq!(with.stripped("prime/local/app:v1"), "prime/local/app:v1");
        assert_eq!(form(None, false).without_registry("localhost:5000/app:v1"), None);
    }

    #[test]
    fn ids_are_valid_in_a_url() {
        let id = new_id().unwrap();
        assert_eq!(id.as_str().len(), 32);
        assert_eq!(BuildId::new(id.as_str()).as_ref(), Some(&id));
        assert_ne!(id, new_id().unwrap());
    }
}
