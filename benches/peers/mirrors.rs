//! An image of 500 MB copied from one registry on this machine to another, compared with skopeo: by the
//! copier of the local server alone, for which the bench runs itself, and by an apply to an own service.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use imgplan::test_support::base::reference::RegistryRef;
use imgplan::test_support::registry::{ImageCopier, Registries, RegistryConfig};

use crate::Bench;
use crate::measure::{Done, Job, command, compare, is_here, timed};
use crate::registry::{Registry, fill, skopeo};
use crate::service::OwnService;

/// Maximum time relative to skopeo's.
const MAX_RELATIVE_TIME: f64 = 0.8;

/// The argument with which the bench copies one image: `--mirror SOURCE DESTINATION`.
pub(crate) const FLAG: &str = "--mirror";

/// Copies an image with the copier of the local server.
pub(crate) fn copy(source: &str, destination: &str) -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let [from, to] = [source, destination].map(str::parse::<RegistryRef>);
    let (from, to) = (from?, to?);
    let client = || Registries::new(RegistryConfig::default());
    let (copier, source) = (ImageCopier::new(client()?), client()?);
    runtime.block_on(async {
        let copied = copier.copy(&source, &from, None, &to, &|_| ()).await?;
        copier.publish(&copied, &|_| ()).await?;
        Ok(())
    })
}

/// 500 MB in 8 layers; the destination is empty before each run.
pub(crate) fn mirrors(bench: &Bench) -> Done {
    let hint = "apt-get install docker-registry skopeo";
    if !is_here("docker-registry", hint) || !is_here("skopeo", hint) {
        return Ok(());
    }
    let dir = bench.dir.join("mirrors");
    fs::create_dir_all(&dir)?;
    let source = Registry::start(&dir.join("source"))?;
    timed("500 MB pushed to the source", || fill(&dir, &source.address))?;
    let from = format!("{}/app:1", source.address);
    copied(bench, &dir, &from)?;
    println!("  and by an apply, against skopeo sync:");
    applied(bench, &dir, &from)?;
    drop(source);
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Compares the copier with `skopeo copy`.
fn copied(bench: &Bench, dir: &Path, from: &str) -> Done {
    // A fixed address would be simpler, but may be taken.
    let empty = Registry::start(&dir.join("destination"))?;
    let destination = RefCell::new(empty);
    let address = destination.borrow().address.clone();
    let clean = || {
        destination.borrow_mut().empty()?;
        Ok(())
    };
    let to = format!("{address}/app:1");
    let mut theirs = skopeo(dir, "copy");
    theirs.args([
        "--quiet",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--all",
        "--preserve-digests",
    ]);
    theirs.args([format!("docker://{from}"), format!("docker://{to}")]);
    let mut ours = command(std::env::current_exe()?, dir);
    ours.args([FLAG, from, &to]);
    compare(
        Job::new("skopeo copy --all", theirs).before(&clean),
        Job::new("imgplan's copier", ours).before(&clean),
        bench.runs,
        Some(MAX_RELATIVE_TIME),
    )
}

/// Compares an apply to an own service with `skopeo sync`. The registry, the server and the lockfile
/// are empty before each run.
fn applied(bench: &Bench, dir: &Path, from: &str) -> Done {
    let folder = dir.join("own");
    let Some(own) = OwnService::start(&folder)? else { return Ok(()) };
    fs::write(folder.join("imgplan.yaml"), format!("version: 1\nimages:\n  - source: {from}\n"))?;
    let repository = from.rsplit_once(':').map_or(from, |(repository, _)| repository);
    let mut theirs = skopeo(dir, "sync");
    theirs.args(["--src", "docker", "--src-tls-verify=false", "--all", "--preserve-digests"]);
    theirs.args(["--dest", "docker", "--dest-tls-verify=false", repository]);
    theirs.arg(format!("{}/prime/local", own.registry.address));
    // It has no option that silences it.
    theirs.stderr(Stdio::null());
    let ours = own.service.apply();
    let own = RefCell::new(own);
    let clean = || own.borrow_mut().empty();
    compare(
        Job::new("skopeo sync", theirs).before(&clean),
        Job::new("imgplan apply, imgplan serve", ours).before(&clean),
        bench.runs,
        Some(MAX_RELATIVE_TIME),
    )
}
