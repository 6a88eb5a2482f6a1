//! Expands variables and splits words as Docker's own small shell does: quotes, escapes, `$X`,
//! `${X:-d}` and their kin, and `<<` of here-documents. Pure.

use regex::Regex;

/// What is known of a variable.
pub(super) enum Value {
    /// Its value.
    Set(String),
    /// It has none.
    Unset,
    /// It may have one that only the build will know, such as the environment of a base image.
    Unknown,
    /// Variables are not expanded at all: here-documents are found before any has a value.
    Keep,
}

/// How a text is read.
pub(super) struct Shell<'e> {
    /// The character that takes the next one literally.
    pub(super) escape: char,
    /// Whether quotes and escapes stay in the result.
    pub(super) raw: bool,
    /// Looks up a variable.
    pub(super) lookup: &'e dyn Fn(&str) -> Value,
}

/// What became of a text.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    /// The whole, with its white space.
    pub(super) text: String,
    /// The same, split at white space that is not quoted.
    pub(super) words: Vec<String>,
    /// A variable that had no value where one was needed.
    pub(super) unset: Option<String>,
    /// A variable whose value is not known here.
    pub(super) unknown: Option<String>,
    /// Whether `${X?}` asked for a variable that has no value, which ends a build.
    pub(super) demanded: bool,
}

/// Substitutions may stand within substitutions; deeper than this is not a Dockerfile but an attack.
const MAX_DEPTH: usize = 50;

/// Variables that hold each other double in length with each line; no path or image is this long.
const MAX_VALUES: usize = 1 << 20;

impl Shell<'_> {
    /// Reads `text`; the error is a sentence without a full stop.
    pub(super) fn expand(&self, text: &str) -> Result<Expanded, String> {
        let mut scan =
            Scan { shell: self, rest: text, out: Expanded::default(), depth: 0, spent: 0 };
        let (text, words) = scan.until(None, self.raw)?;
        Ok(Expanded { text, words, ..scan.out })
    }
}

struct Scan<'s, 'e> {
    shell: &'s Shell<'e>,
    rest: &'s str,
    out: Expanded,
    depth: usize,
    /// The length of all values so far.
    spent: usize,
}

/// Collects words: white space ends one, unless it is quoted.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
}

impl Words {
    fn plain(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() {
                self.end();
            } else {
                self.current.push(c);
            }
        }
    }

    fn end(&mut self) {
        if !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }
}

