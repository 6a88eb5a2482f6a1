//! Builds narrowed contexts with Buildah, if it is installed: the archive with only the files that a
//! build reaches must give the same image as the whole context.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use imgplan::test_support::base::name::Platform;
use imgplan::test_support::dockerfile::Dockerfile;

use crate::dockerfiles::built::{Builder, compile_recorder, difference};
use crate::dockerfiles::{Case, Lower, cases, reach};
use crate::support::{Buildah, TestEnv, list, skip};

/// Ways to read a context. The images must have each file whose text is listed after it.
const SHAPES: &[(&str, &[&str])] = &[
    ("COPY src /to/", &["src/a.go", "src/sub/c.go"]),
    ("COPY src/*.go /to/", &["src/a.go", "src/b.go"]),
    ("COPY */x.md /to/", &["docs/x.md"]),
    ("COPY ?.txt [cd].txt /to/", &["a.txt", "c.txt"]),
    ("COPY link /to/", &["src/a.go"]),
    ("COPY folder-link /to/", &["src/a.go", "src/sub/c.go"]),
    ("COPY folder-link/sub /to/", &["src/sub/c.go"]),
    ("COPY folder-link/*.go /to/", &["src/a.go", "src/b.go"]),
    ("COPY root-link /to/", &["docs/x.md"]),
    ("COPY chain /to/", &["src/sub/c.go"]),
    ("COPY folder-*/a.go /to/", &["src/a.go"]),
    ("COPY up/up/up/docs/x.md /to/", &["docs/x.md"]),
    ("COPY links /to/", &[]),
    ("COPY links/to-a links/to-folder /to/", &["src/a.go", "docs/x.md"]),
    ("COPY over-root /to/", &["docs/x.md"]),
    ("COPY own-link /to/", &["COPY own-link /to/"]),
    ("COPY link-* docs/../link /to/", &["src/b.go", "src/a.go"]),
    ("COPY docker/conf /to/", &["docker/conf"]),
    ("COPY docker*/c?nf /to/", &["docker/conf"]),
    ("COPY docker /to/", &["docker/conf", "docker/Dockerfile"]),
    ("COPY */to-a /to/", &["src/a.go"]),
    ("COPY **/to-a /to/", &["src/a.go"]),
    ("COPY folder-link/. /to/", &["src/a.go"]),
    ("COPY [\"!a\", \"/to/\"]", &["!a"]),
    ("COPY [\"a \", \"b \", \"/to/\"]", &["a ", "b "]),
    ("COPY links/* /to/", &["src/a.go", "docs/x.md"]),
    ("COPY src/../docs ./a.txt /c.txt /to/", &["docs/x.md", "a.txt", "c.txt"]),
    ("COPY [\"with blank/a b.txt\", \"/to/\"]", &["with blank/a b.txt"]),
    ("COPY \"\\$x\" /to/", &[]),
    ("ADD src /to/", &["src/a.go"]),
    ("ADD packed.tar.gz /to/", &[]),
    ("ADD *.tar.gz folder-link /to/", &["src/a.go"]),
    ("ADD link /to/", &["src/a.go"]),
    ("COPY modes /to/", &["modes/run", "modes/private/key"]),
    ("COPY modes/run /to/", &["modes/run"]),
    ("COPY --chown=1:2 --chmod=640 src/a.go /to/", &["src/a.go"]),
    ("COPY empty /to/", &[]),
    ("COPY src/s* /to/", &["src/sub/c.go"]),
    ("COPY docs /to/", &["docs/x.md"]),
    ("COPY Dockerfile /to/", &["COPY Dockerfile /to/"]),
    ("COPY .dockerignore /to/", &["!docs/ignored/not.log"]),
    ("COPY . /to/", &["src/a.go", "lib/one/z", "docs/ignored/not.log"]),
    ("COPY / /to/", &["src/a.go"]),
    ("COPY * /to/", &["a.txt", "lib/one/z"]),
    ("COPY lib/*/z /to/", &[]),
    ("COPY lib /to", &["lib/one/z", "lib/two/z"]),
    ("ARG D=src\nCOPY $D/a.go ${D}/sub /to/", &["src/a.go", "src/sub/c.go"]),
    ("ENV D=src\nWORKDIR /to\nCOPY ${D:-lib} .", &["src/a.go"]),
    ("COPY src /to/\nFROM scratch\nCOPY --from=0 /to/sub /to/", &["src/sub/c.go"]),
    (
        "COPY src /to/\nFROM scratch AS other\nCOPY lib /\nFROM scratch\nCOPY docs /to/\n",
        &["docs/x.md"],
    ),
    ("ONBUILD COPY lib /to/\nFROM s\nCOPY a.txt /to/\n", &["lib/one/z", "a.txt"]),
    ("COPY src/a.go /to/\nFROM s\nCOPY src/b.go /to/\n", &["src/a.go", "src/b.go"]),
    ("ADD --chown=3 a.txt c.txt /to/", &["a.txt", "c.txt"]),
    ("copy --chown=3 lib/one/ /to/", &["lib/one/z"]),
    ("RUN --mount=type=bind,source=mounted,target=/mnt x", &["mounted/base"]),
    ("RUN --mount=source=/mounted/../mounted,target=/mnt x", &["mounted/base"]),
    ("RUN --mount=src=mount-link,dst=/mnt,rw x", &["mounted/base"]),
    ("RUN --mount=type=bind,source=up/mounted,target=/mnt x", &["mounted/base"]),
    ("RUN --mount=type=bind,target=/mnt x", &["base"]),
];

