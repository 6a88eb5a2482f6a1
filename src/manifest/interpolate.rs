//! Puts variables into the texts of a manifest: `${VAR}`, `${VAR:-default}`, `${VAR:?message}`,
//! and `$$` for a dollar sign. Pure: the environment is given.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::invocation::{SECRET, Variable};
use super::node::{Kind, Node, Value};
use crate::base::nearest::nearest;
use crate::base::span::Problem;

/// Where variables come from: `--var` first, then the `vars` of the file and of those that include
/// it, then the row of a matrix, then the environment.
#[derive(Clone)]
pub(crate) struct Variables<'a> {
    given: &'a [Variable],
    vars: Rc<BTreeMap<String, String>>,
    row: Rc<BTreeMap<String, String>>,
    /// The variables of all matrices of the file.
    matrices: Rc<BTreeSet<String>>,
    /// All that was asked for.
    asked: Rc<RefCell<BTreeSet<String>>>,
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Bytes that all values of all files may still grow to: variables of variables multiply.
    budget: Rc<Cell<usize>>,
}

/// Bytes that all values of one manifest may hold once variables are in.
const BUDGET: usize = 64 << 20;

/// Defaults within defaults.
const DEPTH: usize = 16;

impl<'a> Variables<'a> {
    /// The variables of the command line and of the environment.
    pub(crate) fn new(given: &'a [Variable], env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let budget = Rc::new(Cell::new(BUDGET));
        let (vars, row, matrices) = (Rc::default(), Rc::default(), Rc::default());
        Self { given, vars, row, matrices, asked: Rc::default(), env, budget }
    }

    fn get(&self, name: &str) -> Option<String> {
        if !self.asked.borrow().contains(name) {
            self.asked.borrow_mut().insert(name.to_owned());
        }
        let given = self.given.iter().rev().find(|given| given.name == name);
        let own = given.map(|given| given.value.clone());
        own.or_else(|| self.vars.get(name).or_else(|| self.row.get(name)).cloned())
            .or_else(|| (self.env)(name))
    }

    /// The variables of the command line that nothing asked for, each with one near to it that
    /// something did ask for.
    pub(crate) fn unused(&self) -> Vec<(&'a str, Option<String>)> {
        let asked = self.asked.borrow();
        let known: Vec<&str> = asked.iter().map(String::as_str).collect();
        let names: BTreeSet<&'a str> = self.given.iter().map(|given| &*given.name).collect();
        let unused = names.into_iter().filter(|name| !asked.contains(*name));
        unused.map(|name| (name, nearest(name, &known).map(str::to_owned))).collect()
    }

