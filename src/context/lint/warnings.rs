//! Turns the findings of all contexts into warnings: one for each kind, with the way to fix it.
//! Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{LargeContext, LintFindings, LintKind, SizeLimits};
use crate::base::size::bytes;
use crate::base::span::Problem;
use crate::base::text::list;
use crate::context::names::SpecialKind;
use crate::context::path::RelPath;

/// Maximum number of paths that a warning lists.
const MAX_PATHS_SHOWN: usize = 3;

/// Returns the warnings, the most dangerous first. Images can share a context; a path that was
/// found several times is listed once.
pub(crate) fn warnings(findings: &[LintFindings], limits: SizeLimits) -> Vec<Problem> {
    let kinds = [
        LintKind::Key,
        LintKind::Env,
        LintKind::Git,
        LintKind::NodeModules,
        LintKind::Manifest,
        LintKind::Special(SpecialKind::Socket),
        LintKind::Special(SpecialKind::Fifo),
        LintKind::Special(SpecialKind::Device),
    ];
    let paths = kinds.into_iter().filter_map(|kind| paths(findings, kind));
    paths.chain(large(findings, limits)).chain(without_ignore_file(findings)).collect()
}

/// Returns the size of a context and its largest parts: `1.2 GB (data 1.0 GB, x.bin 150 MB)`.
pub(crate) fn size(large: &LargeContext) -> String {
    let parts = large.parts.iter().map(|part| format!("{} {}", part.path, bytes(part.size)));
    format!("{} ({})", bytes(large.size), list(parts, usize::MAX))
}

fn paths(findings: &[LintFindings], kind: LintKind) -> Option<Problem> {
    // The lines that ignore each path, and the ignore file for each line.
    let mut lines_of: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for context in findings {
        for (_, path) in context.paths.iter().filter(|(found, _)| *found == kind) {
            let line = (pattern(kind, path), context.ignore_file.display().to_string());
            lines_of.entry(shown(&context.root, path)).or_default().insert(line);
        }
    }
    let (one, many) = match kind {
        LintKind::Key => ("a private key", "private keys"),
        LintKind::Env => ("a `.env` file", "`.env` files"),
        LintKind::Git => ("`.git`", "`.git` folders"),
        LintKind::NodeModules => ("`node_modules`", "`node_modules` folders"),
        LintKind::Manifest => (
            "the manifest, whose changes rebuild the image",
            "manifests, whose changes rebuild the images",
        ),
        LintKind::Special(SpecialKind::Socket) => {
            ("a socket, which is not sent", "sockets, which are not sent")
        }
        LintKind::Special(SpecialKind::Fifo) => {
            ("a FIFO, which is not sent", "FIFOs, which are not sent")
        }
        LintKind::Special(SpecialKind::Device) => {
            ("a device, which is not sent", "devices, which are not sent")
        }
    };
    let subject = match lines_of.len() {
        0 => return None,
        1 => format!("a context contains {one}"),
        count => format!("contexts contain {count} {many}"),
    };
    let message = format!("{subject}: {}", list(lines_of.keys(), MAX_PATHS_SHOWN));
    let lines = lines_of.values().take(MAX_PATHS_SHOWN).flatten().cloned().collect();
    let more = if lines_of.len() > MAX_PATHS_SHOWN { ", and so on" } else { "" };
    Some(warning(message, format!("add {}{more}", additions(lines))))
}

/// Describes lines to add to files: "`a` and `b` to x/.dockerignore, `c` to y/.dockerignore".
fn additions(lines: BTreeSet<(String, String)>) -> String {
    let mut lines_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (line, file) in lines {
        lines_of.entry(file).or_default().push(format!("`{line}`"));
    }
    // Contexts often need the same lines: then one phrase is enough for all of them.
    let mut files_of: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for (file, lines) in lines_of {
        match files_of.iter_mut().find(|(other, _)| *other == lines) {
            Some((_, files)) => files.push(file),
            None => files_of.push((lines, vec![file])),
        }
    }
    let phrases = files_of.iter().map(|(lines, files)| format!("{} to {}", and(lines), and(files)));
    list(phrases, usize::MAX)
}

