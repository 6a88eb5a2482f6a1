//! Tables: each finding with its line.

use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::api::{ApiError, ErrorKind};
use crate::base::engine_kind::EngineKind;

fn line(check: &Check) -> String {
    let help = check.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{:?} {} {}{help}", check.verdict, check.name, check.finding)
}

fn found(message: &str) -> CheckProblem {
    CheckProblem { message: message.to_owned(), help: Some("do it".to_owned()) }
}

#[test]
fn manifests() {
    let valid = |warnings| {
        let path = "imgplan.yaml".to_owned();
        ManifestFinding::Valid { path, images: 1, targets: 2, warnings }
    };
    for (finding, expected) in [
        (valid(0), "Ok manifest imgplan.yaml: 1 image, 2 targets"),
        (valid(1), "Ok manifest imgplan.yaml: 1 image, 2 targets, 1 warning"),
        (
            ManifestFinding::Missing("imgplan.yaml".to_owned()),
            "Warning manifest there is no imgplan.yaml: its registries are not checked; name it with -f, \
             or its folder with -C",
        ),
        (
            ManifestFinding::Invalid("2 problems in x.yaml".to_owned()),
            "Error manifest 2 problems in x.yaml; run `imgplan validate`; its settings and registries \
             are not checked",
        ),
    ] {
        assert_eq!(line(&finding.check()), expected);
    }
}

fn service(outcome: ServiceOutcome, is_unencrypted: bool) -> [String; 3] {
    let url = "https://s".to_owned();
    let key_from = Some("PRIME_API_KEY");
    ServiceFinding { url, key_from, is_unencrypted, outcome }.checks().map(|check| line(&check))
}

fn failed(kind: ErrorKind, status: Option<u16>, message: &str) -> ServiceOutcome {
    let error = ApiError::new("list the builds", kind, message);
    ServiceOutcome::Failed(ApiError { status, ..error })
}

const SILENT: &str = "Skipped clock the service did not tell its time";
const UNTRIED: &str = "Skipped key the key of PRIME_API_KEY cannot be tried";

#[test]
fn services_without_a_request() {
    let table = [
        (
            ServiceOutcome::Local,
            [
                "Ok service the server inside of imgplan",
                "Skipped key the server inside of imgplan needs none",
                "Ok clock that of the server is the same",
            ],
        ),
        (
            ServiceOutcome::NoKey,
            [
                "Skipped service https://s was not asked",
                "Error key there is no API key; set PRIME_API_KEY, or run `prime login`; `--local` \
                 needs no key",
                SILENT,
            ],
        ),
        (
            ServiceOutcome::Withheld(found("not for it")),
            ["Skipped service https://s was not asked", "Error key not for it; do it", SILENT],
        ),
        (
            ServiceOutcome::NoClient(found("no certificates")),
            ["Error service no certificates; do it", UNTRIED, SILENT],
        ),
    ];
    for (outcome, expected) in table {
        assert_eq!(service(outcome, false), expected);
    }
}

#[test]
fn services_with_a_request() {
    let (silent, untried) = (SILENT, UNTRIED);
    let table = [
        (
            ServiceOutcome::TimedOut(Duration::from_secs(10)),
            [
                "Error service https://s: no response within 10s; check PRIME_API_BASE_URL and the \
                 network connection",
                untried,
                silent,
            ],
        ),
        (
            failed(ErrorKind::Unauthorized, Some(401), "bad key"),
            [
                "Ok service https://s responds",
                "Error key the key of PRIME_API_KEY is refused: cannot list the builds (HTTP 401): bad \
                 key; the API key is not accepted: check that PRIME_API_KEY is correct and not revoked",
                silent,
            ],
        ),
        (
            failed(ErrorKind::Unreachable, None, "https://s/api/v1: connection refused"),
            [
                "Error service cannot reach the service: https://s/api/v1: connection refused; check \
                 PRIME_API_BASE_URL and the network connection",
                untried,
                silent,
            ],
        ),
        (
            failed(ErrorKind::ServerError, Some(503), "down"),
            [
                "Error service https://s: cannot list the builds (HTTP 503): down; the service has a \
                 problem: try again later",
                untried,
                silent,
            ],
        ),
    ];
    for (outcome, expected) in table {
        assert_eq!(service(outcome, false), expected);
    }
    let answered = ServiceOutcome::Answered { elapsed: Duration::from_millis(80), skew: None };
    assert_eq!(
        service(answered, true),
        [
            "Ok service https://s responds in 80 ms",
            "Warning key the key of PRIME_API_KEY is accepted, and is sent without encryption; use a \
             service with https://",
            silent,
        ]
    );
}

#[test]
fn clocks() {
    for (seconds, expected) in [
        (0, "Ok clock this machine's clock is 0.0s ahead of the service's"),
        (30, "Ok clock this machine's clock is 30s ahead of the service's"),
        (-30, "Ok clock this machine's clock is 30s behind the service's"),
        (
            31,
            "Warning clock this machine's clock is 31s ahead of the service's: ages and times will be \
             wrong; set the clock, for example with NTP",
        ),
        (
            -86_400,
            "Warning clock this machine's clock is 1d00h behind the service's: ages and times will be \
             wrong; set the clock, for example with NTP",
        ),
    ] {
        let skew = Some(SignedDuration::from_secs(seconds));
        let outcome = ServiceOutcome::Answered { elapsed: Duration::ZERO, skew };
        assert_eq!(service(outcome, false)[2], expected);
    }
}

