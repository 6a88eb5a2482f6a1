//! Finds the fenced blocks, commands and code spans of a Markdown text. Pure.

/// A fenced block.
pub(super) struct Block {
    pub(super) language: String,
    /// The lines within, each with its number.
    pub(super) lines: Vec<(usize, String)>,
}

/// A command and what follows it.
pub(super) struct Step {
    pub(super) line: usize,
    pub(super) command: String,
    /// Expected output; empty if the page shows none.
    pub(super) expected: String,
    pub(super) code: i32,
}

impl Block {
    /// Returns the number of the first line.
    pub(super) fn line(&self) -> usize {
        self.lines.first().map_or(0, |(line, _)| *line)
    }

    /// Returns the lines as one text.
    pub(super) fn text(&self) -> String {
        self.lines.iter().flat_map(|(_, line)| [line.as_str(), "\n"]).collect()
    }

    /// The commands of a `console` or `sh` block.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        // The word that ends the heredoc of the last command.
        let mut heredoc: Option<String> = None;
        for (line, text) in &self.lines {
            if let (Some(_), Some(step)) = (&heredoc, steps.last_mut()) {
                step.command.push('\n');
                step.command.push_str(text);
                heredoc = heredoc.filter(|end| end != text);
                continue;
            }
            let command = match self.language.as_str() {
                "console" => text.strip_prefix("$ "),
                _ => Some(text.as_str()).filter(|text| !text.is_empty() && !text.starts_with('#')),
            };
            if let Some(command) = command {
                let end = command.split_once("<<").map(|(_, end)| end.trim().trim_matches('\''));
                heredoc = end.map(str::to_owned);
                let command = command.to_owned();
                steps.push(Step { line: *line, command, expected: String::new(), code: 0 });
                continue;
            }
            let Some(step) = steps.last_mut() else { continue };
            let code = text.strip_prefix("[exit ").and_then(|rest| rest.strip_suffix(']'));
            if let Some(code) = code.and_then(|code| code.parse().ok()) {
                step.code = code;
            } else {
                step.expected.push_str(text);
                step.expected.push('\n');
            }
        }
        steps
    }
}

/// All fenced blocks of a text, in order.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        open = match (line.strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => {
                blocks.push(block);
                None
            }
            (Some(language), None) => {
                Some(Block { language: language.trim().to_owned(), lines: Vec::new() })
            }
            (None, Some(mut block)) => {
                block.lines.push((index + 1, line.to_owned()));
                Some(block)
            }
            (None, None) => None,
        };
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

/// Returns the code spans outside of blocks, with their lines.
pub(super) fn spans(text: &str) -> Vec<(usize, String)> {
    let mut spans = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let odd = line.split('`').skip(1).step_by(2);
            spans.extend(odd.map(|span| (index + 1, span.to_owned())));
        }
    }
    spans
}

/// True if a text is as expected; an expected line `...` matches any number of lines.
pub(super) fn matches(expected: &str, text: &str) -> bool {
    let lines = |text: &str| -> Vec<String> {
        text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
    };
    lines_match(&lines(expected), &lines(text))
}

fn lines_match(expected: &[String], lines: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=lines.len()).any(|skipped| lines_match(rest, &lines[skipped..]))
        }
        Some((first, rest)) => lines.first() == Some(first) && lines_match(rest, &lines[1..]),
    }
}

#[test]
fn dots_stand_for_lines() {
    for (expected, text) in [
        ("", ""),
        ("a\n", "a"),
        ("...", ""),
        ("...", "a\nb"),
        ("a\n...\nc", "a\nb\nc"),
        ("...\nb\n...", "a\nb"),
    ] {
        assert!(matches(expected, text), "{expected:?} {text:?}");
    }
    for (expected, text) in [
        ("", "a"),
        ("a", ""),
        ("a\n...", "b"),
        ("...\na", "a\nb"),
        ("a\n...\nc", "a\nb"),
        ("a..", "a"),
    ] {
        assert!(!matches(expected, text), "{expected:?} {text:?}");
    }
}

#[test]
fn blocks_and_steps() {
    let text = "a `b c`\n```console\n$ x\n1\n\n2\n[exit 3]\n$ y\n```\n```sh\n# no\nz\n```\n";
    let blocks = blocks(text);
    let steps: Vec<Step> = blocks.iter().flat_map(Block::steps).collect();
    let shown: Vec<String> = steps
        .iter()
        .map(|step| format!("{} {} {:?} {}", step.line, step.command, step.expected, step.code))
        .collect();
    assert_eq!(shown, [r#"3 x "1\n\n2\n" 3"#, r#"8 y "" 0"#, r#"12 z "" 0"#]);
    assert_eq!(spans(text), [(1, "b c".to_owned())]);
}
