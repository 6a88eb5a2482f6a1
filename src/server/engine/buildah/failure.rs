//! The message of a failed build: the instruction that failed and the last lines of its output. Pure.

use crate::base::safe_text::one_line;

/// Maximum number of lines of output in a message.
const MAX_OUTPUT_LINES: usize = 10;

/// Maximum length of a line of a message, in characters.
const MAX_LINE_CHARS: usize = 300;

/// Beginning of Buildah's last line.
const ERROR_PREFIX: &str = "Error: ";

/// Beginnings of lines that Buildah writes about its own work.
const OWN_LINES: [&str; 10] = [
    "STEP ",
    "--> ",
    "COMMIT ",
    "Trying to pull ",
    "Getting image source ",
    "Copying ",
    "Writing manifest ",
    "Storing signatures",
    "[Warning] ",
    ERROR_PREFIX,
];

/// Returns the message for a failed build. `lines` are the last lines of its output; they are untrusted,
/// and the message has no control characters but newlines.
pub(super) fn message(dockerfile: &str, lines: &[String]) -> String {
    let shown = |text: &str| one_line(text, MAX_LINE_CHARS);
    let error = lines.iter().rev().find_map(|line| line.strip_prefix(ERROR_PREFIX));
    let mut text = match error.map(|error| (error, failed_step(error))) {
        Some((_, Some((instruction, cause)))) => {
            format!("{dockerfile}: `{}` failed: {}", shown(instruction), shown(cause))
        }
        Some((error, None)) => format!("{dockerfile}: {}", shown(error)),
        None => format!("{dockerfile}: the build ended without a message"),
    };
    let output = step_output(lines);
    for line in &output[output.len().saturating_sub(MAX_OUTPUT_LINES)..] {
        text.push('\n');
        text.push_str(&shown(line));
    }
    text
}

/// Returns the text of Buildah's last error, for a message about something else than an instruction.
pub(super) fn last_error(lines: &[String]) -> String {
    let error = lines.iter().rev().find_map(|line| line.strip_prefix(ERROR_PREFIX));
    let error = error.or(lines.last().map(String::as_str)).unwrap_or("it ended without a message");
    one_line(error, MAX_LINE_CHARS)
}

/// Splits `building at STEP "<instruction>": <cause>`.
fn failed_step(error: &str) -> Option<(&str, &str)> {
    let (_, rest) = error.split_once("building at STEP \"")?;
    let (instruction, cause) = rest.split_once("\": ")?;
    Some((instruction, cause.strip_prefix("while running runtime: ").unwrap_or(cause)))
}

/// Returns the output of the last step, without the lines of Buildah itself.
fn step_output(lines: &[String]) -> Vec<&str> {
    // In a Dockerfile with stages, a step begins with `[1/2] `.
    let without_stage = |line: &'_ str| match line.split_once("] ") {
        Some((stage, rest)) if stage.starts_with('[') => rest.to_owned(),
        _ => line.to_owned(),
    };
    let is_step = |line: &String| without_stage(line).starts_with("STEP ");
    let start = lines.iter().rposition(is_step).map_or(0, |at| at + 1);
    let is_own = |line: &str| OWN_LINES.iter().any(|own| line.starts_with(own));
    let output = lines[start..].iter().map(String::as_str);
    output.filter(|line| !is_own(line) && !is_own(&without_stage(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message_of(text: &str) -> String {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        message("docker/Dockerfile", &lines)
    }

    #[test]
    fn the_instruction_and_its_output_are_shown() {
        let text = "earlier output\n[1/2] STEP 2/3: RUN pip install x\n\
            Collecting x\n\u{1b}[31mno x\u{1b}[0m\n\
            Error: building at STEP \"RUN pip install x\": while running runtime: exit status 7\n";
        let expected = "docker/Dockerfile: `RUN pip install x` failed: exit status 7\n\
            Collecting x\n[31mno x [0m";
        assert_eq!(message_of(text), expected);
    }

    #[test]
    fn an_error_without_an_instruction_is_shown() {
        let text = "STEP 1/2: FROM x\nTrying to pull x...\nError: creating build container: no x\n";
        assert_eq!(message_of(text), "docker/Dockerfile: creating build container: no x");
        assert_eq!(message_of(""), "docker/Dockerfile: the build ended without a message");
    }

    #[test]
    fn a_message_is_bounded() {
        let line = "x".repeat(4000);
        let lines = vec![line; 20];
        assert!(message("Dockerfile", &lines).len() < 4000);
    }
}
