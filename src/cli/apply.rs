//! `imgplan apply`: the way through the program, from the manifest to the lockfile.

use std::time::Instant;

use super::args::{ApplyArgs, LookupArgs, SelectionArgs};
use super::session::Asking;

use super::env::env;
use super::failure::{self, Exit, Failure};
use super::service::{Service, Target};
use super::settings::Settings;
use super::ui::Ui;
use super::writer::BackgroundWriter;
use super::{history, refresh, rerun, saved_plan, selection, signals};
use crate::base::text::{list, plural};
use crate::cli::memory::disable_huge_pages;
use crate::context::StatCache;
use crate::event::{Phase, RunEvent, Signal, StopReason, Summary};
use crate::manifest::Workspace;
use crate::plan::{self, Action, Decision, Facts, Plan, SavedPlan};
use crate::report::PlanView;
use crate::run::{self, Run, RunError, RunOptions};
use crate::state::{State, Store};
use crate::survey::Caches;

/// Builds in flight where nothing is said. The pending ones share a listing, so that many cost no
/// more requests than few.
const DEFAULT_BUILDS: u32 = 64;

/// Transfers in flight, for each owner, where nothing is said: more than a budget of 60 in a minute
/// ever has, even if each takes a quarter of an hour. The service does them without us.
const DEFAULT_TRANSFERS: u32 = 1000;

pub(super) async fn run(
    ui: &mut Ui,
    settings: &Settings,
    mut args: ApplyArgs,
) -> Result<Exit, Failure> {
    args.lookup.check(false)?;
    let saved = agreed(ui, &args)?;
    disable_huge_pages();
    let workspace = Workspace::load(&settings.manifest, &env)?;
    ui.warnings(&workspace.warnings, &workspace.sources)?;
    let target = Target::find(&settings.root(), &workspace, &args.service)?;
    target.warning().map_or(Ok(()), |warning| ui.message(warning))?;
    let mut store = Store::open(target.paths.clone(), &target.name)?;
    let options = &match &saved {
        Some(saved) => saved_plan::options(saved, &target)?,
        None => args.selection.options(&workspace, store.state())?,
    };
    let service = target.connect().await?;
    let (history, client) =
        (target.history(), service.client.with_max_attempts(args.retry_times + 1));
    let caches = Caches { stat: StatCache::read(&settings.work_dir()), history: history.clone() };
    let asking = Asking {
        settings,
        look: &args.lookup,
        options,
        client: Some(&client),
        owner: &target.owner,
        offline: saved.is_some(),
        paths: &target.paths,
        merged: store.has_conflict_markers(),
        saved: saved.as_ref(),
    };
    let facts = asking.facts(ui, &workspace, store.state(), caches).await?;
    ui.warnings(&facts.warnings, &workspace.sources)?;
    failure::deny_warnings(
        args.strict.deny_warnings,
        workspace.warnings.len() + facts.warnings.len(),
    )?;
    let Decision { workspace, plan, refreshed, bookkeeping } =
        decide(workspace, &facts, store.state(), options, saved.as_ref())?;
    store.record(&refreshed)?;
    if args.refresh_only {
        let exit = refresh::apply(ui, &facts, &mut store, args.detailed_exitcode)?;
        service.close().await?;
        return Ok(exit);
    }
    show(ui, saved.as_ref(), &target.view(&plan, &workspace, &facts, store.state(), true))?;
    history::keep_recorded(&history, &workspace, &facts, store.state());
    if !agreed_to(ui, &plan, &args)? {
        return Ok(Exit::Declined);
    }
    store.record(&bookkeeping)?;
    if plan.is_noop() {
        history::prune(&history, store.state());
        return noted_alone(&plan, &args, &mut store, service).await;
    }
    history::keep_planned(&history, &workspace, &facts, &plan);
    // What is left is of what was planned, and so is the command that does it.
    if saved.is_some() {
        args.selection = SelectionArgs::of(options);
    }
    let options = how(&args, &workspace, &target);
    let run = Run { plan: &plan, workspace: &workspace, facts: &facts, client, options };
    let exit = carry_out(ui, settings, &args, run, &mut store, service).await?;
    history::prune(&history, store.state());
    Ok(exit)
}