#[test]
fn owners() {
    let denied = ApiError::new("list the images", ErrorKind::Forbidden, "not a member");
    let denied = ApiError { status: Some(403), ..denied };
    for (outcome, expected) in [
        (OwnerOutcome::Own, "Ok owner team t1"),
        (OwnerOutcome::NotAsked, "Skipped owner team t1: the service was not asked"),
        (OwnerOutcome::Asked(Ok(())), "Ok owner team t1: the key may read its images"),
        (
            OwnerOutcome::TimedOut(Duration::from_secs(10)),
            "Warning owner team t1: no response within 10s; try again",
        ),
        (
            OwnerOutcome::Asked(Err(denied)),
            "Error owner team t1: cannot list the images (HTTP 403): not a member; the API key does not \
             permit this: check its scopes and its team",
        ),
    ] {
        let finding = OwnerFinding { words: "team t1".to_owned(), outcome };
        assert_eq!(line(&finding.check()), expected);
    }
}

#[test]
fn registries() {
    let denied = || Err(found("access is denied"));
    for (credentials, result, expected) in [
        (Ok(None), Ok(()), "Ok registry r.example: r.example/x:1 can be read (no credentials)"),
        (
            Ok(Some("config.json".to_owned())),
            Ok(()),
            "Ok registry r.example: r.example/x:1 can be read (credentials of config.json)",
        ),
        (
            Ok(None),
            denied(),
            "Warning registry r.example/x:1: access is denied (no credentials); do it",
        ),
        (
            Err("config.json is not JSON".to_owned()),
            denied(),
            "Warning registry r.example/x:1: access is denied (config.json is not JSON); do it",
        ),
    ] {
        let (registry, reference) = ("r.example".to_owned(), "r.example/x:1".to_owned());
        let finding = RegistryFinding { registry, reference, credentials, result };
        assert_eq!(line(&finding.check()), expected);
    }
}

#[test]
fn engines() {
    let missing = || Err(found("runc is not in PATH"));
    for (kind, is_used, buildah, expected) in [
        (EngineKind::Check, true, missing(), "Ok engine check: images are checked, not built"),
        (
            EngineKind::Buildah,
            true,
            Ok(()),
            "Ok engine buildah: the programs of buildah are installed",
        ),
        (EngineKind::Buildah, true, missing(), "Error engine buildah: runc is not in PATH; do it"),
        (
            EngineKind::Auto,
            true,
            missing(),
            "Warning engine auto: images are checked, not built: runc is not in PATH; do it",
        ),
        (
            EngineKind::Check,
            false,
            Ok(()),
            "Ok engine the service builds; `--local --engine buildah` can build here too",
        ),
        (
            EngineKind::Buildah,
            false,
            missing(),
            "Skipped engine the service builds; not here: runc is not in PATH",
        ),
    ] {
        assert_eq!(line(&EngineFinding { kind, is_used, buildah }.check()), expected);
    }
}

#[test]
fn disks() {
    let temp = |free| line(&TempFinding { path: "/tmp".into(), free }.check());
    assert_eq!(temp(Ok(Some(2 << 30))), "Ok temp /tmp: 2.1 GB free");
    assert_eq!(temp(Ok(None)), "Ok temp /tmp: free space is not known");
    assert_eq!(
        temp(Ok(Some(500 << 20))),
        "Warning temp /tmp: 524 MB free; free some space, or set TMPDIR to another folder"
    );
    assert_eq!(
        temp(Ok(Some(0))),
        "Error temp /tmp: 0 B free; free some space, or set TMPDIR to another folder"
    );
    assert_eq!(
        temp(Err("No such file".to_owned())),
        "Error temp /tmp: cannot create a file: No such file; create the folder, or set TMPDIR to \
         another one: contexts are packed there"
    );
    let state = |problem, holder: Option<&str>, free| {
        let holder = holder.map(str::to_owned);
        line(&StateFinding { path: ".imgplan".into(), problem, holder, free }.check())
    };
    assert_eq!(state(None, None, Some(2 << 30)), "Ok state .imgplan: 2.1 GB free");
    assert_eq!(state(None, None, Some(9)), "Error state .imgplan: 9 B free; free some space");
    assert_eq!(
        state(None, Some("PID 7"), None),
        "Error state another apply is running in this directory: PID 7; wait for its end"
    );
    assert_eq!(state(Some(found("damaged")), Some("PID 7"), None), "Error state damaged; do it");
}

#[test]
fn limits_of_open_files() {
    for (limit, builds, expected) in [
        (None, (150, 150), "Ok files no limit of open files"),
        (Some(1024), (150, 150), "Ok files at most 1024 may be open"),
        (
            Some(64),
            (16, 150),
            "Warning files at most 64 may be open: 16 builds run at the same time instead of 150; raise \
             the limit (ulimit -n)",
        ),
    ] {
        assert_eq!(line(&FilesFinding { limit, builds }.check()), expected);
    }
}
