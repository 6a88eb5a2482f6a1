//! `imgplan serve`: the images API on this machine.

use super::args::ServeArgs;
use super::failure::{Exit, Failure};
use super::signals;
use super::ui::Ui;
use crate::base::file;
use crate::base::secret::ApiKey;
use crate::event::Signal;
use crate::server::{self, ServerConfig};

pub(super) async fn run(ui: &mut Ui, args: ServeArgs) -> Result<Exit, Failure> {
    let ServeArgs { listen, url_file, token, state, limits, build_time, upload_ttl, .. } = args;
    server::check_faults(&args.faults).map_err(|e| Failure::usage(e.message, e.help))?;
    let token = match token {
        None => None,
        Some(text) => Some(ApiKey::new(&text).ok_or_else(|| {
            Failure::usage(
                "the token is empty or cannot stand in a header",
                "use letters and digits",
            )
        })?),
    };
    let mut signals = signals::listen();
    let config = ServerConfig {
        listen: Some(listen),
        token,
        state,
        limits,
        build_time,
        upload_ttl,
        quota: args.quota,
        bulk: args.bulk_shape,
        faults: args.faults,
        seed: args.seed,
        fail: args.fail,
        ..ServerConfig::default()
    };
    let server = server::start(config).await?;
    let url = server.url();
    if let Some(path) = url_file {
        file::replace(&path, format!("{url}\n").as_bytes())
            .map_err(|error| Failure::new(format!("{error}: {}", error.source)))?;
    }
    ui.data(format_args!("Serving the images API on {url}"))?;
    ui.message(format_args!(
        "Use it with PRIME_API_BASE_URL={url} and any PRIME_API_KEY that it accepts. Ctrl-C stops it."
    ))?;
    let signal = signals.recv().await;
    server.stop().await?;
    Ok(match signal {
        Some(Signal::Terminate) => Exit::Terminated,
        Some(Signal::Interrupt) | None => Exit::Interrupted,
    })
}
