//! `imgplan serve` as a process, alone or with an engine and a registry.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use crate::measure::{Done, Failed, imgplan, is_here};
use crate::registry::Registry;

/// The key of the servers.
const KEY: &str = "bench";

/// A server, which ends with this value.
pub(crate) struct Service {
    child: Child,
    dir: PathBuf,
    /// Its URL.
    pub(crate) url: String,
}

impl Service {
    /// Starts a server in a folder, with further arguments, and waits until it listens.
    pub(crate) fn start(dir: &Path, listen: &str, arguments: &[&str]) -> Result<Self, Failed> {
        let file = dir.join("url");
        remove(&file)?;
        let log = dir.join("serve.log");
        let mut command = imgplan(dir, &["serve", "--listen", listen, "--url-file", "url"]);
        command.args(arguments).env("IMGPLAN_TOKEN", KEY).stderr(File::create(&log)?);
        let child = command.spawn()?;
        let mut service = Self { child, dir: dir.to_owned(), url: String::new() };
        for _ in 0..6000 {
            match fs::read_to_string(&file) {
                Ok(url) if url.ends_with('\n') => {
                    url.trim().clone_into(&mut service.url);
                    return Ok(service);
                }
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
        Err(format!("the server does not listen: {}", fs::read_to_string(log)?).into())
    }

    /// Returns a call of `imgplan apply` for the manifest in the folder.
    pub(crate) fn apply(&self) -> Command {
        let mut apply = imgplan(&self.dir, &["apply", "--auto-approve", "--quiet"]);
        apply.env("PRIME_API_BASE_URL", &self.url).env("PRIME_API_KEY", KEY);
        apply
    }

    fn stop(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A server that builds and copies images, with its registry.
pub(crate) struct OwnService {
    pub(crate) registry: Registry,
    pub(crate) service: Service,
}

impl OwnService {
    /// Returns `None`, with a message, if a program is missing.
    pub(crate) fn start(dir: &Path) -> Result<Option<Self>, Failed> {
        let programs =
            [("buildah", "buildah"), ("runc", "runc"), ("docker-registry", "docker-registry")];
        let programs =
            programs.into_iter().chain([("skopeo", "skopeo"), ("unshare", "util-linux")]);
        for (program, package) in programs {
            if !is_here(program, &format!("apt install {package}")) {
                return Ok(None);
            }
        }
        fs::create_dir_all(dir)?;
        let registry = Registry::start(&dir.join("registry"))?;
        let service = serve(dir, "127.0.0.1:0", &registry)?;
        Ok(Some(Self { registry, service }))
    }

    /// Removes all images, cached layers and records, by a start with empty folders at the same
    /// addresses.
    pub(crate) fn empty(&mut self) -> Done {
        self.service.stop();
        let dir = self.service.dir.clone();
        for left in ["imgplan.lock", ".imgplan", "state"] {
            remove(&dir.join(left))?;
        }
        self.registry.empty()?;
        let listen = self.service.url.strip_prefix("http://").ok_or("the URL is not HTTP")?;
        self.service = serve(&dir, listen, &self.registry)?;
        Ok(())
    }
}

fn serve(dir: &Path, listen: &str, registry: &Registry) -> Result<Service, Failed> {
    let arguments = ["--engine", "buildah", "--registry", &registry.address, "--state", "state"];
    Service::start(dir, listen, &arguments)
}

/// Removes a file or folder, if it exists.
pub(crate) fn remove(path: &Path) -> Done {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", path.display()).into())
        }
        _ => Ok(()),
    }
}
