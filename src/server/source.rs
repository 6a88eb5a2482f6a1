//! The rules for the sources of a request since September 2026 (API contract, section 2). Pure.

use super::error::Refusal;
use crate::base::source_ref::{RegistryKind, SUPPORTED_REGISTRIES, SourceRef};

/// Returns true if the sources of a request are images of Docker Hub, and false if none is. A malformed
/// source is ignored: it fails by itself.
///
/// # Errors
/// Fails with 400 if a registry is not supported, and if only some sources are of Docker Hub.
pub(super) fn are_of_docker_hub(sources: &[String]) -> Result<bool, Refusal> {
    let sources: Vec<SourceRef> = sources.iter().filter_map(|text| text.parse().ok()).collect();
    let is = |source: &SourceRef, kind| source.registry_kind() == kind;
    for source in sources.iter().filter(|source| is(source, RegistryKind::Other)) {
        // The service cannot reach a registry on its machine, but tests of this server use one.
        if !source.is_loopback() {
            let registry = source.parts().registry.unwrap_or_default();
            let supported = SUPPORTED_REGISTRIES.join(", ");
            let detail =
                format!("Registry {registry} is not supported. Allowed: Docker Hub, {supported}");
            return Err(Refusal::bad(detail));
        }
    }
    let docker_hub = sources.iter().filter(|source| is(source, RegistryKind::DockerHub)).count();
    if docker_hub > 0 && docker_hub < sources.len() {
        let detail = "Docker Hub and non-Docker Hub sources cannot share one request";
        return Err(Refusal::bad(detail));
    }
    Ok(docker_hub > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_and_mixed_registries_are_refused() {
        let check = |list: &str| {
            let sources: Vec<String> = list.split(',').map(str::to_owned).collect();
            are_of_docker_hub(&sources).map_err(|refusal| refusal.message())
        };
        for (list, docker_hub) in [
            ("ubuntu,ns/app:1,DOCKER.io/library/debian,index.docker.io/ns/app", true),
            ("ubuntu,a:", true),
            ("ghcr.io/o/a,registry.k8s.io/pause:3.9,QUAY.io/o/a", false),
            ("localhost:5000/a", false),
            ("127.0.0.1:5000/a", false),
            ("localhost/a", false),
            ("a:", false),
        ] {
            assert_eq!(check(list), Ok(docker_hub), "{list}");
        }
        for (list, text) in [
            ("gcr.io/p/a", "Registry gcr.io is not supported"),
            ("us-docker.pkg.dev/p/a", "Registry us-docker.pkg.dev is not supported"),
            ("ghcr.io/o/a,example.com/a", "Registry example.com is not supported"),
            ("docker.io:443/ns/app", "Registry docker.io:443 is not supported"),
            ("ubuntu,gcr.io/p/a", "Registry gcr.io is not supported"),
            ("ubuntu,ghcr.io/o/a", "Docker Hub and non-Docker Hub sources cannot share"),
        ] {
            let refusal = check(list).unwrap_err();
            assert!(refusal.starts_with(text), "{list}: {refusal}");
        }
    }
}
