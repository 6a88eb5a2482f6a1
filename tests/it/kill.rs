//! Death at any moment: the process is killed again and again while the project goes on changing,
//! and the server tells that nothing was lost and nothing begun twice.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use imgplan::server::{ServerBuild, ServerConfig};

use crate::support::{Output, Running, TestEnv};

/// What is made, in the order in which it joins the project: its image, and how.
const UNITS: [(&str, Origin); 12] = [
    ("base:v1", Origin::Build("scratch")),
    ("redis:7", Origin::List("docker.io/library/redis:7")),
    ("api:v1", Origin::Build("base:v1")),
    ("cache:v1", Origin::Named("docker.io/library/valkey")),
    ("lone:v1", Origin::Build("scratch")),
    ("mid:v1", Origin::Build("base:v1")),
    ("top:v1", Origin::Build("mid:v1")),
    ("postgres:17", Origin::List("docker.io/library/postgres:17")),
    ("nginx:1.27", Origin::List("docker.io/library/nginx:1.27")),
    ("db:v1", Origin::Named("docker.io/library/mariadb")),
    ("solo:v1", Origin::Build("scratch")),
    ("web:v1", Origin::Build("top:v1")),
];

/// Units that the project has at first.
const FIRST: usize = 5;

/// A run that waits for what never comes is a failure, and no test that hangs.
const APPLY: [&str; 4] = ["apply", "--auto-approve", "--timeout", "90s"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Built on this.
    Build(&'static str),
    /// Mirrored, with others by one request.
    List(&'static str),
    /// Mirrored under a name of its own, from one of this repository's tags.
    Named(&'static str),
}

/// A generator of numbers that a seed decides: splitmix64.
struct Dice(u64);

impl Dice {
    /// A number below `end`.
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

/// A project that changes, and what the server was seen to begin between the changes.
struct Project {
    env: TestEnv,
    dice: Dice,
    units: usize,
    /// The content of each image, and how often it or a base of it changed.
    contents: HashMap<&'static str, (usize, u32)>,
    /// The builds that have begun, and between which changes.
    begun: HashMap<String, (String, u32)>,
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
        let begun = HashMap::new();
        let project = Self { env, dice: Dice(seed), units: FIRST, contents, begun };
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
                Origin::List(source) => format!("  - source: {source}\n"),
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

    /// Writes what a build is made from: odd contents differ in the Dockerfile too.
    fn write(&self, image: &str, origin: Origin) {
        let Origin::Build(base) = origin else { return };
        let (name, _) = image.split_once(':').unwrap();
        let content = self.contents[image].0;
        let dockerfile = format!("FROM {base}\nLABEL half={}\nCOPY file /\n", content / 2);
        self.env.context(name, &dockerfile).write(&format!("{name}/file"), content.to_string());
    }

    /// Lets one unit join, or changes one that can be changed: to something new, or back.
    fn change(&mut self) {
        self.note_what_began();
        if self.units < UNITS.len() && self.dice.one_in(3) {
            self.units += 1;
        } else {
            let can = |(_, origin): &&(_, Origin)| !matches!(origin, Origin::List(_));
            let changeable: Vec<_> = UNITS[..self.units].iter().filter(can).collect();
            let (image, origin) = changeable[self.dice.below(changeable.len())];
            let content = &mut self.contents.get_mut(image).unwrap().0;
            *content = (*content + 1 + self.dice.below(3)) % 4;
            self.write(image, *origin);
            self.age(image);
        }
        self.write_manifest();
    }

    /// Notes that an image changed, and with it all that stands on it.
    fn age(&mut self, image: &str) {
        self.contents.get_mut(image).unwrap().1 += 1;
        let stands_on =
            |(_, origin): &&(_, Origin)| matches!(origin, Origin::Build(on) if *on == image);
        UNITS.iter().filter(stands_on).for_each(|(above, _)| self.age(above));
    }

    /// Waits for a random moment, or until the server has just done something that its answer has
    /// yet to tell.
    fn await_death(&mut self, run: &mut Running, within: usize) {
        if self.dice.one_in(2) {
            std::thread::sleep(Duration::from_millis(self.dice.below(within) as u64));
            return;
        }
        let server = self.env.server();
        let done = || {
            let builds = server.builds();
            builds.len() + builds.iter().filter(|build| build.started).count()
        };
        let enough = done() + 1 + self.dice.below(6);
        while done() < enough && !run.has_ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Files all that began since the last change. Nothing runs now that could begin more.
    fn note_what_began(&mut self) {
        for build in self.env.server().builds() {
            if has_begun(&build) && !self.begun.contains_key(&build.id) {
                let age = self.contents[build.image.as_str()].1;
                self.begun.insert(build.id, (build.image, age));
            }
        }
    }
}

/// A transfer begins by itself.
fn has_begun(build: &ServerBuild) -> bool {
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
fn whatever_the_moment_of_death_nothing_is_lost_and_nothing_begins_twice() {
    // Half of all answers take a while: what was done and not yet heard of is what may be lost.
    die_again_and_again(50, 600, &["all:slow=30ms:0.5"]);
}

/// Whoever died in the middle of an answer that was lost finds that out too.
#[test]
fn death_in_foul_weather_loses_nothing_either() {
    let faults = ["cut-after", "html-after", "cut-before", "500", "slow=100ms"];
    let faults = faults.map(|kind| format!("all:{kind}:4%"));
    die_again_and_again(15, 1500, &faults.each_ref().map(String::as_str));
}

/// Dies so often, each time within so many milliseconds. Whatever fails says how to throw the same
/// dice again.
fn die_again_and_again(times: usize, within: usize, faults: &[&str]) {
    let seed = seed();
    let lived = std::panic::catch_unwind(|| die(seed, times, within, faults));
    if let Err(panic) = lived {
        let why = panic.downcast_ref::<String>().map_or("see above", String::as_str);
        panic!("with IMGPLAN_TEST_SEED={seed}: {why}");
    }
}

fn die(seed: u64, times: usize, within: usize, faults: &[&str]) {
    let mut project = Project::new(seed, faults);
    let (mut killed, mut resumed) = (0, 0);
    while killed < times {
        let mut run = project.env.call(APPLY).start();
        if project.dice.one_in(8) {
            run.wait().success();
        } else {
            project.await_death(&mut run, within);
            run.kill();
            let left = run.wait();
            assert!(matches!(left.code, None | Some(0)), "{left}");
            killed += usize::from(left.code.is_none());
        }
        let plan = project.env.ok(["plan"]);
        assert!(plan.stderr.is_empty() && !plan.stdout.contains("cannot"), "{plan}");
        resumed += usize::from(plan.stdout.contains("<="));
        if plan.steps().is_empty() || project.dice.one_in(2) {
            project.change();
        }
    }
    assert!(resumed > 0, "no run died in the middle of its work");
    while project.units < UNITS.len() {
        project.change();
    }
    let last = project.env.ok(APPLY);
    project.env.plans_nothing();
    assert!(!project.env.exists(".imgplan/journal.jsonl"));
    project.note_what_began();
    check(&project, &last);
}

/// Holds what the server saw against what it should have.
fn check(project: &Project, last: &Output) {
    let builds = project.env.server().builds();
    let mut times: BTreeMap<&(String, u32), usize> = BTreeMap::new();
    for age in project.begun.values() {
        *times.entry(age).or_default() += 1;
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "begun more than once between two changes: {twice:?}\n{builds:#?}");
    for build in &builds {
        // One whose context never came waits for ever, and does no harm.
        let expected = if has_begun(build) { "COMPLETED" } else { "UPLOADING" };
        assert_eq!(build.status, expected, "{build:?}\n{last}");
    }
    for (image, _) in UNITS {
        let newest = builds.iter().rfind(|build| build.image == image && has_begun(build));
        assert_eq!(project.env.build_of(image), newest.unwrap().id, "{image}\n{last}");
    }
}
