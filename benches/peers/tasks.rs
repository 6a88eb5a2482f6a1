//! A plan over a repository of very many small contexts, as a collection of tasks has them.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use rayon::prelude::*;

use crate::Bench;
use crate::costs::{has_time, used};
use crate::measure::{Done, imgplan, output, run, timed, verdict};

const TASKS: usize = 45_857;
const PLAN: &[&str] = &["plan", "--local"];
const MAX_SECONDS: f64 = 3.1;
const MAX_MEMORY_BYTES: f64 = 241e6;

/// Time and peak memory of a plan with nothing to do. Each folder has a Dockerfile of its own, two
/// files and a folder with one more.
pub(crate) fn tasks(bench: &Bench) -> Done {
    if !has_time() {
        return Ok(());
    }
    let dir = bench.dir.join("tasks");
    timed("made 45,857 contexts of 4 files each", || {
        (0..TASKS).into_par_iter().try_for_each(|task| task_of(&dir, task))?;
        let manifest = "version: 1\nimages:\n  - discover: { glob: tasks/* }\n";
        Ok(fs::write(dir.join("imgplan.yaml"), manifest)?)
    })?;
    let limits = "initiate=1000000/60s,start=1000000/60s,status=1000000/60s,list=1000000/60s";
    let apply = ["apply", "--local", "--auto-approve", "--quiet", "--limit", limits];
    timed("applied", || run(imgplan(&dir, &apply).args(["--concurrency", "1000"])))?;
    if !output(&mut imgplan(&dir, PLAN))?.contains("No changes.") {
        return Err("the plan is not empty after the apply".into());
    }
    let mut runs = (0..bench.runs).map(|_| used(&dir, PLAN)).collect::<Result<Vec<_>, _>>()?;
    runs.sort_by(|one, other| one.wall.total_cmp(&other.wall));
    fs::remove_dir_all(&dir)?;
    let median = &runs[runs.len() / 2];
    let (wall, processor, peak) = (median.wall, median.processor, median.peak);
    println!("  {wall:.2} s, {processor:.2} s of processor time, {:.0} MB", peak / 1e6);
    let holds = wall <= MAX_SECONDS && peak <= MAX_MEMORY_BYTES;
    println!("  at most {MAX_SECONDS} s and {} MB: {}", MAX_MEMORY_BYTES / 1e6, verdict(holds));
    Ok(())
}

fn task_of(dir: &Path, task: usize) -> io::Result<()> {
    let dir = dir.join(format!("tasks/task-{task:05}"));
    fs::create_dir_all(dir.join("tests"))?;
    let mut dockerfile = "FROM docker.io/library/python:3.12-slim\nENV LANG=C.UTF-8\n\
        RUN apt-get update && \\\n    apt-get install -y --no-install-recommends git curl && \\\n    \
        rm -rf /var/lib/apt/lists/*\nWORKDIR /app\n"
        .to_owned();
    let project = task % 900;
    // Writing into a String cannot fail.
    let _ = writeln!(dockerfile, "RUN git clone https://example.com/project-{project}.git . && \\");
    let _ = writeln!(dockerfile, "    git checkout {:040x}", task * 7_919);
    dockerfile
        .push_str("COPY requirements.txt setup.sh ./\nRUN bash setup.sh\nCOPY tests/ tests/\n");
    fs::write(dir.join("Dockerfile"), dockerfile)?;
    fs::write(dir.join("requirements.txt"), format!("pytest==8.{}\n", task % 10))?;
    fs::write(dir.join("setup.sh"), format!("#!/bin/sh\necho task {task}\n"))?;
    fs::write(dir.join("tests/test_it.py"), format!("def test_{task}():\n    assert {task}\n"))
}
