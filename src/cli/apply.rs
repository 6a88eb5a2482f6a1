//! `imgplan apply`: the whole way from the manifest to the lockfile.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{FutureExt, TryFutureExt};

use super::args::{ApplyArgs, SelectionArgs};
use super::decision::{ApplyQuery, Decided};
use super::execution::{self, Execution};
use super::failure::{Exit, Failure};
use super::memory::disable_huge_pages;
use super::service::ServiceProfile;
use super::session::{PendingCache, Session};
use super::settings::Settings;
use super::state_place::{self, OpenState, StateScope};
use super::ui::Ui;
use super::{approval, history, owner_change, refresh, saved_plan};
use crate::api::{Client, Gate};
use crate::manifest::Workspace;
use crate::plan::{Decision, PlanOptions, SavedPlan};
use crate::run::Run;
use crate::shared::SharedLease;
use crate::state::State;

pub(super) async fn run(
    ui: &mut Ui,
    settings: &Settings,
    mut args: ApplyArgs,
) -> Result<Exit, Failure> {
    prepare(ui, settings, &args)?;
    let (saved, deny) = (saved_plan::from_args(&args)?, args.strict.deny_warnings);
    let cache = PendingCache::start(settings);
    let session = Session::without_state(settings, &args.service)?;
    session.print_warnings(ui)?;
    let Session { workspace, service, .. } = session;
    let (open, options) = open((ui, settings), &workspace, &service, &args, saved.as_ref()).await?;
    if saved.is_some() {
        // The commands that the run prints select what the saved plan selected.
        args.selection = SelectionArgs::from_options(&options);
    }
    let service = service.with_partition(options.selection.partition);
    let engine = args.engine.config(&workspace.settings.local);
    let connection = service.connect(ui, engine).await?;
    let client = connection.client.with_max_attempts(args.retry_times + 1);
    let query = ApplyQuery {
        settings,
        args: &args,
        options: &options,
        service: &service,
        client: &client,
        saved: saved.as_ref(),
    };
    let Decided { mut open, facts, decision } =
        Box::pin(query.decide(ui, workspace, open, cache)).await?;
    let Decision { workspace, plan, refreshed, bookkeeping } = decision;
    if args.refresh_only {
        open.store.record(&refreshed)?;
        let exit = refresh::apply(ui, &facts, &mut open, args.detailed_exitcode).await?;
        connection.close().await?;
        return Ok(exit);
    }
    owner_change::warn(ui, &service, (&workspace, &plan, open.store.state()), deny)?;
    open.store.record(&refreshed)?;
    let view = service.view(&plan, &workspace, &facts, open.store.state());
    let owners = view.owners();
    approval::show(ui, saved.as_ref(), &view)?;
    let history = service.history();
    history::keep_recorded(&history, &workspace, &facts, open.store.state());
    if !approval::is_approved(ui, &plan, &owners, &args).await? {
        return Ok(Exit::Declined);
    }
    open.store.record(&bookkeeping)?;
    history::keep_planned(&history, &workspace, &facts, &plan);
    let client = gated(client, open.lease.as_ref());
    let options = execution::options(&args, &workspace, &service);
    let run = Run { plan: &plan, workspace: &workspace, facts: &facts, client, options };
    let execution = Execution { ui, settings, args: &args, service: &service, owners };
    let exit = execution.run(run, &mut open, connection).await?;
    history::prune(&history, open.store.state());
    Ok(exit)
}

/// Checks the arguments, and starts the output.
fn prepare(ui: &mut Ui, settings: &Settings, args: &ApplyArgs) -> Result<(), Failure> {
    args.files.check(settings, &args.service, &args.json_into)?;
    ui.start_json_file(args.json_into.json_into.as_deref())?;
    approval::check_args(ui, args)?;
    ui.show_progress_as(settings.progress(args.progress));
    disable_huge_pages();
    Ok(())
}

/// Returns the client of a run. With a shared state, it changes nothing while a lease is about to end.
fn gated(client: Client, lease: Option<&SharedLease>) -> Client {
    let Some(guard) = lease.map(SharedLease::guard) else { return client };
    let guard = move || guard().map_err(|error| error.to_string()).boxed();
    client.with_gate(Gate::new(Arc::new(guard)))
}

/// Opens the state for the targets that the arguments or a saved plan select. Returns the options of the
/// plan too.
async fn open(
    output: (&mut Ui, &Settings),
    workspace: &Workspace,
    service: &ServiceProfile,
    args: &ApplyArgs,
    saved: Option<&SavedPlan>,
) -> Result<(OpenState, PlanOptions), Failure> {
    let is_whole = match saved {
        Some(saved) => saved.options.selection.is_all(),
        None => args.selection.selects_all(),
    };
    let options = |state: &State| match saved {
        Some(saved) => saved_plan::options(saved, service),
        None => args.selection.plan_options(workspace, state),
    };
    let scope = StateScope { is_whole, options: &options, more: BTreeSet::new() };
    state_place::open_for(output, workspace, service, &args.lease, &scope).await
}
