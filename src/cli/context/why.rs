//! `imgplan context why`: explains why a path of a context is sent or ignored.

use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::ops::Range;
use std::path::{Component, Path};

use serde_json::json;

use crate::base::clean_path::clean;
use crate::base::span::Span;
use crate::cli::failure::Failure;
use crate::cli::ui::Ui;
use crate::context::{self, Explanation, IgnoreRules, ReadMatch, RelPath};
use crate::manifest::Workspace;
use crate::manifest::workspace::{BuildOrigin, InputScope, Unit, UnitId};
use crate::survey::reads;

/// Prints the explanation as one line of data, with notes on stderr where it could mislead.
pub(super) fn why(
    ui: &mut Ui,
    workspace: &Workspace,
    unit: UnitId,
    build: &BuildOrigin,
    typed: &Path,
) -> Result<(), Failure> {
    let rules = IgnoreRules::read(&build.context, Some(&build.dockerfile_path))?;
    let unit = workspace.unit(unit);
    let path = locate(&build.context, typed)?.ok_or_else(|| {
        let message = format!("{} is not in the context of {}", typed.display(), unit.key);
        let root = build.context.display();
        Failure::with_help(message, format!("write the path relative to the context, {root}"))
    })?;
    let kind = kind_of(&build.context, &path);
    let is_special =
        kind.is_some_and(|kind| !(kind.is_file() || kind.is_dir() || kind.is_symlink()));
    let is_dir = kind.map(|kind| kind.is_dir());
    let ignored = rules.explain(&path, is_dir);
    let reader = if ignored.sent() && !is_special {
        Some(reader(workspace, unit, build, &path, is_dir)?)
    } else {
        None
    };
    let why = PathVerdict { path: &path, exists: kind.is_some(), rules: &rules, ignored, reader };
    if ui.is_json() {
        ui.json_data(&why.as_json())?;
    } else if is_special && ignored.sent() {
        ui.data(format_args!("{path} is not sent: sockets, FIFOs and devices never are"))?;
    } else {
        let sent = if why.is_sent() { "is sent" } else { "is not sent" };
        ui.data(format_args!("{path} {sent}: {}", why.reason()))?;
    }
    notes(ui, build, &why, is_dir == Some(true))
}

/// Prints notes where the explanation could mislead.
fn notes(
    ui: &mut Ui,
    build: &BuildOrigin,
    why: &PathVerdict<'_>,
    is_dir: bool,
) -> Result<(), Failure> {
    let path = why.path;
    if !why.exists {
        let root = build.context.display();
        ui.message(format_args!(
            "note: {path} does not exist in {root}; this is what the rules say"
        ))?;
    }
    if why.is_sent() || why.ignored == Explanation::Own {
        return Ok(());
    }
    if build.dockerfile_inside.as_deref().is_some_and(|inside| inside.as_bytes() == path.as_bytes())
    {
        ui.message("note: this is the Dockerfile, which is always sent")?;
    }
    if matches!(why.reader, Some(Reader::Below)) {
        ui.message("note: the build reads something below this directory")?;
    }
    if !why.ignored.sent() && is_dir && why.rules.may_include_below(path) {
        ui.message("note: a pattern with `!` may include files below this directory again")?;
    }
    Ok(())
}

/// The part of a build that reads a path which is not ignored.
enum Reader {
    /// The whole context is sent, for this reason; `None` if the manifest wants it.
    Whole(Option<String>),
    /// An instruction: its file and line, and its text.
    Instruction { place: String, text: String },
    /// An `ONBUILD` trigger of a base.
    Trigger,
    /// Nothing reads it, but something below it may be read.
    Below,
    /// Nothing.
    Nothing,
}

/// Returns the first instruction that reads a path.
fn reader(
    workspace: &Workspace,
    unit: &Unit,
    build: &BuildOrigin,
    path: &RelPath,
    is_dir: Option<bool>,
) -> Result<Reader, Failure> {
    if build.inputs == InputScope::Context {
        return Ok(Reader::Whole(None));
    }
    let Some(reach) = reads::reach(workspace, unit, build) else { return Ok(Reader::Whole(None)) };
    if let Some(reason) = reads::reason_for_whole(workspace, unit, build, &reach) {
        return Ok(Reader::Whole(Some(reason)));
    }
    let mut best = Reader::Nothing;
    for read in &reach.paths {
        let reads = reads::context_reads(read);
        match context::read_match(&build.context, &reads, path, is_dir.unwrap_or(false))? {
            ReadMatch::Read => return Ok(instruction(workspace, build, read.span.as_ref())),
            ReadMatch::Below => best = Reader::Below,
            ReadMatch::Unread => {}
        }
    }
    Ok(best)
}

/// Returns the instruction with this byte range of the Dockerfile.
fn instruction(workspace: &Workspace, build: &BuildOrigin, range: Option<&Range<usize>>) -> Reader {
    let Some(range) = range else { return Reader::Trigger };
    let span = Span::new(build.dockerfile_start + range.start, range.len());
    let place = workspace.sources.locate(span);
    let place = place.map(|(file, start, _)| format!("{file}, line {}", start.line));
    let before = build.dockerfile.text().get(..range.start).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let text = build.dockerfile.text()[start..].lines().next().unwrap_or_default();
    Reader::Instruction { place: place.unwrap_or_default(), text: text.trim().to_owned() }
}

/// The explanation of a path.
struct PathVerdict<'a> {
    path: &'a RelPath,
    exists: bool,
    rules: &'a IgnoreRules,
    ignored: Explanation<'a>,
    /// The reader; `None` for a path that is ignored or cannot be sent.
    reader: Option<Reader>,
}

impl PathVerdict<'_> {
    fn is_sent(&self) -> bool {
        !matches!(self.reader, None | Some(Reader::Below | Reader::Nothing))
    }

    fn reason(&self) -> String {
        let file = self.rules.file.as_deref().map(Path::display);
        match (&self.reader, self.ignored, file) {
            (_, Explanation::Own, _) => "imgplan's own files are never sent".to_owned(),
            (None, Explanation::Pattern { line, pattern, .. }, Some(file)) => {
                format!("{file}, line {line}: {pattern}")
            }
            (Some(Reader::Nothing | Reader::Below), ..) => {
                "no instruction that the build runs reads it".to_owned()
            }
            (Some(Reader::Instruction { place, text }), ..) => format!("{place}: {text}"),
            (Some(Reader::Trigger), ..) => "an ONBUILD trigger of a base reads it".to_owned(),
            (Some(Reader::Whole(Some(reason))), ..) => {
                format!("the whole context is sent, because {reason}")
            }
            (_, Explanation::Pattern { line, pattern, .. }, Some(file)) => {
                format!("{file}, line {line}: {pattern} includes it again")
            }
            (_, _, Some(_)) => "no pattern matches it".to_owned(),
            (_, _, None) => "there is no .dockerignore".to_owned(),
        }
    }

    fn as_json(&self) -> serde_json::Value {
        let (line, pattern) = match self.ignored {
            Explanation::Pattern { line, pattern, .. } => (Some(line), Some(pattern)),
            Explanation::Own | Explanation::NoPattern => (None, None),
        };
        let (place, text) = match &self.reader {
            Some(Reader::Instruction { place, text }) => (Some(place), Some(text)),
            _ => (None, None),
        };
        json!({
            "path": self.path.to_string(),
            "sent": self.is_sent(),
            "ignore_file": self.rules.file.as_deref().map(|file| file.display().to_string()),
            "line": line,
            "pattern": pattern,
            "read_at": place,
            "instruction": text,
            "reason": self.reason(),
            "exists": self.exists,
        })
    }
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
