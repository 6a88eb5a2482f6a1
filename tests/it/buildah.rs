//! What an engine makes of an archive, by Buildah where it is: that a `COPY . .` finds what was sent
//! and nothing of ours.

use std::fs;

use crate::support::{Buildah, TestEnv};

/// Packs an image and unpacks the archive into a folder of that name, as a service would.
fn unpack(env: &TestEnv, image: &str) {
    env.ok(["context", "pack", image, "-o", "packed.tar.gz"]);
    let archive = fs::File::open(env.path("packed.tar.gz")).unwrap();
    let to = env.path("unpacked").join(image);
    tar::Archive::new(flate2::read::GzDecoder::new(archive)).unpack(to).unwrap();
}

#[test]
fn copying_everything_copies_what_was_sent_and_nothing_of_ours() {
    let env = TestEnv::at("http://127.0.0.1:9");
    let Some(buildah) = Buildah::find(env.everything().join("buildah")) else { return };
    env.write(
        "imgplan.yaml",
        "version: 1\nimages:\n\
         \x20 - {name: outside, tag: v1, context: app, dockerfile: ../docker/app.Dockerfile}\n\
         \x20 - {name: left-out, tag: v1, context: left-out}\n\
         \x20 - {name: inside, tag: v1, context: inside}\n",
    );
    let copy = "FROM scratch\nCOPY . /app\n";
    // The rules of the Dockerfile win over those at the root, which would leave the notes out.
    env.write("docker/app.Dockerfile", copy);
    env.write("docker/app.Dockerfile.dockerignore", "*.log\n");
    env.write("app/.dockerignore", "*.md\n");
    // The Dockerfile itself is left out, and with it the file that says so.
    env.context("left-out", copy)
        .write("left-out/.dockerignore", "Dockerfile\n.dockerignore\n*.log\n");
    // Sent as it was written, by its own rules.
    env.context("inside", copy).write("inside/Dockerfile.dockerignore", "*.log\n");
    env.write("inside/.dockerignore", "*.md\n");
    for context in ["app", "left-out", "inside"] {
        for name in ["notes.md", "src/main.py", "run.log"] {
            env.write(&format!("{context}/{name}"), name);
        }
    }
    for image in ["outside", "left-out", "inside"] {
        unpack(&env, image);
    }
    let here = env.path("unpacked");
    let built = |dockerfile: &str, context: &str| buildah.build(&here, dockerfile, context);

    let theirs = ["app/.dockerignore", "app/notes.md", "app/src/main.py"];
    let hidden = ".imgplan.Dockerfile";
    assert!(env.exists(&format!("unpacked/outside/{hidden}")));
    assert_eq!(built(hidden, "outside"), theirs);
    let full = here.join("outside").join(hidden);
    assert_eq!(built(full.to_str().unwrap(), "outside"), theirs);

    assert!(env.exists(&format!("unpacked/left-out/{hidden}")));
    assert_eq!(built(hidden, "left-out"), ["app/notes.md", "app/src/main.py"]);

    assert!(!env.exists(&format!("unpacked/inside/{hidden}")));
    let inside = built("Dockerfile", "inside");
    let theirs =
        [".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "notes.md", "src/main.py"];
    assert_eq!(inside, theirs.map(|name| format!("app/{name}")));
}
