//! Builds archives with Buildah, if it is installed: `COPY . .` must copy the sent files, and none
//! that imgplan added.

use std::fs;

use crate::support::{Buildah, TestEnv};

/// Packs the context of an image, and unpacks the archive as a service does.
fn unpack(env: &TestEnv, image: &str) {
    env.ok(["context", "pack", image, "-o", "packed.tar.gz"]);
    let archive = fs::File::open(env.path("packed.tar.gz")).unwrap();
    let to = env.path("unpacked").join(image);
    tar::Archive::new(flate2::read::GzDecoder::new(archive)).unpack(to).unwrap();
}

/// An archive of the files that the build reads gives the image that the whole context gives.
#[test]
fn an_archive_has_every_file_that_the_build_reads() {
    let env = TestEnv::at("http://127.0.0.1:9");
    let Some(buildah) = Buildah::find(env.everything().join("buildah")) else { return };
    env.write(
        "imgplan.yaml",
        "version: 1\nimages:\n\
         \x20 - {name: outside, tag: v1, context: app, dockerfile: ../docker/app.Dockerfile}\n\
         \x20 - {name: app, tag: v1, context: app}\n\
         \x20 - {name: whole, tag: v1, context: app, inputs: context}\n",
    );
    let dockerfile = "FROM scratch AS unused\nCOPY secret /\n\
        FROM scratch AS parts\nCOPY parts/?.txt parts/b* /parts/\nADD data /data/\n\
        FROM scratch\nCOPY src/ /app/src/\nCOPY --from=parts / /\n";
    env.context("app", dockerfile).write("docker/app.Dockerfile", dockerfile);
    env.write("app/.dockerignore", "**/*.log\n!src/keep.log\n");
    for name in [
        "secret",
        "src/main.py",
        "src/run.log",
        "src/keep.log",
        "src/deep/er.py",
        "parts/1.txt",
        "parts/22.txt",
        "parts/b/c",
        "data",
        "other/data",
        "notes.md",
    ] {
        env.write(&format!("app/{name}"), name);
    }
    let whole = buildah.build(&env.path(""), "app/Dockerfile", "app");
    let expected = [
        "app/src/deep/er.py",
        "app/src/keep.log",
        "app/src/main.py",
        "data/data",
        "parts/1.txt",
        "parts/c",
    ];
    assert_eq!(whole, expected);
    for (image, dockerfile) in
        [("outside", ".imgplan.Dockerfile"), ("app", "Dockerfile"), ("whole", "Dockerfile")]
    {
        unpack(&env, image);
        let here = env.path("unpacked");
        for name in ["secret", "notes.md", "other/data", "parts/22.txt", ".dockerignore"] {
            let is_sent = here.join(image).join(name).exists();
            assert_eq!(is_sent, image == "whole", "{image}: {name}");
        }
        assert!(!here.join(image).join("src/run.log").exists(), "{image}: an ignored file is sent");
        assert_eq!(buildah.build(&here, dockerfile, image), whole, "{image}");
    }
}

#[test]
fn copying_everything_copies_no_added_files() {
    let env = TestEnv::at("http://127.0.0.1:9");
    let Some(buildah) = Buildah::find(env.everything().join("buildah")) else { return };
    env.write(
        "imgplan.yaml",
        "version: 1\nimages:\n\
         \x20 - {name: outside, tag: v1, context: app, dockerfile: ../docker/app.Dockerfile}\n\
         \x20 - {name: ignored, tag: v1, context: ignored}\n\
         \x20 - {name: inside, tag: v1, context: inside}\n",
    );
    let copy = "FROM scratch\nCOPY . /app\n";
    // The ignore file of the Dockerfile wins over the one at the root, which ignores the notes.
    env.write("docker/app.Dockerfile", copy);
    env.write("docker/app.Dockerfile.dockerignore", "*.log\n");
    env.write("app/.dockerignore", "*.md\n");
    // The ignore file ignores the Dockerfile and itself.
    env.context("ignored", copy)
        .write("ignored/.dockerignore", "Dockerfile\n.dockerignore\n*.log\n");
    // Sent unchanged, with an ignore file of its own.
    env.context("inside", copy).write("inside/Dockerfile.dockerignore", "*.log\n");
    env.write("inside/.dockerignore", "*.md\n");
    for context in ["app", "ignored", "inside"] {
        for name in ["notes.md", "src/main.py", "run.log"] {
            env.write(&format!("{context}/{name}"), name);
        }
    }
    for image in ["outside", "ignored", "inside"] {
        unpack(&env, image);
    }
    let here = env.path("unpacked");
    let built = |dockerfile: &str, context: &str| buildah.build(&here, dockerfile, context);

    let expected = ["app/.dockerignore", "app/notes.md", "app/src/main.py"];
    let hidden = ".imgplan.Dockerfile";
    assert!(env.exists(&format!("unpacked/outside/{hidden}")));
    assert_eq!(built(hidden, "outside"), expected);
    let full = here.join("outside").join(hidden);
    assert_eq!(built(full.to_str().unwrap(), "outside"), expected);

    assert!(env.exists(&format!("unpacked/ignored/{hidden}")));
    assert_eq!(built(hidden, "ignored"), ["app/notes.md", "app/src/main.py"]);

    assert!(!env.exists(&format!("unpacked/inside/{hidden}")));
    let inside = built("Dockerfile", "inside");
    let expected =
        [".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "notes.md", "src/main.py"];
    assert_eq!(inside, expected.map(|name| format!("app/{name}")));
}
