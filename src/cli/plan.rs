//! `imgplan plan`: what would be done, and why. Changes nothing.

use super::args::PlanArgs;
use super::failure::{self, Exit, Failure};
use super::service::Target;
use super::settings::{Settings, env};
use super::ui::Ui;
use crate::manifest::Workspace;
use crate::state::Store;
use crate::{plan, survey};

pub(super) async fn run(ui: &mut Ui, settings: &Settings, args: PlanArgs) -> Result<Exit, Failure> {
    let workspace = Workspace::load(&settings.manifest, &env)?;
    ui.warn(&workspace.warnings, &workspace.sources)?;
    let target = Target::find(&settings.root(), &workspace, &args.service)?;
    if let Some(warning) = target.warning() {
        ui.talk(warning)?;
    }
    let state = Store::read(&target.paths, &target.name)?;
    let client = if args.offline { None } else { target.client_to_ask() };
    let facts = survey::facts(&workspace, &state, client.as_ref()).await?;
    ui.warn(&facts.warnings, &workspace.sources)?;
    failure::deny(args.strict.deny_warnings, workspace.warnings.len() + facts.warnings.len())?;
    let plan = plan::build(&workspace, &facts, &state);
    ui.plan(&target.view(&plan, &workspace, &facts, client.is_some()))?;
    Ok(if args.detailed_exitcode && !plan.is_noop() { Exit::Changes } else { Exit::Success })
}
