//! The Markdown of plans, results and explanations.

use std::time::Duration;

use proptest::prelude::*;

use super::super::markdown::{self, MAX_COMMENT_BYTES};
use super::super::why::WhyView;
use super::super::{PlanView, SummaryView};
use super::*;
use crate::event::{Phase, SkipReason, Summary, TargetFailure};
use crate::plan::PartialPlan;

/// Texts that try to leave their cell, to name a person, to load an image, or to give a command.
const HOSTILE: &str = "a|b\\|c\n::error::x\r\n::stop-commands::x\u{1b}[2J\u{202e} `x` ``` <img src=x> </details> \
                       ![x](http://evil.example/x) @octocat fixes #12 www.evil.example ##[error]x";

fn plan(fixture: &Fixture, max_bytes: usize) -> String {
    fixture.with(|view: &PlanView<'_>| markdown::plan(view, max_bytes))
}

/// Returns the cells of the rows of all tables, as GitHub splits them.
fn rows(text: &str) -> Vec<Vec<String>> {
    let text = without_blocks(text);
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let cells = |row: &str| -> Vec<String> {
        let row = row.strip_prefix('|').unwrap().strip_suffix('|').unwrap();
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

/// Returns a text without its blocks of code, each of which must be closed.
fn without_blocks(text: &str) -> String {
    let (mut fence, mut kept): (Option<&str>, Vec<&str>) = (None, Vec::new());
    for line in text.lines() {
        match fence {
            Some(open) if line == open => fence = None,
            Some(_) => {}
            None if line.starts_with("```") => fence = line.strip_suffix("text"),
            None => kept.push(line),
        }
    }
    assert_eq!(fence, None, "{text}");
    kept.join("\n")
}

/// Asserts that a text has nothing that a code host or a runner would act on.
#[track_caller]
pub(in crate::report) fn assert_inert(text: &str) {
    assert!(!text.contains(|c| crate::base::safe_text::is_unsafe(c) && c != '\n'), "{text}");
    let text = without_blocks(text);
    for line in text.lines() {
        assert!(!line.contains('`') && !line.contains("]("), "{line}");
        assert!(!line.contains("://") && !line.contains("www."), "{line}");
        assert!(!line.contains('@') && !line.trim_start().starts_with("::"), "{line}");
        for tag in line.split('<').skip(1) {
            let name: String = tag.chars().take_while(|c| *c != '>').collect();
            let ours = ["code", "details", "summary", "sub", "br", "b", "!-- --"];
            assert!(ours.contains(&name.trim_start_matches('/')), "<{tag} in {line}");
        }
    }
    assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
}

#[test]
fn every_action_and_reason_has_a_row() {
    let fixture = full_plan();
    let text = plan(&fixture, MAX_COMMENT_BYTES);
    assert_inert(&text);
    insta::assert_snapshot!(text, @"
    ### Plan: 3 to create, 14 to rebuild, 1 to adopt, 3 to update, 2 to delete, 2 to forget. 412 unchanged.

    imgplan: 21 targets, owner <code>personal</code>, lockfile <code>imgplan.lock</code>, service <code>https&#58;//api.example.com</code>

    **Replaces 2 protected images:** python-base:3.12, redis:7

    #### Deletes 2 images

    | Action | Target | Reason |
    | --- | --- | --- |
    | <code>-</code> delete | <code>dropped:v1</code> | removed from the manifest |
    | <code>-</code> delete | <code>app:0000</code> | replaced by app:2222 (team:t) (once build 6d0e has ended) |

    #### Other steps

    | Action | Target | Reason |
    | --- | --- | --- |
    | <code>-/+</code> build | <code>python-base:3.12</code> | Dockerfile changed; context: &#126; src/app/file-0.py, + src/app/file-1.py, + src/app/file-2.py and 2 more (needed by the selection) |
    | <code>-/+</code> build | <code>api:v4</code> | its base python-base:3.12 changes |
    | <code>+</code> build | <code>cron:v1</code> | new |
    | <code>-/+</code> build | <code>deb:v1</code> | base docker.io/library/debian:12 moved 999999999999 -&#62; 222222222222 |
    | <code>-/+</code> build | <code>deb-pinned:v1</code> | base docker.io/library/debian:12 pinned to 222222222222 |
    | <code>-/+</code> build | <code>deb-unpinned:v1</code> | base docker.io/library/debian:12 is no longer pinned |
    | <code>-/+</code> mirror | <code>redis:7</code> | source redis:7 moved aaaaaaaaaaaa -&#62; bbbbbbbbbbbb |
    | <code>-/+</code> build | <code>missing:v1</code> | missing from the service |
    | <code>-/+</code> build | <code>replaced:v1</code> | replaced outside of imgplan on 2026-07-03 10:11 UTC |
    | <code>-/+</code> build | <code>replaced-earlier:v1</code> | replaced outside of imgplan |
    | <code>-/+</code> build | <code>requested:v1</code> | rebuild requested |
    | <code>-/+</code> build | <code>old-age:v1</code> | 8d02h old |
    | <code>+</code> build | <code>failed:v1</code> | the last build failed: no disk |
    | <code>+</code> mirror | <code>in-doubt:v1</code> | in doubt: the service may have accepted a request |
    | <code>-/+</code> build | <code>format:v1</code> | fingerprint format changed |
    | <code>-/+</code> build | <code>args:v1</code> | args.PYTHON changed; target the last stage -&#62; runtime |
    | <code>-/+</code> build | <code>a-name-that-is-longer-than-half-of-what-a-terminal-has:v1</code> | its base api:v4 changes, caused by python-base:3.12 |
    | <code>&#60;=</code> adopt | <code>running:v1</code> | a build is in progress, started 3m20s ago &#91;build 8f2c&#93; |
    | <code>&#126;</code> update | <code>docs:v2</code> | visibility private -&#62; public |
    | <code>&#126;</code> update | <code>owned:v1</code> | owner personal -&#62; team:t |
    | <code>&#126;</code> update | <code>new:v1</code> | was old:v1 |
    | <code>.</code> forget | <code>legacy:v1</code> | removed from the manifest, image kept |
    | <code>.</code> forget | <code>app:1111</code> | replaced by app:2222, image kept (once build 7e1d has ended) |

    <sub><code>+</code> create · <code>-</code> delete · <code>-/+</code> rebuild over the existing tag · <code>.</code> forget, image kept · <code>&#60;=</code> adopt a build in progress · <code>&#126;</code> update without a build</sub>

    1 protected image is not in the manifest and is kept: keep:v1 (to forget or delete it, list it under &#96;removed:&#96;)

    &#96;cron:v1&#96; has the same content as &#96;was:v1&#96;, which is no longer in the manifest: if it was renamed, add &#96;moved: &#91;{from: was:v1, to: cron:v1}&#93;&#96;

    Drift: 2 images have another visibility at the service than the lockfile records; the plan leaves it.

    Order: python-base:3.12 first, then what depends on them (1 target). Longest chain: 2.

    Cost: 15 builds with 0 B of context to pack, 2 transfers, 3 updates, 2 deletions, about 35 requests (transfers: 2 of 10/60s). The last ones took 3m05s on average, 3m05s at most.
    ");
}

#[test]
fn a_large_plan_is_folded_by_cause() {
    let fixture = large_plan();
    let text = plan(&fixture, MAX_COMMENT_BYTES);
    assert_inert(&text);
    // Every step has a row, and the deletions are not folded.
    let steps = rows(&text).iter().filter(|cells| cells[1].starts_with("<code>")).count();
    assert_eq!(steps, fixture.plan.steps.len());
    let deletions = text.find("#### Deletes 2 images").unwrap();
    assert!(deletions < text.find("<details>").unwrap(), "{text}");
    let folds: Vec<&str> = text.lines().filter(|line| line.contains("<summary>")).collect();
    insta::assert_snapshot!(folds.join("\n"), @"
    <details><summary><code>+</code> mirror <b>120 targets</b>: new</summary>
    <details><summary><code>-/+</code> build <b>37 targets</b>: base docker.io/library/debian:12 moved 999999999999 -&#62; 222222222222</summary>
    <details><summary><code>-/+</code> build <b>5 targets</b>: context changed (1 needed by the selection)</summary>
    <details><summary><code>-/+</code> build <b>2 targets</b>: its base root:v1 changes</summary>
    ");
}

#[test]
fn a_plan_without_changes_is_one_line() {
    let mut fixture = Fixture::new();
    fixture.unit("api:v1");
    let text = plan(&fixture, MAX_COMMENT_BYTES);
    assert_eq!(
        text,
        "**No changes.** The target matches the manifest. Compared with the lockfile and the \
         service (0 images listed).\n"
    );
    fixture.plan.partial = Some(PartialPlan { selected: 1, left: 0 });
    fixture.facts.notes = vec!["see @octocat".to_owned()];
    assert!(plan(&fixture, MAX_COMMENT_BYTES).contains("**Note:** <code>see &#64;<!-- -->octocat"));
}

/// Rows are left out one by one, and counted; what should be read first stays.
#[test]
fn a_long_plan_is_cut_between_rows() {
    let mut fixture = large_plan();
    for index in 0..3000 {
        let reason = Reason::PreviousFailed { error: Some(format!("{index} {HOSTILE}")) };
        fixture.create(&format!("failed-{index}:v1"), ImageKind::Build, false, vec![reason]);
    }
    for max_bytes in [MAX_COMMENT_BYTES, 40_000, 3_000] {
        let text = plan(&fixture, max_bytes);
        assert!(text.len() <= max_bytes, "{}", text.len());
        assert_inert(&text);
        assert!(text.starts_with("### Plan: 3120 to create"), "{text}");
        assert!(text.contains("#### Deletes 2 images") && text.contains("Cost: "), "{text}");
        let shown = rows(&text).iter().filter(|cells| cells[1].starts_with("<code>")).count();
        let left_out = fixture.plan.steps.len() - shown;
        let line = format!("\n_{left_out} rows left out: the text would be too long._\n");
        assert!(text.contains(&line), "{left_out}: {text}");
        assert!(rows(&text).iter().all(|cells| cells.len() == 3), "{text}");
    }
    assert!(plan(&fixture, 0).trim().ends_with(" rows left out: the text would be too long._"));
}

#[test]
fn hostile_texts_stay_in_their_cells() {
    let mut fixture = Fixture::new();
    let change = FileChange { path: HOSTILE.to_owned(), change: ChangeKind::Added };
    let files = Some([change].into_iter().collect());
    fixture.create("api:v1", ImageKind::Build, true, vec![Reason::ContextChanged { files }]);
    let config = |field: &str| Reason::ConfigChanged {
        field: field.to_owned(),
        old: HOSTILE.to_owned(),
        new: String::new(),
    };
    fixture.create("web:v1", ImageKind::Build, true, vec![config(HOSTILE)]);
    let failed = Reason::PreviousFailed { error: Some(HOSTILE.to_owned()) };
    fixture.create("old:v1", ImageKind::Build, true, vec![failed]);
    fixture.facts.notes = vec![HOSTILE.to_owned()];
    fixture.owner = DefaultOwner { owner: Owner::Team(HOSTILE.to_owned()), from: None };
    let text = plan(&fixture, MAX_COMMENT_BYTES);
    assert_inert(&text);
    let rows = rows(&text);
    assert_eq!(rows.len(), 2 + 3, "{text}");
    assert!(rows.iter().all(|cells| cells.len() == 3), "{text}");
    let units = [key("api:v1"), key("old:v1")];
    let why = fixture
        .with(|view| markdown::why(&WhyView { plan: *view, units: &units }, MAX_COMMENT_BYTES));
    assert_inert(&why);
    assert_eq!(why.matches("\n### ").count() + 1, 2 + 1, "{why}");
}

fn failure(unit: &str, message: &str) -> TargetFailure {
    TargetFailure {
        unit: key(unit),
        phase: Phase::Building,
        message: message.to_owned(),
        help: Some("add the file".to_owned()),
        build: Some(build_id("b-1")),
        pending: unit.starts_with("pending"),
    }
}

fn result(summary: &Summary, max_bytes: usize) -> String {
    let elapsed = Duration::from_secs(65);
    let view = SummaryView { summary, elapsed, next: Some("imgplan apply"), owners: "personal" };
    markdown::result(&view, max_bytes)
}

#[test]
fn a_result_has_a_table_of_failures_with_their_texts() {
    let text = "RUN make failed\nstep 1\n::error::x\n```\n</details>";
    let summary = Summary {
        built: 3,
        failures: vec![
            failure("api:v1", text),
            failure("web:v1", text),
            failure("pending:v1", "no"),
        ],
        skipped: vec![
            (key("leaf:v1"), SkipReason::DependencyFailed { failed: key("api:v1") }),
            (key("last:v1"), SkipReason::Stopped),
        ],
        partial: Some(PartialPlan { selected: 5, left: 2 }),
        ..Summary::default()
    };
    let text = result(&summary, MAX_COMMENT_BYTES);
    assert_inert(&text);
    insta::assert_snapshot!(text, @"
    ### Apply: 3 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 2 failed, 2 skipped, 1 pending, in 1m05s.

    Owner: <code>personal</code>

    **Note:** this was a partial run: 5 targets selected, 2 steps left out.

    | Failed | While | Error |
    | --- | --- | --- |
    | <code>pending:v1 &#91;build b-1&#93;</code> | building (pending) | no<br>help: add the file |
    | <code>api:v1 &#91;build b-1&#93;, web:v1 &#91;build b-1&#93;</code> | building | RUN make failed<br>help: add the file |

    <details><summary>Error of <code>api:v1</code> and 1 more</summary>

    ````text
    RUN make failed
    step 1
    ::error::x
    ```
    </details>
    ````

    </details>

    | Skipped | Reason |
    | --- | --- |
    | <code>leaf:v1</code> | depends on api:v1, which failed |
    | <code>last:v1</code> | not started because the run stopped |

    Next: fix the failures, then run <code>imgplan apply</code> to continue
    ");
    let summary = Summary { built: 2, ..Summary::default() };
    let line = "### Apply: 2 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 0 failed, 0 skipped, in 1m05s.";
    assert!(result(&summary, MAX_COMMENT_BYTES).starts_with(line));
}

#[test]
fn a_result_is_cut_between_rows() {
    let failures =
        (0..900).map(|index| failure(&format!("i-{index}:1"), &format!("{index}\n{HOSTILE}")));
    let summary = Summary { failures: failures.collect(), ..Summary::default() };
    for max_bytes in [MAX_COMMENT_BYTES, 25_000, 2_000, 0] {
        let text = result(&summary, max_bytes);
        assert!(text.len() <= max_bytes.max(100), "{}", text.len());
        assert!(text.contains(" rows left out: "), "{text}");
        assert_inert(&text);
    }
}

proptest! {
    #[test]
    fn no_text_leaves_its_row(text in "[a|\\\\`<>@#:/\n\r\\[\\]()!w. \u{202e}\u{1b}é-]{0,40}") {
        let help = Some(text.clone());
        let failed = TargetFailure { help, ..failure("api:v1", &text) };
        let summary = Summary { failures: vec![failed], ..Summary::default() };
        let result = result(&summary, MAX_COMMENT_BYTES);
        assert_inert(&result);
        prop_assert_eq!(rows(&result).len(), 3, "{}", result);
        prop_assert!(rows(&result).iter().all(|cells| cells.len() == 3), "{}", result);
    }
}
