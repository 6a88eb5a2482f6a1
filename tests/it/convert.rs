//! `imgplan convert`: real inputs of other tools, retold small. Each manifest is valid, plans what the
//! input lists, and the fields that it lacks are named.

use insta::assert_snapshot;
use proptest::prelude::*;

use crate::support::{Output, TestEnv};

/// An environment with a repository, so that a manifest reaches the folders beside its own.
fn repository() -> TestEnv {
    let env = TestEnv::new();
    env.write(".git/HEAD", "");
    env
}

fn convert(env: &TestEnv, from: &str, input: &str) -> Output {
    env.run(["convert", "--from", from, input, "-o", "imgplan.yaml"])
}

/// Converts an input, and returns the targets that the manifest plans and what was dropped.
#[track_caller]
fn converted(env: &TestEnv, from: &str, input: &str) -> (Vec<String>, Vec<String>) {
    let output = convert(env, from, input);
    output.success();
    let first = env.read("imgplan.yaml").lines().next().unwrap().to_owned();
    assert_eq!(first, "# yaml-language-server: $schema=imgplan.schema.json");
    (targets(env), dropped(&output))
}

/// Validates the manifest, and returns its targets as the service would have them.
#[track_caller]
fn targets(env: &TestEnv) -> Vec<String> {
    env.ok(["validate"]);
    let changes = env.ok(["plan", "--json"]).events("planned_change");
    let target = |event: &serde_json::Value| {
        let text = |key: &str| event["change"][key].as_str().unwrap_or_default().to_owned();
        let needs = event["change"]["needs"].as_array().unwrap();
        let needs: Vec<&str> = needs.iter().filter_map(|need| need.as_str()).collect();
        let after =
            if needs.is_empty() { String::new() } else { format!(" after {}", needs.join(" ")) };
        format!("{} {} {}{after}", text("kind"), text("image"), text("platform"))
    };
    let mut targets: Vec<String> = changes.iter().map(target).collect();
    targets.sort();
    targets
}

fn dropped(output: &Output) -> Vec<String> {
    let lines = output.stderr.lines().filter_map(|line| line.strip_prefix("note: "));
    lines.map(str::to_owned).collect()
}

