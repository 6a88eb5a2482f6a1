//! `imgplan context`: the files that an image is built from.

mod digest;
mod list;
mod pack;
mod why;

use std::io::Write;
use std::sync::Arc;

use super::args::{ContextArgs, ContextCommand};
use super::env::env;
use super::failure::{Exit, Failure};
use super::service::LOCAL;
use super::settings::Settings;
use super::ui::Ui;
use crate::context::{self, ScanError, ScanRequest, StatCache, Tree};
use crate::manifest::Workspace;
use crate::manifest::workspace::{BuildOrigin, Origin, Unit};
use crate::state::{State, StatePaths, Store};
use crate::survey::SurveyError;

pub(super) fn run(ui: &mut Ui, settings: &Settings, args: ContextArgs) -> Result<Exit, Failure> {
    let workspace = Workspace::load(&settings.manifest, &env)?;
    match args.command {
        ContextCommand::List { image, by_size, .. } => {
            let (_, build) = find(&workspace, &image)?;
            let tree = scan_one(settings, build)?;
            if by_size {
                list::list_by_size(ui, &tree)?;
            } else {
                list::list(ui, &tree, build)?;
            }
        }
        ContextCommand::Digest { image, .. } => {
            let (unit, _) = find(&workspace, &image)?;
            digest::digest(ui, settings, &workspace, unit)?;
        }
        ContextCommand::Dockerfile { image, local, .. } => {
            let (unit, build) = find(&workspace, &image)?;
            let state = state(settings, local)?;
            let bases = pack::put_in(ui, &workspace, unit, build, &state)?;
            let text = build.dockerfile.with_replaced(&bases);
            ui.bytes().write_all(text.as_bytes())?;
        }
        ContextCommand::Why { image, path, .. } => {
            let (unit, build) = find(&workspace, &image)?;
            why::why(ui, unit, build, &path)?;
        }
        ContextCommand::Pack { image, output, local, .. } => {
            let (unit, build) = find(&workspace, &image)?;
            let state = state(settings, local)?;
            let bases = pack::put_in(ui, &workspace, unit, build, &state)?;
            let tree = scan_one(settings, build)?;
            pack::pack(ui, &tree, build, &bases, &output)?;
        }
    }
    Ok(Exit::Success)
}

/// What is on record.
fn state(settings: &Settings, local: bool) -> Result<State, Failure> {
    let root = settings.root();
    Ok(if local {
        Store::read(&StatePaths::local(&root), LOCAL)?
    } else {
        Store::read_any(&StatePaths::beside(&root))?
    })
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
                Err(Failure::new(format!("{} is a mirror: it has no context", unit.key)))
            }
        },
    }
}

/// Reads the contexts of these units, each once.
fn scan(settings: &Settings, builds: &[&BuildOrigin]) -> Result<Vec<Arc<Tree>>, Failure> {
    let wanted = |build: &&BuildOrigin| ScanRequest {
        root: build.context.clone(),
        dockerfile: Some(build.dockerfile_path.clone()),
    };
    let wanted: Vec<ScanRequest> = builds.iter().map(wanted).collect();
    let errors = |errors: Vec<ScanError>| SurveyError::from(errors);
    Ok(context::scan_all(&wanted, Some(StatCache::read(&settings.work_dir()))).map_err(errors)?)
}

/// Reads the context of one unit.
fn scan_one(settings: &Settings, build: &BuildOrigin) -> Result<Arc<Tree>, Failure> {
    Ok(scan(settings, &[build])?.remove(0))
}
