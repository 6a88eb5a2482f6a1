//! Lists the builds in progress: a line per target with its progress and duration.

use std::io;
use std::time::Duration;

use serde_json::json;

use super::fit::cut;
use super::human::{BOLD, HumanReporter, color};
use super::json::JsonReporter;
use super::words::build_tail;
use crate::base::name::{BuildId, ImageRef};
use crate::base::safe_text::escaped;
use crate::base::text::{columns, duration, plural};

/// Builds in progress, and the apply that works on them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatusView<'a> {
    /// The targets, in the order in which they are shown.
    pub units: &'a [UnitStatus],
    /// Maximum number of targets, each in one line of the terminal; `None` shows all in full.
    pub max_lines: Option<usize>,
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
            Self::Failed(error) => {
                format!("failed: {}", error.lines().next().unwrap_or_default())
            }
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
        let (max_lines, room) = match view.max_lines {
            Some(max) => (max, self.options.columns.unwrap_or(usize::MAX)),
            None => (usize::MAX, usize::MAX),
        };
        let fit = |text: &str| {
            let lines: Vec<String> = text.lines().map(|line| cut(line, room)).collect();
            lines.join("\n")
        };
        for note in view.notes {
            let note = fit(&self.prose(&format!("note: {note}")));
            let style = color(anstyle::AnsiColor::Yellow);
            writeln!(self.out, "{}", self.paint_head(style, "note:", &note))?;
        }
        let shown = || view.units.iter().take(max_lines);
        let widths = shown().map(|unit| unit.unit.to_string().len());
        // The last third is for the progress.
        let width = widths.max().unwrap_or(0).min(room / 3 * 2);
        for UnitStatus { unit, build, progress, age } in shown() {
            let age = age.map(duration).unwrap_or_default();
            let (unit, word) = (cut(&unit.to_string(), width), progress.word());
            let line = format!("  {unit:width$}  {age:>6}  {}", escaped(&word));
            // A build ID is of no use without its end.
            let tail = Some(build_tail(build.as_ref()));
            let tail = tail.filter(|tail| columns(&line) + columns(tail) <= room);
            let line = format!("{line}{}", tail.unwrap_or_default());
            writeln!(self.out, "{}", fit(line.trim_end()))?;
        }
        if let more @ 1.. = view.units.len().saturating_sub(max_lines) {
            writeln!(self.out, "  and {more} more")?;
        }
        let summary = fit(&self.prose(&view.summary()));
        writeln!(self.out, "{}", self.paint(BOLD, &summary))
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
    use super::super::{Progress, ReportOptions, Verbosity};
    use super::*;

    fn text(view: &StatusView<'_>) -> String {
        text_in(None, view)
    }

    fn text_in(columns: Option<usize>, view: &StatusView<'_>) -> String {
        let options = ReportOptions {
            color_stdout: false,
            color_stderr: false,
            width: 80,
            columns,
            verbosity: Verbosity::Normal,
            hints: true,
            progress: Progress::Lines,
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
        let view = StatusView { units: &units, max_lines: None, holder: None, notes: &notes };
        insta::assert_snapshot!(text(&view), @"
        note: cannot ask
          api:v1         2m05s  building [build b-1]
          redis:7         3.0s  in doubt
          web:v1-arm64          failed: no disk [build b-2]
        2 builds in progress, 1 ended. Run `imgplan apply` to continue.
        ");
        let short = StatusView { max_lines: Some(1), notes: &[], ..view };
        insta::assert_snapshot!(text(&short), @"
          api:v1   2m05s  building [build b-1]
          and 2 more
        2 builds in progress, 1 ended. Run `imgplan apply` to continue.
        ");
        let idle =
            StatusView { units: &[], max_lines: None, holder: Some("me, process 7"), notes: &[] };
        insta::assert_snapshot!(text(&idle), @"No builds in progress. An apply is running in this directory: me, process 7.");
    }

    /// The next status replaces this one: a line that the terminal breaks would be left over.
    #[test]
    fn lines_of_a_watched_status_fit_the_terminal() {
        let long = "a".repeat(90);
        let names =
            ["api:v1", "a-service-with-a-rather-long-name:2026.11.29", &format!("{long}:v1")];
        let error = "process /bin/sh -c make did not complete successfully: exit code: 2";
        let units: Vec<UnitStatus> = names
            .iter()
            .map(|name| UnitStatus {
                unit: name.parse().unwrap(),
                build: BuildId::new("cm3v8xq2k0001l408h2v9d1zt"),
                progress: UnitProgress::Failed(error.to_owned()),
                age: Some(Duration::from_secs(125)),
            })
            .collect();
        let notes = [format!("cannot query a pending build: http://{long}: no route to host")];
        let holder = "process 1234 on build-host-7.internal.example, since 2026-11-29 02:07 UTC";
        let view =
            StatusView { units: &units, max_lines: Some(9), holder: Some(holder), notes: &notes };
        for width in [20, 80, 100] {
            let text = text_in(Some(width), &view);
            let widest = text.lines().map(columns).max();
            assert!(widest <= Some(width), "{width}: {text}");
        }
        insta::assert_snapshot!(text_in(Some(80), &view), @"
        note: cannot query a pending build:
          http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…
          no route to host
          api:v1                                                 2m05s  failed: …
          a-service-with-a-rather-long-name:2026.11.29           2m05s  failed: …
          aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…   2m05s  failed: …
        0 builds in progress, 3 ended. An apply is running in this directory: process
          1234 on build-host-7.internal.example, since 2026-11-29 02:07 UTC.
        ");
        let unbounded = StatusView { max_lines: None, ..view };
        assert!(text_in(Some(80), &unbounded).contains(error), "nothing is cut without --watch");
    }
}
