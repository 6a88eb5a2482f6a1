//! Plans made by hand, with every action and every reason, as people and programs are shown them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::human::Human;
use super::json::Json;
use super::why::WhyView;
use super::{PlanView, ReportOptions, Reporter, Verbosity};
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Owner, Platform, Visibility};
use crate::base::span::{SourceMap, Span};
use crate::context::{ChangeKind, FileChange};
use crate::event::Summary;
use crate::manifest::Workspace;
use crate::manifest::workspace::{Moved, Origin, Removed, ServiceSettings, Unit, UnitId};
use crate::plan::facts::{Facts, Remote, RemoteState};
use crate::plan::{Action, Change, Create, PartialPlan, Plan, Reason, Renamed, Step, StepId};
use crate::state::{Built, Entry, Failed, Inputs, State};

#[test]
fn times() {
    let shown: Vec<String> =
        [4, 14, 125, 3720].map(|secs| super::elapsed(Duration::from_secs(secs))).into();
    assert_eq!(shown, ["4.0s", "14s", "2m05s", "1h02m"]);
}

/// A plan and all that stands around it.
#[derive(Default)]
struct World {
    plan: Plan,
    units: Vec<Unit>,
    moved: Vec<Moved>,
    removed: Vec<Removed>,
    facts: Facts,
    state: State,
}

fn key(text: &str) -> ImageRef {
    text.parse().unwrap()
}

