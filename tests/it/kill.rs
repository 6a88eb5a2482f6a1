//! Processes killed at random moments while the project changes. The local server's records must show
//! that no build was lost and none started twice.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use imgplan::test_support::server::{ServerBuild, ServerConfig};

use crate::support::{Output, Running, TestEnv};

/// The images and their origins, in the order in which they are added to the project.
const UNITS: [(&str, Origin); 12] = [
    ("base:v1", Origin::Build("scratch")),
    ("redis:7", Origin::Batch("quay.io/library/redis:7")),
    ("api:v1", Origin::Build("base:v1")),
    ("cache:v1", Origin::Named("quay.io/library/valkey")),
    ("lone:v1", Origin::Build("scratch")),
    ("mid:v1", Origin::Build("base:v1")),
    ("top:v1", Origin::Build("mid:v1")),
    ("postgres:17", Origin::Batch("quay.io/library/postgres:17")),
    ("nginx:1.27", Origin::Batch("quay.io/library/nginx:1.27")),
    ("db:v1", Origin::Named("quay.io/library/mariadb")),
    ("solo:v1", Origin::Build("scratch")),
    ("web:v1", Origin::Build("top:v1")),
];

/// Number of images in the project at the start.
const INITIAL_UNITS: usize = 5;

/// The timeout turns a run that would hang into a failure.
const APPLY: [&str; 4] = ["apply", "--auto-approve", "--timeout", "90s"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Built from this base.
    Build(&'static str),
    /// Mirrored from this source, together with others in one batch.
    Batch(&'static str),
    /// Mirrored under its own name, from a tag of this repository.
    Named(&'static str),
}

/// A deterministic random generator: splitmix64.
struct Random(u64);

impl Random {
    /// Returns a number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let below = (mixed ^ (mixed >> 31)) % end as u64;
        usize::try_from(below).unwrap()
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// A changing project, and the builds that started between its changes.
struct Project {
    env: TestEnv,
    random: Random,
    units: usize,
    /// The content of each image, and the number of changes of the image or its bases.
    contents: HashMap<&'static str, (usize, u32)>,
    /// The image of each started build, and the number of changes of the image before it.
    started: HashMap<String, (String, u32)>,
}

impl Project {
    fn new(seed: u64, faults: &[&str]) -> Self {
        let build_time = Duration::from_millis(150);
        let faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
        let env = TestEnv::unlimited(ServerConfig {
            build_time,
            faults,
            seed,
            ..ServerConfig::default()
        });
        let contents = UNITS.iter().map(|(image, _)| (*image, (0, 0))).collect();
        let (random, started) = (Random(seed), HashMap::new());
        let project = Self { env, random, units: INITIAL_UNITS, contents, started };
        for (image, origin) in UNITS {
            project.write(image, origin);
        }
        project.write_manifest();
        project
    }

    fn write_manifest(&self) {
        let entry = |(image, origin): &(&str, Origin)| {
            let (name, tag) = image.split_once(':').unwrap();
            match origin {
                Origin::Build(_) => format!("  - {{name: {name}, tag: {tag}, context: {name}}}\n"),
                Origin::Batch(source) => format!("  - source: {source}\n"),
                Origin::Named(repository) => {
                    let source = format!("{repository}:{}", self.contents[image].0);
                    format!("  - {{source: \"{source}\", name: {name}, tag: {tag}}}\n")
                }
            }
        };
        let images: String = UNITS[..self.units].iter().map(entry).collect();
        let text = format!("version: 1\nimages:\n{images}");
        self.env.write("imgplan.yaml", text);
    }

    /// Writes the context of a build. Every second content also changes the Dockerfile.
    fn write(&self, image: &str, origin: Origin) {
        let Origin::Build(base) = origin else { return };
        let (name, _) = image.split_once(':').unwrap();
        let content = self.contents[image].0;
        let dockerfile = format!("FROM {base}\nLABEL half={}\nCOPY file /\n", content / 2);
        self.env.context(name, &dockerfile).write(&format!("{name}/file"), content.to_string());
    }

    /// Adds an image, or changes the content of one, possibly back to an earlier content.
    fn change(&mut self) {
        self.record_started_builds();
        if self.units < UNITS.len() && self.random.one_in(3) {
            self.units += 1;
        } else {
            let can_change = |(_, origin): &&(_, Origin)| !matches!(origin, Origin::Batch(_));
            let changeable: Vec<_> = UNITS[..self.units].iter().filter(can_change).collect();
            let (image, origin) = changeable[self.random.below(changeable.len())];
            let content = &mut self.contents.get_mut(image).unwrap().0;
            *content = (*content + 1 + self.random.below(3)) % 4;
            self.write(image, *origin);
            self.count_change(image);
        }
        self.write_manifest();
    }

    /// Counts a change of an image and of its dependents.
    fn count_change(&mut self, image: &str) {
        self.contents.get_mut(image).unwrap().1 += 1;
        let is_dependent =
            |(_, origin): &&(_, Origin)| matches!(origin, Origin::Build(base) if *base == image);
        let dependents = UNITS.iter().filter(is_dependent);
        dependents.for_each(|(dependent, _)| self.count_change(dependent));
    }

    /// Waits for a random time, or until the server has accepted or started builds. In the second case
    /// the response is probably still on its way.
    fn wait_for_kill(&mut self, run: &mut Running, max_millis: usize) {
        if self.random.one_in(2) {
            std::thread::sleep(Duration::from_millis(self.random.below(max_millis) as u64));
            return;
        }
        let server = self.env.server();
        let progress = || {
            let builds = server.builds();
            builds.len() + builds.iter().filter(|build| build.started).count()
        };
        let target = progress() + 1 + self.random.below(6);
        while progress() < target && !run.has_ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Records the builds that started since the last change. Must not be called during a run.
    fn record_started_builds(&mut self) {
        for build in self.env.server().builds() {
            if is_started(&build) && !self.started.contains_key(&build.id) {
                let changes = self.contents[build.image.as_str()].1;
                self.started.insert(build.id, (build.image, changes));
            }
        }
    }
}

/// True if a build was started. Transfers start when they are accepted.
fn is_started(build: &ServerBuild) -> bool {
    let is_build = |(image, origin): &(&str, Origin)| {
        *image == build.image && matches!(origin, Origin::Build(_))
    };
    build.started || !UNITS.iter().any(is_build)
}

fn seed() -> u64 {
    match std::env::var("IMGPLAN_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => RandomState::new().build_hasher().finish(),
    }
}

#[test]
fn killed_runs_lose_nothing_and_start_nothing_twice() {
    // Half of the responses are slow: requests whose response is on its way are the critical ones.
    kill_repeatedly(50, 600, &["all:slow=30ms:0.5"]);
}

#[test]
fn killed_runs_lose_nothing_with_injected_faults() {
    let faults = ["cut-after", "html-after", "cut-before", "500", "slow=100ms"];
    let faults = faults.map(|kind| format!("all:{kind}:4%"));
    kill_repeatedly(15, 1500, &faults.each_ref().map(String::as_str));
}

/// Kills `kills` runs, each at most `max_millis` after its start. A failure names its seed, with which
/// it can be repeated.
fn kill_repeatedly(kills: usize, max_millis: usize, faults: &[&str]) {
    let seed = seed();
    let result = std::panic::catch_unwind(|| kill_runs(seed, kills, max_millis, faults));
    if let Err(panic) = result {
        let message = panic.downcast_ref::<String>().map_or("see above", String::as_str);
        panic!("with IMGPLAN_TEST_SEED={seed}: {message}");
    }
}

fn kill_runs(seed: u64, kills: usize, max_millis: usize, faults: &[&str]) {
    let mut project = Project::new(seed, faults);
    let (mut killed, mut resumed) = (0, 0);
    while killed < kills {
        let mut run = project.env.call(APPLY).start();
        if project.random.one_in(8) {
            run.wait().success();
        } else {
            project.wait_for_kill(&mut run, max_millis);
            run.kill();
            let output = run.wait();
            assert!(matches!(output.code, None | Some(0)), "{output}");
            killed += usize::from(output.code.is_none());
        }
        let plan = project.env.ok(["plan"]);
        assert!(plan.stderr.is_empty() && !plan.stdout.contains("cannot"), "{plan}");
        resumed += usize::from(plan.stdout.contains("<="));
        if plan.steps().is_empty() || project.random.one_in(2) {
            project.change();
        }
    }
    assert!(resumed > 0, "no run was killed while a build was running");
    while project.units < UNITS.len() {
        project.change();
    }
    let last = project.env.ok(APPLY);
    project.env.plans_nothing();
    assert!(!project.env.exists(".imgplan/journal.jsonl"));
    project.record_started_builds();
    check(&project, &last);
}

/// Compares the server's builds with the expected ones.
fn check(project: &Project, last: &Output) {
    let builds = project.env.server().builds();
    let mut starts: BTreeMap<&(String, u32), usize> = BTreeMap::new();
    for content in project.started.values() {
        *starts.entry(content).or_default() += 1;
    }
    let twice: Vec<_> = starts.iter().filter(|(_, starts)| **starts > 1).collect();
    assert!(twice.is_empty(), "started twice between two changes: {twice:?}\n{builds:#?}");
    for build in &builds {
        // A build whose context was not uploaded stays in UPLOADING and does no harm.
        let expected = if is_started(build) { "COMPLETED" } else { "UPLOADING" };
        assert_eq!(build.status, expected, "{build:?}\n{last}");
    }
    for (image, _) in UNITS {
        let newest = builds.iter().rfind(|build| build.image == image && is_started(build));
        assert_eq!(project.env.build_of(image), newest.unwrap().id, "{image}\n{last}");
    }
}
