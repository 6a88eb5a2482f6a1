//! The text of plans.

use std::collections::HashMap;

use crate::base::kind::ImageKind;
use crate::base::name::Owner;
use crate::context::FileChange;
use crate::context::changes::ChangeKind;
use crate::plan::facts::{PendingBuild, Remote, RemoteState};
use crate::plan::{PartialPlan, Reason, Renamed};

use super::super::Verbosity;
use super::super::group::MAX_ROWS;
use super::*;

#[test]
fn every_action_and_reason_at_80_columns() {
    insta::assert_snapshot!(full_plan().at(80), @"
    imgplan: 21 targets, owner personal, lockfile imgplan.lock, service
      https://api.example.com

      -/+ python-base:3.12     build   Dockerfile changed; context: 5 files
                                       (needed by the selection)
      -/+ api:v4               build   its base python-base:3.12 changes
        + cron:v1              build   new
      -/+ deb:v1               build   base docker.io/library/debian:12 moved …
      -/+ deb-pinned:v1        build   base docker.io/library/debian:12 pinned to …
      -/+ deb-unpinned:v1      build   base docker.io/library/debian:12 is no …
      -/+ redis:7              mirror  source redis:7 moved aaaaaaaaaaaa …
      -/+ missing:v1           build   missing from the service
      -/+ replaced:v1          build   replaced outside of imgplan on 2026-07-03 …
      -/+ replaced-earlier:v1  build   replaced outside of imgplan
      -/+ requested:v1         build   rebuild requested
      -/+ old-age:v1           build   8d02h old
        + failed:v1            build   the last build failed: no disk
        + in-doubt:v1          mirror  in doubt: the service may have accepted a …
      -/+ format:v1            build   fingerprint format changed
      -/+ args:v1              build   args.PYTHON changed; target the last stage …
      -/+ a-name-that-is-longer-than-half-of-what-a-terminal-has:v1
                               build   its base api:v4 changes, caused by …
       <= running:v1           adopt   a build is in progress, started 3m20s ago
                                       [build 8f2c]
        ~ docs:v2              update  visibility private -> public
        ~ owned:v1             update  owner personal -> team:t
        ~ new:v1               update  was old:v1
        . legacy:v1            forget  removed from the manifest, image kept
        . app:1111             forget  replaced by app:2222, image kept
                                       (once build 7e1d has ended)

    Deletes 2 images:
        - dropped:v1  delete  removed from the manifest
        - app:0000    delete  replaced by app:2222
                              (team:t) (once build 6d0e has ended)

    Replaces 2 protected images: python-base:3.12, redis:7

    1 protected image is not in the manifest and is kept: keep:v1 (to forget or
      delete it, list it under `removed:`)
    `cron:v1` has the same content as `was:v1`, which is no longer in the manifest:
      if it was renamed, add `moved: [{from: was:v1, to: cron:v1}]`
    Drift: 2 images have another visibility at the service than the lockfile
      records; the plan leaves it.

    + create   - delete   -/+ rebuild over the existing tag   . forget, image kept
    <= adopt a build in progress   ~ update without a build
    Order: python-base:3.12 first, then what depends on them (1 target). Longest
      chain: 2.
    Cost: 15 builds with 0 B of context to pack, 2 transfers, 3 updates, 2
      deletions, about 35 requests (transfers: 2 of 10/60s). The last ones took
      3m05s on average, 3m05s at most.
    Plan: 3 to create, 14 to rebuild, 1 to adopt, 3 to update, 2 to delete, 2 to
      forget. 412 unchanged.
    ");
}

#[test]
fn every_action_and_reason_at_120_columns() {
    insta::assert_snapshot!(full_plan().at(120), @"
    imgplan: 21 targets, owner personal, lockfile imgplan.lock, service https://api.example.com

      -/+ python-base:3.12     build   Dockerfile changed; context: 5 files (needed by the selection)
      -/+ api:v4               build   its base python-base:3.12 changes
        + cron:v1              build   new
      -/+ deb:v1               build   base docker.io/library/debian:12 moved 999999999999 -> 222222222222
      -/+ deb-pinned:v1        build   base docker.io/library/debian:12 pinned to 222222222222
      -/+ deb-unpinned:v1      build   base docker.io/library/debian:12 is no longer pinned
      -/+ redis:7              mirror  source redis:7 moved aaaaaaaaaaaa -> bbbbbbbbbbbb
      -/+ missing:v1           build   missing from the service
      -/+ replaced:v1          build   replaced outside of imgplan on 2026-07-03 10:11 UTC
      -/+ replaced-earlier:v1  build   replaced outside of imgplan
      -/+ requested:v1         build   rebuild requested
      -/+ old-age:v1           build   8d02h old
        + failed:v1            build   the last build failed: no disk
        + in-doubt:v1          mirror  in doubt: the service may have accepted a request
      -/+ format:v1            build   fingerprint format changed
      -/+ args:v1              build   args.PYTHON changed; target the last stage -> runtime
      -/+ a-name-that-is-longer-than-half-of-what-a-terminal-has:v1
                               build   its base api:v4 changes, caused by python-base:3.12
       <= running:v1           adopt   a build is in progress, started 3m20s ago [build 8f2c]
        ~ docs:v2              update  visibility private -> public
        ~ owned:v1             update  owner personal -> team:t
        ~ new:v1               update  was old:v1
        . legacy:v1            forget  removed from the manifest, image kept
        . app:1111             forget  replaced by app:2222, image kept (once build 7e1d has ended)

    Deletes 2 images:
        - dropped:v1  delete  removed from the manifest
        - app:0000    delete  replaced by app:2222 (team:t) (once build 6d0e has ended)

    Replaces 2 protected images: python-base:3.12, redis:7

    1 protected image is not in the manifest and is kept: keep:v1 (to forget or delete it, list it under `removed:`)
    `cron:v1` has the same content as `was:v1`, which is no longer in the manifest: if it was renamed, add `moved: [{from:
      was:v1, to: cron:v1}]`
    Drift: 2 images have another visibility at the service than the lockfile records; the plan leaves it.

    + create   - delete   -/+ rebuild over the existing tag   . forget, image kept   <= adopt a build in progress
    ~ update without a build
    Order: python-base:3.12 first, then what depends on them (1 target). Longest chain: 2.
    Cost: 15 builds with 0 B of context to pack, 2 transfers, 3 updates, 2 deletions, about 35 requests (transfers: 2 of
      10/60s). The last ones took 3m05s on average, 3m05s at most.
    Plan: 3 to create, 14 to rebuild, 1 to adopt, 3 to update, 2 to delete, 2 to forget. 412 unchanged.
    ");
}

#[test]
fn colors_never_replace_symbols_and_words() {
    insta::assert_snapshot!(full_plan().text(Some(80), true, Verbosity::Normal), @r"
    imgplan: 21 targets, owner personal, lockfile imgplan.lock, service
      https://api.example.com

      \e[33m-/+\e[0m python-base:3.12     \e[33mbuild\e[0m   Dockerfile changed; context: 5 files
                                       (needed by the selection)
      \e[33m-/+\e[0m api:v4               \e[33mbuild\e[0m   its base python-base:3.12 changes
      \e[32m  +\e[0m cron:v1              \e[32mbuild\e[0m   new
      \e[33m-/+\e[0m deb:v1               \e[33mbuild\e[0m   base docker.io/library/debian:12 moved …
      \e[33m-/+\e[0m deb-pinned:v1        \e[33mbuild\e[0m   base docker.io/library/debian:12 pinned to …
      \e[33m-/+\e[0m deb-unpinned:v1      \e[33mbuild\e[0m   base docker.io/library/debian:12 is no …
      \e[33m-/+\e[0m redis:7              \e[33mmirror\e[0m  source redis:7 moved aaaaaaaaaaaa …
      \e[33m-/+\e[0m missing:v1           \e[33mbuild\e[0m   missing from the service
      \e[33m-/+\e[0m replaced:v1          \e[33mbuild\e[0m   replaced outside of imgplan on 2026-07-03 …
      \e[33m-/+\e[0m replaced-earlier:v1  \e[33mbuild\e[0m   replaced outside of imgplan
      \e[33m-/+\e[0m requested:v1         \e[33mbuild\e[0m   rebuild requested
      \e[33m-/+\e[0m old-age:v1           \e[33mbuild\e[0m   8d02h old
      \e[32m  +\e[0m failed:v1            \e[32mbuild\e[0m   the last build failed: no disk
      \e[32m  +\e[0m in-doubt:v1          \e[32mmirror\e[0m  in doubt: the service may have accepted a …
      \e[33m-/+\e[0m format:v1            \e[33mbuild\e[0m   fingerprint format changed
      \e[33m-/+\e[0m args:v1              \e[33mbuild\e[0m   args.PYTHON changed; target the last stage …
      \e[33m-/+\e[0m a-name-that-is-longer-than-half-of-what-a-terminal-has:v1
                               \e[33mbuild\e[0m   its base api:v4 changes, caused by …
      \e[36m <=\e[0m running:v1           \e[36madopt\e[0m   a build is in progress, started 3m20s ago
                                       [build 8f2c]
      \e[33m  ~\e[0m docs:v2              \e[33mupdate\e[0m  visibility private -> public
      \e[33m  ~\e[0m owned:v1             \e[33mupdate\e[0m  owner personal -> team:t
      \e[33m  ~\e[0m new:v1               \e[33mupdate\e[0m  was old:v1
      \e[31m  .\e[0m legacy:v1            \e[31mforget\e[0m  removed from the manifest, image kept
      \e[31m  .\e[0m app:1111             \e[31mforget\e[0m  replaced by app:2222, image kept
                                       (once build 7e1d has ended)

    \e[1m\e[31mDeletes 2 images:\e[0m
      \e[31m  -\e[0m dropped:v1  \e[31mdelete\e[0m  removed from the manifest
      \e[31m  -\e[0m app:0000    \e[31mdelete\e[0m  replaced by app:2222
                              (team:t) (once build 6d0e has ended)

    \e[1m\e[33mReplaces 2 protected images:\e[0m python-base:3.12, redis:7

    1 protected image is not in the manifest and is kept: keep:v1 (to forget or
      delete it, list it under `removed:`)
    `cron:v1` has the same content as `was:v1`, which is no longer in the manifest:
      if it was renamed, add `moved: [{from: was:v1, to: cron:v1}]`
    Drift: 2 images have another visibility at the service than the lockfile
      records; the plan leaves it.

    \e[2m+ create   - delete   -/+ rebuild over the existing tag   . forget, image kept
    <= adopt a build in progress   ~ update without a build\e[0m
    Order: python-base:3.12 first, then what depends on them (1 target). Longest
      chain: 2.
    Cost: 15 builds with 0 B of context to pack, 2 transfers, 3 updates, 2
      deletions, about 35 requests (transfers: 2 of 10/60s). The last ones took
      3m05s on average, 3m05s at most.
    \e[1mPlan: 3 to create, 14 to rebuild, 1 to adopt, 3 to update, 2 to delete, 2 to
      forget. 412 unchanged.\e[0m
    ");
}

#[test]
fn color_changes_no_text() {
    let escapes = regex::Regex::new(r"\\e\[[0-9;]*m").unwrap();
    for fixture in [full_plan(), large_plan()] {
        for columns in [None, Some(40), Some(80), Some(120)] {
            let plain = fixture.text(columns, false, Verbosity::Normal);
            let coloured = fixture.text(columns, true, Verbosity::Normal);
            assert_ne!(plain, coloured);
            assert_eq!(escapes.replace_all(&coloured, ""), plain);
        }
    }
}

#[test]
fn piped_output_is_not_cut() {
    let text = full_plan().text(None, false, Verbosity::Normal);
    assert!(!text.contains('…'), "{text}");
    for step in &full_plan().plan.steps {
        let line = text.lines().find(|line| line.contains(&format!(" {} ", step.key)));
        let line = line.unwrap_or_else(|| panic!("no {}:\n{text}", step.key));
        assert!(line.contains(step.verb()), "{line}");
        for reason in &step.reasons {
            assert!(line.contains(&reason.to_string()), "{line}");
        }
    }
}

#[test]
fn names_and_actions_are_never_cut() {
    for columns in [20, 33, 60, 80, 100, 200] {
        let fixture = full_plan();
        let text = fixture.text(Some(columns), false, Verbosity::Normal);
        for step in &fixture.plan.steps {
            let name = format!(" {}", step.key);
            let place = text.find(&name).unwrap_or_else(|| panic!("{name} at {columns}:\n{text}"));
            let verb = text[place + name.len()..].split_whitespace().next();
            assert_eq!(verb, Some(step.verb()), "{name} at {columns}:\n{text}");
        }
    }
}

#[test]
fn a_large_plan_is_grouped_by_cause() {
    insta::assert_snapshot!(large_plan().at(80), @"
    imgplan: 165 targets, owner personal, lockfile imgplan.lock, service
      https://api.example.com

      -/+ root:v1      build   Dockerfile changed; context: ~ src/app/file-0.py
        + 120 targets  mirror  new
            mirror-0:7, mirror-1:7, mirror-2:7 and 117 more
      -/+ 37 targets   build   base docker.io/library/debian:12 moved 999999999999
                               -> 222222222222
            service-0:v1, service-1:v1, service-2:v1 and 34 more
      -/+ 5 targets    build   context changed (1 needed by the selection)
            api-0:v1, api-1:v1, api-2:v1 and 2 more
      -/+ 2 targets    build   its base root:v1 changes
            leaf-0:v1, leaf-1:v1

    `imgplan why NAME` explains one target; `--verbose` lists all.

    Deletes 2 images:
        - dropped-0:v1  delete  removed from the manifest
        - dropped-1:v1  delete  removed from the manifest

    Replaces 12 protected images: service-0:v1, service-1:v1, service-2:v1,
      service-3:v1, service-4:v1, service-5:v1, service-6:v1, service-7:v1,
      service-8:v1, service-9:v1 and 2 more

    + create   - delete   -/+ rebuild over the existing tag
    Cost: 45 builds with 0 B of context to pack, 120 transfers, 2 deletions, about
      212 requests (transfers: 120 at 10/60s, at least 11m00s). The last ones took
      3m05s on average, 3m05s at most.
    Plan: 120 to create, 45 to rebuild, 0 to update, 2 to delete, 0 to forget. 0
      unchanged.
    ");
}

#[test]
fn verbose_output_lists_every_step() {
    let fixture = large_plan();
    let text = fixture.text(None, false, Verbosity::Verbose);
    for step in &fixture.plan.steps {
        assert!(text.contains(&format!(" {} ", step.key)), "{}", step.key);
    }
    assert!(!text.contains("--verbose"));
    // One step more than fits is grouped.
    for (steps, grouped) in [(MAX_ROWS, false), (MAX_ROWS + 1, true)] {
        let mut fixture = large_plan();
        fixture.plan.steps.truncate(steps);
        assert_eq!(fixture.text(None, false, Verbosity::Normal).contains(" 37 targets "), grouped);
    }
}

/// A narrow terminal shows fewer names, but none is cut.
#[test]
fn names_of_a_group_are_never_cut() {
    let mut fixture = Fixture::new();
    for index in 0..60 {
        let name = format!("a-name-of-some-length-{index}:v1");
        fixture.create(&name, ImageKind::Build, false, vec![Reason::New]);
    }
    let first = |columns| {
        let text = fixture.at(columns);
        let line = text.lines().find(|line| line.contains(" more"));
        line.unwrap_or_default().trim().to_owned()
    };
    let name = |index| format!("a-name-of-some-length-{index}:v1");
    assert_eq!(first(120), format!("{}, {}, {} and 57 more", name(0), name(1), name(2)));
    assert_eq!(first(80), format!("{}, {} and 58 more", name(0), name(1)));
    assert_eq!(first(56), format!("{} and 59 more", name(0)));
}

/// Steps without a common cause are grouped by the kind of their reason.
#[test]
fn different_causes_are_grouped_by_kind() {
    let mut fixture = Fixture::new();
    for index in 0..60 {
        let (reference, old, new) = (format!("base-{index}:1"), Some(sha("9")), Some(sha("2")));
        let reasons = vec![Reason::BaseChanged { reference, old, new }];
        fixture.create(&format!("service-{index}:v1"), ImageKind::Build, true, reasons);
    }
    let text = fixture.text(None, false, Verbosity::Normal);
    let line = "  -/+ 60 targets  build   a base outside the manifest moved\n        service-0:v1, service-1:v1, service-2:v1 and 57 more\n";
    assert!(text.contains(line), "{text}");
}

/// The largest group would come first, and the base that explains it last.
#[test]
fn causes_come_before_their_effects() {
    let mut fixture = Fixture::new();
    let mut add = |name: &str, count: usize, reason: &dyn Fn() -> Reason| {
        for index in 0..count {
            let name = if count == 1 { name.to_owned() } else { format!("{name}-{index}") };
            fixture.create(&format!("{name}:v1"), ImageKind::Build, true, vec![reason()]);
        }
    };
    let depends = |base: &str, via: &[&str]| Reason::DependencyChanged {
        base: key(base),
        via: via.iter().map(|name| key(name)).collect(),
    };
    add("leaf", 30, &|| depends("middle:v1", &["root:v1"]));
    add("tool-user", 9, &|| depends("tools:v1", &[]));
    add("middle", 1, &|| depends("root:v1", &[]));
    add("other", 20, &|| Reason::New);
    add("tools", 1, &|| Reason::Requested);
    add("root", 1, &|| Reason::DockerfileChanged);
    let text = fixture.text(None, false, Verbosity::Normal);
    let rows = text.lines().filter(|line| line.contains("-/+ ") && line.contains(" build "));
    let rows: Vec<String> =
        rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        rows,
        [
            "-/+ tools:v1 build rebuild requested",
            "-/+ root:v1 build Dockerfile changed",
            "-/+ 20 targets build new",
            "-/+ 31 targets build its base root:v1 changes",
            "-/+ 9 targets build its base tools:v1 changes",
        ]
    );
}

#[test]
fn a_partial_plan_says_so() {
    let mut fixture = Fixture::new();
    let base = fixture.create("base:v1", ImageKind::Build, true, vec![Reason::DockerfileChanged]);
    let reasons = vec![Reason::DependencyChanged { base: key("base:v1"), via: vec![] }];
    let api = fixture.create("api:v1", ImageKind::Build, true, reasons);
    fixture.plan.steps[api.0].needs = vec![base];
    fixture.plan.steps[base.0].added = true;
    fixture.plan.partial = Some(PartialPlan { selected: 1, left: 7 });
    insta::assert_snapshot!(fixture.at(80), @"
    imgplan: 2 targets, owner personal, lockfile imgplan.lock, service
      https://api.example.com

    Note: this is a partial plan: 1 target selected, 7 steps left out.

      -/+ base:v1  build   Dockerfile changed (needed by the selection)
      -/+ api:v1   build   its base base:v1 changes

    -/+ rebuild over the existing tag
    Order: base:v1 first, then what depends on them (1 target). Longest chain: 2.
    Cost: 2 builds with 0 B of context to pack, about 4 requests (initiate: 2 of
      150/60s). The last ones took 3m05s on average, 3m05s at most.
    Plan: 0 to create, 2 to rebuild, 0 to update, 0 to delete, 0 to forget. 0
      unchanged.
    ");
    fixture.plan.steps.clear();
    insta::assert_snapshot!(fixture.at(80), @"
    No changes. The selected target matches the manifest. Compared with the lockfile
      and the service (0 images listed).
    Note: this is a partial plan: 1 target selected, 7 steps left out.
    ");
}

#[test]
fn no_changes_names_the_comparison() {
    let mut fixture = Fixture::new();
    fixture.unit("api:v1");
    fixture.facts.images.clear();
    fixture.facts.builds = [(build_id("b-1"), PendingBuild::Ended)].into();
    insta::assert_snapshot!(fixture.at(120), @"No changes. The target matches the manifest. Compared with the lockfile and the service's builds in progress.");
    let remote = Remote {
        state: RemoteState::Complete,
        visibility: None,
        changed: None,
        ended: None,
        path: None,
    };
    let images = (0..250).map(|index| (key(&format!("i-{index}:1")), remote.clone()));
    fixture.facts.images = [(Owner::Personal, images.collect::<HashMap<_, _>>())].into();
    fixture.plan.visibility_drift = 1;
    fixture.plan.protected = ["a:1", "b:1", "c:1", "d:1"].map(key).into();
    let renamed = |index| Renamed { from: key(&format!("a-{index}:1")), to: key("b:1") };
    fixture.plan.renamed = (0..5).map(renamed).collect();
    insta::assert_snapshot!(fixture.at(80), @"
    No changes. The target matches the manifest. Compared with the lockfile and the
      service (250 images listed).
    4 protected images are not in the manifest and are kept: a:1, b:1, c:1 and 1
      more (to forget or delete them, list them under `removed:`)
    `b:1` has the same content as `a-0:1`, which is no longer in the manifest: if it
      was renamed, add `moved: [{from: a-0:1, to: b:1}]`
    `b:1` has the same content as `a-1:1`, which is no longer in the manifest: if it
      was renamed, add `moved: [{from: a-1:1, to: b:1}]`
    `b:1` has the same content as `a-2:1`, which is no longer in the manifest: if it
      was renamed, add `moved: [{from: a-2:1, to: b:1}]`
    2 more may have been renamed; `--json` lists all
    Drift: 1 image has another visibility at the service than the lockfile records;
      the plan leaves it.
    ");
}

/// Neither the header nor the last line claims a comparison that was not made.
#[test]
fn without_an_answer_nothing_is_compared() {
    for (unasked, asked, expected) in [
        (Some("no API key"), false, "the service was not asked (no API key)."),
        (Some("--offline"), false, "the service was not asked (--offline)."),
        (Some("--minimal-refresh"), true, "the service did not list the images."),
        (None, false, "the service was not asked."),
        (None, true, "the service did not list the images."),
    ] {
        let mut fixture = Fixture::new();
        fixture.facts = Facts { asked, unasked, ..Facts::default() };
        fixture.unit("api:v1");
        let text = fixture.text(None, false, Verbosity::Normal);
        let no_changes = "No changes. The target matches the lockfile; ";
        assert_eq!(text, format!("{no_changes}{expected}\n"));
        fixture.create("web:v1", ImageKind::Build, false, vec![Reason::New]);
        let text = fixture.text(None, false, Verbosity::Normal);
        let is_said = text.ends_with(&format!(" unchanged.\nNot compared: {expected}\n"));
        assert_eq!(is_said, unasked.is_some() || asked, "{text}");
        let header = text.lines().next().unwrap();
        let reason = unasked.filter(|_| !asked);
        let reason = reason.map(|reason| format!(" (not asked: {reason})")).unwrap_or_default();
        assert!(header.ends_with(&format!("service https://api.example.com{reason}")), "{header}");
    }
}

#[test]
fn the_owners_that_answered_are_named() {
    let mut fixture = Fixture::new();
    fixture.unit("api:v1");
    let team = Owner::Team("t1".to_owned());
    fixture.facts.images.extend([(team, HashMap::new()), (Owner::Platform, HashMap::new())]);
    let text = fixture.text(None, false, Verbosity::Normal);
    let listed = "the service (images listed: 0 personal, 0 of team t1, 0 of the platform).";
    assert!(text.trim_end().ends_with(listed), "{text}");
}

#[test]
fn the_header_names_all_owners() {
    let mut fixture = Fixture::new();
    fixture.owner =
        DefaultOwner { owner: Owner::Team("t1".to_owned()), from: Some("PRIME_TEAM_ID") };
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself is not general over the lifetimes of the view"
    )]
    let header = |fixture: &Fixture| fixture.with(|view| view.owners());
    assert_eq!(header(&fixture), "team t1 (PRIME_TEAM_ID)");
    fixture.create("new:v1", ImageKind::Build, false, vec![]);
    assert_eq!(header(&fixture), "team t1 (PRIME_TEAM_ID)");
    fixture.create("old:v1", ImageKind::Build, true, vec![]);
    assert_eq!(header(&fixture), "team t1 (PRIME_TEAM_ID) and personal (lockfile)");
    let unit = fixture.unit("other:v1");
    fixture.workspace.units[unit.0].owner = Some(Owner::Platform);
    let all = "team t1 (PRIME_TEAM_ID), personal (lockfile) and platform (manifest)";
    assert_eq!(header(&fixture), all);
    for id in ["t2", "t3"] {
        let unit = fixture.unit(&format!("of-{id}:v1"));
        fixture.workspace.units[unit.0].owner = Some(Owner::Team(id.to_owned()));
    }
    assert_eq!(header(&fixture), "5 owners");
}

/// A file may have any name.
#[test]
fn no_text_moves_the_cursor() {
    let mut fixture = Fixture::new();
    let change = FileChange { path: "a\u{1b}[2J\nb".to_owned(), change: ChangeKind::Added };
    let files = Some([change].into_iter().collect());
    fixture.create("api:v1", ImageKind::Build, true, vec![Reason::ContextChanged { files }]);
    let text = fixture.text(None, false, Verbosity::Normal);
    assert!(text.contains(r"context: + a\u{1b}[2J\nb"), "{text}");
}
