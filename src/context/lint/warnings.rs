//! Puts what was found in all contexts into warnings: each kind once, with what to do. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{LargeContext, LintFindings, LintKind, SizeLimits};
use crate::base::size::bytes;
use crate::base::span::Problem;
use crate::context::tree::RelPath;

/// How many of many are named.
const FEW: usize = 3;

/// The warnings about contexts, the most dangerous first. Several images may share a context, and
/// one path is then found more than once: it is named once.
pub fn warnings(findings: &[LintFindings], limits: SizeLimits) -> Vec<Problem> {
    let kinds = [LintKind::Key, LintKind::Env, LintKind::Git, LintKind::NodeModules];
    let paths = kinds.into_iter().filter_map(|kind| paths(findings, kind));
    paths.chain(large(findings, limits)).chain(unignored(findings)).collect()
}

/// The size of a context and its largest parts: `1.2 GB (data 1.0 GB, x.bin 150 MB)`.
pub fn size(large: &LargeContext) -> String {
    let parts = large.parts.iter().map(|part| format!("{} {}", part.path, bytes(part.size)));
    format!("{} ({})", bytes(large.size), parts.collect::<Vec<_>>().join(", "))
}

fn paths(findings: &[LintFindings], kind: LintKind) -> Option<Problem> {
    // The path as people see it, and the lines that ignore it, each in its file.
    let mut found: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for one in findings {
        for (_, path) in one.paths.iter().filter(|(found, _)| *found == kind) {
            let line = (pattern(kind, path), one.ignore.display().to_string());
            found.entry(shown(&one.root, path)).or_default().insert(line);
        }
    }
    if found.is_empty() {
        return None;
    }
    let what = match (kind, found.len()) {
        (LintKind::Key, 1) => "a private key is sent to the build".to_owned(),
        (LintKind::Key, many) => format!("{many} private keys are sent to builds"),
        (LintKind::Env, 1) => "a `.env` file is sent to the build".to_owned(),
        (LintKind::Env, many) => format!("{many} `.env` files are sent to builds"),
        (LintKind::Git, 1) => "a `.git` is sent to the build".to_owned(),
        (LintKind::Git, many) => format!("{many} `.git` are sent to builds"),
        (LintKind::NodeModules, 1) => "a `node_modules` is sent to the build".to_owned(),
        (LintKind::NodeModules, many) => format!("{many} `node_modules` are sent to builds"),
    };
    let message = format!("{what}: {}", few(found.keys()));
    let lines: BTreeSet<(String, String)> = found.values().take(FEW).flatten().cloned().collect();
    let rest = if found.len() > FEW { ", and so on" } else { "" };
    Some(warning(message, format!("add {}{rest}", additions(lines))))
}

/// Lines and their files in words: "`a` and `b` to x/.dockerignore, `c` to y/.dockerignore".
fn additions(lines: BTreeSet<(String, String)>) -> String {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (line, file) in lines {
        files.entry(file).or_default().push(format!("`{line}`"));
    }
    // Contexts are often alike, and then one sentence says it for all of them.
    let mut alike: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for (file, lines) in files {
        match alike.iter_mut().find(|(known, _)| *known == lines) {
            Some((_, files)) => files.push(file),
            None => alike.push((lines, vec![file])),
        }
    }
    let sentences = alike.iter().map(|(lines, files)| format!("{} to {}", and(lines), and(files)));
    sentences.collect::<Vec<_>>().join(", ")
}

fn large(findings: &[LintFindings], limits: SizeLimits) -> Option<Problem> {
    let above =
        |one: &&LintFindings| one.large.as_ref().is_some_and(|large| large.size > limits.warn);
    let mut all: Vec<&LintFindings> = findings.iter().filter(above).collect();
    all.sort_by_key(|one| Reverse(one.large.as_ref().map(|large| large.size)));
    // Each Dockerfile may leave out other files of one context: it is named once, at its largest.
    let mut seen = BTreeSet::new();
    all.retain(|one| seen.insert(&one.root));
    let limit = bytes(limits.warn);
    let (what, ignore) = match all.as_slice() {
        [] => return None,
        [one] => (format!("a context is above {limit}"), one.ignore.display().to_string()),
        many => {
            (format!("{} contexts are above {limit}", many.len()), "their .dockerignore".to_owned())
        }
    };
    let text = |one: &&LintFindings| {
        Some(format!("{}, {}", one.root.display(), size(one.large.as_ref()?)))
    };
    let shown: Vec<String> = all.iter().take(FEW).filter_map(text).collect();
    let more = match all.len().saturating_sub(FEW) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let help =
        format!("add what the build does not need to {ignore}, or raise `settings.context_warn`");
    Some(warning(format!("{what}: {}{more}", shown.join("; ")), help))
}

