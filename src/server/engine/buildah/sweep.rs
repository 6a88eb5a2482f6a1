//! Removes what builds left in a slot.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::launch::Launcher;
use super::slot::Slot;
use crate::base::name::Platform;
use crate::server::engine::{LogTail, kernel_file, process};

/// Maximum time of a command of a sweep.
const MAX_SWEEP: Duration = Duration::from_secs(120);

/// Removes the containers, mounts and temporary files that a build left.
pub(super) async fn sweep(slot: &mut Slot, launcher: &Launcher) {
    unmount_below(&slot.dir).await;
    for_each_store(slot, launcher, &["rm", "--all"]).await;
    let temp = slot.temp();
    // A file that remains only takes disk space.
    let _ = std::fs::remove_dir_all(&temp);
    let _ = std::fs::create_dir_all(&temp);
    slot.is_dirty = false;
}

/// Removes the images and cached layers of all stores as well.
pub(super) async fn empty(slot: &mut Slot, launcher: &Launcher) {
    sweep(slot, launcher).await;
    for_each_store(slot, launcher, &["rmi", "--all", "--force"]).await;
}

async fn for_each_store(slot: &Slot, launcher: &Launcher, arguments: &[&str]) {
    for platform in Platform::ALL {
        if slot.store(platform).exists() {
            let mut command = launcher.buildah(slot, platform, None);
            command.args(arguments);
            run(command).await;
        }
    }
}

/// Unmounts everything below a folder. Builds mount in a namespace of their own, so this finds only what
/// someone mounted by hand.
async fn unmount_below(dir: &Path) {
    let Some(text) = kernel_file::read(Path::new("/proc/self/mountinfo")) else { return };
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let mut points: Vec<&Path> =
        points.filter(|point| point.starts_with(dir) && *point != dir).collect();
    points.sort();
    for point in points.into_iter().rev() {
        let mut command = Command::new("umount");
        command.arg("--lazy").arg(point);
        run(command).await;
    }
}

/// Runs a command to its end, or kills it after [`MAX_SWEEP`]. If it fails, the next build says why.
async fn run(command: Command) {
    let (log, never) = (LogTail::default(), CancellationToken::new());
    let _ = tokio::time::timeout(MAX_SWEEP, process::run(command, None, &log, &never)).await;
}
