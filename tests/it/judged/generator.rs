//! Generates Dockerfiles from seeds. The same seed gives the same question for ever, because the
//! answers to some of them are recorded.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Question;

/// `SplitMix64`: enough randomness for tests, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// Returns true in `percent` of all cases.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len())]
    }
}

const IMAGES: &[&str] = &[
    "alpine",
    "busybox:1.36",
    "docker.io/library/redis:7",
    "quay.io/org/base",
    "localhost:5000/x/y:v1",
    "ghcr.io/a/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "org/tool:latest",
];

const STAGES: &[&str] = &["build", "test", "stage-amd64", "stage-arm64", "base", "final"];

/// Names of arguments and variables. `GIVEN` has a value from the build only.
const NAMES: &[&str] = &["BASE", "DIR", "FILE", "EXT", "GIVEN", "TARGETARCH", "BUILDPLATFORM"];

const VALUES: &[&str] = &[
    "src",
    "app",
    "a/b",
    "go",
    "*",
    "build",
    "base",
    "alpine",
    "",
    "two words",
    "'it''s'",
    "$x",
    "../up",
    "/",
];

/// Values as they are written after `NAME=`.
const DEFAULTS: &[&str] = &[
    "src",
    "\"app\"",
    "a/$DIR",
    "${EXT:-go}",
    "'*'",
    "build",
    "test",
    "stage-$TARGETARCH",
    "alpine",
    "",
    "${FILE}",
    "${GIVEN:+x}",
    "\"two words\"",
    "${DIR%/*}",
    "${DIR#a}",
    "${DIR/s/t}",
];

const SOURCES: &[&str] = &[
    "src",
    "./src/",
    "/abs/file",
    "*.go",
    "cmd/*/main.go",
    "a/../b",
    "../../out",
    "file[0-9].txt",
    "a\\ b",
    "\"quoted\"",
    "'single'",
    "\"$DIR\"/x",
    "$DIR",
    "${DIR}/main.$EXT",
    "${FILE:-default}",
    "$FILE",
    "${EXT:+with}",
    "'$DIR'",
    "\\$DIR",
    "src/**/x",
    "a//b/./c",
    "${DIR%%/*}",
    "go.mod",
    "package*.json",
    "deep/./er/*.txt",
    "é",
    ".dockerignore",
];

/// Sources that are the whole context, at least with some values.
const WHOLE_SOURCES: &[&str] = &[".", "/", "./", "a/..", "$GIVEN", "..", "\"\""];

/// Texts that Docker refuses in a stage that it runs.
const BROKEN_SOURCES: &[&str] =
    &["${bad", "${DIR?needed}", "\"open", "'open", "${DIR:!x}", "https://x.example/f", "$HOME"];

const PLATFORMS: &[&str] = &[
    "$BUILDPLATFORM",
    "$TARGETPLATFORM",
    "linux/arm64",
    "linux/amd64",
    "arm64",
    "linux/arm/v7",
    "${TARGETOS}/${TARGETARCH}",
    "linux",
];

struct Generator {
    random: Random,
    text: String,
    /// The names of the stages so far; empty for one without a name.
    stages: Vec<String>,
    count: usize,
}

/// Returns the question of a seed.
pub(super) fn question(seed: u64) -> Question {
    let mut random = Random(seed);
    let count = 1 + random.below(5);
    let mut generator = Generator { random, text: String::new(), stages: Vec::new(), count };
    generator.file();
    let Generator { mut random, text, stages, .. } = generator;
    let mut args = BTreeMap::new();
    for name in ["BASE", "DIR", "FILE", "EXT", "GIVEN", "OTHER"] {
        if random.chance(20) {
            args.insert(name.to_owned(), random.pick(VALUES).to_owned());
        }
    }
    let named: Vec<&String> = stages.iter().filter(|name| !name.is_empty()).collect();
    let target = match random.below(10) {
        0 if random.chance(20) => Some("missing".to_owned()),
        1..=4 if !named.is_empty() => Some(named[random.below(named.len())].clone()),
        5 if !named.is_empty() => Some(named[random.below(named.len())].to_uppercase()),
        _ => None,
    };
    let platform = random.pick(&["linux/amd64", "linux/arm64"]).to_owned();
    Question { text, target, args, platform }
}