fn large(findings: &[LintFindings], limits: SizeLimits) -> Option<Problem> {
    let mut contexts: Vec<(&LintFindings, &LargeContext)> = findings
        .iter()
        .filter_map(|context| Some((context, context.large.as_ref()?)))
        .filter(|(_, large)| large.size > limits.warn)
        .collect();
    contexts.sort_by_key(|(_, large)| Reverse(large.size));
    // The ignore files of several Dockerfiles can select different files of one context: it is
    // listed once, with its largest size.
    let mut roots = BTreeSet::new();
    contexts.retain(|(context, _)| roots.insert(&context.root));
    let limit = bytes(limits.warn);
    let (subject, ignore_file) = match contexts.as_slice() {
        [] => return None,
        [(context, _)] => {
            (format!("a context is larger than {limit}"), context.ignore_file.display().to_string())
        }
        all => {
            let subject = format!("{} contexts are larger than {limit}", all.len());
            (subject, "their .dockerignore".to_owned())
        }
    };
    let shown = |(context, large): &(&LintFindings, &LargeContext)| {
        format!("{}, {}", context.root.display(), size(large))
    };
    let shown: Vec<String> = contexts.iter().take(MAX_PATHS_SHOWN).map(shown).collect();
    let more = match contexts.len().saturating_sub(MAX_PATHS_SHOWN) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let help = format!(
        "add the files that the build does not need to {ignore_file}, or raise \
         `settings.context_warn`"
    );
    Some(warning(format!("{subject}: {}{more}", shown.join("; ")), help))
}

fn without_ignore_file(findings: &[LintFindings]) -> Option<Problem> {
    let contexts = findings.iter().filter(|context| context.needs_ignore_file);
    let ignore_files: BTreeMap<String, &Path> = contexts
        .map(|context| (context.root.display().to_string(), &*context.ignore_file))
        .collect();
    let (subject, create) = match ignore_files.values().collect::<Vec<_>>()[..] {
        [] => return None,
        [file] => {
            ("a context has no .dockerignore".to_owned(), format!("create {}", file.display()))
        }
        ref all => (
            format!("{} contexts have no .dockerignore", all.len()),
            "create one in each".to_owned(),
        ),
    };
    let help = format!(
        "{create}, with the files that the build does not need; an empty file stops this warning"
    );
    Some(warning(format!("{subject}: {}", list(ignore_files.keys(), MAX_PATHS_SHOWN)), help))
}

fn warning(message: String, help: String) -> Problem {
    Problem { message, help: Some(help), labels: Vec::new(), warning: true }
}

fn and(items: &[String]) -> String {
    match items {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        items => items.concat(),
    }
}

/// Returns a path of a context relative to the folder of the manifest.
fn shown(root: &Path, path: &RelPath) -> String {
    if root == Path::new(".") { path.to_string() } else { format!("{}/{path}", root.display()) }
}

