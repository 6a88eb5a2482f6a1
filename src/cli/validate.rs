//! `imgplan validate`: everything that is wrong, at once, without asking anyone.

use serde_json::json;

use super::args::ValidateArgs;
use super::diagnostic;
use super::env::env;
use super::failure::{self, Exit, Failure};
use super::settings::Settings;
use super::ui::Ui;
use crate::base::text::plural;
use crate::manifest::Workspace;

/// The version of the JSON that `--json` prints.
const FORMAT_VERSION: &str = "1.0";

pub(super) fn run(ui: &mut Ui, settings: &Settings, args: ValidateArgs) -> Result<Exit, Failure> {
    let loaded = Workspace::load(&settings.manifest, &env);
    if ui.is_json() {
        let (errors, warnings, sources) = match &loaded {
            Ok(workspace) => (&[][..], &workspace.warnings[..], &workspace.sources),
            Err(error) => (&error.problems[..], &[][..], &error.sources),
        };
        let unshown = loaded.as_ref().err().map_or(0, |error| error.unshown);
        let skipped = loaded.as_ref().map_or(&[][..], |workspace| &workspace.skipped);
        let skipped: Vec<_> = skipped
            .iter()
            .map(|skipped| json!({ "path": skipped.path.to_string_lossy(), "reason": skipped.reason }))
            .collect();
        let all = errors.iter().chain(warnings);
        let mut diagnostics: Vec<_> = all.map(|p| diagnostic::problem_json(p, sources)).collect();
        let denied = failure::deny_warnings(args.strict.deny_warnings, warnings.len()).err();
        diagnostics
            .extend(denied.iter().flat_map(|failure| diagnostic::report_json(&failure.report)));
        let errors = errors.len() + usize::from(denied.is_some());
        ui.data(json!({
            "format_version": FORMAT_VERSION,
            "valid": errors == 0,
            "error_count": errors + unshown,
            "warning_count": warnings.len(),
            "diagnostics": diagnostics,
            "skipped": skipped,
        }))?;
        return Ok(if errors == 0 { Exit::Success } else { Exit::Error });
    }
    let workspace = loaded?;
    ui.warnings(&workspace.warnings, &workspace.sources)?;
    failure::deny_warnings(args.strict.deny_warnings, workspace.warnings.len())?;
    ui.skipped(&workspace.skipped)?;
    let (images, units) = (workspace.images, workspace.units.len());
    ui.data(format_args!(
        "{} is valid: {}, {}.",
        settings.manifest.first().display(),
        plural(images, "image"),
        plural(units, "target"),
    ))?;
    Ok(Exit::Success)
}
