//! `K/N`: one of N equal parts of the targets, or K of N equal parts of a rate limit. Pure.

use std::fmt;
use std::str::FromStr;

use super::name::NameError;

/// Maximum number of parts.
pub(crate) const MAX_PARTS: u32 = 1000;

/// `K/N` with K from 1 to N. The default is the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Share {
    part: u32,
    parts: u32,
}

impl Share {
    /// The only part of one.
    pub(crate) const WHOLE: Self = Self { part: 1, parts: 1 };

    /// Returns K of `K/N`, from 1 to N.
    pub(crate) fn part(self) -> u32 {
        self.part
    }

    /// Returns N of `K/N`, from 1 to [`MAX_PARTS`].
    pub(crate) fn parts(self) -> u32 {
        self.parts
    }

    /// Returns `1/N` of `K/N`.
    pub(crate) fn one(self) -> Self {
        Self { part: 1, ..self }
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.parts)
    }
}

impl FromStr for Share {
    type Err = NameError;

    /// Parses `K/N`.
    ///
    /// ```
    /// use imgplan::test_support::base::share::Share;
    /// assert!("3/16".parse::<Share>().is_ok());
    /// assert!("0/16".parse::<Share>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |problem: String| {
            Err(NameError::new(problem, "write K/N with K from 1 to N, as in 3/16"))
        };
        let Some((part, parts)) = text.split_once('/') else {
            return bad(format!("`{text}` does not say how many parts there are"));
        };
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse::<u32>().unwrap_or(u32::MAX))
        };
        match (number(part), number(parts)) {
            (None, _) => bad(format!("`{part}` is not a number")),
            (_, None) => bad(format!("`{parts}` is not a number")),
            (_, Some(0)) => bad(format!("`{text}` has no parts")),
            (_, Some(parts)) if parts > MAX_PARTS => {
                bad(format!("`{text}` has more than {MAX_PARTS} parts"))
            }
            (Some(0), _) => bad(format!("`{text}` has part 0, and parts are counted from 1")),
            (Some(part), Some(parts)) if part > parts => {
                bad(format!("`{text}` has part {part}, and there are only {parts}"))
            }
            (Some(part), Some(parts)) => Ok(Self { part, parts }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_parsed() {
        for text in ["1/1", "3/16", "1000/1000"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for (text, message) in [
            ("3", "`3` does not say how many parts there are"),
            ("0/3", "`0/3` has part 0, and parts are counted from 1"),
            ("4/3", "`4/3` has part 4, and there are only 3"),
            ("0/0", "`0/0` has no parts"),
            ("a/3", "`a` is not a number"),
            ("1/+3", "`+3` is not a number"),
            ("1/", "`` is not a number"),
            ("1/1001", "`1/1001` has more than 1000 parts"),
            ("9999999999/3", "`9999999999/3` has part 4294967295, and there are only 3"),
        ] {
            assert_eq!(text.parse::<Share>().unwrap_err().message, message);
        }
    }
}
