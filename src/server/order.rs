//! A validated `POST /images/build`. Pure.

use super::config::{ApiVersion, DockerHub};
use super::error::{Refusal, ServerError};
use super::location::{Location, scope};
use super::model::{BuildStatus, StoredBuild, StoredOrigin, StoredVisibility, UnixMillis, new_id};
use super::source;
use super::state::ServerState;
use super::traffic::RateLimitKey;
use crate::api::wire::BuildImageRequest;
use crate::base::name::{ImageName, NameError, Owner, Platform, Tag};
use crate::base::source_ref::SourceRef;

/// Settings of the server that decide whether a request is valid.
#[derive(Debug, Clone, Copy)]
pub(super) struct OrderRules {
    pub(super) api: ApiVersion,
    pub(super) docker_hub: DockerHub,
    /// True if the account is an admin of the platform.
    pub(super) admin: bool,
}

/// A validated request.
pub(super) struct Order {
    pub(super) at: UnixMillis,
    pub(super) owner: Owner,
    pub(super) name: Option<ImageName>,
    pub(super) tag: Option<Tag>,
    pub(super) platform: Platform,
    pub(super) visibility: Option<StoredVisibility>,
    pub(super) dockerfile_path: String,
    /// Sources of transfers; `None` for a build from a context.
    pub(super) sources: Option<Vec<String>>,
    /// True if the sources are images of Docker Hub, which become public images of the platform.
    docker_hub: bool,
    api: ApiVersion,
}

impl Order {
    /// Reads a request.
    ///
    /// # Errors
    /// Fails with 400, 403 or 422 if the request is invalid, or forbidden to the account.
    pub(super) fn read(
        mut wire: BuildImageRequest,
        rules: OrderRules,
        at: UnixMillis,
    ) -> Result<Self, Refusal> {
        let named = |param| move |error: NameError| Refusal::invalid(param, explain(&error));
        let mut platform_scope = match wire.owner_scope.as_deref() {
            None => false,
            Some("platform") => true,
            Some(_) => return Err(Refusal::invalid("ownerScope", "must be `platform`")),
        };
        let mut visibility = visibility(wire.visibility.as_deref())?;
        let sources = wire.source_image.as_deref().map(split_list);
        let docker_hub = match (&sources, rules.api) {
            (Some(sources), ApiVersion::November2026) => source::are_of_docker_hub(sources)?,
            _ => false,
        };
        if docker_hub {
            if rules.docker_hub == DockerHub::Strict {
                forbid_overrides(&wire, visibility)?;
            }
            (wire.image_name, wire.image_tag, wire.team_id) = (None, None, None);
            (platform_scope, visibility) = (true, Some(StoredVisibility::Public));
        } else if platform_scope && !rules.admin {
            return Err(Refusal::forbidden("Only platform admins can build platform images"));
        }
        let owner = scope(wire.team_id.as_deref(), platform_scope)?;
        if owner == Owner::Platform && visibility != Some(StoredVisibility::Public) {
            return Err(Refusal::bad("Platform images must set visibility to PUBLIC"));
        }
        let name: Option<ImageName> =
            wire.image_name.map(|text| text.parse()).transpose().map_err(named("image_name"))?;
        if owner != Owner::Platform && name.as_ref().is_some_and(ImageName::has_namespace) {
            let details = "only a platform image may have a `/` in its name";
            return Err(Refusal::invalid("image_name", details));
        }
        let tag = wire.image_tag.map(|text| text.parse()).transpose();
        let platform = wire.platform.map(|text| text.parse()).transpose();
        Ok(Self {
            at,
            owner,
            name,
            tag: tag.map_err(named("image_tag"))?,
            platform: platform.map_err(named("platform"))?.unwrap_or_default(),
            visibility,
            dockerfile_path: dockerfile_path(wire.dockerfile_path)?,
            sources,
            docker_hub,
            api: rules.api,
        })
    }

