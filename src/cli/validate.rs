//! `imgplan validate`: reports all problems of the manifest and the contexts at once, without network
//! access.

use std::path::PathBuf;

use serde_json::json;

use super::args::{ProblemFormat, ValidateArgs};
use super::code_quality;
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
    let format = match args.format.format() {
        _ if ui.is_json() => ProblemFormat::Json,
        format => format,
    };
    let mut workspace = match Workspace::load(&settings.manifest, &env) {
        Err(error) if format != ProblemFormat::Text => {
            let records = problem_records(&error.problems, &error.sources);
            return print(ui, settings, format, &Problems::of_error(&error, records));
        }
        loaded => loaded?,
    };
    let contexts = survey::context_warnings(&workspace).await.map_err(Failure::from);
    let outcome = contexts.and_then(|found| {
        workspace.warnings.extend(found);
        failure::deny_warnings(deny_warnings, workspace.warnings.len())
    });
    if format != ProblemFormat::Text {
        return print(ui, settings, format, &Problems::of_workspace(&workspace, outcome.err()));
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

/// The problems of a manifest, for programs.
struct Problems<'w> {
    errors: usize,
    warnings: usize,
    records: Vec<DiagnosticRecord>,
    skipped: &'w [Skipped],
}

impl<'w> Problems<'w> {
    fn of_error(error: &ManifestError, records: Vec<DiagnosticRecord>) -> Self {
        let errors = error.problems.len() + error.unshown;
        Self { errors, warnings: 0, records, skipped: &[] }
    }

    fn of_workspace(workspace: &'w Workspace, failure: Option<Failure>) -> Self {
        let mut records = problem_records(&workspace.warnings, &workspace.sources);
        let failure = failure.as_ref();
        let errors = failure.map_or_else(Vec::new, |failure| report_records(&failure.report));
        let (count, warnings) = (errors.len(), records.len());
        records.extend(errors);
        Self { errors: count, warnings, records, skipped: &workspace.skipped }
    }
}

fn print(
    ui: &mut Ui,
    settings: &Settings,
    format: ProblemFormat,
    problems: &Problems<'_>,
) -> Result<Exit, Failure> {
    let Problems { errors, warnings, records, skipped } = problems;
    ui.annotate(records)?;
    if format == ProblemFormat::Codequality {
        let root = std::env::var_os("CI_PROJECT_DIR").map(PathBuf::from);
        let manifest = settings.manifest.first();
        ui.json_data(&code_quality::report(records, root.as_ref(), manifest))?;
    } else {
        let skipped = skipped.iter().map(
            |skipped| json!({ "path": skipped.path.to_string_lossy(), "reason": skipped.reason }),
        );
        ui.json_data(&json!({
            "format_version": FORMAT_VERSION,
            "valid": *errors == 0,
            "error_count": errors,
            "warning_count": warnings,
            "diagnostics": records,
            "skipped": skipped.collect::<Vec<_>>(),
        }))?;
    }
    Ok(if *errors == 0 { Exit::Success } else { Exit::Error })
}
