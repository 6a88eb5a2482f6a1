//! Manifests with the folders that they name, and the runs that apply their plans.

use std::fmt::Write;
use std::path::Path;
use std::sync::LazyLock;

use imgplan::test_support::base::image_path::ImagePath;
use imgplan::test_support::base::name::{BuildId, Owner, Visibility};
use imgplan::test_support::context::{History, StatCache};
use imgplan::test_support::manifest::{Invocation, ManifestError, Workspace};
use imgplan::test_support::plan::{Action, Decision, PlanOptions, decide};
use imgplan::test_support::state::journal::BuildOutcome;
use imgplan::test_support::state::{BuildStage, Pending, Record, State};
use imgplan::test_support::survey::{Caches, Query, facts};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::choices::Choices;
use crate::runtime;

/// Folders with a Dockerfile, which every manifest can name.
const CONTEXTS: [(&str, &str); 6] = [
    ("base", "FROM alpine:3\nCOPY . /\n"),
    ("services/api", "ARG TAG=v1\nFROM app0:$TAG\nCOPY src /src\n"),
    ("services/web", "FROM app1 AS build\nRUN x\nFROM scratch\nCOPY --from=build /x /x\n"),
    ("services/odd name", "FROM ghcr.io/a/b:v1\n"),
    ("jobs/nightly", "ARG PY=3\nFROM python:$PY AS dev\nFROM dev AS prod\nARG A\n"),
    ("jobs/hourly", "FROM redis:7\nADD x* /\n"),
];

/// The folders, which all documents share: only manifests differ.
static FOLDERS: LazyLock<TempDir> = LazyLock::new(|| {
    let root = tempfile::tempdir().expect("a temporary folder can be created");
    for (folder, dockerfile) in CONTEXTS {
        let folder = root.path().join(folder);
        std::fs::create_dir_all(folder.join("src")).expect("the folder is writable");
        std::fs::write(folder.join("Dockerfile"), dockerfile).expect("the folder is writable");
        std::fs::write(folder.join("src/x"), "x").expect("the folder is writable");
    }
    let list = "# mirrors\nredis:7\nghcr.io/a/c:v2\n";
    std::fs::write(root.path().join("mirrors.txt"), list).expect("the folder is writable");
    root
});

/// A generated manifest, in parts that may be rearranged.
#[derive(Clone)]
pub(super) struct Document {
    pub(super) head: String,
    pub(super) images: Vec<String>,
    pub(super) tail: String,
}

impl Document {
    pub(super) fn text(&self) -> String {
        format!("{}images:\n{}{}", self.head, self.images.concat(), self.tail)
    }
}

/// Loads a manifest that lies beside the folders.
fn load(text: &str) -> Result<Workspace, ManifestError> {
    let name = format!("imgplan-{:?}.yaml", std::thread::current().id());
    let name = name.replace(['(', ')'], "");
    let file = FOLDERS.path().join(name);
    std::fs::write(&file, text).expect("the folder is writable");
    Workspace::load(&Invocation::file(file), &|_| None)
}

/// Loads a manifest and plans it without network access.
pub(super) fn plan(
    text: &str,
    state: &State,
    options: &PlanOptions,
) -> Result<Decision, ManifestError> {
    let workspace = load(text)?;
    let work = FOLDERS.path().join(".imgplan");
    let caches = Caches { stat: StatCache::read(&work), history: History::at(&work) };
    let facts = runtime().block_on(facts(Query::offline(&workspace, state, caches)));
    Ok(decide(workspace, &facts.expect("the contexts can be read"), state, options))
}

/// Returns the state after a run that completes every step of the plan.
pub(super) fn applied(decision: &Decision, state: &State) -> State {
    let mut state = state.clone();
    decision.refreshed.iter().chain(&decision.bookkeeping).for_each(|record| state.apply(record));
    for (index, step) in decision.plan.steps.iter().enumerate() {
        let unit = step.key.clone();
        match &step.action {
            Action::Create(create) => {
                let owner = create.owner.clone().unwrap_or(Owner::Personal);
                let is_public = owner == Owner::Platform;
                let default = if is_public { Visibility::Public } else { Visibility::Private };
                let build = format!("b-{index}-{}", create.fingerprint);
                let build = BuildId::new(build.replace(':', "-")).expect("the ID is valid");
                let pending = Pending {
                    fingerprint: create.fingerprint,
                    inputs: create.inputs.clone(),
                    build: build.clone(),
                    path: ImagePath::new(format!("prime/me/{unit}")).expect("a name is a path"),
                    owner,
                    visibility: create.visibility.unwrap_or(default),
                    stage: BuildStage::Started,
                };
                let platform = decision.workspace.unit(create.unit).platform;
                let kind = create.kind;
                state.apply(&Record::Created { unit: unit.clone(), kind, platform, pending });
                state.apply(&Record::Ended {
                    unit,
                    build,
                    outcome: BuildOutcome::Completed,
                    error: None,
                    path: None,
                    image: None,
                    at: Some(Timestamp::now()),
                    seconds: None,
                });
            }
            Action::Update { change, .. } => state.apply(&Record::Updated {
                unit: change.from.clone().unwrap_or_else(|| unit.clone()),
                to: change.from.is_some().then_some(unit),
                visibility: change.visibility,
                owner: change.owner.clone(),
                path: None,
            }),
            Action::Forget { .. } | Action::Delete { .. } => {
                state.apply(&Record::Forgotten { unit });
            }
            Action::Adopt { .. } => panic!("no build is pending: {step:?}"),
        }
    }
    state
}

