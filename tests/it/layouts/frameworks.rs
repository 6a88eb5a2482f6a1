//! dotnet: a folder for each image, version, distribution and architecture, and tags that name all
//! three.

use super::{Change, Layout};

const MANIFEST: &str = "version: 1
defaults: {published_as: \"registry.example.com/net/{name}\"}
images:
  - matrix:
      IMAGE: [deps, runtime, sdk]
      VERSION: [\"8.0\", \"9.0\"]
      DISTRO: [noble, alpine3.20]
      ARCH: [amd64, arm64v8]
      exclude: [{IMAGE: sdk, DISTRO: alpine3.20, ARCH: arm64v8}]
      include:
        - {ARCH: amd64, PLATFORM: linux/amd64}
        - {ARCH: arm64v8, PLATFORM: linux/arm64}
    name: \"${IMAGE}\"
    tag: \"${VERSION}-${DISTRO}-${ARCH}\"
    context: \"src/${IMAGE}/${VERSION}/${DISTRO}/${ARCH}\"
    platforms: [\"${PLATFORM}\"]
";

/// Returns the Dockerfiles and the files beside them.
fn repository() -> Vec<(String, String)> {
    let mut files = super::files(&[("eng/update.sh", "update\n")]);
    for version in ["8.0", "9.0"] {
        for distro in ["noble", "alpine3.20"] {
            for arch in ["amd64", "arm64v8"] {
                let tag = format!("{version}-{distro}-{arch}");
                let sdk = format!(
                    "ARG REPO=registry.example.com/net/runtime\nFROM $REPO:{tag}\nCOPY sdk.json /\n"
                );
                let runtime = format!(
                    "ARG REPO=registry.example.com/net/deps\nFROM {arch}/busybox AS installer\n\
                     RUN wget net.tgz\nFROM $REPO:{tag}\nCOPY --from=installer /net /net\n"
                );
                for (image, text) in [
                    ("deps", "FROM scratch\nENV PORTS=8080\n".to_owned()),
                    ("runtime", runtime),
                    ("sdk", sdk),
                ] {
                    let folder = format!("src/{image}/{version}/{distro}/{arch}");
                    files.push((format!("{folder}/Dockerfile"), text));
                    files.push((format!("{folder}/sdk.json"), "{}\n".to_owned()));
                }
            }
        }
    }
    files
}

/// Returns the repository.
pub(super) fn layout() -> Layout {
    Layout {
        manifest: MANIFEST,
        files: repository(),
        edges: &[
            "runtime:8.0-alpine3.20-amd64 -> deps:8.0-alpine3.20-amd64",
            "runtime:8.0-alpine3.20-arm64v8 -> deps:8.0-alpine3.20-arm64v8",
            "runtime:8.0-noble-amd64 -> deps:8.0-noble-amd64",
            "runtime:8.0-noble-arm64v8 -> deps:8.0-noble-arm64v8",
            "runtime:9.0-alpine3.20-amd64 -> deps:9.0-alpine3.20-amd64",
            "runtime:9.0-alpine3.20-arm64v8 -> deps:9.0-alpine3.20-arm64v8",
            "runtime:9.0-noble-amd64 -> deps:9.0-noble-amd64",
            "runtime:9.0-noble-arm64v8 -> deps:9.0-noble-arm64v8",
            "sdk:8.0-alpine3.20-amd64 -> runtime:8.0-alpine3.20-amd64",
            "sdk:8.0-noble-amd64 -> runtime:8.0-noble-amd64",
            "sdk:8.0-noble-arm64v8 -> runtime:8.0-noble-arm64v8",
            "sdk:9.0-alpine3.20-amd64 -> runtime:9.0-alpine3.20-amd64",
            "sdk:9.0-noble-amd64 -> runtime:9.0-noble-amd64",
            "sdk:9.0-noble-arm64v8 -> runtime:9.0-noble-arm64v8",
        ],
        archives: &[
            ("runtime:9.0-noble-arm64v8", &["Dockerfile"]),
            ("sdk:9.0-noble-arm64v8", &["Dockerfile", "sdk.json"]),
        ],
        changes: vec![
            Change::append(
                "src/deps/9.0/noble/arm64v8/Dockerfile",
                "ENV CHANGED=1",
                &["deps:9.0-noble-arm64v8", "runtime:9.0-noble-arm64v8", "sdk:9.0-noble-arm64v8"],
            ),
            Change::append(
                "src/deps/8.0/alpine3.20/arm64v8/Dockerfile",
                "ENV CHANGED=1",
                &["deps:8.0-alpine3.20-arm64v8", "runtime:8.0-alpine3.20-arm64v8"],
            ),
            // A file beside a Dockerfile that does not read it.
            Change::append("src/runtime/9.0/noble/amd64/sdk.json", "", &[]),
            // The excluded row.
            Change::append("src/sdk/9.0/alpine3.20/arm64v8/Dockerfile", "ENV CHANGED=1", &[]),
            Change::append("eng/update.sh", "more", &[]),
        ],
    }
}

#[test]
fn rows_of_versions_distributions_and_architectures() {
    layout().check();
}
