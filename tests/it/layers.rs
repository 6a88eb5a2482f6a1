//! Checks the floors of the program, which the compiler cannot check within one crate: which modules
//! may import which, which may be async, and the size and name of each file.
//!
//! If a rule fails, move the code. If the design changed, change the table below.

mod circles;
mod language;
mod scan;

use std::path::Path;

use self::scan::Source;

/// A module of the crate and the modules that it may import.
struct Floor {
    module: &'static str,
    /// Modules, or paths in a module with everything below them.
    may_use: &'static [&'static str],
    may_be_async: bool,
    /// Advice for code that needs more.
    way_out: &'static str,
}

const FLOORS: &[Floor] = &[
    Floor {
        module: "base",
        may_use: &[],
        may_be_async: false,
        way_out: "`base` imports nothing: move code that needs more to the module that has it",
    },
    Floor {
        module: "http",
        may_use: &["base"],
        may_be_async: true,
        way_out: "`http` carries bytes: their meaning belongs to the clients",
    },
    Floor {
        module: "dockerfile",
        may_use: &["base"],
        may_be_async: false,
        way_out: "a parser takes text and returns values: let the caller pass in the rest",
    },
    Floor {
        module: "manifest",
        may_use: &["base", "dockerfile"],
        may_be_async: false,
        way_out: "a workspace holds what the manifest says, not what exists: that belongs to the facts",
    },
    Floor {
        module: "context",
        may_use: &["base"],
        may_be_async: false,
        way_out: "a tree holds files, not images: let the caller pass in the rest",
    },
    Floor {
        module: "state",
        may_use: &["base"],
        may_be_async: false,
        way_out: "the state does not depend on the manifest: let the caller pass in the rest",
    },
    Floor {
        module: "shared",
        may_use: &["base", "http::transport::install_tls_provider", "state"],
        may_be_async: true,
        way_out: "a shared state takes entries and pins: let the caller pass in the rest",
    },
    Floor {
        module: "api",
        may_use: &["base", "http"],
        may_be_async: true,
        way_out: "the client takes names and bytes: let the caller pass in the rest",
    },
    Floor {
        module: "registry",
        may_use: &["base", "http"],
        may_be_async: true,
        way_out: "the registry client takes references: let the caller pass in the rest",
    },
    Floor {
        module: "plan",
        may_use: &[
            "base",
            "context::FileChange",
            "context::Tree",
            "manifest::workspace::BuildOrigin",
            "manifest::workspace::ExternalBase",
            "manifest::workspace::Moved",
            "manifest::workspace::Origin",
            "manifest::workspace::Removed",
            "manifest::workspace::Unit",
            "manifest::workspace::UnitId",
            "manifest::workspace::Workspace",
            "state::Built",
            "state::Entry",
            "state::Inputs",
            "state::BuildStage",
            "state::State",
            "state::BuildOutcome",
            "state::Pending",
            "state::Pin",
            "state::Record",
            "state::Submission",
            "state::encode::encode",
        ],
        may_be_async: false,
        way_out: "the planner is pure: let `survey` put the values into the facts",
    },
    Floor {
        module: "event",
        may_use: &["base", "http::Notice", "plan"],
        may_be_async: false,
        way_out: "events are data: put the values into the event",
    },
    Floor {
        module: "survey",
        may_use: &[
            "api",
            "base",
            "context",
            "dockerfile",
            "http::Notice",
            "manifest",
            "plan",
            "state",
            "registry",
        ],
        may_be_async: true,
        way_out: "a survey only reads: code that acts or prints belongs above it",
    },
    Floor {
        module: "run",
        may_use: &[
            "api",
            "base",
            "context",
            "dockerfile",
            "event",
            "http::Notice",
            "manifest",
            "plan",
            "shared",
            "state",
        ],
        may_be_async: true,
        way_out: "a run emits events and depends on no reporter; its input is the plan",
    },
    Floor {
        module: "report",
        may_use: &["base", "event", "http::Notice", "manifest", "plan", "state"],
        may_be_async: false,
        way_out: "a reporter depends on events and plans only: put the values there",
    },
    Floor {
        module: "server",
        may_use: &["api::wire", "base", "dockerfile", "registry"],
        may_be_async: true,
        way_out: "the server shares only the wire types with the client of its API; tests against shared code prove nothing",
    },
    Floor {
        module: "test_support",
        may_use: &[
            "api",
            "base",
            "context",
            "dockerfile",
            "event",
            "http",
            "manifest",
            "plan",
            "registry",
            "run",
            "server",
            "state",
            "survey",
        ],
        may_be_async: false,
        way_out: "test support only re-exports items",
    },
    Floor {
        module: "convert",
        may_use: &["base"],
        may_be_async: false,
        way_out: "a converter only writes a manifest",
    },
];

