//! Starts the engine that the settings ask for.

use std::path::Path;
use std::sync::Arc;

use super::Engine;
use super::check::CheckEngine;
use super::config::{EngineConfig, EngineKind, PushRegistry};
use crate::server::error::ServerError;

/// Starts an engine. `state` is the folder of the server's state, whose lock the server holds.
///
/// # Errors
/// Fails if the engine cannot be used here. With [`EngineKind::Auto`], the check is used instead, and its
/// capabilities have the reason.
pub(in crate::server) async fn start(
    config: &EngineConfig,
    state: Option<&Path>,
) -> Result<Arc<dyn Engine>, ServerError> {
    let failure = match (config.kind, &config.registry) {
        (EngineKind::Check, registry) => {
            let gap = || "the registry is not used; add --engine buildah".to_owned();
            return Ok(Arc::new(CheckEngine::new(registry.as_ref().map(|_| gap()))));
        }
        (_, None) => unusable("it needs a registry to push to", "add --registry HOST:PORT"),
        (_, Some(registry)) => match start_buildah(config, registry, state).await {
            Ok(engine) => return Ok(engine),
            Err(error) => error,
        },
    };
    match failure {
        ServerError::Engine { message, help, .. } if config.kind == EngineKind::Auto => {
            let gap = format!("buildah is not used: {message}: {help}");
            Ok(Arc::new(CheckEngine::new(Some(gap))))
        }
        error => Err(error),
    }
}

#[cfg(target_os = "linux")]
async fn start_buildah(
    config: &EngineConfig,
    registry: &PushRegistry,
    state: Option<&Path>,
) -> Result<Arc<dyn Engine>, ServerError> {
    Ok(Arc::new(super::buildah::BuildahEngine::start(config, registry, state).await?))
}

#[cfg(not(target_os = "linux"))]
async fn start_buildah(
    _config: &EngineConfig,
    _registry: &PushRegistry,
    _state: Option<&Path>,
) -> Result<Arc<dyn Engine>, ServerError> {
    Err(unusable("it needs Linux", "use --engine check"))
}

fn unusable(message: &str, help: &str) -> ServerError {
    ServerError::Engine { engine: "buildah", message: message.to_owned(), help: help.to_owned() }
}
