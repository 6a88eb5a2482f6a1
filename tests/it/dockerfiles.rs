//! Parses and lowers the Dockerfiles of `tests/data/dockerfiles`; each covers a special case.
//!
//! Each has an `.expect` file. The lines that begin with `#`, `buildah:` or `lower` are written by
//! hand: a description, `yes` or the reason why Buildah does not build the file, and sets of
//! arguments and targets to lower (each may have a reason of its own). The other lines are the
//! facts that must be read from the file, before and after lowering. `IMGPLAN_EXPECT=write` updates
//! them, so that `git diff` shows the changes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use imgplan::test_support::base::name::Platform;
use imgplan::test_support::dockerfile::{
    BuildReach, Dockerfile, LowerError, LowerSubject, ReachRequest, Reference, ReferenceKind,
    ReferencePlatform,
};
use serde::Deserialize;

/// A Dockerfile and its `.expect` file.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) text: String,
    expected: String,
    pub(crate) lowers: Vec<(String, Lower)>,
    /// True if Buildah builds the file.
    pub(crate) is_built: bool,
}

/// Arguments and a target to lower.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lower {
    #[serde(default)]
    pub(crate) args: BTreeMap<String, String>,
    pub(crate) target: Option<String>,
    /// The reason why Buildah does not build this set, if it builds the others.
    pub(crate) buildah: Option<String>,
}

impl Lower {
    pub(crate) fn apply(&self, file: &Dockerfile) -> Result<Dockerfile, Vec<LowerError>> {
        file.lowered(&self.args, self.target.as_deref())
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dockerfiles")
}

/// Returns all cases, sorted by name.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("Dockerfile") => cases.push(case(name, &path)),
            Some("expect") => {
                assert!(path.with_extension("Dockerfile").exists(), "{name} has no Dockerfile");
            }
            _ => assert_eq!(name, ".gitattributes", "unexpected file {}", path.display()),
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn case(name: String, path: &Path) -> Case {
    let text = std::fs::read_to_string(path).unwrap();
    let expected = std::fs::read_to_string(path.with_extension("expect"));
    let expected = expected.unwrap_or_else(|error| panic!("{name} has no .expect file: {error}"));
    let lowers = expected.lines().filter_map(|line| line.strip_prefix("lower ")).map(|line| {
        let lower = serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {line}: {e}"));
        (line.to_owned(), lower)
    });
    let lowers = lowers.collect();
    let buildah = expected.lines().find_map(|line| line.strip_prefix("buildah: "));
    let buildah = buildah.unwrap_or_else(|| panic!("{name} has no `buildah:` line"));
    let is_built = buildah == "yes";
    Case { name, text, expected, lowers, is_built }
}

/// Returns a text on one line, with special characters escaped.
fn shown(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            ' ' => vec![c],
            c if c.is_whitespace() || c.is_control() => c.escape_default().collect(),
            c => vec![c],
        })
        .collect()
}

/// Returns what a build of the last stage reaches.
pub(crate) fn reach(file: &Dockerfile) -> BuildReach {
    file.reach(&ReachRequest::new(Platform::Amd64)).unwrap()
}

/// Returns the references that the builds of the stages reach, in order.
fn references_of_all(file: &Dockerfile) -> Vec<Reference> {
    let targets: Vec<String> = (0..file.stages().len()).map(|index| index.to_string()).collect();
    let new = ReachRequest::new(Platform::Amd64);
    // The last stage is built without a target.
    let (_, earlier) = targets.split_last().unwrap();
    let requests = earlier.iter().map(|target| ReachRequest { target: Some(target), ..new });
    let requests = requests.chain([new]);
    let mut references: Vec<Reference> =
        requests.flat_map(|request| file.reach(&request).unwrap().references).collect();
    references.sort_by_key(|reference| (reference.span.start, !reference.needed));
    references.dedup_by_key(|reference| reference.span.start);
    references
}