/// Modules above all floors.
const TOP: &[&str] = &["cli", "lib", "main"];

/// Names that a file whose first lines say `Pure` may not use.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "std::process",
    "std::thread",
    "fs::",
    "io::stdin",
    "Instant::now",
    "Timestamp::now",
    "SystemTime::now",
    "tokio::fs",
    "tokio::net",
    "tokio::spawn",
];

/// Error types that callers cannot match on.
const UNTYPED: &[&str] = &["Box<dyn Error", "Box<dyn std::error::Error", "Box<dyn error::Error"];

/// Code that writes to the standard streams.
const OUTPUT: &[&str] = &[
    "println!",
    "eprintln!",
    "print!",
    "eprint!",
    "stdout().lock",
    "stderr().lock",
    "error.print()",
];

/// Maximum number of lines of a file, without its tests.
const MAX_LINES: usize = 400;

/// File names that do not say what the file is for.
const VAGUE_NAMES: &[&str] = &["util", "utils", "common", "misc", "helper", "helpers"];

/// Returns the problems of one file, as `file:line: problem and advice`.
fn check(source: &Source) -> Vec<String> {
    let mut problems = floors(source);
    problems.extend(shape(source));
    problems.extend(words(source));
    let place = |(line, text)| format!("{}:{line}: {text}", source.path);
    problems.into_iter().map(place).collect()
}

type Problem = (usize, String);

/// Checks imports and async code.
fn floors(source: &Source) -> Vec<Problem> {
    let module = source.module();
    let top = module.first().map_or("lib", String::as_str);
    let Some(floor) = FLOORS.iter().find(|floor| floor.module == top) else {
        if TOP.contains(&top) {
            return Vec::new();
        }
        return vec![(1, format!("`{top}` is on no floor: give it one in tests/it/layers.rs"))];
    };
    let refused = |(line, path): (usize, Vec<String>)| Some((line, floor.refuses(&path)?));
    let mut problems: Vec<Problem> = source.paths().into_iter().filter_map(refused).collect();
    if !floor.may_be_async {
        for line in ["async", "await"].into_iter().flat_map(|word| source.find(word)) {
            problems.push((line, format!("`{top}` must not be async: {}", floor.way_out)));
        }
    }
    problems
}

/// Checks the size, the name and the first line of a file.
fn shape(source: &Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    if source.lines > MAX_LINES {
        let rule = format!("at most {MAX_LINES}: split the file by purpose");
        problems.push((1, format!("{} lines without its tests; {rule}", source.lines)));
    }
    if let Some(name) = source.module().last().filter(|name| VAGUE_NAMES.contains(&name.as_str())) {
        problems.push((1, format!("`{name}` is vague: name the file by its purpose")));
    }
    if source.doc.is_empty() {
        problems.push((
            1,
            "the first line is not a `//!` comment with the purpose of the file".to_owned(),
        ));
    }
    problems
}

/// Checks for names that the file may not use.
fn words(source: &Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |words: &[&str], why: &str| {
        for words in words {
            problems.extend(source.find(words).map(|line| (line, format!("`{words}`: {why}"))));
        }
    };
    if says_pure(&source.doc) {
        let why = "the first lines say `Pure`: let the caller pass it in, or drop the word";
        refuse(IMPURE, why);
    }
    refuse(UNTYPED, "an error without a type: add a variant to the module's own");
    if source.path != "src/cli/door.rs" {
        refuse(OUTPUT, "all output goes through cli/door.rs");
    }
    problems
}

impl Floor {
    /// Returns the reason if this floor may not import a path.
    fn refuses(&self, path: &[String]) -> Option<String> {
        let top = path.first()?;
        if top == self.module {
            return None;
        }
        let covers = |allowed: &&str| {
            let allowed: Vec<&str> = allowed.split("::").collect();
            path.len() >= allowed.len() && path.iter().zip(&allowed).all(|(a, b)| a == b)
        };
        if self.may_use.iter().any(covers) {
            return None;
        }
        let path = path.join("::");
        let may = match self.may_use {
            [] => "it may use nothing of ours".to_owned(),
            some => format!("it may use {}", some.join(", ")),
        };
        Some(format!("`{}` must not use `{path}`: {}; {may}", self.module, self.way_out))
    }
}

