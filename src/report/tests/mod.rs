//! Hand-written plans with every action and every reason, as both reporters write them.

mod json;
pub(super) mod markdown;
mod plan;
mod run;
mod why;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::human::HumanReporter;
use super::json::JsonReporter;
use super::{PlanView, Progress, ReportOptions, Reporter, Verbosity};
use crate::base::budget::Budget;
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Owner, Platform, Visibility};
use crate::base::owner::DefaultOwner;
use crate::base::span::{SourceMap, Span};
use crate::context::FileChange;
use crate::context::changes::ChangeKind;
use crate::manifest::Workspace;
use crate::manifest::workspace::{Origin, ServiceSettings, Unit, UnitId};
use crate::plan::facts::Facts;
use crate::plan::{Action, Change, Create, Plan, Reason, Renamed, Step, StepId};
use crate::state::{Built, Entry, Inputs, State};

/// A plan with its manifest, facts and recorded state.
pub(in crate::report) struct Fixture {
    pub(in crate::report) plan: Plan,
    pub(in crate::report) workspace: Workspace,
    pub(in crate::report) facts: Facts,
    pub(in crate::report) state: State,
    pub(in crate::report) owner: DefaultOwner,
}

pub(in crate::report) fn key(text: &str) -> ImageRef {
    text.parse().unwrap()
}

