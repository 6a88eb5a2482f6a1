//! Reads what a registry demands before it answers: the `WWW-Authenticate` headers of a 401 (RFC
//! 9110, 11.6.1). Pure.

/// What a registry demands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Challenge {
    /// A token of the service at `realm`, made for the registry that is called `service` there.
    Bearer {
        /// A URL, not yet judged.
        realm: String,
        service: Option<String>,
    },
    /// A user and a password.
    Basic,
}

/// The first demand of the headers that can be met, a token before a password. All that is not
/// understood is passed over.
pub(super) fn read<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        for (scheme, parameters) in schemes(header) {
            let find = |name: &str| {
                let mut all = parameters.iter();
                all.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("bearer") {
                if let Some(realm) = find("realm") {
                    return Some(Challenge::Bearer { realm, service: find("service") });
                }
            } else if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

type Parameters = Vec<(String, String)>;

/// Every scheme of one header, with its parameters. A comma parts both schemes and parameters: a
/// word that no `=` follows begins a scheme.
fn schemes(header: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = Rest(header);
    loop {
        rest.skip(|c| c.is_whitespace() || c == ',');
        let word = rest.take(is_token);
        if word.is_empty() {
            // Not a word: one step on, and try again.
            if rest.next().is_none() {
                return found;
            }
            continue;
        }
        let after = rest;
        rest.skip(char::is_whitespace);
        let parameter = rest.next() == Some('=');
        if let Some((_, parameters)) = found.last_mut().filter(|_| parameter) {
            rest.skip(char::is_whitespace);
            parameters.push((word.to_owned(), rest.value()));
        } else {
            rest = after;
            found.push((word.to_owned(), Vec::new()));
        }
    }
}

/// What is left of a header.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.0.chars();
        let next = chars.next();
        self.0 = chars.as_str();
        next
    }

    fn skip(&mut self, skipped: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(skipped);
    }

    fn take(&mut self, taken: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !taken(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    /// A value, quoted or, up to the next comma or space, not.
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

/// A character of RFC 9110's `token`.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn demand(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    #[test]
    fn challenges() {
        let bearer = |realm, service| Some(demand(realm, service));
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/redis:pull""#;
        let table: &[(&[&str], Option<Challenge>)] = &[
            (&[hub], bearer("https://auth.docker.io/token", Some("registry.docker.io"))),
            (&[r#"bearer REALM="https://a/t""#], bearer("https://a/t", None)),
            (
                &[r#"Bearer  service = "s" ,  realm = "https://a/t""#],
                bearer("https://a/t", Some("s")),
            ),
            (&["Bearer realm=https://a/t?x=1,service=s"], bearer("https://a/t?x=1", Some("s"))),
            (&[r#"Bearer scope="a:b:pull,push",realm="https://a/t""#], bearer("https://a/t", None)),
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
            assert_eq!(read(headers.iter().copied()), *expected, "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,60}|([a-z=,\" \\\\é]|Bearer |Basic |realm=){0,30}") {
            read([text.as_str()]);
        }

        #[test]
        fn what_is_quoted_comes_back(realm in "[ -~]{1,30}", service in "[ -~]{0,30}") {
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer realm=\"{}\",service=\"{}\"", quoted(&realm), quoted(&service));
            prop_assert_eq!(read([header.as_str()]), Some(demand(&realm, Some(&service))));
        }
    }
}
