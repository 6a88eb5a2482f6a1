//! Parses `WWW-Authenticate` headers (RFC 9110, section 11.6.1). Pure.

/// The authentication that a registry requires.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Challenge {
    /// A token from the token service at `realm`.
    Bearer {
        /// URL of the token service, not yet validated.
        realm: String,
        /// Name of the registry at the token service.
        service: Option<String>,
        /// The access that the request needs, such as `repository:library/redis:pull`; several are
        /// separated by spaces.
        scope: Option<String>,
    },
    /// A user name and a password.
    Basic,
}

/// The access to a repository that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RepositoryAccess {
    /// Reading.
    Pull,
    /// Writing, for which registries require reading as well.
    Push,
    /// Deleting a manifest.
    Delete,
}

impl RepositoryAccess {
    /// Returns the scope that a request to a repository usually needs.
    pub(super) fn scope(self, repository: &str) -> String {
        let actions = match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
            Self::Delete => "delete",
        };
        format!("repository:{repository}:{actions}")
    }
}

impl Challenge {
    /// Returns the challenge that other repositories of the registry will probably send, from that of
    /// `repository`. `None` if its scope is neither the usual one nor independent of the repository.
    pub(super) fn of_other_repositories(
        &self,
        repository: &str,
        access: RepositoryAccess,
    ) -> Option<Self> {
        match self {
            Self::Bearer { realm, service, scope: Some(scope) } if scope.contains(':') => {
                let (realm, service) = (realm.clone(), service.clone());
                let is_usual = *scope == access.scope(repository);
                is_usual.then_some(Self::Bearer { realm, service, scope: None })
            }
            challenge => Some(challenge.clone()),
        }
    }
}

/// Returns the first supported challenge, with a preference for tokens. Skips everything that it does
/// not understand. `None` if no challenge is supported.
pub(super) fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        for (scheme, parameters) in schemes(header) {
            let find = |name: &str| {
                let mut all = parameters.iter();
                all.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("bearer") {
                if let Some(realm) = find("realm") {
                    let scope = find("scope").filter(|scope| !scope.trim().is_empty());
                    return Some(Challenge::Bearer { realm, service: find("service"), scope });
                }
            } else if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

type Parameters = Vec<(String, String)>;

/// Returns every scheme of a header with its parameters. Commas separate both schemes and parameters:
/// a token without a `=` after it begins a scheme.
fn schemes(header: &str) -> Vec<(String, Parameters)> {
    let mut schemes: Vec<(String, Parameters)> = Vec::new();
    let mut cursor = HeaderCursor(header);
    loop {
        cursor.skip(|c| c.is_whitespace() || c == ',');
        let token = cursor.take(is_token_char);
        if token.is_empty() {
            // Skip one character that cannot begin a token.
            if cursor.next().is_none() {
                return schemes;
            }
            continue;
        }
        let after_token = cursor;
        cursor.skip(char::is_whitespace);
        let is_parameter = cursor.next() == Some('=');
        if let Some((_, parameters)) = schemes.last_mut().filter(|_| is_parameter) {
            cursor.skip(char::is_whitespace);
            parameters.push((token.to_owned(), cursor.value()));
        } else {
            cursor = after_token;
            schemes.push((token.to_owned(), Vec::new()));
        }
    }
}

/// The unread part of a header.
#[derive(Clone, Copy)]
struct HeaderCursor<'a>(&'a str);

impl<'a> HeaderCursor<'a> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.0.chars();
        let next = chars.next();
        self.0 = chars.as_str();
        next
    }

    fn skip(&mut self, matches: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(matches);
    }

    fn take(&mut self, matches: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !matches(c)).unwrap_or(self.0.len());
        let (token, remainder) = self.0.split_at(end);
        self.0 = remainder;
        token
    }

    /// Reads a value: a quoted string, or the text up to the next comma or white space.
    fn value(&mut self) -> String {
        let Some(quoted) = self.0.strip_prefix('"') else {
            return self.take(|c| c != ',' && !c.is_whitespace()).to_owned();
        };
        self.0 = quoted;
        let mut value = String::new();
        while let Some(c) = self.next() {
            match c {
                '"' => break,
                '\\' => value.extend(self.next()),
                c => value.push(c),
            }
        }
        value
    }
}