/// Returns the facts that are read from a file, one per line.
fn facts(file: &Dockerfile, indent: &str) -> String {
    let mut out = String::new();
    for (index, stage) in file.stages().iter().enumerate() {
        let name = stage.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
        writeln!(out, "{indent}stage {index}{name}").unwrap();
    }
    for arg in file.args() {
        let place = arg.stage.map_or("global".to_owned(), |stage| format!("stage {stage}"));
        let written = shown(&file.text()[arg.span]);
        writeln!(out, "{indent}arg {written}  ({place})").unwrap();
    }
    let needed = reach(file).references.into_iter().map(|reference| reference.span);
    let needed: Vec<_> = needed.collect();
    for reference in references_of_all(file) {
        let kind = match reference.kind {
            ReferenceKind::From => "FROM",
            ReferenceKind::CopyFrom => "COPY --from",
            ReferenceKind::MountFrom => "RUN --mount=from",
        };
        let image = reference.image.unwrap_or_else(|error| format!("? {}", error.message));
        let written = shown(&reference.text);
        let written = if written == image { String::new() } else { format!("  ({written})") };
        let on = match reference.platform {
            ReferencePlatform::Unit => String::new(),
            ReferencePlatform::Fixed(platform) => format!(" on {platform}"),
            ReferencePlatform::Builder => " on the builder's platform".to_owned(),
            ReferencePlatform::Other(other) => {
                format!(" on {other}, which the service does not build for")
            }
        };
        let unneeded = if needed.contains(&reference.span) { "" } else { "  (not needed)" };
        writeln!(out, "{indent}image {kind} {image}{on}{written}{unneeded}").unwrap();
    }
    for source in reach(file).paths {
        let unknown = if source.resolved { "" } else { "? " };
        writeln!(out, "{indent}copies {unknown}{}", shown(&source.path)).unwrap();
    }
    out
}

/// Returns the expected content of the `.expect` file.
fn report(case: &Case) -> String {
    let by_hand = |line: &&str| line.starts_with('#') || line.starts_with("buildah: ");
    let mut out = String::new();
    for line in case.expected.lines().filter(by_hand) {
        writeln!(out, "{line}").unwrap();
    }
    let file = match Dockerfile::parse(&case.text) {
        Ok(file) => file,
        Err(errors) => {
            for error in errors {
                let place = shown(&case.text[error.span.clone()]);
                writeln!(out, "refused: {error}  ({place})").unwrap();
            }
            return out;
        }
    };
    for error in reach(&file).errors {
        writeln!(out, "refused: {error}  ({})", shown(&case.text[error.span.clone()])).unwrap();
    }
    out.push_str(&facts(&file, ""));
    for (line, lower) in &case.lowers {
        writeln!(out, "lower {line}").unwrap();
        for LowerError { subject, message, help } in
            file.unused_args(&lower.args, lower.target.as_deref())
        {
            let LowerSubject::Arg(name) = subject else { panic!("{subject:?}") };
            writeln!(out, "  unused arg {}: {message}: {help}", shown(&name)).unwrap();
        }
        match lower.apply(&file) {
            Ok(lowered) => {
                let new = |line: &&str| !case.text.lines().any(|old| old == *line);
                for line in lowered.text().lines().filter(new) {
                    writeln!(out, "  line {}", shown(line)).unwrap();
                }
                out.push_str(&facts(&lowered, "  "));
            }
            Err(errors) => {
                for LowerError { subject, message, help } in errors {
                    let subject = match subject {
                        LowerSubject::Arg(name) => format!("arg {name}"),
                        LowerSubject::Target => "target".to_owned(),
                    };
                    writeln!(out, "  refused {}: {message}: {help}", shown(&subject)).unwrap();
                }
            }
        }
    }
    out
}