fn unignored(findings: &[LintFindings]) -> Option<Problem> {
    let roots = findings.iter().filter(|one| one.unignored);
    let roots: BTreeSet<String> = roots.map(|one| one.root.display().to_string()).collect();
    let (what, make) = match roots.len() {
        0 => return None,
        1 => {
            let file = findings.iter().find(|one| one.unignored)?.ignore.display();
            ("a context has no .dockerignore".to_owned(), format!("make {file}"))
        }
        many => (format!("{many} contexts have no .dockerignore"), "make one in each".to_owned()),
    };
    let help = format!(
        "{make} and list in it what the build does not need; an empty one says that it needs all"
    );
    Some(warning(format!("{what}: {}", few(roots.iter())), help))
}

fn warning(message: String, help: String) -> Problem {
    Problem { message, help: Some(help), labels: Vec::new(), warning: true }
}

/// The first few, and how many more there are.
fn few<'a>(all: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = all.len().saturating_sub(FEW);
    let shown = all.take(FEW).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn and(all: &[String]) -> String {
    match all {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        all => all.concat(),
    }
}

/// A path of a context, from where the manifest is.
fn shown(root: &Path, path: &RelPath) -> String {
    if root == Path::new(".") { path.to_string() } else { format!("{}/{path}", root.display()) }
}

