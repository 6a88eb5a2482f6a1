//! Trees to measure with, the same on every machine: their content is pseudo-random.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use rayon::prelude::*;

/// Median size of a source file, in bytes.
const MEDIAN: f64 = 1700.0;
/// Standard deviation of the logarithm of the sizes.
const SPREAD: f64 = 1.0;

/// Words of the generated source.
const WORDS: [&str; 64] = [
    "pub", "fn", "let", "mut", "match", "return", "self", "None", "Some", "Result", "error",
    "impl", "request", "response", "handler", "context", "client", "server", "config", "settings",
    "value", "index", "buffer", "length", "offset", "encode", "decode", "parse", "format",
    "string", "bytes", "digest", "header", "body", "status", "timeout", "retry", "queue", "worker",
    "thread", "lock", "guard", "state", "event", "message", "channel", "sender", "receiver",
    "iterator", "collect", "filter", "map", "fold", "insert", "remove", "update", "select",
    "where", "order", "group", "import", "export", "default", "class",
];

/// Separators between the words.
const MARKS: [&str; 12] = [" ", " ", " ", " ", "_", "_", ".", "::", "(", ")", " = ", ", "];

/// Pseudo-random numbers (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Creates the generator from a seed.
    pub(crate) fn new(seed: usize) -> Self {
        Self(u64::try_from(seed).unwrap())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }

    fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap()) / f64::from(u32::MAX)
    }

    /// The size of a file of source: log-normal, as those of real repositories nearly are.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 16 and 200,000"
    )]
    fn size(&mut self) -> usize {
        // Twelve of them have a deviation of one.
        let normal = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        (MEDIAN * (SPREAD * normal).exp()).clamp(16.0, 200_000.0) as usize
    }
}

/// Text that compresses about as source does.
pub(crate) fn text(random: &mut Random, size: usize) -> String {
    let mut text = String::with_capacity(size + 64);
    while text.len() < size {
        match random.below(10) {
            0 => {
                text.push('\n');
                text.push_str(&"            "[..4 * random.below(4)]);
            }
            // Names and numbers of which there is only one.
            1 => write!(text, "{:x}", random.next() >> 44).unwrap(),
            _ => text.push_str(WORDS[random.below(WORDS.len())]),
        }
        text.push_str(MARKS[random.below(MARKS.len())]);
    }
    text.truncate(size);
    text
}

/// A folder of `images` contexts below `services/`, each of `files` files, and the manifest of them.
pub(crate) fn contexts(dir: &Path, images: usize, files: usize) -> io::Result<()> {
    let mut manifest = "version: 1\nimages:\n".to_owned();
    for image in 0..images {
        let name = name(image);
        writeln!(manifest, "  - {{ name: {name}, context: services/{name} }}").unwrap();
    }
    fs::create_dir_all(dir)?;
    fs::write(dir.join("imgplan.yaml"), manifest)?;
    (0..images).into_par_iter().try_for_each(|image| {
        let context = dir.join("services").join(name(image));
        context_of(&context, files, &mut Random::new(image))
    })
}

/// The name of an image, and of its folder.
fn name(image: usize) -> String {
    format!("image-{image:05}")
}

fn context_of(dir: &Path, files: usize, random: &mut Random) -> io::Result<()> {
    const DOCKERFILE: &str = "FROM docker.io/library/python:3.12-slim\nWORKDIR /app\n\
        COPY src/ src/\nCMD [\"python\", \"-m\", \"src\"]\n";
    const IGNORE: &str = "# What the image does not need.\ntests\n!tests/keep\n**/*.pyc\n\
        **/__pycache__\n.env\n*.md\n";
    let handlers = dir.join("src/handlers");
    fs::create_dir_all(&handlers)?;
    fs::write(dir.join("Dockerfile"), DOCKERFILE)?;
    fs::write(dir.join(".dockerignore"), IGNORE)?;
    for file in 2..files {
        let folder = match file / 100 {
            0 if file % 2 == 0 => dir.join("src"),
            0 => handlers.clone(),
            // As in a large repository: many folders, none of them large.
            part => dir.join(format!("src/part_{part:03}")),
        };
        if file % 100 == 0 {
            fs::create_dir_all(&folder)?;
        }
        let size = random.size();
        fs::write(folder.join(format!("module_{file:03}.py")), text(random, size))?;
    }
    Ok(())
}
