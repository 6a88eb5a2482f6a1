//! The location of an image (owner, name and tag), and all forms of references to it (API contract,
//! section 5). Pure.

use serde::{Deserialize, Serialize};

use super::error::Refusal;
use crate::api::wire::WireOwner;
use crate::base::name::{ImageName, ImageRef, Owner, Tag};

/// ID of the only account of this server.
pub(super) const USER_ID: &str = "local-account";
/// Slug of the account, part of the paths of its images.
pub(super) const USER_SLUG: &str = "local";

/// The location of a logical image, which has at most one content at any time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Location {
    #[serde(with = "owner_text")]
    pub(super) owner: Owner,
    pub(super) name: ImageName,
    pub(super) tag: Tag,
}

impl Location {
    /// Returns the path that Dockerfiles use: `prime/<owner>/name:tag`, or `name:tag` for the
    /// platform.
    pub(super) fn full_path(&self) -> String {
        let Self { owner, name, tag } = self;
        match owner {
            Owner::Personal => format!("prime/{USER_SLUG}/{name}:{tag}"),
            Owner::Team(id) => format!("prime/team-{id}/{name}:{tag}"),
            Owner::Platform => format!("{name}:{tag}"),
        }
    }

    /// Returns the path of the image in the registry behind the server: the path that Dockerfiles use,
    /// without the tag.
    pub(super) fn repository(&self) -> String {
        let Self { owner, name, .. } = self;
        match owner {
            Owner::Personal => format!("prime/{USER_SLUG}/{name}"),
            Owner::Team(id) => format!("prime/team-{id}/{name}"),
            Owner::Platform => name.to_string(),
        }
    }

    /// Returns `name:tag`, without the owner.
    pub(super) fn short(&self) -> String {
        format!("{}:{}", self.name, self.tag)
    }
}

/// Returns the owner that a request selects.
pub(super) fn scope(team: Option<&str>, platform: bool) -> Result<Owner, Refusal> {
    match (team.filter(|id| !id.is_empty()), platform) {
        (Some(_), true) => Err(Refusal::bad("teamId cannot be set for platform images")),
        (Some(id), false) => team_owner(id)
            .ok_or_else(|| Refusal::invalid("teamId", "use letters, digits, `_` and `-`")),
        (None, true) => Ok(Owner::Platform),
        (None, false) => Ok(Owner::Personal),
    }
}

/// Returns the owner for a team ID, or `None` if the ID cannot be part of a path.
fn team_owner(id: &str) -> Option<Owner> {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (!id.is_empty() && id.len() <= 128 && id.chars().all(ok)).then(|| Owner::Team(id.to_owned()))
}

/// Returns the location of `name` and `tag`. The owner is that in front of the name, else `scope`.
pub(super) fn resolve(name: &str, tag: &str, scope: &Owner) -> Result<Location, Refusal> {
    let (owner, bare) = split_owner(name, scope)?;
    let unknown = || Refusal::not_found(format!("Image {name}:{tag} not found"));
    Ok(Location {
        owner,
        name: bare.parse().map_err(|_| unknown())?,
        tag: tag.parse().map_err(|_| unknown())?,
    })
}

/// Returns the location of `name:tag`; see [`resolve`].
pub(super) fn resolve_reference(reference: &str, scope: &Owner) -> Result<Location, Refusal> {
    let (name, tag) = reference
        .rsplit_once(':')
        .filter(|(name, tag)| !name.is_empty() && !tag.is_empty() && !tag.contains('/'))
        .ok_or_else(|| Refusal::bad(format!("Image reference `{reference}` must have a tag")))?;
    resolve(name, tag, scope)
}

fn split_owner<'a>(name: &'a str, scope: &Owner) -> Result<(Owner, &'a str), Refusal> {
    let malformed = || {
        Refusal::bad(format!("Image `{name}`: owner-prefixed references are prime/<owner>/<name>"))
    };
    if *scope == Owner::Platform {
        return Ok((Owner::Platform, name));
    }
    let Some((first, rest)) = name.split_once('/') else {
        return Ok((scope.clone(), name));
    };
    if first == "prime" {
        let (owner, bare) = rest.split_once('/').ok_or_else(malformed)?;
        let unknown = || Refusal::not_found(format!("No owner `{owner}` for image {name}"));
        return Ok((named_owner(owner).ok_or_else(unknown)?, bare));
    }
    if first == "team-" {
        return Err(malformed());
    }
    // Any other prefix is the namespace of a platform image.
    Ok(named_owner(first).map_or((Owner::Platform, name), |owner| (owner, rest)))
}

