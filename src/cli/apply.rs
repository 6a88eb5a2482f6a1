//! `imgplan apply`: the whole way from the manifest to the lockfile.

use super::args::{ApplyArgs, SelectionArgs};
use super::execution::{self, Execution};
use super::failure::{Exit, Failure};
use super::memory::disable_huge_pages;
use super::session::{PendingCache, Session};
use super::settings::Settings;
use super::survey::SurveyRequest;
use super::ui::Ui;
use super::{approval, history, owner_change, refresh, saved_plan};
use crate::manifest::Workspace;
use crate::plan::{self, Decision, Facts, PlanOptions, SavedPlan};
use crate::run::Run;
use crate::state::State;

pub(super) async fn run(
    ui: &mut Ui,
    settings: &Settings,
    mut args: ApplyArgs,
) -> Result<Exit, Failure> {
    args.files.check(settings, &args.service, &args.json_into)?;
    ui.start_json_file(args.json_into.json_into.as_deref())?;
    approval::check_args(ui, &args)?;
    ui.show_progress_as(settings.progress(args.progress));
    let (saved, deny) = (saved_plan::from_args(&args)?, args.strict.deny_warnings);
    disable_huge_pages();
    let cache = PendingCache::start(settings);
    let session = Session::write(settings, &args.service)?;
    session.print_warnings(ui)?;
    let Session { workspace, service, state: mut store } = session;
    let options = match &saved {
        Some(saved) => saved_plan::options(saved, &service)?,
        None => args.selection.plan_options(&workspace, store.state())?,
    };
    let engine = args.engine.config(&workspace.settings.local);
    let connection = service.connect(ui, engine).await?;
    let client = connection.client.with_max_attempts(args.retry_times + 1);
    let facts = SurveyRequest {
        settings,
        args: &args.lookup,
        options: &options,
        service: &service,
        client: Some(&client),
        offline: saved.is_some(),
        has_conflict_markers: store.has_conflict_markers(),
        saved: saved.as_ref(),
        deny_warnings: deny,
    };
    let facts = facts.facts(ui, &workspace, store.state(), cache.load(&service).await).await?;
    let Decision { workspace, plan, refreshed, bookkeeping } =
        decide(workspace, &facts, store.state(), &options, saved.as_ref())?;
    if args.refresh_only {
        store.record(&refreshed)?;
        let exit = refresh::apply(ui, &facts, &mut store, args.detailed_exitcode)?;
        connection.close().await?;
        return Ok(exit);
    }
    owner_change::warn(ui, &service, (&workspace, &plan, store.state()), deny)?;
    store.record(&refreshed)?;
    let view = service.view(&plan, &workspace, &facts, store.state());
    let owners = view.owners();
    approval::show(ui, saved.as_ref(), &view)?;
    let history = service.history();
    history::keep_recorded(&history, &workspace, &facts, store.state());
    if !approval::is_approved(ui, &plan, &owners, &args)? {
        return Ok(Exit::Declined);
    }
    store.record(&bookkeeping)?;
    history::keep_planned(&history, &workspace, &facts, &plan);
    if saved.is_some() {
        // The command that continues this run selects what the saved plan selected.
        args.selection = SelectionArgs::from_options(&options);
    }
    let options = execution::options(&args, &workspace, &service);
    let run = Run { plan: &plan, workspace: &workspace, facts: &facts, client, options };
    let execution = Execution { ui, settings, args: &args, service: &service, owners };
    let exit = execution.run(run, &mut store, connection).await?;
    history::prune(&history, store.state());
    Ok(exit)
}

/// Plans. With a saved plan, returns its steps, or fails if it is stale.
fn decide(
    workspace: Workspace,
    facts: &Facts,
    state: &State,
    options: &PlanOptions,
    saved: Option<&SavedPlan>,
) -> Result<Decision, Failure> {
    let decision = plan::decide(workspace, facts, state, options);
    let Some(saved) = saved else { return Ok(decision) };
    let plan = saved_plan::check(saved, decision.plan, &decision.workspace, state)?;
    Ok(Decision { plan, ..decision })
}