/// Whether to go on. Nobody is asked where nothing is done; but to lift protection is the first half of
/// a deletion.
fn agreed_to(ui: &mut Ui, plan: &Plan, args: &ApplyArgs) -> Result<bool, Failure> {
    check_deletions(plan, args)?;
    let asks = !(plan.is_noop() && plan.unprotects.is_empty());
    Ok(!asks || args.saved.is_some() || args.auto_approve || approved(ui)?)
}

/// The end of an apply that does nothing to any image.
async fn noted_alone(
    plan: &Plan,
    args: &ApplyArgs,
    store: &mut Store,
    service: Service,
) -> Result<Exit, Failure> {
    store.commit()?;
    service.close().await?;
    let changes = args.detailed_exitcode && plan.has_changes();
    Ok(if changes { Exit::Changes } else { Exit::Success })
}

/// Plans; where a plan was saved, just that.
fn decide(
    workspace: Workspace,
    facts: &Facts,
    state: &State,
    options: &plan::PlanOptions,
    saved: Option<&SavedPlan>,
) -> Result<Decision, Failure> {
    let decision = plan::decide(workspace, facts, state, options);
    let Some(saved) = saved else { return Ok(decision) };
    let plan = saved_plan::check(saved, decision.plan, &decision.workspace, state)?;
    Ok(Decision { plan, ..decision })
}

/// Shows what is to be done. Where a saved plan has nothing to do, all may yet not be as it should.
fn show(ui: &mut Ui, saved: Option<&SavedPlan>, view: &PlanView<'_>) -> std::io::Result<()> {
    match saved {
        Some(saved) if saved.steps.is_empty() && !view.plan.has_changes() && !ui.is_json() => {
            ui.data("No changes. The saved plan has nothing to do.")
        }
        _ => ui.plan(view),
    }
}

/// How a run goes about it.
fn how(args: &ApplyArgs, workspace: &Workspace, target: &Target) -> RunOptions {
    let given = args.concurrency.or(workspace.settings.concurrency);
    RunOptions {
        builds: given.unwrap_or(DEFAULT_BUILDS) as usize,
        transfers: given.unwrap_or(DEFAULT_TRANSFERS) as usize,
        owner: target.owner.clone(),
        timeout: args.timeout,
    }
}

/// The saved plan that is to be done, if one is; and whether what was typed makes sense.
fn agreed(ui: &Ui, args: &ApplyArgs) -> Result<Option<SavedPlan>, Failure> {
    if args.refresh_only {
        refresh::check(&args.lookup, &args.selection)?;
    }
    let Some(path) = &args.saved else {
        if ui.is_json() && !args.auto_approve && !args.refresh_only {
            let help = "add --auto-approve, or leave --json out to be asked";
            return Err(Failure::usage("--json cannot ask for approval", help));
        }
        return Ok(None);
    };
    let LookupArgs { upgrade, upgrade_image, .. } = &args.lookup;
    if args.selection != SelectionArgs::default() || *upgrade || !upgrade_image.is_empty() {
        let message = "a saved plan takes no flags that say what to plan";
        let set = selection::variables();
        if !set.is_empty() {
            let set = set.join(", ");
            let help = format!("the plan says what is done: unset {set} for this command");
            return Err(Failure::usage(format!("{message}, and the environment has {set}"), help));
        }
        let help = "the plan says what is done: give such flags to `imgplan plan --out`";
        return Err(Failure::usage(message, help));
    }
    saved_plan::read(path).map(Some)
}

/// Images named where more would be deleted than is allowed.
const NAMED: usize = 3;