/// Returns the owner of a path segment: the account's slug or ID, or `team-<id>`.
fn named_owner(segment: &str) -> Option<Owner> {
    match segment.strip_prefix("team-") {
        Some(id) => team_owner(id),
        None => [USER_SLUG, USER_ID].contains(&segment).then_some(Owner::Personal),
    }
}

/// A reference in a Dockerfile, as this server sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DockerfileRef {
    /// It starts with `prime/`, so it must be an image of this server.
    Own(Location),
    /// It starts with `prime/` and is malformed.
    Malformed,
    /// A platform image if one of that name exists, else an image of another registry.
    Bare(Location),
    /// An image of another registry.
    Foreign,
}

/// Parses the reference of a `FROM` or a `--from`.
pub(super) fn dockerfile_ref(text: &str) -> DockerfileRef {
    let is_own = text.starts_with("prime/");
    let last = text.rsplit('/').next().unwrap_or(text);
    let reference = if last.contains(':') { text.to_owned() } else { format!("{text}:latest") };
    if is_own {
        return resolve_reference(&reference, &Owner::Personal)
            .map_or(DockerfileRef::Malformed, DockerfileRef::Own);
    }
    match reference.parse::<ImageRef>() {
        Ok(ImageRef { name, tag }) => {
            DockerfileRef::Bare(Location { owner: Owner::Platform, name, tag })
        }
        Err(_) => DockerfileRef::Foreign,
    }
}

/// Returns the owner as `PATCH /images` writes it.
pub(super) fn to_wire(owner: &Owner) -> WireOwner {
    match owner {
        Owner::Personal => WireOwner::Personal,
        Owner::Team(id) => WireOwner::Team { team_id: id.clone() },
        Owner::Platform => WireOwner::Platform,
    }
}

/// Returns the owner of a `PATCH /images`, or `None` if the team ID is malformed.
pub(super) fn from_wire(owner: &WireOwner) -> Option<Owner> {
    match owner {
        WireOwner::Personal => Some(Owner::Personal),
        WireOwner::Team { team_id } => team_owner(team_id),
        WireOwner::Platform => Some(Owner::Platform),
    }
}

mod owner_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::base::name::Owner;

    pub(super) fn serialize<S: Serializer>(owner: &Owner, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(owner)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Owner, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(owner: Owner, name: &str, tag: &str) -> Location {
        Location { owner, name: name.parse().unwrap(), tag: tag.parse().unwrap() }
    }

    #[test]
    fn every_form_of_a_reference() {
        let team = || Owner::Team("t1".to_owned());
        let table = [
            ("app:v1", Owner::Personal, location(Owner::Personal, "app", "v1")),
            ("app:v1", team(), location(team(), "app", "v1")),
            ("ns/app:v1", Owner::Platform, location(Owner::Platform, "ns/app", "v1")),
            ("prime/local/app:v1", team(), location(Owner::Personal, "app", "v1")),
            ("prime/local-account/app:v1", team(), location(Owner::Personal, "app", "v1")),
            ("prime/team-t1/app:v1", Owner::Personal, location(team(), "app", "v1")),
            ("team-t1/app:v1", Owner::Personal, location(team(), "app", "v1")),
            ("local-account/app:v1", Owner::Personal, location(Owner::Personal, "app", "v1")),
            ("org/ubuntu:22.04", Owner::Personal, location(Owner::Platform, "org/ubuntu", "22.04")),
        ];
        for (text, scope, expected) in table {
            assert_eq!(resolve_reference(text, &scope).unwrap(), expected, "{text}");
        }
        for bad in ["app", "app:", ":v1", "prime/app:v1", "team-/app:v1", "prime/eve/app:v1"] {
            assert!(resolve_reference(bad, &Owner::Personal).is_err(), "{bad}");
        }
    }

    #[test]
    fn references_of_dockerfiles() {
        let own = location(Owner::Personal, "base", "latest");
        assert_eq!(dockerfile_ref("prime/local/base"), DockerfileRef::Own(own));
        assert_eq!(dockerfile_ref("prime/base"), DockerfileRef::Malformed);
        let bare = location(Owner::Platform, "ubuntu", "22.04");
        assert_eq!(dockerfile_ref("ubuntu:22.04"), DockerfileRef::Bare(bare));
        assert_eq!(dockerfile_ref("localhost:5000/app:v1"), DockerfileRef::Foreign);
    }

    #[test]
    fn paths_resolve_to_their_place() {
        for owner in [Owner::Personal, Owner::Team("x-1".to_owned())] {
            let location = location(owner, "app", "v1");
            assert_eq!(
                resolve_reference(&location.full_path(), &Owner::Personal).unwrap(),
                location
            );
        }
    }
}
