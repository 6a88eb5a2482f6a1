//! The text of explanations.

use super::super::human::HumanReporter;
use super::super::why::WhyView;
use super::*;
use crate::manifest::workspace::{Moved, Removed};
use crate::state::Failed;

#[test]
#[expect(clippy::too_many_lines, reason = "most of it is the snapshot")]
fn every_reason_is_explained_in_full() {
    let mut fixture = full_plan();
    let pattern = |text: &str| text.parse().unwrap();
    fixture.workspace.moved =
        vec![Moved { from: pattern("old"), to: pattern("new"), span: Span::new(20, 1) }];
    let from = pattern("dropped");
    fixture.workspace.removed = vec![Removed { from, destroy: true, span: Span::new(55, 1) }];
    let error = Some("no disk".to_owned());
    let failed = Failed { fingerprint: built().fingerprint, build: build_id("b-failed"), error };
    let mut entry = Entry::new(ImageKind::Build, Platform::Amd64);
    entry.failed = Some(failed);
    fixture.state.entries.insert(key("failed:v1"), entry);
    let mut units: Vec<ImageRef> = fixture.plan.steps.iter().map(|step| step.key.clone()).collect();
    units.push(key("keep:v1"));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let human = options(None, false, Verbosity::Normal);
    fixture
        .with(|view| {
            HumanReporter::new(&mut out, &mut err, human)
                .why(&WhyView { plan: *view, units: &units })
        })
        .unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
    -/+ python-base:3.12  build

    Dockerfile changed
    context: ~ src/app/file-0.py, + src/app/file-1.py, + src/app/file-2.py and 2 more

    -/+ api:v4  build

    its base python-base:3.12 changes
      -/+ python-base:3.12  build
          Dockerfile changed
          context: ~ src/app/file-0.py, + src/app/file-1.py, + src/app/file-2.py and 2 more

    + cron:v1  build

    new: the lockfile records no build

    -/+ deb:v1  build

    base docker.io/library/debian:12 moved
      was  sha256:9999999999999999999999999999999999999999999999999999999999999999
      is   sha256:2222222222222222222222222222222222222222222222222222222222222222

    -/+ deb-pinned:v1  build

    base docker.io/library/debian:12 is now pinned
      is   sha256:2222222222222222222222222222222222222222222222222222222222222222

    -/+ deb-unpinned:v1  build

    base docker.io/library/debian:12 is no longer pinned
      was  sha256:2222222222222222222222222222222222222222222222222222222222222222

    -/+ redis:7  mirror

    source redis:7 moved
      was  sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      is   sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb

    -/+ missing:v1  build

    missing from the service
      it was prime/me/image:1
      the last build [build b-before] completed on 2026-07-01 03:04:05 UTC after 3m05s

    -/+ replaced:v1  build

    replaced outside of imgplan
      on 2026-07-03 10:11:12 UTC
      the last build [build b-before] completed on 2026-07-01 03:04:05 UTC after 3m05s

    -/+ replaced-earlier:v1  build

    replaced outside of imgplan
      the last build [build b-before] completed on 2026-07-01 03:04:05 UTC after 3m05s

    -/+ requested:v1  build

    requested by `--replace`

    -/+ old-age:v1  build

    8d02h old
      max_age: 7d
      the last build [build b-before] completed on 2026-07-01 03:04:05 UTC after 3m05s

    + failed:v1  build

    the last build did not succeed [build b-failed]
      no disk

    + in-doubt:v1  mirror

    in doubt: the service may have accepted a request

    -/+ format:v1  build

    fingerprint format changed
      its inputs cannot be compared with those of the last build

    -/+ args:v1  build

    args.PYTHON changed
    target the last stage -> runtime

    -/+ a-name-that-is-longer-than-half-of-what-a-terminal-has:v1  build

    its base api:v4 changes, caused by python-base:3.12
      -/+ python-base:3.12  build
          Dockerfile changed
          context: ~ src/app/file-0.py, + src/app/file-1.py, + src/app/file-2.py and 2 more

    <= running:v1  adopt [build 8f2c]

    a build is in progress, started 3m20s ago

    ~ docs:v2  update

    visibility private -> public

    ~ owned:v1  update

    owner personal -> team:t

    ~ new:v1  update

    renamed from old:v1 by `moved` (imgplan.yaml:3)

    . legacy:v1  forget

    removed from the manifest, image kept

    . app:1111  forget

    replaced by app:2222, image kept

    - dropped:v1  delete

    removed from the manifest, listed under `removed` (imgplan.yaml:5)

    - app:0000  delete

    replaced by app:2222

    No changes to keep:v1. It is not in the manifest and is kept because it is protected; to forget or delete it, list it under `removed:`.
    ");
}

/// A line that is too long goes on below its first word.
#[test]
fn explanations_fit_the_terminal() {
    let fixture = full_plan();
    let mut units: Vec<ImageRef> = fixture.plan.steps.iter().map(|step| step.key.clone()).collect();
    units.push(key("keep:v1"));
    for columns in [60, 80, 200] {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let human = options(Some(columns), false, Verbosity::Normal);
        let why = |view: &PlanView<'_>| {
            HumanReporter::new(&mut out, &mut err, human)
                .why(&WhyView { plan: *view, units: &units })
        };
        fixture.with(why).unwrap();
        let text = String::from_utf8(out).unwrap();
        // A digest is not broken: it may be copied.
        let is_long = |line: &&str| line.len() > columns && !line.contains("sha256:");
        let name = "-/+ a-name-that-is-longer-than-half-of-what-a-terminal-has:v1  build";
        let long: Vec<&str> = text.lines().filter(is_long).filter(|line| *line != name).collect();
        assert_eq!(long, [""; 0], "{columns} columns");
    }
}
