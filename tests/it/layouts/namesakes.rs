//! jessfraz: folders that have the names of official images of Docker Hub, for something else.

use super::{Change, Layout, edges};

const MANIFEST: &str = "version: 1
images:
  - discover: {glob: \"**\"}
    published_as: []
";

pub(super) fn layout() -> Layout {
    Layout {
        manifest: MANIFEST,
        files: super::files(&[
            ("README.md", "Images of a desktop\n"),
            // A browser, on Alpine.
            ("firefox/alpine/Dockerfile", "FROM alpine:latest\nCOPY local.conf /etc/fonts/\n"),
            ("firefox/alpine/local.conf", "fonts\n"),
            ("base/Dockerfile", "FROM scratch\n"),
            ("curl/Dockerfile", "FROM alpine:latest\n"),
            ("wget/Dockerfile", "FROM alpine\n"),
            ("htop/Dockerfile", "FROM docker.io/library/alpine:3.20\n"),
            ("tor/Dockerfile", "FROM base\nCOPY --from=alpine /etc/ssl /etc/ssl\nCOPY torrc /\n"),
            ("tor/torrc", "Log notice\n"),
            ("tor/README.md", "How to use it\n"),
        ]),
        edges: &["tor -> base"],
        archives: &[("alpine", &["Dockerfile", "local.conf"]), ("tor", &["Dockerfile", "torrc"])],
        changes: vec![
            Change::append("firefox/alpine/Dockerfile", "ENV CHANGED=1", &["alpine"]),
            Change::append("base/Dockerfile", "ENV CHANGED=1", &["base", "tor"]),
            Change::append("tor/README.md", "More", &[]),
            Change::append("README.md", "More", &[]),
        ],
    }
}

#[test]
fn folders_with_the_names_of_official_images() {
    layout().check();
}

#[test]
fn images_that_mean_folders_with_the_names_of_official_images() {
    let env = layout().write();
    let write = |lines: &str| {
        env.write("imgplan.yaml", MANIFEST.replace("    published_as: []\n", lines));
    };
    // Without a word, Docker Hub's image is meant, with a warning.
    write("");
    assert_eq!(edges(&env), ["tor -> base"]);
    let plan = env.ok(["plan"]).all();
    let message = "`alpine` is Docker Hub's official image, not the folder's image `alpine`";
    assert_eq!(plan.matches(message).count(), 1, "{plan}");
    assert!(plan.contains("in 4 images"), "{plan}");
    env.run(["validate", "--deny-warnings"]).code(1);
    // The entry names its images itself, and so `alpine` means its image.
    let captured = ["curl -> alpine", "tor -> alpine", "tor -> base", "wget -> alpine"];
    write("    name: \"{dir}\"\n");
    assert_eq!(edges(&env), captured);
    write("    published_as: \"{name}\"\n");
    assert_eq!(edges(&env), captured);
    // One image needs it.
    write("  - {name: need, context: curl, needs: [alpine]}\n");
    assert_eq!(edges(&env), ["need -> alpine", "tor -> base"]);
    // It needs the image, and refers to another tag.
    env.write("curl/Dockerfile", "FROM alpine:3.20\n");
    let plan = env.ok(["plan"]).all();
    assert!(plan.contains("help: this manifest has alpine:latest"), "{plan}");
}