/// Fails where more would be deleted than is allowed. Nobody is asked by --auto-approve, so that it
/// allows none by itself; who saved a plan has seen it.
fn check_deletions(plan: &Plan, args: &ApplyArgs) -> Result<(), Failure> {
    let unasked = args.auto_approve && args.saved.is_none();
    let most = args.max_destroy.unwrap_or(if unasked { 0 } else { usize::MAX });
    let count = plan.counts(None).delete;
    if count <= most {
        return Ok(());
    }
    let removed = plan.steps.iter().filter(|step| matches!(step.action, Action::Delete { .. }));
    let names = list(removed.map(|step| &step.key), NAMED);
    let images = format!("{} ({names})", plural(count, "image"));
    let message = match args.max_destroy {
        Some(most) => format!("{images} would be deleted, and --max-destroy allows {most}"),
        None => format!("{images} would be deleted, and --auto-approve allows none by itself"),
    };
    let help = format!("nothing was done; if this is meant, add --max-destroy {count}");
    Err(Failure::with_help(message, help))
}

/// Runs a plan, and tells of it to its end.
async fn carry_out(
    ui: &Ui,
    settings: &Settings,
    args: &ApplyArgs,
    run: Run<'_>,
    store: &mut Store,
    service: Service,
) -> Result<Exit, Failure> {
    let (plan, workspace) = (run.plan, run.workspace);
    let (began, mut signals, writer) =
        (Instant::now(), signals::listen(), BackgroundWriter::start(ui)?);
    let mut tell = |event: &RunEvent| writer.event(event.clone());
    let (summary, broken) = match run::execute(run, store, &mut tell, &mut signals).await {
        Ok(summary) => (summary, None),
        Err(error) => {
            let RunError::NotRecorded { summary, .. } = &error;
            (Summary::clone(summary), Some(Failure::from(error)))
        }
    };
    // What could not be kept is tried once more: there may be room again.
    let committed = store.commit();
    if summary.failures.iter().any(|failure| failure.phase == Phase::Package) {
        // It may be that a digest was believed that is not true: the next plan reads all again.
        StatCache::forget(&settings.work_dir());
    }
    let closed = service.close().await;
    let failure = broken.or(committed.err().map(Failure::from)).or(closed.err());
    let exit = failure.as_ref().map_or_else(|| exit(&summary, args.detailed_exitcode), |f| f.exit);
    let stopped = matches!(summary.stopped, Some(StopReason::Interrupted(_)));
    let next = (!summary.is_complete()).then(|| {
        rerun::command(settings, args, &rerun::still_asked_for(plan, workspace, &summary))
    });
    let elapsed = began.elapsed();
    let end = move |ui: &mut Ui| {
        // Told even where the lockfile could not be written: the journal has it.
        ui.summary(&summary, elapsed, next.as_deref())?;
        if let Some(failure) = &failure {
            ui.failure(failure);
        }
        Ok(())
    };
    writer.finish(end, stopped, &mut signals).await?;
    Ok(exit)
}

fn approved(ui: &mut Ui) -> Result<bool, Failure> {
    let question = "Apply these changes? Only `yes` goes on:";
    let answer = ui.prompt(question).map_err(|error| {
        Failure::with_help(format!("cannot read the answer: {error}"), "use --auto-approve")
    })?;
    let yes = answer.trim() == "yes";
    if !yes {
        ui.message("Nothing was changed.")?;
        if answer.is_empty() && ui.shows_hints() {
            ui.message("Where nobody can answer, use --auto-approve.")?;
        }
    }
    Ok(yes)
}

fn exit(summary: &Summary, detailed: bool) -> Exit {
    match &summary.stopped {
        Some(StopReason::Interrupted(Signal::Interrupt)) => return Exit::Interrupted,
        Some(StopReason::Interrupted(Signal::Terminate)) => return Exit::Terminated,
        Some(StopReason::Error(_) | StopReason::TimedOut(_)) | None => {}
    }
    match (summary.is_complete(), detailed) {
        (true, true) => Exit::Changes,
        (true, false) => Exit::Success,
        (false, true) if summary.done() > 0 => Exit::Partial,
        (false, _) => Exit::Error,
    }
}
