//! Limits the memory and the processes of a build through a cgroup, where the cgroup file system can be
//! written.
//!
//! ```text
//! imgplan-<pid>-<n>/<slot>   memory limit of everything
//! ├── engine                 the processes of the engine
//! └── box                    limit of the number of processes
//!     └── run                a command of the build; the OCI runtime makes and removes it
//! ```
//!
//! The engine is outside of the box, so that a fork bomb cannot keep it from ending the build. In
//! version 1, each controller has a hierarchy of its own, and the runtime uses the same path in all.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::kernel_file;

/// Number of servers that this process has started.
static SERVER_COUNT: AtomicU32 = AtomicU32::new(0);

/// Mount point of the cgroup file system.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Prefix of the name of a server's cgroup; the ID of its process and a number follow.
const SERVER_PREFIX: &str = "imgplan-";

/// Memory that the kernel charges at once, so that the use may end that far below the limit.
const CHARGE_BYTES: u64 = 1 << 20;

/// Pause before another try to remove a cgroup, whose last processes may still be ending.
const REMOVE_PAUSE: Duration = Duration::from_millis(50);

/// Maximum number of tries to remove a cgroup.
const MAX_REMOVALS: usize = 40;

/// The cgroups of a server.
#[derive(Debug)]
pub(super) struct Cgroups {
    version: CgroupVersion,
    /// Path of the server's cgroup from the root of each hierarchy.
    path: PathBuf,
    memory_bytes: u64,
    max_processes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CgroupVersion {
    One,
    Two,
}

/// The cgroup of a build.
#[derive(Debug)]
pub(super) struct BuildCgroup {
    version: CgroupVersion,
    /// Path from the root of each hierarchy.
    path: PathBuf,
}

impl Cgroups {
    /// Finds out whether cgroups can be made here.
    ///
    /// # Errors
    /// Fails with the reason if they cannot.
    pub(super) fn probe(memory_bytes: u64, max_processes: u32) -> Result<Self, String> {
        let root = Path::new(CGROUP_ROOT);
        let version = if root.join("cgroup.controllers").exists() {
            CgroupVersion::Two
        } else if root.join("memory").exists() && root.join("pids").exists() {
            CgroupVersion::One
        } else {
            return Err(format!("{CGROUP_ROOT} has no memory and pids controllers"));
        };
        let membership = kernel_file::read(Path::new("/proc/self/cgroup")).unwrap_or_default();
        let own = own_path(&membership, version);
        let number = SERVER_COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{SERVER_PREFIX}{}-{number}", std::process::id());
        let mut reason = String::new();
        // In a container, the path may be one that is not mounted.
        for parent in [own.as_str(), ""] {
            let path = Path::new(parent).join(&name);
            let cgroups = Self { version, path, memory_bytes, max_processes };
            sweep_dead(version, Path::new(parent));
            match cgroups.create("probe") {
                Ok(probe) => {
                    probe.remove_now();
                    return Ok(cgroups);
                }
                Err(error) => reason = error.to_string(),
            }
            cgroups.remove_now();
        }
        Err(format!("{CGROUP_ROOT} cannot be written: {reason}"))
    }

    /// Creates the cgroup of a build, with its limits.
    ///
    /// # Errors
    /// Fails if it cannot be created, or if the kernel did not take a limit.
    pub(super) fn create(&self, name: &str) -> io::Result<BuildCgroup> {
        let build = BuildCgroup { version: self.version, path: self.path.join(name) };
        let made = match self.version {
            CgroupVersion::One => self.limit_v1(&build),
            CgroupVersion::Two => self.limit_v2(&build),
        };
        if made.is_err() {
            build.remove_now();
        }
        made.map(|()| build)
    }

