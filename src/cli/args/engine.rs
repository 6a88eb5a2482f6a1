//! Flags of the engine of a local server. The doc comments are the help texts.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{duration, size};
use crate::base::reference::RegistryRef;
use crate::manifest::workspace::LocalEngine;
use crate::server::{BuildNetwork, EngineConfig, EngineKind, PushRegistry, RegistryTrust};

/// The engine that makes the images of a local server.
#[derive(Debug, Args)]
#[command(next_help_heading = super::ENGINE_HEADING)]
pub(in crate::cli) struct EngineArgs {
    /// Program that makes the images
    ///
    /// `check`, the default, looks for the errors that a build would have, and builds nothing.
    /// `buildah` builds and pushes to `--registry`. `buildx` gives builds to the `--builder` of
    /// docker buildx, such as another machine or a cluster, which pushes to `--registry`. `auto` is
    /// `buildah` if that works here, else `check`. `imgplan serve` needs a `--token` for an engine
    /// that may build, because whoever can use the server can then run commands.
    #[arg(long, value_name = "ENGINE", value_enum, env = "IMGPLAN_ENGINE")]
    pub(in crate::cli) engine: Option<EngineKind>,
    /// Registry to push images to: 127.0.0.1:5000
    ///
    /// Without it, an engine that builds starts `docker-registry` on this machine, in the folder of
    /// the state, until the server ends.
    #[arg(long, value_name = "HOST:PORT", value_parser = registry_address, env = "IMGPLAN_REGISTRY")]
    pub(in crate::cli) registry: Option<String>,
    /// File with credentials for registries, as Docker's config.json
    ///
    /// Builds pull their bases and push with them.
    #[arg(long, value_name = "FILE", env = "IMGPLAN_REGISTRY_AUTH")]
    pub(in crate::cli) registry_auth: Option<PathBuf>,
    /// File with the certificate of the registry's authority, in PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "registry",
        env = "IMGPLAN_REGISTRY_CA",
        hide_short_help = true
    )]
    pub(in crate::cli) registry_ca: Option<PathBuf>,
    /// Use HTTP without TLS for the registry
    ///
    /// A registry on this machine always uses it, unless there is a `--registry-ca`.
    #[arg(
        long,
        requires = "registry",
        conflicts_with = "registry_ca",
        env = "IMGPLAN_PLAIN_HTTP",
        hide_short_help = true
    )]
    pub(in crate::cli) plain_http: bool,
    /// Builder of docker buildx for `--engine buildx` [default: the current one]
    #[arg(long, value_name = "NAME", env = "IMGPLAN_BUILDER", hide_short_help = true)]
    pub(in crate::cli) builder: Option<String>,
    /// Maximum disk space of all builds and their caches [default: 20GB]
    ///
    /// Each of the `--slots` has an equal share.
    #[arg(long, value_name = "SIZE", value_parser = size, env = "IMGPLAN_DISK")]
    pub(in crate::cli) disk: Option<u64>,
    /// Maximum memory of a build [default: 2GiB]
    #[arg(long, value_name = "SIZE", value_parser = size, env = "IMGPLAN_MEMORY")]
    pub(in crate::cli) memory: Option<u64>,
    /// Maximum number of builds at the same time [default: one for each core; 8 with buildx]
    #[arg(long, value_name = "N", env = "IMGPLAN_SLOTS", hide_short_help = true)]
    pub(in crate::cli) slots: Option<NonZeroUsize>,
    /// Maximum time of a build [default: 1h]
    #[arg(long, value_name = "D", value_parser = duration, env = "IMGPLAN_BUILD_TIMEOUT",
          hide_short_help = true)]
    pub(in crate::cli) build_timeout: Option<Duration>,
    /// Network of the commands of a build [default: private]
    #[arg(
        long,
        value_name = "NETWORK",
        value_enum,
        env = "IMGPLAN_BUILD_NETWORK",
        hide_short_help = true
    )]
    pub(in crate::cli) build_network: Option<BuildNetwork>,
    /// Repository for the layers of builds, shared by servers: registry.example/cache
    ///
    /// A build takes layers of the same instructions and files from there, and puts new ones there.
    /// Whoever can write to the repository can change images.
    #[arg(long, value_name = "REPOSITORY", value_parser = cache_repository, env = "IMGPLAN_CACHE",
          hide_short_help = true)]
    pub(in crate::cli) cache: Option<String>,
}

