//! buildkit: one Dockerfile with many stages, several of which are images, and some of which are
//! needed by none.

use super::{Change, Layout};

const MANIFEST: &str = "version: 1
images:
  - name: \"${TARGET}\"
    context: .
    target: \"${TARGET}\"
    matrix: {TARGET: [daemon, rootless, ctl]}
";

const DOCKERFILE: &str = "# syntax=docker/dockerfile:1
ARG GO_VERSION=1.22
ARG EXPORT_BASE=alpine
FROM golang:${GO_VERSION} AS gobuild-base
RUN apk add git
FROM gobuild-base AS ctl-build
RUN --mount=target=/src/go.mod,source=go.mod --mount=source=cmd/ctl,target=/src/cmd/ctl go build
FROM gobuild-base AS daemon-build
COPY go.mod go.sum ./
COPY --parents cmd/daemon/**/*.go ./
RUN go build
FROM gobuild-base AS tests
COPY . .
RUN go test ./...
FROM scratch AS ctl
COPY --from=ctl-build /out/ctl /
FROM alpine:3.20 AS export-alpine
COPY examples/daemon.toml /etc/
FROM ubuntu:noble AS export-ubuntu
COPY examples/ubuntu.toml /etc/
FROM export-${EXPORT_BASE} AS export
FROM export AS daemon
COPY --from=daemon-build /out/daemon /
COPY --from=ctl-build /out/ctl /
FROM daemon AS rootless
COPY --chmod=755 hack/rootless.sh /
FROM tests AS lint
RUN golint
FROM daemon
";

const ALL: &[&str] = &["ctl", "daemon", "rootless"];

/// Returns the repository.
pub(super) fn layout() -> Layout {
    Layout {
        manifest: MANIFEST,
        files: super::files(&[
            ("Dockerfile", DOCKERFILE),
            (".dockerignore", "bin\n"),
            ("bin/ctl", "binary\n"),
            ("go.mod", "module x\n"),
            ("go.sum", "\n"),
            ("cmd/ctl/main.go", "package ctl\n"),
            ("cmd/daemon/main.go", "package daemon\n"),
            ("cmd/daemon/net/net.go", "package net\n"),
            ("cmd/daemon/README.md", "The daemon\n"),
            ("examples/daemon.toml", "[daemon]\n"),
            ("examples/ubuntu.toml", "[daemon]\n"),
            ("hack/rootless.sh", "exec daemon\n"),
        ]),
        edges: &[],
        archives: &[
            ("ctl", &["Dockerfile", "cmd/ctl/main.go", "go.mod"]),
            (
                "rootless",
                &[
                    "Dockerfile",
                    "cmd/ctl/main.go",
                    "cmd/daemon/main.go",
                    "cmd/daemon/net/net.go",
                    "examples/daemon.toml",
                    "go.mod",
                    "go.sum",
                    "hack/rootless.sh",
                ],
            ),
        ],
        changes: vec![
            Change::append("cmd/ctl/main.go", "func main() {}", ALL),
            Change::append("cmd/daemon/net/net.go", "var X int", &["daemon", "rootless"]),
            Change::append("hack/rootless.sh", "true", &["rootless"]),
            Change::replace("Dockerfile", "apk add git", "apk add git make", ALL),
            Change::replace(
                "Dockerfile",
                "FROM alpine:3.20",
                "FROM alpine:3.21",
                &["daemon", "rootless"],
            ),
            // Stages that none of the three needs.
            Change::replace("Dockerfile", "RUN golint", "# Slow\nRUN golint --all", &[]),
            Change::replace("Dockerfile", "go test ./...", "go test -v ./...", &[]),
            Change::replace("Dockerfile", "ubuntu:noble", "ubuntu:jammy", &[]),
            Change::append("Dockerfile", "COPY nowhere /", &[]),
            Change::append("examples/ubuntu.toml", "[net]", &[]),
            Change::append("cmd/daemon/README.md", "More", &[]),
            Change::append("cmd/daemon/net/net_test.txt", "", &[]),
        ],
    }
}

#[test]
fn targets_of_one_dockerfile() {
    layout().check();
}
