//! Reads patterns of paths, and tells what they match. Case counts. Pure.

/// A pattern of paths: `*` and `?` stay in one segment and pass over names that begin with a dot,
/// `[a-z]` and `[!a-z]` are one character, and `**` is any number of folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    pub(super) segments: Vec<Segment>,
}

/// What stands between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// `**`
    Folders,
    /// A name without signs.
    Name(String),
    /// A name with signs.
    Wild(Vec<Token>),
}

/// One step of a name with signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// `*`
    Any,
    /// `?`
    One,
    /// The character itself.
    Char(char),
    /// `[...]`: ranges, and whether they are what is not meant.
    Class(Vec<(char, char)>, bool),
}

/// Whether a text is a pattern, and not just a path.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[']) || has_choice(text)
}

/// Whether a text has a `{a,b}`, which is a choice to a shell, and no name.
fn has_choice(text: &str) -> bool {
    let inner = |after: &str| after.split_once('}').is_some_and(|(inner, _)| inner.contains(','));
    text.split('{').skip(1).any(inner)
}

impl Glob {
    /// Reads a pattern. What it cannot be is said in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if has_choice(text) {
            return Err("braces are not known in a pattern: write one for each".to_owned());
        }
        let mut segments = Vec::new();
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            segments.push(match part {
                // Two in a row are one: both would find all twice.
                "**" if segments.last() == Some(&Segment::Folders) => continue,
                "**" => Segment::Folders,
                _ if part.contains("**") => {
                    return Err("`**` is a whole segment: write `a/**/b`".to_owned());
                }
                _ if is_pattern(part) => Segment::Wild(tokens(part)?),
                _ => Segment::Name(part.to_owned()),
            });
        }
        Ok(Self { segments })
    }

    /// Whether a path with `/`, relative to where the pattern is, matches.
    pub(super) fn matches(&self, path: &str) -> bool {
        let parts: Vec<&str> =
            path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        // Which segments could come next, part by part: no pattern makes this go back.
        let mut next = vec![false; self.segments.len() + 1];
        next[0] = true;
        self.pass_folders(&mut next);
        for part in parts {
            let mut then = vec![false; next.len()];
            for (at, segment) in self.segments.iter().enumerate().filter(|(at, _)| next[*at]) {
                match segment {
                    Segment::Folders => then[at] |= !part.starts_with('.'),
                    Segment::Name(name) => then[at + 1] |= name == part,
                    Segment::Wild(tokens) => then[at + 1] |= names(tokens, part),
                }
            }
            self.pass_folders(&mut then);
            next = then;
        }
        next.last() == Some(&true)
    }

    /// `**` may be no folder at all.
    fn pass_folders(&self, next: &mut [bool]) {
        for (at, segment) in self.segments.iter().enumerate() {
            if next[at] && *segment == Segment::Folders {
                next[at + 1] = true;
            }
        }
    }
}

/// Whether a name with signs matches one name of a folder.
pub(super) fn names(tokens: &[Token], name: &str) -> bool {
    (!name.starts_with('.') || tokens.first() == Some(&Token::Char('.'))) && fits(tokens, name)
}

/// Goes back no further than to the last `*`, so that no pattern takes long.
fn fits(tokens: &[Token], name: &str) -> bool {
    let chars: Vec<char> = name.chars().collect();
    let (mut token, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < chars.len() {
        match tokens.get(token) {
            Some(Token::Any) => {
                star = Some((token, at));
                token += 1;
            }
            Some(one) if one.fits(chars[at]) => {
                token += 1;
                at += 1;
            }
            _ => {
                let Some((star_token, star_at)) = star else { return false };
                star = Some((star_token, star_at + 1));
                token = star_token + 1;
                at = star_at + 1;
            }
        }
    }
    tokens.get(token..).unwrap_or_default().iter().all(|token| *token == Token::Any)
}

impl Token {
    fn fits(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Char(own) => *own == c,
            Self::Class(ranges, negated) => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated
            }
        }
    }
}

fn tokens(part: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = part.chars();
    while let Some(c) = rest.next() {
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '[' => class(&mut rest)?,
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

fn class(rest: &mut std::str::Chars<'_>) -> Result<Token, String> {
    let mut ranges: Vec<(char, char)> = Vec::new();
    let negated = matches!(rest.clone().next(), Some('!' | '^'));
    if negated {
        rest.next();
    }
    loop {
        match rest.next() {
            None => return Err("`[` is never closed: add a `]`".to_owned()),
            Some(']') if !ranges.is_empty() => return Ok(Token::Class(ranges, negated)),
            Some(from) => {
                let mut ahead = rest.clone();
                match (ahead.next(), ahead.next()) {
                    (Some('-'), Some(to)) if to != ']' => {
                        *rest = ahead;
                        ranges.push((from, to));
                    }
                    _ => ranges.push((from, from)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (pattern, yes, no) in [
            (
                "services/*",
                &["services/api", "./services/api"][..],
                &["services", "services/a/b"][..],
            ),
            ("*", &["a"], &[".git", "a/b", ""]),
            (".*", &[".git"], &["a"]),
            ("**", &["", "a", "a/b"], &[".git", "a/.b/c"]),
            ("**/api", &["api", "x/api", "x/y/api"], &["api/x", ".x/api", "xapi"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a", "b", "a/bb"]),
            ("a/**/**/b", &["a/b", "a/x/b"], &["a"]),
            ("./a/", &["a"], &["A"]),
            ("[a-c]?-*", &["ax-", "c1-y"], &["d1-", "a-", "ab"]),
            ("[!a-c]", &["d", "-"], &["a", ""]),
            ("[]x]", &["]", "x"], &["y"]),
            ("a*b*c", &["abc", "axxbxbc"], &["ab", "acb"]),
            ("../x/*", &["../x/y"], &["x/y"]),
        ] {
            let glob = Glob::parse(pattern).unwrap();
            for path in yes {
                assert!(glob.matches(path), "{pattern} matches {path}");
            }
            for path in no {
                assert!(!glob.matches(path), "{pattern} does not match {path}");
            }
        }
        assert!(Glob::parse("{{cookie}}/x").unwrap().matches("{{cookie}}/x"));
        for bad in ["a**", "[", "[a", "x/[]", "{a,b}", "x/{a,b}*/y"] {
            assert!(Glob::parse(bad).is_err(), "{bad}");
        }
        // What would take for ever by going back.
        let glob = Glob::parse(&"*a".repeat(50)).unwrap();
        assert!(!glob.matches(&"a".repeat(49)));
        let glob = Glob::parse(&"**/a/".repeat(30)).unwrap();
        assert!(!glob.matches(&"a/".repeat(29)));
    }
}