    fn limit_v1(&self, build: &BuildCgroup) -> io::Result<()> {
        let (memory, pids) = (build.dir("memory"), build.dir("pids"));
        std::fs::create_dir_all(memory.join("engine"))?;
        std::fs::create_dir_all(pids.join("box"))?;
        let bytes = self.memory_bytes.to_string();
        set(&memory.join("memory.limit_in_bytes"), &bytes)?;
        // Memory and swap together. Missing if the kernel does not count swap.
        let _ = kernel_file::write(&memory.join("memory.memsw.limit_in_bytes"), &bytes);
        set(&pids.join("box/pids.max"), &self.max_processes.to_string())
    }

    fn limit_v2(&self, build: &BuildCgroup) -> io::Result<()> {
        let dir = build.dir("");
        std::fs::create_dir_all(dir.join("engine"))?;
        std::fs::create_dir_all(dir.join("box"))?;
        let server = Path::new(CGROUP_ROOT).join(&self.path);
        for dir in server.parent().into_iter().chain([&*server, &*dir]) {
            kernel_file::write(&dir.join("cgroup.subtree_control"), "+memory +pids")?;
        }
        set(&dir.join("memory.max"), &self.memory_bytes.to_string())?;
        let _ = kernel_file::write(&dir.join("memory.swap.max"), "0");
        set(&dir.join("box/pids.max"), &self.max_processes.to_string())
    }

    /// Removes the server's cgroup, if no build has one.
    pub(super) fn remove_now(&self) {
        remove_all(self.version, &self.path);
    }
}

impl BuildCgroup {
    /// Returns the path of the cgroup for the commands of the build, for the OCI runtime.
    pub(super) fn run_path(&self) -> String {
        format!("/{}/box/run", self.path.display())
    }

    /// Returns the file that a process of the engine writes itself into.
    pub(super) fn engine_processes(&self) -> PathBuf {
        self.dir("memory").join("engine/cgroup.procs")
    }

    /// True if the memory limit was reached, so that the kernel had to look for memory to free. Together
    /// with a killed process, this is the reason of its death.
    pub(super) fn has_reached_memory(&self) -> bool {
        let dir = self.dir("memory");
        if self.version == CgroupVersion::Two {
            return event(&dir.join("memory.events"), "oom_kill").is_some_and(|count| count > 0);
        }
        // The counters of failures of version 1 may stay at zero when a process is killed.
        let peak = number(&dir.join("memory.max_usage_in_bytes"));
        let limit = number(&dir.join("memory.limit_in_bytes"));
        peak.zip(limit).is_some_and(|(peak, limit)| peak >= limit.saturating_sub(CHARGE_BYTES))
    }

    /// True if there were as many processes at some time as the limit allows.
    pub(super) fn has_reached_processes(&self) -> bool {
        let dir = self.dir("pids").join("box");
        // Version 1 and older kernels count an event where the process is, which is removed by now.
        let peak = number(&dir.join("pids.peak")).zip(number(&dir.join("pids.max")));
        peak.is_some_and(|(peak, max)| peak >= max)
            || event(&dir.join("pids.events"), "max").is_some_and(|count| count > 0)
    }

    /// Removes the cgroup once its last processes have ended.
    pub(super) async fn remove(self) {
        for _ in 0..MAX_REMOVALS {
            if self.remove_now() {
                return;
            }
            tokio::time::sleep(REMOVE_PAUSE).await;
        }
    }

    /// Removes the cgroup. Returns false if a process is still in it.
    fn remove_now(&self) -> bool {
        remove_all(self.version, &self.path)
    }

    /// Returns the cgroup's folder in the hierarchy of a controller. Version 2 has one for all.
    fn dir(&self, controller: &str) -> PathBuf {
        let root = Path::new(CGROUP_ROOT);
        match self.version {
            CgroupVersion::One => root.join(controller).join(&self.path),
            CgroupVersion::Two => root.join(&self.path),
        }
    }
}

/// Returns the path of this process's cgroup, without its first slash.
fn own_path(membership: &str, version: CgroupVersion) -> String {
    let path = membership.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_own = match version {
            CgroupVersion::One => controllers.split(',').any(|name| name == "memory"),
            CgroupVersion::Two => controllers.is_empty(),
        };
        is_own.then_some(path)
    });
    path.unwrap_or_default().trim_matches('/').to_owned()
}

