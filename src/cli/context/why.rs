//! `imgplan context why`: explains why a path of a context is sent or ignored.

use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::path::{Component, Path};

use serde_json::json;

use crate::base::clean_path::clean;
use crate::cli::failure::Failure;
use crate::cli::ui::Ui;
use crate::context::{Explanation, IgnoreRules, RelPath};
use crate::manifest::workspace::{BuildOrigin, Unit};

/// Prints the explanation as one line of data, with notes on stderr where it could mislead.
pub(super) fn why(
    ui: &mut Ui,
    unit: &Unit,
    build: &BuildOrigin,
    typed: &Path,
) -> Result<(), Failure> {
    let rules = IgnoreRules::read(&build.context, Some(&build.dockerfile_path))?;
    let path = locate(&build.context, typed)?.ok_or_else(|| {
        let message = format!("{} is not in the context of {}", typed.display(), unit.key);
        let root = build.context.display();
        Failure::with_help(message, format!("write the path relative to the context, {root}"))
    })?;
    let kind = kind_of(&build.context, &path);
    let why = rules.explain(&path, kind.map(|kind| kind.is_dir()));
    let is_special =
        kind.is_some_and(|kind| !(kind.is_file() || kind.is_dir() || kind.is_symlink()));
    if ui.is_json() {
        ui.json_data(&as_json(&path, (kind.is_some(), is_special), &rules, why))?;
    } else if is_special && why.sent() {
        ui.data(format_args!("{path} is not sent: sockets, FIFOs and devices never are"))?;
    } else {
        let sent = if why.sent() { "is sent" } else { "is not sent" };
        ui.data(format_args!("{path} {sent}: {}", reason(&rules, why)))?;
    }
    if kind.is_none() {
        let root = build.context.display();
        ui.message(format_args!(
            "note: {path} does not exist in {root}; this is what the rules say"
        ))?;
    }
    if why.sent() || why == Explanation::Own {
        return Ok(());
    }
    if build.dockerfile_inside.as_deref().is_some_and(|inside| inside.as_bytes() == path.as_bytes())
    {
        ui.message("note: this is the Dockerfile, which is always sent")?;
    }
    if kind.is_some_and(|kind| kind.is_dir()) && rules.may_include_below(&path) {
        ui.message("note: a pattern with `!` may include files below this directory again")?;
    }
    Ok(())
}

fn reason(rules: &IgnoreRules, why: Explanation<'_>) -> String {
    let file = rules.file.as_deref().map(Path::display);
    match (why, file) {
        (Explanation::Own, _) => "imgplan's own files are never sent".to_owned(),
        (Explanation::Pattern { ignored, line, pattern }, Some(file)) => {
            let effect = if ignored { "" } else { " includes it again" };
            format!("{file}, line {line}: {pattern}{effect}")
        }
        (_, Some(_)) => "no pattern matches it".to_owned(),
        (_, None) => "there is no .dockerignore".to_owned(),
    }
}

fn as_json(
    path: &RelPath,
    (exists, is_special): (bool, bool),
    rules: &IgnoreRules,
    why: Explanation<'_>,
) -> serde_json::Value {
    let (line, pattern) = match why {
        Explanation::Pattern { line, pattern, .. } => (Some(line), Some(pattern)),
        Explanation::Own | Explanation::NoPattern => (None, None),
    };
    json!({
        "path": path.to_string(),
        "sent": why.sent() && !is_special,
        "ignore_file": rules.file.as_deref().map(|file| file.display().to_string()),
        "line": line,
        "pattern": pattern,
        "exists": exists,
    })
}

/// Returns the path relative to the context. `typed` is relative to the context or, as a shell
/// completes it, to the current directory. If both readings are possible, the path that exists wins,
/// and then the first reading.
fn locate(root: &Path, typed: &Path) -> Result<Option<RelPath>, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::new(format!("cannot find the current directory: {error}")))?;
    let real_root = fs::canonicalize(root).map_err(|error| {
        Failure::new(format!("cannot read the context {}: {error}", root.display()))
    })?;
    let full = clean(&here.join(typed));
    let roots = [clean(&here.join(root)), real_root];
    let below = roots.iter().find_map(|root| full.strip_prefix(root).ok());
    let (inside, from_here) = (relative(typed), below.and_then(relative));
    let there =
        |path: &Option<RelPath>| path.as_ref().is_some_and(|path| kind_of(root, path).is_some());
    // Inside the context, every relative path leads into it, so it is no sign of that reading.
    let leads_in = below.is_some() && !roots.iter().any(|root| here.starts_with(root));
    let prefer = !there(&inside) && (there(&from_here) || leads_in);
    Ok(if prefer { from_here } else { inside.or(from_here) })
}

/// Returns a relative path without `.` and `..`; `None` if nothing is left, or if it leads out.
fn relative(path: &Path) -> Option<RelPath> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    RelPath::new(parts.join(OsStr::new("/")).into_encoded_bytes())
}

/// Returns the type of a path in a context; `None` if it does not exist, or is behind a symbolic
/// link.
fn kind_of(root: &Path, path: &RelPath) -> Option<FileType> {
    let kind = |path: &Path| Some(path.symlink_metadata().ok()?.file_type());
    let full = path.under(root);
    let above = full.ancestors().skip(1).take_while(|above| *above != root);
    for above in above {
        if !kind(above)?.is_dir() {
            return None;
        }
    }
    kind(&full)
}
