//! `imgplan serve`: runs a local server with the images API.

use super::args::ServeArgs;
use super::failure::{Exit, Failure};
use super::registries;
use super::signals;
use super::ui::Ui;
use crate::base::file;
use crate::base::secret::ApiKey;
use crate::base::text::list;
use crate::event::Signal;
use crate::server::{
    self, Capabilities, EngineConfig, EngineKind, ServerConfig, ServerRegistryConfig,
};

pub(super) async fn run(ui: &mut Ui, args: ServeArgs) -> Result<Exit, Failure> {
    server::check_faults(&args.faults).map_err(|e| Failure::usage(e.message, e.help))?;
    let mut signals = signals::listen();
    let (url_file, token) = (args.url_file.clone(), args.token.is_some());
    let server = server::start(config(args)?).await?;
    let url = server.url();
    if let Some(path) = url_file {
        file::replace(&path, format!("{url}\n").as_bytes())?;
    }
    let key = if token { "the key of --token" } else { "any key" };
    ui.data(format_args!("Serving the images API on {url}"))?;
    for line in engine_lines(server.capabilities()) {
        ui.message(line)?;
    }
    ui.message(format_args!(
        "To use it, set PRIME_API_BASE_URL={url} and PRIME_API_KEY to {key}. Ctrl-C stops it."
    ))?;
    let mut problem = server.storage_problem();
    let signal = loop {
        tokio::select! {
            signal = signals.recv() => break signal,
            Ok(()) = problem.changed() => match problem.borrow_and_update().clone() {
                Some(text) => ui.message(format_args!("error: {text}"))?,
                None => ui.message("The server can store its state again.")?,
            },
        }
    };
    server.stop().await?;
    Ok(match signal {
        Some(Signal::Terminate) => Exit::Terminated,
        Some(Signal::Interrupt) | None => Exit::Interrupted,
    })
}

/// Returns the configuration of the server. The pattern has no `..`, so that no flag is forgotten.
///
/// # Errors
/// Fails if the token is invalid, and if commands of builds would run for anyone without one.
fn config(args: ServeArgs) -> Result<ServerConfig, Failure> {
    let ServeArgs {
        listen,
        url_file: _,
        token,
        state,
        limits,
        build_time,
        upload_ttl,
        quota,
        api,
        docker_hub,
        not_admin,
        vm_paths,
        bulk_shape,
        fail,
        faults,
        seed,
        engine,
    } = args;
    let token = token.map(|text| {
        let message = "the token is empty or has characters that are not allowed in a header";
        ApiKey::new(&text).ok_or_else(|| Failure::usage(message, "use letters and digits"))
    });
    let engine = engine.config();
    let runs_commands = engine.kind != EngineKind::Check && engine.registry.is_some();
    if runs_commands && token.is_none() {
        let message = "an engine that runs the commands of builds needs a token";
        let help = "set IMGPLAN_TOKEN to a secret: without one, every user and web page on this \
                    machine could run commands as this user";
        return Err(Failure::usage(message, help));
    }
    Ok(ServerConfig {
        listen: Some(listen),
        token: token.transpose()?,
        state,
        limits,
        build_time,
        upload_ttl,
        quota,
        api,
        docker_hub,
        admin: !not_admin,
        vm_paths,
        bulk: bulk_shape,
        faults,
        seed,
        fail,
        registry: registry(&engine),
        engine,
        ..ServerConfig::default()
    })
}

/// Returns the registry that transfers copy to: that of the engine, if the engine pushes. The sources are
/// read with the credentials of Docker.
fn registry(engine: &EngineConfig) -> Option<ServerRegistryConfig> {
    let registry = engine.registry.clone().filter(|_| engine.kind != EngineKind::Check)?;
    Some(ServerRegistryConfig { registry, upstream: registries::credentials() })
}

/// Returns a block of lines about the engine. Its texts come from programs and are escaped as all
/// messages are.
fn engine_lines(engine: &Capabilities) -> Vec<String> {
    let Capabilities { engine: name, registry, architectures, isolation, enforced, gaps } = engine;
    let mut lines = Vec::new();
    match registry {
        Some(registry) => {
            lines.push(format!("Engine: {name}, pushes to {registry}"));
            lines.push(format!("  isolation: {isolation}"));
            lines.push(format!("  RUN: {}", list(architectures, usize::MAX)));
            lines.push(format!("  limits of a build: {}", enforced.join(", ")));
        }
        None => lines.push(format!("Engine: {name}")),
    }
    lines.extend(gaps.iter().map(|gap| format!("  note: {gap}")));
    lines
}
