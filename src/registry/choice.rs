//! Chooses what to copy of an image for one platform. Pure.

use super::error::{RegistryErrorKind, RegistryFailure};
use super::manifest;
use crate::base::name::Platform;
use crate::base::reference::OciDigest;
use crate::base::text::list;

/// Maximum number of platforms in an error message.
const MAX_PLATFORMS_SHOWN: usize = 3;

/// The part of an image for one platform.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// All of it: an index whose entries name no platform is for all of them.
    Whole,
    /// This manifest of the index.
    Manifest(OciDigest),
    /// The manifest, if the image configuration with this digest passes [`check_config`].
    IfConfigured(OciDigest),
}

/// Chooses from the manifest or index in `body`.
///
/// # Errors
///
/// Fails if the index only has images for other platforms, or if the body is damaged.
pub(super) fn choose(body: &[u8], platform: Platform) -> Result<Choice, RegistryFailure> {
    let platforms = manifest::platforms(body).map_err(RegistryFailure::unexpected)?;
    if let Some(digest) = platforms.get(&platform) {
        return Ok(Choice::Manifest(*digest));
    }
    if let Some(config) = manifest::config_digest(body) {
        return Ok(Choice::IfConfigured(config));
    }
    let others = manifest::image_platforms(body);
    if others.is_empty() {
        return Ok(Choice::Whole);
    }
    let others = list(others, MAX_PLATFORMS_SHOWN);
    Err(other_platform(format!("it has no image for {platform}, only for {others}")))
}

/// Checks that the image of a configuration is for a platform. One without a platform is for any.
///
/// # Errors
///
/// Fails if it is for another one.
pub(super) fn check_config(config: &[u8], platform: Platform) -> Result<(), RegistryFailure> {
    match manifest::config_platform(config) {
        Some(name) if name.service_platform() != Some(platform) => {
            Err(other_platform(format!("it is an image for {name}, and not for {platform}")))
        }
        _ => Ok(()),
    }
}

fn other_platform(message: String) -> RegistryFailure {
    let help = "use an image for this platform, or ask for another one";
    RegistryFailure::new(RegistryErrorKind::NotFound, message, help)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn digest(text: &str) -> OciDigest {
        OciDigest::of(text.as_bytes())
    }

    fn index(platforms: &[(&str, &str)]) -> Value {
        let entry = |(os, arch): &(&str, &str)| json!({"digest": digest(arch), "size": 1, "platform": {"os": os, "architecture": arch}});
        json!({"manifests": platforms.iter().map(entry).collect::<Vec<_>>()})
    }

    #[test]
    fn the_manifest_of_the_platform_is_chosen() {
        let both = index(&[("linux", "amd64"), ("linux", "arm64"), ("unknown", "unknown")]);
        let choose = |body: &Value| choose(body.to_string().as_bytes(), Platform::Arm64);
        assert_eq!(choose(&both), Ok(Choice::Manifest(digest("arm64"))));
        let no_platform = json!({"manifests": [{"digest": digest("a"), "size": 1}]});
        assert_eq!(choose(&no_platform), Ok(Choice::Whole));
        assert_eq!(choose(&index(&[("unknown", "unknown")])), Ok(Choice::Whole));
        let image = json!({"config": {"digest": digest("c"), "size": 1}, "layers": []});
        assert_eq!(choose(&image), Ok(Choice::IfConfigured(digest("c"))));
        let others = index(&[("linux", "amd64"), ("windows", "arm64")]);
        let message = choose(&others).unwrap_err().message;
        assert_eq!(message, "it has no image for linux/arm64, only for linux/amd64, windows/arm64");
        assert!(choose(&json!({"errors": []})).is_err());
    }

    #[test]
    fn an_image_for_another_platform_is_refused() {
        let check = |config: &str| check_config(config.as_bytes(), Platform::Amd64);
        for good in [r#"{"os":"linux","architecture":"amd64"}"#, "{}", "x"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let message = check(r#"{"os":"linux","architecture":"arm","variant":"v7"}"#).unwrap_err();
        assert_eq!(message.message, "it is an image for linux/arm/v7, and not for linux/amd64");
        assert!(check(r#"{"os":"windows","architecture":"amd64"}"#).is_err());
    }
}