/// The same with the Dockerfile at [`INNER_DOCKERFILE`].
const INNER_SHAPES: &[(&str, &[&str])] = &[
    ("COPY docker/conf /to/", &["docker/conf"]),
    ("COPY docker*/c?nf src /to/", &["docker/conf", "src/a.go"]),
    ("COPY docker /to/", &["docker/conf", "COPY docker /to/"]),
    ("COPY docker/app.* /to/", &["COPY docker/app.* /to/"]),
    ("COPY . /to/", &["docker/conf", "src/a.go", "COPY . /to/"]),
    ("COPY src /to/", &["src/a.go"]),
];

const INNER_DOCKERFILE: &str = "docker/app.Dockerfile";

/// Writes a context for all shapes. Each file has its path as its text.
fn write_context(env: &TestEnv, at: &str) {
    // Without names in brackets: Buildah fails on `COPY *` then.
    for file in [
        "a.txt",
        "c.txt",
        "base",
        "src/a.go",
        "src/b.go",
        "src/sub/c.go",
        "docs/x.md",
        "docs/run.log",
        "docs/ignored/not.log",
        "docs/ignored/other",
        "lib/one/z",
        "lib/two/z",
        "with blank/a b.txt",
        "$x",
        "modes/run",
        "modes/private/key",
        "mounted/base",
        "other/unread",
        "docker/conf",
        "docker/Dockerfile",
        "!a",
        "a ",
        "b ",
    ] {
        env.write(&format!("{at}/{file}"), file);
    }
    env.write(
        &format!("{at}/.dockerignore"),
        "*.log\n**/*.log\ndocs/ignored\n!docs/ignored/not.log\n",
    );
    let path = |name: &str| env.path(at).join(name);
    for (target, link) in [
        ("src/a.go", "link"),
        ("./src", "folder-link"),
        ("/docs", "root-link"),
        ("chain-2/sub", "chain"),
        ("folder-link", "chain-2"),
        (".", "up"),
        ("src/b.go", "link-2"),
        ("../../docs", "over-root"),
        ("Dockerfile", "own-link"),
        ("mounted", "mount-link"),
    ] {
        symlink(target, path(link)).unwrap();
    }
    fs::create_dir(path("links")).unwrap();
    symlink("../src/a.go", path("links/to-a")).unwrap();
    symlink("/docs", path("links/to-folder")).unwrap();
    fs::create_dir(path("empty")).unwrap();
    for (name, mode) in
        [("modes/run", 0o755), ("modes/private/key", 0o600), ("modes/private", 0o700)]
    {
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let archive = fs::File::create(path("packed.tar.gz")).unwrap();
    let mut archive =
        tar::Builder::new(flate2::write::GzEncoder::new(archive, flate2::Compression::default()));
    archive.append_path_with_name(path("a.txt"), "packed/a").unwrap();
    archive.into_inner().unwrap().finish().unwrap();
}

/// Packs the context, and unpacks the archive.
fn unpack(env: &TestEnv, image: &str, to: &Path) -> Result<(), String> {
    let packed = env.run(["context", "pack", image, "-o", "packed.tar.gz"]);
    if packed.code != Some(0) {
        return Err(packed.to_string());
    }
    let archive = fs::File::open(env.path("packed.tar.gz")).unwrap();
    let _ = fs::remove_dir_all(to);
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    archive.set_preserve_permissions(true);
    archive.unpack(to).unwrap();
    Ok(())
}

/// Returns the number of entries in a folder.
fn count(folder: &Path) -> usize {
    let mut entries = 0;
    list(folder, &mut |_, _| entries += 1);
    entries
}

/// Builds from packed contexts.
struct Packed<'e, 'b> {
    env: &'e TestEnv,
    builder: Builder<'b>,
    /// The number of contexts that were smaller than the whole.
    smaller: usize,
    /// The number of images.
    built: usize,
}

impl Packed<'_, '_> {
    /// Builds from the archive and from the context itself, and returns the difference or the error.
    fn compare(&mut self, dockerfile: &str, lower: &Lower, expected: &[&str]) -> Option<String> {
        let (mut fields, mut options) = (format!(", dockerfile: {dockerfile}"), Vec::new());
        if !lower.args.is_empty() {
            write!(fields, ", args: {}", serde_json::to_string(&lower.args).unwrap()).unwrap();
        }
        for (name, value) in &lower.args {
            options.extend(["--build-arg".to_owned(), format!("{name}={value}")]);
        }
        if let Some(target) = &lower.target {
            write!(fields, ", target: \"{target}\"").unwrap();
            options.push(format!("--target={target}"));
        }
        let image = format!("{{name: app, tag: v1, context: context{fields}}}");
        self.env.write("imgplan.yaml", format!("version: 1\nimages:\n  - {image}\n"));
        let (sent, context) = (self.builder.dir.join("sent"), self.env.path("context"));
        if let Err(problem) = unpack(self.env, "app", &sent) {
            return Some(problem);
        }
        let hidden = sent.join(".imgplan.Dockerfile");
        let file = if hidden.exists() { hidden } else { sent.join(dockerfile) };
        let buildah = &self.builder.buildah;
        let narrowed = buildah.image(&sent, file.to_str().unwrap(), &[]);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let file = context.join(dockerfile);
        let whole = buildah.image(&context, file.to_str().unwrap(), &options);
        match (narrowed, whole) {
            (Ok(narrowed), Ok(whole)) => {
                self.built += 1;
                self.smaller += usize::from(count(&sent) < count(&context));
                let all =
                    narrowed.files.values().fold(String::new(), |all, file| all + file + "\n");
                let missing = expected.iter().find(|text| !all.contains(**text));
                if let Some(missing) = missing {
                    return Some(format!("the image does not have {missing}: {narrowed:#?}"));
                }
                (narrowed != whole).then(|| difference(&narrowed, &whole))
            }
            (narrowed, whole) => {
                let errors = [narrowed.err(), whole.err()];
                Some(errors.map(|error| error.unwrap_or_else(|| "built".to_owned())).join("\n"))
            }
        }
    }

    fn shape(&mut self, dockerfile: &str, text: &str, expected: &[&str]) -> Option<String> {
        let base = if text.starts_with("RUN") { "recorder" } else { "scratch" };
        let _ = fs::remove_dir_all(self.env.path("context"));
        write_context(self.env, "context");
        self.env.write(&format!("context/{dockerfile}"), format!("FROM {base} AS s\n{text}\n"));
        self.compare(dockerfile, &Lower::default(), expected)
    }

    fn case(&mut self, case: &Case, lower: &Lower) -> Option<String> {
        let file = Dockerfile::parse(&case.text).unwrap();
        let lowered = lower.apply(&file).ok()?;
        for reference in lowered.references(Platform::Amd64) {
            let image = reference.image.map_err(|error| error.to_string());
            if let Err(problem) = image.and_then(|image| self.builder.build_base(&image)) {
                return Some(problem);
            }
        }
        let _ = fs::remove_dir_all(self.env.path("context"));
        self.env.write("context/Dockerfile", &case.text);
        self.env.write("context/any/unread", "").write("context/unread", "");
        for source in [&file, &lowered].into_iter().flat_map(|file| reach(file).paths) {
            let path = source.path.replace('*', "any");
            self.env.write(&format!("context/{}", path.trim_start_matches('/')), &source.path);
        }
        self.compare("Dockerfile", lower, &[])
    }
}

/// Something to build.
enum Work<'c> {
    Shape(&'static str, &'static str, &'static [&'static str]),
    Case(&'c Case, &'c str, &'c Lower),
}

