//! Builds by an own service, compared with a shell loop of Buildah.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Bench;
use crate::measure::{Done, Job, compare, shell};
use crate::service::{OwnService, remove};

const BUILDS: usize = 12;
/// Maximum time relative to that of the loop.
const MAX_RELATIVE_TIME: f64 = 1.15;
/// A static program, which is all that an image needs to run a command.
const BUSYBOX: &str = "/bin/busybox";

/// The loop that a person would write: `$1` is the registry.
const LOOP: &str = "
    alias buildah='command buildah --storage-driver overlay --root \"$PWD/store\" \
        --runroot \"$PWD/store-run\"'
    for image in image-*; do
        buildah bud --isolation oci --runtime runc --layers --timestamp 0 -t \"$image\" \"$image\" &&
        buildah push --tls-verify=false \"$image\" \"docker://$1/prime/local/$image:latest\" || exit 1
    done >/dev/null 2>&1";

/// 12 builds of one RUN each, in the same registry; no image, layer or record is there before a run.
pub(crate) fn own(bench: &Bench) -> Done {
    if !Path::new(BUSYBOX).exists() {
        println!("  left out: {BUSYBOX} is missing; apt install busybox-static");
        return Ok(());
    }
    let dir = bench.dir.join("own");
    contexts(&dir)?;
    let Some(own) = OwnService::start(&dir)? else { return Ok(()) };
    let (ours, theirs) = (own.service.apply(), shell(&dir, LOOP, &[own.registry.address.as_str()]));
    let own = RefCell::new(own);
    let clean = || {
        for folder in ["store", "store-run"] {
            remove(&dir.join(folder))?;
        }
        own.borrow_mut().empty()
    };
    let result = compare(
        Job::new("buildah bud, buildah push in a loop", theirs).before(&clean),
        Job::new("imgplan apply, imgplan serve", ours).before(&clean),
        bench.runs,
        Some(MAX_RELATIVE_TIME),
    );
    drop(own);
    fs::remove_dir_all(&dir)?;
    result
}

/// Writes the contexts, and the manifest of them.
fn contexts(dir: &Path) -> Done {
    let mut manifest = "version: 1\nimages:\n".to_owned();
    for index in 0..BUILDS {
        let name = format!("image-{index:02}");
        let context = dir.join(&name);
        fs::create_dir_all(&context)?;
        fs::copy(BUSYBOX, context.join("busybox"))?;
        let dockerfile = format!(
            "FROM scratch\nCOPY busybox /bin/sh\nRUN echo {index} > /number\nCMD [\"sh\"]\n"
        );
        fs::write(context.join("Dockerfile"), dockerfile)?;
        // Writing into a String cannot fail.
        let _ = writeln!(manifest, "  - {{ name: {name}, context: {name} }}");
    }
    Ok(fs::write(dir.join("imgplan.yaml"), manifest)?)
}
