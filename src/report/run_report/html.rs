//! The page about a run: one file that loads nothing and runs no script. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::super::human::run::counts_line;
use super::super::words::{partial_note, phase_word};
use super::dependencies::dependencies;
use super::escape::{markup, markup_lines};
use super::failures::{FailureGroup, failure_groups};
use super::{Outcome, RunView, TargetRow, requests};
use crate::base::name::ImageRef;
use crate::base::text::{duration, plural};
use crate::event::{Phase, TargetFailure};

/// The page, with the names of its parts in double braces.
const PAGE: &str = include_str!("page.html");

/// Maximum number of bytes of the texts of failures.
const MAX_FAILURES_BYTES: usize = 600_000;

/// Maximum number of names of failures with the same text.
const MAX_NAMES_OF_FAILURE: usize = 60;

/// Maximum number of skipped targets of one cause that are named without a click.
const MAX_NAMES_UNFOLDED: usize = 30;

/// A part of the page with a heading.
struct Section {
    id: &'static str,
    heading: String,
    body: String,
}

/// Returns the page.
pub(crate) fn html(view: &RunView<'_>) -> String {
    let rows = view.rows();
    let sections: Vec<Section> = [
        ("failures", counted("failure", view.result.summary.failures.len()), failures(view)),
        ("skipped", counted("skipped", view.result.summary.skipped.len()), skipped(view)),
        ("timeline", counted("target", rows.len()), timeline(view, &rows)),
        ("limits", "Rate limits".to_owned(), charts(view)),
        ("dependencies", "Dependencies".to_owned(), dependencies(&rows)),
    ]
    .into_iter()
    .filter(|(_, _, body)| !body.is_empty())
    .map(|(id, heading, body)| Section { id, heading, body })
    .collect();
    let (outcome, title) = title(view);
    let links = sections.iter().map(|it| format!("<a href=\"#{}\">{}</a>", it.id, it.heading));
    let bodies = sections.iter().map(|Section { id, heading, body }| {
        format!("<section><h2 id={id}>{heading}</h2>\n{body}</section>\n")
    });
    filled(PAGE, |part| match part {
        "title" => title.clone(),
        "outcome" => outcome.to_owned(),
        "counts" => markup(&counts_line(view.result.summary, view.result.elapsed)),
        "notes" => notes(view),
        "facts" => facts(view),
        "links" => links.clone().collect::<Vec<_>>().join("\n"),
        "sections" => bodies.clone().collect(),
        _ => env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Returns a text in which each `{{name}}` is replaced. The inserted text is not searched.
fn filled(template: &str, part: impl Fn(&str) -> String) -> String {
    let mut pieces = template.split("{{");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or((piece, ""));
        text.push_str(&part(name));
        text.push_str(rest);
    }
    text
}

fn counted(noun: &str, count: usize) -> String {
    match noun {
        "skipped" => format!("{count} skipped"),
        noun => plural(count, noun),
    }
}

/// Returns the outcome of the run, and its title.
fn title(view: &RunView<'_>) -> (&'static str, String) {
    let summary = view.result.summary;
    let failed = summary.failures.iter().filter(|failure| !failure.pending).count();
    let counts = [
        ("failed", failed),
        ("pending", summary.failures.len() - failed),
        ("skipped", summary.skipped.len()),
        ("done", summary.done()),
    ];
    let counts = || counts.into_iter().filter(|(_, count)| *count > 0);
    let outcome = counts().next().map_or("done", |(word, _)| word);
    let outcome = if view.run_error().is_some() { "failed" } else { outcome };
    let words: Vec<String> = counts().map(|(word, count)| format!("{count} {word}")).collect();
    let title = if words.is_empty() { "No changes".to_owned() } else { words.join(", ") };
    (outcome, title)
}

fn notes(view: &RunView<'_>) -> String {
    let partial = view.result.summary.partial;
    let partial = partial.map(|partial| format!("This was a {}.", partial_note("run", partial)));
    let notes = view.notes().into_iter().map(|text| format!("{text}."));
    let notes = notes.chain(partial).map(|it| markup(&it));
    notes.flat_map(|note| ["<p>".to_owned(), note, "</p>\n".to_owned()]).collect()
}

fn facts(view: &RunView<'_>) -> String {
    let result = view.result;
    let began = view.began.strftime("%Y-%m-%d %H:%M:%S UTC");
    let facts = [
        ("Owner", Some(markup(result.owners))),
        ("Service", Some(markup(view.service))),
        ("Time", Some(format!("{began}, for {}", duration(result.elapsed)))),
        ("Continue", result.next.map(|next| format!("<code>{}</code>", markup(next)))),
    ];
    let fact = |(name, value): (&str, Option<String>)| {
        Some(format!("<dt>{name}</dt><dd>{}</dd>\n", value?))
    };
    facts.into_iter().filter_map(fact).collect()
}

fn failures(view: &RunView<'_>) -> String {
    let block = |FailureGroup { failures, text, help }: FailureGroup<'_>| {
        let failure = failures.first()?;
        let word = if failure.pending { "pending" } else { "failed" };
        let name = |it: &&TargetFailure| {
            let build = it.build.as_ref().map(|build| format!(" [build {build}]"));
            markup(&format!("{}{}", it.unit, build.unwrap_or_default()))
        };
        let names: Vec<String> = failures.iter().take(MAX_NAMES_OF_FAILURE).map(name).collect();
        let more = failures.len().saturating_sub(MAX_NAMES_OF_FAILURE);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let help = help.map(|help| format!("<p>help: {}</p>", markup(&help)));
        let help = help.unwrap_or_default();
        Some(format!(
            "<div class=\"failure {word}\"><h3>{}{more} <span class=dim>{word} while {}</span></h3>\
             <pre>{}</pre>{help}</div>\n",
            names.join(", "),
            phase_word(failure.phase),
            markup_lines(&text)
        ))
    };
    failure_groups(view, MAX_FAILURES_BYTES).into_iter().filter_map(block).collect()
}

fn skipped(view: &RunView<'_>) -> String {
    let group = |(cause, units): (String, Vec<&ImageRef>)| {
        let open = if units.len() <= MAX_NAMES_UNFOLDED { " open" } else { "" };
        let names: Vec<String> = units.iter().map(|unit| markup(&unit.to_string())).collect();
        let (count, cause) = (plural(units.len(), "target"), markup(&cause));
        let names = names.join(", ");
        format!(
            "<details{open}><summary>{count}: {cause}</summary><p class=names>{names}</p></details>\n"
        )
    };
    view.skipped_by_cause().into_iter().map(group).collect()
}

/// Returns a row for each target, in the order of their begins; the skipped ones come last.
fn timeline(view: &RunView<'_>, rows: &[TargetRow<'_>]) -> String {
    let mut sorted: Vec<&TargetRow<'_>> = rows.iter().collect();
    sorted.sort_by_key(|row| row.spans.first().map_or(Duration::MAX, |span| span.from));
    let phases: BTreeSet<Phase> =
        rows.iter().flat_map(|row| row.spans.iter().map(|span| span.phase)).collect();
    let mut html = "<ul class=legend>".to_owned();
    for phase in phases {
        // Writing into a String cannot fail.
        let _ = write!(html, "<li><i class={}></i>{}</li>", class(phase), phase_word(phase));
    }
    let elapsed = view.result.elapsed;
    let ticks = [0, 1, 2, 3, 4].map(|it| format!("<span>{}</span>", duration(elapsed * it / 4)));
    let _ = write!(
        html,
        "</ul>\n<div class=scale><span></span><div class=axis>{}</div><span></span></div>\n\
         <ol class=rows>\n",
        ticks.concat()
    );
    for row in sorted {
        push_row(&mut html, row, elapsed);
    }
    html + "</ol>\n"
}