#[test]
fn narrowed_contexts_build_the_same_images() {
    let env = TestEnv::at("http://127.0.0.1:9");
    let recorder = env.everything().join("recorder");
    let Some(first) = Buildah::find(env.everything().join("storage-0")) else { return };
    let second = Buildah::find(env.everything().join("storage-1")).unwrap();
    if let Err(error) = compile_recorder(&recorder) {
        return skip(&format!("cannot compile a static program: {error}"));
    }
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.is_built).collect();
    let shapes = SHAPES.iter().map(|(text, files)| Work::Shape("Dockerfile", text, files));
    let inner = INNER_SHAPES.iter().map(|(text, files)| Work::Shape(INNER_DOCKERFILE, text, files));
    let mut all: Vec<Work> = shapes.chain(inner).collect();
    // A file without these words reads nothing.
    let may_read = |case: &&Case| {
        let text = case.text.to_lowercase();
        ["copy", "add", "mount"].iter().any(|word| text.contains(word))
    };
    for case in cases.iter().filter(may_read) {
        let file = Dockerfile::parse(&case.text).unwrap();
        let sets = case.lowers.iter().filter(|(_, lower)| {
            // The manifest is refused if a value is not used.
            lower.buildah.is_none()
                && file.unused_args(&lower.args, lower.target.as_deref()).is_empty()
        });
        all.extend(sets.take(1).map(|(line, lower)| Work::Case(case, line, lower)));
    }
    let (all, env, recorder) = (&all, &env, &recorder);
    let work = |(index, buildah): (usize, Buildah)| {
        let own = TestEnv::at("http://127.0.0.1:9");
        let dir = env.everything().join(format!("work-{index}"));
        fs::create_dir(&dir).unwrap();
        let (bases, built) = (BTreeSet::new(), BTreeSet::new());
        let builder = Builder { buildah, dir, recorder, bases, built };
        let mut packed = Packed { env: &own, builder, smaller: 0, built: 0 };
        packed.builder.build_base("recorder").unwrap();
        let mut wrong = Vec::new();
        for one in all.iter().skip(index).step_by(2) {
            let (name, problem) = match one {
                Work::Shape(file, text, files) => {
                    (format!("{file}: {text}"), packed.shape(file, text, files))
                }
                Work::Case(case, line, lower) => {
                    (format!("{} {line}", case.name), packed.case(case, lower))
                }
            };
            wrong.extend(problem.map(|problem| format!("== {name}\n{problem}")));
        }
        (wrong, packed.smaller, packed.built)
    };
    let results = std::thread::scope(|scope| {
        let threads = [(0, first), (1, second)].map(|one| scope.spawn(move || work(one)));
        threads.map(|thread| thread.join().unwrap())
    });
    let [(wrong, smaller, built), (more_wrong, more_smaller, more_built)] = results;
    let wrong = [wrong, more_wrong].concat();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    let (smaller, built) = (smaller + more_smaller, built + more_built);
    assert!(
        built >= SHAPES.len() + INNER_SHAPES.len() + 10 && smaller >= 50,
        "{built} built, {smaller} smaller"
    );
}
