//! `imgplan validate`: everything that is wrong, at once, without asking anyone.

use serde_json::json;

use super::diagnostic;
use super::failure::{Exit, Failure};
use super::settings::{Settings, env};
use super::ui::Ui;
use crate::manifest::Workspace;

/// The version of the JSON that `--json` prints.
const FORMAT_VERSION: &str = "1.0";

pub(super) fn run(ui: &mut Ui, settings: &Settings) -> Result<Exit, Failure> {
    let loaded = Workspace::load(&settings.manifest, &env);
    if ui.is_json() {
        let (errors, warnings, sources) = match &loaded {
            Ok(workspace) => (&[][..], &workspace.warnings[..], &workspace.sources),
            Err(error) => (&error.problems[..], &[][..], &error.sources),
        };
        let all = errors.iter().chain(warnings);
        let diagnostics: Vec<_> = all.map(|p| diagnostic::of_problem(p, sources)).collect();
        ui.data(json!({
            "format_version": FORMAT_VERSION,
            "valid": errors.is_empty(),
            "error_count": errors.len(),
            "warning_count": warnings.len(),
            "diagnostics": diagnostics,
        }))?;
        return Ok(if errors.is_empty() { Exit::Success } else { Exit::Error });
    }
    let workspace = loaded?;
    ui.warn(&workspace.warnings, &workspace.sources)?;
    let (images, units) = (workspace.images, workspace.units.len());
    ui.data(format_args!(
        "{} is valid: {images} image{}, {units} unit{}.",
        settings.manifest.display(),
        if images == 1 { "" } else { "s" },
        if units == 1 { "" } else { "s" },
    ))?;
    Ok(Exit::Success)
}