fn sha(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn build_id(text: &str) -> BuildId {
    BuildId::new(text).unwrap()
}

fn built() -> Built {
    let mut inputs = Inputs::new();
    inputs.set("context", crate::base::digest::Digest::of(b"before"));
    Built {
        fingerprint: inputs.fingerprint(),
        inputs,
        build: build_id("b-before"),
        path: "prime/me/image:1".to_owned(),
        owner: Owner::Personal,
        visibility: Visibility::Private,
        completed: Some(at("2026-07-01T03:04:05Z")),
    }
}

impl World {
    /// A unit of the manifest, mirrored; the manifest is not told about.
    fn unit(&mut self, name: &str) -> UnitId {
        let key = key(name);
        self.units.push(Unit {
            image: key.name.clone(),
            key,
            content_tag: None,
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
        self.plan.units = self.units.len();
        UnitId(self.units.len() - 1)
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

    /// A unit that is made: anew where the lockfile has it already.
    fn make(
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
        let make = Create {
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
        self.step(name, kind, Action::Create(make), reasons)
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

    /// An image of the lockfile that the manifest does not have.
    fn gone(&mut self, name: &str, action: Action, reason: Reason) -> StepId {
        let mut entry = Entry::new(ImageKind::Mirror, Platform::Arm64);
        entry.built = Some(built());
        self.state.entries.insert(key(name), entry);
        self.step(name, ImageKind::Mirror, action, vec![reason])
    }

    /// Shows what is given with the plan and all around it.
    fn with<T>(&self, show: impl FnOnce(&PlanView<'_>) -> T) -> T {
        let mut workspace = Workspace {
            root: PathBuf::from("."),
            images: self.units.len(),
            units: Vec::new(),
            settings: ServiceSettings::default(),
            moved: self.moved.clone(),
            removed: self.removed.clone(),
            warnings: Vec::new(),
            skipped: Vec::new(),
            sources: Arc::default(),
        };
        let mut sources = SourceMap::default();
        sources.add(
            "imgplan.yaml",
            "version: 1\nmoved:\n  - {from: old, to: new}\nremoved:\n  - {}\n",
        );
        workspace.sources = Arc::new(sources);
        workspace.units = self.units.iter().map(copy).collect();
        show(&PlanView {
            plan: &self.plan,
            workspace: &workspace,
            facts: &self.facts,
            state: &self.state,
            limits: &[],
            owner: &Owner::Personal,
            lockfile: Path::new("imgplan.lock"),
            service: "https://api.example.com",
            asked: true,
        })
    }

    /// The plan for people; colour with its escapes to be seen.
    fn shown(&self, columns: Option<usize>, color: bool, talk: Verbosity) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let options = options(columns, color, talk);
        self.with(|view| Human::new(&mut out, &mut err, options).plan(view)).unwrap();
        assert_eq!(String::from_utf8(err).unwrap(), "");
        String::from_utf8(out).unwrap().replace('\u{1b}', "\\e")
    }

    fn at(&self, columns: usize) -> String {
        let shown = self.shown(Some(columns), false, Verbosity::Normal);
        let long = shown.lines().find(|line| line.chars().count() > columns);
        assert_eq!(long, None, "fits in {columns} columns");
        shown
    }

    /// The plan for programs.
    fn json(&self) -> Vec<serde_json::Value> {
        let mut out = Vec::new();
        self.with(|view| Json::start(&mut out)?.plan(view)).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn copy(unit: &Unit) -> Unit {
    Unit {
        key: unit.key.clone(),
        content_tag: None,
        image: unit.image.clone(),
        platform: unit.platform,
        owner: unit.owner.clone(),
        visibility: None,
        timeout: None,
        max_age: unit.max_age,
        protect: unit.protect,
        groups: BTreeSet::new(),
        labels: BTreeMap::new(),
        origin: Origin::Mirror("redis:7".parse().unwrap()),
        needs: Vec::new(),
        depth: 0,
        span: unit.span,
    }
}

fn options(columns: Option<usize>, color: bool, talk: Verbosity) -> ReportOptions {
    ReportOptions { color, color_talk: false, width: 100, columns, talk, hints: true }
}

fn files(count: usize) -> Reason {
    let file = |index| FileChange {
        path: format!("src/app/file-{index}.py"),
        change: if index == 0 { ChangeKind::Changed } else { ChangeKind::Added },
    };
    Reason::ContextChanged { files: Some((0..count).map(file).collect()) }
}

/// Makes, for every reason there is; the first two are a base and what is built on it.
fn makes(world: &mut World) -> (StepId, StepId) {
    use ImageKind::{Build, Mirror};
    let base =
        world.make("python-base:3.12", Build, true, vec![Reason::DockerfileChanged, files(5)]);
    let api = world.make(
        "api:v4",
        Build,
        true,
        vec![Reason::DependencyChanged { base: key("python-base:3.12"), via: vec![] }],
    );
    let reference = "docker.io/library/debian:12".to_owned();
    let moved = |old, new| Reason::BaseChanged { reference: reference.clone(), old, new };
    world.make("cron:v1", Build, false, vec![Reason::New]);
    world.make("deb:v1", Build, true, vec![moved(Some(sha("9")), Some(sha("2")))]);
    world.make("deb-pinned:v1", Build, true, vec![moved(None, Some(sha("2")))]);
    world.make("deb-unpinned:v1", Build, true, vec![moved(Some(sha("2")), None)]);
    let reference = "redis:7".to_owned();
    let upstream = Reason::SourceChanged { reference, old: Some(sha("a")), new: Some(sha("b")) };
    world.make("redis:7", Mirror, true, vec![upstream]);
    world.make("gone:v1", Build, true, vec![Reason::MissingRemote]);
    let stolen = Some(at("2026-07-03T10:11:12Z"));
    world.make("stolen:v1", Build, true, vec![Reason::RemoteChanged { at: stolen }]);
    world.make("stolen-once:v1", Build, true, vec![Reason::RemoteChanged { at: None }]);
    world.make("wanted:v1", Build, true, vec![Reason::Requested]);
    world.make("old-age:v1", Build, true, vec![Reason::Expired { age_seconds: 700_000 }]);
    world.make("failed:v1", Build, false, vec![Reason::PreviousFailed]);
    world.make("asked:v1", Mirror, false, vec![Reason::InDoubt]);
    world.make("format:v1", Build, true, vec![Reason::FingerprintFormatChanged]);
    let field = |field: &str, old: &str, new: &str| Reason::ConfigChanged {
        field: field.to_owned(),
        old: old.to_owned(),
        new: new.to_owned(),
    };
    let fields = vec![field("args.PYTHON", "", ""), field("target", "the last stage", "runtime")];
    world.make("args:v1", Build, true, fields);
    let deep = vec![key("middle:v1"), key("python-base:3.12")];
    let long = "a-name-that-is-longer-than-half-of-what-a-terminal-has:v1";
    world.make(
        long,
        Build,
        true,
        vec![Reason::DependencyChanged { base: key("api:v4"), via: deep }],
    );
    (base, api)
}

/// Every action, every reason, and all that is told besides.
fn everything() -> World {
    let mut world = World::default();
    let (base, api) = makes(&mut world);
    let unit = world.unit("running:v1");
    let adopt = Action::Adopt { unit, build: build_id("8f2c"), start: false, then: None };
    world.step(
        "running:v1",
        ImageKind::Build,
        adopt,
        vec![Reason::Pending { age_seconds: Some(200) }],
    );
    let (old, new) = (Visibility::Private, Visibility::Public);
    world.update("docs:v2", vec![Reason::VisibilityChanged { old, new }]);
    let team = || Owner::Team("t".to_owned());
    world.update("owned:v1", vec![Reason::OwnerChanged { old: Owner::Personal, new: team() }]);
    world.update("new:v1", vec![Reason::Moved { from: key("old:v1") }]);
    let kept = Reason::RemovedFromManifest { kept: true };
    world.gone("legacy:v1", Action::Forget { after: None }, kept);
    let forget = Action::Forget { after: Some(build_id("7e1d")) };
    world.gone("app:1111", forget, Reason::Superseded { by: key("app:2222"), kept: true });
    let delete = |owner, after| Action::Delete { owner, after, changed: None };
    let dropped = Reason::RemovedFromManifest { kept: false };
    world.gone("dropped:v1", delete(Owner::Personal, None), dropped);
    let instead = Reason::Superseded { by: key("app:2222"), kept: false };
    world.gone("app:0000", delete(team(), Some(build_id("6d0e"))), instead);
    world.plan.steps[api.0].needs = vec![base];
    world.plan.steps[base.0].added = true;
    world.units[base.0].protect = Some(true);
    world.state.entries.get_mut(&key("redis:7")).unwrap().protect = true;
    world.plan.protected = vec![key("keep:v1")];
    world.plan.renamed = vec![Renamed { from: key("was:v1"), to: key("cron:v1") }];
    world.plan.drift = 2;
    world.plan.unchanged = vec![ImageKind::Build; 412];
    world
}

/// More steps than are shown one by one.
fn crowd() -> World {
    let mut world = World::default();
    let reference = "docker.io/library/debian:12".to_owned();
    for index in 0..37 {
        let (reference, old, new) = (reference.clone(), Some(sha("9")), Some(sha("2")));
        let reasons = vec![Reason::BaseChanged { reference, old, new }];
        world.make(&format!("service-{index}:v1"), ImageKind::Build, true, reasons);
    }
    for index in 0..5 {
        let name = format!("api-{index}:v1");
        let step = world.make(&name, ImageKind::Build, true, vec![files(index + 1)]);
        world.plan.steps[step.0].added = index == 0;
    }
    for (index, base) in [(0, "mid:v1"), (1, "root:v1")] {
        let via = if index == 0 { vec![key("root:v1")] } else { vec![] };
        let reasons = vec![Reason::DependencyChanged { base: key(base), via }];
        world.make(&format!("leaf-{index}:v1"), ImageKind::Build, true, reasons);
    }
    for index in 0..120 {
        world.make(&format!("mirror-{index}:7"), ImageKind::Mirror, false, vec![Reason::New]);
    }
    world.make("root:v1", ImageKind::Build, true, vec![Reason::DockerfileChanged, files(1)]);
    let dropped = || Reason::RemovedFromManifest { kept: false };
    for index in 0..2 {
        let action = Action::Delete { owner: Owner::Personal, after: None, changed: None };
        world.gone(&format!("dropped-{index}:v1"), action, dropped());
    }
    for index in 0..12 {
        world.state.entries.get_mut(&key(&format!("service-{index}:v1"))).unwrap().protect = true;
    }
    world
}

#[test]
fn every_action_and_reason_at_80_columns() {
    insta::assert_snapshot!(everything().at(80), @"
    imgplan: 21 images, lockfile imgplan.lock, service https://api.example.com

      -/+ python-base:3.12  build   Dockerfile changed; context: 5 files
                                    (needed by what was asked for)
      -/+ api:v4            build   base python-base:3.12 changes
        + cron:v1           build   new
      -/+ deb:v1            build   base docker.io/library/debian:12 moved …
      -/+ deb-pinned:v1     build   base docker.io/library/debian:12 pinned to …
      -/+ deb-unpinned:v1   build   base docker.io/library/debian:12 is not pinned …
      -/+ redis:7           mirror  upstream redis:7 moved aaaaaaaaaaaa …
      -/+ gone:v1           build   the service does not have it any more
      -/+ stolen:v1         build   somebody else replaced it on 2026-07-03 10:11 …
      -/+ stolen-once:v1    build   somebody else replaced it
      -/+ wanted:v1         build   asked for
      -/+ old-age:v1        build   8 days old
        + failed:v1         build   the last build did not succeed
        + asked:v1          mirror  whether the service took it is not known
      -/+ format:v1         build   imgplan digests in a new way
      -/+ args:v1           build   args.PYTHON changed; target the last stage …
      -/+ a-name-that-is-longer-than-half-of-what-a-terminal-has:v1
                            build   base api:v4 changes < middle:v1 …
       <= running:v1        adopt   its build is under way, started 3 min ago
                                    [build 8f2c]
        ~ docs:v2           update  visibility private -> public
        ~ owned:v1          update  owner personal -> team:t
        ~ new:v1            update  was old:v1
        . legacy:v1         forget  removed from the manifest, image kept
        . app:1111          forget  app:2222 has its place, image kept
                                    (once build 7e1d has ended)

    Deletes 2 images:
        - dropped:v1  delete  removed from the manifest
        - app:0000    delete  app:2222 has its place
                              (team:t) (once build 6d0e has ended)

    Replaces 2 protected images: python-base:3.12, redis:7

    1 protected image is not in the manifest and is kept: keep:v1 (to let go of it,
      list it under `removed:`)
    `cron:v1` has just the content of `was:v1`, which is gone: if it was renamed,
      add `moved: [{from: was:v1, to: cron:v1}]`
    2 images have another visibility in the service than the lockfile says; nothing
      follows from it.

    + create   - delete   -/+ rebuild, over the existing tag
    . forget, the image stays   <= wait for a build under way
    ~ change, without a build
    Order: python-base:3.12 first, then what needs them (1 image). Longest chain 2.
    Cost: 15 builds with 0 B of context to pack, 2 transfers, 3 updates, 2
      deletions, about 35 requests (transfers: 2 of 10/60s).
    Plan: 3 to create, 14 to rebuild, 1 to adopt, 3 to update, 2 to delete, 2 to
      forget. 412 unchanged.
    ");
}

#[test]
fn every_action_and_reason_at_120_columns() {
    insta::assert_snapshot!(everything().at(120), @"
    imgplan: 21 images, lockfile imgplan.lock, service https://api.example.com

      -/+ python-base:3.12  build   Dockerfile changed; context: 5 files (needed by what was asked for)
      -/+ api:v4            build   base python-base:3.12 changes
        + cron:v1           build   new
      -/+ deb:v1            build   base docker.io/library/debian:12 moved 999999999999 -> 222222222222
      -/+ deb-pinned:v1     build   base docker.io/library/debian:12 pinned to 222222222222
      -/+ deb-unpinned:v1   build   base docker.io/library/debian:12 is not pinned any more
      -/+ redis:7           mirror  upstream redis:7 moved aaaaaaaaaaaa -> bbbbbbbbbbbb
      -/+ gone:v1           build   the service does not have it any more
      -/+ stolen:v1         build   somebody else replaced it on 2026-07-03 10:11 UTC
      -/+ stolen-once:v1    build   somebody else replaced it
      -/+ wanted:v1         build   asked for
      -/+ old-age:v1        build   8 days old
        + failed:v1         build   the last build did not succeed
        + asked:v1          mirror  whether the service took it is not known
      -/+ format:v1         build   imgplan digests in a new way
      -/+ args:v1           build   args.PYTHON changed; target the last stage -> runtime
      -/+ a-name-that-is-longer-than-half-of-what-a-terminal-has:v1
                            build   base api:v4 changes < middle:v1 < python-base:3.12
       <= running:v1        adopt   its build is under way, started 3 min ago [build 8f2c]
        ~ docs:v2           update  visibility private -> public
        ~ owned:v1          update  owner personal -> team:t
        ~ new:v1            update  was old:v1
        . legacy:v1         forget  removed from the manifest, image kept
        . app:1111          forget  app:2222 has its place, image kept (once build 7e1d has ended)

    Deletes 2 images:
        - dropped:v1  delete  removed from the manifest
        - app:0000    delete  app:2222 has its place (team:t) (once build 6d0e has ended)

    Replaces 2 protected images: python-base:3.12, redis:7

    1 protected image is not in the manifest and is kept: keep:v1 (to let go of it, list it under `removed:`)
    `cron:v1` has just the content of `was:v1`, which is gone: if it was renamed, add `moved: [{from: was:v1, to: cron:v1}]`
    2 images have another visibility in the service than the lockfile says; nothing follows from it.

    + create   - delete   -/+ rebuild, over the existing tag   . forget, the image stays   <= wait for a build under way
    ~ change, without a build
    Order: python-base:3.12 first, then what needs them (1 image). Longest chain 2.
    Cost: 15 builds with 0 B of context to pack, 2 transfers, 3 updates, 2 deletions, about 35 requests (transfers: 2 of
      10/60s).
    Plan: 3 to create, 14 to rebuild, 1 to adopt, 3 to update, 2 to delete, 2 to forget. 412 unchanged.
    ");
}

#[test]
fn colours_stand_beside_symbols_and_words() {
    insta::assert_snapshot!(everything().shown(Some(80), true, Verbosity::Normal), @r#"
    imgplan: 21 images, lockfile imgplan.lock, service https://api.example.com

      \e[33m-/+\e[0m python-base:3.12  build   Dockerfile changed; context: 5 files
                                    (needed by what was asked for)
      \e[33m-/+\e[0m api:v4            build   base python-base:3.12 changes
      \e[32m  +\e[0m cron:v1           build   new
      \e[33m-/+\e[0m deb:v1            build   base docker.io/library/debian:12 moved …
      \e[33m-/+\e[0m deb-pinned:v1     build   base docker.io/library/debian:12 pinned to …
      \e[33m-/+\e[0m deb-unpinned:v1   build   base docker.io/library/debian:12 is not pinned …
      \e[33m-/+\e[0m redis:7           mirror  upstream redis:7 moved aaaaaaaaaaaa …
      \e[33m-/+\e[0m gone:v1           build   the service does not have it any more
      \e[33m-/+\e[0m stolen:v1         build   somebody else replaced it on 2026-07-03 10:11 …
      \e[33m-/+\e[0m stolen-once:v1    build   somebody else replaced it
      \e[33m-/+\e[0m wanted:v1         build   asked for
      \e[33m-/+\e[0m old-age:v1        build   8 days old
      \e[32m  +\e[0m failed:v1         build   the last build did not succeed
      \e[32m  +\e[0m asked:v1          mirror  whether the service took it is not known
      \e[33m-/+\e[0m format:v1         build   imgplan digests in a new way
      \e[33m-/+\e[0m args:v1           build   args.PYTHON changed; target the last stage …
      \e[33m-/+\e[0m a-name-that-is-longer-than-half-of-what-a-terminal-has:v1
                            build   base api:v4 changes < middle:v1 …
      \e[36m <=\e[0m running:v1        adopt   its build is under way, started 3 min ago
                                    [build 8f2c]
      \e[33m  ~\e[0m docs:v2           update  visibility private -> public
      \e[33m  ~\e[0m owned:v1          update  owner personal -> team:t
      \e[33m  ~\e[0m new:v1            update  was old:v1
      \e[31m  .\e[0m legacy:v1         forget  removed from the manifest, image kept
      \e[31m  .\e[0m app:1111          forget  app:2222 has its place, image kept
                                    (once build 7e1d has ended)

    \e[1m\e[31mDeletes 2 images:\e[0m
      \e[31m  -\e[0m dropped:v1  delete  removed from the manifest
      \e[31m  -\e[0m app:0000    delete  app:2222 has its place
                              (team:t) (once build 6d0e has ended)

    \e[1m\e[33mReplaces 2 protected images:\e[0m python-base:3.12, redis:7

    1 protected image is not in the manifest and is kept: keep:v1 (to let go of it,
      list it under `removed:`)
    `cron:v1` has just the content of `was:v1`, which is gone: if it was renamed,
      add `moved: [{from: was:v1, to: cron:v1}]`
    2 images have another visibility in the service than the lockfile says; nothing
      follows from it.

    \e[2m+ create   - delete   -/+ rebuild, over the existing tag
    . forget, the image stays   <= wait for a build under way
    ~ change, without a build\e[0m
    Order: python-base:3.12 first, then what needs them (1 image). Longest chain 2.
    Cost: 15 builds with 0 B of context to pack, 2 transfers, 3 updates, 2
      deletions, about 35 requests (transfers: 2 of 10/60s).
    \e[1mPlan: 3 to create, 14 to rebuild, 1 to adopt, 3 to update, 2 to delete, 2 to
      forget. 412 unchanged.\e[0m
    "#);
}

#[test]
fn colour_changes_no_text() {
    let escapes = regex::Regex::new(r"\\e\[[0-9;]*m").unwrap();
    for world in [everything(), crowd()] {
        for columns in [None, Some(40), Some(80), Some(120)] {
            let plain = world.shown(columns, false, Verbosity::Normal);
            let coloured = world.shown(columns, true, Verbosity::Normal);
            assert_ne!(plain, coloured);
            assert_eq!(escapes.replace_all(&coloured, ""), plain);
        }
    }
}

/// A log is searched, and may be as wide as it likes.
#[test]
fn what_is_piped_is_not_cut() {
    let shown = everything().shown(None, false, Verbosity::Normal);
    assert!(!shown.contains('…'), "{shown}");
    for step in &everything().plan.steps {
        let line = shown.lines().find(|line| line.contains(&format!(" {} ", step.key)));
        let line = line.unwrap_or_else(|| panic!("{} is not there:\n{shown}", step.key));
        assert!(line.contains(step.verb()), "{line}");
        for reason in &step.reasons {
            assert!(line.contains(&reason.to_string()), "{line}");
        }
    }
}

/// However narrow it is, names and actions are whole.
#[test]
fn names_and_actions_are_never_cut() {
    for columns in [20, 33, 60, 80, 100, 200] {
        let world = everything();
        let shown = world.shown(Some(columns), false, Verbosity::Normal);
        for step in &world.plan.steps {
            let name = format!(" {}", step.key);
            let place =
                shown.find(&name).unwrap_or_else(|| panic!("{name} at {columns}:\n{shown}"));
            let verb = shown[place + name.len()..].split_whitespace().next();
            assert_eq!(verb, Some(step.verb()), "{name} at {columns}:\n{shown}");
        }
    }
}

#[test]
fn a_large_plan_is_told_by_its_causes() {
    insta::assert_snapshot!(crowd().at(80), @"
    imgplan: 165 images, lockfile imgplan.lock, service https://api.example.com

        + 120 images  mirror  new
            mirror-0:7, mirror-1:7, mirror-2:7 and 117 more
      -/+ 37 images   build   base docker.io/library/debian:12 moved 999999999999 ->
                              222222222222
            service-0:v1, service-1:v1, service-2:v1 and 34 more
      -/+ 5 images    build   context changed (1 needed by what was asked for)
            api-0:v1, api-1:v1, api-2:v1 and 2 more
      -/+ 2 images    build   base root:v1 changes
            leaf-0:v1, leaf-1:v1
      -/+ root:v1     build   Dockerfile changed; context: ~ src/app/file-0.py

    `imgplan why NAME` explains one; `--verbose` lists all of them.

    Deletes 2 images:
        - dropped-0:v1  delete  removed from the manifest
        - dropped-1:v1  delete  removed from the manifest

    Replaces 12 protected images: service-0:v1, service-1:v1, service-2:v1,
      service-3:v1, service-4:v1, service-5:v1, service-6:v1, service-7:v1,
      service-8:v1, service-9:v1 and 2 more

    + create   - delete   -/+ rebuild, over the existing tag
    Cost: 45 builds with 0 B of context to pack, 120 transfers, 2 deletions, about
      212 requests (transfers: 120 at 10/60s, at least 11m00s).
    Plan: 120 to create, 45 to rebuild, 0 to update, 2 to delete, 0 to forget. 0
      unchanged.
    ");
}

#[test]
fn all_of_a_large_plan_is_there_for_who_asks() {
    let world = crowd();
    let shown = world.shown(None, false, Verbosity::Verbose);
    for step in &world.plan.steps {
        assert!(shown.contains(&format!(" {} ", step.key)), "{}", step.key);
    }
    assert!(!shown.contains("--verbose"));
    // So many are shown one by one, and one more is not.
    for (steps, grouped) in [(super::group::MANY, false), (super::group::MANY + 1, true)] {
        let mut world = crowd();
        world.plan.steps.truncate(steps);
        assert_eq!(world.shown(None, false, Verbosity::Normal).contains(" 37 images "), grouped);
    }
}

/// Fewer names, but none is cut.
#[test]
fn names_of_a_group_are_whole() {
    let mut world = World::default();
    for index in 0..60 {
        let name = format!("a-name-of-some-length-{index}:v1");
        world.make(&name, ImageKind::Build, false, vec![Reason::New]);
    }
    let first = |columns| {
        let shown = world.at(columns);
        let line = shown.lines().find(|line| line.contains(" more"));
        line.unwrap_or_default().trim().to_owned()
    };
    let name = |index| format!("a-name-of-some-length-{index}:v1");
    assert_eq!(first(120), format!("{}, {}, {} and 57 more", name(0), name(1), name(2)));
    assert_eq!(first(80), format!("{}, {} and 58 more", name(0), name(1)));
    assert_eq!(first(56), format!("{} and 59 more", name(0)));
}

/// Where no two have one cause, the kind of it is what they share.
#[test]
fn causes_that_are_each_ones_own_are_put_together() {
    let mut world = World::default();
    for index in 0..60 {
        let (reference, old, new) = (format!("base-{index}:1"), Some(sha("9")), Some(sha("2")));
        let reasons = vec![Reason::BaseChanged { reference, old, new }];
        world.make(&format!("service-{index}:v1"), ImageKind::Build, true, reasons);
    }
    let shown = world.shown(None, false, Verbosity::Normal);
    let line = "  -/+ 60 images  build   a base outside of the manifest moved\n        service-0:v1, service-1:v1, service-2:v1 and 57 more\n";
    assert!(shown.contains(line), "{shown}");
}

#[test]
fn a_part_of_a_plan_says_so() {
    let mut world = World::default();
    let base = world.make("base:v1", ImageKind::Build, true, vec![Reason::DockerfileChanged]);
    let reasons = vec![Reason::DependencyChanged { base: key("base:v1"), via: vec![] }];
    let api = world.make("api:v1", ImageKind::Build, true, reasons);
    world.plan.steps[api.0].needs = vec![base];
    world.plan.steps[base.0].added = true;
    world.plan.partial = Some(PartialPlan { selected: 1, left: 7 });
    insta::assert_snapshot!(world.at(80), @"
    imgplan: 2 images, lockfile imgplan.lock, service https://api.example.com

    Note: this is a part of the plan: 1 unit was asked for, 7 steps are left out.

      -/+ base:v1  build   Dockerfile changed (needed by what was asked for)
      -/+ api:v1   build   base base:v1 changes

    -/+ rebuild, over the existing tag
    Order: base:v1 first, then what needs them (1 image). Longest chain 2.
    Cost: 2 builds with 0 B of context to pack, about 4 requests (initiate: 2 of
      150/60s).
    Plan: 0 to create, 2 to rebuild, 0 to update, 0 to delete, 0 to forget. 0
      unchanged.
    ");
    world.plan.steps.clear();
    insta::assert_snapshot!(world.at(80), @"
    No changes. The unit that was asked for is as the manifest says. Compared with
      the lockfile and the service's pending builds.
    Note: this is a part of the plan: 1 unit was asked for, 7 steps are left out.
    ");
}

#[test]
fn a_run_of_a_part_says_so_at_its_end() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let partial = Some(PartialPlan { selected: 3, left: 1 });
    let summary = Summary { built: 2, partial, ..Summary::default() };
    let mut human = Human::new(&mut out, &mut err, options(None, false, Verbosity::Normal));
    human.summary(&summary, Duration::from_secs(65), None).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
    Apply: 2 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 0 failed, 0 skipped, in 1m05s.
    Note: this was a part of the plan: 3 units were asked for, 1 step was left out.
    ");
}

#[test]
fn nothing_to_do_says_with_what_was_compared() {
    let mut world = World::default();
    world.unit("api:v1");
    insta::assert_snapshot!(world.at(120), @"No changes. The only unit is as the manifest says. Compared with the lockfile and the service's pending builds.");
    let remote = Remote {
        state: RemoteState::Complete,
        visibility: None,
        changed: None,
        ended: None,
        path: None,
    };
    let images = (0..250).map(|index| (key(&format!("i-{index}:1")), remote.clone()));
    world.facts.images = [(Owner::Personal, images.collect::<HashMap<_, _>>())].into();
    world.plan.drift = 1;
    world.plan.protected = ["a:1", "b:1", "c:1", "d:1"].map(key).into();
    let renamed = |index| Renamed { from: key(&format!("a-{index}:1")), to: key("b:1") };
    world.plan.renamed = (0..5).map(renamed).collect();
    insta::assert_snapshot!(world.at(80), @"
    No changes. The only unit is as the manifest says. Compared with the lockfile
      and the service (250 images listed).
    4 protected images are not in the manifest and are kept: a:1, b:1, c:1 and 1
      more (to let go of them, list them under `removed:`)
    `b:1` has just the content of `a-0:1`, which is gone: if it was renamed, add
      `moved: [{from: a-0:1, to: b:1}]`
    `b:1` has just the content of `a-1:1`, which is gone: if it was renamed, add
      `moved: [{from: a-1:1, to: b:1}]`
    `b:1` has just the content of `a-2:1`, which is gone: if it was renamed, add
      `moved: [{from: a-2:1, to: b:1}]`
    2 more seem to be renamed; `--json` names all of them
    1 image has another visibility in the service than the lockfile says; nothing
      follows from it.
    ");
}

/// A file may have any name.
#[test]
fn nothing_of_a_plan_moves_the_cursor() {
    let mut world = World::default();
    let change = FileChange { path: "a\u{1b}[2J\nb".to_owned(), change: ChangeKind::Added };
    let files = Some([change].into_iter().collect());
    world.make("api:v1", ImageKind::Build, true, vec![Reason::ContextChanged { files }]);
    let shown = world.shown(None, false, Verbosity::Normal);
    assert!(shown.contains(r"context: + a\u{1b}[2J\nb"), "{shown}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "most of it is what is told")]
fn each_reason_is_told_in_full() {
    let mut world = everything();
    let pattern = |text: &str| text.parse().unwrap();
    world.moved = vec![Moved { from: pattern("old"), to: pattern("new"), span: Span::new(20, 1) }];
    let from = pattern("dropped");
    world.removed = vec![Removed { from, destroy: true, span: Span::new(55, 1) }];
    let failed = Failed { fingerprint: built().fingerprint, build: build_id("b-failed") };
    let mut entry = Entry::new(ImageKind::Build, Platform::Amd64);
    entry.failed = Some(failed);
    world.state.entries.insert(key("failed:v1"), entry);
    let mut units: Vec<ImageRef> = world.plan.steps.iter().map(|step| step.key.clone()).collect();
    units.push(key("keep:v1"));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let human = options(None, false, Verbosity::Normal);
    world
        .with(|view| {
            Human::new(&mut out, &mut err, human).why(&WhyView { plan: *view, units: &units })
        })
        .unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
    -/+ python-base:3.12  build

    Dockerfile changed
    context: ~ src/app/file-0.py, + src/app/file-1.py, + src/app/file-2.py, and 2 more

    -/+ api:v4  build

    base python-base:3.12 changes
      -/+ python-base:3.12  build
      Dockerfile changed
      context: ~ src/app/file-0.py, + src/app/file-1.py, + src/app/file-2.py, and 2 more

    + cron:v1  build

    new: the lockfile has no build of it

    -/+ deb:v1  build

    base docker.io/library/debian:12 stands for another image
      was  sha256:9999999999999999999999999999999999999999999999999999999999999999
      is   sha256:2222222222222222222222222222222222222222222222222222222222222222

    -/+ deb-pinned:v1  build

    base docker.io/library/debian:12 stands for another image
      was  not pinned
      is   sha256:2222222222222222222222222222222222222222222222222222222222222222

    -/+ deb-unpinned:v1  build

    base docker.io/library/debian:12 is not pinned any more
      was  sha256:2222222222222222222222222222222222222222222222222222222222222222

    -/+ redis:7  mirror

    upstream redis:7 stands for another image
      was  sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      is   sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb

    -/+ gone:v1  build

    the service does not have it any more
      it was prime/me/image:1
      its last build [build b-before] was complete on 2026-07-01 03:04:05 UTC

    -/+ stolen:v1  build

    somebody else replaced it
      on 2026-07-03 10:11:12 UTC
      its last build [build b-before] was complete on 2026-07-01 03:04:05 UTC

    -/+ stolen-once:v1  build

    somebody else replaced it
      its last build [build b-before] was complete on 2026-07-01 03:04:05 UTC

    -/+ wanted:v1  build

    asked for, whether anything changed or not

    -/+ old-age:v1  build

    8 days old
      the manifest allows 7d
      its last build [build b-before] was complete on 2026-07-01 03:04:05 UTC

    + failed:v1  build

    the last build did not succeed [build b-failed]

    + asked:v1  mirror

    whether the service took it is not known

    -/+ format:v1  build

    imgplan digests in a new way
      so what it was made of cannot be compared; nothing else is known to differ

    -/+ args:v1  build

    args.PYTHON changed
    target the last stage -> runtime

    -/+ a-name-that-is-longer-than-half-of-what-a-terminal-has:v1  build

    base api:v4 changes < middle:v1 < python-base:3.12
      -/+ python-base:3.12  build
      Dockerfile changed
      context: ~ src/app/file-0.py, + src/app/file-1.py, + src/app/file-2.py, and 2 more

    <= running:v1  adopt [build 8f2c]

    its build is under way, started 3 min ago

    ~ docs:v2  update

    visibility private -> public

    ~ owned:v1  update

    owner personal -> team:t

    ~ new:v1  update

    old:v1 is called new:v1 now: `moved` says so (imgplan.yaml:3)

    . legacy:v1  forget

    removed from the manifest, image kept

    . app:1111  forget

    app:2222 has its place, image kept

    - dropped:v1  delete

    removed from the manifest: `removed` says so (imgplan.yaml:5)

    - app:0000  delete

    app:2222 has its place

    No changes to keep:v1. It is not in the manifest and is kept, for it is protected; list it under `removed:` to let go of it.
    ");
}

/// What stands in `schema/`.
fn schema() -> jsonschema::Validator {
    let text = include_str!("../../schema/plan.schema.json");
    jsonschema::draft202012::new(&serde_json::from_str(text).unwrap()).unwrap()
}

#[test]
fn lines_for_programs_are_as_the_schema_says() {
    let schema = schema();
    let mut partial = everything();
    partial.plan.partial = Some(PartialPlan { selected: 1, left: 7 });
    for world in [everything(), crowd(), partial, World::default()] {
        for line in world.json() {
            let wrong: Vec<String> =
                schema.iter_errors(&line).map(|error| format!("{error}")).collect();
            assert_eq!(wrong, [""; 0], "{line:#}");
        }
    }
}

#[test]
fn what_is_new_is_in_the_lines_for_programs() {
    let lines = everything().json();
    let change = |image: &str| {
        let found = lines.iter().find(|line| line["change"]["image"] == image);
        found.unwrap_or_else(|| panic!("no {image}"))["change"].clone()
    };
    assert_eq!(change("new:v1")["previous_image"], "old:v1");
    assert_eq!(change("api:v4")["previous_image"], serde_json::Value::Null);
    assert_eq!(change("python-base:3.12")["added"], true);
    assert_eq!(change("python-base:3.12")["protected"], true);
    assert_eq!(change("api:v4")["protected"], false);
    let app = change("app:0000");
    assert_eq!((&app["action"], &app["platform"]), (&"delete".into(), &"linux/arm64".into()));
    assert_eq!(app["owner"], "team:t");
    let summary = &lines.last().unwrap()["changes"];
    assert_eq!(summary["protected"], serde_json::json!(["keep:v1"]));
    assert_eq!(summary["renamed"], serde_json::json!([{ "from": "was:v1", "to": "cron:v1" }]));
    assert_eq!((&summary["drift"], &summary["delete"]), (&2.into(), &2.into()));
    assert_eq!(summary["partial"], serde_json::Value::Null);
}
