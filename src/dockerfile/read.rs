//! Reads one instruction: its flags, its arguments and the errors in them. Pure.

use std::ops::Range;

use super::heredoc::{self, Heredoc};
use super::instruction::{
    Assignment, CopyInstruction, Instruction, KEYWORDS, Mount, SpannedText, Stage,
};
use super::lines::LogicalLine;
use super::model::DockerfileError;
use super::shell::{Shell, VariableValue};
use super::words::{self, JsonForm, UnquotedWord};
use crate::base::digest::Digest;
use crate::base::nearest::nearest;

/// The result of reading one instruction: a stage for `FROM`, else an instruction.
#[derive(Default)]
pub(super) struct ParsedInstruction {
    pub(super) stage: Option<Stage>,
    pub(super) instruction: Option<Instruction>,
    /// The here-documents that begin on the next line.
    pub(super) heredocs: Vec<Heredoc>,
}

impl From<Instruction> for ParsedInstruction {
    fn from(instruction: Instruction) -> Self {
        Self { instruction: Some(instruction), ..Self::default() }
    }
}

/// Reads one instruction from a logical line.
pub(super) struct InstructionReader<'a> {
    pub(super) line: &'a LogicalLine,
    pub(super) escape: char,
    /// The part of the line that is the keyword.
    pub(super) keyword: Range<usize>,
    /// The keyword in upper case.
    pub(super) name: &'a str,
    pub(super) flags: Vec<UnquotedWord>,
    /// The part of the line after the flags.
    pub(super) rest: Range<usize>,
    pub(super) errors: &'a mut Vec<DockerfileError>,
}

