//! Substitutes variables in the strings of a manifest: `${VAR}`, `${VAR:-default}`,
//! `${VAR:?message}`, and `$$` for a dollar sign. Pure: the caller passes the environment.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::diagnostics::Diagnostics;
use super::invocation::{API_KEY_VARIABLE, Invocation, Variable};
use super::node::{ScalarKind, Value, YamlNode};
use crate::base::name::NameError;
use crate::base::nearest::nearest;
use crate::base::secret::is_secret_name;

/// Variables in the order of their precedence: `--var`, `vars` of the file and of the files that
/// include it, the row of a matrix, the environment.
#[derive(Clone)]
pub(crate) struct Variables<'a> {
    flags: &'a [Variable],
    vars: Rc<BTreeMap<String, String>>,
    row: Rc<BTreeMap<String, String>>,
    /// Names of the variables of all matrices of the file.
    matrices: Rc<BTreeSet<String>>,
    /// Names of all variables that were looked up.
    looked_up: Rc<RefCell<BTreeSet<String>>>,
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Variables of the environment that may be used although they look like secrets.
    allowed: &'a [String],
    /// Bytes that all substituted values may still take. Variables that hold other variables
    /// multiply.
    bytes_left: Rc<Cell<usize>>,
}

/// Maximum size of all substituted values of a manifest, in bytes.
const MAX_SUBSTITUTED_BYTES: usize = 64 << 20;

/// Names of placeholders, `{dir}`, which are easily written as variables.
const PLACEHOLDERS: [&str; 6] = ["arch", "dir", "file", "fingerprint", "parent", "path"];

/// Maximum nesting of defaults within defaults.
const MAX_DEFAULT_DEPTH: usize = 16;

impl<'a> Variables<'a> {
    /// Creates the variables of the command line and of the environment.
    pub(crate) fn new(invocation: &'a Invocation, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let (flags, allowed) = (&*invocation.vars, &*invocation.allowed.variables);
        let bytes_left = Rc::new(Cell::new(MAX_SUBSTITUTED_BYTES));
        let (vars, row, matrices) = (Rc::default(), Rc::default(), Rc::default());
        Self { flags, vars, row, matrices, looked_up: Rc::default(), env, allowed, bytes_left }
    }

    fn get(&self, name: &str) -> Option<String> {
        if !self.looked_up.borrow().contains(name) {
            self.looked_up.borrow_mut().insert(name.to_owned());
        }
        let flag = self.flags.iter().rev().find(|flag| flag.name == name).map(|flag| &flag.value);
        flag.or_else(|| self.vars.get(name))
            .or_else(|| self.row.get(name))
            .cloned()
            .or_else(|| (self.env)(name).filter(|_| !self.is_withheld(name)))
    }

    /// True for a variable of the environment that looks like a secret: a manifest could put it into
    /// a tag or an error.
    fn is_withheld(&self, name: &str) -> bool {
        is_secret_name(name) && !self.allowed.iter().any(|allowed| allowed == name)
    }

    /// Returns the names of the variables of `--var` that nothing uses, each with the most similar
    /// name that is used.
    pub(crate) fn unused(&self) -> Vec<(&'a str, Option<String>)> {
        let used = self.looked_up.borrow();
        let known: Vec<&str> = used.iter().map(String::as_str).collect();
        let names: BTreeSet<&'a str> = self.flags.iter().map(|flag| &*flag.name).collect();
        let unused = names.into_iter().filter(|name| !used.contains(*name));
        unused.map(|name| (name, nearest(name, &known).map(str::to_owned))).collect()
    }

    /// True if `--var` sets this variable.
    pub(crate) fn is_flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag.name == name)
    }

    /// True if the `vars` of a file set this variable.
    pub(crate) fn is_var(&self, name: &str) -> bool {
        self.vars.contains_key(name)
    }

    /// Returns the variables for a file: its `vars` override these. Each can use those above it.
    pub(crate) fn with_file(&self, root: &mut YamlNode, diagnostics: &mut Diagnostics) -> Self {
        let mut inner = Self { matrices: Rc::new(matrix_names(root)), ..self.clone() };
        let Value::Map(entries) = &mut root.value else { return inner };
        for (_, value) in entries.iter_mut().filter(|(key, _)| key.text == "vars") {
            let Value::Map(vars) = &mut value.value else { continue };
            for (name, value) in vars {
                inner.substitute(value, diagnostics);
                if let Value::Scalar { text, kind: ScalarKind::Text } = &value.value {
                    Rc::make_mut(&mut inner.vars).insert(name.text.clone(), text.clone());
                }
            }
        }
        inner
    }

    /// Returns the variables for an entry in one row of its matrix.
    pub(crate) fn with_row(&self, row: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { row: Rc::new(row.into_iter().collect()), ..self.clone() }
    }

    /// Substitutes variables in a value and everything in it. A string that cannot be expanded is
    /// reported and marked as bad.
    pub(crate) fn substitute(&self, node: &mut YamlNode, diagnostics: &mut Diagnostics) {
        match &mut node.value {
            Value::Scalar { text, kind: ScalarKind::Text } if text.contains('$') => {
                match expand(text, self, 0) {
                    Ok(expanded) => *text = expanded,
                    Err(error) => {
                        diagnostics.error(error.message, node.span, error.help);
                        node.value = Value::Bad;
                    }
                }
            }
            Value::Scalar { .. } | Value::Bad => {}
            Value::Seq(items) => {
                for item in items {
                    self.substitute(item, diagnostics);
                }
            }
            Value::Map(entries) => {
                for (_, value) in entries {
                    self.substitute(value, diagnostics);
                }
            }
        }
    }
}

