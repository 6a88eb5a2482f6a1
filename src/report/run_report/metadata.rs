//! The metadata of a run as JSON, in the shape of `docker buildx bake --metadata-file`: an object with a key
//! for each target. Pure.

use serde_json::{Map, Value, json};

use super::{Outcome, RunView, TargetRow, seconds};
use crate::state::Built;

/// Key of the full path of an image, as bake writes it.
const IMAGE_NAME: &str = "image.name";

/// Key of imgplan's own fields.
const OWN_KEY: &str = "imgplan";

/// Returns the metadata: of each target with a step, and, if the plan covered the whole manifest, of
/// those that needed none.
pub(crate) fn metadata(view: &RunView<'_>) -> Value {
    let rows = view.rows();
    let unchanged = view.unchanged().into_iter();
    let unchanged = unchanged.map(|(key, built)| (key.to_string(), of_unchanged(view, built)));
    let steps = rows.iter().map(|row| (row.step.key.to_string(), of_row(view, row)));
    Value::Object(steps.chain(unchanged).collect())
}

/// Returns the path of an image that can be pulled. A check builds none.
fn image_name(view: &RunView<'_>, built: Option<&Built>) -> Map<String, Value> {
    let path = built.map(|built| &built.path);
    let path = path.filter(|path| !view.only_checks && !path.is_empty());
    path.map(|path| (IMAGE_NAME.to_owned(), json!(path))).into_iter().collect()
}

fn of_unchanged(view: &RunView<'_>, built: &Built) -> Value {
    let mut target = image_name(view, Some(built));
    let own = json!({ "status": "unchanged", "build_id": built.build });
    target.insert(OWN_KEY.to_owned(), own);
    Value::Object(target)
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
        Outcome::Done => target = image_name(view, view.built(&row.step.key)),
    }
    target.insert(OWN_KEY.to_owned(), own);
    Value::Object(target)
}