/// BuildKit's bake file after `--print`: stages as targets, platforms that the service lacks.
#[test]
fn bake_file_of_buildkit() {
    let env = repository();
    let dockerfile = "FROM scratch AS base\nARG GO_VERSION\nCOPY f /\nFROM base AS binaries\n";
    env.context(".", dockerfile).write("f", "").write("hack/lint.Dockerfile", "FROM scratch\n");
    env.write("bake.json", r#"{
      "group": {"default": {"targets": ["binaries"]}, "all": {"targets": ["default", "image-cross"]}},
      "target": {
        "binaries": {"context": ".", "dockerfile": "Dockerfile", "target": "binaries",
          "args": {"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1", "GO_VERSION": "1.25"},
          "platforms": ["local"], "output": ["type=local,dest=./bin/build"]},
        "lint": {"context": ".", "dockerfile": "./hack/lint.Dockerfile", "output": ["type=cacheonly"]},
        "image-cross": {"context": ".", "dockerfile": "Dockerfile", "tags": ["moby/buildkit:master"],
          "platforms": ["linux/amd64", "linux/arm/v7", "linux/arm64", "linux/s390x"],
          "attest": [{"type": "sbom"}], "no-cache": false}
      }
    }"#);
    let (targets, dropped) = converted(&env, "bake", "bake.json");
    let expected = [
        "build binaries:latest linux/amd64",
        "build buildkit:master-amd64 linux/amd64",
        "build buildkit:master-arm64 linux/arm64",
        "build lint:latest linux/amd64",
    ];
    assert_eq!(targets, expected);
    let expected = [
        "dropped target.*.output (2 times, first target.binaries.output): the service keeps the image",
        "dropped target.binaries.args.BUILDKIT_CONTEXT_KEEP_GIT_DIR: it configures BuildKit, not the image",
        "dropped target.image-cross.attest: the service makes no attestations",
        "dropped target.image-cross.platforms: the service does not build for linux/arm/v7",
        "dropped target.image-cross.platforms: the service does not build for linux/s390x",
    ];
    assert_eq!(dropped, expected);
    assert_snapshot!(env.read("imgplan.yaml"), @r#"
    # yaml-language-server: $schema=imgplan.schema.json
    # Converted from bake.json by `imgplan convert --from bake`.
    version: 1

    images:
      # target.binaries has no tag: named by its key
      - name: binaries
        context: "."
        target: binaries
        args:
          GO_VERSION: "1.25"
        groups: [all, default]
      # target.lint has no tag: named by its key
      - name: lint
        context: "."
        dockerfile: "./hack/lint.Dockerfile"
      - name: buildkit
        tag: master
        context: "."
        platforms: [linux/amd64, linux/arm64]
        published_as: [docker.io/moby/buildkit]
        groups: [all]
    "#);
}

/// Rocker's: several tags for an image, and images that are built on the published ones.
#[test]
fn bake_file_of_rocker() {
    let env = repository();
    env.write("dockerfiles/r-ver_4.5.2.Dockerfile", "FROM ubuntu:noble\n");
    env.write("dockerfiles/rstudio_4.5.2.Dockerfile", "FROM rocker/r-ver:4.5.2\n");
    env.write("bakefiles/4.5.2.json", r#"{
      "group": {"default": {"targets": ["r-ver", "rstudio"]}},
      "target": {
        "r-ver": {"context": ".", "dockerfile": "dockerfiles/r-ver_4.5.2.Dockerfile",
          "labels": {"org.opencontainers.image.title": "rocker/r-ver"},
          "tags": ["docker.io/rocker/r-ver:4.5.2", "docker.io/rocker/r-ver:4.5", "docker.io/rocker/r-ver:4"],
          "platforms": ["linux/amd64", "linux/arm64"], "cache-to": ["type=inline"]},
        "rstudio": {"context": ".", "dockerfile": "dockerfiles/rstudio_4.5.2.Dockerfile",
          "labels": {"org.opencontainers.image.title": "rocker/rstudio"},
          "tags": ["docker.io/rocker/rstudio:4.5.2"], "platforms": ["linux/amd64"],
          "cache-to": ["type=inline"]}
      }
    }"#);
    let (targets, dropped) = converted(&env, "bake", "bakefiles/4.5.2.json");
    let expected = [
        "build r-ver:4-amd64 linux/amd64",
        "build r-ver:4-arm64 linux/arm64",
        "build r-ver:4.5-amd64 linux/amd64",
        "build r-ver:4.5-arm64 linux/arm64",
        "build r-ver:4.5.2-amd64 linux/amd64",
        "build r-ver:4.5.2-arm64 linux/arm64",
        "build rstudio:4.5.2 linux/amd64 after r-ver:4.5.2-amd64",
    ];
    assert_eq!(targets, expected);
    assert_eq!(dropped.len(), 2, "{dropped:?}");
    assert!(
        dropped.iter().all(|line| line.contains("(2 times, first target.r-ver.")),
        "{dropped:?}"
    );
}

/// Jenkins's: targets of a matrix with arguments; here one is built on another, and the name of the
/// first is not Docker Hub's `jenkins`.
#[test]
fn bake_file_of_jenkins() {
    let env = repository();
    env.write("debian/Dockerfile", "ARG JAVA_VERSION\nFROM debian:trixie\nARG JENKINS_VERSION\n");
    env.write("agent/Dockerfile", "FROM jdk-base\nARG NOTE\nCOPY --from=jdk-base /x /x\n");
    env.write(
        "bake.json",
        r#"{
      "group": {"linux": {"targets": ["debian_jdk21", "agent"]}},
      "target": {
        "debian_jdk21": {"context": ".", "dockerfile": "debian/Dockerfile",
          "args": {"JENKINS_VERSION": "2.500", "JAVA_VERSION": "21.0.9_10"},
          "tags": ["docker.io/jenkins/controller:2.500", "ghcr.io/jenkins/controller:2.500"],
          "platforms": ["linux/amd64", "linux/arm64", "linux/ppc64le"]},
        "agent": {"context": "agent", "contexts": {"jdk-base": "target:debian_jdk21"},
          "args": {"NOTE": "$5 \"off\" {x}"},
          "tags": ["docker.io/jenkins/agent"], "platforms": ["linux/amd64", "linux/arm64"]}
      }
    }"#,
    );
    let (targets, dropped) = converted(&env, "bake", "bake.json");
    let expected = [
        "build agent:latest-amd64 linux/amd64 after controller:2.500-amd64",
        "build agent:latest-arm64 linux/arm64 after controller:2.500-arm64",
        "build controller:2.500-amd64 linux/amd64",
        "build controller:2.500-arm64 linux/arm64",
    ];
    assert_eq!(targets, expected);
    assert_eq!(
        dropped,
        ["dropped target.debian_jdk21.platforms: the service does not build for linux/ppc64le"]
    );
    let sent = env.ok(["context", "dockerfile", "agent:latest-amd64"]).stdout;
    assert!(
        sent.lines().any(|line| line.starts_with("ARG NOTE=") && line.contains("off")),
        "{sent}"
    );
}

