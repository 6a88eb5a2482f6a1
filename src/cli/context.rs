//! `imgplan context`: the files that an image is built from.

use std::collections::HashSet;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::args::{ContextArgs, ContextCommand};
use super::context_why;
use super::failure::{Exit, Failure};
use super::service::LOCAL;
use super::settings::{Settings, env};
use super::ui::Ui;
use crate::context::{self, EntryKind, Tree};
use crate::manifest::Workspace;
use crate::manifest::workspace::{BuildOrigin, Origin, Unit, UnitId};
use crate::plan::facts::Context;
use crate::plan::{Facts, inputs_of};
use crate::run::place;
use crate::state::{Paths, State, Store};

pub(super) fn run(ui: &mut Ui, settings: &Settings, args: ContextArgs) -> Result<Exit, Failure> {
    let workspace = Workspace::load(&settings.manifest, &env)?;
    match args.command {
        ContextCommand::List { image } => {
            let (_, build) = find(&workspace, &image)?;
            list(ui, &scan(build)?)?;
        }
        ContextCommand::Digest { image } => {
            let (unit, _) = find(&workspace, &image)?;
            digest(ui, &workspace, unit)?;
        }
        ContextCommand::Why { image, path } => {
            let (unit, build) = find(&workspace, &image)?;
            context_why::why(ui, unit, build, &path)?;
        }
        ContextCommand::Pack { image, output, local } => {
            let (unit, build) = find(&workspace, &image)?;
            let root = settings.root();
            let state = if local {
                Store::read(&Paths::local(&root), LOCAL)?
            } else {
                Store::read_any(&Paths::beside(&root))?
            };
            let bases = paths_of_bases(ui, &workspace, unit, build, &state)?;
            pack(ui, build, &bases, &output)?;
        }
    }
    Ok(Exit::Success)
}

/// The unit called `name:tag`, or the first of the image called `name`.
fn find<'w>(workspace: &'w Workspace, image: &str) -> Result<(&'w Unit, &'w BuildOrigin), Failure> {
    let mut named = workspace
        .units
        .iter()
        .filter(|unit| unit.key.to_string() == image || unit.image.as_str() == image);
    match named.next() {
        None => {
            let known: Vec<String> =
                workspace.units.iter().map(|unit| unit.key.to_string()).collect();
            let message = format!("the manifest has no image `{image}`");
            Err(Failure::with_help(message, format!("it has {}", known.join(", "))))
        }
        Some(unit) => match &unit.origin {
            Origin::Build(build) => Ok((unit, build)),
            Origin::Mirror(_) => {
                Err(Failure::user(format!("{} is a mirror: it has no context", unit.key)))
            }
        },
    }
}

fn scan(build: &BuildOrigin) -> Result<Tree, Failure> {
    Ok(context::scan(&build.context, Some(&build.dockerfile_path))?)
}

fn list(ui: &mut Ui, tree: &Tree) -> io::Result<()> {
    for entry in tree.entries() {
        match (&entry.kind, ui.is_json()) {
            (EntryKind::Dir, _) => {}
            (_, false) => ui.data(&entry.path)?,
            (EntryKind::File { size, executable, digest }, true) => ui.data(json!({
                "path": entry.path.to_string(),
                "size": size,
                "executable": executable,
                "digest": digest,
            }))?,
            (EntryKind::Link { target }, true) => ui.data(json!({
                "path": entry.path.to_string(),
                "target": String::from_utf8_lossy(target),
            }))?,
        }
    }
    Ok(())
}

/// Prints what decides the content of a unit, and the fingerprint of all of it.
fn digest(ui: &mut Ui, workspace: &Workspace, unit: &Unit) -> Result<(), Failure> {
    let Some(id) = workspace.units.iter().position(|other| other.key == unit.key) else {
        return Err(Failure::internal(format!("{} is not in the manifest", unit.key)));
    };
    let counts = bases(workspace, UnitId(id));
    let mut facts = Facts::default();
    let mut fingerprints = Vec::new();
    // Units that do not count have no context here and a fingerprint that nobody looks at.
    for (index, other) in workspace.units[..=id].iter().enumerate() {
        let context = match &other.origin {
            Origin::Build(build) if counts.contains(&UnitId(index)) => {
                let tree = Arc::new(scan(build)?);
                let digest = tree.digest_without(other.dockerfile_inside().as_bytes());
                Some(Context { tree, digest })
            }
            _ => None,
        };
        facts.contexts.push(context);
        let inputs = inputs_of(workspace, &facts, UnitId(index), &fingerprints);
        fingerprints.push(inputs.fingerprint());
    }
    let inputs = inputs_of(workspace, &facts, UnitId(id), &fingerprints);
    let fingerprint = inputs.fingerprint();
    if ui.is_json() {
        let object = json!({ "image": unit.key, "inputs": inputs, "fingerprint": fingerprint });
        ui.data(object)?;
        return Ok(());
    }
    let wide = inputs.0.keys().map(|key| key.chars().count()).max().unwrap_or(0);
    let wide = wide.max("fingerprint".len());
    for (key, value) in &inputs.0 {
        ui.data(format_args!("{key:wide$}  {value}"))?;
    }
    ui.data(format_args!("{:wide$}  {fingerprint}", "fingerprint"))?;
    Ok(())
}

/// A unit and all that it is built on.
fn bases(workspace: &Workspace, id: UnitId) -> HashSet<UnitId> {
    let mut found = HashSet::from([id]);
    let mut next = vec![id];
    while let Some(id) = next.pop() {
        next.extend(workspace.unit(id).needs.iter().filter(|&&need| found.insert(need)));
    }
    found
}

/// Where the paths of bases go in a Dockerfile, and the paths, as far as they are known.
fn paths_of_bases(
    ui: &mut Ui,
    workspace: &Workspace,
    unit: &Unit,
    build: &BuildOrigin,
    state: &State,
) -> Result<Vec<(Range<usize>, String)>, Failure> {
    let mut bases = Vec::new();
    for base in &build.bases {
        let key = &workspace.unit(base.unit).key;
        let built = state.entries.get(key).and_then(|entry| entry.built.as_ref());
        match built {
            Some(built) => bases.push((base.range.clone(), built.path.clone())),
            None => ui.talk(format_args!(
                "note: {key} is not built yet; {} is packed with its name as written",
                unit.key
            ))?,
        }
    }
    Ok(bases)
}

fn pack(
    ui: &mut Ui,
    build: &BuildOrigin,
    bases: &[(Range<usize>, String)],
    output: &Path,
) -> Result<(), Failure> {
    let tree = scan(build)?;
    let placed = place(&tree, &build.dockerfile, build.dockerfile_inside.as_deref(), bases);
    if output == Path::new("-") {
        context::pack(&tree, &placed, ui.bytes())?;
        return Ok(());
    }
    let spool = context::spool(&tree, &placed)?;
    let write = || -> io::Result<u64> {
        let mut file = std::fs::File::create(output)?;
        let written = io::copy(&mut spool.reader()?, &mut file)?;
        file.flush()?;
        Ok(written)
    };
    let written = write()
        .map_err(|error| Failure::user(format!("cannot write {}: {error}", output.display())))?;
    ui.talk(format_args!(
        "{}: {} files in {written} bytes, its Dockerfile at {}",
        output.display(),
        tree.files(),
        placed.dockerfile
    ))?;
    Ok(())
}