#[test]
fn every_file_gives_the_expected_facts() {
    let cases = cases();
    assert!(cases.len() >= 45, "{} files: are these all?", cases.len());
    let write = std::env::var_os("IMGPLAN_EXPECT").is_some_and(|how| how == "write");
    let mut wrong = Vec::new();
    for case in &cases {
        let needless =
            !case.is_built && case.lowers.iter().any(|(_, lower)| lower.buildah.is_some());
        assert!(
            !needless,
            "{}: Buildah does not build the file, so a set needs no reason",
            case.name
        );
        let report = report(case);
        if report == case.expected {
            continue;
        }
        if write {
            std::fs::write(folder().join(format!("{}.expect", case.name)), &report).unwrap();
        }
        wrong.push(format!("== {}: expected\n{}== found\n{report}", case.name, case.expected));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[cfg(target_os = "linux")]
pub(crate) mod built {
    //! Checks that Buildah builds the same image from a lowered file as from the original with the
    //! same arguments and target.

    use std::collections::BTreeSet;
    use std::fs;
    use std::process::Command;

    use super::{Case, Dockerfile, Lower, Path, PathBuf, Platform, cases};
    use crate::support::{Buildah, Image, TestEnv, skip};

    /// The source of the only program in the bases. It records its arguments, its environment and
    /// the mounted files, so that the image shows what each RUN saw.
    const RECORDER: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
extern char **environ;
static int order(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}
int main(int count, char **args) {
    FILE *out = fopen("/ran", "a");
    if (!out) return 1;
    for (int i = 0; i < count; i++) fprintf(out, "arg %s\n", args[i]);
    int n = 0;
    while (environ[n]) n++;
    qsort(environ, n, sizeof *environ, order);
    for (int i = 0; i < n; i++)
        if (strncmp(environ[i], "HOSTNAME=", 9)) fprintf(out, "env %s\n", environ[i]);
    static const char *mounts[] = {"/mnt/base", "/tools/base", "/go/base", "/c/base"};
    for (int i = 0; i < 4; i++) {
        char line[256];
        FILE *in = fopen(mounts[i], "r");
        if (!in) continue;
        while (fgets(line, sizeof line, in)) fprintf(out, "%s %s\n", mounts[i], line);
        fclose(in);
    }
    return fclose(out);
}
"#;

    /// Compiles the recorder statically, because the bases contain no libraries. Fails with the
    /// output of the compiler.
    pub(crate) fn compile_recorder(to: &Path) -> Result<(), String> {
        let source = to.with_extension("c");
        fs::write(&source, RECORDER).unwrap();
        let mut cc = Command::new("cc");
        let output = cc.args(["-static", "-O1", "-o"]).args([to, &source]).output();
        let output = output.map_err(|error| error.to_string())?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(stderr) }
    }

    /// One builder with its own storage.
    pub(crate) struct Builder<'e> {
        pub(crate) buildah: Buildah,
        pub(crate) dir: PathBuf,
        pub(crate) recorder: &'e Path,
        /// The bases in the storage.
        pub(crate) bases: BTreeSet<String>,
        /// The cases that were built at least once, original and lowered.
        pub(crate) built: BTreeSet<String>,
    }

    impl Builder<'_> {
        /// Builds a base that contains its own name.
        pub(crate) fn build_base(&mut self, name: &str) -> Result<(), String> {
            // A name without a host means an image of this machine.
            let (first, rest) = name.split_once('/').unwrap_or(("", name));
            let host = first.contains(['.', ':']);
            let host = host || first == "localhost" && !rest.is_empty();
            let full = if host { name.to_owned() } else { format!("localhost/{name}") };
            if !self.bases.insert(full.clone()) {
                return Ok(());
            }
            let context = self.dir.join("base");
            fs::create_dir_all(&context).unwrap();
            fs::copy(self.recorder, context.join("sh")).unwrap();
            fs::write(context.join("base"), name).unwrap();
            let text = "FROM scratch\nCOPY sh /bin/sh\nCOPY base /etc/base\nENV FROM_BASE=1\n";
            fs::write(context.join("Dockerfile"), text).unwrap();
            self.buildah.store(&context, &full)
        }

        /// Creates a context with everything that the files copy.
        fn context(&self, files: [&Dockerfile; 2]) -> PathBuf {
            let context = self.dir.join("context");
            let _ = fs::remove_dir_all(&context);
            fs::create_dir(&context).unwrap();
            for source in files.iter().flat_map(|file| super::reach(file).paths) {
                let path = source.path.replace('*', "any");
                let to = context.join(path.trim_start_matches('/'));
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::write(to, &source.path).unwrap();
            }
            context
        }

        /// Builds the original and the lowered file, and returns the difference, if there is one.
        fn compare(&mut self, case: &Case, file: &Dockerfile, lower: &Lower) -> Option<String> {
            let lowered = lower.apply(file).ok()?;
            for reference in lowered.references(Platform::Amd64) {
                let image = reference.image.map_err(|error| error.to_string());
                if let Err(problem) = image.and_then(|image| self.build_base(&image)) {
                    return Some(problem);
                }
            }
            let context = self.context([file, &lowered]);
            let path = |name: &str| self.dir.join(name).display().to_string();
            let mut options: Vec<String> = Vec::new();
            for (name, value) in &lower.args {
                options.extend(["--build-arg".to_owned(), format!("{name}={value}")]);
            }
            options.extend(lower.target.iter().map(|target| format!("--target={target}")));
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            fs::write(path("original"), &case.text).unwrap();
            fs::write(path("lowered"), lowered.text()).unwrap();
            let original = self.buildah.image(&context, &path("original"), &options);
            let lowered = self.buildah.image(&context, &path("lowered"), &[]);
            match (original, lowered) {
                (Ok(original), Ok(lowered)) => {
                    self.built.insert(case.name.clone());
                    let same = original == lowered && original.files.contains_key("etc/base");
                    let same = same || case.name.starts_with("scratch") && original == lowered;
                    (!same).then(|| difference(&original, &lowered))
                }
                (original, lowered) => {
                    let errors = [original.err(), lowered.err()];
                    Some(errors.map(|error| error.unwrap_or_else(|| "built".to_owned())).join("\n"))
                }
            }
        }
    }

    /// Returns the lines that differ.
    pub(crate) fn difference(a: &Image, b: &Image) -> String {
        let (a, b) = (format!("{a:#?}"), format!("{b:#?}"));
        let only_in = |a: &str, b: &str, mark: &str| {
            let other: BTreeSet<&str> = b.lines().collect();
            let lines = a.lines().filter(|line| !other.contains(line));
            lines.map(|line| format!("{mark} {line}")).collect::<Vec<_>>()
        };
        [only_in(&a, &b, "-"), only_in(&b, &a, "+")].concat().join("\n")
    }

    #[test]
    fn lowered_files_build_the_same_images() {
        let env = TestEnv::at("http://127.0.0.1:9");
        let recorder = env.everything().join("recorder");
        let cases: Vec<Case> = cases().into_iter().filter(|case| case.is_built).collect();
        // Each thread has its own storage, because a storage is locked while it is written.
        let Some(first) = Buildah::find(env.everything().join("storage-0")) else { return };
        let second = Buildah::find(env.everything().join("storage-1")).unwrap();
        if let Err(error) = compile_recorder(&recorder) {
            return skip(&format!("cannot compile a static program: {error}"));
        }
        let (env, recorder, cases) = (&env, &recorder, &cases);
        let work = |(index, buildah): (usize, Buildah)| {
            let dir = env.everything().join(format!("work-{index}"));
            fs::create_dir(&dir).unwrap();
            let (bases, built) = (BTreeSet::new(), BTreeSet::new());
            let mut builder = Builder { buildah, dir, recorder, bases, built };
            let mut wrong = Vec::new();
            for case in cases.iter().skip(index).step_by(2) {
                let file = Dockerfile::parse(&case.text).unwrap();
                let is_built = |(_, lower): &&(String, Lower)| lower.buildah.is_none();
                for (line, lower) in case.lowers.iter().filter(is_built) {
                    if let Some(problem) = builder.compare(case, &file, lower) {
                        wrong.push(format!("== {} {line}\n{problem}", case.name));
                    }
                }
                if !builder.built.contains(&case.name) {
                    wrong.push(format!("== {}: no set was built", case.name));
                }
            }
            wrong
        };
        let wrong = std::thread::scope(|scope| {
            let threads = [(0, first), (1, second)].map(|one| scope.spawn(move || work(one)));
            threads.map(|thread| thread.join().unwrap()).concat()
        });
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
        assert!(cases.len() >= 40, "{} files: are these all?", cases.len());
    }
}
