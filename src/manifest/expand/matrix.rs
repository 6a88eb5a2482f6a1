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

/// Keys of a matrix that are not variables.
const EXCLUDE_KEY: &str = "exclude";
const INCLUDE_KEY: &str = "include";

/// Variables of one row, in the order of the matrix.
pub(super) type Row = Vec<(String, String)>;

/// A variable and its values.
struct Column<'n> {
    key: &'n MapKey,
    values: Vec<Spanned<String>>,
}

/// Expands a matrix into its rows: all combinations of the values, where the first variable changes
/// slowest, without those of `exclude`, and then with those of `include`, as in GitHub Actions. A list
/// is a matrix that only includes rows. Returns `None` if a problem is or was reported, or if there
/// are more rows than images that are left of the maximum of the manifest.
pub(super) fn rows(
    matrix: &YamlNode,
    variables: &Variables<'_>,
    (images_left, max_images): (usize, usize),
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Row>> {
    let errors = diagnostics.errors();
    let (mut columns, mut exclusions, mut inclusions) = (Vec::new(), Vec::new(), Vec::new());
    match &matrix.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                if key.text == EXCLUDE_KEY {
                    exclusions = read_exclusions(value, entries, diagnostics);
                } else if key.text == INCLUDE_KEY {
                    inclusions = read_rows(value, variables, diagnostics);
                } else if let Some(values) = read_values(key, value, variables, diagnostics) {
                    columns.push(Column { key, values });
                }
            }
        }
        Value::Seq(_) => inclusions = read_rows(matrix, variables, diagnostics),
        Value::Bad => return None,
        Value::Scalar { .. } => {
            let help = "write the variables with their values: PY: [\"3.11\", \"3.12\"]";
            diagnostics.error("a matrix must be a mapping of variables", matrix.span, help);
        }
    }
    if columns.is_empty() && inclusions.is_empty() && diagnostics.errors() == errors {
        let help = "add a variable with its values, or remove the matrix";
        diagnostics.error("a matrix without variables", matrix.span, help);
    }
    // Without a variable, there is no combination.
    let first = usize::from(!columns.is_empty());
    let product = columns.iter().try_fold(first, |all, c| all.checked_mul(c.values.len()));
    if product.is_none_or(|product| product.saturating_add(inclusions.len()) > images_left) {
        let span = columns.first().map_or(matrix.span, |first| first.key.span);
        diagnostics.push(too_many_images(max_images, span));
    }
    if diagnostics.errors() > errors {
        return None;
    }
    let mut rows = product_rows(&columns, product.unwrap_or(0), &exclusions, diagnostics);
    include_rows(&mut rows, &columns, inclusions);
    if rows.is_empty() {
        let help = "exclude fewer rows, or remove the image";
        diagnostics.error("all rows of this matrix are excluded", matrix.span, help);
        return None;
    }
    Some(rows)
}

/// Reads a string. A number is rejected, because YAML reads `3.10` as 3.1.
fn read_text(value: &YamlNode, diagnostics: &mut Diagnostics) -> Option<Spanned<String>> {
    decode(&mut value.clone(), diagnostics)
}

