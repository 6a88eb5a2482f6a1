//! Parses a Dockerfile into stages and instructions, and collects every error in it. Pure.

use std::ops::Range;

use super::instruction::{Assignment, Instruction, KEYWORDS, Stage};
use super::lines::{LineReader, LogicalLine};
use super::model::{Dockerfile, DockerfileError};
use super::read::{InstructionReader, ParsedInstruction};
use super::stage_names::StageNames;
use super::words;
use crate::base::digest::FieldHasher;
use crate::base::nearest::nearest;

impl Dockerfile {
    /// Parses a Dockerfile.
    ///
    /// # Errors
    ///
    /// Fails with every problem in the text, in order.
    pub fn parse(text: &str) -> Result<Self, Vec<DockerfileError>> {
        let mut parser = Parser {
            lines: LineReader::new(text),
            globals: Vec::new(),
            stages: Vec::new(),
            text,
            hasher: None,
            errors: Vec::new(),
            after_unknown: false,
            from_error_reported: false,
        };
        while let Some(line) = parser.lines.line(&mut parser.errors) {
            parser.line(&line);
        }
        parser.finish_stage();
        let Parser { lines, globals, mut stages, mut errors, from_error_reported, .. } = parser;
        // A manifest may have 50,000 Dockerfiles, which are kept until the end.
        stages.shrink_to_fit();
        for stage in &mut stages {
            stage.instructions.shrink_to_fit();
        }
        if stages.is_empty() && !from_error_reported {
            errors.push(DockerfileError::new(
                "the Dockerfile has no FROM",
                "start it with `FROM <image>`; only ARG may come before",
                0..0,
            ));
        }
        let stage_names = StageNames::new(&stages);
        let (escape, syntax) = (lines.escape, lines.syntax);
        let dockerfile = Self { text: text.into(), escape, syntax, globals, stages, stage_names };
        dockerfile.check_stages(&mut errors);
        errors.sort_by_key(|error| error.span.start);
        if errors.is_empty() { Ok(dockerfile) } else { Err(errors) }
    }
}

struct Parser<'t> {
    text: &'t str,
    lines: LineReader<'t>,
    globals: Vec<Assignment>,
    stages: Vec<Stage>,
    /// Digest of the instructions of the last stage; `None` before the first `FROM`.
    hasher: Option<FieldHasher>,
    errors: Vec<DockerfileError>,
    /// True if the last line had an unknown keyword that resembles none. The lines after it are
    /// probably part of the same mistake, such as a missing continuation mark, so they get no
    /// error of their own.
    after_unknown: bool,
    /// True if an error already explains the missing FROM.
    from_error_reported: bool,
}

impl Parser<'_> {
    fn line(&mut self, line: &LogicalLine) {
        let trimmed = line.trimmed();
        let (keyword, rest) = words::first(&line.text, trimmed.clone());
        let name = line.text[keyword.clone()].to_ascii_uppercase();
        if !KEYWORDS.contains(&name.as_str()) {
            self.unknown(line, keyword);
            return;
        }
        self.after_unknown = false;
        let start = line.span(trimmed.clone()).start;
        let after_line = self.lines.position();
        let parsed = self.instruction(line, &name, keyword.clone(), rest);
        if let Some(stage) = parsed.stage {
            self.finish_stage();
            self.hasher = Some(FieldHasher::new("stage"));
            self.stages.push(Stage { span: start..start, ..stage });
        } else if let Some(instruction) = parsed.instruction {
            match (self.stages.last_mut(), instruction) {
                (Some(stage), instruction) => stage.instructions.push(instruction),
                (None, Instruction::Arg(args)) => self.globals.extend(args),
                (None, _) if self.from_error_reported => {}
                (None, _) => {
                    self.from_error_reported = true;
                    self.errors.push(DockerfileError::new(
                        format!("{name} comes before the first FROM"),
                        "only ARG may come before FROM",
                        line.span(keyword),
                    ));
                }
            }
        }
        // A FROM without an image has an error of its own.
        self.from_error_reported |= name == "FROM";
        // A stage ends at the next FROM, and includes the comments before that.
        let end = self.lines.position();
        if let Some(stage) = self.stages.last_mut() {
            stage.span.end = end;
        }
        if let Some(hasher) = &mut self.hasher {
            let heredocs = &self.text[after_line..end];
            hasher.field(line.text[trimmed].as_bytes()).field(heredocs.as_bytes());
        }
    }

    /// Completes the digest of the last stage.
    fn finish_stage(&mut self) {
        if let (Some(stage), Some(hasher)) = (self.stages.last_mut(), self.hasher.take()) {
            stage.digest = hasher.finish();
        }
    }

    fn unknown(&mut self, line: &LogicalLine, keyword: Range<usize>) {
        let word = &line.text[keyword.clone()];
        let near = nearest(&word.to_ascii_uppercase(), &KEYWORDS);
        let after_unknown = std::mem::replace(&mut self.after_unknown, near.is_none());
        if near == Some("FROM") {
            self.from_error_reported = true;
        }
        if after_unknown && near.is_none() {
            return;
        }
        let escape = self.lines.escape;
        let help = match near {
            Some(near) => format!("did you mean {near}?"),
            None => format!(
                "if this continues the line above, end that line with `{escape}`, or use a \
                 here-document"
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
        line: &LogicalLine,
        name: &str,
        keyword: Range<usize>,
        rest: Range<usize>,
    ) -> ParsedInstruction {
        let (flags, rest) = words::flags(&line.text, rest, self.lines.escape);
        let mut reader = InstructionReader {
            line,
            escape: self.lines.escape,
            keyword,
            name,
            flags,
            rest,
            errors: &mut self.errors,
        };
        let parsed = reader.parse();
        for heredoc in &parsed.heredocs {
            if !self.lines.skip_heredoc(&heredoc.delimiter, heredoc.strip_tabs) {
                let delimiter = heredoc.delimiter.escape_debug();
                self.errors.push(DockerfileError::new(
                    format!("the here-document `{delimiter}` is not closed"),
                    format!("write `{delimiter}` on a line of its own after it"),
                    line.span(line.trimmed()),
                ));
            }
        }
        parsed
    }
}
