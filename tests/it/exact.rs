//! Inputs that are easily missed: a change of each must rebuild, and the files must be sent.

use std::os::unix::fs::symlink;

use crate::support::TestEnv;

/// Returns a folder with this manifest, where `images` are the items of its list.
fn folder(images: &str) -> TestEnv {
    let env = TestEnv::new();
    env.write("imgplan.yaml", format!("version: 1\nimages:\n{images}"));
    env
}

fn plans_a_build_of(env: &TestEnv, image: &str) {
    let plan = env.ok(["plan", "--local"]).stdout;
    let lines: Vec<&str> = plan.lines().filter(|line| line.contains("  build  ")).collect();
    assert!(matches!(lines[..], [line] if line.contains(image)), "{plan}");
}

fn applied(env: &TestEnv) {
    env.ok(["apply", "--local", "--auto-approve"]);
    assert!(env.ok(["plan", "--local"]).stdout.contains("No changes"));
}

#[test]
fn a_global_argument_counts_for_the_trigger_of_a_base() {
    let env = folder(
        "  - {name: base, context: base}\n  - {name: app, context: app, args: {VERSION: \"1\"}}\n",
    );
    env.context("base", "FROM scratch\nONBUILD ARG VERSION\nONBUILD LABEL v=$VERSION\n");
    env.context("app", "ARG VERSION=0\nFROM base\n");
    applied(&env);
    env.edit("imgplan.yaml", "\"1\"", "\"2\"");
    plans_a_build_of(&env, "app:latest");
}

#[test]
fn an_index_in_the_trigger_of_a_base_counts_all_stages() {
    let env = folder("  - {name: base, context: base}\n  - {name: app, context: app}\n");
    env.context("base", "FROM scratch\nONBUILD COPY --from=1 /x /x\n");
    env.context("app", "FROM scratch AS a\nFROM a AS b\nFROM base\nCOPY --from=a / /\n");
    applied(&env);
    env.context(
        "app",
        "FROM busybox\nFROM scratch AS a\nFROM a AS b\nFROM base\nCOPY --from=a / /\n",
    );
    plans_a_build_of(&env, "app:latest");
}

#[test]
fn the_whole_context_is_sent_for_triggers_and_frontends_that_are_not_known() {
    let env = folder(
        "  - {name: mirror, source: \"quay.io/x/go-onbuild:1\"}\n  - {name: base, context: base}\n  \
         - {name: app, context: app, needs: [mirror]}\n  \
         - {name: own, context: own, infer_bases: false, needs: [base]}\n  \
         - {name: other, context: other}\n",
    );
    env.context("base", "FROM scratch\nONBUILD COPY . /\n");
    env.context("app", "FROM mirror:1\n");
    env.context("own", "FROM registry.example.org/prime/me/base\n");
    env.context("other", "#!/usr/bin/env buildx\n# syntax=me/frontend:1\nFROM scratch\n");
    for image in ["app", "own", "other"] {
        env.write(&format!("{image}/file"), "");
        let listed = env.ok(["context", "list", image]).stdout;
        assert!(listed.ends_with("Dockerfile\nfile\n"), "{image}: {listed}");
        let why = env.ok(["context", "why", image, "file"]).stdout;
        assert!(why.contains("file is sent: the whole context is sent, because"), "{why}");
    }
}

#[test]
fn many_matches_of_a_pattern_do_not_send_the_whole_context() {
    let env = folder("  - {name: app, context: app}\n");
    env.context("app", "FROM scratch\nCOPY tasks/*/req.txt /\n");
    env.write("app/unrelated", "");
    for number in 0..11_000 {
        std::fs::create_dir_all(env.path(&format!("app/tasks/{number}"))).unwrap();
    }
    env.write("app/tasks/7/req.txt", "").write("app/tasks/8/other.txt", "");
    let listed = env.ok(["context", "list", "app"]).stdout;
    assert_eq!(listed, "Dockerfile\ntasks/7/req.txt\n");
}

#[test]
fn a_dockerfile_that_is_a_dangling_link_is_a_problem() {
    let env = folder("  - {discover: {glob: \"*\"}}\n");
    env.context("a", "FROM scratch\n");
    std::fs::create_dir(env.path("b")).unwrap();
    symlink("nowhere", env.path("b/Dockerfile")).unwrap();
    env.run(["validate"]).code(1).says("b/Dockerfile");
}
