//! `imgplan why`: explains the plan for one image.

use super::args::{SelectionArgs, WhyArgs};
use super::failure::{Exit, Failure};
use super::planned::{PlanQuery, Planned};
use super::settings::Settings;
use super::ui::Ui;
use crate::base::name::ImageRef;
use crate::base::nearest::nearest;
use crate::report::why::WhyView;

pub(super) async fn run(ui: &mut Ui, settings: &Settings, args: WhyArgs) -> Result<Exit, Failure> {
    let query = PlanQuery {
        service: &args.service,
        selection: &SelectionArgs::default(),
        lookup: &args.lookup,
        offline: args.offline,
        refresh_only: false,
        deny_warnings: false,
    };
    let planned = Planned::load(ui, settings, query).await?;
    let units = matching(&planned, &args.image)?;
    ui.why(&WhyView { plan: planned.view(), units: &units }, args.format.format())?;
    planned.keep_history();
    Ok(Exit::Success)
}

/// Returns the targets called `name:tag` or `name`, including those that only the lockfile has.
fn matching(planned: &Planned, image: &str) -> Result<Vec<ImageRef>, Failure> {
    let units = &planned.workspace.units;
    let orphans = planned.plan.steps.iter().filter(|step| step.unit().is_none());
    let orphans = orphans.map(|step| &step.key).chain(&planned.plan.protected);
    let orphans: Vec<&ImageRef> = orphans.collect();
    let named = units.iter().filter(|unit| unit.is_named(image)).map(|unit| &unit.key);
    let is_named = |key: &&&ImageRef| key.name.as_str() == image || key.to_string() == image;
    let matches: Vec<ImageRef> =
        named.chain(orphans.iter().filter(is_named).copied()).cloned().collect();
    if !matches.is_empty() {
        return Ok(matches);
    }
    let keys = units.iter().map(|unit| &unit.key).chain(orphans);
    let mut names: Vec<String> =
        keys.flat_map(|key| [key.name.as_str().to_owned(), key.to_string()]).collect();
    names.dedup();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let help = match nearest(image, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`imgplan graph` and `imgplan show` list the images".to_owned(),
    };
    let message = format!("neither the manifest nor the lockfile has an image `{image}`");
    Err(Failure::with_help(message, help))
}