    /// Returns the location of a source's image: the requested name and tag, else those of the
    /// reference.
    fn destination(&self, source: &str) -> Result<Location, Refusal> {
        let invalid =
            |error: NameError| Refusal::bad(format!("Invalid transfer source: {}", error.message));
        let source: SourceRef = source.parse().map_err(invalid)?;
        let (name, tag) = match (&self.name, &self.tag) {
            (Some(name), Some(tag)) => (name.clone(), tag.clone()),
            (name, tag) => {
                let keep_namespace = self.owner == Owner::Platform;
                let derived = match self.api {
                    ApiVersion::August2026 => source.earlier_destination(keep_namespace),
                    ApiVersion::November2026 => source.destination(keep_namespace),
                };
                let derived = derived.map_err(invalid)?;
                (name.clone().unwrap_or(derived.0), tag.clone().unwrap_or(derived.1))
            }
        };
        Ok(Location { owner: self.owner.clone(), name, tag })
    }

    /// Returns the build of a transfer. `ahead` is the number of builds that are stored before it.
    pub(super) fn transfer(
        &self,
        source: &str,
        state: &ServerState,
        ahead: u64,
    ) -> Result<StoredBuild, Refusal> {
        let location = self.destination(source)?;
        let origin = StoredOrigin::Transfer { source: source.to_owned() };
        self.build(location, origin, BuildStatus::Pending, state.next_seq() + ahead)
    }

    /// Returns a build with a new ID.
    pub(super) fn build(
        &self,
        location: Location,
        origin: StoredOrigin,
        status: BuildStatus,
        seq: u64,
    ) -> Result<StoredBuild, Refusal> {
        let id = || new_id().map_err(|error: ServerError| Refusal::internal(error.to_string()));
        Ok(StoredBuild {
            seq,
            id: id()?,
            artifact: id()?,
            location,
            platform: self.platform,
            origin,
            visibility: self.visibility,
            status,
            created_at: self.at,
            started_at: None,
            completed_at: None,
            error: None,
        })
    }

    /// Returns the owner of the rate limit of transfers. An admin's transfers to the platform have no
    /// limit, except for those from Docker Hub, which are on the account's limit.
    pub(super) fn rate_limit_key(&self) -> Option<RateLimitKey> {
        match &self.owner {
            Owner::Platform if self.docker_hub => Some(RateLimitKey::Personal),
            Owner::Personal => Some(RateLimitKey::Personal),
            Owner::Team(id) => Some(RateLimitKey::Team(id.clone())),
            Owner::Platform => None,
        }
    }
}

fn split_list(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

fn visibility(text: Option<&str>) -> Result<Option<StoredVisibility>, Refusal> {
    match text {
        None | Some("INHERIT") => Ok(None),
        Some("PRIVATE") => Ok(Some(StoredVisibility::Private)),
        Some("PUBLIC") => Ok(Some(StoredVisibility::Public)),
        Some(_) => Err(Refusal::invalid("visibility", "must be INHERIT, PRIVATE or PUBLIC")),
    }
}

/// Refuses the fields that have no effect for a Docker Hub source.
fn forbid_overrides(
    wire: &BuildImageRequest,
    visibility: Option<StoredVisibility>,
) -> Result<(), Refusal> {
    if wire.image_name.is_some() || wire.image_tag.is_some() {
        return Err(Refusal::bad("Docker Hub source builds do not accept a custom destination"));
    }
    if wire.team_id.as_ref().is_some_and(|id| !id.is_empty()) {
        return Err(Refusal::bad("Docker Hub source builds do not accept team_id"));
    }
    if visibility == Some(StoredVisibility::Private) {
        return Err(Refusal::bad("Docker Hub source builds must be public"));
    }
    Ok(())
}

fn explain(error: &NameError) -> String {
    format!("{}; {}", error.message, error.help)
}

/// Returns a path inside the archive, without a leading `./`.
fn dockerfile_path(path: Option<String>) -> Result<String, Refusal> {
    let path = path.unwrap_or_else(|| "Dockerfile".to_owned());
    let plain = path.trim_start_matches("./");
    let inside = |segment: &str| !segment.is_empty() && segment != "." && segment != "..";
    if plain.len() > 4096 || plain.contains('\0') || !plain.split('/').all(inside) {
        let details = "must be a relative path inside the build context";
        return Err(Refusal::invalid("dockerfile_path", details));
    }
    Ok(plain.to_owned())
}
