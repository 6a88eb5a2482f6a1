//! Turns a `matrix` into its rows. Pure.

use super::scope::too_many;
use crate::base::nearest::nearest;
use crate::base::span::{Problem, Span};
use crate::manifest::interpolate::Variables;
use crate::manifest::invocation::is_variable_name;
use crate::manifest::node::{Key, Kind, Node, Value};

/// The key that is no variable.
const EXCLUDE: &str = "exclude";

/// The variables of one row, in the order in which they were written.
pub(super) type Row = Vec<(String, String)>;

/// One variable with its values.
struct Column<'n> {
    key: &'n Key,
    values: Vec<&'n Node>,
}

/// The rows of a matrix, in written order, the last variable changing first. `None` where something
/// was reported: then nobody can know the rows.
pub(super) fn rows(
    matrix: &Node,
    variables: &Variables<'_>,
    most: usize,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Option<Vec<Row>> {
    let before = problems.len();
    let Value::Map(entries) = &matrix.value else {
        // A bad one was reported as what it is.
        if !matches!(matrix.value, Value::Bad) {
            let help = "write the variables with their values: PY: [\"3.11\", \"3.12\"]";
            let message = "a matrix is a mapping of variables";
            problems.push(Problem::new(message, matrix.span, "here").help(help));
        }
        return None;
    };
    let mut columns = Vec::new();
    let mut excludes = Vec::new();
    for (key, value) in entries {
        if key.text == EXCLUDE {
            excludes = partial_rows(value, entries, problems);
        } else if key.text == "include" && has_mapping(value) {
            let help = "list every value of a variable under it, take rows out with `exclude`, and \
                        write an entry of its own for a row that stands alone";
            let message = "a matrix has no `include`";
            problems.push(Problem::new(message, key.span, "here").help(help));
        } else if let Some(values) = column(key, value, variables, problems) {
            columns.push(Column { key, values });
        }
    }
    if columns.is_empty() && problems.len() == before {
        let help = "write a variable with its values, or remove the matrix";
        problems.push(Problem::new("a matrix without variables", matrix.span, "here").help(help));
    }
    let product = columns.iter().try_fold(1usize, |all, c| all.checked_mul(c.values.len()));
    if let Some(span) = columns.first().map(|column| column.key.span)
        && product.is_none_or(|product| product > most)
    {
        problems.push(too_many(span));
    }
    if problems.len() > before {
        return None;
    }
    let rows = left(&columns, product.unwrap_or(0), &excludes, warnings);
    if rows.is_empty() {
        let help = "exclude fewer rows, or remove the image";
        let message = "this matrix has no row left";
        problems.push(Problem::new(message, matrix.span, "here").help(help));
        return None;
    }
    Some(rows)
}

/// Whether a value is a mapping, or a list with one: no values of a variable.
fn has_mapping(value: &Node) -> bool {
    match &value.value {
        Value::Map(_) => true,
        Value::Seq(items) => items.iter().any(|item| matches!(item.value, Value::Map(_))),
        _ => false,
    }
}

/// A scalar as it was written. A number would not be what it seems: YAML reads 3.10 as 3.1.
fn text<'n>(value: &'n Node, problems: &mut Vec<Problem>) -> Option<&'n str> {
    let (message, help) = match &value.value {
        Value::Scalar { text, kind: Kind::Text } => return Some(text),
        Value::Bad => return None,
        Value::Scalar { text, kind: Kind::Number | Kind::Bool } => (
            format!("`{text}` is not a text to YAML, which may change it"),
            format!("quote it: \"{text}\""),
        ),
        _ => ("this should be a text".to_owned(), "write one value".to_owned()),
    };
    problems.push(Problem::new(message, value.span, "here").help(help));
    None
}

fn column<'n>(
    key: &'n Key,
    value: &'n Node,
    variables: &Variables<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Vec<&'n Node>> {
    let mut report = |message: String, span: Span, help: &str| {
        problems.push(Problem::new(message, span, "here").help(help));
    };
    let name = &key.text;
    if !is_variable_name(name) {
        let help = "name it with letters, digits and `_`, no digit first";
        report(format!("`{name}` cannot be the name of a variable"), key.span, help);
        return None;
    }
    let twice = [(variables.is_given(name), "by --var"), (variables.is_var(name), "under `vars:`")];
    if let Some((_, place)) = twice.into_iter().find(|(is, _)| *is) {
        let message = format!("`{name}` is a variable of this matrix, and set {place} as well");
        report(message, key.span, "give one of the two another name");
        return None;
    }
    let Value::Seq(values) = &value.value else {
        if !matches!(value.value, Value::Bad) {
            let span = if value.span.len == 0 { key.span } else { value.span };
            let message = format!("the values of `{name}` should be a list");
            report(message, span, "write them between brackets: [a, b]");
        }
        return None;
    };
    if values.is_empty() {
        let message = format!("`{name}` has no values, so this matrix has no rows");
        report(message, key.span, "list its values, or remove the variable");
        return None;
    }
    let texts: Vec<Option<&str>> = values.iter().map(|value| text(value, problems)).collect();
    let mut seen = std::collections::HashMap::new();
    for (value, text) in values.iter().zip(&texts) {
        let Some(text) = text else { continue };
        if let Some(first) = seen.insert(*text, value.span) {
            let message = format!("`{text}` is listed twice");
            let problem = Problem::new(message, value.span, "and here").and(first, "here");
            problems.push(problem.help("remove one of them"));
        }
    }
    texts.iter().all(Option::is_some).then(|| values.iter().collect())
}

/// What `exclude` says of one set of rows.
struct Partial<'n> {
    span: Span,
    values: Vec<(&'n str, &'n str)>,
}

