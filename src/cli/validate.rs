//! `imgplan validate`: reports all problems of the manifest and the contexts at once, without network
//! access.

use serde_json::json;

use super::args::ValidateArgs;
use super::diagnostic::{DiagnosticRecord, problem_records, report_records};
use super::env::env;
use super::failure::{self, Exit, Failure};
use super::settings::Settings;
use super::ui::Ui;
use crate::base::text::plural;
use crate::manifest::workspace::Skipped;
use crate::manifest::{ManifestError, Workspace};
use crate::survey;

/// Version of the JSON that `--json` prints.
const FORMAT_VERSION: &str = "1.0";

pub(super) async fn run(
    ui: &mut Ui,
    settings: &Settings,
    args: ValidateArgs,
) -> Result<Exit, Failure> {
    let deny_warnings = args.strict.deny_warnings;
    let mut workspace = match Workspace::load(&settings.manifest, &env) {
        Err(error) if ui.is_json() => return print_manifest_error(ui, &error),
        loaded => loaded?,
    };
    let contexts = survey::context_warnings(&workspace).await.map_err(Failure::from);
    let outcome = contexts.and_then(|found| {
        workspace.warnings.extend(found);
        failure::deny_warnings(deny_warnings, workspace.warnings.len())
    });
    if ui.is_json() {
        return print_json(ui, &workspace, outcome.err());
    }
    ui.warnings(&workspace.warnings, &workspace.sources)?;
    outcome?;
    ui.skipped(&workspace.skipped)?;
    ui.data(format_args!(
        "{} is valid: {}, {}.",
        settings.manifest.first().display(),
        plural(workspace.images, "image"),
        plural(workspace.units.len(), "target"),
    ))?;
    Ok(Exit::Success)
}

fn print_manifest_error(ui: &mut Ui, error: &ManifestError) -> Result<Exit, Failure> {
    let diagnostics = problem_records(&error.problems, &error.sources);
    let errors = error.problems.len() + error.unshown;
    print(ui, (errors, 0), &diagnostics, &[])
}

fn print_json(
    ui: &mut Ui,
    workspace: &Workspace,
    failure: Option<Failure>,
) -> Result<Exit, Failure> {
    let mut diagnostics = problem_records(&workspace.warnings, &workspace.sources);
    let failure = failure.as_ref();
    let errors = failure.map_or_else(Vec::new, |failure| report_records(&failure.report));
    let counts = (errors.len(), workspace.warnings.len());
    diagnostics.extend(errors);
    print(ui, counts, &diagnostics, &workspace.skipped)
}

fn print(
    ui: &mut Ui,
    (errors, warnings): (usize, usize),
    diagnostics: &[DiagnosticRecord],
    skipped: &[Skipped],
) -> Result<Exit, Failure> {
    ui.annotate(diagnostics)?;
    let skipped = skipped
        .iter()
        .map(|skipped| json!({ "path": skipped.path.to_string_lossy(), "reason": skipped.reason }));
    ui.json_data(&json!({
        "format_version": FORMAT_VERSION,
        "valid": errors == 0,
        "error_count": errors,
        "warning_count": warnings,
        "diagnostics": diagnostics,
        "skipped": skipped.collect::<Vec<_>>(),
    }))?;
    Ok(if errors == 0 { Exit::Success } else { Exit::Error })
}
