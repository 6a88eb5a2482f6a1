//! The reporter for programs: one JSON object per line, with the common keys of Terraform's output.
//! Readers ignore unknown keys, and show `@message` of unknown types.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::base_paths::unconfirmed_bases;
use super::words::{rate_wait, timed_out};
use super::{PlanView, Reporter, SummaryView};
use crate::base::kind::ImageKind;
use crate::base::limit::Class;
use crate::base::name::ImageRef;
use crate::base::text::plural;
use crate::base::workflow_command::safe_line;
use crate::event::{ActiveTarget, RunEvent, SkipReason, StopReason, TargetFailure};
use crate::http::Notice;
use crate::plan::{Action, Reason, Step};

/// Version of the events. The minor version grows with additions, the major version with
/// incompatible changes.
pub(crate) const UI_VERSION: &str = "1.0";

/// Writes JSON lines.
pub(crate) struct JsonReporter<'w> {
    out: &'w mut dyn Write,
}

impl<'w> JsonReporter<'w> {
    /// Starts a stream with the line of its version. Fails if the stream cannot be written to.
    pub(crate) fn start(out: &'w mut dyn Write) -> io::Result<Self> {
        let mut json = Self { out };
        let version = env!("CARGO_PKG_VERSION");
        json.line(
            "info",
            "version",
            format!("imgplan {version}"),
            json!({
                "imgplan": version,
                "ui": UI_VERSION,
            }),
        )?;
        Ok(json)
    }

    /// Continues a stream that was started.
    pub(crate) fn resume(out: &'w mut dyn Write) -> Self {
        Self { out }
    }

    /// Writes the notes on facts that could not be gathered.
    pub(super) fn notes(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        let warning = |note: &str| json!({ "severity": "warning", "summary": note });
        view.notes().try_for_each(|note| self.diagnostic(&warning(&note)))
    }

    /// Writes one line with the common keys. Fails if the stream cannot be written to.
    pub(crate) fn line(
        &mut self,
        level: &str,
        kind: &str,
        message: String,
        payload: Value,
    ) -> io::Result<()> {
        let mut object = json!({
            "@level": level,
            "@message": safe_line(&message),
            "@module": "imgplan",
            "@timestamp": jiff::Timestamp::now().to_string(),
            "type": kind,
        });
        if let (Value::Object(object), Value::Object(payload)) = (&mut object, payload) {
            object.extend(payload);
        }
        writeln!(self.out, "{object}")
    }

    fn progress(&mut self, active: &ActiveTarget) -> io::Result<()> {
        let ActiveTarget { unit, action, phase, build, elapsed, .. } = active;
        let hook = json!({
            "image": unit,
            "action": action,
            "phase": phase,
            "build_id": build,
            "elapsed_seconds": elapsed.as_secs(),
        });
        let message = format!("{unit}: {action} in progress");
        self.line("info", "apply_progress", message, json!({ "hook": hook }))
    }

    fn notice(&mut self, unit: Option<&ImageRef>, notice: &Notice) -> io::Result<()> {
        match notice {
            Notice::Retry { action, class, attempt, status, why, wait, .. } => {
                let payload = json!({
                    "image": unit,
                    "request": action,
                    "class": class.map(Class::as_str),
                    "attempt": attempt,
                    "status": status,
                    "error": why,
                    "wait_ms": milliseconds(*wait),
                });
                self.line("warn", "retry", format!("cannot {action}: {why}"), payload)
            }
            Notice::RateWait { class, limit, wait } => {
                let payload = json!({
                    "class": class.as_str(),
                    "limit": limit.to_string(),
                    "wait_ms": milliseconds(*wait),
                });
                self.line("info", "rate_wait", rate_wait(*class, *limit, *wait), payload)
            }
            // A run queries no registry.
            Notice::RegistryPaused { .. } | Notice::LookupDone { .. } | Notice::Admitted { .. } => {
                Ok(())
            }
        }
    }

