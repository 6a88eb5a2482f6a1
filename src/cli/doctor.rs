//! `imgplan doctor`: checks what an apply needs, at the same time, and says what to do. Writes nothing
//! but a temporary file.

mod findings;
mod machine;
mod owners;
mod registries;
mod request;
mod service;

use std::path::Path;

use tokio::task::spawn_blocking;

use self::findings::problem;
use self::machine::Machine;
use self::request::{MAX_REQUEST_TIME, no_response};
use super::args::DoctorArgs;
use super::env::env;
use super::failure::{Exit, Failure};
use super::service::ServiceProfile;
use super::settings::Settings;
use super::ui::Ui;
use crate::base::text::plural;
use crate::manifest::Workspace;
use crate::report::checks::{Check, Verdict};
use crate::shared::{SharedError, SharedState};
use crate::state::{StateError, StateSnapshot};

pub(super) async fn run(
    ui: &mut Ui,
    settings: &Settings,
    args: DoctorArgs,
) -> Result<Exit, Failure> {
    let (manifest, workspace) = load(settings);
    let workspace = workspace.as_ref();
    let from_manifest = workspace.map(|workspace| workspace.settings.clone()).unwrap_or_default();
    let root = settings.root();
    let service = ServiceProfile::resolve(&root, &from_manifest, &args.service);
    let profile = service.as_ref().ok();
    let machine = Machine {
        engine: args.service.local.then(|| args.engine.config(&from_manifest.local)),
        paths: args.service.paths(&root),
        service: profile.map(|service| service.name.clone()),
        initiate: profile.map(ServiceProfile::initiate_limit),
    };
    let paths = machine.paths.clone();
    let shared = async {
        let service = profile.filter(|service| service.state.is_some() && !args.offline)?;
        Some(shared_state(service).await)
    };
    let shared = shared.await;
    let state = unless_late(move || StateSnapshot::read(&paths)).await;
    let unasked = unasked(args.offline, state.as_ref());
    let machine = async {
        match state {
            Some(state) => unless_late(move || machine.checks(state, shared)).await,
            None => None,
        }
    };
    let (service, registries, machine) = tokio::join!(
        service_checks(service, workspace, args.offline),
        registries::checks(workspace, unasked),
        machine,
    );
    let late = || {
        let finding = format!("the file system: {}", no_response());
        vec![Check::new("machine", Verdict::Warning, finding)]
    };
    let mut checks = vec![manifest];
    checks.extend(service.into_iter().chain(registries));
    checks.extend(machine.unwrap_or_else(late));
    ui.checks(&checks)?;
    let is_stopped = checks.iter().any(|check| check.verdict == Verdict::Error);
    Ok(if is_stopped { Exit::Error } else { Exit::Success })
}

/// Tests the store of a shared state.
async fn shared_state(service: &ServiceProfile) -> Check {
    let check = async {
        let Some(url) = &service.state else { return Ok(String::new()) };
        let shared = SharedState::find(url, Some(&service.name)).await?;
        shared.check_store().await?;
        Ok(format!("{url} can be written, and enforces conditional writes"))
    };
    match check.await {
        Ok(finding) => Check::new("state", Verdict::Ok, finding),
        Err::<_, SharedError>(error) => problem("state", Verdict::Error, &Failure::from(error)),
    }
}

/// Runs code that may block on a file system. `None` if that takes too long.
async fn unless_late<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let result = tokio::time::timeout(MAX_REQUEST_TIME, spawn_blocking(run)).await.ok()?;
    Some(result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())))
}

/// Returns the reason for which no registry is asked: `imgplan plan` asks them for a project with pins.
fn unasked(
    offline: bool,
    state: Option<&Result<StateSnapshot, StateError>>,
) -> Option<&'static str> {
    match state {
        _ if offline => Some("--offline"),
        Some(Ok(snapshot)) if snapshot.state.pins.is_empty() => Some("the lockfile has no pins"),
        Some(Ok(_)) => None,
        Some(Err(_)) | None => Some("the lockfile cannot be read"),
    }
}

/// Loads the manifest, if there is one that can be read.
fn load(settings: &Settings) -> (Check, Option<Workspace>) {
    let (name, first) = ("manifest", settings.manifest.first());
    let path = first.display();
    // Without a manifest, the machine can be checked; a file that was named must exist.
    if first == Path::new("imgplan.yaml") && !first.exists() {
        let finding = format!("there is no {path}: its registries are not checked");
        let check = Check::new(name, Verdict::Skipped, finding);
        return (check.with_help("name it with -f, or its folder with -C"), None);
    }
    match Workspace::load(&settings.manifest, &env) {
        Ok(workspace) => {
            let images = plural(workspace.images, "image");
            let targets = plural(workspace.units.len(), "target");
            let warnings = match workspace.warnings.len() {
                0 => String::new(),
                number => format!(", {}", plural(number, "warning")),
            };
            let finding = format!("{path}: {images}, {targets}{warnings}");
            (Check::new(name, Verdict::Ok, finding), Some(workspace))
        }
        Err(error) => {
            let help = "run `imgplan validate`; its settings and registries are not checked";
            (Check::new(name, Verdict::Error, error.to_string()).with_help(help), None)
        }
    }
}

/// Checks the service, the key, the clock and the owners.
async fn service_checks(
    service: Result<ServiceProfile, Failure>,
    workspace: Option<&Workspace>,
    offline: bool,
) -> Vec<Check> {
    let name = "service";
    match service {
        Ok(service) if service.is_local() => {
            let finding = "the server inside of imgplan, which needs no key";
            vec![Check::new(name, Verdict::Ok, finding)]
        }
        Ok(service) => {
            let (finding, client) = service::probe(&service, offline).await;
            let mut checks = Vec::from(finding.checks());
            checks.extend(owners::checks(&service.owner, workspace, client.as_ref()).await);
            checks
        }
        Err(failure) => vec![problem(name, Verdict::Error, &failure)],
    }
}
