//! The reports of runs with hostile texts, many targets, and every outcome.

mod chromium;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

use super::super::SummaryView;
use super::super::tests::markdown::assert_inert as assert_inert_markdown;
use super::super::tests::{Fixture, build_id, key};
use super::super::timeline::Timeline;
use super::escape::markup;
use super::{RunView, html, junit, markdown, metadata};
use crate::base::image_path::ImagePath;
use crate::base::kind::ImageKind;
use crate::base::limit::Class;
use crate::base::safe_text::is_unsafe;
use crate::event::{ActiveTarget, Phase, RunEvent, SkipReason, StopReason, Summary, TargetFailure};
use crate::http::Notice;
use crate::plan::StepId;

/// Texts that try to leave their place.
const HOSTILE: &[&str] = &[
    "</pre><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='x",
    "{{sections}}{{title}}",
    "]]></failure><!-- -->",
    "a\n\n</pre>\n# b\n| c |\n```\n@octocat fixes #1",
    "\u{1b}[31m\u{202e}\u{7}\r\0\u{2028}\u{fffe}\u{ffff}",
    "&lt;&amp;&#60;",
    "`x` ``y`` ```",
];

/// A run that has ended.
struct TestRun {
    fixture: Fixture,
    timeline: Timeline,
    summary: Summary,
    service: String,
    elapsed: Duration,
    only_checks: bool,
    error: Option<&'static str>,
}

impl TestRun {
    fn new() -> Self {
        let (timeline, summary) = (Timeline::default(), Summary::default());
        let (service, elapsed) = ("local".to_owned(), Duration::ZERO);
        let (fixture, only_checks, error) = (Fixture::new(), false, None);
        Self { fixture, timeline, summary, service, elapsed, only_checks, error }
    }