fn push_row(html: &mut String, row: &TargetRow<'_>, elapsed: Duration) {
    let (name, word) = (markup(&row.step.key.to_string()), row.outcome.word());
    let percent = |time: Duration| 100.0 * time.as_secs_f64() / elapsed.as_secs_f64().max(1e-3);
    let (mut bar, mut times) = (String::new(), Vec::new());
    for span in row.spans.iter().filter(|span| !span.time().is_zero()) {
        let (from, time) = (percent(span.from), span.time());
        let (class, width) = (class(span.phase), percent(time));
        let _ = write!(bar, "<i class={class} style=left:{from:.2}%;width:{width:.2}%></i>");
        times.push(format!("{} {}", phase_word(span.phase), duration(time)));
    }
    let detail = markup(&format!("{}, {word}: {}", row.action, times.join(", ")));
    let time = match row.outcome {
        Outcome::Skipped(_) => "skipped".to_owned(),
        _ => duration(row.elapsed()),
    };
    let _ = writeln!(
        html,
        "<li class={word}><b title=\"{name}\">{name}</b><div class=bar role=img \
         title=\"{detail}\">{bar}</div><span class=time>{time}</span></li>"
    );
}

/// Returns the class of a phase in the page.
fn class(phase: Phase) -> &'static str {
    match phase {
        Phase::Wait => "wait",
        Phase::Package => "package",
        Phase::Submit => "submit",
        Phase::Upload => "upload",
        Phase::Queued => "queued",
        Phase::Building => "building",
        Phase::Update => "update",
        Phase::Delete => "delete",
    }
}

fn charts(view: &RunView<'_>) -> String {
    let charts = requests::charts(view);
    if charts.is_empty() {
        return charts;
    }
    format!(
        "<p class=dim>Requests of this run in the sliding window of each limit (dashed).</p>\n\
         <div class=charts>\n{charts}</div>\n"
    )
}
