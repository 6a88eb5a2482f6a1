//! `imgplan context pack`: writes the archive that is sent.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use crate::base::file;
use crate::base::text::plural;
use crate::cli::failure::Failure;
use crate::cli::ui::Ui;
use crate::context::{self, PackError, Spool, Tree};
use crate::manifest::Workspace;
use crate::manifest::workspace::{BuildOrigin, Unit};
use crate::plan::{Facts, PreviousLookup, pins};
use crate::run::placement;
use crate::state::State;

/// Returns the replacements in the Dockerfile: the full paths of bases that are built, and the
/// digests of external bases that are pinned. Prints a note for each base that is not built.
pub(super) fn base_replacements(
    ui: &mut Ui,
    workspace: &Workspace,
    unit: &Unit,
    build: &BuildOrigin,
    state: &State,
) -> Result<Vec<(Range<usize>, String)>, Failure> {
    let (lookup, mut bases) = (PreviousLookup::new(workspace, state), Vec::new());
    for base in &build.bases {
        // The tag may contain the fingerprint, which is not computed here; the recorded one is used.
        let base_unit = workspace.unit(base.unit);
        let previous = lookup.of(workspace, base_unit);
        match previous.and_then(|previous| previous.entry.built.as_ref()) {
            Some(built) => bases.push((base.range.clone(), built.path.to_string())),
            None => ui.message(format_args!(
                "note: {} is not built yet; the Dockerfile of {} keeps its name",
                base_unit.shown(),
                unit.key
            ))?,
        }
    }
    bases.extend(pinned_externals(build, state));
    Ok(bases)
}

/// Returns the replacements of external bases that are pinned.
pub(super) fn pinned_externals(
    build: &BuildOrigin,
    state: &State,
) -> impl Iterator<Item = (Range<usize>, String)> {
    let facts = Facts::default();
    build.externals.iter().filter_map(move |base| {
        pins::pinned_base(base, facts.pin_in(state, &base.image)?.digest_for(base.platform)?)
    })
}

/// Writes the archive of a context to a file, or to standard output for `-`.
pub(super) fn pack(
    ui: &mut Ui,
    tree: &Tree,
    build: &BuildOrigin,
    bases: &[(Range<usize>, String)],
    output: &Path,
) -> Result<(), Failure> {
    let placement = placement(
        tree,
        &build.dockerfile,
        (build.dockerfile_inside.as_deref(), build.is_lowered()),
        bases,
    );
    if [Path::new("-"), Path::new("/dev/stdout")].contains(&output) {
        let out = ui.archive().ok_or_else(|| {
            let help = "name a file with `--output`, or send the output to a pipe";
            Failure::with_help("an archive is not written to a terminal", help)
        })?;
        return match context::pack(tree, &placement, out) {
            Ok(mut out) => Ok(out.flush()?),
            Err(PackError::Write(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        };
    }
    let spool = context::spool(tree, &placement)?;
    let written = write(&spool, output).map_err(|error| {
        let message = format!("cannot write {}: {error}", output.display());
        Failure::with_help(message, "name a regular file, or `-` for standard output")
    })?;
    let added = placement.files.iter().filter(|file| tree.get(file.path.as_bytes()).is_none());
    let files = tree.files() + added.count();
    ui.message(format_args!(
        "{}: {} in {written} bytes, Dockerfile at {}",
        output.display(),
        plural(files, "file"),
        placement.dockerfile
    ))?;
    Ok(())
}

/// Writes an archive and returns its size in bytes. A file is replaced in one step, because a
/// truncated archive looks like a whole one. A link is replaced itself: a checkout may have put it
/// there. A device or descriptor that the path itself names is written to.
fn write(spool: &Spool, output: &Path) -> io::Result<u64> {
    let mut archive = spool.reader()?;
    file::replace_with(output, |file| io::copy(&mut archive, file)).map_err(|error| error.source)
}
