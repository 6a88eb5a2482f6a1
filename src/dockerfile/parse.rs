//! Turns logical lines into stages and instructions, and says all that is wrong with them. Pure.

use crate::base::nearest::nearest;
use std::ops::Range;

use super::instruction::{Instruction, Pair, Stage};
use super::lines::{Line, Reader};
use super::read::{Parsed, Reading};
use super::words;
use super::{Dockerfile, DockerfileError};

/// Every instruction of Docker's reference.
pub(super) const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads a whole Dockerfile.
pub(super) fn parse(text: &str) -> Result<Dockerfile, Vec<DockerfileError>> {
    let mut parser = Parser {
        reader: Reader::new(text),
        globals: Vec::new(),
        stages: Vec::new(),
        errors: Vec::new(),
        lost: false,
        before_from: false,
    };
    while let Some(line) = parser.reader.line(&mut parser.errors) {
        parser.line(&line);
    }
    let Parser { reader, globals, stages, mut errors, before_from, .. } = parser;
    if stages.is_empty() && !before_from {
        errors.push(DockerfileError::new(
            "there is no FROM",
            "a Dockerfile begins with `FROM <image>`, after any ARG",
            0..0,
        ));
    }
    let dockerfile = Dockerfile { text: text.to_owned(), escape: reader.escape, globals, stages };
    dockerfile.check_stages(&mut errors);
    errors.sort_by_key(|error| error.span.start);
    if errors.is_empty() { Ok(dockerfile) } else { Err(errors) }
}

struct Parser<'t> {
    reader: Reader<'t>,
    globals: Vec<Pair>,
    stages: Vec<Stage>,
    errors: Vec<DockerfileError>,
    /// The last line was no instruction at all: the lines after it are likely part of the same
    /// mistake, such as a lost continuation, and are not each worth an error.
    lost: bool,
    /// An error already says why there is no FROM.
    before_from: bool,
}

impl Parser<'_> {
    fn line(&mut self, line: &Line) {
        let whole = line.trimmed();
        let (keyword, rest) = words::first(&line.text, whole.clone());
        let name = line.text[keyword.clone()].to_ascii_uppercase();
        if !INSTRUCTIONS.contains(&name.as_str()) {
            self.unknown(line, keyword);
            return;
        }
        self.lost = false;
        let start = line.span(whole).start;
        let parsed = self.instruction(line, &name, keyword.clone(), rest);
        if let Some(stage) = parsed.stage {
            self.stages.push(Stage { span: start..start, ..stage });
        } else if let Some(instruction) = parsed.instruction {
            match (self.stages.last_mut(), instruction) {
                (Some(stage), instruction) => stage.instructions.push(instruction),
                (None, Instruction::Arg(pairs)) => self.globals.extend(pairs),
                (None, _) if self.before_from => {}
                (None, _) => {
                    self.before_from = true;
                    self.errors.push(DockerfileError::new(
                        format!("{name} stands before the first FROM"),
                        "only ARG may come before FROM",
                        line.span(keyword),
                    ));
                }
            }
        }
        // A FROM without an image was an error of its own.
        self.before_from |= name == "FROM";
        // A stage reaches to the next FROM, with the comments that stand before that.
        let end = self.reader.position();
        if let Some(stage) = self.stages.last_mut() {
            stage.span.end = end;
        }
    }

    fn unknown(&mut self, line: &Line, keyword: Range<usize>) {
        let word = &line.text[keyword.clone()];
        let near = nearest(&word.to_ascii_uppercase(), &INSTRUCTIONS);
        let was_lost = std::mem::replace(&mut self.lost, near.is_none());
        if near == Some("FROM") {
            self.before_from = true;
        }
        if was_lost && near.is_none() {
            return;
        }
        let escape = self.reader.escape;
        let help = match near {
            Some(near) => format!("did you mean {near}?"),
            None => format!(
                "if this belongs to the line above, end that line with `{escape}`, or put these \
                 lines into a here-document"
            ),
        };
        self.errors.push(DockerfileError::new(
            format!("unknown instruction `{}`", word.escape_debug()),
            help,
            line.span(keyword),
        ));
    }

    fn instruction(
        &mut self,
        line: &Line,
        name: &str,
        keyword: Range<usize>,
        rest: Range<usize>,
    ) -> Parsed {
        let (flags, rest) = words::flags(&line.text, rest, self.reader.escape);
        let mut reading = Reading {
            line,
            escape: self.reader.escape,
            keyword,
            name,
            flags,
            rest,
            errors: &mut self.errors,
        };
        let parsed = reading.parse();
        for heredoc in parsed.heredocs.iter().flatten() {
            if !self.reader.heredoc(&heredoc.name, heredoc.strip_tabs) {
                self.errors.push(DockerfileError::new(
                    format!("the here-document `{}` does not end", heredoc.name.escape_debug()),
                    "put its end mark on a line of its own",
                    line.span(line.trimmed()),
                ));
            }
        }
        parsed
    }
}
