//! Warnings about copied paths that are not in the context: with the Dockerfile and the line, and
//! none where the build might succeed.

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::TestEnv;

/// Returns a project whose context has files, an ignored file, links and a socket.
fn project() -> TestEnv {
    let env = TestEnv::at("http://127.0.0.1:9");
    env.write("imgplan.yaml", "version: 1\nimages:\n  - {name: app, context: app}\n");
    for path in ["src/a", "docs/keep.md", "docs/drop.md", "Data", "[slug]/page", "a b"] {
        env.write(&format!("app/{path}"), "");
    }
    env.write("app/.dockerignore", "docs/*.md\n!docs/keep.md\n");
    std::os::unix::fs::symlink("src", env.path("app/link")).unwrap();
    std::os::unix::fs::symlink("/src/a", env.path("app/absolute")).unwrap();
    std::os::unix::fs::symlink("nowhere", env.path("app/dangling")).unwrap();
    env
}

/// Returns the paths that are reported for a Dockerfile.
fn missing(env: &TestEnv, dockerfile: &str) -> Vec<String> {
    env.write("app/Dockerfile", dockerfile);
    let output = env.ok(["validate", "--json"]);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let summaries = report["diagnostics"].as_array().unwrap().iter();
    let summaries = summaries.map(|one| one["summary"].as_str().unwrap().to_owned());
    summaries.map(|one| one.replace(" is not in the context app", "").replace('`', "")).collect()
}

#[test]
fn missing_paths_are_reported() {
    let env = project();
    for (line, expected) in [
        ("COPY nope /", "nope"),
        ("ADD nope.tgz /", "nope.tgz"),
        ("COPY src/a src/nope /", "src/nope"),
        ("COPY ./nope/ /", "./nope/"),
        ("COPY /nope /", "/nope"),
        ("COPY ../app/src /", "../app/src"),
        ("COPY [\"src\", \"no pe\", \"/\"]", "no pe"),
        ("COPY --chown=1 --link --chmod=1 nope /", "nope"),
        ("COPY --parents src/./nope /", "src/./nope"),
        ("COPY docs/drop.md /", "docs/drop.md"),
        ("COPY data /", "data"),
        ("COPY src/a/b /", "src/a/b"),
        ("COPY link/nope /", "link/nope"),
        ("COPY dangling /", "dangling"),
        ("COPY imgplan.lock /", "imgplan.lock"),
        ("ENV D=nope\nCOPY $D /", "nope"),
        ("ARG TARGETARCH\nCOPY bin-${TARGETARCH} /", "bin-amd64"),
        ("COPY <<EOF nope /\nhi\nEOF", "nope"),
    ] {
        assert_eq!(missing(&env, &format!("FROM scratch\n{line}\n")), [expected], "{line}");
    }
}

#[test]
fn paths_that_may_exist_are_not_reported() {
    let env = project();
    for dockerfile in [
        "FROM a\nCOPY . /",
        "FROM a\nCOPY / /x",
        "FROM a\nCOPY src /src/ ./src src/ src/. src/../src ../src ../../src //src/a /x/",
        "FROM a\nCOPY docs docs/keep.md Data Dockerfile .dockerignore /",
        "FROM a\nCOPY link link/a absolute /",
        "FROM a\nCOPY *.nothing nope* src/[a-z] no?e /",
        "FROM a\nCOPY [slug]/page /",
        "FROM a\nCOPY [\"a b\", \"/\"]",
        "FROM a\nCOPY --parents ./src/./a **/nope /",
        "FROM a\nCOPY --from=b nope /",
        "FROM a\nCOPY --exclude=*.md docs /",
        "FROM a\nCOPY <<EOF <<-'X' /\nnope\nEOF\nX\n",
        "FROM a\nADD https://x/nope http://x/nope git@h:x/nope git://h/x ssh://h/x u@h:x /",
        "FROM a\nCOPY $UNKNOWN x$PATH ${X:-nope} /",
        "FROM a\nARG BUILDARCH\nCOPY bin-$BUILDARCH /",
        "FROM a\nONBUILD COPY nope /",
        "FROM a AS unused\nCOPY nope /\nFROM b",
        "# escape=`\nFROM a\nCOPY src`\n/a /",
    ] {
        assert_eq!(missing(&env, dockerfile), [""; 0], "{dockerfile}");
    }
}

#[test]
fn a_path_above_the_context_has_its_own_help() {
    let env = project();
    env.write("tests/a", "");
    for (path, is_above) in [("../tests/a", true), ("src/../../tests/a", true), ("tests/a", false)]
    {
        env.write("app/Dockerfile", format!("FROM scratch\nCOPY {path} /\n"));
        let warnings = env.ok(["validate"]).stderr;
        let says = warnings.contains("`..` does not lead out of a context");
        assert_eq!(says, is_above, "{warnings}");
        assert!(!warnings.contains("says why"), "{warnings}");
    }
}

#[test]
fn validate_and_plan_show_the_line() {
    let env = project();
    env.write("app/Dockerfile", "FROM scratch\nCOPY src \\\n  docs/drop.md nope /\n");
    let warnings = env.ok(["validate"]);
    assert_snapshot!(warnings.stderr, @r"
      ⚠ `docs/drop.md` is not in the context app
       ╭─[app/Dockerfile:3:3]
     2 │ COPY src \
     3 │   docs/drop.md nope /
       ·   ────────────
       ╰────
      help: it exists but is not sent: `imgplan context why app docs/drop.md` says why
      ⚠ `nope` is not in the context app
       ╭─[app/Dockerfile:3:16]
     2 │ COPY src \
     3 │   docs/drop.md nope /
       ·                ────
       ╰────
      help: create it, or correct the path, which is relative to the context
    ");
    assert_eq!(env.ok(["plan", "--offline"]).stderr, warnings.stderr);
    for command in [&["validate"][..], &["plan", "--offline"]] {
        let denied = env.run(command.iter().chain(&["--deny-warnings"]).copied());
        denied.code(1).says("found 2 warnings, and --deny-warnings was given");
    }
}

#[test]
fn a_shared_dockerfile_names_the_contexts() {
    let env = TestEnv::at("http://127.0.0.1:9");
    let images = ["a", "b", "c", "d", "e"].map(|name| {
        env.write(&format!("{name}/x"), "");
        format!("  - {{name: {name}, context: {name}, dockerfile: ../Dockerfile}}\n")
    });
    env.write("imgplan.yaml", format!("version: 1\nimages:\n{}", images.concat()));
    env.write("Dockerfile", "FROM scratch\nCOPY x only-e /\n").write("e/only-e", "");
    let output = env.ok(["validate"]);
    output.says("`only-e` is not in the contexts a, b, c and 1 more");
    assert_eq!(output.stderr.matches('⚠').count(), 1, "{output}");
}
