//! Tests of `imgplan context why` and `context list`: the text for each reason, and each form of
//! a path.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Output, TestEnv};

/// Returns a project with a service in `services/api`, and ignored and included files in its
/// context.
fn service() -> TestEnv {
    let env = TestEnv::at("http://127.0.0.1:9");
    env.write(
        "imgplan.yaml",
        "version: 1\nimages:\n  - {name: api, tag: v1, context: services/api}\n",
    );
    env.context("services/api", "FROM scratch\nCOPY . /\n");
    env.write(
        "services/api/.dockerignore",
        "# Files that no build needs.\ntests\n*/*.md\n!src/keep.md\n",
    );
    for path in ["src/app.py", "src/keep.md", "src/x.md", "tests/a.py", "tests/deep/b.py"] {
        env.write(&format!("services/api/{path}"), "");
    }
    env
}

fn why(env: &TestEnv, path: &str) -> Output {
    env.run(["context", "why", "api", path])
}

#[test]
fn each_reason_has_a_text() {
    let env = service();
    let paths = ["tests/a.py", "tests/deep/b.py", "tests", "src/x.md", "src/keep.md", "src/app.py"];
    let texts = || paths.map(|path| why(&env, path).success().stdout.clone()).concat();
    assert_snapshot!(texts(), @"
    tests/a.py is not sent: services/api/.dockerignore, line 2: tests
    tests/deep/b.py is not sent: services/api/.dockerignore, line 2: tests
    tests is not sent: services/api/.dockerignore, line 2: tests
    src/x.md is not sent: services/api/.dockerignore, line 3: */*.md
    src/keep.md is sent: services/api/Dockerfile, line 2: COPY . /
    src/app.py is sent: services/api/Dockerfile, line 2: COPY . /
    ");
    assert!(paths.iter().all(|path| why(&env, path).stderr.is_empty()));
    // Without `inputs: context`, the instruction is the reason.
    env.edit("imgplan.yaml", "services/api", "services/api, inputs: context");
    assert_snapshot!(texts(), @"
    tests/a.py is not sent: services/api/.dockerignore, line 2: tests
    tests/deep/b.py is not sent: services/api/.dockerignore, line 2: tests
    tests is not sent: services/api/.dockerignore, line 2: tests
    src/x.md is not sent: services/api/.dockerignore, line 3: */*.md
    src/keep.md is sent: services/api/.dockerignore, line 4: !src/keep.md includes it again
    src/app.py is sent: no pattern matches it
    ");
    std::fs::remove_file(env.path("services/api/.dockerignore")).unwrap();
    assert_snapshot!(why(&env, "tests/a.py").shown(), @"
    exit 0
    --- stdout
    tests/a.py is sent: there is no .dockerignore
    ");
}

/// The reader of a path is an instruction that the build runs, a base or an unknown frontend.
#[test]
fn each_reader_has_a_text() {
    let env = service();
    env.write("imgplan.yaml", "version: 1\nimages:\n  - {name: api, tag: v1, context: services/api}\n  - {name: base, tag: v1, context: base}\n");
    env.context("base", "FROM scratch\nONBUILD COPY lib /lib/\n");
    env.write("services/api/lib/a.so", "").write("services/api/lib/x.md", "");
    env.write("services/api/src/deep/c.py", "").write("services/api/d/1", "");
    env.context(
        "services/api",
        "FROM scratch AS unused\nCOPY . /\nFROM base:v1\nCOPY src/*.py \\\n  /app/\n\
         RUN --mount=type=bind,source=d,target=/d x\n",
    );
    let paths = ["src/app.py", "src/keep.md", "src/x.md", "src", "lib/a.so", "d/1", "Dockerfile"];
    let texts = || paths.map(|path| why(&env, path).success().all()).concat();
    assert_snapshot!(texts(), @r"
    src/app.py is sent: services/api/Dockerfile, line 4: COPY src/*.py \
    src/keep.md is not sent: no instruction that the build runs reads it
    src/x.md is not sent: services/api/.dockerignore, line 3: */*.md
    src is not sent: no instruction that the build runs reads it
    note: the build reads something below this directory
    lib/a.so is sent: an ONBUILD trigger of a base reads it
    d/1 is sent: services/api/Dockerfile, line 6: RUN --mount=type=bind,source=d,target=/d x
    Dockerfile is not sent: no instruction that the build runs reads it
    note: this is the Dockerfile, which is always sent
    ");
    let dockerfile = env.read("services/api/Dockerfile");
    for (dockerfile, reason) in [
        (
            dockerfile.replace("src/*.py", "${UNKNOWN}/*.py"),
            "a variable in `${UNKNOWN}/*.py` has no value that is known before the build",
        ),
        (
            format!("# syntax=example.org/other:1\n{dockerfile}"),
            "the frontend `example.org/other:1` may read any file",
        ),
        (
            dockerfile.replace("base:v1", "node:onbuild"),
            "`node:onbuild` has ONBUILD triggers, which may copy any file",
        ),
    ] {
        env.context("services/api", &dockerfile);
        let expected = format!("the whole context is sent, because {reason}\n");
        assert_eq!(why(&env, "src/keep.md").stdout, format!("src/keep.md is sent: {expected}"));
        assert!(why(&env, "src/x.md").stdout.ends_with(".dockerignore, line 3: */*.md\n"));
    }
}

#[test]
fn why_agrees_with_list() {
    let env = service();
    for copy in ["COPY . /", "COPY src /", "COPY src/*.py tests /", "COPY --exclude=app.py src /"] {
        env.context("services/api", &format!("FROM scratch\n{copy}\n"));
        let listed = env.ok(["context", "list", "api"]).stdout;
        assert!(listed.lines().any(|line| line.starts_with("src/")), "{copy}: {listed}");
        for path in ["tests/a.py", "src/x.md", "src/keep.md", "src/app.py", ".dockerignore"] {
            let sent = why(&env, path).stdout.starts_with(&format!("{path} is sent:"));
            assert_eq!(sent, listed.lines().any(|line| line == path), "{copy}: {path}");
        }
    }
}

#[test]
fn a_path_may_have_several_forms() {
    let env = service();
    let absolute = env.path("services/api/src/app.py").into_os_string().into_string().unwrap();
    for path in [
        "./src/app.py",
        "src/../src/app.py",
        "services/api/src/app.py",
        "./services/api/src/app.py",
        &absolute,
    ] {
        let output = why(&env, path);
        assert_eq!(
            output.stdout, "src/app.py is sent: services/api/Dockerfile, line 2: COPY . /\n",
            "{path}: {output}"
        );
    }
    // From inside the context, a path is relative to the current folder if it exists there, else
    // to the context.
    let flags = ["-C", "services/api/src", "-f", "../../../imgplan.yaml"];
    let from = |path| env.run(["context", "why", "api", path].into_iter().chain(flags));
    let sent = "src/app.py is sent: ../../../services/api/Dockerfile, line 2: COPY . /\n";
    assert_eq!(from("app.py").stdout, sent);
    assert_eq!(from("src/app.py").stdout, sent);
    assert!(from("none.py").stdout.starts_with("none.py is sent"));
    // A path need not exist.
    assert!(why(&env, "services/api/none.py").stdout.starts_with("none.py is sent"));
    assert_snapshot!(why(&env, "services/none.py").shown(), @"
    exit 0
    --- stdout
    services/none.py is sent: services/api/Dockerfile, line 2: COPY . /
    --- stderr
    note: services/none.py does not exist in services/api; this is what the rules say
    ");
    assert_snapshot!(why(&env, "../x").shown(), @"
    exit 1
    --- stderr
      × ../x is not in the context of api:v1
      help: write the path relative to the context, services/api
    ");
    assert_snapshot!(why(&env, "services/api").shown(), @"
    exit 1
    --- stderr
      × services/api is not in the context of api:v1
      help: write the path relative to the context, services/api
    ");
}

#[test]
fn own_files_are_never_sent() {
    let env = service();
    env.write("services/api/.dockerignore", "!**/.imgplan\n!imgplan.lock\n");
    env.write("services/api/.imgplan/journal.jsonl", "");
    env.write("services/api/x/imgplan.lock", "");
    env.write("services/api/y/.imgplan", "a file that is not imgplan's");
    let paths = [".imgplan/journal.jsonl", ".imgplan", "x/imgplan.lock", "y/.imgplan"];
    let texts: Vec<String> =
        paths.iter().map(|path| why(&env, path).success().stdout.clone()).collect();
    assert_snapshot!(texts.concat(), @"
    .imgplan/journal.jsonl is not sent: imgplan's own files are never sent
    .imgplan is not sent: imgplan's own files are never sent
    x/imgplan.lock is not sent: imgplan's own files are never sent
    y/.imgplan is sent: services/api/Dockerfile, line 2: COPY . /
    ");
    let listed = env.ok(["context", "list", "api"]).stdout;
    assert!(listed.contains("y/.imgplan\n") && !listed.contains("x/imgplan.lock"), "{listed}");
}

#[test]
fn notes_explain_special_cases() {
    let env = service();
    env.write("services/api/.dockerignore", "*\n!src/app.py\n");
    assert_snapshot!(why(&env, "src").shown(), @"
    exit 0
    --- stdout
    src is not sent: services/api/.dockerignore, line 1: *
    --- stderr
    note: a pattern with `!` may include files below this directory again
    ");
    assert_snapshot!(why(&env, "Dockerfile").shown(), @"
    exit 0
    --- stdout
    Dockerfile is not sent: services/api/.dockerignore, line 1: *
    --- stderr
    note: this is the Dockerfile, which is always sent
    ");
    assert_snapshot!(why(&env, "src/new.py").shown(), @"
    exit 0
    --- stdout
    src/new.py is not sent: services/api/.dockerignore, line 1: *
    --- stderr
    note: src/new.py does not exist in services/api; this is what the rules say
    ");
    assert!(why(&env, "tests").stderr.is_empty());
    #[cfg(unix)]
    {
        // A link is never followed, so nothing is below it.
        std::os::unix::fs::symlink("src", env.path("services/api/link")).unwrap();
        assert!(
            why(&env, "link/app.py")
                .says("link/app.py does not exist")
                .stdout
                .contains("line 1: *")
        );
        assert!(why(&env, "link").stderr.is_empty());
    }
}

#[test]
fn the_own_ignore_file_of_a_dockerfile_is_used() {
    let env = service();
    env.write("services/api/Dockerfile.dockerignore", "src\n");
    assert_snapshot!(why(&env, "src/app.py").stdout, @"src/app.py is not sent: services/api/Dockerfile.dockerignore, line 1: src");
    assert_snapshot!(why(&env, "tests/a.py").stdout, @"tests/a.py is sent: services/api/Dockerfile, line 2: COPY . /");
    env.write("services/api/Dockerfile.dockerignore", "ok\n[\n");
    assert_snapshot!(why(&env, "src/app.py").shown(), @"
    exit 1
    --- stderr
      × services/api/Dockerfile.dockerignore, line 2: invalid pattern `[`: missing `]`
       ╭─[services/api/Dockerfile.dockerignore:2:1]
     1 │ ok
     2 │ [
       · ─
       ╰────
      help: use the pattern syntax of Docker's .dockerignore files

    error: cannot read the context services/api
    ");
    env.run(["context", "why", "nothing", "x"]).code(1).says("the manifest has no image `nothing`");
    env.run(["context", "why", "api"]).code(64);
}

#[test]
fn json_has_the_same_facts() {
    let env = service();
    let json = |path| env.ok(["context", "why", "api", path, "--json"]).json().remove(0);
    let file = "services/api/.dockerignore";
    assert_eq!(
        json("src/keep.md"),
        json!({"path": "src/keep.md", "sent": true, "ignore_file": file, "line": 4,
               "pattern": "!src/keep.md", "read_at": "services/api/Dockerfile, line 2",
               "instruction": "COPY . /", "reason": "services/api/Dockerfile, line 2: COPY . /",
               "exists": true})
    );
    assert_eq!(
        json("none/x"),
        json!({"path": "none/x", "sent": true, "ignore_file": file, "line": null, "pattern": null,
               "read_at": "services/api/Dockerfile, line 2", "instruction": "COPY . /",
               "reason": "services/api/Dockerfile, line 2: COPY . /", "exists": false})
    );
    assert_eq!(json(".imgplan/x")["sent"], false);
    env.context("services/api", "FROM scratch\nCOPY src/app.py /\n");
    assert_eq!(
        json("src/keep.md"),
        json!({"path": "src/keep.md", "sent": false, "ignore_file": file, "line": 4,
               "pattern": "!src/keep.md", "read_at": null, "instruction": null,
               "reason": "no instruction that the build runs reads it", "exists": true})
    );
}

#[test]
fn the_largest_folders_come_first() {
    let env = service();
    env.write("services/api/src/big.bin", vec![7; 3000]);
    env.write("services/api/data/deep/down/x", vec![7; 1500]);
    env.write("services/api/data/y", vec![7; 200]);
    assert_snapshot!(env.ok(["context", "list", "api", "--by-size"]).stdout, @"
    4.7 kB      7 files  .
    3.0 kB      3 files  src/
    1.7 kB      2 files  data/
    1.5 kB       1 file  data/deep/
    1.5 kB       1 file  data/deep/down/
    ");
    let json = env.ok(["context", "list", "api", "--by-size", "--json"]).json();
    assert_eq!(json[1], json!({ "folder": "src/", "size": 3000, "files": 3 }));
}
