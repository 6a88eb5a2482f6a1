//! `imgplan validate`: reports all problems of the manifest at once, without network access.

use serde_json::json;

use super::args::ValidateArgs;
use super::diagnostic;
use super::env::env;
use super::failure::{self, Exit, Failure};
use super::settings::Settings;
use super::ui::Ui;
use crate::base::text::plural;
use crate::manifest::{ManifestError, Workspace};

/// Version of the JSON that `--json` prints.
const FORMAT_VERSION: &str = "1.0";

pub(super) fn run(ui: &mut Ui, settings: &Settings, args: ValidateArgs) -> Result<Exit, Failure> {
    let loaded = Workspace::load(&settings.manifest, &env);
    if ui.is_json() {
        return print_json(ui, &loaded, args.strict.deny_warnings);
    }
    let workspace = loaded?;
    ui.warnings(&workspace.warnings, &workspace.sources)?;
    failure::deny_warnings(args.strict.deny_warnings, workspace.warnings.len())?;
    ui.skipped(&workspace.skipped)?;
    ui.data(format_args!(
        "{} is valid: {}, {}.",
        settings.manifest.first().display(),
        plural(workspace.images, "image"),
        plural(workspace.units.len(), "target"),
    ))?;
    Ok(Exit::Success)
}

fn print_json(
    ui: &mut Ui,
    loaded: &Result<Workspace, ManifestError>,
    deny_warnings: bool,
) -> Result<Exit, Failure> {
    let (errors, warnings, sources, skipped, unshown) = match loaded {
        Ok(found) => (&[][..], &found.warnings[..], &found.sources, &found.skipped[..], 0),
        Err(error) => (&error.problems[..], &[][..], &error.sources, &[][..], error.unshown),
    };
    let denied = failure::deny_warnings(deny_warnings, warnings.len()).err();
    let diagnostics = errors.iter().chain(warnings);
    let mut diagnostics: Vec<_> =
        diagnostics.map(|problem| diagnostic::problem_json(problem, sources)).collect();
    diagnostics.extend(denied.iter().flat_map(|failure| diagnostic::report_json(&failure.report)));
    let skipped = skipped
        .iter()
        .map(|skipped| json!({ "path": skipped.path.to_string_lossy(), "reason": skipped.reason }));
    let errors = errors.len() + usize::from(denied.is_some());
    ui.data(json!({
        "format_version": FORMAT_VERSION,
        "valid": errors == 0,
        "error_count": errors + unshown,
        "warning_count": warnings.len(),
        "diagnostics": diagnostics,
        "skipped": skipped.collect::<Vec<_>>(),
    }))?;
    Ok(if errors == 0 { Exit::Success } else { Exit::Error })
}