    /// Whether `--var` gives this one.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|given| given.name == name)
    }

    /// Whether the `vars` of a file give this one.
    pub(crate) fn is_var(&self, name: &str) -> bool {
        self.vars.contains_key(name)
    }

    /// The variables inside a file: its `vars` over these. Each may use those above it.
    pub(crate) fn of_file(&self, root: &mut Node, problems: &mut Vec<Problem>) -> Self {
        let mut inner = Self { matrices: Rc::new(matrices(root)), ..self.clone() };
        let Value::Map(entries) = &mut root.value else { return inner };
        for (_, value) in entries.iter_mut().filter(|(key, _)| key.text == "vars") {
            let Value::Map(vars) = &mut value.value else { continue };
            for (name, value) in vars {
                inner.put_into(value, problems);
                if let Value::Scalar { text, kind: Kind::Text } = &value.value {
                    Rc::make_mut(&mut inner.vars).insert(name.text.clone(), text.clone());
                }
            }
        }
        inner
    }

    /// The variables inside an image's entry, in one row of its matrix.
    pub(crate) fn of_row(&self, row: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { row: Rc::new(row.into_iter().collect()), ..self.clone() }
    }

    /// Puts variables into a value and all that is in it. What cannot be resolved is reported and
    /// marked as bad.
    pub(crate) fn put_into(&self, node: &mut Node, problems: &mut Vec<Problem>) {
        match &mut node.value {
            Value::Scalar { text, kind: Kind::Text } if text.contains('$') => {
                match expand(text, self, 0) {
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
                    self.put_into(item, problems);
                }
            }
            Value::Map(entries) => {
                for (_, value) in entries {
                    self.put_into(value, problems);
                }
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
    // As other programs write it: ${{ matrix.NAME }}.
    if let Some(name) = inside.strip_prefix('{').and_then(|t| t.trim().strip_prefix("matrix.")) {
        return Err(prefixed(name));
    }
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
    if name == "matrix" && operator.starts_with('.') {
        return Err(prefixed(&operator[1..]));
    }
    if operator.is_empty() {
        return value.ok_or_else(|| {
            if variables.matrices.contains(name) {
                return unresolved(
                    format!("`{name}` is a variable of a matrix, and has no value outside of its entry"),
                    "write this into the entry that has the matrix, not into `defaults` or another",
                );
            }
            let given = variables.given.iter().map(|given| &given.name);
            let known = variables.vars.keys().chain(variables.row.keys()).chain(given);
            let known: Vec<&str> = known.map(String::as_str).collect();
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

fn prefixed(name: &str) -> Unresolved {
    let message = "the variables of a matrix are named as all others are, without `matrix.`";
    unresolved(message, format!("write ${{{name}}}"))
}

/// The variables of the matrices of a file.
fn matrices(root: &Node) -> BTreeSet<String> {
    fn get<'n>(node: &'n Node, wanted: &str) -> Option<&'n Value> {
        let Value::Map(entries) = &node.value else { return None };
        entries.iter().find(|(key, _)| key.text == wanted).map(|(_, value)| &value.value)
    }
    let Some(Value::Seq(images)) = get(root, "images") else { return BTreeSet::new() };
    let names = images.iter().filter_map(|image| match get(image, "matrix")? {
        Value::Map(entries) => Some(entries.iter().map(|(key, _)| key.text.clone())),
        _ => None,
    });
    names.flatten().collect()
}

/// The first `$NAME` of a text, which is no variable here as it is one in a shell.
pub(crate) fn bare_name(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        rest = rest.split_once('$')?.1;
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end > 0 && !rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(&rest[..end]);
        }
    }
}

/// Warns of each `$NAME` in the args and labels of an image or of the defaults.
pub(crate) fn warn_of_bare_names(node: &Node, warnings: &mut Vec<Problem>) {
    let Value::Map(entries) = &node.value else { return };
    let maps = entries.iter().filter(|(key, _)| matches!(key.text.as_str(), "args" | "labels"));
    for (_, map) in maps {
        let Value::Map(pairs) = &map.value else { continue };
        for (_, value) in pairs {
            let Value::Scalar { text, kind: Kind::Text } = &value.value else { continue };
            let Some(name) = bare_name(text) else { continue };
            let message = format!("`${name}` is sent as it is");
            let help = format!("write `${{{name}}}` for the variable, or `$${name}`");
            warnings.push(Problem::new(message, value.span, "here").help(help).warning());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<String, Unresolved> {
        let env = |name: &str| match name {
            "HOME" => Some("/h".to_owned()),
            "TMP" => Some("/t".to_owned()),
            "EMPTY" => Some(String::new()),
            "A" => Some("env".to_owned()),
            _ => None,
        };
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let given = ["G=old".parse().unwrap(), "G=given".parse().unwrap()];
        let mut variables = Variables::new(&given, &env);
        variables.budget.set(100);
        variables.vars = Rc::new(BTreeMap::from([own("A", "one"), own("G", "var")]));
        let row = variables.of_row([own("ROW", "r"), own("HOME", "/row")]);
        expand(text, &row, 0)
    }

    #[test]
    fn expands() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${A}", "one"),
            ("x-${A}-${TMP}y", "x-one-/ty"),
            ("${G} ${ROW} ${HOME}", "given r /row"),
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
    fn names_without_braces_are_found() {
        for (text, name) in [
            ("$PY", Some("PY")),
            ("a-$_x.y", Some("_x")),
            ("$$PY", None),
            ("$$$PY", Some("PY")),
            ("${PY} $5 $ $(x)", None),
            ("$5 $PY", Some("PY")),
        ] {
            assert_eq!(bare_name(text), name, "{text}");
        }
    }

    #[test]
    fn refuses() {
        for (text, words) in [
            ("${matrix.PY}", "write ${PY}"),
            ("${{ matrix.PY }}", "write ${PY"),
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
