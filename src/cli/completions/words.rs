//! Splits the line of a shell into words, and writes candidates as shells read them. Pure.

use std::ffi::OsString;
use std::path::Path;

use crate::base::safe_text::is_unsafe;
use crate::cli::args::ShellKind;

/// Characters that are themselves in every shell, besides letters and digits.
const PLAIN: &str = "._:/=@%+-";

/// The user's home folder, at the beginning of a path.
const HOME: &str = "~/";

/// Returns a word as a command gets it: with the path of the home folder.
pub(super) fn expanded(word: &OsString, home: Option<&Path>) -> OsString {
    let below_home = word.to_str().and_then(|word| word.strip_prefix(HOME));
    match (below_home, home) {
        (Some(path), Some(home)) => home.join(path).into(),
        _ => word.clone(),
    }
}

/// True for a word that no shell changes, expands or executes.
pub(super) fn is_plain(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_alphanumeric() || PLAIN.contains(c))
}

/// Splits the line of bash up to the cursor into words; the last one is the word to complete. `None`
/// within an escape.
pub(super) fn split(line: &str) -> Option<Vec<OsString>> {
    let closed = shlex::split(line);
    // After a space, a word begins.
    let begins = closed.is_some() && line.ends_with(char::is_whitespace);
    let in_quotes = || {
        let mut quotes = ['\'', '"'].iter().filter(|_| !line.ends_with('\\'));
        quotes.find_map(|quote| shlex::split(&format!("{line}{quote}")))
    };
    let mut words = closed.or_else(in_quotes)?;
    if begins {
        words.push(String::new());
    }
    Some(words.into_iter().map(OsString::from).collect())
}

/// The word to complete, of which a shell may replace only the end.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    /// Beginning of the word that stays as it is.
    kept: String,
    /// True if the word begins with the user's home folder, which a shell must not quote.
    is_at_home: bool,
}

impl Replaced {
    /// Divides a word into what stays and what is replaced: bash replaces what follows the last colon or
    /// equals sign. `replaced` may have quotes.
    pub(super) fn new(word: &str, replaced: &str) -> Self {
        let plain = shlex::split(replaced).map(|words| words.concat());
        let replaced = [Some(replaced.to_owned()), plain];
        let kept = replaced.iter().flatten().find_map(|replaced| word.strip_suffix(&**replaced));
        Self { kept: kept.unwrap_or_default().to_owned(), is_at_home: word.starts_with(HOME) }
    }
}

/// Returns the line of a candidate. `None` if the shell cannot take it, or would execute it.
pub(super) fn line(
    shell: ShellKind,
    value: &str,
    help: &str,
    replaced: &Replaced,
) -> Option<String> {
    if value.contains(is_unsafe) {
        return None;
    }
    let help = |separator: &str| match help {
        "" => String::new(),
        help => format!("{separator}{help}"),
    };
    match shell {
        ShellKind::Bash => {
            let value = value.strip_prefix(&replaced.kept)?;
            let home = value.strip_prefix(HOME).filter(|_| replaced.is_at_home);
            let (home, value) = home.map_or(("", value), |value| (HOME, value));
            let is_special = |c: char| !(c.is_alphanumeric() || PLAIN.contains(c) || c == ',');
            let escape = |c: char| is_special(c).then_some('\\').into_iter().chain([c]);
            Some(home.chars().chain(value.chars().flat_map(escape)).collect())
        }
        ShellKind::Zsh => {
            let value = value.replace('\\', "\\\\").replace(':', "\\:");
            Some(format!("{value}{}", help(":").replace('\\', "\\\\")))
        }
        ShellKind::Fish => Some(format!("{value}{}", help("\t"))),
        ShellKind::Elvish => Some(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_bash_is_split_as_bash_does() {
        for (line, words) in [
            ("imgplan ", &["imgplan", ""][..]),
            ("imgplan pl", &["imgplan", "pl"]),
            ("imgplan plan --target app:v", &["imgplan", "plan", "--target", "app:v"]),
            ("imgplan plan --target=app:", &["imgplan", "plan", "--target=app:"]),
            ("imgplan -f 'a b' plan ", &["imgplan", "-f", "a b", "plan", ""]),
            ("imgplan -f 'a b", &["imgplan", "-f", "a b"]),
            ("imgplan -f \"a ", &["imgplan", "-f", "a "]),
            (r"imgplan -f a\ b", &["imgplan", "-f", "a b"]),
        ] {
            let split = split(line).unwrap();
            assert_eq!(split, words.iter().map(OsString::from).collect::<Vec<_>>(), "{line}");
        }
        assert_eq!(split("imgplan a\\"), None);
    }

    #[test]
    fn bash_gets_the_end_of_a_word() {
        let line = |word, replaced, value| {
            line(ShellKind::Bash, value, "help", &Replaced::new(word, replaced))
        };
        for (word, replaced, value, expected) in [
            ("app:v", "v", "app:v1", Some("v1")),
            ("app:", "", "app:v1", Some("v1")),
            ("app:", ":", "app:v1", Some(":v1")),
            ("--target=app:", "", "--target=app:v1", Some("v1")),
            ("", "", "app:v1", Some("app:v1")),
            ("a b/", r"a\ b/", "a b/c", Some(r"a\ b/c")),
            ("a b/", "'a b/", "a b/c", Some(r"a\ b/c")),
            ("", "", "$(rm)", Some(r"\$\(rm\)")),
            ("~/a", "~/a", "~/a b", Some(r"~/a\ b")),
            ("", "", "~/a", Some(r"\~/a")),
            ("", "", "a\nb", None),
            ("app:v", "v", "b", None),
        ] {
            assert_eq!(
                line(word, replaced, value).as_deref(),
                expected,
                "{word} {replaced} {value}"
            );
        }
    }

    #[test]
    fn each_shell_gets_its_form() {
        let line = |shell, value| line(shell, value, "a: b", &Replaced::default());
        assert_eq!(line(ShellKind::Zsh, "a:b").as_deref(), Some("a\\:b:a: b"));
        assert_eq!(line(ShellKind::Fish, "a:b").as_deref(), Some("a:b\ta: b"));
        assert_eq!(line(ShellKind::Elvish, "a b").as_deref(), Some("a b"));
    }

    #[test]
    fn words_that_a_shell_changes_are_not_plain() {
        for plain in ["app:v1", "label=value", "a.b/c_d-e", "v1+x@y%z"] {
            assert!(is_plain(plain), "{plain}");
        }
        for other in
            ["a b", "$(x)", "`x`", "a;b", "a*", "~", "a'b", "a\"b", "a\\b", "é", "a|b", "a,b"]
        {
            assert!(!is_plain(other), "{other}");
        }
    }
}