impl Generator {
    fn file(&mut self) {
        let first = self.random.below(12);
        self.text.push_str(match first {
            0 => "# syntax=docker/dockerfile:1\n",
            1 => "# syntax=docker.io/docker/dockerfile-upstream:master-labs\n# check=skip=all\n",
            2 => "# escape=`\n",
            _ => "",
        });
        for _ in 0..self.random.below(4) {
            self.arg(true);
        }
        for index in 0..self.count {
            self.from(index);
            for _ in 0..self.random.below(6) {
                self.instruction();
            }
        }
        if first == 2 {
            self.text = self.text.replace('\\', "`");
        }
    }

    fn arg(&mut self, is_global: bool) {
        let names = if is_global { &NAMES[..5] } else { NAMES };
        let name = self.random.pick(names);
        let default = self.random.pick(DEFAULTS);
        let broken = self.random.chance(2);
        let text = match self.random.below(4) {
            _ if broken => format!("ARG {name}=${{broken\n"),
            0 => format!("ARG {name}\n"),
            1 => format!("ARG {name}={default} SECOND=$DIR\n"),
            _ => format!("ARG {name}={default}\n"),
        };
        self.text.push_str(&text);
    }

    fn from(&mut self, index: usize) {
        let platform = match self.random.below(8) {
            0 => format!("--platform={} ", self.random.pick(PLATFORMS)),
            _ => String::new(),
        };
        let earlier: Vec<&str> =
            self.stages.iter().filter(|name| !name.is_empty()).map(String::as_str).collect();
        let base = match self.random.below(20) {
            0 if self.text.contains("ARG BASE=") => "$BASE".to_owned(),
            1 => "${BASE:-alpine}".to_owned(),
            2 => "stage-$TARGETARCH".to_owned(),
            3 => "scratch".to_owned(),
            4 => "\"busybox\"".to_owned(),
            5 => "${NOTHING}alpine".to_owned(),
            6..=12 if !earlier.is_empty() => earlier[self.random.below(earlier.len())].to_owned(),
            13 => self.random.pick(STAGES).to_owned(),
            14 if self.random.chance(10) => "Upper".to_owned(),
            15 if self.random.chance(10) => "bad:".to_owned(),
            _ => self.random.pick(IMAGES).to_owned(),
        };
        let name = match self.random.below(5) {
            0 => String::new(),
            1 => STAGES[index % STAGES.len()].to_owned(),
            _ => self.random.pick(STAGES).to_owned(),
        };
        let keyword = self.random.pick(&["FROM", "from", "FROM", "FROM"]);
        let written = if self.random.chance(10) { name.to_uppercase() } else { name.clone() };
        let named = if name.is_empty() { String::new() } else { format!(" AS {written}") };
        writeln!(self.text, "{keyword} {platform}{base}{named}").unwrap();
        self.stages.push(name);
    }

    fn instruction(&mut self) {
        if self.random.chance(15) {
            self.text.push_str("ONBUILD ");
            match self.random.below(4) {
                0 => self.run(),
                1 => self.arg(false),
                _ => self.copy(true),
            }
            return;
        }
        match self.random.below(12) {
            0 | 1 => self.arg(false),
            2 => self.env(),
            3 | 4 => self.run(),
            5 => self.text.push_str("# a comment\nWORKDIR /w\n"),
            6 => self.text.push_str("RUN <<EOF\nCOPY not-a-copy /x\nEOF\n"),
            _ => self.copy(false),
        }
    }

    fn env(&mut self) {
        let (name, value) = (self.random.pick(NAMES), self.random.pick(DEFAULTS));
        let text = match self.random.below(6) {
            0 => format!("ENV {name} plain value\n"),
            1 => format!("ENV {name}={value} SECOND=${name}\n"),
            2 if self.random.chance(20) => format!("ENV {name}=${{broken\n"),
            _ => format!("ENV {name}={value}\n"),
        };
        self.text.push_str(&text);
    }

