//! Packs a folder of source code, compared with tar and pigz at the level that gives the same size.

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::Bench;
use crate::measure::{Done, Failed, Job, compare, imgplan, is_here, output, run, shell, timed};

/// Approximate size of the packed files.
const PACKED_BYTES: u64 = 300_000_000;

/// Larger files are not source code.
const MAX_FILE_BYTES: u64 = 16_000_000;

/// Folders without source code.
const NO_SOURCE: [&str; 2] = [".git", "__pycache__"];

pub(crate) fn pack(bench: &Bench) -> Done {
    if !is_here("tar", "apt install tar") || !is_here("pigz", "apt install pigz") {
        return Ok(());
    }
    let dir = bench.dir.join("pack");
    let (files, bytes) = timed("copied the source", || source(bench, &dir.join("source")))?;
    println!("  {files} files in {bytes} bytes");
    fs::write(dir.join("Dockerfile"), "FROM scratch\nCOPY . /\n")?;
    let image = "{ name: source, context: source, dockerfile: ../Dockerfile }";
    fs::write(dir.join("imgplan.yaml"), format!("version: 1\nimages:\n  - {image}\n"))?;

    let mut ours = imgplan(&dir, &["context", "pack", "source", "-o", "ours.tar.gz", "--quiet"]);
    run(&mut ours)?;
    let size = fs::metadata(dir.join("ours.tar.gz"))?.len();
    println!("  imgplan: {size} bytes");
    let level = level(&dir, size)?;
    let name = format!("tar | pigz -{level}");
    let peer = Job::new(&name, pigz(&dir, level)?);
    compare(peer, Job::new("imgplan context pack", ours), bench.runs, Some(0.5))
}

/// The lowest pigz level whose archive is not larger than imgplan's.
fn level(dir: &Path, size: u64) -> Result<u32, Failed> {
    for level in 1..=9 {
        run(&mut pigz(dir, level)?)?;
        let theirs = fs::metadata(dir.join("theirs.tar.gz"))?.len();
        println!("  pigz -{level}: {theirs} bytes");
        if theirs <= size {
            return Ok(level);
        }
    }
    println!("  no level of pigz makes it as small: measured against the last");
    Ok(9)
}

fn pigz(dir: &Path, level: u32) -> Result<Command, Failed> {
    let cores = thread::available_parallelism()?.to_string();
    let line = "tar -cf - source | pigz -p \"$1\" \"-$2\" > theirs.tar.gz";
    Ok(shell(dir, line, &[&cores, &level.to_string()]))
}

/// Copies about [`PACKED_BYTES`] bytes of source code and returns the numbers of files and bytes.
fn source(bench: &Bench, to: &Path) -> Result<(usize, u64), Failed> {
    let from = bench.source.clone().map_or_else(sources_here, |source| vec![source]);
    let mut copied = Copied { files: 0, bytes: 0 };
    for (number, from) in from.iter().enumerate() {
        println!("  source: {}", from.display());
        copied.folder(from, &to.join(number.to_string()))?;
    }
    if copied.files == 0 {
        return Err("there is no source here: name some by --source DIR".into());
    }
    Ok((copied.files, copied.bytes))
}

struct Copied {
    files: usize,
    bytes: u64,
}

impl Copied {
    /// Copies the regular files of a folder, recursively, until the size is reached.
    fn folder(&mut self, from: &Path, to: &Path) -> Done {
        let mut folders = VecDeque::from([(from.to_owned(), to.to_owned())]);
        while let Some((from, to)) = folders.pop_front() {
            fs::create_dir_all(&to)?;
            let mut entries = fs::read_dir(&from)?.collect::<Result<Vec<_>, _>>()?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let (kind, name) = (entry.file_type()?, entry.file_name());
                if kind.is_dir() && !NO_SOURCE.iter().any(|no| *no == name) {
                    folders.push_back((entry.path(), to.join(name)));
                } else if kind.is_file()
                    && self.bytes < PACKED_BYTES
                    && entry.metadata()?.len() <= MAX_FILE_BYTES
                {
                    self.bytes += fs::copy(entry.path(), to.join(name))?;
                    self.files += 1;
                }
            }
        }
        Ok(())
    }
}

/// Folders with the source code of installed languages.
fn sources_here() -> Vec<PathBuf> {
    let ask = |program: &str, args: &[&str]| {
        let answer = output(Command::new(program).args(args)).ok()?;
        Some(PathBuf::from(answer.trim()))
    };
    let home = || Some(env::home_dir()?.join(".cargo"));
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home);
    let stdlib = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let found = [
        ask("go", &["env", "GOROOT"]).map(|root| root.join("src")),
        ask("python3", &["-c", stdlib]),
        cargo.map(|cargo| cargo.join("registry/src")),
    ];
    // A link to a folder is followed here, and nowhere below.
    let real = |path: PathBuf| path.canonicalize().ok().filter(|path| path.is_dir());
    found.into_iter().flatten().filter_map(real).collect()
}
