//! Patterns of `*` and `?` in substitutions such as `${X%.*}`. Pure.

use regex::Regex;

/// Removes the shortest or the longest match of a pattern at the start of a value. Fails if the
/// pattern is invalid.
pub(super) fn strip_start(value: String, pattern: &str, longest: bool) -> Result<String, String> {
    let regex = compile(&format!("^{}", translate(pattern, longest)?), pattern)?;
    Ok(match regex.find(&value) {
        Some(found) => value[found.end()..].to_owned(),
        None => value,
    })
}

/// Removes the shortest or the longest match of a pattern at the end of a value. Fails if the
/// pattern is invalid.
pub(super) fn strip_end(value: String, pattern: &str, longest: bool) -> Result<String, String> {
    let kept = if longest { ".*?" } else { ".*" };
    let regex = compile(&format!("^({kept}){}$", translate(pattern, longest)?), pattern)?;
    Ok(match regex.captures(&value).and_then(|groups| groups.get(1)) {
        Some(kept) => kept.as_str().to_owned(),
        None => value,
    })
}

/// Replaces the first match or every match of a pattern in a value. Fails if the pattern is
/// invalid.
pub(super) fn replace(
    value: &str,
    pattern: &str,
    replacement: &str,
    all: bool,
) -> Result<String, String> {
    let regex = compile(&translate(pattern, true)?, pattern)?;
    let limit = usize::from(!all);
    Ok(regex.replacen(value, limit, regex::NoExpand(replacement)).into_owned())
}

fn compile(regex: &str, pattern: &str) -> Result<Regex, String> {
    Regex::new(&format!("(?s){regex}")).map_err(|_| format!("invalid pattern `{pattern}`"))
}

/// Translates a pattern to a regular expression whose stars match as little or as much as possible.
fn translate(pattern: &str, longest: bool) -> Result<String, String> {
    let mut regex = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let literal = match c {
            '*' => {
                regex.push_str(if longest { ".*" } else { ".*?" });
                continue;
            }
            '?' => {
                regex.push('.');
                continue;
            }
            '\\' => match chars.next() {
                Some(c @ ('*' | '?' | '\\' | '}' | '/')) => c,
                _ => return Err(format!("invalid escape in the pattern `{pattern}`")),
            },
            c => c,
        };
        regex.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
    }
    Ok(regex)
}