    /// Returns a name after `from=`.
    fn origin(&mut self) -> String {
        match self.random.below(10) {
            0 | 1 => self.random.pick(IMAGES).to_owned(),
            2 => self.random.below(self.stages.len()).to_string(),
            3 => self.random.pick(STAGES).to_uppercase(),
            4 if self.random.chance(5) => "9".to_owned(),
            5 if self.random.chance(5) => "$DIR".to_owned(),
            6 if self.random.chance(20) => "scratch".to_owned(),
            // Mostly a stage before this one.
            _ if self.stages.len() > 1 => {
                let name = self.stages[self.random.below(self.stages.len() - 1)].clone();
                if name.is_empty() { "0".to_owned() } else { name }
            }
            7 => self.random.pick(STAGES).to_owned(),
            _ => self.random.pick(IMAGES).to_owned(),
        }
    }

    fn source(&mut self) -> &'static str {
        match self.random.below(100) {
            0..=3 => self.random.pick(WHOLE_SOURCES),
            4..=5 => self.random.pick(BROKEN_SOURCES),
            _ => self.random.pick(SOURCES),
        }
    }

    fn copy(&mut self, is_trigger: bool) {
        let is_add = self.random.chance(20);
        let mut line = if is_add { "ADD" } else { "COPY" }.to_owned();
        if !is_add && self.random.chance(35) {
            write!(line, " --from={}", self.origin()).unwrap();
        }
        for (flag, percent) in [
            ("--exclude=*.md", 10),
            ("--exclude=\"$DIR\"", 5),
            ("--chown=1:1", 10),
            ("--link", 10),
            ("--parents", if is_add { 0 } else { 12 }),
        ] {
            if self.random.chance(percent) {
                write!(line, " {flag}").unwrap();
            }
        }
        let mut sources: Vec<&str> = (0..=self.random.below(3)).map(|_| self.source()).collect();
        if is_add && self.random.chance(40) {
            let remote = ["https://x.example/f.tgz", "git@github.com:a/b.git", "git://h/r#main"];
            sources.push(self.random.pick(&remote));
        }
        match self.random.below(12) {
            0 => {
                let quoted: Vec<String> = sources.iter().map(|s| format!("{s:?}")).collect();
                writeln!(line, " [{}, \"/to/\"]", quoted.join(", ")).unwrap();
            }
            1 if !is_trigger => line.push_str(" <<EOF /to/\nCOPY text /x\nEOF\n"),
            2 if !is_trigger => {
                writeln!(line, " <<\"A\" {} <<-B /to/\n$DIR\nA\n\tB", sources[0]).unwrap();
            }
            3 => {
                writeln!(line, " \\\n  {} \\\n# between\n  /to/", sources.join(" \\\n  ")).unwrap();
            }
            _ => writeln!(line, " {} /to/", sources.join(" ")).unwrap(),
        }
        self.text.push_str(&line);
    }

    fn run(&mut self) {
        let mut line = "RUN".to_owned();
        for _ in 0..self.random.below(3) {
            let source = ["src", "$DIR", "./a/../b", "/", "${FILE:-f}", "go.mod", "a*"];
            let source = self.random.pick(&source);
            let mount = match self.random.below(14) {
                0 => "type=bind,target=/m".to_owned(),
                1 => "type=cache,target=/c".to_owned(),
                2 => "type=tmpfs,target=/t".to_owned(),
                3 => "type=secret,id=s,target=/s".to_owned(),
                4 => "type=ssh".to_owned(),
                5 => format!("type=cache,from={},target=/c", self.origin()),
                6 => format!("type=ssh,from={}", self.origin()),
                7 => format!("type=bind,source={source},target=/m"),
                8 => format!("target=/m,src={source}"),
                9 => format!("TYPE=bind,\"source={source}\",dst=/m,readonly"),
                10 if self.random.chance(20) => "type=other,target=/m".to_owned(),
                _ => format!("type=bind,from={},source={source},target=/m", self.origin()),
            };
            write!(line, " --mount={mount}").unwrap();
        }
        line.push_str(self.random.pick(&[" make\n", " [\"make\"]\n", " echo $DIR\n"]));
        self.text.push_str(&line);
    }
}