/// True for a character of a `token` (RFC 9110, section 5.6.2).
fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn challenge(realm: &str, service: Option<&str>) -> Challenge {
        scoped(realm, service, None)
    }

    fn scoped(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let [service, scope] = [service, scope].map(|text| text.map(str::to_owned));
        Challenge::Bearer { realm: realm.to_owned(), service, scope }
    }

    #[test]
    fn challenges_are_parsed() {
        let bearer = |realm, service| Some(challenge(realm, service));
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/redis:pull""#;
        let table: &[(&[&str], Option<Challenge>)] = &[
            (
                &[hub],
                Some(scoped(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:library/redis:pull"),
                )),
            ),
            (&[r#"bearer REALM="https://a/t""#], bearer("https://a/t", None)),
            (
                &[r#"Bearer  service = "s" ,  realm = "https://a/t""#],
                bearer("https://a/t", Some("s")),
            ),
            (&["Bearer realm=https://a/t?x=1,service=s"], bearer("https://a/t?x=1", Some("s"))),
            (
                &[r#"Bearer Scope="a:b:pull,push",realm="https://a/t""#],
                Some(scoped("https://a/t", None, Some("a:b:pull,push"))),
            ),
            (&[r#"Bearer realm="https://a/t",scope=" ""#], bearer("https://a/t", None)),
            (
                &["Bearer realm=https://a/t, scope=aws"],
                Some(scoped("https://a/t", None, Some("aws"))),
            ),
            (&[r#"Bearer realm="a\"b\\c",service="""#], bearer(r#"a"b\c"#, Some(""))),
            (&[r#"Bearer realm="https://a/t"#], bearer("https://a/t", None)),
            (&[r#"Basic realm="x""#], Some(Challenge::Basic)),
            (&["Basic"], Some(Challenge::Basic)),
            (
                &[r#"Basic realm="x", Bearer realm="https://a/t",service="s""#],
                bearer("https://a/t", Some("s")),
            ),
            (&[r#"Bearer realm="https://a/t", Basic realm="x""#], bearer("https://a/t", None)),
            (&[r#"Basic realm="x""#, r#"Bearer realm="https://a/t""#], bearer("https://a/t", None)),
            (
                &[r#"Negotiate, Digest qop="auth", nonce="Bearer realm=x", Basic realm="y""#],
                Some(Challenge::Basic),
            ),
            (&[r#"Basic realm="Bearer realm=\"https://evil/t\"""#], Some(Challenge::Basic)),
            (&["Bearer service=s"], None),
            (&["Bearer", "Basic"], Some(Challenge::Basic)),
            (&["Negotiate dGVzdA=="], None),
            (&[""], None),
            (&[",,, = \" é"], None),
            (&[], None),
        ];
        for (headers, expected) in table {
            assert_eq!(parse(headers.iter().copied()), *expected, "{headers:?}");
        }
    }

    #[test]
    fn a_challenge_is_expected_for_other_repositories_if_its_scope_is_usual() {
        for (scope, expected) in [
            (None, Some(None)),
            (Some("repository:a/b:pull"), Some(None)),
            (Some("aws"), Some(Some("aws"))),
            (Some("repository:a/b:pull,push"), None),
            (Some("repository:elsewhere/a/b:pull"), None),
            (Some("repository:a/b:pull repository:c:pull"), None),
        ] {
            let expected = expected.map(|scope| scoped("https://a/t", Some("s"), scope));
            let others = scoped("https://a/t", Some("s"), scope)
                .of_other_repositories("a/b", RepositoryAccess::Pull);
            assert_eq!(others, expected, "{scope:?}");
        }
        assert_eq!(
            Challenge::Basic.of_other_repositories("a/b", RepositoryAccess::Pull),
            Some(Challenge::Basic)
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,60}|([a-z=,\" \\\\é]|Bearer |Basic |realm=){0,30}") {
            parse([text.as_str()]);
        }

        #[test]
        fn quoted_values_round_trip(realm in "[ -~]{1,30}", service in "[ -~]{0,30}") {
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer realm=\"{}\",service=\"{}\"", quoted(&realm), quoted(&service));
            prop_assert_eq!(parse([header.as_str()]), Some(challenge(&realm, Some(&service))));
        }
    }
}