fn expand(text: &str, variables: &Variables<'_>, depth: usize) -> Result<String, NameError> {
    if depth > MAX_DEFAULT_DEPTH {
        let message = format!("defaults are nested more than {MAX_DEFAULT_DEPTH} levels deep");
        return Err(NameError::new(
            message,
            "move the inner defaults into variables under `vars:`",
        ));
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
                NameError::new("`${` without `}`", "add a `}`, or write `$$` for a dollar sign")
            })?;
            let value = resolve(&after[..end], variables, depth)?;
            let left = variables.bytes_left.get().checked_sub(value.len()).ok_or_else(|| {
                NameError::new(
                    "the variables of this manifest expand to too much text",
                    "use fewer variables that contain other variables",
                )
            })?;
            variables.bytes_left.set(left);
            out.push_str(&value);
            rest = &after[end + 1..];
        } else {
            // A dollar sign alone stays, as in a shell.
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Returns the offset of the brace that closes a variable, skipping variables in its default.
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

fn resolve(inside: &str, variables: &Variables<'_>, depth: usize) -> Result<String, NameError> {
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    let (name, operator) = inside.split_at(end);
    // The syntax of GitHub Actions: ${{ matrix.NAME }}.
    if let Some(name) = inside.strip_prefix('{').and_then(|t| t.trim().strip_prefix("matrix.")) {
        return Err(matrix_prefix(name));
    }
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(NameError::new(
            format!("`${{{inside}}}` is not a variable"),
            "write ${NAME}, ${NAME:-default} or ${NAME:?message}",
        ));
    }
    if name == API_KEY_VARIABLE {
        let message = format!("`{API_KEY_VARIABLE}` is a secret and cannot be used in a manifest");
        let help = "remove the variable: imgplan sends the key to the service itself";
        return Err(NameError::new(message, help));
    }
    let value = variables.get(name);
    if value.is_none() && variables.is_withheld(name) {
        let message = format!("`{name}` looks like a secret and is not read from the environment");
        let help = format!(
            "if it is none, allow it with --allow-env {name} or IMGPLAN_ALLOW_ENV; secrets do not \
             belong into images"
        );
        return Err(NameError::new(message, help));
    }
    if name == "matrix" && operator.starts_with('.') {
        return Err(matrix_prefix(&operator[1..]));
    }
    if operator.is_empty() {
        return value.ok_or_else(|| not_set(name, variables));
    }
    // As in a shell, the colon means that an empty variable counts as unset.
    let nonempty = value.filter(|value| !value.is_empty());
    if let Some(default) = operator.strip_prefix(":-") {
        nonempty.map_or_else(|| expand(default, variables, depth + 1), Ok)
    } else if let Some(message) = operator.strip_prefix(":?") {
        nonempty.ok_or_else(|| {
            let message = if message.is_empty() { "is not set" } else { message };
            NameError::new(
                format!("{name}: {message}"),
                format!("set `{name}` under `vars:` or in the environment"),
            )
        })
    } else {
        Err(NameError::new(
            format!("unknown operator in `${{{inside}}}`"),
            "write ${NAME}, ${NAME:-default} or ${NAME:?message}",
        ))
    }
}

/// Creates the error for a variable without a value.
fn not_set(name: &str, variables: &Variables<'_>) -> NameError {
    if variables.matrices.contains(name) && !variables.row.is_empty() {
        return NameError::new(
            format!("`{name}` has no value in this row of the matrix"),
            format!("give each row a value, or add a default: ${{{name}:-default}}"),
        );
    }
    if variables.matrices.contains(name) {
        return NameError::new(
            format!("`{name}` is a matrix variable and has no value outside of its entry"),
            "move this into the entry with the matrix",
        );
    }
    let flags = variables.flags.iter().map(|flag| &flag.name);
    let known = variables.vars.keys().chain(variables.row.keys()).chain(flags);
    let known: Vec<&str> = known.map(String::as_str).collect();
    let help = match nearest(name, &known) {
        _ if PLACEHOLDERS.contains(&name) => {
            format!("write `{{{name}}}`: a placeholder has no `$`")
        }
        Some(near) => format!("did you mean `${{{near}}}`?"),
        None => format!(
            "set it under `vars:` or in the environment, or add a default: ${{{name}:-default}}"
        ),
    };
    NameError::new(format!("the variable `{name}` is not set"), help)
}

