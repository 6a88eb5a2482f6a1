//! Plans without changes over a repository of 1,000 contexts: compared with `git status`, with the
//! floor, and, without a stat cache, with a program that only digests.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use crate::Bench;
use crate::floor;
use crate::measure::{
    Done, Failed, Job, command, compare, imgplan, is_here, output, run, shell, timed,
};
use crate::support::contexts;

const IMAGE_COUNT: usize = 1000;
const FILES_PER_IMAGE: usize = 100;
const PLAN: &[&str] = &["plan", "--local"];

/// Compared with `git status --porcelain`, which answers the same question about the same files.
pub(crate) fn plan(bench: &Bench) -> Done {
    if !is_here("git", "apt install git") {
        return Ok(());
    }
    let dir = applied(bench)?;
    if !dir.join(".git").exists() {
        timed("committed to git", || commit(&dir))?;
    }
    let mut git = command("git", &dir);
    git.args(["status", "--porcelain"]).env("GIT_CONFIG_NOSYSTEM", "1");
    if !output(&mut git)?.is_empty() {
        return Err("git status says that something changed".into());
    }
    git.stdout(Stdio::null());
    let peer = Job::new("git status --porcelain", git);
    compare(peer, ours(&dir), bench.runs, Some(0.8))
}

/// Compared with the floor.
pub(crate) fn floor(bench: &Bench) -> Done {
    if !cfg!(target_os = "linux") {
        println!("  left out: the floor needs Linux");
        return Ok(());
    }
    let dir = applied(bench)?;
    // The manifest and .gitignore are files too.
    let (files, expected) = (floor::count(&dir)?, IMAGE_COUNT * FILES_PER_IMAGE + 2);
    if files != expected {
        return Err(format!("the floor saw {files} files instead of {expected}").into());
    }
    let mut floor = command(env::current_exe()?, &dir);
    floor.args(["--floor", "."]);
    compare(Job::new("names and stat, all cores", floor), ours(&dir), bench.runs, Some(1.6))
}

/// Without a stat cache, compared with b3sum over the same files.
pub(crate) fn cold(bench: &Bench) -> Done {
    let b3sum = env::var("B3SUM").unwrap_or_else(|_| "b3sum".to_owned());
    if !is_here(&b3sum, "cargo install b3sum, or set B3SUM to its path") {
        return Ok(());
    }
    let dir = applied(bench)?;
    let cache = dir.join(".imgplan/stat-cache");
    let forget = || match fs::remove_file(&cache) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    };
    let ours = || ours(&dir).before(&forget);
    let find = "find services -type f -print0";
    let one = shell(&dir, &format!("{find} | xargs -0 \"$1\" >/dev/null"), &[&b3sum]);
    compare(Job::new("find | xargs b3sum", one), ours(), bench.runs, Some(0.6))?;
    println!("  and with as many of them as there are cores, which has no target:");
    let cores = thread::available_parallelism()?.to_string();
    let line = format!("{find} | xargs -0 -P \"$2\" -n 1000 \"$1\" >/dev/null");
    let all = shell(&dir, &line, &[&b3sum, &cores]);
    compare(Job::new("find | xargs -P CORES b3sum", all), ours(), bench.runs, None)?;
    // A cache that was never written would have made every plan a cold one.
    if cache.exists() { Ok(()) } else { Err("a plan left no stat cache".into()) }
}

fn ours(dir: &Path) -> Job<'static> {
    Job::new("imgplan plan --local", imgplan(dir, PLAN))
}

/// The repository with every target applied. Created on first use, and again if an earlier creation
/// failed.
fn applied(bench: &Bench) -> Result<PathBuf, Failed> {
    let dir = bench.dir.join("contexts");
    if bench.applied.get() {
        return Ok(dir);
    }
    timed("made 1,000 contexts of 100 files each", || {
        Ok(contexts(&dir, IMAGE_COUNT, FILES_PER_IMAGE)?)
    })?;
    fs::write(dir.join(".gitignore"), ".imgplan/\n")?;
    let limits = "initiate=100000/60s,start=100000/60s,status=100000/60s,list=100000/60s";
    let args = ["apply", "--local", "--auto-approve", "--quiet", "--limit", limits];
    timed("applied", || run(&mut imgplan(&dir, &args)))?;
    let planned = output(&mut imgplan(&dir, PLAN))?;
    if !planned.contains("No changes.") {
        return Err(format!("the plan is not empty after the apply:\n{planned}").into());
    }
    bench.applied.set(true);
    Ok(dir)
}

fn commit(dir: &Path) -> Done {
    let who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"];
    // Nothing may go on working after git has said that it is done.
    let still = ["-c", "gc.auto=0", "-c", "maintenance.auto=false"];
    for args in [&["init", "-q"][..], &["add", "-A"], &["commit", "-q", "-m", "All of it"]] {
        let mut git = command("git", dir);
        run(git.env("GIT_CONFIG_NOSYSTEM", "1").args(who).args(still).args(args))?;
    }
    Ok(())
}
