//! The metadata of a run as JSON, in the shape of `docker buildx bake --metadata-file`: an object with a key
//! for each target. Pure.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{Outcome, RunView, TargetRow, seconds};
use crate::base::name::ImageRef;
use crate::state::Built;

/// Key of the full path of an image, as bake writes it.
const IMAGE_NAME: &str = "image.name";

/// Key of what bake does not have.
const OWN_KEY: &str = "imgplan";

/// Returns the metadata: of each target with a step, and, if the plan covered the whole manifest, of
/// those that needed none.
pub(crate) fn metadata(view: &RunView<'_>) -> Value {
    let rows = view.rows();
    let planned: HashSet<&ImageRef> = rows.iter().map(|row| &row.step.key).collect();
    let keys = view.workspace.units.iter().map(|unit| &unit.key);
    let keys = keys.filter(|key| view.plan.partial.is_none() && !planned.contains(key));
    let unchanged = keys.filter_map(|key| Some((key.to_string(), unchanged(built(view, key)?))));
    let steps = rows.iter().map(|row| (row.step.key.to_string(), of_row(view, row)));
    Value::Object(steps.chain(unchanged).collect())
}

fn built<'a>(view: &RunView<'a>, key: &ImageRef) -> Option<&'a Built> {
    view.state.entries.get(key)?.built.as_ref()
}

fn unchanged(built: &Built) -> Value {
    json!({
        IMAGE_NAME: built.path,
        OWN_KEY: { "status": "unchanged", "build_id": built.build },
    })
}

fn of_row(view: &RunView<'_>, row: &TargetRow<'_>) -> Value {
    let mut own = json!({
        "status": row.outcome.word(),
        "action": row.action,
        "build_id": row.build,
        "seconds": seconds(row.elapsed()),
        "waited_seconds": seconds(row.waited()),
    });
    let mut target = Map::new();
    match row.outcome {
        Outcome::Failed(failure) => own["error"] = json!(failure.message),
        Outcome::Skipped(reason) => own["skipped"] = json!(reason),
        // The image of a step that is not done is an earlier one.
        Outcome::Done => {
            let path = built(view, &row.step.key).map(|built| &built.path);
            let path = path.filter(|path| !path.is_empty());
            target.extend(path.map(|path| (IMAGE_NAME.to_owned(), json!(path))));
        }
    }
    target.insert(OWN_KEY.to_owned(), own);
    Value::Object(target)
}