impl EngineArgs {
    /// Returns the settings of the engine: flags and environment win over those of a manifest. The
    /// pattern has no `..`, so that no flag is forgotten.
    pub(in crate::cli) fn config(&self, manifest: &LocalEngine) -> EngineConfig {
        let Self {
            engine,
            registry,
            builder,
            registry_auth,
            registry_ca,
            plain_http,
            disk,
            memory,
            slots,
            build_timeout,
            build_network,
            cache,
        } = self;
        let registry = registry.as_ref().map(|address| {
            let mut registry = PushRegistry::new(address);
            registry.auth.clone_from(registry_auth);
            registry.trust = match (registry_ca, plain_http) {
                (Some(file), _) => RegistryTrust::Ca(file.clone()),
                (None, true) => RegistryTrust::PlainHttp,
                (None, false) => registry.trust,
            };
            registry
        });
        let default = EngineConfig::default();
        EngineConfig {
            kind: engine.or(manifest.kind).unwrap_or_default(),
            registry,
            auth: registry_auth.clone(),
            disk: disk.or(manifest.disk).unwrap_or(default.disk),
            slots: slots.map(NonZeroUsize::get).or(manifest.slots),
            build_timeout: build_timeout
                .or(manifest.build_timeout)
                .unwrap_or(default.build_timeout),
            memory: memory.or(manifest.memory).unwrap_or(default.memory),
            network: build_network.unwrap_or_default(),
            builder: builder.clone(),
            cache: cache.clone(),
            ..default
        }
    }
}

/// Parses the host of a registry, with its port if it has one.
fn registry_address(text: &str) -> Result<String, String> {
    let invalid = "write a host and a port: 127.0.0.1:5000";
    let reference: RegistryRef = format!("{text}/x").parse().map_err(|_| invalid.to_owned())?;
    // A word alone would be read as a folder of Docker Hub.
    let is_host = reference.registry().eq_ignore_ascii_case(text);
    if is_host { Ok(reference.registry().to_owned()) } else { Err(invalid.to_owned()) }
}

/// Parses the repository of a cache: with a host, and without tag and digest.
fn cache_repository(text: &str) -> Result<String, String> {
    let is_repository = text
        .split_once('/')
        .is_some_and(|(host, path)| registry_address(host).is_ok() && !path.contains([':', '@']));
    let reference = format!("{text}/amd64:tag").parse::<RegistryRef>();
    if is_repository && reference.is_ok() {
        Ok(text.to_owned())
    } else {
        Err("write a host and a repository, without a tag: registry.example/cache".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_a_repository() {
        for ok in ["127.0.0.1:5000/cache", "registry.example/team/cache"] {
            assert_eq!(cache_repository(ok).as_deref(), Ok(ok));
        }
        for bad in [
            "",
            "cache",
            "registry/cache",
            "r.example",
            "r.example/a:b",
            "r.example/A",
            "r.example/",
        ] {
            assert!(cache_repository(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_registry_is_a_host() {
        for ok in ["127.0.0.1:5000", "localhost", "registry:5000", "[::1]:5000", "registry.example"]
        {
            assert_eq!(registry_address(ok).as_deref(), Ok(ok));
        }
        assert_eq!(registry_address("LocalHost:5000").as_deref(), Ok("localhost:5000"));
        for bad in ["", "registry", "http://x:5000", "x:5000/path", "x:0", "u@x:1", "docker.io:x"] {
            assert!(registry_address(bad).is_err(), "{bad}");
        }
    }
}
