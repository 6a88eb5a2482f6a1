//! A registry that the server starts for an engine that has none: Debian's `docker-registry`, on a
//! loopback port.
//!
//! The images and the port are kept in the state folder: the address is a part of the names of images,
//! which the lockfile records. The registry ends with the server, also if that is killed. It has no
//! users, so while it runs every user of this machine can read and replace its images.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::programs::is_installed;
use super::{EngineFailure, LogSink, LogTail, process};
use crate::base::file::{AtPath, replace_private};
use crate::base::input::{self, InputKind};
use crate::base::work_dir::WorkDir;
use crate::server::error::ServerError;

/// The names of the program: Debian's, and the one of its authors.
const PROGRAMS: [&str; 2] = ["docker-registry", "registry"];

/// The ports that a registry may get. Linux gives those from 32768 on to outgoing connections, so one of
/// these is more likely to be free at the next start too.
const PORTS: Range<u16> = 20000..32768;

/// Maximum number of ports to try.
const MAX_PORTS_TRIED: usize = 100;

/// Maximum time until the registry listens.
const MAX_START: Duration = Duration::from_secs(30);

/// A running registry. It ends when this is dropped.
#[derive(Debug)]
pub(in crate::server) struct OwnRegistry {
    /// Host and port.
    pub(in crate::server) address: String,
    /// True if no server has recorded images at this address.
    pub(in crate::server) is_new: bool,
    stop: DropGuard,
    running: JoinHandle<()>,
    /// Deletes the images of a server without a state folder when dropped.
    _temp: Option<TempDir>,
}

impl OwnRegistry {
    /// Returns the name of the program.
    ///
    /// # Errors
    /// Fails if it is not installed.
    pub(super) fn program() -> Result<&'static str, ServerError> {
        PROGRAMS.into_iter().find(|name| is_installed(name)).ok_or_else(|| {
            let help = "install it (on Debian `apt install docker-registry`), or name a registry \
                        with --registry HOST:PORT";
            unusable("it needs a registry to push to, and docker-registry is not in PATH", help)
        })
    }

    /// Starts the registry, and waits until it listens.
    ///
    /// # Errors
    /// Fails if the program is not installed, if its port is taken, and if it does not start.
    pub(super) async fn start(state: Option<&Path>) -> Result<Self, ServerError> {
        let program = Self::program()?;
        let (dir, temp) = folder(state)?;
        let (port, is_new) = port(&dir.join("port"))?;
        let config = dir.join("config.yml");
        replace_private(&config, configuration(&dir, port).as_bytes())?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program, "serve"]).arg(&config);
        // Variables such as REGISTRY_HTTP_ADDR would change the configuration.
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.current_dir(&dir);
        let (log, stop) = (Arc::new(RegistryLog::default()), CancellationToken::new());
        let mut running = tokio::spawn({
            let (log, stop) = (Arc::clone(&log), stop.clone());
            async move { log.end(process::run(command, None, &*log, &stop).await.err()) }
        });
        let stop = stop.drop_guard();
        let ended = tokio::select! {
            () = log.listens.notified() => None,
            _ = &mut running => Some(log.tail.lines().pop().unwrap_or_default()),
            () = tokio::time::sleep(MAX_START) => Some("it does not listen".to_owned()),
        };
        if let Some(reason) = ended {
            let help = format!("try `{program} serve {}`, or give --registry", config.display());
            return Err(unusable(&format!("{program} does not start: {reason}"), &help));
        }
        let address = format!("{}:{port}", Ipv4Addr::LOCALHOST);
        Ok(Self { address, is_new, stop, running, _temp: temp })
    }

    /// Stops the registry, and waits for its end.
    pub(in crate::server) async fn stop(self) {
        drop(self.stop);
        // A task that panicked has no process either.
        let _ = self.running.await;
    }
}

/// The last lines of the registry's output, and its start.
#[derive(Default)]
struct RegistryLog {
    tail: LogTail,
    listens: Notify,
}

impl RegistryLog {
    /// Adds the reason for which the registry could not run.
    fn end(&self, failure: Option<EngineFailure>) {
        if let Some(EngineFailure::Failed(message)) = failure {
            self.tail.line(&message);
        }
    }
}

impl LogSink for RegistryLog {
    fn line(&self, text: &str) {
        self.tail.line(text);
        if text.contains("listening on ") {
            self.listens.notify_one();
        }
    }
}

fn unusable(message: &str, help: &str) -> ServerError {
    ServerError::Engine { engine: "buildah", message: message.to_owned(), help: help.to_owned() }
}

/// Returns the folder of the registry, and the temporary folder that it is without a state.
fn folder(state: Option<&Path>) -> Result<(PathBuf, Option<TempDir>), ServerError> {
    let (dir, temp) = if let Some(state) = state {
        (state.join("registry"), None)
    } else {
        let system = std::env::temp_dir();
        let temp = tempfile::Builder::new().prefix("imgplan-registry-").tempdir();
        let temp = temp.at("create a folder in", &system)?;
        (temp.path().to_owned(), Some(temp))
    };
    WorkDir::create_private(&dir)?;
    Ok((std::path::absolute(&dir).at("find", &dir)?, temp))
}

/// Returns the recorded port of the registry and false; a free one, which is recorded, and true if there
/// is none.
///
/// # Errors
/// Fails if another program listens at the port.
fn port(path: &Path) -> Result<(u16, bool), ServerError> {
    let recorded = match input::read_text(path, InputKind::ServerState) {
        Ok(text) => text.trim().parse().ok(),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).at("read", path)?,
    };
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(|_| port);
    if let Some(port) = recorded {
        return bind(port).map(|port| (port, false)).map_err(|error| {
            let message =
                format!("its registry cannot listen at port {port} of this machine: {error}");
            let help = format!(
                "stop the program that uses the port; or delete {}, and all images are built again",
                path.display()
            );
            unusable(&message, &help)
        });
    }
    let random = || getrandom::u32().unwrap_or_default() as usize % PORTS.len();
    let mut ports = (0..MAX_PORTS_TRIED).filter_map(|_| bind(PORTS.clone().nth(random())?).ok());
    let port =
        ports.next().ok_or_else(|| unusable("this machine has no free port", "try again"))?;
    replace_private(path, format!("{port}\n").as_bytes())?;
    Ok((port, true))
}

/// Returns the configuration of the registry. It is JSON, which is YAML too.
fn configuration(dir: &Path, port: u16) -> String {
    let config = json!({
        "version": "0.1",
        // A line at this level says that it listens.
        "log": { "level": "info", "accesslog": { "disabled": true } },
        "storage": {
            "filesystem": { "rootdirectory": dir.join("data") },
            "delete": { "enabled": true },
        },
        "http": { "addr": format!("{}:{port}", Ipv4Addr::LOCALHOST) },
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_stays_unless_it_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("port");
        let (first, is_new) = port(&path).unwrap();
        assert!(is_new && PORTS.contains(&first));
        assert_eq!(port(&path).unwrap(), (first, false));
        let _other = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        let Err(ServerError::Engine { message, help, .. }) = port(&path) else { panic!() };
        assert!(message.contains(&format!("cannot listen at port {first} ")), "{message}");
        assert!(help.contains(&path.display().to_string()), "{help}");
    }
}