/// Returns the line of a `.dockerignore` that ignores a path. Except for keys, manifests
/// and special files, the line ignores the name in every folder.
fn pattern(kind: LintKind, path: &RelPath) -> String {
    let mut line = String::new();
    for c in path.to_string().chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            line.push('\\');
        }
        line.push(c);
    }
    match line.rsplit_once('/') {
        Some((_, name))
            if !matches!(kind, LintKind::Key | LintKind::Manifest | LintKind::Special(_)) =>
        {
            format!("**/{name}")
        }
        // A leading `#` would start a comment, and a leading `!` an exception.
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
            ignore_file: format!("{root}/.dockerignore").trim_start_matches("./").into(),
            needs_ignore_file: false,
            paths: Vec::new(),
            large: None,
        }
    }

    fn with(root: &str, paths: &[(LintKind, &str)]) -> LintFindings {
        let paths = paths.iter().map(|(kind, text)| (*kind, path(text))).collect();
        LintFindings { paths, ..clean(root) }
    }

    /// Returns each warning, followed by its help.
    fn texts(findings: &[LintFindings]) -> Vec<String> {
        let limits = SizeLimits { warn: 1_000_000, max: None };
        let all = warnings(findings, limits);
        assert!(all.iter().all(|problem| problem.warning));
        all.iter().flat_map(|one| [one.message.clone(), one.help.clone().unwrap()]).collect()
    }

    #[test]
    fn no_findings_give_no_warnings() {
        assert_eq!(texts(&[]), [""; 0]);
        assert_eq!(texts(&[clean("a"), clean("b")]), [""; 0]);
    }

    #[test]
    fn one_warning_for_each_kind_the_most_dangerous_first() {
        let mut one = with(
            ".",
            &[
                (LintKind::Git, ".git"),
                (LintKind::Env, ".env"),
                (LintKind::NodeModules, "web/node_modules"),
                (LintKind::Key, "tls/a.pem"),
            ],
        );
        one.needs_ignore_file = true;
        let parts = vec![LargePart { path: path("data"), size: 2_000_000 }];
        one.large = Some(LargeContext { size: 2_100_000, parts });
        assert_eq!(
            texts(&[one]),
            [
                "a context contains a private key: tls/a.pem",
                "add `tls/a.pem` to .dockerignore",
                "a context contains a `.env` file: .env",
                "add `.env` to .dockerignore",
                "a context contains `.git`: .git",
                "add `.git` to .dockerignore",
                "a context contains `node_modules`: web/node_modules",
                "add `**/node_modules` to .dockerignore",
                "a context is larger than 1.0 MB: ., 2.1 MB (data 2.0 MB)",
                "add the files that the build does not need to .dockerignore, or raise \
                 `settings.context_warn`",
                "a context has no .dockerignore: .",
                "create .dockerignore, with the files that the build does not need; an empty \
                 file stops this warning",
            ]
        );
    }

    #[test]
    fn many_contexts_are_one_warning() {
        let alike = ["a", "b", "c", "d", "e"].map(|root| with(root, &[(LintKind::Env, ".env")]));
        assert_eq!(
            texts(&alike),
            [
                "contexts contain 5 `.env` files: a/.env, b/.env, c/.env and 2 more",
                "add `.env` to a/.dockerignore, b/.dockerignore and c/.dockerignore, and so on",
            ]
        );
        let unlike = [
            with("a", &[(LintKind::Key, "id_rsa"), (LintKind::Key, "x.key")]),
            with("b", &[(LintKind::Key, "y.p12")]),
        ];
        assert_eq!(
            texts(&unlike),
            [
                "contexts contain 3 private keys: a/id_rsa, a/x.key, b/y.p12",
                "add `id_rsa` and `x.key` to a/.dockerignore, `y.p12` to b/.dockerignore",
            ]
        );
        let needs_ignore_file = |root| LintFindings { needs_ignore_file: true, ..clean(root) };
        let four = ["c", "a", "d", "b"].map(needs_ignore_file);
        assert_eq!(texts(&four)[0], "4 contexts have no .dockerignore: a, b, c and 1 more");
        let large = |root, size| {
            let parts = vec![LargePart { path: path("x"), size: 1 }];
            LintFindings { large: Some(LargeContext { size, parts }), ..clean(root) }
        };
        let sizes = [large("a", 1), large("b", 2_000_000), large("c", 3_000_000)];
        let message = "2 contexts are larger than 1.0 MB: c, 3.0 MB (x 1 B); b, 2.0 MB (x 1 B)";
        assert_eq!(texts(&sizes)[0], message);
    }

    #[test]
    fn a_shared_context_is_listed_once() {
        let mut one = with(".", &[(LintKind::Env, "a/.env")]);
        one.needs_ignore_file = true;
        one.large = Some(LargeContext { size: 5_000_000, parts: Vec::new() });
        let other = LintFindings { ignore_file: "b.Dockerfile.dockerignore".into(), ..one.clone() };
        let less = Some(LargeContext { size: 4_000_000, parts: Vec::new() });
        let texts = texts(&[
            LintFindings { needs_ignore_file: false, large: less, ..other },
            one.clone(),
            one,
        ]);
        assert_eq!(texts.len(), 6, "{texts:?}");
        assert_eq!(texts[0], "a context contains a `.env` file: a/.env");
        assert_eq!(texts[2], "a context is larger than 1.0 MB: ., 5.0 MB ()");
        assert_eq!(texts[1], "add `**/.env` to .dockerignore and b.Dockerfile.dockerignore");
    }

    #[test]
    fn the_suggested_line_ignores_the_path() {
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
            assert!(ignore.match_path(text).ignored, "{line} on {text}");
            assert!(!ignore.match_path("app/s/what1/2/x.pem").ignored, "{line}");
        }
    }

    #[test]
    fn the_suggested_line_is_neither_a_comment_nor_an_exception() {
        for name in ["#k.p12", "!k.p12", "a/#k.p12", "[k].p12"] {
            let line = pattern(LintKind::Key, &path(name));
            assert!(IgnorePatterns::parse(&line).unwrap().match_path(name).ignored, "{line}");
        }
    }
}
