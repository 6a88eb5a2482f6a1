//! Expands a `matrix` into its rows. Pure.

use std::collections::HashMap;

use super::scope::too_many_images;
use crate::base::nearest::did_you_mean;
use crate::base::span::{Problem, Span};
use crate::manifest::decode::decode;
use crate::manifest::diagnostics::Diagnostics;
use crate::manifest::interpolate::Variables;
use crate::manifest::invocation::is_variable_name;
use crate::manifest::node::{MapKey, Value, YamlNode};
use crate::manifest::spanned::Spanned;

/// Key of a matrix that is not a variable.
const EXCLUDE_KEY: &str = "exclude";

/// Variables of one row, in the order of the matrix.
pub(super) type Row = Vec<(String, String)>;

/// A variable and its values.
struct Column<'n> {
    key: &'n MapKey,
    values: Vec<Spanned<String>>,
}

/// Expands a matrix into its rows. The first variable changes slowest. Returns `None` if a problem
/// is or was reported, or if there are more than `max_rows` rows.
pub(super) fn rows(
    matrix: &YamlNode,
    variables: &Variables<'_>,
    max_rows: usize,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Row>> {
    let errors = diagnostics.errors();
    let Value::Map(entries) = &matrix.value else {
        if !matches!(matrix.value, Value::Bad) {
            let help = "write the variables with their values: PY: [\"3.11\", \"3.12\"]";
            diagnostics.error("a matrix must be a mapping of variables", matrix.span, help);
        }
        return None;
    };
    let mut columns = Vec::new();
    let mut exclusions = Vec::new();
    for (key, value) in entries {
        if key.text == EXCLUDE_KEY {
            exclusions = read_exclusions(value, entries, diagnostics);
        } else if key.text == "include" && has_mapping(value) {
            let help = "list all values of a variable, leave rows out with `exclude`, and write a \
                        separate entry for an extra row";
            diagnostics.error("a matrix has no `include`", key.span, help);
        } else if let Some(values) = read_values(key, value, variables, diagnostics) {
            columns.push(Column { key, values });
        }
    }
    if columns.is_empty() && diagnostics.errors() == errors {
        let help = "add a variable with its values, or remove the matrix";
        diagnostics.error("a matrix without variables", matrix.span, help);
    }
    let product = columns.iter().try_fold(1usize, |all, c| all.checked_mul(c.values.len()));
    if let Some(first) = columns.first()
        && product.is_none_or(|product| product > max_rows)
    {
        diagnostics.push(too_many_images(first.key.span));
    }
    if diagnostics.errors() > errors {
        return None;
    }
    let rows = product_rows(&columns, product.unwrap_or(0), &exclusions, diagnostics);
    if rows.is_empty() {
        let help = "exclude fewer rows, or remove the image";
        diagnostics.error("all rows of this matrix are excluded", matrix.span, help);
        return None;
    }
    Some(rows)
}

/// Returns true for a mapping or a list with a mapping, which cannot be values of a variable.
fn has_mapping(value: &YamlNode) -> bool {
    match &value.value {
        Value::Map(_) => true,
        Value::Seq(items) => items.iter().any(|item| matches!(item.value, Value::Map(_))),
        _ => false,
    }
}

/// Reads a string. A number is rejected, because YAML reads `3.10` as 3.1.
fn read_text(value: &YamlNode, diagnostics: &mut Diagnostics) -> Option<Spanned<String>> {
    decode(&mut value.clone(), diagnostics)
}

/// Reads the values of a variable. Returns `None` if the variable or a value is rejected.
fn read_values(
    key: &MapKey,
    value: &YamlNode,
    variables: &Variables<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Spanned<String>>> {
    let name = &key.text;
    let reject = |diagnostics: &mut Diagnostics, message: String, span: Span, help: &str| {
        diagnostics.error(message, span, help);
        None
    };
    if !is_variable_name(name) {
        let help = "use letters, digits and `_`; do not start with a digit";
        let message = format!("`{name}` is not the name of a variable");
        return reject(diagnostics, message, key.span, help);
    }
    let other = match (variables.is_flag(name), variables.is_var(name)) {
        (true, _) => Some("by --var"),
        (_, true) => Some("under `vars:`"),
        _ => None,
    };
    if let Some(other) = other {
        let message = format!("`{name}` is a variable of this matrix and is also set {other}");
        return reject(diagnostics, message, key.span, "rename one of the two");
    }
    let Value::Seq(items) = &value.value else {
        if matches!(value.value, Value::Bad) {
            return None;
        }
        let message = format!("the values of `{name}` must be a list");
        return reject(diagnostics, message, value.span, "write them in brackets: [a, b]");
    };
    if items.is_empty() {
        let message = format!("`{name}` has no values");
        return reject(diagnostics, message, key.span, "list its values, or remove the variable");
    }
    let mut values: Vec<Spanned<String>> = Vec::with_capacity(items.len());
    let mut seen: HashMap<String, Span> = HashMap::new();
    for item in items {
        let Some(text) = read_text(item, diagnostics) else { continue };
        if let Some(first) = seen.insert(text.to_string(), text.span()) {
            let message = format!("`{}` is listed twice", text.as_str());
            let problem = Problem::new(message, text.span(), "second").and(first, "first");
            diagnostics.push(problem.help("remove one of them"));
        }
        values.push(text);
    }
    (values.len() == items.len()).then_some(values)
}

/// An item of `exclude`: leaves out the rows that have all of these values.
struct Exclusion<'n> {
    span: Span,
    values: Vec<(&'n str, Spanned<String>)>,
}

fn read_exclusions<'n>(
    exclude: &'n YamlNode,
    entries: &[(MapKey, YamlNode)],
    diagnostics: &mut Diagnostics,
) -> Vec<Exclusion<'n>> {
    let Value::Seq(items) = &exclude.value else {
        if !matches!(exclude.value, Value::Bad) {
            let help = "write a list of mappings: exclude: [{ PY: \"3.11\", OS: alpine }]";
            diagnostics.error("`exclude` must be a list", exclude.span, help);
        }
        return Vec::new();
    };
    let keys = entries.iter().map(|(key, _)| key.text.as_str());
    let known: Vec<&str> = keys.filter(|key| *key != EXCLUDE_KEY).collect();
    let mut exclusions = Vec::new();
    for item in items {
        let Value::Map(pairs) = &item.value else {
            let help = "write the values of the rows to leave out: { PY: \"3.11\", OS: alpine }";
            diagnostics.error("an item of `exclude` must be a mapping", item.span, help);
            continue;
        };
        let mut values = Vec::new();
        for (key, value) in pairs {
            if !known.contains(&key.text.as_str()) {
                let help = did_you_mean(&key.text, &known)
                    .unwrap_or_else(|| format!("the variables here are {}", known.join(", ")));
                let message = format!("this matrix has no variable `{}`", key.text);
                diagnostics.error(message, key.span, help);
            } else if let Some(text) = read_text(value, diagnostics) {
                values.push((key.text.as_str(), text));
            }
        }
        let span = pairs.first().map_or(item.span, |(key, value)| {
            let end = (value.span.start + value.span.len).max(key.span.start + key.span.len);
            Span::new(key.span.start, end - key.span.start)
        });
        exclusions.push(Exclusion { span, values });
    }
    exclusions
}

