//! The command lines of the engine's programs.
//!
//! Every program ends with the server, even if the server is killed: `setpriv` asks the kernel for
//! that, and `unshare` passes it on to everything in its process namespace. Without the namespace, a
//! `SIGKILL` of Buildah leaves the command of a `RUN` running, with its mounts.

use std::ffi::OsString;
use std::path::PathBuf;

use tokio::process::Command;

use super::slot::Slot;
use crate::base::name::Platform;
use crate::server::engine::cgroup::BuildCgroup;

/// The variables of the server's environment that name proxies, which a build needs to reach the
/// outside. Buildah passes them on to the commands of a build.
const PROXY_VARIABLES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];

/// Moves the shell into the cgroup whose file is its first argument, and becomes the program in the
/// others.
const JOIN_CGROUP: &str = "echo 0 > \"$1\" || exit 125; shift; exec \"$@\"";

/// The way in which programs are started on this machine.
#[derive(Debug, Clone)]
pub(super) struct Launcher {
    /// True if the server does not run as root.
    pub(super) rootless: bool,
    /// Storage driver: `overlay`, or `vfs` where that does not work.
    pub(super) driver: &'static str,
    environment: Vec<(&'static str, OsString)>,
}

impl Launcher {
    /// Reads the user and the environment of the server.
    pub(super) fn new() -> Self {
        let variables = ["PATH"].into_iter().chain(PROXY_VARIABLES);
        let set = variables.filter_map(|name| Some((name, std::env::var_os(name)?)));
        Self {
            rootless: !rustix::process::geteuid().is_root(),
            driver: "overlay",
            environment: set.collect(),
        }
    }

    /// Returns the value of Buildah's `--isolation`. Never `chroot`, in which a command sees the
    /// processes of the machine and can kill them.
    pub(super) fn isolation(&self) -> &'static str {
        if self.rootless { "rootless" } else { "oci" }
    }

    /// Returns a call of Buildah on the slot's store for a platform. With a cgroup, its limits hold for
    /// Buildah as well.
    pub(super) fn buildah(
        &self,
        slot: &Slot,
        platform: Platform,
        cgroup: Option<&BuildCgroup>,
    ) -> Command {
        let mut command = self.start(slot, cgroup.map(BuildCgroup::engine_processes));
        self.enter_namespaces(&mut command);
        command.args(["buildah", "--storage-driver", self.driver, "--root"]);
        command.arg(slot.store(platform)).arg("--runroot").arg(slot.run_dir(platform));
        command
    }

    /// Returns the beginning of a command line. The environment has nothing of the server's but `PATH`
    /// and proxies.
    fn start(&self, slot: &Slot, cgroup: Option<PathBuf>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Some(processes) = cgroup {
            command.args(["sh", "-c", JOIN_CGROUP, "sh"]).arg(processes);
        }
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("HOME", slot.home()).env("TMPDIR", slot.temp());
        command.env("CONTAINERS_REGISTRIES_CONF", slot.registries_conf());
        // Paths in arguments are absolute; nothing is looked up in the server's folder, or in `TMPDIR`
        // with the caches of builds.
        command.current_dir(slot.empty_dir());
        command
    }

    fn enter_namespaces(&self, command: &mut Command) {
        if self.rootless {
            command.args(["unshare", "--user", "--map-root-user", "--map-auto", "--"]);
            // The new user namespace has reset it.
            command.args(["setpriv", "--pdeathsig", "KILL", "--"]);
        }
        command.args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    }
}
