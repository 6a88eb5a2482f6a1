//! jenkins: several Dockerfiles for one image, by variant, all built from the root; and an agent whose
//! Dockerfiles have a target for each of two images.

use super::{Change, Layout};

const MANIFEST: &str = "version: 1
defaults: {args: {VERSION: \"2.479\"}}
images:
  - name: leader
    tag: \"${VARIANT}-jdk${JDK}\"
    context: .
    dockerfile: \"${DIR:-${VARIANT}}/Dockerfile\"
    args: {JAVA_VERSION: \"${JDK}\"}
    matrix:
      VARIANT: [alpine, debian, debian-slim]
      JDK: [\"17\", \"21\"]
      exclude: [{VARIANT: alpine, JDK: \"17\"}]
      include: [{VARIANT: debian-slim, DIR: debian/slim}]
  - name: \"${IMAGE}\"
    context: agents
    dockerfile: debian/Dockerfile
    target: \"${IMAGE}\"
    matrix: {IMAGE: [agent, inbound-agent]}
";

/// Returns the Dockerfiles and the files beside them.
fn repository() -> Vec<(String, String)> {
    let leader = |base: &str| {
        format!(
            "ARG JAVA_VERSION=11\nFROM {base} AS jre-build\nRUN jlink\n\
             FROM {base}\nARG VERSION\nCOPY --from=jre-build /javaruntime /opt/java\n\
             COPY leader-support leader.sh /usr/local/bin/\n"
        )
    };
    let agent = "FROM debian:bookworm AS agent\nARG VERSION=1\nCOPY agent.jar /usr/share/\n\
                 FROM agent AS inbound-agent\nCOPY inbound-agent.sh /usr/local/bin/\n";
    super::files(&[
        ("leader.sh", "exec java\n"),
        ("leader-support", "wait\n"),
        ("plugins.txt", "git\n"),
        ("tests/runtime.bats", "@test\n"),
        ("alpine/Dockerfile", &leader("alpine:3.20")),
        ("debian/Dockerfile", &(leader("debian:bookworm") + "COPY debian/locale.conf /etc/\n")),
        ("debian/locale.conf", "C.UTF-8\n"),
        ("debian/slim/Dockerfile", &leader("debian:bookworm-slim")),
        ("agents/debian/Dockerfile", agent),
        ("agents/agent.jar", "jar\n"),
        ("agents/inbound-agent.sh", "exec java\n"),
    ])
}

/// Returns the repository.
pub(super) fn layout() -> Layout {
    Layout {
        manifest: MANIFEST,
        files: repository(),
        edges: &[],
        archives: &[
            (
                "leader:debian-jdk21",
                &["debian/Dockerfile", "debian/locale.conf", "leader-support", "leader.sh"],
            ),
            (
                "leader:debian-slim-jdk17",
                &[
                    ".imgplan.Dockerfile",
                    ".imgplan.Dockerfile.dockerignore",
                    "leader-support",
                    "leader.sh",
                ],
            ),
            ("agent", &[".imgplan.Dockerfile", ".imgplan.Dockerfile.dockerignore", "agent.jar"]),
            (
                "inbound-agent",
                &[
                    ".imgplan.Dockerfile",
                    ".imgplan.Dockerfile.dockerignore",
                    "agent.jar",
                    "inbound-agent.sh",
                ],
            ),
        ],
        changes: vec![
            Change::append("alpine/Dockerfile", "USER leader", &["leader:alpine-jdk21"]),
            Change::append(
                "debian/locale.conf",
                "de",
                &["leader:debian-jdk17", "leader:debian-jdk21"],
            ),
            Change::append(
                "leader.sh",
                "true",
                &[
                    "leader:alpine-jdk21",
                    "leader:debian-jdk17",
                    "leader:debian-jdk21",
                    "leader:debian-slim-jdk17",
                    "leader:debian-slim-jdk21",
                ],
            ),
            // Only the stage of the second image reads it.
            Change::append("agents/inbound-agent.sh", "true", &["inbound-agent"]),
            Change::append("agents/debian/Dockerfile", "USER agent", &["inbound-agent"]),
            Change::append("agents/agent.jar", "more", &["agent", "inbound-agent"]),
            Change::append("tests/runtime.bats", "@test", &[]),
            Change::append("plugins.txt", "ssh", &[]),
        ],
    }
}

#[test]
fn dockerfiles_by_variant() {
    layout().check();
}
