//! Finds an image by name, and reads its context and the recorded state.

use std::collections::HashSet;
use std::sync::Arc;

use crate::base::name::NameError;
use crate::base::text::list;
use crate::cli::args::StateArgs;
use crate::cli::env::env;
use crate::cli::failure::Failure;
use crate::cli::settings::Settings;
use crate::cli::state_place;
use crate::context::{StatCache, Tree};
use crate::manifest::Workspace;
use crate::manifest::workspace::{BuildOrigin, Origin, UnitId};
use crate::plan::facts::Context;
use crate::state::State;
use crate::survey::contexts_of;

/// Maximum number of images named if none matches.
const MAX_NAMES_SHOWN: usize = 10;

/// Returns the recorded state; with `local`, that of the server inside this process.
pub(super) async fn read_state(settings: &Settings, local: bool) -> Result<State, Failure> {
    let url = env("IMGPLAN_STATE").filter(|url| !url.is_empty());
    let parsed = url.map(|url| url.parse()).transpose();
    let state = parsed.map_err(|error: NameError| Failure::usage(error.message, error.help))?;
    state_place::read_any(settings, &StateArgs { state }, local).await
}

/// Returns the target called `name:tag`, or the first target of the image called `name`, and its
/// build.
///
/// # Errors
///
/// Fails if there is no such image, or if it is a mirror.
pub(super) fn find<'w>(
    workspace: &'w Workspace,
    image: &str,
) -> Result<(UnitId, &'w BuildOrigin), Failure> {
    let index = workspace.units.iter().position(|unit| unit.is_named(image));
    let Some(index) = index else {
        let names = list(workspace.units.iter().map(|unit| &unit.key), MAX_NAMES_SHOWN);
        let message = format!("the manifest has no image `{image}`");
        return Err(Failure::with_help(message, format!("it has {names}")));
    };
    let unit = &workspace.units[index];
    match &unit.origin {
        Origin::Build(build) => Ok((UnitId(index), build)),
        Origin::Mirror(_) => {
            Err(Failure::new(format!("{} is a mirror and has no context", unit.key)))
        }
    }
}

/// Reads what the builds of these units read from their contexts. `None` for the other units.
pub(super) fn scan(
    settings: &Settings,
    workspace: &Workspace,
    state: &State,
    units: &HashSet<UnitId>,
) -> Result<Vec<Option<Context>>, Failure> {
    let cache = StatCache::read(&settings.work_dir());
    Ok(contexts_of(workspace, state, units, cache)?)
}

/// Reads what the build of one unit reads from its context.
pub(super) fn scan_one(
    settings: &Settings,
    workspace: &Workspace,
    unit: UnitId,
) -> Result<Arc<Tree>, Failure> {
    let contexts = scan(settings, workspace, &State::default(), &[unit].into())?;
    let context = contexts.into_iter().nth(unit.0).flatten();
    context.map(|context| context.tree).ok_or_else(|| Failure::new("the image has no context"))
}
