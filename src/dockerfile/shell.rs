//! Expands variables and splits words as BuildKit's own small shell does: quotes, escapes, `$X`,
//! `${X:-d}` and similar, and the `<<` of here-documents. Pure.

use super::shell_pattern;

/// The result of looking up a variable.
pub(super) enum VariableValue {
    Set(String),
    Unset,
    /// The variable may have a value that is known only during the build, such as one from the
    /// environment of the base image.
    Unknown,
    /// The variable must stay as it is written. Here-documents are found before any variable has
    /// a value.
    Unexpanded,
}

/// The settings for reading a text.
pub(super) struct Shell<'e> {
    /// The character that makes the next character literal.
    pub(super) escape: char,
    /// True if quotes and escapes stay in the result.
    pub(super) keep_quotes: bool,
    /// Looks up a variable.
    pub(super) lookup: &'e dyn Fn(&str) -> VariableValue,
}

/// A text after expansion.
#[derive(Debug, Default)]
pub(super) struct Expansion {
    /// The whole text, including its whitespace.
    pub(super) text: String,
    /// The same text, split at whitespace that is not quoted.
    pub(super) words: Vec<String>,
    /// The first variable that had no value.
    pub(super) unset: Option<String>,
    /// The first variable whose value is unknown.
    pub(super) unknown: Option<String>,
    /// True if a variable in `${X?}` has no value, which makes the build fail.
    pub(super) required_unset: bool,
}

/// Maximum depth of nested substitutions. No real Dockerfile needs more; the limit protects the
/// stack.
const MAX_SUBSTITUTION_DEPTH: usize = 50;

/// Maximum length of all values in one text together, in bytes. Variables that use each other can
/// double in length with each line; no path or image name is this long.
const MAX_VALUE_BYTES: usize = 1 << 20;

impl Shell<'_> {
    /// Expands the variables in `text`. Fails on a syntax error, with a sentence without a full
    /// stop.
    pub(super) fn expand(&self, text: &str) -> Result<Expansion, String> {
        // Most texts have nothing to expand.
        if !text.contains(['$', '\'', '"', '<', self.escape]) {
            let words = text.split_whitespace().map(str::to_owned).collect();
            return Ok(Expansion { text: text.to_owned(), words, ..Expansion::default() });
        }
        let expansion = Expansion::default();
        let mut expander =
            ShellExpander { shell: self, rest: text, expansion, depth: 0, value_bytes: 0 };
        let (text, words) = expander.until(None, self.keep_quotes)?;
        Ok(Expansion { text, words, ..expander.expansion })
    }
}

struct ShellExpander<'s, 'e> {
    shell: &'s Shell<'e>,
    /// The text that is not read yet.
    rest: &'s str,
    expansion: Expansion,
    /// The number of substitutions around the current position.
    depth: usize,
    /// The length of all values so far.
    value_bytes: usize,
}

/// Collects words, which end at whitespace that is not quoted.
#[derive(Default)]
struct WordCollector {
    done: Vec<String>,
    current: String,
}