fn partial_rows<'n>(
    exclude: &'n Node,
    entries: &[(Key, Node)],
    problems: &mut Vec<Problem>,
) -> Vec<Partial<'n>> {
    let Value::Seq(items) = &exclude.value else {
        let help = "write a list of mappings: exclude: [{ PY: \"3.11\", OS: alpine }]";
        problems.push(Problem::new("this should be a list", exclude.span, "here").help(help));
        return Vec::new();
    };
    let keys = entries.iter().map(|(key, _)| key.text.as_str());
    let known: Vec<&str> = keys.filter(|key| *key != EXCLUDE).collect();
    let mut partials = Vec::new();
    for item in items {
        let Value::Map(pairs) = &item.value else {
            let help = "write the values that the rows have: { PY: \"3.11\", OS: alpine }";
            let problem = Problem::new("this should be a mapping", item.span, "here");
            problems.push(problem.help(help));
            continue;
        };
        let mut values = Vec::new();
        for (key, value) in pairs {
            if !known.contains(&key.text.as_str()) {
                let help = match nearest(&key.text, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the variables here are {}", known.join(", ")),
                };
                let message = format!("this matrix has no variable `{}`", key.text);
                problems.push(Problem::new(message, key.span, "unknown").help(help));
            } else if let Some(text) = text(value, problems) {
                values.push((key.text.as_str(), text));
            }
        }
        let span = pairs.first().map_or(item.span, |(key, value)| {
            let end = (value.span.start + value.span.len).max(key.span.start + key.span.len);
            Span::new(key.span.start, end - key.span.start)
        });
        partials.push(Partial { span, values });
    }
    partials
}

/// All rows but those that are excluded.
fn left(
    columns: &[Column<'_>],
    product: usize,
    excludes: &[Partial<'_>],
    warnings: &mut Vec<Problem>,
) -> Vec<Row> {
    let mut used = vec![false; excludes.len()];
    let mut rows = Vec::with_capacity(product);
    for index in 0..product {
        let mut rest = index;
        let mut row: Row = Vec::with_capacity(columns.len());
        for Column { key, values } in columns.iter().rev() {
            if let Value::Scalar { text, .. } = &values[rest % values.len()].value {
                row.push((key.text.clone(), text.clone()));
            }
            rest /= values.len();
        }
        row.reverse();
        let has = |(key, value): &(&str, &str)| row.iter().any(|(k, v)| k == key && v == value);
        let mut out = false;
        for (exclude, used) in excludes.iter().zip(&mut used) {
            if exclude.values.iter().all(has) {
                out = true;
                *used = true;
            }
        }
        if !out {
            rows.push(row);
        }
    }
    for (exclude, _) in excludes.iter().zip(used).filter(|(_, used)| !used) {
        let problem = Problem::new("this excludes no row of the matrix", exclude.span, "here");
        warnings.push(problem.help("see that its values are listed above, or remove it").warning());
    }
    rows
}

/// A row in words: `PY=3.11, OS=alpine`.
pub(super) fn in_words(row: &Row) -> String {
    let pairs: Vec<String> = row.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::invocation::Variable;
    use crate::manifest::node;

    fn check(text: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
        let node = node::parse(text, 0).unwrap();
        let given: [Variable; 1] = ["GIVEN=x".parse().unwrap()];
        let variables = Variables::new(&given, &|_| None);
        let mut vars = node::parse("vars: { VAR: x }", 0).unwrap();
        let variables = variables.of_file(&mut vars, &mut Vec::new());
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let rows = rows(&node, &variables, 100, &mut problems, &mut warnings);
        let words = |problems: Vec<Problem>| -> Vec<String> {
            let words = |p: Problem| format!("{} | {}", p.message, p.help.unwrap_or_default());
            problems.into_iter().map(words).collect()
        };
        let rows = rows.unwrap_or_default().iter().map(in_words).collect();
        (rows, words(problems), words(warnings))
    }

    #[test]
    fn rows_stand_in_written_order() {
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
    fn what_is_wrong_with_a_matrix() {
        for (text, says) in [
            ("[a]", "a mapping of variables"),
            ("{}", "without variables"),
            ("{ exclude: [] }", "without variables"),
            ("{ A: x }", "`A` should be a list"),
            ("{ A: [] }", "`A` has no values"),
            ("{ A: [3.10] }", "quote it: \"3.10\""),
            ("{ A: [[x]] }", "should be a text"),
            ("{ A: [x, y, x] }", "`x` is listed twice"),
            ("{ A-B: [x] }", "cannot be the name"),
            ("{ GIVEN: [x] }", "set by --var as well"),
            ("{ VAR: [x] }", "set under `vars:` as well"),
            ("{ A: [x], exclude: [{ A: x }] }", "no row left"),
            ("{ A: [x], include: [{ A: y }] }", "a matrix has no `include`"),
            ("{ A: [x], exclude: [{}] }", "no row left"),
            ("{ A: [x], exclude: { A: x } }", "should be a list"),
            ("{ A: [x], exclude: [x] }", "should be a mapping"),
            ("{ ABC: [x], exclude: [{ ABD: x }] }", "did you mean `ABC`?"),
            ("{ A: [x], exclude: [{ A: 1 }] }", "quote it: \"1\""),
        ] {
            let (rows, problems, _) = check(text);
            assert_eq!((rows.len(), problems.len()), (0, 1), "{text}: {problems:?}");
            assert!(problems[0].contains(says), "{text}: {problems:?}");
        }
        let many: Vec<String> = (0..11).map(|n| format!("'{n}'")).collect();
        let many = format!("{{ A: [{0}], B: [{0}] }}", many.join(", "));
        assert!(check(&many).1[0].contains("more than"), "{:?}", check(&many));
    }
}
