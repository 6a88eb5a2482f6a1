//! Mirrors at both versions of the service: warnings, requests and responses.

use insta::assert_snapshot;

use crate::support::TestEnv;

#[test]
fn mirrors_that_the_service_makes_differently_are_warnings() {
    let env = TestEnv::manifest(
        "version: 1
images:
  - {source: docker.io/library/alpine:3, visibility: private}
  - {source: grafana/grafana:10, visibility: private}
  - {source: \"docker.io/library/busybox:1\", platforms: [linux/amd64, linux/arm64], tag: \"1-{arch}\"}
  - {source: redis:7, name: cache}
  - {source: valkey:8, tag: stable}
  - {source: gcr.io/org/a:1}
  - {source: europe-docker.pkg.dev/org/repo/b:1}
  - {source: registry.example.com/org/c:1}
  - {source: \"registry.example.com:5000/org/d:1\"}
",
    );
    let warnings = env.ok(["validate"]).stderr;
    let lines = warnings.lines().filter(|line| line.contains('⚠') || line.contains("help:"));
    assert_snapshot!(lines.map(str::trim).collect::<Vec<_>>().join("\n"), @"
    ⚠ the service makes mirrors of Docker Hub public, also alpine:3, grafana/grafana:10
    help: remove `visibility: private`, or copy the image to another registry and mirror it from
    ⚠ the service keeps one platform of a mirror of Docker Hub: busybox:1-amd64, busybox:1-arm64
    help: list one platform, or copy the image to another registry and mirror it from there
    ⚠ the service chooses the names of Docker Hub mirrors, also of cache:7, valkey:stable
    help: remove `name:` and `tag:`, or copy the image to another registry and mirror it from there
    ⚠ the service may refuse the registry of 4 mirrors: gcr.io/org/a:1, europe-docker.pkg.dev/org/
    help: it supports Docker Hub, ghcr.io, quay.io, public.ecr.aws, registry.k8s.io,
    ");
    env.run(["validate", "--deny-warnings"]).code(1);
    env.ok(["plan"]).says("the service makes mirrors of Docker Hub public");
}

#[test]
fn mirrors_that_every_service_makes_are_no_warning() {
    let env = TestEnv::manifest(
        "version: 1
images:
  - {source: docker.io/library/alpine:3, visibility: public}
  - {source: grafana/grafana:10, name: grafana/grafana, tag: \"10\", owner: platform}
  - {source: library/redis:7, name: redis}
  - {source: ghcr.io/org/a:1, name: x, visibility: private}
  - {source: QUAY.io/org/b:1, platforms: [linux/amd64, linux/arm64], tag: \"{arch}\"}
  - {source: public.ecr.aws/org/c:1}
  - {source: registry.k8s.io/pause:3.9}
  - {source: mcr.microsoft.com/dotnet/sdk:8.0}
  - {source: \"localhost:5000/org/d:1\"}
  - {source: localhost/org/e:1}
  - {source: \"127.0.0.1:5000/org/f:1\"}
",
    );
    let output = env.ok(["validate", "--deny-warnings"]);
    assert!(!output.stderr.contains('⚠'), "{output}");
}
