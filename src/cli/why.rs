//! `imgplan why`: everything there is to say of what would be done to one image. Changes nothing.

use super::args::{SelectionArgs, WhyArgs};
use super::failure::{Exit, Failure};
use super::plan::{Ask, Planned};
use super::settings::Settings;
use super::ui::Ui;
use crate::base::name::ImageRef;
use crate::base::nearest::nearest;
use crate::report::why::WhyView;

pub(super) async fn run(ui: &mut Ui, settings: &Settings, args: WhyArgs) -> Result<Exit, Failure> {
    let WhyArgs { service, lookup: look, offline, .. } = &args;
    let choice = SelectionArgs::default();
    let ask = Ask { service, choice: &choice, look, offline: *offline };
    let planned = Planned::load(ui, settings, ask).await?;
    let units = named(&planned, &args.image)?;
    ui.why(&WhyView { plan: planned.view(), units: &units })?;
    planned.keep_lists();
    Ok(Exit::Success)
}

/// The unit called `name:tag`, or all of the image called `name`; those that the
/// manifest no longer has too.
fn named(planned: &Planned, image: &str) -> Result<Vec<ImageRef>, Failure> {
    let units = planned.workspace.units.iter().map(|unit| (&unit.image, &unit.key));
    let gone = planned.plan.steps.iter().filter(|step| step.unit().is_none());
    let gone = gone.map(|step| &step.key).chain(&planned.plan.protected);
    let all: Vec<_> = units.chain(gone.map(|key| (&key.name, key))).collect();
    let found: Vec<ImageRef> = all
        .iter()
        .filter(|(name, key)| name.as_str() == image || key.to_string() == image)
        .map(|(_, key)| (*key).clone())
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let mut known: Vec<String> =
        all.iter().flat_map(|(name, key)| [name.as_str().to_owned(), key.to_string()]).collect();
    known.dedup();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let help = match nearest(image, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`imgplan plan` and `imgplan show` name what there is".to_owned(),
    };
    Err(Failure::with_help(format!("neither manifest nor lockfile has an image `{image}`"), help))
}