/// Writes a limit, and checks that the kernel took it. Version 1 rounds to pages.
fn set(file: &Path, limit: &str) -> io::Result<()> {
    const MAX_PAGE_BYTES: u64 = 64 << 10;
    kernel_file::write(file, limit)?;
    match (number(file), limit.parse::<u64>().ok()) {
        (Some(taken), Some(limit)) if taken <= limit && limit - taken < MAX_PAGE_BYTES => Ok(()),
        _ => Err(io::Error::other("the kernel does not take the limit")),
    }
}

/// Returns the number that a file has.
fn number(file: &Path) -> Option<u64> {
    kernel_file::read(file)?.trim().parse().ok()
}

/// Returns a number of an events file, whose lines are a name and a number.
fn event(file: &Path, name: &str) -> Option<u64> {
    let text = kernel_file::read(file)?;
    let pair =
        |line: &str| line.split_once(' ').map(|(name, count)| (name.to_owned(), count.parse()));
    let (_, count) = text.lines().filter_map(pair).find(|(found, _)| found == name)?;
    count.ok()
}

/// Returns the roots of all hierarchies.
fn hierarchies(version: CgroupVersion) -> Vec<PathBuf> {
    let root = PathBuf::from(CGROUP_ROOT);
    if version == CgroupVersion::Two {
        return vec![root];
    }
    let entries = std::fs::read_dir(&root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Removes a cgroup from all hierarchies. Returns false if some of it remains.
fn remove_all(version: CgroupVersion, path: &Path) -> bool {
    let mut removed = true;
    for root in hierarchies(version) {
        removed &= remove_tree(&root.join(path));
    }
    removed
}

/// Removes a cgroup and those below it. Only folders can be removed; the kernel's files go with them.
fn remove_tree(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return !dir.exists() };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    std::fs::remove_dir(dir).is_ok() || !dir.exists()
}

/// Removes the cgroups of servers that were killed. Their processes have ended with them.
fn sweep_dead(version: CgroupVersion, parent: &Path) {
    for root in hierarchies(version) {
        for entry in std::fs::read_dir(root.join(parent)).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_prefix(SERVER_PREFIX));
            let id = id.and_then(|id| id.split_once('-')).map(|(process, _)| process);
            let is_dead =
                |id: &str| id.parse::<u32>().is_ok() && !Path::new("/proc").join(id).exists();
            if id.is_some_and(is_dead) {
                remove_tree(&entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_path_is_that_of_the_memory_controller() {
        let hybrid = "8:pids:/\n4:memory:/outer/inner\n1:cpu,cpuacct:/x\n0::/y\n";
        assert_eq!(own_path(hybrid, CgroupVersion::One), "outer/inner");
        assert_eq!(own_path("0::/user.slice/a\n", CgroupVersion::Two), "user.slice/a");
        assert_eq!(own_path("0::/\n", CgroupVersion::Two), "");
        assert_eq!(own_path("", CgroupVersion::One), "");
    }

    #[tokio::test]
    async fn a_cgroup_is_limited_and_removed() {
        // Where it cannot be made, the reason is said.
        let cgroups = match Cgroups::probe(64 << 20, 100) {
            Ok(cgroups) => cgroups,
            Err(reason) => return assert!(reason.starts_with(CGROUP_ROOT), "{reason}"),
        };
        let build = cgroups.create("test").unwrap();
        let (dir, procs) = (build.dir("memory"), build.engine_processes());
        assert!(procs.exists() && !build.has_reached_memory() && !build.has_reached_processes());
        build.remove().await;
        assert!(!dir.exists());
        cgroups.remove_now();
    }
}
