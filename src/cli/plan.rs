//! `imgplan plan`: shows what would change, and why.

use super::args::{OutputFormat, PlanArgs};
use super::failure::{Exit, Failure};
use super::planned::{PlanQuery, Planned};
use super::run_files::check_distinct;
use super::selection::check_conflicts;
use super::settings::Settings;
use super::ui::Ui;
use super::{refresh, rerun};

pub(super) async fn run(ui: &mut Ui, settings: &Settings, args: PlanArgs) -> Result<Exit, Failure> {
    let json_into = args.json_into.json_into.as_deref();
    let files = [("--json-into", json_into), ("--out", args.out.as_deref())];
    let files: Vec<_> = files.into_iter().filter_map(|(flag, path)| Some((flag, path?))).collect();
    check_distinct(settings, &args.service, &files)?;
    ui.start_json_file(json_into)?;
    check_conflicts(("--refresh-only", args.refresh_only), &[("--offline", args.offline)])?;
    if args.refresh_only {
        refresh::check(&args.lookup, &args.selection)?;
        let is_markdown = args.format.format() == OutputFormat::Markdown;
        check_conflicts(("--refresh-only", true), &[("--format markdown", is_markdown)])?;
    }
    let query = PlanQuery {
        service: &args.service,
        selection: &args.selection,
        lookup: &args.lookup,
        offline: args.offline,
        refresh_only: args.refresh_only,
        deny_warnings: args.strict.deny_warnings,
    };
    let planned = Planned::load(ui, settings, query).await?;
    let has_changes = if args.refresh_only {
        refresh::check_key(planned.service.no_reader_reason())?;
        refresh::show(ui, &planned.facts, &planned.state)?
    } else {
        ui.plan(&planned.view(), args.format.format())?;
        planned.plan.has_changes()
    };
    if let Some(path) = &args.out {
        planned.save(path)?;
        ui.message(format_args!("Saved the plan to {}.", path.display()))?;
        if ui.shows_hints() && has_changes {
            let command = rerun::saved(settings, planned.service.is_local(), path);
            ui.message(format_args!("To apply this plan: {command}"))?;
        }
    }
    planned.keep_history();
    // The process ends here: to free the memory of 100,000 files one by one would only take time.
    std::mem::forget(planned);
    Ok(if has_changes && args.detailed_exitcode { Exit::Changes } else { Exit::Success })
}