/// The line of a `.dockerignore` that leaves a path out. What is always named the same is left out
/// wherever it is.
fn pattern(kind: LintKind, path: &RelPath) -> String {
    let mut line = String::new();
    for c in path.to_string().chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            line.push('\\');
        }
        line.push(c);
    }
    match line.rsplit_once('/') {
        Some((_, name)) if kind != LintKind::Key => format!("**/{name}"),
        // What begins so is a comment or an exception.
        _ if line.starts_with(['#', '!']) => format!("\\{line}"),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::super::LargePart;
    use super::*;
    use crate::context::ignore::IgnorePatterns;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn clean(root: &str) -> LintFindings {
        LintFindings {
            root: root.into(),
            ignore: format!("{root}/.dockerignore").trim_start_matches("./").into(),
            unignored: false,
            paths: Vec::new(),
            large: None,
        }
    }

    fn with(root: &str, paths: &[(LintKind, &str)]) -> LintFindings {
        let paths = paths.iter().map(|(kind, text)| (*kind, path(text))).collect();
        LintFindings { paths, ..clean(root) }
    }

    /// The warnings, each with its help in a line below.
    fn said(findings: &[LintFindings]) -> Vec<String> {
        let limits = SizeLimits { warn: 1_000_000, max: None };
        let all = warnings(findings, limits);
        assert!(all.iter().all(|problem| problem.warning));
        all.iter().flat_map(|one| [one.message.clone(), one.help.clone().unwrap()]).collect()
    }

    #[test]
    fn nothing_found_is_nothing_said() {
        assert_eq!(said(&[]), [""; 0]);
        assert_eq!(said(&[clean("a"), clean("b")]), [""; 0]);
    }

    #[test]
    fn each_kind_is_said_once_the_most_dangerous_first() {
        let mut one = with(
            ".",
            &[
                (LintKind::Git, ".git"),
                (LintKind::Env, ".env"),
                (LintKind::NodeModules, "web/node_modules"),
                (LintKind::Key, "tls/a.pem"),
            ],
        );
        one.unignored = true;
        let parts = vec![LargePart { path: path("data"), size: 2_000_000 }];
        one.large = Some(LargeContext { size: 2_100_000, parts });
        assert_eq!(
            said(&[one]),
            [
                "a private key is sent to the build: tls/a.pem",
                "add `tls/a.pem` to .dockerignore",
                "a `.env` file is sent to the build: .env",
                "add `.env` to .dockerignore",
                "a `.git` is sent to the build: .git",
                "add `.git` to .dockerignore",
                "a `node_modules` is sent to the build: web/node_modules",
                "add `**/node_modules` to .dockerignore",
                "a context is above 1.0 MB: ., 2.1 MB (data 2.0 MB)",
                "add what the build does not need to .dockerignore, or raise \
                 `settings.context_warn`",
                "a context has no .dockerignore: .",
                "make .dockerignore and list in it what the build does not need; an empty one \
                 says that it needs all",
            ]
        );
    }

    #[test]
    fn many_contexts_are_one_warning() {
        let alike = ["a", "b", "c", "d", "e"].map(|root| with(root, &[(LintKind::Env, ".env")]));
        assert_eq!(
            said(&alike),
            [
                "5 `.env` files are sent to builds: a/.env, b/.env, c/.env and 2 more",
                "add `.env` to a/.dockerignore, b/.dockerignore and c/.dockerignore, and so on",
            ]
        );
        let unlike = [
            with("a", &[(LintKind::Key, "id_rsa"), (LintKind::Key, "x.key")]),
            with("b", &[(LintKind::Key, "y.p12")]),
        ];
        assert_eq!(
            said(&unlike),
            [
                "3 private keys are sent to builds: a/id_rsa, a/x.key, b/y.p12",
                "add `id_rsa` and `x.key` to a/.dockerignore, `y.p12` to b/.dockerignore",
            ]
        );
        let unignored = |root| LintFindings { unignored: true, ..clean(root) };
        let four = ["c", "a", "d", "b"].map(unignored);
        assert_eq!(said(&four)[0], "4 contexts have no .dockerignore: a, b, c and 1 more");
        let large = |root, size| {
            let parts = vec![LargePart { path: path("x"), size: 1 }];
            LintFindings { large: Some(LargeContext { size, parts }), ..clean(root) }
        };
        let sizes = [large("a", 1), large("b", 2_000_000), large("c", 3_000_000)];
        let message = "2 contexts are above 1.0 MB: c, 3.0 MB (x 1 B); b, 2.0 MB (x 1 B)";
        assert_eq!(said(&sizes)[0], message);
    }

    #[test]
    fn what_images_share_is_said_once() {
        let mut one = with(".", &[(LintKind::Env, "a/.env")]);
        one.unignored = true;
        one.large = Some(LargeContext { size: 5_000_000, parts: Vec::new() });
        let other = LintFindings { ignore: "b.Dockerfile.dockerignore".into(), ..one.clone() };
        let less = Some(LargeContext { size: 4_000_000, parts: Vec::new() });
        let said =
            said(&[LintFindings { unignored: false, large: less, ..other }, one.clone(), one]);
        assert_eq!(said.len(), 6, "{said:?}");
        assert_eq!(said[0], "a `.env` file is sent to the build: a/.env");
        assert_eq!(said[2], "a context is above 1.0 MB: ., 5.0 MB ()");
        assert_eq!(said[1], "add `**/.env` to .dockerignore and b.Dockerfile.dockerignore");
    }

    #[test]
    fn the_line_that_is_named_leaves_the_path_out() {
        for (kind, text) in [
            (LintKind::Key, "a.pem"),
            (LintKind::Key, "app/[slug]/what?/*/x.pem"),
            (LintKind::Key, "back\\slash.key"),
            (LintKind::Env, ".env"),
            (LintKind::Env, "deep/er/.env.[x]"),
            (LintKind::Git, ".git"),
            (LintKind::Git, "vendor/x/.git"),
            (LintKind::NodeModules, "web/node_modules"),
        ] {
            let line = pattern(kind, &path(text));
            let ignore = IgnorePatterns::parse(&format!("*.md\n{line}\n")).unwrap();
            assert!(ignore.verdict(text).ignored, "{line} on {text}");
            assert!(!ignore.verdict("app/s/what1/2/x.pem").ignored, "{line}");
        }
    }

    #[test]
    fn a_line_is_no_comment_and_no_exception() {
        for name in ["#k.p12", "!k.p12", "a/#k.p12", "[k].p12"] {
            let line = pattern(LintKind::Key, &path(name));
            assert!(IgnorePatterns::parse(&line).unwrap().verdict(name).ignored, "{line}");
        }
    }
}