impl Scan<'_, '_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    /// Reads up to `stop`, or to the end.
    fn until(&mut self, stop: Option<char>, raw: bool) -> Result<(String, Vec<String>), String> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(c) = self.peek() {
            if stop == Some(c) {
                self.next();
                words.end();
                return Ok((text, words.done));
            }
            let piece = match c {
                '$' => {
                    let value = self.dollar()?;
                    words.plain(&value);
                    text.push_str(&value);
                    continue;
                }
                '\'' | '"' => self.quoted(c, raw)?,
                '<' => self.less(),
                _ => {
                    self.next();
                    if c != self.shell.escape {
                        words.plain(c.encode_utf8(&mut [0; 4]));
                        text.push(c);
                        continue;
                    }
                    let mut piece = String::new();
                    if raw {
                        piece.push(c);
                    }
                    piece.extend(self.next());
                    piece
                }
            };
            words.current.push_str(&piece);
            text.push_str(&piece);
        }
        if let Some(stop) = stop {
            return Err(format!("`{stop}` is missing"));
        }
        words.end();
        Ok((text, words.done))
    }

    /// A `<`, or `<<` with the blanks behind it, which belong to the word of a here-document.
    fn less(&mut self) -> String {
        self.next();
        let Some(rest) = self.rest.strip_prefix('<') else { return "<".to_owned() };
        let word = rest.trim_start_matches(['\t', '\r', ' ']);
        let blanks = &rest[..rest.len() - word.len()];
        self.rest = word;
        format!("<<{blanks}")
    }

    fn quoted(&mut self, quote: char, raw: bool) -> Result<String, String> {
        let mut text = String::new();
        self.next();
        if self.shell.raw {
            text.push(quote);
        }
        loop {
            match self.peek() {
                None => return Err(format!("the closing {quote} is missing")),
                Some(c) if c == quote => {
                    self.next();
                    if self.shell.raw {
                        text.push(quote);
                    }
                    return Ok(text);
                }
                Some('$') if quote == '"' => text.push_str(&self.dollar()?),
                Some(c) => {
                    self.next();
                    if c == self.shell.escape && quote == '"' {
                        self.escape_in_quotes(c, raw, &mut text);
                    } else {
                        text.push(c);
                    }
                }
            }
        }
    }

    /// Between double quotes, only a quote, a dollar and the escape itself can be escaped.
    fn escape_in_quotes(&mut self, escape: char, raw: bool, text: &mut String) {
        if raw {
            text.push(escape);
        }
        match self.peek() {
            None => {}
            Some(c) if matches!(c, '"' | '$') || c == escape => {
                self.next();
                text.push(c);
            }
            Some(_) => text.push(escape),
        }
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.lookup(&name)? {
                Value::Keep => format!("${name}"),
                value => self.plain(&name, value),
            });
        }
        self.next();
        if self.depth >= MAX_DEPTH {
            return Err("substitutions are nested too deeply".to_owned());
        }
        self.depth += 1;
        let value = self.braces();
        self.depth -= 1;
        value
    }

    fn lookup(&mut self, name: &str) -> Result<Value, String> {
        let value = (self.shell.lookup)(name);
        if let Value::Set(value) = &value {
            self.spent += value.len();
        }
        if self.spent > MAX_VALUES {
            return Err("the values of the variables are too long".to_owned());
        }
        Ok(value)
    }

    /// The value of a variable without a modifier: an unset one is empty.
    fn plain(&mut self, name: &str, value: Value) -> String {
        match value {
            Value::Set(value) => value,
            Value::Unknown => {
                self.out.unknown.get_or_insert_with(|| name.to_owned());
                String::new()
            }
            Value::Unset | Value::Keep => {
                self.out.unset.get_or_insert_with(|| name.to_owned());
                String::new()
            }
        }
    }

    fn braces(&mut self) -> Result<String, String> {
        let name = self.name();
        let operator = match self.next() {
            None => return Err("`}` is missing".to_owned()),
            Some('{') => return Err("this substitution is not one of Docker's".to_owned()),
            Some(_) if name.is_empty() => {
                return Err("a name is missing between `${` and `}`".to_owned());
            }
            Some(c) => c,
        };
        let value = self.lookup(&name)?;
        match operator {
            '}' => Ok(match value {
                Value::Keep => format!("${{{name}}}"),
                value => self.plain(&name, value),
            }),
            '/' => self.replace(&name, value),
            ':' => match self.next() {
                Some(c @ ('-' | '+' | '?')) => self.choose(&name, value, c, true),
                _ => Err("after `:` comes one of `-`, `+` and `?`".to_owned()),
            },
            '-' | '+' | '?' => self.choose(&name, value, operator, false),
            '#' | '%' => self.strip(&name, value, operator),
            _ => Err(format!("`{operator}` is not a modifier that Docker knows")),
        }
    }

    /// `${X-d}`, `${X+d}`, `${X?m}`; with a colon, an empty value counts as none.
    fn choose(
        &mut self,
        name: &str,
        value: Value,
        op: char,
        colon: bool,
    ) -> Result<String, String> {
        let (unset, unknown) = (self.out.unset.clone(), self.out.unknown.clone());
        let (word, _) = self.until(Some('}'), false)?;
        let value = match value {
            Value::Keep => {
                let colon = if colon { ":" } else { "" };
                return Ok(format!("${{{name}{colon}{op}{word}}}"));
            }
            Value::Unknown => {
                self.out.unknown.get_or_insert_with(|| name.to_owned());
                return Ok(String::new());
            }
            Value::Set(value) if !(colon && value.is_empty()) => Some(value),
            Value::Set(_) | Value::Unset => None,
        };
        if value.is_some() != (op == '+') {
            // The word is not used, and neither is what it lacked.
            (self.out.unset, self.out.unknown) = (unset, unknown);
        }
        Ok(match (op, value) {
            ('-', value) => value.unwrap_or(word),
            ('+', value) => value.map(|_| word).unwrap_or_default(),
            (_, Some(value)) => value,
            (_, None) => {
                self.out.demanded = true;
                self.out.unset = Some(name.to_owned());
                String::new()
            }
        })
    }

    /// `${X#p}` and `${X%p}` take the shortest match of a pattern from the start or the end, `##`
    /// and `%%` the longest.
    fn strip(&mut self, name: &str, value: Value, op: char) -> Result<String, String> {
        let (word, _) = self.until(Some('}'), true)?;
        if matches!(value, Value::Keep) {
            return Ok(format!("${{{name}{op}{word}}}"));
        }
        let value = self.plain(name, value);
        let (pattern, longest) = match word.strip_prefix(op) {
            Some(pattern) => (pattern, true),
            None => (word.as_str(), false),
        };
        let glob = glob(pattern, longest)?;
        let regex = match (op, longest) {
            ('#', _) => format!("(?s)^{glob}()"),
            (_, true) => format!("(?s)^(.*?){glob}$"),
            (_, false) => format!("(?s)^(.*){glob}$"),
        };
        let regex = Regex::new(&regex).map_err(|_| format!("`{pattern}` is not a pattern"))?;
        Ok(match regex.captures(&value).and_then(|found| Some((found.get(0)?, found.get(1)?))) {
            Some((whole, _)) if op == '#' => value[whole.end()..].to_owned(),
            Some((_, kept)) => kept.as_str().to_owned(),
            None => value,
        })
    }

    /// `${X/p/r}` replaces the first match of a pattern, `${X//p/r}` every one.
    fn replace(&mut self, name: &str, value: Value) -> Result<String, String> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let (pattern, _) = self.until(Some('/'), true)?;
        let (with, _) = self.until(Some('}'), true)?;
        if matches!(value, Value::Keep) {
            return Ok(format!("${{{name}/{pattern}/{with}}}"));
        }
        let value = self.plain(name, value);
        let regex = Regex::new(&format!("(?s){}", glob(&pattern, true)?))
            .map_err(|_| format!("`{pattern}` is not a pattern"))?;
        let limit = usize::from(!all);
        Ok(regex.replacen(&value, limit, regex::NoExpand(&with)).into_owned())
    }

    /// A name: letters, digits and `_`; digits alone; or one of the shell's special characters.
    fn name(&mut self) -> String {
        let special = |c: char| matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!');
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let end = match self.peek() {
            Some(c) if special(c) => Some(1),
            Some(c) if c.is_numeric() => self.rest.find(|c: char| !c.is_numeric()),
            _ => self.rest.find(|c| !word(c)),
        };
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        name.to_owned()
    }
}

/// A pattern of `*` and `?` as a regular expression.
fn glob(pattern: &str, longest: bool) -> Result<String, String> {
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
                _ => return Err(format!("`{pattern}` escapes what needs no escape")),
            },
            c => c,
        };
        regex.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
    }
    Ok(regex)
}