/// Returns all combinations of values that are not excluded.
fn product_rows(
    columns: &[Column<'_>],
    product: usize,
    exclusions: &[Exclusion<'_>],
    diagnostics: &mut Diagnostics,
) -> Vec<Row> {
    let mut used = vec![false; exclusions.len()];
    let mut rows = Vec::with_capacity(product);
    for index in 0..product {
        // The digits of the index, one per column, are the indexes of the values.
        let mut index = index;
        let mut row: Row = Vec::with_capacity(columns.len());
        for Column { key, values } in columns.iter().rev() {
            row.push((key.text.clone(), values[index % values.len()].to_string()));
            index /= values.len();
        }
        row.reverse();
        let has = |(key, value): &(&str, Spanned<String>)| {
            row.iter().any(|(k, v)| k == key && *v == **value)
        };
        let mut excluded = false;
        for (exclusion, used) in exclusions.iter().zip(&mut used) {
            if exclusion.values.iter().all(has) {
                excluded = true;
                *used = true;
            }
        }
        if !excluded {
            rows.push(row);
        }
    }
    for (exclusion, _) in exclusions.iter().zip(used).filter(|(_, used)| !used) {
        let help = "check that its values are listed above, or remove it";
        diagnostics.warn("this excludes no row of the matrix", exclusion.span, help);
    }
    rows
}

/// Returns a row for messages: `PY=3.11, OS=alpine`.
pub(super) fn describe(row: &Row) -> String {
    let pairs: Vec<String> = row.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::invocation::Invocation;
    use crate::manifest::node;

    fn check(text: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
        let node = node::parse(text, 0).unwrap();
        let vars = vec!["GIVEN=x".parse().unwrap()];
        let invocation = Invocation { vars, ..Invocation::default() };
        let variables = Variables::new(&invocation, &|_| None);
        let mut vars = node::parse("vars: { VAR: x }", 0).unwrap();
        let variables = variables.with_file(&mut vars, &mut Diagnostics::default());
        let mut diagnostics = Diagnostics::default();
        let rows = rows(&node, &variables, 100, &mut diagnostics);
        let (problems, warnings) = diagnostics.finish();
        let texts = |problems: Vec<Problem>| -> Vec<String> {
            let text = |p: Problem| format!("{} | {}", p.message, p.help.unwrap_or_default());
            problems.into_iter().map(text).collect()
        };
        let rows = rows.unwrap_or_default().iter().map(describe).collect();
        (rows, texts(problems), texts(warnings))
    }

    #[test]
    fn rows_are_in_the_order_of_the_matrix() {
        let (rows, problems, warnings) = check("{ B: [x, y], A: ['1', '2'] }");
        assert_eq!(rows, ["B=x, A=1", "B=x, A=2", "B=y, A=1", "B=y, A=2"]);
        assert_eq!((problems, warnings), (vec![], vec![]));
        let exclude = "{ B: [x, y], exclude: [{ B: x, A: '2' }, { A: '3' }], A: ['1', '2'] }";
        let (rows, problems, warnings) = check(exclude);
        assert_eq!(rows, ["B=x, A=1", "B=y, A=1", "B=y, A=2"]);
        assert_eq!(problems, [""; 0]);
        assert!(warnings[0].starts_with("this excludes no row"), "{warnings:?}");
    }

    #[test]
    fn invalid_matrices_are_rejected() {
        for (text, message) in [
            ("[a]", "a mapping of variables"),
            ("{}", "without variables"),
            ("{ exclude: [] }", "without variables"),
            ("{ A: x }", "`A` must be a list"),
            ("{ A: [] }", "`A` has no values"),
            ("{ A: [3.10] }", "quote it: \"3.10\""),
            ("{ A: [[x]] }", "expected a string"),
            ("{ A: [x, y, x] }", "`x` is listed twice"),
            ("{ A-B: [x] }", "is not the name"),
            ("{ GIVEN: [x] }", "also set by --var"),
            ("{ VAR: [x] }", "also set under `vars:`"),
            ("{ A: [x], exclude: [{ A: x }] }", "all rows"),
            ("{ A: [x], include: [{ A: y }] }", "a matrix has no `include`"),
            ("{ A: [x], exclude: [{}] }", "all rows"),
            ("{ A: [x], exclude: { A: x } }", "must be a list"),
            ("{ A: [x], exclude: [x] }", "must be a mapping"),
            ("{ ABC: [x], exclude: [{ ABD: x }] }", "did you mean `ABC`?"),
            ("{ A: [x], exclude: [{ A: 1 }] }", "quote it: \"1\""),
        ] {
            let (rows, problems, _) = check(text);
            assert_eq!((rows.len(), problems.len()), (0, 1), "{text}: {problems:?}");
            assert!(problems[0].contains(message), "{text}: {problems:?}");
        }
        let many: Vec<String> = (0..11).map(|n| format!("'{n}'")).collect();
        let many = format!("{{ A: [{0}], B: [{0}] }}", many.join(", "));
        assert!(check(&many).1[0].contains("more than"), "{:?}", check(&many));
    }
}