/// An image that cannot be expressed is left out, and so is every image that is built on it.
#[test]
fn images_that_would_be_something_else_are_left_out() {
    let env = repository();
    env.context("app", "FROM scratch\n");
    env.write(
        "bake.json",
        r#"{"target": {
      "remote": {"context": "https://github.com/docker/cli.git#v20"},
      "child": {"context": "app", "contexts": {"r": "target:remote"}},
      "grandchild": {"context": "app", "contexts": {"c": "target:child"}},
      "pinned": {"context": "app", "contexts": {"alpine": "docker-image://alpine:3.20"}},
      "inline": {"dockerfile-inline": "FROM scratch"},
      "orphan": {"context": "app", "contexts": {"x": "target:none"}},
      "windows": {"context": "app", "platforms": ["windows/amd64"]},
      "one": {"context": "app", "tags": ["a/app:1"]},
      "two": {"context": "app", "target": "x", "tags": ["b/app:1"]},
      "same": {"context": "app", "tags": ["c/app:1"]},
      "upper": {"context": "app", "tags": ["Bad_Name:1"]},
      "latest": {"context": "app", "args": {"REVISION": null, "BAD NAME": "x", "LINES": "a\nb"}}
    }}"#,
    );
    let (targets, dropped) = converted(&env, "bake", "bake.json");
    assert_eq!(targets, ["build app:1 linux/amd64", "build latest:latest linux/amd64"]);
    assert_eq!(dropped.len(), 14, "{dropped:#?}");
    for expected in [
        "target.remote.context: the image is left out: its context is no folder",
        "target.child: the image is left out, as is its base `remote`",
        "target.grandchild: the image is left out, as is its base `child`",
        "target.pinned.contexts.alpine: the image is left out: a named context is a target",
        "target.inline.dockerfile-inline: the image is left out: write its Dockerfile to a file",
        "target.orphan: the image is left out, as is its base `none`",
        "target.windows: the image is left out: the service has none of its platforms",
        "target.two.tags: app:1 is the image of target.one already",
        "target.upper.tags: no name for the service",
        "target.latest.args.REVISION: its value comes from the environment",
        "target.latest.args.BAD NAME: no ARG can have this name",
        "target.latest.args.LINES: no ARG can hold a line break",
    ] {
        assert!(dropped.iter().any(|line| line.contains(expected)), "{expected}: {dropped:#?}");
    }
    let text = env.read("imgplan.yaml");
    assert!(text.contains("published_as: [docker.io/a/app, docker.io/c/app]"), "{text}");
}