impl InstructionReader<'_> {
    fn error(&mut self, part: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.errors.push(DockerfileError::new(message, help, self.line.span(part)));
    }

    pub(super) fn parse(&mut self) -> ParsedInstruction {
        self.check_flags();
        let may_be_empty = ["RUN", "CMD", "ENTRYPOINT"].contains(&self.name);
        if self.rest.is_empty() && !may_be_empty {
            let (keyword, name) = (self.keyword.clone(), self.name);
            let help = format!("add the arguments of {name}, or remove the line");
            self.error(keyword, format!("{name} has no arguments"), help);
            return match self.name {
                "FROM" => ParsedInstruction::default(),
                _ => Instruction::Other.into(),
            };
        }
        match self.name {
            "FROM" => {
                ParsedInstruction { stage: Some(self.from()), ..ParsedInstruction::default() }
            }
            "ARG" => Instruction::Arg(self.arg()).into(),
            "ENV" | "LABEL" => self.assignments(),
            "COPY" | "ADD" => self.copy(),
            "RUN" => self.run(),
            "ONBUILD" => self.onbuild(),
            _ => Instruction::Other.into(),
        }
    }

    /// Reports misspelt flags. A flag that resembles no known flag may be newer than this list,
    /// so the build decides about it.
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

    fn flag_values(&self, name: &str) -> impl Iterator<Item = UnquotedWord> {
        let name = format!("--{name}");
        self.flags.iter().filter_map(move |flag| {
            let (flag_name, value) = flag.split_at_equals();
            if flag_name == name { value } else { None }
        })
    }

    fn from(&mut self) -> Stage {
        let words = words::blank_separated(&self.line.text, self.rest.clone());
        let text = |index: usize| &self.line.text[words[index].clone()];
        let mut name = None;
        if words.len() == 3 && text(1).eq_ignore_ascii_case("as") {
            // Docker compares stage names in lower case.
            let lower = text(2).to_lowercase();
            let allowed =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
            if !lower.starts_with(|c: char| c.is_ascii_lowercase()) || !lower.chars().all(allowed) {
                let message = format!("invalid stage name `{}`", text(2).escape_debug());
                let help = "start the name with a letter; then use letters, digits, `-`, `_`, `.`";
                self.error(words[2].clone(), message, help);
            }
            name = Some(lower);
        } else if words.len() != 1 {
            let help = if words.len() > 1 && text(1).starts_with('#') {
                "put the comment on a line of its own"
            } else {
                "write `FROM <image>` or `FROM <image> AS <name>`"
            };
            let part = words[1].start..self.rest.end;
            self.error(part, "unexpected text after the image of FROM", help);
        }
        let image = words[0].clone();
        let value = self.line.text[image.clone()].to_owned();
        let base = SpannedText { value, span: self.line.span(image.clone()) };
        if base.value.trim_matches(['"', '\'']).is_empty() {
            self.error(image.clone(), "FROM has no image", "write `FROM <image>`");
        }
        self.check_expansion(image);
        let platform = self.flag_values("platform").last().map(|word| word.text());
        let platform = platform.filter(|platform| !platform.is_empty());
        // The parser sets the span: it knows where the stage ends.
        let digest = Digest::from_bytes([0; 32]);
        Stage { name, span: 0..0, digest, base, platform, instructions: Vec::new() }
    }

    /// Reports substitutions that Docker rejects whatever the values of the variables.
    fn check_expansion(&mut self, part: Range<usize>) {
        let lookup = |_: &str| VariableValue::Unset;
        let shell = Shell { escape: self.escape, keep_quotes: false, lookup: &lookup };
        if let Err(message) = shell.expand(&self.line.text[part.clone()]) {
            let help = "write variables as `$NAME`, `${NAME}` or `${NAME:-default}`";
            self.error(part, message, help);
        }
    }

    fn arg(&mut self) -> Vec<Assignment> {
        let mut args = Vec::new();
        for part in words::quoted(&self.line.text, self.rest.clone(), self.escape) {
            let word = &self.line.text[part.clone()];
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.to_owned(), None),
            };
            if name.is_empty() {
                self.error(part, "ARG has no name", "write `ARG NAME=value`");
            } else {
                args.push(Assignment { name, value, span: self.line.span(part) });
            }
        }
        args
    }

    /// Reads `ENV a=1 b=2`, or the legacy form `ENV a 1`, in which the value is the rest of the
    /// line. `LABEL` has the same two forms.
    fn assignments(&mut self) -> ParsedInstruction {
        let words = words::quoted(&self.line.text, self.rest.clone(), self.escape);
        let mut assignments = Vec::new();
        let line = self.line;
        if words.first().is_some_and(|word| !line.text[word.clone()].contains('=')) {
            let (name, value) = words::first(&line.text, self.rest.clone());
            if value.is_empty() {
                let message = format!("{} needs a name and a value", self.name);
                self.error(name.clone(), message, format!("write `{} name=value`", self.name));
            }
            let span = line.span(self.rest.clone());
            let (name, value) = (line.text[name].to_owned(), line.text[value].to_owned());
            assignments.push(Assignment { name, value: Some(value), span });
        } else {
            for part in words {
                let Some((name, value)) = line.text[part.clone()].split_once('=') else {
                    let message = format!("this argument of {} has no `=`", self.name);
                    self.error(part, message, "write `name=value`, and quote values with spaces");
                    continue;
                };
                let (name, value) = (name.to_owned(), Some(value.to_owned()));
                assignments.push(Assignment { name, value, span: line.span(part) });
            }
        }
        match self.name {
            "ENV" => Instruction::Env(assignments).into(),
            _ => Instruction::Other.into(),
        }
    }

    fn copy(&mut self) -> ParsedInstruction {
        let line = self.line;
        let (mut words, is_json) = match words::json(&line.text, self.rest.clone()) {
            JsonForm::Strings(strings) => (strings, true),
            form => {
                if matches!(form, JsonForm::NotStrings) {
                    let message = format!("the JSON array of {} may hold strings only", self.name);
                    self.error(self.rest.clone(), message, "put every item in double quotes");
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
        let destination = words.pop();
        let mut from = None;
        if let Some(word) = self.flag_values("from").last().filter(|_| self.name == "COPY") {
            from = self.spanned(&word);
        }
        let heredocs = if is_json { Vec::new() } else { self.heredocs() };
        let is_heredoc = |word: &str| !heredocs.is_empty() && heredoc::heredoc(word).is_some();
        let sources = words
            .into_iter()
            .filter(|(word, _)| is_json || !is_heredoc(word))
            .map(|(value, part)| SpannedText { value, span: line.span(part) })
            .collect();
        let parents = self.flags.iter().rev().map(UnquotedWord::split_at_equals);
        let parents = parents.filter(|(name, _)| name == "--parents").map(|(_, value)| value);
        let instruction = Instruction::Copy(Box::new(CopyInstruction {
            add: self.name == "ADD",
            from,
            sources,
            destination: destination
                .map(|(value, part)| SpannedText { value, span: line.span(part) }),
            excludes: self.flag_values("exclude").map(|word| word.text()).collect(),
            parents: parents.map(|value| value.is_none_or(|word| word.text() == "true")).next()
                == Some(true),
        }));
        ParsedInstruction { instruction: Some(instruction), heredocs, stage: None }
    }

    /// Returns a word with its byte range in the file, or `None` for an empty word.
    fn spanned(&self, word: &UnquotedWord) -> Option<SpannedText> {
        let part = word.part(&self.line.text)?;
        Some(SpannedText { value: word.text(), span: self.line.span(part) })
    }

    fn heredocs(&self) -> Vec<Heredoc> {
        if self.line.text.contains("<<") { heredoc::heredocs(&self.line.text) } else { Vec::new() }
    }

    fn run(&mut self) -> ParsedInstruction {
        let form = words::json(&self.line.text, self.rest.clone());
        let is_json = matches!(form, JsonForm::Strings(_));
        let heredocs = if is_json { Vec::new() } else { self.heredocs() };
        let mounts = self.flag_values("mount").map(|word| self.mount(&word)).collect();
        let instruction = Instruction::Run { mounts };
        ParsedInstruction { instruction: Some(instruction), heredocs, stage: None }
    }

    fn mount(&self, mount: &UnquotedWord) -> Mount {
        let mut fields = Vec::new();
        for field in mount.fields() {
            let (key, value) = field.split_at_equals();
            let empty = SpannedText { value: String::new(), span: 0..0 };
            let value = value.map(|value| self.spanned(&value).unwrap_or(empty));
            fields.push((key.to_lowercase(), value));
        }
        let named =
            |(key, value): &(String, Option<SpannedText>)| value.clone().filter(|_| key == "from");
        let from = fields.iter().rev().find_map(named).filter(|from| !from.value.is_empty());
        let span = mount.part(&self.line.text).map_or(0..0, |part| self.line.span(part));
        Mount { span, from, fields }
    }

    fn onbuild(&mut self) -> ParsedInstruction {
        let (keyword, rest) = words::first(&self.line.text, self.rest.clone());
        let name = self.line.text[keyword.clone()].to_ascii_uppercase();
        if ["ONBUILD", "FROM", "MAINTAINER"].contains(&name.as_str()) {
            let message = format!("ONBUILD cannot be followed by {name}");
            self.error(keyword, message, "use any instruction but ONBUILD, FROM and MAINTAINER");
            return Instruction::Other.into();
        }
        if !KEYWORDS.contains(&name.as_str()) {
            let message = format!("unknown instruction `{}`", name.escape_debug());
            let help = match nearest(&name, &KEYWORDS) {
                Some(near) => format!("did you mean {near}?"),
                None => "write an instruction after ONBUILD".to_owned(),
            };
            self.error(keyword, message, help);
            return Instruction::Other.into();
        }
        let (flags, rest) = words::flags(&self.line.text, rest, self.escape);
        let (line, escape) = (self.line, self.escape);
        let errors = &mut *self.errors;
        let mut trigger =
            InstructionReader { line, escape, keyword, name: &name, flags, rest, errors };
        let parsed = trigger.parse();
        let instruction = parsed.instruction.unwrap_or(Instruction::Other);
        let instruction = Some(Instruction::Onbuild(Box::new(instruction)));
        ParsedInstruction { instruction, ..parsed }
    }
}
