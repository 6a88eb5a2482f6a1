//! `imgplan doctor`: checks what an apply needs, at the same time, and says what to do. Writes nothing
//! but a temporary file.

mod findings;
mod machine;
mod owners;
mod registries;
mod service;

use std::path::Path;

use tokio::task::spawn_blocking;

use self::findings::{
    CheckProblem, MAX_REQUEST_TIME, ManifestFinding, ServiceFinding, ServiceOutcome,
};
use super::args::DoctorArgs;
use super::env::env;
use super::failure::{Exit, Failure};
use super::service::ServiceProfile;
use super::settings::Settings;
use super::ui::Ui;
use crate::manifest::Workspace;
use crate::report::checks::{Check, Verdict};

pub(super) async fn run(
    ui: &mut Ui,
    settings: &Settings,
    args: DoctorArgs,
) -> Result<Exit, Failure> {
    let (manifest, workspace) = load(settings);
    let from_manifest = workspace.as_ref().map(|workspace| workspace.settings.clone());
    let from_manifest = from_manifest.unwrap_or_default();
    let root = settings.root();
    let service = ServiceProfile::resolve(&root, &from_manifest, &args.service);
    let profile = service.as_ref().ok();
    let machine = machine::Machine {
        engine: args.engine.config(&from_manifest.local),
        is_local: args.service.local,
        paths: args.service.paths(&root),
        service: profile.map(|service| service.name.clone()),
        initiate: profile.map(ServiceProfile::initiate_limit),
    };
    let machine = spawn_blocking(move || machine.checks());
    let (service, registries, machine) = tokio::join!(
        service_checks(service, workspace.as_ref()),
        registries::checks(workspace.as_ref()),
        tokio::time::timeout(MAX_REQUEST_TIME, machine),
    );
    let mut checks = vec![manifest.check()];
    checks.extend(service.into_iter().chain(registries));
    match machine {
        Ok(Ok(machine)) => checks.extend(machine),
        Ok(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        Err(_) => checks.push(machine::no_response(MAX_REQUEST_TIME)),
    }
    ui.checks(&checks)?;
    let is_stopped = checks.iter().any(|check| check.verdict == Verdict::Error);
    Ok(if is_stopped { Exit::Error } else { Exit::Success })
}

/// Loads the manifest, if there is one that can be read.
fn load(settings: &Settings) -> (ManifestFinding, Option<Workspace>) {
    let first = settings.manifest.first();
    let path = first.display().to_string();
    // Without a manifest, the machine can be checked; a file that was named must exist.
    if first == Path::new("imgplan.yaml") && !first.exists() {
        return (ManifestFinding::Missing(path), None);
    }
    match Workspace::load(&settings.manifest, &env) {
        Ok(workspace) => {
            let (images, targets) = (workspace.images, workspace.units.len());
            let warnings = workspace.warnings.len();
            (ManifestFinding::Valid { path, images, targets, warnings }, Some(workspace))
        }
        Err(error) => (ManifestFinding::Invalid(error.to_string()), None),
    }
}

/// Checks the service, the key, the clock and the owners.
async fn service_checks(
    service: Result<ServiceProfile, Failure>,
    workspace: Option<&Workspace>,
) -> Vec<Check> {
    match service {
        Ok(service) => {
            let (finding, client) = service::probe(&service).await;
            let mut checks = finding.checks().to_vec();
            checks.extend(owners::checks(&service.owner, workspace, client.as_ref()).await);
            checks
        }
        Err(failure) => {
            let finding = ServiceFinding {
                url: String::new(),
                key_from: None,
                is_unencrypted: false,
                outcome: ServiceOutcome::NoClient(CheckProblem::from(failure)),
            };
            finding.checks().to_vec()
        }
    }
}

impl From<Failure> for CheckProblem {
    fn from(failure: Failure) -> Self {
        let help = failure.report.help().map(|help| help.to_string());
        Self { message: failure.report.to_string(), help }
    }
}