#[test]
fn a_bake_file_itself_is_refused() {
    let env = repository();
    env.write("docker-bake.hcl", "target \"app\" {\n  context = \".\"\n}\n");
    env.write(
        "matrix.json",
        r#"{"target": {"app": {"matrix": {"v": ["1"]}, "name": "app-${v}"}}}"#,
    );
    env.write("variable.json", r#"{"variable": {"TAG": {"default": "x"}}, "target": {}}"#);
    env.write("inherits.json", r#"{"target": {"app": {"inherits": ["_base"]}}}"#);
    for input in ["docker-bake.hcl", "matrix.json", "variable.json", "inherits.json"] {
        convert(&env, "bake", input).code(1).says(input).says("docker buildx bake --print");
    }
    assert!(!env.exists("imgplan.yaml"));
}

/// Docker's awesome-compose: builds by folder and by mapping, services that are only pulled.
#[test]
fn compose_files_of_awesome_compose() {
    let env = repository();
    env.context("demo/backend", "FROM python:3.12 AS builder\nARG NODE_ENV\nARG PORT\n");
    env.context("demo/proxy", "FROM nginx\n");
    env.context("demo/tool", "FROM backend\n");
    env.write("demo/compose.yaml", r#"
name: demo
x-args: &args
  NODE_ENV: development
services:
  db:
    image: mariadb:10-focal
    command: "--default-authentication-plugin=mysql_native_password"
    environment: [MYSQL_DATABASE=example, "PASSWORD=${PASSWORD}"]
    secrets: [db-password]
  backend:
    build:
      context: backend
      target: builder
      args: { <<: *args, PORT: 8000 }
      platforms: [linux/amd64, linux/arm64]
      cache_from: [type=gha]
      x-bake: { tags: ["ghcr.io/acme/backend:edge"], output: [type=docker] }
    image: acme/backend:v1
    ports: ["8000:8000"]
    depends_on: { db: { condition: service_healthy } }
  worker: { build: { context: backend, target: builder, args: { NODE_ENV: development, PORT: "8000" }, platforms: [linux/amd64, linux/arm64] }, image: "acme/backend:v1" }
  proxy:
    build: proxy
  tool:
    build: { context: tool, additional_contexts: ["backend=service:backend"] }
    platform: linux/arm64
  broken: { build: proxy, image: "x:${TAG:-latest}" }
secrets: { db-password: { file: db/password.txt } }
"#);
    let (targets, dropped) = converted(&env, "compose", "demo/compose.yaml");
    let expected = [
        "build backend:edge-amd64 linux/amd64",
        "build backend:edge-arm64 linux/arm64",
        "build backend:v1-amd64 linux/amd64",
        "build backend:v1-arm64 linux/arm64",
        "build proxy:latest linux/amd64",
        "build tool:latest linux/arm64 after backend:v1-arm64",
    ];
    assert_eq!(targets, expected);
    let expected = [
        "dropped services.backend.build.cache_from: the service has a cache of its own",
        "dropped services.backend.build.x-bake.output: the service keeps the image",
        "dropped services.broken.image: the image is left out: Compose must resolve it; convert the output of `docker compose config`",
        "not about images, and left out: 7 fields (such as secrets)",
    ];
    assert_eq!(dropped, expected);
}

/// The example of regclient's documentation.
#[test]
#[expect(clippy::too_many_lines, reason = "the example of another tool")]
fn configuration_of_regsync() {
    let env = repository();
    env.write(
        "regsync.yml",
        r#"
version: 1
creds:
  - registry: registry:5000
    tls: disabled
  - registry: docker.io
    user: "{{env \"HUB_USER\"}}"
    pass: hunter2-is-secret
defaults:
  ratelimit: { min: 100, retry: 15m }
  parallel: 2
  interval: 60m
  backup: "bkup-{{.Ref.Tag}}"
sync:
  - source: busybox:latest
    target: registry:5000/library/busybox:latest
    type: image
  - source: alpine
    target: registry:5000/library/alpine
    type: repository
    tags:
      allow: ["latest", "edge", "3", "3\\.20", "3\\.\\d+"]
      deny: ["3\\.[0-9]"]
  - source: ghcr.io/regclient/regctl
    target: registry:5000/tools/ctl
    type: repository
    tags: { allow: [v0.9.0] }
    platforms: [linux/arm64]
    digestTags: true
  - source: gcr.io
    target: registry:5000/gcr
    type: registry
  - source: nginx
    target: registry:5000/nginx
    type: repository
    tags: { semverRange: [">=1.27.0"] }
"#,
    );
    let (targets, dropped) = converted(&env, "regsync", "regsync.yml");
    let expected = [
        "mirror alpine:3 linux/amd64",
        "mirror alpine:3.20 linux/amd64",
        "mirror alpine:edge linux/amd64",
        "mirror alpine:latest linux/amd64",
        "mirror busybox:latest linux/amd64",
        "mirror ctl:v0.9.0 linux/arm64",
    ];
    assert_eq!(targets, expected);
    let expected = [
        "dropped creds[0]: no password is copied; the service pulls public images of registry:5000",
        "dropped creds[1]: no password is copied; the service pulls public images of docker.io",
        "dropped defaults.backup: the service keeps no old image under another tag",
        "dropped defaults.interval: run `imgplan apply` as a scheduled job",
        "dropped defaults.parallel: imgplan keeps to the limits of the service",
        "dropped defaults.ratelimit: imgplan keeps to the limits of the service",
        r"dropped sync[1].tags.allow: a pattern over tags: list the tags to mirror: 3\.\d+",
        "dropped sync[2].digestTags: the service has no such setting",
        "dropped sync[3]: the mirror is left out: all repositories of a registry are meant: list those to mirror",
        "dropped sync[4].tags.semverRange: a pattern over tags: list the tags to mirror",
    ];
    assert_eq!(dropped, expected);
    assert!(!env.read("imgplan.yaml").contains("hunter2"));
}

/// The example of skopeo's manual.
#[test]
fn yaml_of_skopeo() {
    let env = repository();
    env.write(
        "sync.yml",
        r#"
registry.example.com:
  images:
    busybox: []
    redis:
      - "1.0"
      - "2.0"
      - "sha256:0000000000000000000000000000000011111111111111111111111111111111"
  images-by-tag-regex:
    nginx: ^1\.13\.[12]-alpine-perl$
  credentials:
    username: john
    password: this is a secret
  tls-verify: true
  cert-dir: /home/john/certs
quay.io:
  tls-verify: false
  images:
    coreos/etcd:
      - latest
"#,
    );
    let (targets, dropped) = converted(&env, "skopeo", "sync.yml");
    let expected = [
        "mirror etcd:latest linux/amd64",
        "mirror redis:1.0 linux/amd64",
        "mirror redis:2.0 linux/amd64",
        "mirror redis:sha256-0000000000000000 linux/amd64",
    ];
    assert_eq!(targets, expected);
    let host = "dropped registry.example.com";
    let expected = [
        format!("{host}.cert-dir: the service makes the connection"),
        format!(
            "{host}.credentials: no password is copied; the service pulls public images of registry.example.com"
        ),
        format!("{host}.images-by-tag-regex.nginx: a pattern over tags: list the tags to mirror"),
        format!("{host}.tls-verify: the service makes the connection"),
        format!("{host}.images.busybox: all tags are meant: list those to mirror"),
    ];
    assert_eq!(dropped, expected);
}

/// The provider's own JSON lines, with paths relative to their file.
#[test]
fn json_lines_of_prime() {
    let env = repository();
    env.context("jobs/base", "FROM scratch\n").context("jobs/api", "FROM scratch\n");
    env.write("jobs/docker/api.Dockerfile", "FROM base\n");
    env.write(
        "jobs/builds.jsonl",
        r#"{"image": "api:v1", "context": "api", "dockerfile": "docker/api.Dockerfile"}

{"image": "base", "context": "base", "platform": "linux/amd64"}
{"image": "x", "context": "api", "cotext": "y"}
{"image": "incomplete"}
"#,
    );
    let (targets, dropped) = converted(&env, "prime", "jobs/builds.jsonl");
    let expected = [
        "build api:v1 linux/amd64 after base:latest",
        "build base:latest linux/amd64",
        "build x:latest linux/amd64",
    ];
    assert_eq!(targets, expected);
    let expected = [
        "dropped line 4.cotext: prime has no such key",
        "dropped line 5: the line is left out: it needs an `image` and a `context`",
    ];
    assert_eq!(dropped, expected);
    env.write("mirrors.jsonl", "{\"source\": \"docker.io/library/redis:7\"}\n");
    let args = ["convert", "--from", "prime", "mirrors.jsonl", "-o", "-"];
    env.run(args)
        .code(1)
        .says("line 1 is one of transfer-bulk")
        .says("- sources_from: <file>.jsonl");
    env.write("mirrors.yaml", "version: 1\nimages:\n  - sources_from: mirrors.jsonl\n");
    env.ok(["validate", "-f", "mirrors.yaml"]).says("1 image, 1 target");
    env.write(
        "update.jsonl",
        r#"{"source": {"reference": "a:v1"}, "set": {"visibility": "PUBLIC"}}"#,
    );
    let args = ["convert", "--from", "prime", "update.jsonl", "-o", "-"];
    env.run(args).code(1).says("line 1 is one of update-bulk").says("write `moved:`");
    env.write("broken.jsonl", "{\"image\": \"a\", \"context\": \".\"}\n# comment\n");
    let args = ["convert", "--from", "prime", "broken.jsonl", "-o", "-"];
    env.run(args).code(1).says("line 2 is not JSON");
}

/// A manifest reads Harbor tasks itself: the error prints the entry.
#[test]
fn harbor_tasks_need_no_conversion() {
    let env = repository();
    env.context("tasks/find/environment", "FROM scratch\n").write("tasks/find/task.toml", "");
    let output = env.run(["convert", "--from", "harbor", "tasks", "-o", "-"]);
    output.code(1).says("add `- discover: { harbor: tasks }` to `images`");
    env.write("imgplan.yaml", "version: 1\nimages:\n  - discover: { harbor: tasks }\n");
    assert_eq!(targets(&env), ["build find:latest linux/amd64"]);
}

/// In Compose and bake, `FROM nginx` is Docker Hub's image, and must stay it.
#[test]
fn official_images_stay_those_of_docker_hub() {
    for tags in ["", "tags: ['ghcr.io/acme/nginx:latest']"] {
        let env = repository();
        env.context("nginx", "FROM scratch\n").context("web", "FROM nginx\n");
        env.write(
            "compose.yaml",
            format!(
                "services: {{nginx: {{build: {{context: nginx, {tags}}}}}, web: {{build: web}}}}\n"
            ),
        );
        let (targets, dropped) = converted(&env, "compose", "compose.yaml");
        assert_eq!(targets, ["build web:latest linux/amd64"]);
        assert!(dropped[0].contains("`FROM nginx` is Docker Hub's image"), "{dropped:?}");
        assert!(dropped[1].contains("services.nginx: the image is left out"), "{dropped:?}");
    }
}

/// The manifest may lie elsewhere in the repository; its paths lead back.
#[test]
fn paths_are_relative_to_the_manifest() {
    let env = repository();
    env.context("services/api", "FROM scratch\n").write("docker/x.Dockerfile", "FROM scratch\n");
    env.write("services/compose.yaml", "services:\n  api: { build: api }\n  x: { build: { context: ., dockerfile: ../docker/x.Dockerfile } }\n");
    env.write("deploy/images/README", "");
    env.ok([
        "convert",
        "--from",
        "compose",
        "services/compose.yaml",
        "-o",
        "deploy/images/out.yaml",
    ]);
    let text = env.read("deploy/images/out.yaml");
    assert!(text.contains("context: \"../../services/api\""), "{text}");
    env.ok(["validate", "-f", "deploy/images/out.yaml"]).says("2 images, 2 targets");
    // Absolute paths, as `docker compose config` prints them, become relative.
    let absolute = env.path("services").display().to_string();
    env.write(
        "config.yaml",
        format!("services:\n  api: {{ build: {{ context: '{absolute}/api' }} }}\n"),
    );
    env.ok(["convert", "--from", "compose", "config.yaml", "-o", "c.yaml"]);
    assert!(env.read("c.yaml").contains("context: services/api\n"));
}

#[test]
fn strict_writes_nothing_if_a_field_is_dropped() {
    let env = repository();
    env.context("app", "FROM scratch\n");
    env.write("bake.json", r#"{"target": {"app": {"context": "app", "labels": {"a": "b"}}}}"#);
    let args = ["convert", "--from", "bake", "bake.json", "-o", "imgplan.yaml", "--strict"];
    let output = env.run(args);
    output.code(1).says("1 field was dropped, and --strict was given").says("target.app.labels");
    assert!(!env.exists("imgplan.yaml"));
    // Fields about containers are no part of an image.
    env.write("compose.yaml", "services:\n  app: { build: app, ports: ['80:80'] }\n");
    let args = ["convert", "--from", "compose", "compose.yaml", "-o", "imgplan.yaml", "--strict"];
    env.ok(args).says("1 entry; nothing was dropped").says("not about images");
    env.ok(["validate"]);
}

#[test]
fn nothing_is_overwritten() {
    let env = repository();
    env.context("app", "FROM scratch\n");
    env.write("bake.json", r#"{"target": {"app": {"context": "app"}}}"#);
    env.write("imgplan.yaml", "mine");
    convert(&env, "bake", "bake.json").code(1).says("imgplan.yaml exists, and is not overwritten");
    assert_eq!(env.read("imgplan.yaml"), "mine");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere.yaml", env.path("link.yaml")).unwrap();
        let args = ["convert", "--from", "bake", "bake.json", "-o", "link.yaml"];
        env.run(args).code(1).says("link.yaml exists");
        assert!(!env.exists("nowhere.yaml"));
    }
    let stdout = env.ok(["convert", "--from", "bake", "bake.json", "-o", "-"]).stdout;
    assert!(stdout.starts_with("# yaml-language-server: ") && stdout.contains("- name: app\n"));
    let output = env.call(["convert", "--from", "bake", "-", "-o", "piped.yaml"]);
    let output = output.stdin(&env.read("bake.json")).run();
    output.success();
    assert_eq!(
        env.read("piped.yaml").lines().skip(2).collect::<Vec<_>>(),
        stdout.lines().skip(2).collect::<Vec<_>>()
    );
    let output = env.call(["convert", "--from", "bake", "/dev/stdin", "-o", "device.yaml"]);
    output.stdin(&env.read("bake.json")).run().success();
    assert_eq!(env.read("device.yaml"), env.read("piped.yaml"));
    env.run(["convert", "--from", "bake", "none.json", "-o", "x.yaml"]).code(1).says("none.json");
    env.run(["convert", "--from", "bake", "bake.json", "-o", "none/x.yaml"]).code(1).says("none");
    env.write("empty.yml", "services:\n  db: { image: postgres }\n");
    let args = ["convert", "--from", "compose", "empty.yml", "-o", "x.yaml"];
    env.run(args).code(1).says("empty.yml has no image to convert");
    assert!(!env.exists("x.yaml"));
}

/// Names that would be read as something else, or that would give orders to a terminal or a CI job.
#[test]
fn hostile_texts_stay_texts() {
    let env = repository();
    env.write("app/Dockerfile", "FROM scratch\nARG yes\nARG V\n");
    env.write("no/Dockerfile", "FROM scratch\n");
    env.write("bake.json", r###"{"target": {
      "a\u001b[2J\n::error::x": {"context": "app", "description": "x\n- name: evil\n::warning::y\u001b[1m"},
      "b##[error]": {"context": "no\n  dockerfile: /etc/passwd", "tags": ["good:1.10"]},
      "null": {"context": "no", "tags": ["null:null"], "labels\u001b]0;t\u0007": ["x"]},
      "c": {"context": "app", "tags": ["y:1e3"], "args": {
        "yes": "${HOME}$(id)`id`", "V": "##[error]##vso[x] \"' \\ #\u2028\u0007"}}
    }}"###);
    let output = convert(&env, "bake", "bake.json");
    output.success();
    for unsafe_text in ["\u{1b}", "\u{7}", "\n::", "##[", "##vso["] {
        output.never_says(unsafe_text);
    }
    let text = env.read("imgplan.yaml");
    assert!(
        !text.contains(|c: char| c.is_control() && c != '\n') && !text.contains("##["),
        "{text}"
    );
    assert!(!text.lines().any(|line| line.trim_start().starts_with("- name: evil")), "{text}");
    let stdout = env.ok(["convert", "--from", "bake", "bake.json", "-o", "-"]).stdout;
    assert_eq!(stdout, text);
    // The folder with a line break does not exist; everything else is as it was.
    env.run(["validate"]).code(1).says("there is no folder");
    env.write("imgplan.yaml", text.replace("no\\u000a  dockerfile: /etc/passwd", "no"));
    let targets = targets(&env);
    let expected =
        ["build a-2j-error-x:latest", "build good:1.10", "build null:null", "build y:1e3"];
    let names: Vec<&str> =
        targets.iter().filter_map(|it| it.strip_suffix(" linux/amd64")).collect();
    assert_eq!(names, expected);
    let sent = env.ok(["context", "dockerfile", "y"]).stdout;
    assert!(sent.contains("$(id)`id`"), "{sent}");
}

#[test]
fn errors_show_no_secret() {
    let env = repository();
    for (from, text) in [
        ("regsync", "version: 1\ncreds:\n  - registry: a\n    pass: hunter2\n   bad indent\n"),
        ("regsync", "version: 1\ncreds:\n  - registry: {}\n    pass: hunter2\n"),
        ("skopeo", "a.io:\n  credentials: {username: a, password: hunter2\n"),
        ("skopeo", "a.io:\n  credentials: {password: hunter2}\n  images: 7\n"),
        ("compose", "services:\n  a:\n    environment: [P=hunter2]\n    build: [1]\n"),
        ("bake", "{\"target\": {\"a\": {\"secret\": [\"hunter2\"], \"tags\": {}}}}"),
        ("bake", "{\"target\": {\"a\": \"hunter2\"}}"),
        ("skopeo", "a.io: user:hunter2\n"),
        ("regsync", "sync: [\"https://u:hunter2@h/x\"]\n"),
        ("prime", "\"hunter2\"\n"),
    ] {
        env.write("input", text);
        let output = env.run(["convert", "--from", from, "input", "-o", "-"]);
        output.code(1).says("cannot convert input").never_says("hunter2");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A converted manifest is valid. Each target is built on an earlier one, or on nothing.
    #[test]
    fn a_written_manifest_loads(
        fields in proptest::collection::vec((
            proptest::sample::select(&["", "q.io/o/x:1", "q.io/o/x", "nginx", "y:1.10", "Bad:1"][..]),
            proptest::sample::select(&["V", "TOKEN", "no", "a b"][..]),
            "[a-z${}#:\"'\\\\ ]{0,8}",
            proptest::sample::select(&["k", "a", "nginx", "q.io/o/x"][..]),
            proptest::sample::select(&["app", "other", "git@x"][..]),
        ), 1..4),
    ) {
        let env = repository();
        env.write("app/Dockerfile", "FROM scratch\nARG V\nARG no\n");
        env.write("other/Dockerfile", "FROM k\nARG V\nARG no\n");
        let mut targets = serde_json::Map::new();
        for (id, (tag, arg, value, alias, context)) in ["a", "b", "c"].into_iter().zip(fields) {
            let mut target = serde_json::json!({"context": context, "args": {arg: value}});
            if !tag.is_empty() {
                target["tags"] = serde_json::json!([tag]);
            }
            if let Some(base) = targets.keys().next_back() {
                target["contexts"] = serde_json::json!({alias: format!("target:{base}")});
            }
            targets.insert(id.to_owned(), target);
        }
        env.write("bake.json", serde_json::json!({"target": targets}).to_string());
        let output = convert(&env, "bake", "bake.json");
        if env.exists("imgplan.yaml") {
            output.success();
            let valid = env.run(["validate"]);
            // A name in `contexts` holds for one target of a bake file, but `published_as` for all
            // images: that may make a circle, which is an error of `validate`.
            prop_assume!(!valid.stderr.contains("dependency cycle"));
            valid.success();
        } else {
            output.code(1).says("bake.json has no image to convert");
        }
    }
}
