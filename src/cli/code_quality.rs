//! The report of problems that GitLab shows in a merge request: its subset of the format of Code Climate.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::diagnostic::DiagnosticRecord;
use super::repository_path::within;
use crate::base::clean_path::clean;
use crate::base::digest::Digest;

/// Returns the report. Files are named from `root`, the root of the repository, or else as they were
/// given. A problem without a place counts as one of the first line of `manifest`.
pub(super) fn report(
    records: &[DiagnosticRecord],
    root: Option<&PathBuf>,
    manifest: &Path,
) -> Value {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let problem = |record: &DiagnosticRecord| {
        let DiagnosticRecord { severity, summary, detail, range, .. } = record;
        let (name, line) = range.as_ref().map_or_else(
            || (manifest.to_string_lossy().into_owned(), 1),
            |range| (range.filename.clone(), range.start.line),
        );
        let path = root.and_then(|root| within(root, &name));
        let path = path.unwrap_or_else(|| clean(Path::new(&name)).to_string_lossy().into_owned());
        // Without the line: a problem that only moves stays the same. Equal ones are counted.
        let identity = format!("{path}\n{severity}\n{summary}");
        let count = seen.entry(identity.clone()).or_default();
        *count += 1;
        let fingerprint = Digest::of(format!("{identity}\n{count}").as_bytes()).to_string();
        let help = detail.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        json!({
            "description": format!("{summary}{help}"),
            "check_name": "imgplan",
            "fingerprint": fingerprint,
            "severity": if *severity == "warning" { "minor" } else { "major" },
            "location": { "path": path, "lines": { "begin": line } },
        })
    };
    records.iter().map(problem).collect()
}
