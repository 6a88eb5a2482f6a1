//! `--refresh-only`: how the service differs from the lockfile, and bringing the lockfile in line.

use serde_json::json;

use super::failure::{Exit, Failure};
use super::ui::Ui;
use crate::plan::facts::Drift;
use crate::plan::{self, Facts};
use crate::state::{Record, State, Store};

/// Shows how the service differs from the lockfile, and says whether it does.
pub(super) fn show(ui: &mut Ui, facts: &Facts, state: &State) -> Result<bool, Failure> {
    let mut differs = 0;
    for (key, entry) in &state.entries {
        let Some(built) = &entry.built else { continue };
        let visibility = facts.visibility(key, built);
        let (action, words) = match facts.drift(key, built) {
            Some(Drift::Gone) => ("missing_remote", "is not there any more".to_owned()),
            Some(Drift::Replaced) => ("remote_changed", "was replaced by somebody else".to_owned()),
            None if visibility != built.visibility => {
                ("visibility_changed", format!("visibility {} -> {visibility}", built.visibility))
            }
            None => continue,
        };
        differs += 1;
        if ui.is_json() {
            let change = json!({ "image": key, "action": action });
            ui.data(
                json!({ "type": "drift", "@message": format!("{key}: {words}"), "change": change }),
            )?;
        } else {
            ui.data(format_args!("  {key}  {words}"))?;
        }
    }
    if !ui.is_json() {
        let compared = facts.images.values().map(std::collections::HashMap::len).sum::<usize>();
        if facts.images.is_empty() {
            ui.data("The service was not asked, or did not answer: nothing is known of it.")?;
        } else if differs == 0 {
            ui.data(format_args!("No differences. The service lists {compared} images."))?;
        } else {
            ui.data(format_args!("{differs} images differ from the lockfile."))?;
        }
    }
    Ok(differs > 0)
}

/// Brings the lockfile in line with the service, and does nothing else.
pub(super) fn apply(ui: &mut Ui, facts: &Facts, store: &mut Store) -> Result<Exit, Failure> {
    show(ui, facts, store.state())?;
    let records: Vec<Record> = plan::seen(facts, store.state());
    store.record(&records)?;
    store.commit()?;
    if !records.is_empty() {
        ui.talk(format_args!("The lockfile was brought in line for {} images.", records.len()))?;
    }
    Ok(Exit::Success)
}
