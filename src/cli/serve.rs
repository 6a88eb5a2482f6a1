//! `imgplan serve`: runs a local server with the images API.

use tokio::sync::broadcast::error::RecvError;

use super::args::ServeArgs;
use super::engine;
use super::failure::{Exit, Failure};
use super::signals;
use super::ui::Ui;
use crate::base::file;
use crate::base::secret::ApiKey;
use crate::base::text::duration;
use crate::event::Signal;
use crate::manifest::workspace::LocalEngine;
use crate::server::{self, EndedBuild, ServerConfig};

pub(super) async fn run(ui: &mut Ui, args: ServeArgs) -> Result<Exit, Failure> {
    server::check_faults(&args.faults).map_err(|e| Failure::usage(e.message, e.help))?;
    let mut signals = signals::listen();
    let (url_file, token) = (args.url_file.clone(), args.token.is_some());
    // A builder may take minutes to start.
    let server = tokio::select! {
        started = server::start(config(args)?) => started?,
        signal = signals.recv() => return Ok(exit_after(signal)),
    };
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
    let mut ended = server.ended_builds();
    let signal = loop {
        tokio::select! {
            signal = signals.recv() => break signal,
            build = ended.recv() => match build {
                Ok(build) => ui.message(ended_line(&build))?,
                Err(RecvError::Lagged(count)) => {
                    ui.message(format_args!("{count} more builds have ended"))?;
                }
                Err(RecvError::Closed) => break None,
            },
            Ok(()) = problem.changed() => match problem.borrow_and_update().clone() {
                Some(text) => ui.message(format_args!("error: {text}"))?,
                None => ui.message("The server can store its state again.")?,
            },
        }
    };
    server.stop().await?;
    Ok(exit_after(signal))
}

/// Returns the exit code after a signal.
fn exit_after(signal: Option<Signal>) -> Exit {
    match signal {
        Some(Signal::Terminate) => Exit::Terminated,
        Some(Signal::Interrupt) | None => Exit::Interrupted,
    }
}

/// Returns the line of a build that has ended.
fn ended_line(build: &EndedBuild) -> String {
    let EndedBuild { image, id, time, error } = build;
    let time = duration(*time);
    match error.as_deref().map(|text| text.lines().next().unwrap_or_default()) {
        None => format!("{image}: Completed after {time} [build {id}]"),
        Some(reason) => format!("{image}: Failed after {time} [build {id}]: {reason}"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::name::BuildId;

    #[test]
    fn a_failed_build_is_one_line() {
        let ended = |error: Option<&str>| EndedBuild {
            image: "app:v1".to_owned(),
            id: BuildId::of_number(7),
            time: std::time::Duration::from_millis(4100),
            error: error.map(str::to_owned),
        };
        let id = BuildId::of_number(7);
        assert_eq!(ended_line(&ended(None)), format!("app:v1: Completed after 4.1s [build {id}]"));
        let failed = format!("app:v1: Failed after 4.1s [build {id}]: `RUN x` failed");
        assert_eq!(ended_line(&ended(Some("`RUN x` failed\noutput"))), failed);
    }
}
