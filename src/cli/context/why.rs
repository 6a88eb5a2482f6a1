//! `imgplan context why`: whether one path of a context is sent, and what decided it.

use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::path::{Component, Path, PathBuf};

use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::ui::Ui;
use crate::context::{Explanation, IgnoreRules, RelPath};
use crate::manifest::workspace::{BuildOrigin, Unit};

/// Tells it in one line of data; whatever may mislead about that line is told beside it.
pub(super) fn why(
    ui: &mut Ui,
    unit: &Unit,
    build: &BuildOrigin,
    typed: &Path,
) -> Result<(), Failure> {
    let rules = IgnoreRules::read(&build.context, Some(&build.dockerfile_path))?;
    let path = locate(&build.context, typed)?.ok_or_else(|| {
        let message = format!("{} is no path in the context of {}", typed.display(), unit.key);
        let root = build.context.display();
        Failure::with_help(message, format!("name one relative to its context, which is {root}"))
    })?;
    let kind = kind_of(&build.context, &path);
    let why = rules.explain(&path, kind.map(|kind| kind.is_dir()));
    if ui.is_json() {
        ui.data(as_json(&path, kind.is_some(), &rules, why))?;
    } else {
        let sent = if why.sent() { "is sent" } else { "is not sent" };
        ui.data(format_args!("{path} {sent}: {}", reason(&rules, why)))?;
    }
    if kind.is_none() {
        let root = build.context.display();
        ui.message(format_args!(
            "note: there is no {path} in {root}; this is what would become of it"
        ))?;
    }
    if why.sent() || why == Explanation::Own {
        return Ok(());
    }
    if build.dockerfile_inside.as_deref().is_some_and(|inside| inside.as_bytes() == path.as_bytes())
    {
        ui.message("note: it is the Dockerfile, which is sent all the same")?;
    }
    if kind.is_some_and(|kind| kind.is_dir()) && rules.may_include_below(&path) {
        ui.message("note: it is a folder, and a pattern with `!` may bring back what is below it")?;
    }
    Ok(())
}

fn reason(rules: &IgnoreRules, why: Explanation<'_>) -> String {
    let file = rules.file.as_deref().map(Path::display);
    match (why, file) {
        (Explanation::Own, _) => {
            "it belongs to imgplan itself, and changes with every run".to_owned()
        }
        (Explanation::Pattern { ignored, line, pattern }, Some(file)) => {
            let pattern = pattern.replace(char::is_control, "\u{fffd}");
            let back = if ignored { "" } else { " brings it back" };
            format!("{file}, line {line}: {pattern}{back}")
        }
        (_, Some(_)) => "no pattern matches it".to_owned(),
        (_, None) => "there is no .dockerignore".to_owned(),
    }
}

fn as_json(
    path: &RelPath,
    exists: bool,
    rules: &IgnoreRules,
    why: Explanation<'_>,
) -> serde_json::Value {
    let (line, pattern) = match why {
        Explanation::Pattern { line, pattern, .. } => (Some(line), Some(pattern)),
        Explanation::Own | Explanation::NoPattern => (None, None),
    };
    json!({
        "path": path.to_string(),
        "sent": why.sent(),
        "ignore_file": rules.file.as_deref().map(|file| file.display().to_string()),
        "line": line,
        "pattern": pattern,
        "exists": exists,
    })
}

/// The path in the context that was meant. It may be typed as it stands there, or from the current
/// folder into the context, as a shell completes it; where both could be meant, the one that exists
/// is, and of two that do not, the first.
fn locate(root: &Path, typed: &Path) -> Result<Option<RelPath>, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::new(format!("cannot tell the current folder: {error}")))?;
    let real_root = fs::canonicalize(root).map_err(|error| {
        Failure::new(format!("cannot read the context {}: {error}", root.display()))
    })?;
    let full = clean(&here.join(typed));
    let roots = [clean(&here.join(root)), real_root];
    let below = roots.iter().find_map(|root| full.strip_prefix(root).ok());
    let (inside, from_here) = (relative(typed), below.and_then(relative));
    let there =
        |path: &Option<RelPath>| path.as_ref().is_some_and(|path| kind_of(root, path).is_some());
    // From within the context, every path leads into it.
    let leads_in = below.is_some() && !roots.iter().any(|root| here.starts_with(root));
    let prefer = !there(&inside) && (there(&from_here) || leads_in);
    Ok(if prefer { from_here } else { inside.or(from_here) })
}

/// A path as it stands in a folder; `None` where it is the folder or leads out of it.
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

/// A path without `.` and `..`, without asking the file system: what links lead to is not meant.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                cleaned.pop();
            }
            part => cleaned.push(part),
        }
    }
    cleaned
}

/// What a path of a context is; `None` where it is not there. What a link leads to is not there.
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