    fn with<T>(&self, report: impl FnOnce(&RunView<'_>) -> T) -> T {
        let limits = Class::ALL.map(|class| (class, class.default_limit()));
        let next = (!self.summary.is_complete()).then_some("imgplan apply");
        let owners = "team t1 (PRIME_TEAM_ID)";
        let result = SummaryView { summary: &self.summary, elapsed: self.elapsed, next, owners };
        report(&RunView {
            plan: &self.fixture.plan,
            workspace: &self.fixture.workspace,
            state: &self.fixture.state,
            timeline: &self.timeline,
            result,
            service: &self.service,
            limits: &limits,
            began: Timestamp::from_second(1_790_000_000).unwrap(),
            only_checks: self.only_checks,
            error: self.error,
        })
    }

    fn at(&mut self, millis: u64, event: &RunEvent) {
        let now = Duration::from_millis(millis);
        self.elapsed = self.elapsed.max(now);
        self.timeline.observe(event, now);
    }

    /// Adds a target that waits, is packed, uploaded, queued and built, from a time in milliseconds.
    fn target(&mut self, name: &str, from: u64, built: u64, failure: Option<&str>) -> StepId {
        let step = self.fixture.create(name, ImageKind::Build, false, vec![]);
        let (unit, action) = (key(name), "build");
        let progress = |phase| {
            let (unit, build) = (unit.clone(), Some(build_id("b-1")));
            let (elapsed, in_phase) = (Duration::ZERO, Duration::ZERO);
            RunEvent::Progress(ActiveTarget { unit, action, phase, build, elapsed, in_phase })
        };
        self.at(0, &RunEvent::Started { unit: unit.clone(), action });
        for (after, phase) in [
            (0, Phase::Package),
            (900, Phase::Submit),
            (1_200, Phase::Upload),
            (2_600, Phase::Queued),
            (6_000, Phase::Building),
        ] {
            let admitted =
                Notice::Admitted { class: Class::Initiate, count: 1, at: Instant::now() };
            let notice = RunEvent::Notice { unit: None, notice: admitted };
            if phase == Phase::Submit {
                self.at(from + after, &notice);
            }
            self.at(from + after, &progress(phase));
        }
        let (elapsed, waited) = (Duration::ZERO, Duration::ZERO);
        let end = match failure {
            None => {
                self.summary.built += 1;
                RunEvent::Completed { unit, action, build: None, path: None, elapsed, waited }
            }
            Some(message) => {
                let failure = failure_of(name, message);
                self.summary.failures.push(failure.clone());
                RunEvent::Failed { failure, action, elapsed, waited }
            }
        };
        self.at(from + 6_000 + built, &end);
        step
    }

    fn skip(&mut self, name: &str, reason: SkipReason) -> StepId {
        let step = self.fixture.create(name, ImageKind::Build, false, vec![]);
        self.summary.skipped.push((key(name), reason.clone()));
        let at = u64::try_from(self.elapsed.as_millis()).unwrap();
        self.at(at, &RunEvent::Skipped { unit: key(name), reason });
        step
    }
}

fn failure_of(name: &str, message: &str) -> TargetFailure {
    TargetFailure {
        unit: key(name),
        phase: Phase::Building,
        message: message.to_owned(),
        help: Some(message.to_owned()),
        build: Some(build_id("b-1")),
        pending: false,
    }
}

/// A base, its dependents, one that fails with its own dependent, and others: `count` targets.
fn run_of(count: usize) -> TestRun {
    let mut run = TestRun::new();
    let base = run.target("python-base:3.12", 0, 9_000, None);
    let error =
        "the build failed: exit code 1\n#9 [4/4] RUN make -C /src\ncc: error: no input files";
    let failed = run.target("compiler:v2", 400, 5_000, Some(error));
    run.summary.failures[0].help = Some("see the log".to_owned());
    let left =
        run.skip("compiler-user:v1", SkipReason::DependencyFailed { failed: key("compiler:v2") });
    run.fixture.plan.steps[left.0].needs = vec![failed];
    for index in 3..count {
        let wave = u64::try_from(index / 40).unwrap();
        let index = u64::try_from(index).unwrap();
        let from = 1_000 + wave * 20_000 + index % 40 * 130;
        let name = format!("service-{index}:v{}", index % 7);
        let step = run.target(&name, from, 4_000 + index * 7_919 % 15_000, None);
        if index % 5 == 0 {
            run.fixture.plan.steps[step.0].needs = vec![base];
        }
    }
    run
}

/// A run in which every text is one.
fn hostile_run(text: &str) -> TestRun {
    let mut run = TestRun::new();
    run.target("a:v1", 0, 10, Some(text));
    run.target("b:v1", 0, 10, Some("plain"));
    run.skip("c:v1", SkipReason::Stopped);
    run.summary.stopped = Some(StopReason::Error(text.to_owned()));
    text.clone_into(&mut run.service);
    run
}

/// Returns the tags of a page or an XML file, without their attributes' values.
fn tags(text: &str) -> Vec<String> {
    let tag = regex::Regex::new("<[^>]*>").unwrap();
    let value = regex::Regex::new("\"[^\"]*\"").unwrap();
    tag.find_iter(text).map(|tag| value.replace_all(tag.as_str(), "").into_owned()).collect()
}

#[track_caller]
fn assert_inert(text: &str) {
    let (hostile, plain) = (hostile_run(text), hostile_run("plain text"));
    for report in [html as fn(&RunView<'_>) -> String, junit] {
        let page = hostile.with(report);
        assert_eq!(tags(&page), tags(&plain.with(report)), "{text:?}: {page}");
        assert!(!page.contains(|c| is_unsafe(c) && c != '\n'), "{page:?}");
        assert!(!page.contains(['\u{fffe}', '\u{ffff}']), "{page:?}");
    }
    assert_inert_markdown(&hostile.with(markdown));
    let read = hostile.with(metadata).to_string();
    let read: Value = serde_json::from_str(&read).unwrap();
    assert_eq!(read["a:v1"]["imgplan"]["error"], text);
}

#[test]
fn hostile_texts_stay_in_their_places() {
    for text in HOSTILE {
        assert_inert(text);
    }
    assert!(hostile_run("{{title}}").with(html).contains("<pre>{{title}}</pre>"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_leaves_its_place(text in "[ -~\n\t\r\u{1b}\u{202e}\u{fffe}é<>\"'`&{}]{1,40}") {
        if text.lines().count() > 0 {
            assert_inert(&text);
        }
    }

    #[test]
    fn escaped_values_have_no_markup(text in "\\PC{0,30}|[<>&\"'`\n\r\u{1b}]{0,30}") {
        let shown = markup(&text);
        prop_assert!(!shown.contains(['<', '>', '"', '\'', '\n', '\r']), "{:?}", shown);
    }
}

#[test]
fn the_page_has_a_row_for_each_target_and_loads_nothing() {
    for count in [3, 60, 2_000] {
        let page = run_of(count).with(html);
        assert_eq!(page.matches("<div class=bar").count(), count);
        assert!(page.len() < 3_000_000 / 2, "{} bytes", page.len());
        assert!(page.contains("default-src 'none'; style-src 'unsafe-inline'"));
        for word in ["src=", "href=\"http", "@import", "url(", "<script", "<link", "<base"] {
            assert!(!page.contains(word), "{word}");
        }
        // For people who look at the page: IMGPLAN_PAGES names a folder.
        if let Some(folder) = std::env::var_os("IMGPLAN_PAGES") {
            #[expect(clippy::disallowed_methods, reason = "a person named the folder")]
            std::fs::write(std::path::Path::new(&folder).join(format!("run-{count}.html")), page)
                .unwrap();
        }
    }
}

#[test]
fn two_thousand_failures_fit() {
    let mut run = TestRun::new();
    for index in 0..2_000 {
        let message = format!("error {index}\n{}", "<&> line of a build\n".repeat(1_000));
        run.target(&format!("service-{index}:v1"), index * 10, 10, Some(&message));
    }
    let (page, text) = (run.with(html), run.with(markdown));
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    assert!(text.len() <= 65_000 && text.contains(" rows left out: "), "{} bytes", text.len());
    assert!(text.contains("error 0"), "{text}");
}

#[test]
fn long_names_leave_room_for_the_failures() {
    let mut run = TestRun::new();
    let name =
        |index: String| format!("{index}{}:{}", "n".repeat(240 - index.len()), "t".repeat(120));
    for base in 0..30 {
        let failed = name(format!("base-{base}-"));
        run.target(&failed, 0, 10, Some(&format!("error {base}\nits cause")));
        for dependent in 0..10 {
            let reason = SkipReason::DependencyFailed { failed: key(&failed) };
            run.skip(&name(format!("leaf-{base}-{dependent}-")), reason);
        }
    }
    let text = run.with(markdown);
    assert!(text.len() <= 65_000, "{} bytes", text.len());
    assert!(text.contains("building | error 0<br>") && text.contains(" rows left out: "), "{text}");
    assert_inert_markdown(&text);
}

#[test]
fn an_image_that_was_not_built_has_no_name() {
    let mut run = TestRun::new();
    for unit in ["a:v1", "b:v1"] {
        run.fixture.create(unit, ImageKind::Build, true, vec![]);
    }
    run.fixture.plan.steps.clear();
    let entry = run.fixture.state.entries.get_mut(&key("b:v1")).unwrap();
    entry.built.as_mut().unwrap().path = ImagePath::default();
    let names = |run: &TestRun| {
        let of = run.with(metadata);
        assert_eq!(of["a:v1"]["imgplan"]["status"], "unchanged", "{of:#}");
        ["a:v1", "b:v1"].map(|unit| of[unit]["image.name"].as_str().map(str::to_owned))
    };
    assert_eq!(names(&run), [Some("prime/me/image:1".to_owned()), None]);
    run.only_checks = true;
    assert_eq!(names(&run), [None, None]);
    let xml = run.with(junit);
    assert!(xml.contains("tests=\"2\" failures=\"0\" errors=\"0\""), "{xml}");
    let passed = "<testcase name=\"a:v1\" classname=\"imgplan\" time=\"0.000\" />\n";
    assert!(xml.contains(passed), "{xml}");
}

#[test]
fn an_error_of_the_command_is_in_every_report() {
    let timeout = Some(StopReason::TimedOut(Duration::from_secs(60)));
    let failed = "The command failed: cannot write imgplan.lock";
    for (error, stopped, shown, message) in [
        (Some("cannot write imgplan.lock"), None, failed, "cannot write imgplan.lock"),
        (None, timeout, "Stopped at its timeout of 1m", "Stopped at its timeout of 1m"),
    ] {
        let mut run = TestRun::new();
        run.target("a:v1", 0, 10, None);
        (run.error, run.summary.stopped) = (error, stopped);
        let (page, text, xml) = (run.with(html), run.with(markdown), run.with(junit));
        assert!(page.contains("<h1 class=\"failed\">1 done</h1>"), "{page}");
        assert!(page.contains(&format!("<p>{shown}")), "{page}");
        assert!(text.contains(&format!("**Note:** {shown}")), "{text}");
        assert!(xml.contains("tests=\"2\" failures=\"0\" errors=\"1\""), "{xml}");
        let case = "<testcase name=\"imgplan apply\" classname=\"imgplan\" time=\"0.000\">";
        assert!(xml.contains(&format!("{case}<error message=\"{message}")), "{xml}");
    }
}

#[test]
fn a_run_without_steps_has_reports() {
    let run = TestRun::new();
    let page = run.with(html);
    assert!(page.contains("<title>No changes</title>") && !page.contains("{{"), "{page}");
    assert_eq!(run.with(metadata), Value::Object(serde_json::Map::new()));
    assert!(run.with(markdown).starts_with("### Apply: 0 built"));
}

#[test]
fn a_target_that_an_aborted_run_left_ends_with_the_run() {
    let mut run = TestRun::new();
    run.fixture.create("a:v1", ImageKind::Build, false, vec![]);
    run.at(500, &RunEvent::Started { unit: key("a:v1"), action: "build" });
    run.elapsed = Duration::from_millis(4_500);
    let failure = TargetFailure { pending: true, ..failure_of("a:v1", "aborted") };
    run.summary.failures.push(failure);
    let own = run.with(metadata)["a:v1"]["imgplan"].clone();
    assert_eq!((&own["status"], &own["seconds"]), (&"pending".into(), &4.0.into()));
}

#[test]
fn the_markdown_of_a_run() {
    insta::assert_snapshot!(run_of(5).with(markdown), @"
    ### Apply: 3 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 1 failed, 1 skipped, in 20s.

    Owner: <code>team t1 (PRIME&#95;TEAM&#95;ID)</code>

    | Failed | While | Error |
    | --- | --- | --- |
    | <code>compiler:v2 &#91;build b-1&#93;</code> | building | the build failed: exit code 1<br>help: see the log |

    <details><summary>Error of <code>compiler:v2</code></summary>

    ```text
    the build failed: exit code 1
    #9 [4/4] RUN make -C /src
    cc: error: no input files
    ```

    </details>

    | Skipped | Reason |
    | --- | --- |
    | <code>compiler-user:v1</code> | depends on compiler:v2, which failed |

    #### Targets

    | Target | Action | Result | Time | Of which waited |
    | --- | --- | --- | ---: | ---: |
    | <code>service-3:v3</code> | build | done | 20s | 4.7s |
    | <code>python-base:3.12</code> | build | done | 15s | 3.4s |
    | <code>service-4:v4</code> | build | done | 13s | 4.9s |
    | <code>compiler:v2</code> | build | failed | 11s | 3.8s |

    Next: fix the failures, then run <code>imgplan apply</code> to continue
    ");
}

#[test]
fn the_xml_of_a_run() {
    insta::assert_snapshot!(run_of(5).with(junit), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="imgplan" tests="5" failures="1" errors="0" skipped="1" time="20.147">
    <testsuite name="imgplan apply" timestamp="2026-09-21T14:13:20Z" tests="5" failures="1" errors="0" skipped="1" time="20.147">
    <testcase name="python-base:3.12" classname="imgplan" time="15.000"><properties><property name="action" value="build" /></properties></testcase>
    <testcase name="compiler:v2" classname="imgplan" time="11.400"><properties><property name="action" value="build" /></properties><failure message="the build failed: exit code 1" type="failed while building">the build failed: exit code 1
    #9 [4/4] RUN make -C /src
    cc: error: no input files
    help: see the log
    build: b-1</failure></testcase>
    <testcase name="compiler-user:v1" classname="imgplan" time="0.000"><properties><property name="action" value="build" /></properties><skipped message="depends on compiler:v2, which failed" /></testcase>
    <testcase name="service-3:v3" classname="imgplan" time="20.147"><properties><property name="action" value="build" /></properties></testcase>
    <testcase name="service-4:v4" classname="imgplan" time="13.196"><properties><property name="action" value="build" /></properties></testcase>
    </testsuite>
    </testsuites>
    "#);
}
