//! Reads one instruction: its flags and arguments, and what is wrong with them. Pure.

use std::ops::Range;

use super::DockerfileError;
use super::heredoc::{self, Heredoc};
use super::instruction::{Instruction, Pair, Place, Stage};
use super::lines::Line;
use super::parse::INSTRUCTIONS;
use super::shell::{Shell, Value};
use super::words::{self, Json, Word};
use crate::base::nearest::nearest;

/// What a line turned out to be.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) stage: Option<Stage>,
    pub(super) instruction: Option<Instruction>,
    pub(super) heredocs: Option<Vec<Heredoc>>,
}

impl From<Instruction> for Parsed {
    fn from(instruction: Instruction) -> Self {
        Self { instruction: Some(instruction), ..Self::default() }
    }
}

/// One instruction being read.
pub(super) struct Reading<'a> {
    pub(super) line: &'a Line,
    pub(super) escape: char,
    pub(super) keyword: Range<usize>,
    pub(super) name: &'a str,
    pub(super) flags: Vec<Word>,
    pub(super) rest: Range<usize>,
    pub(super) errors: &'a mut Vec<DockerfileError>,
}

impl Reading<'_> {
    fn error(&mut self, part: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.errors.push(DockerfileError::new(message, help, self.line.span(part)));
    }

    fn place(&self, part: Range<usize>) -> Place {
        Place { value: self.line.text[part.clone()].to_owned(), span: self.line.span(part) }
    }

    pub(super) fn parse(&mut self) -> Parsed {
        self.check_flags();
        let may_be_empty = ["RUN", "CMD", "ENTRYPOINT"].contains(&self.name);
        if self.rest.is_empty() && !may_be_empty {
            let (keyword, name) = (self.keyword.clone(), self.name);
            self.error(keyword, format!("{name} has no argument"), format!("complete {name}"));
            return match self.name {
                "FROM" => Parsed::default(),
                _ => Instruction::Other.into(),
            };
        }
        match self.name {
            "FROM" => Parsed { stage: Some(self.from()), ..Parsed::default() },
            "ARG" => Instruction::Arg(self.arg()).into(),
            "ENV" | "LABEL" => self.pairs(),
            "COPY" | "ADD" => self.copy(),
            "RUN" => self.run(),
            "ONBUILD" => self.onbuild(),
            _ => Instruction::Other.into(),
        }
    }

    /// Finds misspelt flags. A flag that is far from every known one may be newer than this list,
    /// and is left to the build.
    fn check_flags(&mut self) {
        let known: &[&str] = match self.name {
            "FROM" => &["platform"],
            "COPY" => &["from", "chown", "chmod", "link", "parents", "exclude"],
            "ADD" => &["chown", "chmod", "link", "keep-git-dir", "checksum", "exclude", "unpack"],
            "RUN" => &["mount", "network", "security", "device"],
            _ => return,
        };
        for flag in self.flags.clone() {
            let name = flag.split_at_equals().0;
            let name = name.trim_start_matches('-');
            if known.contains(&name) {
                continue;
            }
            if let (Some(near), Some(part)) = (nearest(name, known), flag.part(&self.line.text)) {
                let message = format!("{} has no flag `--{name}`", self.name);
                self.error(part, message, format!("did you mean `--{near}`?"));
            }
        }
    }

    fn flag(&self, name: &str) -> impl Iterator<Item = Word> {
        let name = format!("--{name}");
        self.flags.iter().filter_map(move |flag| {
            let (found, value) = flag.split_at_equals();
            if found == name { value } else { None }
        })
    }

    fn from(&mut self) -> Stage {
        let words = words::blank_separated(&self.line.text, self.rest.clone());
        let text = |index: usize| &self.line.text[words[index].clone()];
        let mut name = None;
        if words.len() == 3 && text(1).eq_ignore_ascii_case("as") {
            // Names are compared in lower case, so that is how they are kept.
            let lower = text(2).to_lowercase();
            let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
            if !lower.starts_with(|c: char| c.is_ascii_lowercase()) || !lower.chars().all(ok) {
                let message = format!("`{}` cannot name a stage", text(2).escape_debug());
                let help = "a name is a letter, then letters, digits, `-`, `_` and `.`";
                self.error(words[2].clone(), message, help);
            }
            name = Some(lower);
        } else if words.len() != 1 {
            let help = if words.len() > 1 && text(1).starts_with('#') {
                "a comment stands on a line of its own"
            } else {
                "write `FROM <image>` or `FROM <image> AS <name>`"
            };
            self.error(words[1].start..self.rest.end, "FROM takes an image and `AS` a name", help);
        }
        let base = self.place(words[0].clone());
        if base.value.trim_matches(['"', '\'']).is_empty() {
            self.error(words[0].clone(), "FROM names no image", "write `FROM <image>`");
        }
        self.check_expansion(words[0].clone());
        // Where the stage stands is known to the parser, once its end is.
        let platform = self.flag("platform").last().map(|word| word.text());
        let platform = platform.filter(|platform| !platform.is_empty());
        Stage { name, span: 0..0, base, platform, instructions: Vec::new() }
    }

    /// Finds substitutions that Docker would refuse whatever the values.
    fn check_expansion(&mut self, part: Range<usize>) {
        let lookup = |_: &str| Value::Unset;
        let shell = Shell { escape: self.escape, raw: false, lookup: &lookup };
        if let Err(message) = shell.expand(&self.line.text[part.clone()]) {
            self.error(
                part,
                message,
                "write variables as `$NAME`, `${NAME}` or `${NAME:-default}`",
            );
        }
    }

    fn arg(&mut self) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for part in words::quoted(&self.line.text, self.rest.clone(), self.escape) {
            let word = &self.line.text[part.clone()];
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.to_owned(), None),
            };
            self.check_expansion(part.clone());
            if name.is_empty() {
                self.error(part, "an ARG has no name", "write `ARG NAME=value`");
            } else {
                pairs.push(Pair { name, value, span: self.line.span(part) });
            }
        }
        pairs
    }

    /// `ENV a=1 b=2`, or of old `ENV a 1`, where the value is all that follows.
    fn pairs(&mut self) -> Parsed {
        let words = words::quoted(&self.line.text, self.rest.clone(), self.escape);
        let mut pairs = Vec::new();
        let line = self.line;
        if words.first().is_some_and(|word| !line.text[word.clone()].contains('=')) {
            let (name, value) = words::first(&line.text, self.rest.clone());
            if value.is_empty() {
                let message = format!("{} needs a name and a value", self.name);
                self.error(name.clone(), message, format!("write `{} name=value`", self.name));
            }
            let span = line.span(self.rest.clone());
            let (name, value) = (line.text[name].to_owned(), line.text[value].to_owned());
            pairs.push(Pair { name, value: Some(value), span });
        } else {
            for part in words {
                let Some((name, value)) = line.text[part.clone()].split_once('=') else {
                    let message = format!("{} lacks a `=` here", self.name);
                    self.error(part, message, "write `name=value`, with quotes around blanks");
                    continue;
                };
                let (name, value) = (name.to_owned(), Some(value.to_owned()));
                pairs.push(Pair { name, value, span: line.span(part) });
            }
        }
        match self.name {
            "ENV" => Instruction::Env(pairs).into(),
            _ => Instruction::Other.into(),
        }
    }

    fn copy(&mut self) -> Parsed {
        let line = self.line;
        let (mut words, is_json) = match words::json(&line.text, self.rest.clone()) {
            Json::Strings(strings) => (strings, true),
            json => {
                if matches!(json, Json::NotStrings) {
                    let message = format!("the list of {} may hold strings only", self.name);
                    self.error(self.rest.clone(), message, "put every item between double quotes");
                }
                let words = words::blank_separated(&line.text, self.rest.clone());
                (words.into_iter().map(|p| (line.text[p.clone()].to_owned(), p)).collect(), false)
            }
        };
        if words.len() < 2 {
            let message = format!("{} needs a source and a destination", self.name);
            let help = format!("write `{} <source> <destination>`", self.name);
            self.error(self.rest.clone(), message, help);
        }
        words.pop();
        let mut from = None;
        if let Some(word) = self.flag("from").last().filter(|_| self.name == "COPY") {
            from = word
                .part(&line.text)
                .map(|part| Place { value: word.text(), span: line.span(part) });
        }
        let heredocs = if is_json { Vec::new() } else { self.heredocs() };
        let here = |word: &str| !heredocs.is_empty() && heredoc::heredoc(word).is_some();
        let sources = words
            .into_iter()
            .filter(|(word, _)| is_json || !here(word))
            .map(|(value, part)| Place { value, span: line.span(part) })
            .collect();
        let instruction = Instruction::Copy { add: self.name == "ADD", from, sources };
        Parsed { instruction: Some(instruction), heredocs: Some(heredocs), stage: None }
    }

    fn heredocs(&self) -> Vec<Heredoc> {
        if self.line.text.contains("<<") { heredoc::heredocs(&self.line.text) } else { Vec::new() }
    }

    fn run(&mut self) -> Parsed {
        let is_json = matches!(words::json(&self.line.text, self.rest.clone()), Json::Strings(_));
        let heredocs = if is_json { Vec::new() } else { self.heredocs() };
        let mut mounts = Vec::new();
        for mount in self.flag("mount") {
            // Keys are read in any case, and the last of two equal ones counts.
            let from = mount.fields().into_iter().rev().find_map(|field| {
                let (key, value) = field.split_at_equals();
                value.filter(|_| key.eq_ignore_ascii_case("from"))
            });
            if let Some((word, part)) = from.and_then(|w| w.part(&self.line.text).map(|p| (w, p))) {
                mounts.push(Place { value: word.text(), span: self.line.span(part) });
            }
        }
        let instruction = Instruction::Run { mounts };
        Parsed { instruction: Some(instruction), heredocs: Some(heredocs), stage: None }
    }

    fn onbuild(&mut self) -> Parsed {
        let (keyword, rest) = words::first(&self.line.text, self.rest.clone());
        let name = self.line.text[keyword.clone()].to_ascii_uppercase();
        if ["ONBUILD", "FROM", "MAINTAINER"].contains(&name.as_str()) {
            let message = format!("{name} cannot be a trigger");
            self.error(keyword, message, "ONBUILD takes any instruction but these three");
            return Instruction::Other.into();
        }
        if !INSTRUCTIONS.contains(&name.as_str()) {
            let message = format!("unknown instruction `{}`", name.escape_debug());
            let help = match nearest(&name, &INSTRUCTIONS) {
                Some(near) => format!("did you mean {near}?"),
                None => "ONBUILD takes an instruction".to_owned(),
            };
            self.error(keyword, message, help);
            return Instruction::Other.into();
        }
        let (flags, rest) = words::flags(&self.line.text, rest, self.escape);
        let (line, escape) = (self.line, self.escape);
        let mut inner =
            Reading { line, escape, keyword, name: &name, flags, rest, errors: self.errors };
        let parsed = inner.parse();
        let trigger = parsed.instruction.unwrap_or(Instruction::Other);
        let instruction = Some(Instruction::Onbuild(Box::new(trigger)));
        Parsed { instruction, stage: None, heredocs: parsed.heredocs }
    }
}