/// Returns the path of the folder that the manifests lie in.
pub(super) fn root() -> &'static Path {
    FOLDERS.path()
}

/// Generates a manifest.
pub(super) fn document(choices: &mut Choices<'_>) -> Document {
    let mut head = "version: 1\n".to_owned();
    head.push_str(
        "x-common: &common\n  visibility: public\n  labels: { team: core, area: \"3.10\" }\n",
    );
    head.push_str("vars:\n  STAGE: dev\n  PY: \"3.12\"\n  BOTH: \"${STAGE}-${PY}\"\n");
    if choices.percent(40) {
        let tag = choices.pick(&["v1", "\"${STAGE}\"", "\"${NOT_SET:-x}\"", "\"{fingerprint}\""]);
        let _ = writeln!(head, "defaults:\n  tag: {tag}");
        if choices.percent(50) {
            head.push_str("  platforms: [linux/amd64, linux/arm64]\n");
        }
    }
    if choices.percent(30) {
        let owner = choices.pick(&["personal", "{ team: t-1 }", "\"team: t-1\""]);
        let _ = writeln!(head, "owner: {owner}");
    }
    if choices.percent(30) {
        head.push_str(
            "settings:\n  concurrency: 4\n  limits: { initiate: 10/1s }\n  context_warn: 1GB\n",
        );
    }
    let mut images = Vec::new();
    let mut names = Vec::new();
    // Manifests share some names, so that a later one adds, keeps and drops images of an earlier one.
    let first = choices.below(3);
    for index in first..first + 1 + choices.below(5) {
        let name = format!("app{index}");
        images.push(image(choices, &name, &names));
        names.push(name);
    }
    let mut tail = String::new();
    if choices.percent(30) {
        let _ = writeln!(tail, "groups:\n  some: [\"app0*\", \"{}\"]", choices.pick(&names));
    }
    // Names that an earlier manifest may have, and this one does not.
    let gone = ["old", "app0", "app7"].map(|name| if names[0] == name { "app8" } else { name });
    if choices.percent(40) {
        let from = if first > 0 { gone[choices.below(3)] } else { "app7" };
        let _ = writeln!(tail, "moved:\n  - {{ from: {from}, to: {} }}", names[0]);
    }
    if choices.percent(30) {
        let name = choices.pick(&["app9", "app6", "gone"]);
        let name = if names.iter().any(|other| other == name) { "gone" } else { name };
        let destroy = choices.percent(50);
        let _ = writeln!(tail, "removed:\n  - {{ name: {name}, destroy: {destroy} }}");
    }
    Document { head, images, tail }
}

/// Returns one entry of `images:`.
fn image(choices: &mut Choices<'_>, name: &str, earlier: &[String]) -> String {
    let folder = choices.pick(&CONTEXTS).0;
    let mut entry = match choices.below(8) {
        0..3 => format!("  - name: {name}\n    context: \"{folder}\"\n"),
        3 => format!(
            "  - name: {name}\n    source: {}\n",
            choices.pick(&["redis:7", "ghcr.io/a/b:v1"])
        ),
        4 => format!(
            "  - name: \"{name}-{{dir}}\"\n    discover: {{ glob: \"{}\" }}\n",
            choices.pick(&["jobs/*", "jobs/h*", "**/base"])
        ),
        5 => format!(
            "  - name: {name}\n    tag: \"${{OS}}-${{N}}\"\n    context: base\n    matrix:\n      \
             OS: [slim, alpine]\n      N: [\"1\", \"2\"]\n      exclude: [{{ OS: slim, N: \"2\" }}]\n"
        ),
        6 => format!("  - name: \"{name}-{{name}}\"\n    sources: [redis:7, ghcr.io/a/c:v2]\n"),
        _ => format!("  - name: \"{name}-{{name}}\"\n    sources_from: mirrors.txt\n"),
    };
    let is_mirror = entry.contains("source");
    if choices.percent(40) {
        entry.push_str("    <<: *common\n");
    } else if choices.percent(30) {
        let visibility = choices.pick(&["private", "PUBLIC", "inherit", "\"${V:-public}\""]);
        let _ = writeln!(entry, "    visibility: {visibility}");
    }
    if !is_mirror && choices.percent(30) {
        entry.push_str("    args: { A: \"${BOTH}\", TAG: latest }\n");
    }
    if !is_mirror && choices.percent(20) {
        let platforms = choices.pick(&["[linux/arm64]", "[linux/amd64, linux/arm64]"]);
        let _ = writeln!(entry, "    platforms: {platforms}");
    }
    if !earlier.is_empty() && choices.percent(10) {
        let _ = writeln!(entry, "    needs: [{}]", choices.pick(earlier));
    }
    if choices.percent(20) {
        let protect = choices.percent(60);
        let _ = writeln!(entry, "    protect: {protect}");
    }
    if !entry.contains("    tag:") && choices.percent(20) {
        let tags = ["v1", "v2", "\"${PY}\"", "\"x-{fingerprint}\"", "\"{arch}-${STAGE:?no}\""];
        let _ = writeln!(entry, "    tag: {}", choices.pick(&tags));
    }
    if choices.percent(10) {
        let owner = choices.pick(&["personal", "platform", "{ team: t-2 }"]);
        let _ = writeln!(entry, "    owner: {owner}");
    }
    if choices.percent(20) {
        entry.push_str("    groups: [some]\n    x-note: [1, 2]\n");
    }
    if choices.percent(20) {
        let _ = writeln!(entry, "    max_age: {}", choices.pick(&["30d", "2h"]));
    }
    entry
}
