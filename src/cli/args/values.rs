//! Parsers of the values of flags.

use std::str::FromStr;
use std::time::Duration;

use crate::base::limit::parse_duration;
use crate::base::name::NameError;

/// What a variable of the environment holds where a flag may be repeated: one a line.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Lines<T>(pub(in crate::cli) Vec<T>);

/// Empty lines say nothing.
pub(super) fn lines<T: FromStr<Err = NameError>>(text: &str) -> Result<Lines<T>, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let all: Vec<T> = lines.map(named).collect::<Result<_, _>>()?;
    if all.is_empty() && !text.is_empty() {
        return Err("there is nothing in it".to_owned());
    }
    Ok(Lines(all))
}

pub(super) fn named<T: FromStr<Err = NameError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|NameError { message, help }| format!("{message}: {help}"))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a number and a unit: 5s, 200ms, 2m".to_owned())
}
