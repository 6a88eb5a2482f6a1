//! selenium: folders in camel case, a namespace and a version from arguments, and one tag for all.

use super::{Change, Layout};

const MANIFEST: &str = "version: 1
vars: {VERSION: 4.1.0-nightly}
defaults:
  tag: \"${VERSION}\"
  published_as: \"grid/{name}\"
  args: {NAMESPACE: grid, VERSION: \"${VERSION}\"}
images:
  - matrix:
      - {DIR: Base, NAME: base}
      - {DIR: Hub, NAME: hub}
      - {DIR: NodeBase, NAME: node-base}
      - {DIR: NodeFirefox, NAME: node-firefox}
    name: \"${NAME}\"
    context: \"${DIR}\"
";

/// Returns the repository.
pub(super) fn layout() -> Layout {
    let node = "ARG NAMESPACE=hub\nARG VERSION=latest\nFROM ${NAMESPACE}/IMAGE:${VERSION}\n";
    let from = |base: &str| node.replace("IMAGE", base);
    Layout {
        manifest: MANIFEST,
        files: super::files(&[
            ("Makefile", "all: base hub\n"),
            ("Base/Dockerfile", "FROM ubuntu:noble\nCOPY *.sh /opt/bin/\n"),
            ("Base/entry_point.sh", "wait\n"),
            ("Base/README.md", "Not an image of its own.\n"),
            ("Hub/Dockerfile", &(from("base") + "COPY hub.conf /etc/\n")),
            ("Hub/hub.conf", "[hub]\n"),
            ("NodeBase/Dockerfile", &(from("base") + "COPY --chown=1:1 config.toml /opt/\n")),
            ("NodeBase/config.toml", "[node]\n"),
            ("NodeFirefox/Dockerfile", &(from("node-base") + "ARG FIREFOX_VERSION=latest\n")),
        ]),
        edges: &[
            "hub:4.1.0-nightly -> base:4.1.0-nightly",
            "node-base:4.1.0-nightly -> base:4.1.0-nightly",
            "node-firefox:4.1.0-nightly -> node-base:4.1.0-nightly",
        ],
        archives: &[("base", &["Dockerfile", "entry_point.sh"]), ("node-firefox", &["Dockerfile"])],
        changes: vec![
            Change::append(
                "NodeBase/config.toml",
                "port = 5555",
                &["node-base:4.1.0-nightly", "node-firefox:4.1.0-nightly"],
            ),
            // The manifest gives the argument another value.
            Change::replace("Hub/Dockerfile", "NAMESPACE=hub", "NAMESPACE=other", &[]),
            // Not a file of this Dockerfile.
            Change::append("NodeBase/README.md", "Nodes", &[]),
            Change::append("Makefile", "hub: base", &[]),
        ],
    }
}

#[test]
fn a_namespace_and_a_version_from_arguments() {
    layout().check();
}
