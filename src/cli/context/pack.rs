//! `imgplan context pack`: the archive that is sent.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use crate::base::file;
use crate::cli::failure::Failure;
use crate::cli::ui::Ui;
use crate::context::{self, PackError, Spool, Tree};
use crate::manifest::Workspace;
use crate::manifest::workspace::{BuildOrigin, Unit};
use crate::plan::{Facts, PreviousLookup, pins};
use crate::run::placement;
use crate::state::State;

/// What goes into a Dockerfile, and where: the paths of bases, as far as they are known, and the
/// digests of those outside of the manifest that are pinned.
pub(super) fn put_in(
    ui: &mut Ui,
    workspace: &Workspace,
    unit: &Unit,
    build: &BuildOrigin,
    state: &State,
) -> Result<Vec<(Range<usize>, String)>, Failure> {
    let (lookup, mut bases) = (PreviousLookup::new(workspace, state), Vec::new());
    for base in &build.bases {
        // Its tag may hold the fingerprint, which nobody has taken here: what is on record will do.
        let base_unit = workspace.unit(base.unit);
        let known = lookup.of(workspace, base_unit).and_then(|known| known.entry.built.as_ref());
        match known {
            Some(built) => bases.push((base.range.clone(), built.path.clone())),
            None => ui.message(format_args!(
                "note: {} is not built yet; {} has its name as written",
                base_unit.shown(),
                unit.key
            ))?,
        }
    }
    let facts = Facts::default();
    let pinned = build.externals.iter().filter_map(|base| {
        pins::held(base, facts.pin_in(state, &base.image)?.digest_for(base.platform)?)
    });
    bases.extend(pinned);
    Ok(bases)
}

/// Packs a context into a file, or to standard output.
pub(super) fn pack(
    ui: &mut Ui,
    tree: &Tree,
    build: &BuildOrigin,
    bases: &[(Range<usize>, String)],
    output: &Path,
) -> Result<(), Failure> {
    let placed = placement(tree, &build.dockerfile, build.as_written(), bases);
    if output == Path::new("-") {
        return match context::pack(tree, &placed, ui.bytes()) {
            Ok(mut out) => Ok(out.flush()?),
            // There is no temporary folder here that could be full.
            Err(PackError::Write(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        };
    }
    let spool = context::spool(tree, &placed)?;
    let written = write(&spool, output)
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", output.display())))?;
    ui.message(format_args!(
        "{}: {} files in {written} bytes, its Dockerfile at {}",
        output.display(),
        tree.files(),
        placed.dockerfile
    ))?;
    Ok(())
}

/// Writes an archive where it was asked for. A file appears whole or not at all, since half an
/// archive looks like one; a pipe or a device is written as it is, and stays what it is.
fn write(spool: &Spool, output: &Path) -> io::Result<u64> {
    let mut archive = spool.reader()?;
    let file = match std::fs::metadata(output) {
        Ok(meta) if !meta.is_file() => {
            let mut out = File::create(output)?;
            let written = io::copy(&mut archive, &mut out)?;
            out.flush()?;
            return Ok(written);
        }
        // A link stays a link, to the new file.
        Ok(_) => output.canonicalize()?,
        Err(_) => output.to_owned(),
    };
    file::replace_with(&file, |file| io::copy(&mut archive, file)).map_err(|error| error.source)
}
