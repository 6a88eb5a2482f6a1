//! Lists the builds in progress: a line per target with its progress and duration.

use std::io;
use std::time::Duration;

use serde_json::json;

use super::human::{BOLD, HumanReporter, color};
use super::json::JsonReporter;
use super::words::build_tail;
use crate::base::name::{BuildId, ImageRef};
use crate::base::text::{duration, plural};

/// Builds in progress, and the apply that works on them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatusView<'a> {
    /// The targets, in the order in which they are shown.
    pub units: &'a [UnitStatus],
    /// Maximum number of lines for people; there may be thousands of targets.
    pub max_lines: usize,
    /// Description of the apply that runs in this directory, as its lock file has it.
    pub holder: Option<&'a str>,
    /// Notes on facts that could not be gathered.
    pub notes: &'a [String],
}

/// One target in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitStatus {
    /// The target.
    pub unit: ImageRef,
    /// The build; `None` for a request in doubt.
    pub build: Option<BuildId>,
    /// The progress.
    pub progress: UnitProgress,
    /// Time since the build was started or requested.
    pub age: Option<Duration>,
}

/// Progress of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UnitProgress {
    /// The request is in doubt: it was sent, and no response is recorded.
    InDoubt,
    /// The context is not completely uploaded.
    Uploading,
    /// The service works on the build; its own word for the status, if it sent one.
    Running(Option<String>),
    /// The build is complete; the next apply records it.
    Completed,
    /// The build failed with this error; the next apply records it.
    Failed(String),
}

impl UnitProgress {
    /// True if the build has ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed(_))
    }

    fn word(&self) -> String {
        match self {
            Self::InDoubt => "in doubt".to_owned(),
            Self::Uploading => "uploading".to_owned(),
            Self::Running(None) => "in progress".to_owned(),
            Self::Running(Some(word)) => word.to_lowercase(),
            Self::Completed => "completed".to_owned(),
            Self::Failed(error) => format!("failed: {error}"),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::InDoubt => "asked",
            Self::Uploading => "uploading",
            Self::Running(_) => "running",
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
        }
    }
}

impl StatusView<'_> {
    /// Number of builds that have not ended.
    pub(crate) fn running(&self) -> usize {
        self.units.iter().filter(|unit| !unit.progress.has_ended()).count()
    }

    fn summary(&self) -> String {
        let running = self.running();
        let ended = match self.units.len() - running {
            0 => String::new(),
            ended => format!(", {ended} ended"),
        };
        let next = match self.holder {
            Some(holder) => format!(" An apply is running in this directory: {holder}."),
            None if self.units.is_empty() => String::new(),
            None => " Run `imgplan apply` to continue.".to_owned(),
        };
        if self.units.is_empty() {
            return format!("No builds in progress.{next}");
        }
        format!("{} in progress{ended}.{next}", plural(running, "build"))
    }
}

impl HumanReporter<'_> {
    /// Writes the builds in progress. Fails if the stream cannot be written to.
    pub(crate) fn status(&mut self, view: &StatusView<'_>) -> io::Result<()> {
        for note in view.notes {
            let word = self.paint(color(anstyle::AnsiColor::Yellow), "note:");
            writeln!(self.out, "{word} {note}")?;
        }
        let width = view.units.iter().map(|unit| unit.unit.to_string().len()).max().unwrap_or(0);
        for UnitStatus { unit, build, progress, age } in view.units.iter().take(view.max_lines) {
            let age = age.map(duration).unwrap_or_default();
            let (unit, word) = (unit.to_string(), progress.word());
            let line = format!("  {unit:width$}  {age:>6}  {word}{}", build_tail(build.as_ref()));
            writeln!(self.out, "{}", line.trim_end())?;
        }
        if let more @ 1.. = view.units.len().saturating_sub(view.max_lines) {
            writeln!(self.out, "  and {more} more")?;
        }
        writeln!(self.out, "{}", self.paint(BOLD, &view.summary()))
    }
}

impl JsonReporter<'_> {
    /// Writes the builds in progress. Fails if the stream cannot be written to.
    pub(crate) fn status(&mut self, view: &StatusView<'_>) -> io::Result<()> {
        let unit = |unit: &UnitStatus| {
            json!({
                "image": unit.unit,
                "build_id": unit.build,
                "status": unit.progress.code(),
                "word": match &unit.progress {
                    UnitProgress::Running(word) => word.clone(),
                    _ => None,
                },
                "error": match &unit.progress {
                    UnitProgress::Failed(error) => Some(error),
                    _ => None,
                },
                "elapsed_seconds": unit.age.map(|age| age.as_secs()),
            })
        };
        let units: Vec<_> = view.units.iter().map(unit).collect();
        let payload = json!({ "units": units, "running": view.running(), "holder": view.holder, "notes": view.notes });
        self.line("info", "status", view.summary(), json!({ "status": payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ReportOptions, Verbosity};
    use super::*;

    fn text(view: &StatusView<'_>) -> String {
        let options = ReportOptions {
            color_stdout: false,
            color_stderr: false,
            width: 80,
            columns: None,
            verbosity: Verbosity::Normal,
            hints: true,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        HumanReporter::new(&mut out, &mut err, options).status(view).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn status_has_a_line_per_target() {
        let unit = |unit: &str, build: Option<&str>, progress, secs: Option<u64>| UnitStatus {
            unit: unit.parse().unwrap(),
            build: build.and_then(BuildId::new),
            progress,
            age: secs.map(Duration::from_secs),
        };
        let units = [
            unit("api:v1", Some("b-1"), UnitProgress::Running(Some("BUILDING".into())), Some(125)),
            unit("redis:7", None, UnitProgress::InDoubt, Some(3)),
            unit("web:v1-arm64", Some("b-2"), UnitProgress::Failed("no disk".into()), None),
        ];
        let notes = ["cannot ask".to_owned()];
        let view = StatusView { units: &units, max_lines: 9, holder: None, notes: &notes };
        insta::assert_snapshot!(text(&view), @"
        note: cannot ask
          api:v1         2m05s  building [build b-1]
          redis:7         3.0s  in doubt
          web:v1-arm64          failed: no disk [build b-2]
        2 builds in progress, 1 ended. Run `imgplan apply` to continue.
        ");
        let short = StatusView { max_lines: 1, notes: &[], ..view };
        insta::assert_snapshot!(text(&short), @"
          api:v1         2m05s  building [build b-1]
          and 2 more
        2 builds in progress, 1 ended. Run `imgplan apply` to continue.
        ");
        let idle =
            StatusView { units: &[], max_lines: 9, holder: Some("me, process 7"), notes: &[] };
        insta::assert_snapshot!(text(&idle), @"No builds in progress. An apply is running in this directory: me, process 7.");
    }
}