fn sha(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(in crate::report) fn build_id(text: &str) -> BuildId {
    BuildId::new(text).unwrap()
}

fn built() -> Built {
    let mut inputs = Inputs::new();
    inputs.set("context", crate::base::digest::Digest::of(b"before"));
    Built {
        fingerprint: inputs.fingerprint(),
        inputs,
        build: build_id("b-before"),
        path: crate::base::image_path::ImagePath::new("prime/me/image:1").unwrap(),
        owner: Owner::Personal,
        visibility: Visibility::Private,
        image: None,
        completed: Some(at("2026-07-01T03:04:05Z")),
        seconds: Some(185),
    }
}

impl Fixture {
    pub(in crate::report) fn new() -> Self {
        let mut sources = SourceMap::default();
        sources.add(
            "imgplan.yaml",
            "version: 1\nmoved:\n  - {from: old, to: new}\nremoved:\n  - {}\n",
        );
        let workspace = Workspace {
            images: 0,
            units: Vec::new(),
            settings: ServiceSettings::default(),
            moved: Vec::new(),
            removed: Vec::new(),
            warnings: Vec::new(),
            files: Vec::new(),
            held: BTreeSet::new(),
            skipped: Vec::new(),
            sources: Arc::new(sources),
        };
        let images = [(Owner::Personal, HashMap::new())].into();
        let facts = Facts { images, asked: true, ..Facts::default() };
        let (plan, state) = (Plan::default(), State::default());
        Self { plan, workspace, facts, state, owner: DefaultOwner::default() }
    }

    /// Adds a mirrored target to the manifest, without a step.
    fn unit(&mut self, name: &str) -> UnitId {
        let key = key(name);
        self.workspace.units.push(Unit {
            image: key.name.clone(),
            key,
            content_tag: None,
            image_tag: None,
            old_names: Vec::new(),
            platform: Platform::Amd64,
            owner: None,
            visibility: None,
            timeout: None,
            max_age: Some(Duration::from_secs(7 * 86_400)),
            protect: None,
            groups: BTreeSet::new(),
            labels: BTreeMap::new(),
            origin: Origin::Mirror("redis:7".parse().unwrap()),
            needs: Vec::new(),
            depth: 0,
            span: Span::new(0, 0),
        });
        let units = self.workspace.units.len();
        (self.plan.units, self.workspace.images) = (units, units);
        UnitId(units - 1)
    }

    fn step(
        &mut self,
        name: &str,
        kind: ImageKind,
        action: Action,
        reasons: Vec<Reason>,
    ) -> StepId {
        let (key, needs) = (key(name), Vec::new());
        self.plan.steps.push(Step { key, kind, action, reasons, needs, added: false });
        StepId(self.plan.steps.len() - 1)
    }

    /// Adds a target that is created or, if it replaces an image, rebuilt.
    pub(in crate::report) fn create(
        &mut self,
        name: &str,
        kind: ImageKind,
        replaces: bool,
        reasons: Vec<Reason>,
    ) -> StepId {
        let (unit, inputs) = (self.unit(name), Inputs::default());
        if replaces {
            let mut entry = Entry::new(kind, Platform::Amd64);
            entry.built = Some(built());
            self.state.entries.insert(key(name), entry);
        }
        let create = Create {
            unit,
            kind,
            owner: None,
            visibility: None,
            replaces,
            fingerprint: inputs.fingerprint(),
            inputs,
            after: None,
            in_doubt: None,
        };
        self.step(name, kind, Action::Create(create), reasons)
    }

    fn update(&mut self, name: &str, reasons: Vec<Reason>) -> StepId {
        let from = reasons.iter().find_map(|reason| match reason {
            Reason::Moved { from } => Some(from.clone()),
            _ => None,
        });
        let change = Change { of: Owner::Personal, from, visibility: None, owner: None };
        let action = Action::Update { unit: self.unit(name), change };
        self.step(name, ImageKind::Build, action, reasons)
    }

    /// Adds a step for an orphan.
    fn orphan(&mut self, name: &str, action: Action, reason: Reason) -> StepId {
        let mut entry = Entry::new(ImageKind::Mirror, Platform::Arm64);
        entry.built = Some(built());
        self.state.entries.insert(key(name), entry);
        self.step(name, ImageKind::Mirror, action, vec![reason])
    }

    /// Calls a function with the plan and everything around it.
    fn with<T>(&self, show: impl FnOnce(&PlanView<'_>) -> T) -> T {
        show(&PlanView {
            plan: &self.plan,
            workspace: &self.workspace,
            facts: &self.facts,
            state: &self.state,
            budget: &Budget::default(),
            owner: &self.owner,
            lockfile: Path::new("imgplan.lock"),
            place: "lockfile",
            service: "https://api.example.com",
        })
    }

    /// Returns the text of the plan, with visible escape sequences.
    fn text(&self, columns: Option<usize>, color: bool, verbosity: Verbosity) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let options = options(columns, color, verbosity);
        self.with(|view| HumanReporter::new(&mut out, &mut err, options).plan(view)).unwrap();
        assert_eq!(String::from_utf8(err).unwrap(), "");
        String::from_utf8(out).unwrap().replace('\u{1b}', "\\e")
    }

    /// Returns the text of the plan for a terminal, which it must fit.
    fn at(&self, columns: usize) -> String {
        let text = self.text(Some(columns), false, Verbosity::Normal);
        let long = text.lines().find(|line| line.chars().count() > columns);
        assert_eq!(long, None, "fits in {columns} columns");
        text
    }

    /// Returns the JSON lines of the plan.
    fn json(&self) -> Vec<serde_json::Value> {
        let mut out = Vec::new();
        self.with(|view| JsonReporter::start(&mut out)?.plan(view)).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn options(columns: Option<usize>, color: bool, verbosity: Verbosity) -> ReportOptions {
    ReportOptions {
        color_stdout: color,
        color_stderr: false,
        width: 100,
        columns,
        verbosity,
        hints: true,
        progress: Progress::Lines,
    }
}

fn files(count: usize) -> Reason {
    let file = |index| FileChange {
        path: format!("src/app/file-{index}.py"),
        change: if index == 0 { ChangeKind::Changed } else { ChangeKind::Added },
    };
    Reason::ContextChanged { files: Some((0..count).map(file).collect()) }
}

/// Adds a creation for every reason. The first two are a base and its dependent.
fn add_creations(fixture: &mut Fixture) -> (StepId, StepId) {
    use ImageKind::{Build, Mirror};
    let base =
        fixture.create("python-base:3.12", Build, true, vec![Reason::DockerfileChanged, files(5)]);
    let api = fixture.create(
        "api:v4",
        Build,
        true,
        vec![Reason::DependencyChanged { base: key("python-base:3.12"), via: vec![] }],
    );
    let reference = "docker.io/library/debian:12".to_owned();
    let moved = |old, new| Reason::BaseChanged { reference: reference.clone(), old, new };
    fixture.create("cron:v1", Build, false, vec![Reason::New]);
    fixture.create("deb:v1", Build, true, vec![moved(Some(sha("9")), Some(sha("2")))]);
    fixture.create("deb-pinned:v1", Build, true, vec![moved(None, Some(sha("2")))]);
    fixture.create("deb-unpinned:v1", Build, true, vec![moved(Some(sha("2")), None)]);
    let reference = "redis:7".to_owned();
    let changed = Reason::SourceChanged { reference, old: Some(sha("a")), new: Some(sha("b")) };
    fixture.create("redis:7", Mirror, true, vec![changed]);
    fixture.create("missing:v1", Build, true, vec![Reason::MissingRemote]);
    let replaced = Some(at("2026-07-03T10:11:12Z"));
    fixture.create("replaced:v1", Build, true, vec![Reason::RemoteChanged { at: replaced }]);
    fixture.create("replaced-earlier:v1", Build, true, vec![Reason::RemoteChanged { at: None }]);
    fixture.create("requested:v1", Build, true, vec![Reason::Requested]);
    fixture.create("old-age:v1", Build, true, vec![Reason::Expired { age_seconds: 700_000 }]);
    fixture.create(
        "failed:v1",
        Build,
        false,
        vec![Reason::PreviousFailed { error: Some("no disk".to_owned()) }],
    );
    fixture.create("in-doubt:v1", Mirror, false, vec![Reason::InDoubt]);
    fixture.create("format:v1", Build, true, vec![Reason::FingerprintFormatChanged]);
    let field = |field: &str, old: &str, new: &str| Reason::ConfigChanged {
        field: field.to_owned(),
        old: old.to_owned(),
        new: new.to_owned(),
    };
    let fields = vec![field("args.PYTHON", "", ""), field("target", "the last stage", "runtime")];
    fixture.create("args:v1", Build, true, fields);
    let deep = vec![key("middle:v1"), key("python-base:3.12")];
    let long = "a-name-that-is-longer-than-half-of-what-a-terminal-has:v1";
    fixture.create(
        long,
        Build,
        true,
        vec![Reason::DependencyChanged { base: key("api:v4"), via: deep }],
    );
    (base, api)
}

/// A plan with every action, every reason and every note.
fn full_plan() -> Fixture {
    let mut fixture = Fixture::new();
    let (base, api) = add_creations(&mut fixture);
    let unit = fixture.unit("running:v1");
    let adopt = Action::Adopt { unit, build: build_id("8f2c"), start: false, then: None };
    fixture.step(
        "running:v1",
        ImageKind::Build,
        adopt,
        vec![Reason::Pending { age_seconds: Some(200) }],
    );
    let (old, new) = (Visibility::Private, Visibility::Public);
    fixture.update("docs:v2", vec![Reason::VisibilityChanged { old, new }]);
    let team = || Owner::Team("t".to_owned());
    fixture.update("owned:v1", vec![Reason::OwnerChanged { old: Owner::Personal, new: team() }]);
    fixture.update("new:v1", vec![Reason::Moved { from: key("old:v1") }]);
    let forgotten = Reason::RemovedFromManifest { kept: true };
    fixture.orphan("legacy:v1", Action::Forget { after: None }, forgotten);
    let forget = Action::Forget { after: Some(build_id("7e1d")) };
    fixture.orphan("app:1111", forget, Reason::Superseded { by: key("app:2222"), kept: true });
    let delete = |owner, after| Action::Delete { owner, after, changed: None };
    let dropped = Reason::RemovedFromManifest { kept: false };
    fixture.orphan("dropped:v1", delete(Owner::Personal, None), dropped);
    let superseded = Reason::Superseded { by: key("app:2222"), kept: false };
    fixture.orphan("app:0000", delete(team(), Some(build_id("6d0e"))), superseded);
    fixture.plan.steps[api.0].needs = vec![base];
    fixture.plan.steps[base.0].added = true;
    fixture.workspace.units[base.0].protect = Some(true);
    fixture.state.entries.get_mut(&key("redis:7")).unwrap().protect = true;
    fixture.plan.protected = vec![key("keep:v1")];
    fixture.plan.renamed = vec![Renamed { from: key("was:v1"), to: key("cron:v1") }];
    fixture.plan.visibility_drift = 2;
    fixture.plan.unchanged = vec![ImageKind::Build; 412];
    fixture
}

/// A plan with more steps than are shown one by one.
fn large_plan() -> Fixture {
    let mut fixture = Fixture::new();
    let reference = "docker.io/library/debian:12".to_owned();
    for index in 0..37 {
        let (reference, old, new) = (reference.clone(), Some(sha("9")), Some(sha("2")));
        let reasons = vec![Reason::BaseChanged { reference, old, new }];
        fixture.create(&format!("service-{index}:v1"), ImageKind::Build, true, reasons);
    }
    for index in 0..5 {
        let name = format!("api-{index}:v1");
        let step = fixture.create(&name, ImageKind::Build, true, vec![files(index + 1)]);
        fixture.plan.steps[step.0].added = index == 0;
    }
    for (index, base) in [(0, "mid:v1"), (1, "root:v1")] {
        let via = if index == 0 { vec![key("root:v1")] } else { vec![] };
        let reasons = vec![Reason::DependencyChanged { base: key(base), via }];
        fixture.create(&format!("leaf-{index}:v1"), ImageKind::Build, true, reasons);
    }
    for index in 0..120 {
        fixture.create(&format!("mirror-{index}:7"), ImageKind::Mirror, false, vec![Reason::New]);
    }
    fixture.create("root:v1", ImageKind::Build, true, vec![Reason::DockerfileChanged, files(1)]);
    let dropped = || Reason::RemovedFromManifest { kept: false };
    for index in 0..2 {
        let action = Action::Delete { owner: Owner::Personal, after: None, changed: None };
        fixture.orphan(&format!("dropped-{index}:v1"), action, dropped());
    }
    for index in 0..12 {
        fixture.state.entries.get_mut(&key(&format!("service-{index}:v1"))).unwrap().protect = true;
    }
    fixture
}
