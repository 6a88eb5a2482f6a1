//! The engine of a local server, as commands configure and describe it. Pure.

use super::registries;
use crate::base::engine_kind::EngineKind;
use crate::base::text::list;
use crate::server::{Capabilities, EngineConfig, ServerConfig, ServerRegistryConfig};

/// True if an engine may run the commands of builds.
pub(super) fn runs_commands(engine: &EngineConfig) -> bool {
    engine.kind != EngineKind::Check
}

/// Returns the configuration of a server with an engine and the registry that transfers copy to: that of
/// the engine, if the engine pushes. The sources are read with the credentials of Docker.
pub(super) fn server_config(engine: EngineConfig) -> ServerConfig {
    let upstream = registries::credentials();
    let registry = engine.registry.clone().filter(|_| runs_commands(&engine));
    let registry = registry.map(|registry| {
        let upstream = upstream.clone();
        ServerRegistryConfig { registry, upstream }
    });
    ServerConfig { registry, upstream, engine, ..ServerConfig::default() }
}

/// Returns a block of lines about an engine. Its texts come from programs and are escaped as all
/// messages are.
pub(super) fn lines(engine: &Capabilities) -> Vec<String> {
    let Capabilities { engine: name, registry, architectures, isolation, enforced, gaps } = engine;
    let mut lines = Vec::new();
    match registry {
        Some(registry) => {
            lines.push(format!("Engine: {name}, pushes to {registry}"));
            lines.push(format!("  isolation: {isolation}"));
            lines.push(format!("  RUN: {}", list(architectures, usize::MAX)));
            lines.push(format!("  limits of a build: {}", enforced.join(", ")));
        }
        None => lines.push(format!("Engine: {name}; images are checked, not built")),
    }
    lines.extend(gaps.iter().map(|gap| format!("  note: {gap}")));
    lines
}
