//! Puts variables into the texts of a manifest: `${VAR}`, `${VAR:-default}`, `${VAR:?message}`,
//! and `$$` for a dollar sign. Pure: the environment is given.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::node::{Kind, Node, Value};
use crate::base::nearest::nearest;
use crate::base::source::Problem;

/// Where variables come from: the manifest's `vars` first, then the environment.
struct Variables<'a> {
    vars: BTreeMap<String, String>,
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Bytes that all values of the document may still grow to: variables of variables multiply.
    budget: Cell<usize>,
}

/// Bytes that all values of one manifest may hold once variables are in.
const BUDGET: usize = 64 << 20;

/// Defaults within defaults.
const DEPTH: usize = 16;

/// The variable that must not be written anywhere.
const SECRET: &str = "PRIME_API_KEY";

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned().or_else(|| (self.env)(name))
    }
}

/// Interpolates the whole document: first `vars`, each of which may use those above it, then all
/// other values. What cannot be resolved is reported and marked as bad.
pub(crate) fn interpolate(
    root: &mut Node,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
) {
    let mut variables = Variables { vars: BTreeMap::new(), env, budget: Cell::new(BUDGET) };
    let Value::Map(entries) = &mut root.value else { return };
    for (_, value) in entries.iter_mut().filter(|(key, _)| key.text == "vars") {
        let Value::Map(vars) = &mut value.value else { continue };
        for (name, value) in vars {
            walk(value, &variables, problems);
            if let Value::Scalar { text, kind: Kind::Text } = &value.value {
                variables.vars.insert(name.text.clone(), text.clone());
            }
        }
    }
    for (_, value) in entries.iter_mut().filter(|(key, _)| key.text != "vars") {
        walk(value, &variables, problems);
    }
}

fn walk(node: &mut Node, variables: &Variables<'_>, problems: &mut Vec<Problem>) {
    match &mut node.value {
        Value::Scalar { text, kind: Kind::Text } if text.contains('$') => {
            match expand(text, variables, 0) {
                Ok(expanded) => *text = expanded,
                Err(Unresolved { message, help }) => {
                    problems.push(Problem::new(message, node.span, "here").help(help));
                    node.value = Value::Bad;
                }
            }
        }
        Value::Scalar { .. } | Value::Bad => {}
        Value::Seq(items) => {
            for item in items {
                walk(item, variables, problems);
            }
        }
        Value::Map(entries) => {
            for (_, value) in entries {
                walk(value, variables, problems);
            }
        }
    }
}

/// Why a text cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
struct Unresolved {
    message: String,
    help: String,
}

fn unresolved(message: impl Into<String>, help: impl Into<String>) -> Unresolved {
    Unresolved { message: message.into(), help: help.into() }
}

fn expand(text: &str, variables: &Variables<'_>, depth: usize) -> Result<String, Unresolved> {
    if depth > DEPTH {
        let message = format!("defaults are nested more than {DEPTH} deep");
        return Err(unresolved(message, "give the inner ones names under `vars:`"));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing(after).ok_or_else(|| {
                unresolved("`${` is never closed", "add a `}`, or write `$$` for a dollar sign")
            })?;
            let value = resolve(&after[..end], variables, depth)?;
            let left = variables.budget.get().checked_sub(value.len()).ok_or_else(|| {
                unresolved(
                    "the variables of this manifest expand to more than imgplan reads",
                    "use fewer variables that hold other variables",
                )
            })?;
            variables.budget.set(left);
            out.push_str(&value);
            rest = &after[end + 1..];
        } else {
            // A lone dollar sign means itself, as in a shell's `"$ "`.
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The brace that closes an open one, past those inside a default.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if previous == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        previous = c;
    }
    None
}

fn resolve(inside: &str, variables: &Variables<'_>, depth: usize) -> Result<String, Unresolved> {
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    let (name, operator) = inside.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(unresolved(
            format!("`${{{inside}}}` does not name a variable"),
            "write ${NAME}, ${NAME:-default} or ${NAME:?message}",
        ));
    }
    if name == SECRET {
        let help = "the key reaches the service by itself; take the variable out";
        return Err(unresolved(format!("`{SECRET}` is a secret and goes into no manifest"), help));
    }
    let value = variables.get(name);
    if operator.is_empty() {
        return value.ok_or_else(|| {
            let known: Vec<&str> = variables.vars.keys().map(String::as_str).collect();
            let help = match nearest(name, &known) {
                Some(near) => format!("did you mean `${{{near}}}`?"),
                None => format!(
                    "set it under `vars:` or in the environment, or give a default: ${{{name}:-default}}"
                ),
            };
            unresolved(format!("the variable `{name}` is not set"), help)
        });
    }
    // As in a shell, the colon makes an empty variable count as unset.
    let full = value.filter(|value| !value.is_empty());
    if let Some(default) = operator.strip_prefix(":-") {
        full.map_or_else(|| expand(default, variables, depth + 1), Ok)
    } else if let Some(message) = operator.strip_prefix(":?") {
        full.ok_or_else(|| {
            let message = if message.is_empty() { "is not set" } else { message };
            unresolved(
                format!("{name}: {message}"),
                format!("set `{name}` under `vars:` or in the environment"),
            )
        })
    } else {
        Err(unresolved(
            format!("`${{{inside}}}` has an operator that imgplan does not know"),
            "write ${NAME}, ${NAME:-default} or ${NAME:?message}",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<String, Unresolved> {
        let env = |name: &str| match name {
            "HOME" => Some("/h".to_owned()),
            "EMPTY" => Some(String::new()),
            "A" => Some("env".to_owned()),
            _ => None,
        };
        let vars = BTreeMap::from([("A".to_owned(), "one".to_owned())]);
        expand(text, &Variables { vars, env: &env, budget: Cell::new(100) }, 0)
    }

    #[test]
    fn expands() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${A}", "one"),
            ("x-${A}-${HOME}y", "x-one-/hy"),
            ("$$A $${A}", "$A ${A}"),
            ("a$ b$c", "a$ b$c"),
            ("${B:-two}", "two"),
            ("${B:-${A}!}", "one!"),
            ("${EMPTY:-full}", "full"),
            ("${EMPTY}", ""),
            ("${B:-}", ""),
            ("${A:?needed}", "one"),
        ] {
            assert_eq!(check(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses() {
        for (text, words) in [
            ("${B}", "not set"),
            ("${a}", "did you mean `${A}`"),
            ("${A", "never closed"),
            ("${}", "does not name"),
            ("${1A}", "does not name"),
            ("${A-b}", "operator"),
            ("${B:?say so}", "B: say so"),
            ("${B:-${C}}", "`C` is not set"),
            ("${PRIME_API_KEY}", "secret"),
            (&"${A}".repeat(40), "more than imgplan reads"),
            (&format!("{}x{}", "${B:-".repeat(40), "}".repeat(40)), "deep"),
        ] {
            let error = check(text).unwrap_err();
            assert!(
                format!("{} {}", error.message, error.help).contains(words),
                "{text}: {error:?}"
            );
        }
    }
}