/// Returns true if a variable of the matrix can have this name. Otherwise the key is reported.
fn check_name(key: &MapKey, variables: &Variables<'_>, diagnostics: &mut Diagnostics) -> bool {
    let name = &key.text;
    if !is_variable_name(name) {
        let help = "use letters, digits and `_`; do not start with a digit";
        let message = format!("`{name}` is not the name of a variable");
        diagnostics.error(message, key.span, help);
        return false;
    }
    let other = match (variables.is_flag(name), variables.is_var(name)) {
        (true, _) => "by --var",
        (_, true) => "under `vars:`",
        _ => return true,
    };
    let message = format!("`{name}` is a variable of this matrix and is also set {other}");
    diagnostics.error(message, key.span, "rename one of the two");
    false
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
    if !check_name(key, variables, diagnostics) {
        return None;
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
    let known: Vec<&str> = keys.filter(|key| ![EXCLUDE_KEY, INCLUDE_KEY].contains(key)).collect();
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

/// Reads the rows of `include`, or of a matrix that is a list of rows.
fn read_rows(
    list: &YamlNode,
    variables: &Variables<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<Row> {
    const HELP: &str = "write a list of rows: [{ PY: \"3.13\", OS: slim }]";
    let Value::Seq(items) = &list.value else {
        if !matches!(list.value, Value::Bad) {
            diagnostics.error("`include` must be a list", list.span, HELP);
        }
        return Vec::new();
    };
    let mut rows = Vec::new();
    for item in items {
        let pairs = match &item.value {
            Value::Map(pairs) if !pairs.is_empty() => pairs,
            Value::Bad => continue,
            _ => {
                let message = "a row of a matrix must be a mapping of variables to values";
                diagnostics.error(message, item.span, HELP);
                continue;
            }
        };
        let mut row = Row::new();
        for (key, value) in pairs {
            if check_name(key, variables, diagnostics)
                && let Some(text) = read_text(value, diagnostics)
            {
                row.push((key.text.clone(), text.to_string()));
            }
        }
        rows.push(row);
    }
    rows
}

/// Includes rows as GitHub Actions does. A row adds its variables to each combination whose values it
/// does not contradict, also over the variables that an earlier row added; one that fits none of the
/// combinations is a row of its own.
fn include_rows(rows: &mut Vec<Row>, columns: &[Column<'_>], inclusions: Vec<Row>) {
    let combinations = rows.len();
    let is_column = |name: &String| columns.iter().any(|column| column.key.text == *name);
    for included in inclusions {
        let (fixed, added): (Row, Row) =
            included.iter().cloned().partition(|(name, _)| is_column(name));
        let mut fits_one = false;
        for row in &mut rows[..combinations] {
            if !fixed.iter().all(|pair| row.contains(pair)) {
                continue;
            }
            fits_one = true;
            for (name, value) in &added {
                match row.iter_mut().find(|(own, _)| own == name) {
                    Some((_, own)) => own.clone_from(value),
                    None => row.push((name.clone(), value.clone())),
                }
            }
        }
        if !fits_one {
            rows.push(included);
        }
    }
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
        let rows = rows(&node, &variables, (100, 100), &mut diagnostics);
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

    /// The example of the documentation of GitHub Actions, "Expanding or adding matrix
    /// configurations".
    #[test]
    fn rows_are_included_as_in_github_actions() {
        let matrix = "{ FRUIT: [apple, pear], ANIMAL: [cat, dog], include: [
            { COLOR: green }, { COLOR: pink, ANIMAL: cat }, { FRUIT: apple, SHAPE: circle },
            { FRUIT: banana }, { FRUIT: banana, ANIMAL: cat }] }";
        let (rows, problems, warnings) = check(matrix);
        assert_eq!(
            rows,
            [
                "FRUIT=apple, ANIMAL=cat, COLOR=pink, SHAPE=circle",
                "FRUIT=apple, ANIMAL=dog, COLOR=green, SHAPE=circle",
                "FRUIT=pear, ANIMAL=cat, COLOR=pink",
                "FRUIT=pear, ANIMAL=dog, COLOR=green",
                "FRUIT=banana",
                "FRUIT=banana, ANIMAL=cat",
            ]
        );
        assert_eq!((problems, warnings), (vec![], vec![]));
    }

    #[test]
    fn rows_can_be_listed() {
        for (matrix, expected) in [
            ("[{ A: x, B: y }, { A: z }]", &["A=x, B=y", "A=z"][..]),
            ("{ include: [{ A: x, B: y }, { A: z }] }", &["A=x, B=y", "A=z"]),
            // Excluded combinations can be included again.
            ("{ A: [x, y], exclude: [{ A: x }], include: [{ A: x, B: z }] }", &["A=y", "A=x, B=z"]),
            ("{ A: [x], exclude: [{ A: x }], include: [{ A: y }] }", &["A=y"]),
            ("{ A: [x], include: [] }", &["A=x"]),
        ] {
            let (rows, problems, warnings) = check(matrix);
            assert_eq!(rows, expected, "{matrix}");
            assert_eq!((problems, warnings), (vec![], vec![]));
        }
    }

    #[test]
    fn invalid_matrices_are_rejected() {
        for (text, message) in [
            ("[a]", "a row of a matrix must be a mapping"),
            ("a", "a mapping of variables"),
            ("[]", "without variables"),
            ("[{}]", "a row of a matrix must be a mapping"),
            ("[{ A: 3.10 }]", "quote it: \"3.10\""),
            ("[{ A: [x] }]", "expected a string"),
            ("[{ A-B: x }]", "is not the name"),
            ("[{ GIVEN: x }]", "also set by --var"),
            ("{ A: [x], include: [{ VAR: x }] }", "also set under `vars:`"),
            ("{ A: [x], include: { A: x } }", "`include` must be a list"),
            ("{ A: [x], include: [x] }", "a row of a matrix must be a mapping"),
            ("{ A: [x], include: [{ B: y }], exclude: [{ B: y }] }", "no variable `B`"),
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
        let many = format!("[{}]", "{ A: x }, ".repeat(101));
        assert!(check(&many).1[0].contains("more than"), "{:?}", check(&many));
    }
}