impl WordCollector {
    fn unquoted(&mut self, text: &str) {
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

impl ShellExpander<'_, '_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    /// Reads up to `stop`, or to the end of the text.
    fn until(
        &mut self,
        stop: Option<char>,
        keep_quotes: bool,
    ) -> Result<(String, Vec<String>), String> {
        let mut text = String::new();
        let mut words = WordCollector::default();
        while let Some(c) = self.peek() {
            if stop == Some(c) {
                self.next();
                words.end();
                return Ok((text, words.done));
            }
            let piece = match c {
                '$' => {
                    let value = self.dollar()?;
                    words.unquoted(&value);
                    text.push_str(&value);
                    continue;
                }
                '\'' | '"' => self.quoted(c, keep_quotes)?,
                '<' => self.less_than(),
                _ => {
                    self.next();
                    if c != self.shell.escape {
                        words.unquoted(c.encode_utf8(&mut [0; 4]));
                        text.push(c);
                        continue;
                    }
                    let mut piece = String::new();
                    if keep_quotes {
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
            return Err(format!("missing `{stop}`"));
        }
        words.end();
        Ok((text, words.done))
    }

    /// Reads `<`, or `<<` and the blanks after it, which belong to the word of a here-document.
    fn less_than(&mut self) -> String {
        self.next();
        let Some(rest) = self.rest.strip_prefix('<') else { return "<".to_owned() };
        let word = rest.trim_start_matches(['\t', '\r', ' ']);
        let blanks = &rest[..rest.len() - word.len()];
        self.rest = word;
        format!("<<{blanks}")
    }

    fn quoted(&mut self, quote: char, keep_quotes: bool) -> Result<String, String> {
        let mut text = String::new();
        self.next();
        if self.shell.keep_quotes {
            text.push(quote);
        }
        loop {
            match self.peek() {
                None => return Err(format!("missing closing {quote}")),
                Some(c) if c == quote => {
                    self.next();
                    if self.shell.keep_quotes {
                        text.push(quote);
                    }
                    return Ok(text);
                }
                Some('$') if quote == '"' => text.push_str(&self.dollar()?),
                Some(c) => {
                    self.next();
                    if c == self.shell.escape && quote == '"' {
                        self.escape_in_quotes(c, keep_quotes, &mut text);
                    } else {
                        text.push(c);
                    }
                }
            }
        }
    }

    /// Reads the character after an escape in double quotes, where only a quote, a dollar and the
    /// escape character itself can be escaped.
    fn escape_in_quotes(&mut self, escape: char, keep_quotes: bool, text: &mut String) {
        if keep_quotes {
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
                VariableValue::Unexpanded => format!("${name}"),
                value => self.text_of(&name, value),
            });
        }
        self.next();
        if self.depth >= MAX_SUBSTITUTION_DEPTH {
            return Err("substitutions are nested too deeply".to_owned());
        }
        self.depth += 1;
        let value = self.braces();
        self.depth -= 1;
        value
    }

    fn lookup(&mut self, name: &str) -> Result<VariableValue, String> {
        let value = (self.shell.lookup)(name);
        if let VariableValue::Set(value) = &value {
            self.value_bytes += value.len();
        }
        if self.value_bytes > MAX_VALUE_BYTES {
            return Err("the values of the variables are too long".to_owned());
        }
        Ok(value)
    }

    /// Returns the value of a variable without a modifier, which is empty if the variable is unset.
    fn text_of(&mut self, name: &str, value: VariableValue) -> String {
        match value {
            VariableValue::Set(value) => value,
            VariableValue::Unknown => {
                self.expansion.unknown.get_or_insert_with(|| name.to_owned());
                String::new()
            }
            VariableValue::Unset | VariableValue::Unexpanded => {
                self.expansion.unset.get_or_insert_with(|| name.to_owned());
                String::new()
            }
        }
    }

    /// Reads a substitution after its `${`.
    fn braces(&mut self) -> Result<String, String> {
        let name = self.name();
        let operator = match self.next() {
            None => return Err("missing `}`".to_owned()),
            Some('{') => return Err("Docker has no substitution `${{`".to_owned()),
            Some(_) if name.is_empty() => {
                return Err("missing variable name after `${`".to_owned());
            }
            Some(c) => c,
        };
        let value = self.lookup(&name)?;
        let unexpanded = matches!(value, VariableValue::Unexpanded);
        match operator {
            '}' => Ok(match value {
                VariableValue::Unexpanded => format!("${{{name}}}"),
                value => self.text_of(&name, value),
            }),
            '/' => self.replace(&name, value),
            ':' => match self.next() {
                Some(c @ ('-' | '+' | '?')) => self.choose(&name, value, c, true),
                // Docker does not check the modifier of a variable that it does not expand.
                Some(c) if unexpanded && !matches!(c, '#' | '%') => {
                    self.choose(&name, value, c, true)
                }
                _ => Err("expected `-`, `+` or `?` after `:`".to_owned()),
            },
            '-' | '+' | '?' => self.choose(&name, value, operator, false),
            '#' | '%' => self.strip(&name, value, operator),
            _ => Err(format!("Docker has no modifier `{operator}`")),
        }
    }

    /// Reads `${X-d}`, `${X+d}` or `${X?m}`. After a colon, an empty value counts as unset.
    fn choose(
        &mut self,
        name: &str,
        value: VariableValue,
        op: char,
        colon: bool,
    ) -> Result<String, String> {
        let (unset, unknown) = (self.expansion.unset.clone(), self.expansion.unknown.clone());
        let (word, _) = self.until(Some('}'), false)?;
        let value = match value {
            VariableValue::Unexpanded => {
                let colon = if colon { ":" } else { "" };
                return Ok(format!("${{{name}{colon}{op}{word}}}"));
            }
            VariableValue::Unknown => {
                self.expansion.unknown.get_or_insert_with(|| name.to_owned());
                return Ok(String::new());
            }
            VariableValue::Set(value) if !(colon && value.is_empty()) => Some(value),
            VariableValue::Set(_) | VariableValue::Unset => None,
        };
        if value.is_some() != (op == '+') {
            // The word is not used, so it does not matter if its variables have values.
            (self.expansion.unset, self.expansion.unknown) = (unset, unknown);
        }
        Ok(match (op, value) {
            ('-', value) => value.unwrap_or(word),
            ('+', value) => value.map(|_| word).unwrap_or_default(),
            (_, Some(value)) => value,
            (_, None) => {
                self.expansion.required_unset = true;
                self.expansion.unset = Some(name.to_owned());
                String::new()
            }
        })
    }

    /// Reads `${X#p}` or `${X%p}`, which remove the shortest match of a pattern at the start or the
    /// end. `##` and `%%` remove the longest match.
    fn strip(&mut self, name: &str, value: VariableValue, op: char) -> Result<String, String> {
        let (word, _) = self.until(Some('}'), true)?;
        if matches!(value, VariableValue::Unexpanded) {
            return Ok(format!("${{{name}{op}{word}}}"));
        }
        let value = self.text_of(name, value);
        let (pattern, longest) = match word.strip_prefix(op) {
            Some(pattern) => (pattern, true),
            None => (word.as_str(), false),
        };
        match op {
            '#' => shell_pattern::strip_start(value, pattern, longest),
            _ => shell_pattern::strip_end(value, pattern, longest),
        }
    }

    /// Reads `${X/p/r}`, which replaces the first match of a pattern, or `${X//p/r}`, which
    /// replaces every match.
    fn replace(&mut self, name: &str, value: VariableValue) -> Result<String, String> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let (pattern, _) = self.until(Some('/'), true)?;
        let (replacement, _) = self.until(Some('}'), true)?;
        if matches!(value, VariableValue::Unexpanded) {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        shell_pattern::replace(&self.text_of(name, value), &pattern, &replacement, all)
    }

    /// Reads a name: letters, digits and `_`; digits alone; or one special character of the shell.
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
