//! Resources that imgplan uses without a peer: memory for a context of 4 GB, CPU time for 10,000 images.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::Bench;
use crate::measure::{Done, Failed, IMGPLAN, command, is_here, median, run, timed, verdict};
use crate::support::{Random, contexts, text};

/// Measurements of one process by GNU time.
pub(crate) struct Used {
    /// Bytes.
    pub(crate) peak: f64,
    /// Seconds, summed over all cores.
    pub(crate) processor: f64,
    /// Seconds.
    pub(crate) wall: f64,
}

/// Peak memory while packing 4 GB.
pub(crate) fn memory(bench: &Bench) -> Done {
    const NEEDED_BYTES: u64 = 6 << 30;
    const MAX_MEMORY_BYTES: f64 = 64e6;
    if !has_time() {
        return Ok(());
    }
    if let Some(free) = free(&bench.dir).filter(|free| *free < NEEDED_BYTES) {
        println!(
            "  left out: {free} bytes are free for temporary files, and it takes {NEEDED_BYTES}"
        );
        return Ok(());
    }
    let dir = bench.dir.join("memory");
    timed("made a context of 4 GB", || large(&dir))?;
    let used = used(&dir, &["context", "pack", "large", "-o", "/dev/null", "--quiet"])?;
    fs::remove_dir_all(&dir)?;
    println!("  peak resident memory {:.1} MB", used.peak / 1e6);
    println!("  under {} MB: {}", MAX_MEMORY_BYTES / 1e6, verdict(used.peak < MAX_MEMORY_BYTES));
    Ok(())
}

/// CPU time of a plan with 10,000 images.
pub(crate) fn many(bench: &Bench) -> Done {
    if !has_time() {
        return Ok(());
    }
    let dir = bench.dir.join("many");
    contexts(&dir, 50, 20)?;
    let mut manifest = "version: 1\nimages:\n".to_owned();
    for image in 0..5000 {
        let context = image % 50;
        writeln!(manifest, "  - source: docker.io/library/mirror-{image}:1.{context}")?;
        writeln!(manifest, "  - {{ name: build-{image}, context: services/image-{context:05} }}")?;
    }
    fs::write(dir.join("imgplan.yaml"), manifest)?;
    let plan = processor(bench, &dir, &["plan", "--offline"])?;
    processor(bench, &dir, &["validate"])?;
    println!("  under 1 s beyond the scan, which is of 1,000 files: {}", verdict(plan < 1.0));
    Ok(())
}

/// CPU time and memory of plans with generated images: 5,000 mirrors from a list, and 1,000 discovered
/// folders.
pub(crate) fn expanded(bench: &Bench) -> Done {
    if !has_time() {
        return Ok(());
    }
    let dir = bench.dir.join("sources");
    fs::create_dir_all(&dir)?;
    let refs = (0..5000).fold(String::new(), |mut refs, image| {
        // Writing into a String cannot fail.
        let _ = writeln!(refs, "docker.io/library/mirror-{image}:1.{}", image % 50);
        refs
    });
    fs::write(dir.join("refs.txt"), refs)?;
    fs::write(dir.join("imgplan.yaml"), "version: 1\nimages:\n  - sources_from: refs.txt\n")?;
    within(bench, "5,000 lines of sources_from", &dir)?;
    let dir = bench.dir.join("discovered");
    contexts(&dir, 1000, 2)?;
    let manifest = "version: 1\nimages:\n  - discover: { glob: services/* }\n";
    fs::write(dir.join("imgplan.yaml"), manifest)?;
    within(bench, "1,000 discovered contexts", &dir)
}

/// Compares the first plan of a manifest with its targets. The time includes the scan of the contexts.
fn within(bench: &Bench, what: &str, dir: &Path) -> Done {
    const MAX_CPU_SECONDS: f64 = 0.3;
    const MAX_MEMORY_BYTES: f64 = 100e6;
    println!("  {what}");
    let seconds = processor(bench, dir, &["plan", "--offline"])?;
    let peak = used(dir, &["plan", "--offline"])?.peak;
    println!("  peak resident memory {:.1} MB", peak / 1e6);
    let holds = seconds < MAX_CPU_SECONDS && peak < MAX_MEMORY_BYTES;
    println!("  under {MAX_CPU_SECONDS} s and {} MB: {}", MAX_MEMORY_BYTES / 1e6, verdict(holds));
    Ok(())
}

/// Prints and returns the median CPU time.
fn processor(bench: &Bench, dir: &Path, args: &[&str]) -> Result<f64, Failed> {
    used(dir, args)?;
    let runs = (0..bench.runs).map(|_| Ok(used(dir, args)?.processor));
    let seconds = median(&runs.collect::<Result<Vec<f64>, Failed>>()?);
    println!("  imgplan {}: {seconds:.2} s of processor time", args.join(" "));
    Ok(seconds)
}

pub(crate) fn has_time() -> bool {
    is_here("time", "apt install time (the one of the shell does not do)")
}

pub(crate) fn used(dir: &Path, args: &[&str]) -> Result<Used, Failed> {
    let file = dir.join("used");
    let mut time = command("time", dir);
    time.args(["-f", "%M %U %S %e", "-o"]).arg(&file).arg(IMGPLAN).args(args);
    run(&mut time)?;
    let text = fs::read_to_string(&file)?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [kilobytes, user, system, wall] = numbers[..] else {
        return Err(format!("this is not what GNU time writes: {text}").into());
    };
    Ok(Used { peak: kilobytes * 1024.0, processor: user + system, wall })
}

/// Creates a context of four files of 1 GiB each. The text repeats after 16 MB, further back than the
/// window of the compressor.
fn large(dir: &Path) -> Done {
    let context = dir.join("large");
    fs::create_dir_all(&context)?;
    fs::write(
        dir.join("imgplan.yaml"),
        "version: 1\nimages:\n  - { name: large, context: large }\n",
    )?;
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY . /\n")?;
    for number in 0..4 {
        let block = text(&mut Random::new(number), 16 << 20);
        let mut file = fs::File::create(context.join(format!("file-{number}")))?;
        for _ in 0..64 {
            file.write_all(block.as_bytes())?;
        }
    }
    Ok(())
}

/// Free bytes on the file system of a folder, if the system reports them.
#[cfg(unix)]
fn free(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free(_dir: &Path) -> Option<u64> {
    None
}