fn matrix_prefix(name: &str) -> NameError {
    let message = "matrix variables have no prefix `matrix.`";
    NameError::new(message, format!("write ${{{name}}}"))
}

/// Returns the names of the variables of all matrices of a file.
fn matrix_names(root: &YamlNode) -> BTreeSet<String> {
    let Some(YamlNode { value: Value::Seq(images), .. }) = root.get("images") else {
        return BTreeSet::new();
    };
    let matrices = images.iter().filter_map(|image| image.get("matrix"));
    let rows = |list: &YamlNode| match &list.value {
        Value::Seq(rows) => rows.iter().flat_map(keys).collect(),
        _ => Vec::new(),
    };
    let names = matrices.flat_map(|matrix| {
        let included = matrix.get("include").map(rows).unwrap_or_default();
        keys(matrix).into_iter().chain(rows(matrix)).chain(included)
    });
    names.filter(|name| !["include", "exclude"].contains(&name.as_str())).collect()
}

/// Returns the keys of a mapping.
fn keys(node: &YamlNode) -> Vec<String> {
    match &node.value {
        Value::Map(entries) => entries.iter().map(|(key, _)| key.text.clone()).collect(),
        _ => Vec::new(),
    }
}

/// Returns the first `$NAME` without braces: a variable in a shell, but not in a manifest.
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

/// Warns about each `$NAME` without braces in the args and labels of an image or of the defaults.
pub(crate) fn warn_about_bare_names(node: &YamlNode, diagnostics: &mut Diagnostics) {
    let Value::Map(entries) = &node.value else { return };
    let maps = entries.iter().filter(|(key, _)| matches!(key.text.as_str(), "args" | "labels"));
    for (_, map) in maps {
        let Value::Map(pairs) = &map.value else { continue };
        for (_, value) in pairs {
            let Value::Scalar { text, kind: ScalarKind::Text } = &value.value else { continue };
            let Some(name) = bare_name(text) else { continue };
            let message = format!("`${name}` is not replaced by a variable");
            let help =
                format!("write `${{{name}}}` for the variable, or `$${name}` to keep the text");
            diagnostics.warn(message, value.span, help);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<String, NameError> {
        let env = |name: &str| match name {
            "HOME" => Some("/h".to_owned()),
            "TMP" => Some("/t".to_owned()),
            "EMPTY" => Some(String::new()),
            "A" => Some("env".to_owned()),
            "NPM_TOKEN" | "DB_PASSWORD" | "MAP_KEY" => Some("s3cr3t".to_owned()),
            _ => None,
        };
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let vars = ["G=old", "G=given", "CI_TOKEN=flag"].map(|var| var.parse().unwrap());
        let mut invocation = Invocation { vars: vars.into(), ..Invocation::default() };
        invocation.allowed.variables = vec!["MAP_KEY".to_owned()];
        let mut variables = Variables::new(&invocation, &env);
        variables.bytes_left.set(100);
        variables.vars = Rc::new(BTreeMap::from([own("A", "one"), own("G", "var")]));
        let row = variables.with_row([own("ROW", "r"), own("HOME", "/row")]);
        expand(text, &row, 0)
    }

    #[test]
    fn variables_are_expanded() {
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
            ("${CI_TOKEN}", "flag"),
            ("${MAP_KEY}", "s3cr3t"),
        ] {
            assert_eq!(check(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bare_names_are_found() {
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
    fn invalid_variables_are_rejected() {
        for (text, message) in [
            ("${matrix.PY}", "write ${PY}"),
            ("${{ matrix.PY }}", "write ${PY"),
            ("${B}", "not set"),
            ("${a}", "did you mean `${A}`"),
            ("${A", "without `}`"),
            ("${}", "is not a variable"),
            ("${1A}", "is not a variable"),
            ("${A-b}", "operator"),
            ("${B:?say so}", "B: say so"),
            ("${B:-${C}}", "`C` is not set"),
            ("${PRIME_API_KEY}", "secret"),
            ("${NPM_TOKEN}", "--allow-env NPM_TOKEN"),
            ("${NPM_TOKEN:-x}", "--allow-env NPM_TOKEN"),
            ("${B:-${DB_PASSWORD}}", "--allow-env DB_PASSWORD"),
            ("${UNSET_SECRET_1}", "--allow-env UNSET_SECRET_1"),
            ("${DOCKER_AUTH_CONFIG}", "--allow-env DOCKER_AUTH_CONFIG"),
            ("${GITHUB_TOKEN_2}", "--allow-env GITHUB_TOKEN_2"),
            ("${NPM_CONFIG__AUTH}", "--allow-env NPM_CONFIG__AUTH"),
            (&"${A}".repeat(40), "too much text"),
            (&format!("{}x{}", "${B:-".repeat(40), "}".repeat(40)), "deep"),
        ] {
            let error = check(text).unwrap_err();
            assert!(
                format!("{} {}", error.message, error.help).contains(message),
                "{text}: {error:?}"
            );
        }
    }
}