/// True if a file's first lines have the word as a sentence of its own.
fn says_pure(doc: &str) -> bool {
    doc.split(". ").any(|sentence| {
        let sentence = sentence.trim_end_matches('.');
        sentence == "Pure" || sentence.starts_with("Pure:")
    })
}

/// Returns the sources without the files and folders that contain only tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    super::support::list(&root.join("src"), &mut |path, meta| {
        let rust = path.extension().is_some_and(|extension| extension == "rs");
        let name = path.strip_prefix(root).unwrap();
        let tests = name.ends_with("tests.rs") || name.parent().unwrap().ends_with("tests");
        if meta.is_file() && rust && !tests {
            let text = std::fs::read_to_string(path).unwrap();
            let path = name.to_str().unwrap().replace('\\', "/");
            found.push(Source::read(&path, &text));
        }
    });
    found
}

#[test]
fn every_file_keeps_to_its_floor() {
    let sources = sources();
    assert!(sources.len() > 50, "{} files: are these all?", sources.len());
    let problems: Vec<String> = sources.iter().flat_map(check).collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles = circles::circles(&sources());
    assert!(circles.is_empty(), "\n{}\n", circles.join("\n"));
}

/// A test file without a `mod` line does not run, and nobody notices.
#[test]
fn every_file_of_tests_is_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = std::fs::read_to_string(root.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with('.') {
            continue;
        }
        let module = name.strip_suffix(".rs").unwrap_or(&name);
        let named = module == "main" || main.contains(&format!("mod {module};"));
        assert!(named, "tests/it/{name} is not run: name it in tests/it/main.rs");
    }
}

#[test]
fn each_rule_can_fail() {
    let long = format!("//! Doc.\n{}", "fn f() {}\n".repeat(MAX_LINES));
    let table = [
        (
            "src/base/x.rs",
            "//! D.\nuse crate::api::Client;",
            "src/base/x.rs:2: `base` must not use `api::Client`",
        ),
        (
            "src/plan/x.rs",
            "//! D.\nuse crate::context::{Tree,\n scan};",
            "`plan` must not use `context::scan`",
        ),
        ("src/plan/x.rs", "//! D.\nuse crate::context;", "`plan` must not use `context`"),
        ("src/plan/x.rs", "//! D.\nuse crate::state::*;", "`plan` must not use `state::*`"),
        (
            "src/plan/x.rs",
            "//! D.\nuse super::super::survey::facts;",
            "`plan` must not use `survey::facts`",
        ),
        ("src/plan/x.rs", "//! D.\nasync fn f() {}", "src/plan/x.rs:2: `plan` must not be async"),
        (
            "src/run/x.rs",
            "//! D.\nuse crate::report::Reporter;",
            "`run` must not use `report::Reporter`",
        ),
        ("src/report/x.rs", "//! D.\nuse crate::run::Run;", "`report` must not use `run::Run`"),
        (
            "src/server/x.rs",
            "//! D.\nuse crate::api::{wire::Page, RateLimiter};",
            "`server` must not use `api::RateLimiter`",
        ),
        (
            "src/server/x.rs",
            "//! D.\nfn f() { crate::context::scan() }",
            "`server` must not use `context::scan`",
        ),
        ("src/event.rs", "//! D.\nuse super::cli::main;", "`event` must not use `cli::main`"),
        ("src/new.rs", "//! D.", "`new` is on no floor"),
        (
            "src/run/x.rs",
            "//! D. Pure.\nfn f() { Instant::now() }",
            "src/run/x.rs:2: `Instant::now`: the first lines say `Pure`",
        ),
        ("src/run/x.rs", "//! D. Pure: given.\nuse std::fs;", "`std::fs`: the first lines say"),
        ("src/run/x.rs", &long, "401 lines without its tests"),
        ("src/run/util.rs", "//! D.", "`util` is vague"),
        ("src/run/x.rs", "use crate::plan::Plan;", "the first line is not a `//!`"),
        (
            "src/run/x.rs",
            "//! D.\nfn f() -> Box<dyn std::error::Error> {}",
            "an error without a type",
        ),
        ("src/cli/plan.rs", "//! D.\nfn f() { println!(\"\") }", "`println!`: all output goes"),
        ("src/cli/plan.rs", "//! D.\nfn f() { io::stderr().lock() }", "all output goes"),
    ];
    for (path, text, expected) in table {
        let problems = check(&Source::read(path, text));
        assert_eq!(problems.len(), 1, "{path}: {text}: {problems:?}");
        assert!(problems[0].contains(expected), "{problems:?} has no {expected:?}");
    }
}
