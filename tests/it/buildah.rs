//! What an engine makes of an archive, by Buildah where it is: that a `COPY . .` finds what was sent
//! and nothing of ours. `.ci/run` installs it; by hand: `apt-get install buildah`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{TestEnv, list};

/// Buildah, with a storage of its own in a temporary folder. For root, it keeps its cache of where
/// blobs were seen where the system has it, whatever it is told.
struct Buildah {
    dir: PathBuf,
}

impl Buildah {
    /// `None`, and a word about it, where there is none, or where it may not do its work.
    fn find(dir: PathBuf) -> Option<Self> {
        let buildah = Self { dir };
        fs::create_dir_all(buildah.dir.join("temp")).unwrap();
        let storage = |name: &str| format!("{name} = '{}'\n", buildah.dir.join(name).display());
        let (graph, run) = (storage("graphroot"), storage("runroot"));
        let files = [
            ("storage.conf", &*format!("[storage]\ndriver = \"vfs\"\n{graph}{run}")),
            // Nobody is asked for an image, and nobody has to have signed what is built here.
            ("registries.conf", ""),
            ("policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#),
        ];
        for (name, text) in files {
            fs::write(buildah.dir.join(name), text).unwrap();
        }
        let usable = buildah.command(&buildah.dir, &["from", "scratch"]).output();
        let why = match usable {
            Ok(output) if output.status.success() => return Some(buildah),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        let required = std::env::var_os("IMGPLAN_BUILDAH").is_some_and(|how| how == "required");
        assert!(!required, "IMGPLAN_BUILDAH=required: {why}");
        // Unlike `eprintln!`, this is not kept from whoever runs the tests.
        let _ = writeln!(std::io::stderr(), "SKIPPED: buildah.rs: no usable buildah: {why}");
        None
    }

    fn command(&self, from: &Path, args: &[&str]) -> Command {
        let at = |name: &str| self.dir.join(name);
        let mut command = Command::new("buildah");
        command.current_dir(from).args(args);
        command.envs([("STORAGE_DRIVER", "vfs"), ("BUILDAH_ISOLATION", "chroot")]);
        command.env("CONTAINERS_STORAGE_CONF", at("storage.conf"));
        command.env("CONTAINERS_REGISTRIES_CONF", at("registries.conf"));
        command.envs(["HOME", "TMPDIR", "XDG_RUNTIME_DIR"].map(|name| (name, at("temp"))));
        command
    }

    /// Builds, and lists every file of the image.
    #[track_caller]
    fn build(&self, from: &Path, dockerfile: &str, context: &str) -> Vec<String> {
        let out = self.dir.join("image");
        let _ = fs::remove_dir_all(&out);
        let policy = self.dir.join("policy.json").display().to_string();
        let to = format!("type=local,dest={}", out.display());
        let options = ["--layers=false", "--signature-policy", &policy, "--output", &to];
        let args = [&["bud"], &options[..], &["-f", dockerfile, context]].concat();
        let output = self.command(from, &args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "buildah {args:?}: {said}");
        let mut files = Vec::new();
        list(&out, &mut |path, meta| {
            if !meta.is_dir() {
                files.push(path.strip_prefix(&out).unwrap().display().to_string());
            }
        });
        files.sort();
        files
    }
}

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
