//! Shows what is under way: one line a unit, with how far it is and for how long.

use std::io;
use std::time::Duration;

use serde_json::json;

use super::elapsed;
use super::human::{BOLD, Human, color};
use super::json::Json;
use super::words::{count, tail};
use crate::base::name::{BuildId, ImageRef};

/// All that is under way, and who works on it.
#[derive(Debug, Clone, Copy)]
pub struct StatusView<'a> {
    /// The units, in the order in which they are shown.
    pub units: &'a [UnitStatus],
    /// How many are shown to people, of what may be thousands.
    pub most: usize,
    /// What the run that works here wrote about itself.
    pub holder: Option<&'a str>,
    /// What could not be asked, for people.
    pub notes: &'a [String],
}

/// One unit that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitStatus {
    /// The unit.
    pub unit: ImageRef,
    /// Its build; none where a request was not answered.
    pub build: Option<BuildId>,
    /// How far it is.
    pub progress: UnitProgress,
    /// Since it was started, or asked for.
    pub age: Option<Duration>,
}

/// How far a unit is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitProgress {
    /// It was asked for, and no answer is on record.
    Asked,
    /// The service has not its context yet.
    Uploading,
    /// The service has all of it; its own word for how it is, where it said one.
    Running(Option<String>),
    /// The image is there; the next apply takes that in.
    Completed,
    /// It failed, for this reason; the next apply takes that in.
    Failed(String),
}

impl UnitProgress {
    /// Whether nothing more comes of it.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed(_))
    }

    fn word(&self) -> String {
        match self {
            Self::Asked => "asked for".to_owned(),
            Self::Uploading => "uploading".to_owned(),
            Self::Running(None) => "under way".to_owned(),
            Self::Running(Some(word)) => word.to_lowercase(),
            Self::Completed => "completed".to_owned(),
            Self::Failed(why) => format!("failed: {why}"),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Uploading => "uploading",
            Self::Running(_) => "running",
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
        }
    }
}

impl StatusView<'_> {
    /// How many are not over.
    pub fn running(&self) -> usize {
        self.units.iter().filter(|unit| !unit.progress.is_over()).count()
    }

    fn summary(&self) -> String {
        let (running, over) = (self.running(), self.units.len() - self.running());
        let over = match over {
            0 => String::new(),
            over => format!(", {over} ended since"),
        };
        let then = match (self.holder, self.units.is_empty()) {
            (Some(holder), _) => format!(" A run works here: {holder}."),
            (None, true) => String::new(),
            (None, false) => " `imgplan apply` goes on from here.".to_owned(),
        };
        if self.units.is_empty() {
            return format!("Nothing is under way.{then}");
        }
        format!("{} under way{over}.{then}", count(running, "build"))
    }
}

impl Human<'_> {
    /// Shows what is under way.
    pub fn status(&mut self, view: &StatusView<'_>) -> io::Result<()> {
        for note in view.notes {
            let word = self.paint(color(anstyle::AnsiColor::Yellow), "note:");
            writeln!(self.out, "{word} {note}")?;
        }
        let wide = view.units.iter().map(|unit| unit.unit.to_string().len()).max().unwrap_or(0);
        for UnitStatus { unit, build, progress, age } in view.units.iter().take(view.most) {
            let age = age.map(elapsed).unwrap_or_default();
            let (unit, word) = (unit.to_string(), progress.word());
            let line = format!("  {unit:wide$}  {age:>6}  {word}{}", tail(build.as_ref()));
            writeln!(self.out, "{}", line.trim_end())?;
        }
        if let more @ 1.. = view.units.len().saturating_sub(view.most) {
            writeln!(self.out, "  and {more} more")?;
        }
        writeln!(self.out, "{}", self.paint(BOLD, &view.summary()))
    }
}

impl Json<'_> {
    /// Tells what is under way.
    pub fn status(&mut self, view: &StatusView<'_>) -> io::Result<()> {
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
                    UnitProgress::Failed(why) => Some(why),
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

    fn shown(view: &StatusView<'_>) -> String {
        let options = ReportOptions {
            color: false,
            color_talk: false,
            width: 80,
            columns: None,
            talk: Verbosity::Normal,
            hints: true,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        Human::new(&mut out, &mut err, options).status(view).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_a_unit_and_what_it_means() {
        let unit = |unit: &str, build: Option<&str>, progress, secs: Option<u64>| UnitStatus {
            unit: unit.parse().unwrap(),
            build: build.and_then(BuildId::new),
            progress,
            age: secs.map(Duration::from_secs),
        };
        let units = [
            unit("api:v1", Some("b-1"), UnitProgress::Running(Some("BUILDING".into())), Some(125)),
            unit("redis:7", None, UnitProgress::Asked, Some(3)),
            unit("web:v1-arm64", Some("b-2"), UnitProgress::Failed("no disk".into()), None),
        ];
        let notes = ["cannot ask".to_owned()];
        let view = StatusView { units: &units, most: 9, holder: None, notes: &notes };
        insta::assert_snapshot!(shown(&view), @"
        note: cannot ask
          api:v1         2m05s  building [build b-1]
          redis:7         3.0s  asked for
          web:v1-arm64          failed: no disk [build b-2]
        2 builds under way, 1 ended since. `imgplan apply` goes on from here.
        ");
        let short = StatusView { most: 1, notes: &[], ..view };
        insta::assert_snapshot!(shown(&short), @"
          api:v1         2m05s  building [build b-1]
          and 2 more
        2 builds under way, 1 ended since. `imgplan apply` goes on from here.
        ");
        let idle = StatusView { units: &[], most: 9, holder: Some("me, process 7"), notes: &[] };
        insta::assert_snapshot!(shown(&idle), @"Nothing is under way. A run works here: me, process 7.");
    }
}