    fn failed(
        &mut self,
        failure: &TargetFailure,
        action: &str,
        (elapsed, waited): (Duration, Duration),
    ) -> io::Result<()> {
        let hook = json!({
            "image": failure.unit,
            "action": action,
            "phase": failure.phase,
            "build_id": failure.build,
            "error": failure.message,
            "help": failure.help,
            "pending": failure.pending,
            "elapsed_seconds": elapsed.as_secs(),
            "waited_seconds": waited.as_secs(),
        });
        let message = format!("{}: {}", failure.unit, failure.message);
        self.line("error", "apply_errored", message, json!({ "hook": hook }))
    }

    fn skipped(&mut self, unit: &ImageRef, reason: &SkipReason) -> io::Result<()> {
        let mut payload = json!({ "image": unit });
        if let (Value::Object(object), Ok(Value::Object(why))) =
            (&mut payload, serde_json::to_value(reason))
        {
            object.extend(why);
        }
        let message = match reason {
            SkipReason::DependencyFailed { failed } => {
                format!("{unit}: depends on {failed}, which failed")
            }
            SkipReason::Interrupted | SkipReason::Stopped => format!("{unit}: not started"),
        };
        self.line("warn", "apply_skipped", message, payload)
    }

    /// Writes an error or a warning. Fails if the stream cannot be written to.
    pub(crate) fn diagnostic(&mut self, diagnostic: &Value) -> io::Result<()> {
        let level = if diagnostic["severity"] == "warning" { "warn" } else { "error" };
        let message = diagnostic["summary"].as_str().unwrap_or_default().to_owned();
        self.line(level, "diagnostic", message, json!({ "diagnostic": diagnostic }))
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Returns a step as `planned_change` and `why` contain it.
pub(super) fn change(view: &PlanView<'_>, step: &Step) -> Value {
    let declared = step.unit().map(|unit| view.workspace.unit(unit).platform);
    let platform = declared.or_else(|| view.entry(&step.key).map(|entry| entry.platform));
    let build = match &step.action {
        Action::Adopt { build, .. } => Some(build),
        _ => None,
    };
    let from = step.reasons.iter().find_map(|reason| match reason {
        Reason::Moved { from } => Some(from),
        _ => None,
    });
    let owner = match &step.action {
        Action::Delete { owner, .. } => Some(owner),
        _ => None,
    };
    let needs: Vec<&ImageRef> =
        step.needs.iter().filter_map(|need| Some(&view.plan.steps.get(need.0)?.key)).collect();
    json!({
        "image": step.key,
        "previous_image": from,
        "platform": platform,
        "kind": step.kind,
        "action": action_word(step),
        "build_id": build,
        "owner": owner,
        "protected": view.is_protected(step),
        "reasons": step.reasons,
        "needs": needs,
        "added": step.added,
    })
}

pub(super) fn action_word(step: &Step) -> &'static str {
    match &step.action {
        Action::Create(create) if create.replaces => "rebuild",
        Action::Create(_) => "create",
        Action::Adopt { .. } => "adopt",
        Action::Update { .. } => "update",
        Action::Forget { .. } => "forget",
        Action::Delete { .. } => "delete",
    }
}

impl Reporter for JsonReporter<'_> {
    fn plan(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        self.notes(view)?;
        for step in &view.plan.steps {
            let message = format!("{}: {}", step.key, action_word(step));
            let payload = json!({ "change": change(view, step) });
            self.line("info", "planned_change", message, payload)?;
        }
        let mut changes = json!(view.plan.counts(None));
        changes["operation"] = json!("plan");
        changes["owners"] = json!(view.owners());
        changes["owner"] = json!(view.owner.owner);
        changes["owner_from"] = json!(view.owner.from);
        changes["compared_with"] = json!(view.facts.images.keys().collect::<BTreeSet<_>>());
        changes["not_compared"] = json!(view.answers().is_none().then(|| view.silence()));
        let unconfirmed = unconfirmed_bases(view).into_iter();
        let unconfirmed = unconfirmed.map(|(base, path)| json!({ "image": base, "path": path }));
        changes["unconfirmed_bases"] = unconfirmed.collect();
        changes["by_kind"] = json!({
            "build": view.plan.counts(Some(ImageKind::Build)),
            "mirror": view.plan.counts(Some(ImageKind::Mirror)),
        });
        changes["partial"] = json!(view.plan.partial);
        changes["blocked"] = json!(view.plan.blocked);
        changes["drift"] = json!(view.plan.visibility_drift);
        changes["protects"] = json!(view.plan.protects);
        changes["unprotects"] = json!(view.plan.unprotects);
        changes["protected"] = json!(view.plan.protected);
        changes["renamed"] = json!(view.plan.renamed);
        let mut message = if view.plan.is_noop() {
            "no changes".to_owned()
        } else {
            plural(view.plan.steps.len(), "step")
        };
        if view.answers().is_none() {
            message = format!("{message}; {}", view.silence());
        }
        self.line("info", "change_summary", message, json!({ "changes": changes }))
    }

