//! `imgplan serve`: runs a local server with the images API.

use super::args::ServeArgs;
use super::engine;
use super::failure::{Exit, Failure};
use super::signals;
use super::ui::Ui;
use crate::base::file;
use crate::base::secret::ApiKey;
use crate::event::Signal;
use crate::manifest::workspace::LocalEngine;
use crate::server::{self, ServerConfig};

pub(super) async fn run(ui: &mut Ui, args: ServeArgs) -> Result<Exit, Failure> {
    server::check_faults(&args.faults).map_err(|e| Failure::usage(e.message, e.help))?;
    let mut signals = signals::listen();
    let (url_file, token) = (args.url_file.clone(), args.token.is_some());
    let server = server::start(config(args)?).await?;
    let url = server.url();
    if let Some(path) = url_file {
        file::replace(&path, format!("{url}\n").as_bytes())?;
    }
    let key = if token { "its token" } else { "any key" };
    ui.data(format_args!("Serving the images API on {url}"))?;
    for line in engine::lines(server.capabilities()) {
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
        engine: engine_args,
    } = args;
    let token = token.map(|text| {
        let message = "the token is empty or has characters that are not allowed in a header";
        ApiKey::new(&text).ok_or_else(|| Failure::usage(message, "use letters and digits"))
    });
    let engine = engine_args.config(&LocalEngine::default());
    if engine::runs_commands(&engine) && token.is_none() {
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
        ..engine::server_config(engine)
    })
}
