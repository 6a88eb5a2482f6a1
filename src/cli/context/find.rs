//! Finds an image by name, and reads its context and the recorded state.

use std::sync::Arc;

use crate::base::text::list;
use crate::cli::failure::Failure;
use crate::cli::service::LOCAL;
use crate::cli::settings::Settings;
use crate::context::{self, ScanError, ScanRequest, StatCache, Tree};
use crate::manifest::Workspace;
use crate::manifest::workspace::{BuildOrigin, Origin, Unit};
use crate::state::{State, StatePaths, Store};
use crate::survey::SurveyError;

/// Maximum number of images named if none matches.
const MAX_NAMES_SHOWN: usize = 10;

/// Returns the recorded state; with `local`, that of the server inside this process.
pub(super) fn read_state(settings: &Settings, local: bool) -> Result<State, Failure> {
    let root = settings.root();
    Ok(if local {
        Store::read(&StatePaths::local(&root), LOCAL)?
    } else {
        Store::read_any(&StatePaths::beside(&root))?
    })
}

/// Returns the target called `name:tag`, or the first target of the image called `name`.
///
/// # Errors
///
/// Fails if there is no such image, or if it is a mirror.
pub(super) fn find<'w>(
    workspace: &'w Workspace,
    image: &str,
) -> Result<(&'w Unit, &'w BuildOrigin), Failure> {
    let mut units = workspace.units.iter();
    let unit = units.find(|unit| unit.is_named(image));
    let Some(unit) = unit else {
        let names = list(workspace.units.iter().map(|unit| &unit.key), MAX_NAMES_SHOWN);
        let message = format!("the manifest has no image `{image}`");
        return Err(Failure::with_help(message, format!("it has {names}")));
    };
    match &unit.origin {
        Origin::Build(build) => Ok((unit, build)),
        Origin::Mirror(_) => {
            Err(Failure::new(format!("{} is a mirror and has no context", unit.key)))
        }
    }
}

/// Reads the contexts of these images, each once.
pub(super) fn scan(
    settings: &Settings,
    builds: &[&BuildOrigin],
) -> Result<Vec<Arc<Tree>>, Failure> {
    let request = |build: &&BuildOrigin| ScanRequest {
        root: build.context.clone(),
        dockerfile: Some(build.dockerfile_path.clone()),
    };
    let requests: Vec<_> = builds.iter().map(request).collect();
    let cache = StatCache::read(&settings.work_dir());
    Ok(context::scan_all(&requests, Some(cache))
        .map_err(|e: Vec<ScanError>| SurveyError::from(e))?)
}

/// Reads the context of one image.
pub(super) fn scan_one(settings: &Settings, build: &BuildOrigin) -> Result<Arc<Tree>, Failure> {
    Ok(scan(settings, &[build])?.remove(0))
}