    fn event(&mut self, event: &RunEvent) -> io::Result<()> {
        match event {
            RunEvent::Started { unit, action } => {
                let hook = json!({ "image": unit, "action": action });
                self.line(
                    "info",
                    "apply_start",
                    format!("{unit}: {action}"),
                    json!({ "hook": hook }),
                )
            }
            RunEvent::Progress(unit) => self.progress(unit),
            RunEvent::Heartbeat { units, phases, waiting, limited_for, done, total } => {
                let active: usize = phases.iter().map(|(_, count)| count).sum();
                let message = format!("{done}/{total} done, {active} active");
                let run = json!({
                    "active": active,
                    "waiting": waiting,
                    "rate_wait_ms": limited_for.map(milliseconds),
                    "done": done,
                    "total": total,
                });
                self.line("info", "apply_heartbeat", message, json!({ "run": run }))?;
                units.iter().try_for_each(|unit| self.progress(unit))
            }
            RunEvent::Notice { unit, notice } => self.notice(unit.as_ref(), notice),
            RunEvent::Completed { unit, action, build, path, elapsed, waited } => {
                let hook = json!({
                    "image": unit,
                    "action": action,
                    "build_id": build,
                    "path": path,
                    "elapsed_seconds": elapsed.as_secs(),
                    "waited_seconds": waited.as_secs(),
                });
                let message = format!("{unit}: {action} complete");
                self.line("info", "apply_complete", message, json!({ "hook": hook }))
            }
            RunEvent::Failed { failure, action, elapsed, waited } => {
                self.failed(failure, action, (*elapsed, *waited))
            }
            RunEvent::Skipped { unit, reason } => self.skipped(unit, reason),
            RunEvent::Stopping { reason, active } => {
                let (word, message) = match reason {
                    StopReason::Interrupted(_) => {
                        ("interrupted", "Stopping: interrupted".to_owned())
                    }
                    StopReason::Error(error) => ("error", format!("Stopping: {error}")),
                    StopReason::TimedOut(timeout) => ("timeout", timed_out(*timeout)),
                };
                let payload = json!({ "because": word, "active": active });
                self.line("warn", "apply_stopping", message, payload)
            }
        }
    }

    fn summary(&mut self, view: &SummaryView<'_>) -> io::Result<()> {
        let SummaryView { summary, elapsed, next, owners } = *view;
        let pending = summary.failures.iter().filter(|failure| failure.pending).count();
        let changes = json!({
            "operation": "apply",
            "owners": owners,
            "built": summary.built,
            "mirrored": summary.mirrored,
            "adopted": summary.adopted,
            "checked": summary.checked,
            "updated": summary.updated,
            "forgotten": summary.forgotten,
            "deleted": summary.deleted,
            "failed": summary.failures.len() - pending,
            "pending": pending,
            "skipped": summary.skipped.len(),
            "retries": summary.retries,
            "partial": summary.partial,
            "elapsed_seconds": elapsed.as_secs(),
            "next": next,
        });
        let message = format!(
            "{} done, {} failed or skipped",
            summary.done(),
            summary.failures.len() + summary.skipped.len()
        );
        self.line("info", "change_summary", message, json!({ "changes": changes }))
    }
}
