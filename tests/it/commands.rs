//! The commands besides `plan` and `apply`, global flags, and the output of all commands.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use imgplan::test_support::server::ServerConfig;
use insta::assert_snapshot;
use serde_json::Value;

use crate::support::{KEY, TestEnv, wait_until};

const ONE: &str = "version: 1\nimages:\n  - {name: app, tag: v1, context: app}\n";

/// Returns a project with one image.
fn one_image() -> TestEnv {
    let env = TestEnv::manifest(ONE);
    env.context("app", "FROM scratch\nCOPY . /\n");
    env
}

/// Returns the files of an archive: path, mode and text.
fn unpack(bytes: &[u8]) -> BTreeMap<String, (u32, String)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mode = entry.header().mode().unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (path, (mode, text))
    });
    entries.collect()
}

#[test]
fn context_list_prints_the_files_that_are_sent() {
    let env = TestEnv::example("monorepo");
    assert_snapshot!(env.ok(["context", "list", "api"]).stdout, @"
    Dockerfile
    src/app.py
    ");
    assert_snapshot!(env.ok(["context", "list", "web:v1-arm64"]).stdout, @"
    Dockerfile
    src/index.html
    ");
    let json = env.ok(["context", "list", "api", "--json"]);
    for line in json.json() {
        let known = line["digest"].is_string() || line["generated"] == true;
        assert!(line["path"].is_string() && known, "{line}");
    }
    assert_eq!(env.server().requests(), [""; 0]);
}

#[test]
fn context_rejects_unknown_images_and_mirrors() {
    let env = TestEnv::example("monorepo");
    assert_snapshot!(env.run(["context", "list", "apis"]).shown(), @"
    exit 1
    --- stderr
      × the manifest has no image `apis`
      help: it has python-base:3.12-amd64, python-base:3.12-arm64, redis:7-alpine, api:v1, web:v1-
            amd64, web:v1-arm64, worker:v1
    ");
    env.run(["context", "list", "redis"]).code(1).says("is a mirror");
    env.run(["context", "pack", "api", "-o", "nowhere/api.tar.gz"]).code(1).says("cannot write");
}

#[test]
fn context_list_knows_that_a_pin_changes_the_dockerfile() {
    let env = TestEnv::manifest(ONE);
    env.context("app", "FROM redis:7\nCOPY . /\n");
    env.apply();
    let files = || {
        env.ok(["context", "pack", "app", "-o", "app.tar.gz"]);
        let packed = unpack(&std::fs::read(env.path("app.tar.gz")).unwrap());
        let listed = env.ok(["context", "list", "app"]).stdout;
        assert_eq!(listed.lines().collect::<Vec<_>>(), packed.keys().collect::<Vec<_>>());
        packed.len()
    };
    assert_eq!(files(), 1);
    let digest = format!("sha256:{}", "0".repeat(64));
    let pins = format!("pins:\n  \"docker.io/library/redis:7\":\n    digest: \"{digest}\"\n");
    env.edit("imgplan.lock", "units:\n", &format!("{pins}units:\n"));
    // The Dockerfile that is copied, the one that is sent, and its ignore file.
    assert_eq!(files(), 3);
}

#[test]
fn packs_are_reproducible_and_hold_the_listed_files() {
    let env = TestEnv::example("monorepo");
    env.apply();
    env.ok(["context", "pack", "api", "-o", "one.tar.gz"]);
    // Modification times are not part of the archive.
    let later = std::time::SystemTime::now() + Duration::from_secs(3600);
    let file = std::fs::File::open(env.path("services/api/src/app.py")).unwrap();
    file.set_modified(later).unwrap();
    env.ok(["context", "pack", "api", "-o", "two.tar.gz"]);
    let read = |name: &str| std::fs::read(env.path(name)).unwrap();
    assert!(read("one.tar.gz") == read("two.tar.gz"), "two packs differ");
    let files = unpack(&read("one.tar.gz"));
    assert_eq!(files["src/app.py"].1, "print(\"api\")\n");
    assert!(!files.contains_key("NOTES.md") && !files.contains_key("src/app_test.py"), "{files:?}");
    // The Dockerfile that is sent has the full path of the base.
    let lowered = files.values().find(|(_, text)| text.contains("FROM prime/local/"));
    let (_, text) = lowered.unwrap_or_else(|| panic!("no base is named by its path: {files:?}"));
    assert!(text.contains("FROM prime/local/python-base:3.12-amd64\n"), "{text}");
}

#[test]
fn a_pack_before_the_base_is_built_has_a_note() {
    let env = TestEnv::example("monorepo");
    assert_snapshot!(env.ok(["context", "pack", "api", "-o", "api.tar.gz"]).shown(), @"
    exit 0
    --- stderr
    note: python-base:3.12-amd64 is not built yet; the Dockerfile of api:v1 keeps its name
    api.tar.gz: 2 files in 280 bytes, Dockerfile at Dockerfile
    ");
    assert!(!env.exists("imgplan.lock") && !env.exists(".imgplan"));
}

#[test]
fn python_can_read_a_pack() {
    let env = TestEnv::example("monorepo");
    env.ok(["context", "pack", "worker", "-o", "worker.tar.gz"]);
    let script =
        "import tarfile; print(sorted(m.name for m in tarfile.open('worker.tar.gz', 'r:gz')))";
    let python = std::process::Command::new("python3")
        .args(["-c", script])
        .current_dir(env.path(""))
        .output();
    let Ok(python) = python else { return };
    let listed = String::from_utf8(python.stdout).unwrap();
    assert!(listed.contains("'src/worker.py'"), "{listed}{:?}", python.stderr);
}

#[test]
fn show_prints_the_recorded_state() {
    let env = TestEnv::example("monorepo");
    assert_snapshot!(env.ok(["show"]).shown(), @"
    exit 0
    --- stderr
    The lockfile is empty.
    ");
    env.apply();
    let show = env.ok(["show"]);
    assert_snapshot!(show.shown(), @"
    exit 0
    --- stdout
    api:v1                  build   linux/amd64  public   prime/local/api:v1 [build ID]
    python-base:3.12-amd64  build   linux/amd64  private  prime/local/python-base:3.12-amd64 [build ID]
    python-base:3.12-arm64  build   linux/arm64  private  prime/local/python-base:3.12-arm64 [build ID]
    redis:7-alpine          mirror  linux/amd64  public   redis:7-alpine [build ID]
    web:v1-amd64            build   linux/amd64  private  prime/local/web:v1-amd64 [build ID]
    web:v1-arm64            build   linux/arm64  private  prime/local/web:v1-arm64 [build ID]
    worker:v1               build   linux/amd64  private  prime/local/worker:v1 [build ID]
    ");
    let one = env.ok(["show", "api"]);
    assert_eq!(one.stdout.lines().count(), 1, "{one}");
    assert_eq!(env.ok(["show", "web", "redis"]).stdout.lines().count(), 3);
    env.run(["show", "nothing"]).code(1).says("the lockfile has no image `nothing`");
    let json: Value = serde_json::from_str(&env.ok(["show", "--json", "api"]).stdout).unwrap();
    assert_eq!(json["format_version"], "1.0");
    let unit = &json["units"][0];
    assert_eq!((&unit["image"], &unit["kind"]), (&"api:v1".into(), &"build".into()), "{json:#}");
    assert_eq!(unit["built"]["path"], "prime/local/api:v1");
    let requests = env.server().requests().len();
    env.ok(["show"]);
    assert_eq!(env.server().requests().len(), requests, "show sends no request");
}

#[test]
fn schema_is_printed_or_written_to_a_file() {
    let env = TestEnv::new();
    let printed = env.ok(["schema"]).stdout;
    env.ok(["schema", "-o", "schema.json"]);
    assert_eq!(env.read("schema.json").trim_end(), printed.trim_end());
    let schema: Value = serde_json::from_str(&printed).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let manifest = serde_json::json!({
        "version": 1,
        "images": [{ "name": "app", "tag": "v1", "context": "app", "platforms": ["linux/arm64"] }],
    });
    assert!(validator.is_valid(&manifest));
    let mut bad = manifest.clone();
    bad["images"][0]["contxt"] = "app".into();
    assert!(!validator.is_valid(&bad));
}

/// Starts a server, and applies against it from another process.
#[test]
fn serve_accepts_its_token_and_keeps_its_state() {
    let mut env = one_image();
    let mut serve = env
        .call([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--url-file",
            "url",
            "--token",
            "t0ken",
            "--state",
            "state",
        ])
        .start();
    wait_until("the URL is written", || serve.has_ended() || env.exists("url"));
    let url = env.read("url").trim().to_owned();
    env.set("PRIME_API_BASE_URL", &url).set("PRIME_API_KEY", "t0ken");
    env.apply();
    env.set("PRIME_API_KEY", "another");
    env.write("app/new", "new");
    env.run(["apply", "--auto-approve"]).code(1).says("the API key is not accepted");
    serve.signal("INT");
    let served = serve.wait();
    served.code(130).says(&format!("Serving the images API on {url}")).never_says("t0ken");
    served.says("app:v1: Completed after 0.");
    // The next server reads the state.
    std::fs::remove_file(env.path("url")).unwrap();
    let address = url.trim_start_matches("http://").to_owned();
    let mut again =
        env.call(["serve", "--listen", &address, "--url-file", "url", "--state", "state"]).start();
    wait_until("it serves again", || again.has_ended() || env.exists("url"));
    let apply = env.apply();
    assert!(apply.stdout.contains("1 built"), "{apply}");
    again.signal("TERM");
    again.wait().code(143);
}

#[test]
fn serve_fails_on_a_used_address_and_on_bad_flags() {
    let env = TestEnv::new();
    let used = env.server().url().trim_start_matches("http://").to_owned();
    env.run(["serve", "--listen", &used]).code(1).says(&used);
    env.run(["serve", "--token", ""]).code(64);
    env.run(["serve", "--listen", "0.0.0.0:0"]).code(1).says("there is no token");
    env.run(["serve", "--listen", "[::]:0"]).code(1).says("--token KEY");
    env.run(["serve", "--limit", "initiate=0/2s"]).code(64);
    env.run(["serve", "--build-time", "5"]).code(64).says("5s");
}

#[test]
fn bad_usage_exits_with_64_and_help_with_0() {
    let env = one_image();
    for args in [
        &[][..],
        &["aply"],
        &["plan", "--unknown"],
        &["plan", "extra"],
        &["apply", "--concurrency", "0"],
        &["apply", "--limit", "initiate"],
        &["apply", "--limit", "intiate=1/1s"],
        &["plan", "-q", "-v"],
        &["plan", "--color", "sometimes"],
        &["context"],
        &["context", "pack", "app"],
        &["apply", "--json"],
    ] {
        let refused = env.run(args.iter().copied());
        refused.code(64);
        assert!(!refused.all().is_empty(), "{args:?}");
    }
    for (args, help) in [
        (["apply", "--limit", "initiate=10"], "write a window: initiate=10/60s"),
        (["apply", "--limit", "10/60s"], "write CLASS=N/Ds: initiate=150/60s"),
        (["apply", "--limit", "initiate=x"], "write a count and a window: 150/60s"),
        (["apply", "--auto-approve", "--fail-fast"], "tip: a failure skips only"),
        (["plan", "--offline", "--no-cache"], "tip: use `--replace PATTERN`"),
    ] {
        env.run(args).code(64).says(help);
    }
    for args in [&["--help"][..], &["-h"], &["help"], &["help", "apply"], &["--version"]] {
        let help = env.run(args.iter().copied());
        help.success();
        assert!(help.stderr.is_empty() && !help.stdout.is_empty(), "{help}");
    }
    assert_eq!(env.server().requests(), [""; 0]);
}

#[test]
fn a_flag_is_accepted_only_where_it_means_something() {
    let env = one_image();
    for args in [
        &["serve", "--var", "A=b"][..],
        &["serve", "-f", "imgplan.yaml"],
        &["serve", "--json"],
        &["schema", "-f", "imgplan.yaml"],
        &["schema", "--var", "A=b"],
        &["show", "--var", "A=b"],
        &["show", "--set", "*.tag=v2"],
        &["context", "pack", "app", "-o", "app.tar.gz", "--json"],
        &["validate", "--local"],
    ] {
        env.run(args.iter().copied()).code(64).says("unexpected argument");
    }
}

#[test]
fn short_help_fits_a_screen_and_long_help_names_environment_variables() {
    let env = TestEnv::new();
    let commands = [
        "validate",
        "plan",
        "why",
        "apply",
        "lock",
        "import",
        "status",
        "show",
        "graph",
        "context digest",
        "context dockerfile",
        "context list",
        "context why",
        "context pack",
        "schema",
        "serve",
    ];
    for command in commands {
        let help = |flag| env.ok(command.split(' ').chain([flag])).stdout;
        let (short, long) = (help("-h"), help("--help"));
        assert!(short.lines().count() <= 40, "{short}");
        assert!(!short.contains("env:") && long.contains("[env: IMGPLAN_CHDIR]"), "{long}");
        assert!(long.lines().all(|line| line.chars().count() <= 100), "{long}");
        let headings =
            ["Selection", "Planning", "Registry", "Service", "State", "Engine", "Output", "Global"];
        let is_heading = |line: &&str| line.ends_with(':') && !line.starts_with(' ');
        for help in [&short, &long] {
            let found: Vec<&str> = help
                .lines()
                .filter(is_heading)
                .map(|line| line.trim_end_matches(':'))
                .filter(|heading| *heading != "Arguments")
                .collect();
            let expected = headings.into_iter().filter(|heading| found.contains(heading));
            assert_eq!(found, expected.collect::<Vec<_>>(), "{help}");
        }
    }
}

#[test]
fn help_of_the_program() {
    assert_snapshot!(TestEnv::new().ok(["-h"]).stdout, @"
    Terraform for container images: declare images in a manifest, see what would change, apply it

    Usage: imgplan [OPTIONS] <COMMAND>

    Commands:
      init         Propose a manifest for the Dockerfiles and Harbor tasks of a folder
      validate     Check the manifest, its Dockerfiles and contexts without network access
      plan         Show what would change, and why
      why          Explain the plan for one image
      apply        Carry out the plan after confirmation
      lock         Pin sources and bases to digests in the lockfile
      import       Record an existing image in the lockfile
      status       Show builds in progress
      logs         Print the log of a build
      show         Show the lockfile
      state        Create, inspect and change the recorded state, also one that many runners share
      graph        Print the dependency graph of the manifest
      context      Inspect or pack the files that an image is built from
      schema       Print the JSON Schema of the manifest
      convert      Write a manifest from a file of another tool
      serve        Run a local server with the images API
      doctor       Check what an apply needs: service, key, clock, registries, engine, disk
      completions  Print the script that completes commands in a shell
      help         Print this message or the help of the given subcommand(s)

    Global:
      -C, --chdir <DIR>  Run in this directory
      -v, --verbose      Verbose output: every phase of every target
      -q, --quiet        Print only failures and the summary
      -h, --help         Print help; `--help` shows more than `-h`
      -V, --version      Print the version
    ");
}

#[test]
fn help_of_apply() {
    assert_snapshot!(TestEnv::new().ok(["apply", "-h"]).stdout, @"
    Carry out the plan after confirmation

    Usage: imgplan apply [OPTIONS] [PLAN]

    Arguments:
      [PLAN]  Plan saved by `imgplan plan --out`; applied without a prompt

    Selection:
          --target <PATTERN>   Only matching images and the bases they need
          --group <GROUP>      Only images of this group and the bases they need
          --exclude <PATTERN>  Leave out matching images and their dependents
          --replace <PATTERN>  Force a rebuild of matching images

    Planning:
          --prune             Delete images that the manifest no longer has
          --refresh[=<BOOL>]  Compare the lockfile with the service first [default: true]
          --refresh-only      Only update the lockfile to match the service
          --deny-warnings     Treat warnings as errors
          --auto-approve      Skip the prompt
          --max-destroy <N>   Maximum number of images to delete

    Registry:
          --upgrade  Move all pins to the current digests
          --locked   Fail if the pins in the lockfile are out of date

    Service:
          --local            Use a server inside this process; needs no account
          --concurrency <N>  Builds, and transfers of each owner, at the same time

    Output:
          --detailed-exitcode  Exit with 2 if there were changes, 3 if some failed
          --json               Write JSON lines to standard output

    Global:
      -f, --file <FILE>       Manifest; `-` is standard input [default: imgplan.yaml]
          --var <NAME=VALUE>  Set the variable `${NAME}` of the manifest
      -C, --chdir <DIR>       Run in this directory
      -v, --verbose           Verbose output: every phase of every target
      -q, --quiet             Print only failures and the summary
      -h, --help              Print help; `--help` shows more than `-h`
    ");
}

#[test]
fn chdir_and_file_select_another_manifest() {
    let env = TestEnv::new();
    env.write("deep/down/images.yaml", ONE).context("deep/down/app", "FROM scratch\n");
    // Paths in a manifest, the lockfile and `.imgplan` are relative to the manifest.
    env.ok(["plan", "-f", "deep/down/images.yaml"]);
    env.ok(["plan", "-C", "deep", "-f", "down/images.yaml"]);
    env.ok(["apply", "--auto-approve", "-C", "deep/down", "--file", "images.yaml"]);
    assert!(env.exists("deep/down/imgplan.lock") && env.exists("deep/down/.imgplan"));
    assert!(!env.exists("imgplan.lock") && !env.exists(".imgplan"));
    let empty = env.run(["plan", "--detailed-exitcode", "-f", "deep/down/images.yaml"]);
    empty.success();
    env.run(["plan", "-C", "nowhere"]).code(1).says("cannot change to nowhere");
    // An environment variable replaces the flag.
    let named =
        env.call(["plan", "--detailed-exitcode"]).env("IMGPLAN_FILE", "deep/down/images.yaml");
    named.run().success();
}

#[test]
fn a_manifest_can_come_from_standard_input() {
    let env = one_image();
    let manifest = env.read("imgplan.yaml").replace("name: app", "name: piped");
    let plan = env.call(["plan", "-f", "-"]).stdin(&manifest).run();
    plan.success();
    assert_eq!(plan.steps(), ["+ piped:v1 build new"]);
    let bad = env.call(["validate", "-f", "-"]).stdin("version: 1\nimages: 3\n").run();
    bad.code(1);
    assert_snapshot!(bad.shown(), @"
    exit 1
    --- stderr
      × expected a list, found the number `3`
       ╭─[<stdin>:2:9]
     1 │ version: 1
     2 │ images: 3
       ·         ─
       ╰────
      help: write each item on its own line, after `- `

    error: 1 problem in <stdin>; nothing was sent
    ");
    // The manifest has consumed standard input, so the prompt gets no answer.
    env.call(["apply", "-f", "-"]).stdin(&manifest).run().code(4);
    let applied = env.call(["apply", "-f", "-", "--auto-approve"]).stdin(&manifest).run();
    applied.success();
}

#[test]
fn quiet_prints_failures_and_the_summary() {
    let env = one_image();
    let quiet = env.ok(["apply", "--auto-approve", "-q"]);
    assert_eq!(quiet.stderr, "", "{quiet}");
    env.context("app", "FROM scratch\nCOPY missing /\n");
    let failed = env.run(["apply", "--auto-approve", "-q"]);
    failed.code(1).says("app:v1").says("missing");
}

#[test]
fn verbose_prints_each_phase() {
    let env = one_image();
    let verbose = env.ok(["apply", "--auto-approve", "-v"]);
    assert_snapshot!(verbose.redacted(&verbose.stderr), @"
    app:v1: waiting
    app:v1: packing
    app:v1: waiting
    app:v1: Building...
    app:v1: submitting
    app:v1: uploading [build ID]
    app:v1: waiting [build ID]
    app:v1: submitting [build ID]
    app:v1: queued [build ID]
    app:v1: building [build ID]
    app:v1: Built in [time] [build ID]
    ");
}

#[test]
fn json_prints_only_json_lines() {
    let env = TestEnv::example("monorepo");
    let plan = env.ok(["plan", "--json"]);
    let types = |lines: &[Value]| -> Vec<String> {
        lines.iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect()
    };
    let lines = plan.json();
    assert_eq!(types(&lines)[0], "version");
    assert_eq!(plan.events("planned_change").len(), 7);
    assert_eq!(types(&lines).last().unwrap(), "change_summary");
    for line in &lines {
        for key in ["@level", "@message", "@module", "@timestamp", "type"] {
            assert!(line[key].is_string(), "{key} is missing: {line}");
        }
    }
    let change = &plan.events("planned_change")[0]["change"];
    assert_snapshot!(format!("{change:#}"), @r#"
    {
      "image": "python-base:3.12-amd64",
      "previous_image": null,
      "platform": "linux/amd64",
      "kind": "build",
      "action": "create",
      "build_id": null,
      "owner": null,
      "protected": false,
      "reasons": [
        {
          "code": "new"
        }
      ],
      "needs": [],
      "added": false
    }
    "#);
    let apply = env.ok(["apply", "--auto-approve", "--json"]);
    assert_eq!(apply.events("apply_start").len(), 7);
    assert_eq!(apply.events("apply_complete").len(), 7);
    let summary = apply.events("change_summary").pop().unwrap();
    let counts = &summary["changes"];
    assert_eq!((&counts["built"], &counts["mirrored"]), (&6.into(), &1.into()), "{summary}");
    assert_eq!(apply.stderr, "");
    let empty = env.ok(["plan", "--json"]);
    assert_eq!(empty.events("planned_change").len(), 0);
    assert_eq!(empty.events("change_summary")[0]["changes"]["unchanged"], 7);
}

#[test]
fn json_includes_errors() {
    let env =
        TestEnv::manifest("version: 1\nimages:\n  - {name: app, tag: 1.10, context: nowhere}\n");
    let refused = env.run(["plan", "--json"]);
    refused.code(1);
    let types: Vec<Value> = refused.json().into_iter().map(|line| line["type"].clone()).collect();
    assert_eq!(types, ["version", "diagnostic", "diagnostic"], "{refused}");
    let event = &refused.events("diagnostic")[0];
    assert_eq!(event["diagnostic"]["range"]["start"]["line"], 3, "{event:#}");
    assert_eq!(refused.stderr, "");
    // An error outside of the manifest.
    env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
    let refused = env.call(["apply", "--auto-approve", "--json"]).env("PRIME_API_KEY", "").run();
    refused.code(1);
    assert_eq!(refused.events("diagnostic").len(), 1, "{refused}");
}

#[test]
fn json_counts_an_adopted_build_once() {
    let env = TestEnv::with(ServerConfig {
        build_time: Duration::from_secs(3600),
        ..ServerConfig::default()
    });
    env.write("imgplan.yaml", ONE.replace("context: app", "context: app, timeout: 1s"));
    env.context("app", "FROM scratch\n");
    env.run(["apply", "--auto-approve"]).code(1);
    let plan = env.ok(["plan", "--json"]);
    let change = &plan.events("planned_change")[0]["change"];
    assert_eq!(
        (&change["action"], &change["kind"]),
        (&"adopt".into(), &"build".into()),
        "{change}"
    );
    let by_kind = &plan.events("change_summary")[0]["changes"]["by_kind"];
    assert_eq!((&by_kind["build"]["adopt"], &by_kind["mirror"]["adopt"]), (&1.into(), &0.into()));
}

#[test]
fn colors_follow_flag_terminal_and_no_color() {
    let env = one_image();
    for when in ["never", "auto"] {
        for args in [&["plan"][..], &["apply", "--auto-approve"], &["validate"], &["show"]] {
            env.run(args.iter().chain(&["--color", when]).copied()).never_says("\u{1b}");
        }
    }
    env.write("app/new", "new");
    let colored = env.ok(["plan", "--color", "always"]);
    assert!(colored.stdout.contains("\u{1b}["), "{colored}");
    let none = env.call(["plan", "--color", "always"]).env("NO_COLOR", "1").run();
    assert!(none.stdout.contains("\u{1b}["), "--color wins over NO_COLOR");
    env.write("imgplan.yaml", "version: 1\nimages: 3\n");
    env.run(["plan", "--color", "never"]).code(1).never_says("\u{1b}");
    assert!(env.run(["plan", "--color", "always"]).code(1).stderr.contains("\u{1b}["));
}

#[test]
fn reading_commands_write_only_caches() {
    let env = TestEnv::example("monorepo");
    let commands = [
        &["plan"][..],
        &["plan", "--offline"],
        &["plan", "--local"],
        &["plan", "--json"],
        &["why", "api"],
        &["validate"],
        &["show"],
        &["context", "list", "api"],
        &["context", "digest", "api"],
    ];
    // Caches are the directory itself with its .gitignore, the stat cache, and the file lists.
    let work_dir = env.path(".imgplan").display().to_string();
    let other_files = || {
        let caches = ["", "/.gitignore", "/stat-cache", "/contexts"];
        let is_cache = |line: &String| {
            caches.iter().any(|cache| line.starts_with(&format!("{work_dir}{cache} ")))
                || line.starts_with(&format!("{work_dir}/contexts/"))
        };
        let mut files = env.listing();
        files.retain(|line| !is_cache(line));
        files
    };
    let before = other_files();
    for args in commands {
        env.ok(args.iter().copied());
        assert_eq!(other_files(), before, "{args:?}: before the first apply");
    }
    env.apply();
    env.write("base/requirements.txt", "requests==2.32.4\n");
    let before = other_files();
    for args in commands {
        env.ok(args.iter().copied());
        assert_eq!(other_files(), before, "{args:?}: after a change");
    }
    std::fs::remove_dir_all(env.path(".imgplan")).unwrap();
    let before = other_files();
    for args in commands {
        env.ok(args.iter().copied());
        assert_eq!(other_files(), before, "{args:?}: without caches");
    }
    assert!(env.exists(".imgplan/.gitignore"));
    let home = std::fs::read_dir(env.home()).unwrap().count();
    assert_eq!(home, 0, "the home directory stays empty");
}

#[test]
fn plan_works_in_a_read_only_directory() {
    use std::os::unix::fs::PermissionsExt;
    let env = one_image();
    env.apply();
    env.write("app/new", "new");
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(env.path(""), permissions).unwrap();
    };
    mode(0o555);
    let plan = env.run(["plan"]);
    // Root can write anyway, so the apply may succeed.
    let apply = env.run(["apply", "--auto-approve"]);
    mode(0o755);
    plan.success();
    assert_eq!(plan.steps(), ["-/+ app:v1 build context: + new"]);
    assert!(!apply.all().contains("panicked"), "{apply}");
}

#[test]
fn offline_sends_no_request() {
    let env = one_image();
    let plan = env.ok(["plan", "--offline"]);
    assert_eq!(plan.steps(), ["+ app:v1 build new"]);
    env.apply();
    let requests = env.server().requests().len();
    env.ok(["plan", "--offline"]).says("the service was not asked");
    assert_eq!(env.server().requests().len(), requests);
}

#[test]
fn rate_limits_hold_as_the_server_counts_them() {
    let limits = vec!["initiate=3/1s".parse().unwrap()];
    let env = TestEnv::with(ServerConfig { limits, ..ServerConfig::default() });
    let images: Vec<String> =
        (0..8).map(|number| format!("  - {{name: app{number}, context: app}}\n")).collect();
    env.write("imgplan.yaml", format!("version: 1\nimages:\n{}", images.concat()));
    env.context("app", "FROM scratch\n");
    env.ok(["apply", "--auto-approve", "--limit", "initiate=3/1s"]);
    let counts = env.server().counts().of(imgplan::test_support::base::limit::Class::Initiate);
    assert_eq!((counts.accepted, counts.refused, counts.peak), (8, 0, 3));
}

#[test]
fn a_closed_pipe_causes_no_panic() {
    let env = TestEnv::example("monorepo");
    let script = format!("{} plan | head -n 1", env!("CARGO_BIN_EXE_imgplan"));
    let piped = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(env.path(""))
        .env("PRIME_API_KEY", KEY)
        .env("PRIME_API_BASE_URL", env.server().url())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&piped.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
}
