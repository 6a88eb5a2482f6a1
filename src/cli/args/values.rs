//! Parsers for the values of flags. Pure.

use std::str::FromStr;
use std::time::Duration;

use crate::base::limit::parse_duration;
use crate::base::name::NameError;
use crate::base::size::parse_size;

/// Values of a repeatable flag: the environment variable holds one per line.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Lines<T>(pub(in crate::cli) Vec<T>);

/// Parses one value per line; blank lines are ignored.
pub(super) fn lines<T: FromStr<Err = NameError>>(text: &str) -> Result<Lines<T>, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let values: Vec<T> = lines.map(named).collect::<Result<_, _>>()?;
    if values.is_empty() && !text.is_empty() {
        return Err("the value is blank".to_owned());
    }
    Ok(Lines(values))
}

/// Parses a value whose error has a message and a help text.
pub(super) fn named<T: FromStr<Err = NameError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|NameError { message, help }| format!("{message}: {help}"))
}

/// Parses a duration, such as `5s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a number and a unit: 5s, 200ms, 2m".to_owned())
}

/// Parses a size, such as `20GB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "write a whole number and a unit: 500MB, 2GiB".to_owned())
}
