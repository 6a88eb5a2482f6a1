//! Starts the engine that the settings ask for, and its registry if it has none.

use std::path::Path;
use std::sync::Arc;

use super::Engine;
#[cfg(target_os = "linux")]
use super::buildah::{BuildahEngine, check_programs};
#[cfg(target_os = "linux")]
use super::buildx::{BuildxEngine, check_buildx};
use super::check::CheckEngine;
use super::config::{EngineConfig, EngineKind};
#[cfg(target_os = "linux")]
pub(in crate::server) use super::own_registry::OwnRegistry;
use crate::server::error::ServerError;

/// A started engine, and the registry that was started for it.
pub(in crate::server) struct StartedEngine {
    pub(in crate::server) engine: Arc<dyn Engine>,
    pub(in crate::server) registry: Option<OwnRegistry>,
}

/// Starts an engine. `state` is the folder of the server's state, whose lock the server holds.
///
/// # Errors
/// Fails if the engine cannot be used here. With [`EngineKind::Auto`], the check is used instead, and its
/// capabilities have the reason.
pub(in crate::server) async fn start(
    config: &EngineConfig,
    state: Option<&Path>,
) -> Result<StartedEngine, ServerError> {
    let gap = if config.kind == EngineKind::Check {
        config
            .registry
            .as_ref()
            .map(|_| "the registry is not used; add --engine buildah".to_owned())
    } else if config.kind == EngineKind::Buildx {
        return Ok(StartedEngine { engine: start_buildx(config, state).await?, registry: None });
    } else {
        match start_buildah(config, state).await {
            Ok(started) => return Ok(started),
            Err(ServerError::Engine { message, help, .. }) if config.kind == EngineKind::Auto => {
                Some(format!("buildah is not used: {message}: {help}"))
            }
            Err(error) => return Err(error),
        }
    };
    Ok(StartedEngine { engine: Arc::new(CheckEngine::new(gap)), registry: None })
}

/// Checks that the programs of an engine are installed. Runs none.
///
/// # Errors
/// Fails with what is missing and how to install it.
pub(crate) fn check_installed(config: &EngineConfig) -> Result<(), ServerError> {
    #[cfg(target_os = "linux")]
    match config.kind {
        EngineKind::Check => Ok(()),
        EngineKind::Buildx => check_buildx(config).map(drop),
        EngineKind::Buildah | EngineKind::Auto => {
            check_programs()?;
            config.registry.as_ref().map_or_else(|| OwnRegistry::program().map(drop), |_| Ok(()))
        }
    }
    #[cfg(not(target_os = "linux"))]
    match config.kind {
        EngineKind::Check => Ok(()),
        kind => Err(needs_linux(kind.as_str())),
    }
}

#[cfg(target_os = "linux")]
async fn start_buildah(
    config: &EngineConfig,
    state: Option<&Path>,
) -> Result<StartedEngine, ServerError> {
    use super::config::PushRegistry;

    check_programs()?;
    let (push, registry) = if let Some(given) = &config.registry {
        (given.clone(), None)
    } else {
        let own = OwnRegistry::start(state).await?;
        let push = PushRegistry::new(own.address.clone());
        (PushRegistry { auth: config.auth.clone(), ..push }, Some(own))
    };
    let engine = Arc::new(BuildahEngine::start(config, &push, state).await?);
    Ok(StartedEngine { engine, registry })
}

#[cfg(target_os = "linux")]
async fn start_buildx(
    config: &EngineConfig,
    state: Option<&Path>,
) -> Result<Arc<dyn Engine>, ServerError> {
    Ok(Arc::new(BuildxEngine::start(config, state).await?))
}

#[cfg(not(target_os = "linux"))]
async fn start_buildx(
    _config: &EngineConfig,
    _state: Option<&Path>,
) -> Result<Arc<dyn Engine>, ServerError> {
    Err(needs_linux("buildx"))
}

#[cfg(not(target_os = "linux"))]
async fn start_buildah(
    _config: &EngineConfig,
    _state: Option<&Path>,
) -> Result<StartedEngine, ServerError> {
    Err(needs_linux("buildah"))
}

#[cfg(not(target_os = "linux"))]
fn needs_linux(engine: &'static str) -> ServerError {
    let (message, help) = ("it needs Linux".to_owned(), "use --engine check".to_owned());
    ServerError::Engine { engine, message, help }
}

#[cfg(not(target_os = "linux"))]
pub(in crate::server) use self::NoRegistry as OwnRegistry;

/// A registry, of which there is none on this system.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(in crate::server) struct NoRegistry {
    pub(in crate::server) address: String,
    pub(in crate::server) is_new: bool,
}

#[cfg(not(target_os = "linux"))]
impl NoRegistry {
    #[expect(clippy::unused_async, reason = "as the one for Linux")]
    pub(in crate::server) async fn stop(self) {}
}
