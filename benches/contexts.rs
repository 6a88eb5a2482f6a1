//! The parts that a plan and an archive are made of, each for itself, within one process.
//!
//! Not what a user waits for, which `peers` measures: these tell which part a change has made
//! slower.

#![allow(clippy::disallowed_methods, reason = "it reads what it wrote")]
#![allow(clippy::unwrap_used, reason = "a bench that panics says where")]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use imgplan::test_support::base::image_path::ImagePath;
use imgplan::test_support::base::name::{BuildId, Owner, Visibility};
use imgplan::test_support::context::ignore::IgnorePatterns;
use imgplan::test_support::context::{
    self, DockerfileToSend, History, Placement, ScanRequest, StatCache,
};
use imgplan::test_support::manifest::workspace::UnitId;
use imgplan::test_support::manifest::{Invocation, Workspace};
use imgplan::test_support::plan::{self, Action, Create, Facts};
use imgplan::test_support::state::{Built, Entry, State, decode, encode};
use imgplan::test_support::survey::{self, Caches, Query};
use tempfile::TempDir;

use self::support::{Random, contexts, text};

/// Allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const IMAGES: usize = 1000;

fn main() {
    divan::main();
}

/// Matches 10,000 paths against ten common patterns.
#[divan::bench]
fn ignore_patterns(bencher: Bencher) {
    const PATTERNS: &str = "tests\n!tests/keep\n**/*.pyc\n**/__pycache__\n.env\n*.md\n\
        node_modules\n**/.git\ndocs/**/*.png\n!README.md\n";
    let folders = ["src", "src/handlers", "tests", "tests/keep", "docs/images/large"];
    let endings = ["py", "pyc", "md", "png"];
    let path = |number: usize| {
        format!("{}/module_{number}.{}", folders[number % 5], endings[number / 5 % 4])
    };
    let paths: Vec<String> = (0..10_000).map(path).collect();
    let patterns = IgnorePatterns::parse(PATTERNS).unwrap();
    bencher.counter(ItemsCount::new(paths.len())).bench_local(|| {
        paths.iter().filter(|path| patterns.match_path(black_box(path)).ignored).count()
    });
}

/// Scans a context of 10,000 files without a cache.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn scan_reading(bencher: Bencher) {
    let (_dir, requests) = context_of(10_000);
    bencher.counter(ItemsCount::new(10_000_usize)).bench_local(|| scanned(&requests, None));
}

/// Scans the same context with all files in the stat cache.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn scan_cached(bencher: Bencher) {
    let (dir, requests) = context_of(10_000);
    let work = dir.path().join(".imgplan");
    // New files are not cached, so the first scan may write an empty cache.
    for _ in 0..2 {
        scanned(&requests, Some(StatCache::read(&work)));
    }
    bencher
        .counter(ItemsCount::new(10_000_usize))
        .bench_local(|| scanned(&requests, Some(StatCache::read(&work))));
}

/// Packs 20 MB of text, and discards the archive.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn pack(bencher: Bencher) {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(1);
    for number in 0..200 {
        let file = dir.path().join(format!("file-{number:03}"));
        fs::write(file, text(&mut random, 100_000)).unwrap();
    }
    let request = ScanRequest { root: dir.path().into(), dockerfile: None, reads: None };
    let tree = context::scan_all(&[request], None).unwrap().remove(0);
    let text = "FROM scratch\nCOPY . /\n".to_owned();
    let placed = Placement::new(&tree, DockerfileToSend { inside: None, is_changed: false, text });
    bencher
        .counter(BytesCount::new(tree.size()))
        .bench_local(|| context::pack(&tree, &placed, io::sink()).unwrap());
}

/// A manifest of 1,000 images, and their Dockerfiles.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn load(bencher: Bencher) {
    let dir = repository();
    bencher.counter(ItemsCount::new(IMAGES)).bench_local(|| workspace(dir.path()));
}

/// A plan of 1,000 units of which none has anything new.
#[divan::bench]
fn plan_nothing(bencher: Bencher) {
    let Applied { workspace, facts, state } = Applied::new();
    assert!(plan::build(&workspace, &facts, &state, &plan::PlanOptions::default()).is_noop());
    bencher
        .counter(ItemsCount::new(IMAGES))
        .bench_local(|| plan::build(&workspace, &facts, &state, &plan::PlanOptions::default()));
}

/// A lockfile of 1,000 units, written.
#[divan::bench]
fn lockfile_encode(bencher: Bencher) {
    let Applied { state, .. } = Applied::new();
    bencher.counter(ItemsCount::new(IMAGES)).bench_local(|| encode::encode("local", &state));
}

/// The same, read.
#[divan::bench]
fn lockfile_decode(bencher: Bencher) {
    let Applied { state, .. } = Applied::new();
    let lockfile = encode::encode("local", &state);
    assert_eq!(decode::decode(&lockfile).unwrap().state, state);
    bencher
        .counter(ItemsCount::new(IMAGES))
        .bench_local(|| decode::decode(black_box(&lockfile)).unwrap());
}

/// Returns a repository with one context, and the request to scan it.
fn context_of(files: usize) -> (TempDir, [ScanRequest; 1]) {
    let dir = tempfile::tempdir().unwrap();
    contexts(dir.path(), 1, files).unwrap();
    let root = dir.path().join("services/image-00000").into();
    (dir, [ScanRequest { root, dockerfile: None, reads: None }])
}

fn scanned(requests: &[ScanRequest], cache: Option<StatCache>) -> usize {
    context::scan_all(requests, cache).unwrap()[0].files()
}

/// 1,000 small contexts and their manifest.
fn repository() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    contexts(dir.path(), IMAGES, 4).unwrap();
    dir
}

fn workspace(dir: &Path) -> Workspace {
    Workspace::load(&Invocation::file(dir.join("imgplan.yaml")), &|_| None).unwrap()
}

/// Everything that a plan is made from, as after an apply.
struct Applied {
    workspace: Workspace,
    facts: Facts,
    state: State,
}

impl Applied {
    fn new() -> Self {
        let dir = repository();
        let workspace = workspace(dir.path());
        let work: PathBuf = dir.path().join(".imgplan");
        let caches = Caches { stat: StatCache::read(&work), history: History::at(&work) };
        let empty = State::default();
        let facts = survey::facts(Query::offline(&workspace, &empty, caches));
        let facts = tokio::runtime::Runtime::new().unwrap().block_on(facts).unwrap();
        let mut state = State::default();
        for step in plan::build(&workspace, &facts, &empty, &plan::PlanOptions::default()).steps {
            if let Action::Create(make) = step.action {
                state.entries.insert(step.key, recorded(&workspace, make));
            }
        }
        Self { workspace, facts, state }
    }
}

/// Returns the state of a unit after it was built.
fn recorded(workspace: &Workspace, make: Create) -> Entry {
    let Create { unit: UnitId(number), kind, fingerprint, inputs, .. } = make;
    let unit = &workspace.units[number];
    let built = Built {
        fingerprint,
        inputs,
        build: BuildId::new(format!("build-{number:08}")).unwrap(),
        path: ImagePath::new(format!("registry.example.com/personal/{}", unit.key)).unwrap(),
        owner: Owner::Personal,
        visibility: Visibility::Private,
        image: None,
        completed: None,
        seconds: None,
    };
    Entry { built: Some(built), ..Entry::new(kind, unit.platform) }
}
