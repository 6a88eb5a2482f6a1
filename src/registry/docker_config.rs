//! Reads Docker's `config.json`, and Podman's `auth.json`, which is the same: where the credentials
//! for a registry are. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde_json::Value;

use crate::base::reference::DOCKER_HUB;

/// What Docker calls its Hub wherever it keeps credentials.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What a registry may be shown. `Debug` hides the secret.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    /// A user and a password, or a token in its place.
    Password { user: String, password: SecretString },
    /// What is exchanged for tokens, in place of a password.
    Identity(SecretString),
}

/// Where a credential is.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// In the file.
    Here(&'a Credential),
    /// At the program `docker-credential-<name>`, under the name `server`.
    Helper { name: &'a str, server: String },
}

/// One file.
#[derive(Debug, Default)]
pub(super) struct DockerConfig {
    auths: Vec<(Key, Credential)>,
    helpers: Vec<(Key, String)>,
    store: Option<String>,
}

/// The registry, and in Podman's files also the path in it, for which something holds.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    registry: String,
    path: String,
}

impl DockerConfig {
    /// Reads a file. Entries that cannot be right are passed over, as Docker does; a file that is no
    /// JSON object is an error in words.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let json: Value = serde_json::from_str(text).map_err(|_| "is not JSON")?;
        let Value::Object(json) = json else { return Err("is not a JSON object") };
        let entries = |name: &str| json.get(name).and_then(Value::as_object).into_iter().flatten();
        let helper = |value: &Value| value.as_str().filter(|name| is_word(name)).map(str::to_owned);
        let mut auths: Vec<_> = entries("auths")
            .filter_map(|(key, value)| Some((Key::read(key), credential(value)?)))
            .collect();
        // The longest path that fits counts.
        auths.sort_by_key(|(key, _)| std::cmp::Reverse(key.path.len()));
        let helpers = entries("credHelpers");
        Ok(Self {
            auths,
            helpers: helpers
                .filter_map(|(key, name)| Some((Key::read(key), helper(name)?)))
                .collect(),
            store: json.get("credsStore").and_then(helper),
        })
    }

    /// Where credentials for a repository may be, in the order in which Docker looks.
    pub(super) fn find(&self, registry: &str, repository: &str) -> Vec<Found<'_>> {
        let server = if registry == DOCKER_HUB { DOCKER_HUB_KEY } else { registry };
        let own = self.helpers.iter().find(|(key, _)| key.fits(registry, repository));
        let helper = own.map(|(_, name)| name).or(self.store.as_ref());
        let helper = helper.map(|name| Found::Helper { name, server: server.to_owned() });
        let here = self.auths.iter().find(|(key, _)| key.fits(registry, repository));
        helper.into_iter().chain(here.map(|(_, credential)| Found::Here(credential))).collect()
    }
}

impl Key {
    /// Docker writes a host or a URL, with or without the path of the API.
    fn read(text: &str) -> Self {
        let text = text.trim();
        let plain = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let (host, path) =
            plain.unwrap_or(text).split_once('/').unwrap_or((plain.unwrap_or(text), ""));
        let path = path.trim_matches('/');
        let host = host.to_ascii_lowercase();
        let hub = matches!(host.as_str(), "index.docker.io" | "registry-1.docker.io");
        Self {
            registry: if hub { DOCKER_HUB.to_owned() } else { host },
            path: if matches!(path, "v1" | "v2") { String::new() } else { path.to_owned() },
        }
    }

    fn fits(&self, registry: &str, repository: &str) -> bool {
        let rest = repository.strip_prefix(&self.path);
        self.registry == registry
            && (self.path.is_empty()
                || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }
}

/// One entry of `auths`.
fn credential(entry: &Value) -> Option<Credential> {
    let text = |name: &str| entry.get(name)?.as_str().filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some(Credential::Identity(token.into()));
    }
    if let Some(auth) = text("auth") {
        let decoded = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        return password_of(user, password.trim_end_matches('\0'));
    }
    password_of(text("username")?, text("password")?)
}

/// A user and a password, if they are such.
pub(super) fn password_of(user: &str, password: &str) -> Option<Credential> {
    let ok = !user.is_empty() && !password.is_empty();
    ok.then(|| Credential::Password { user: user.to_owned(), password: password.into() })
}

/// A word that is safe as part of a program's name.
fn is_word(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 64
        && name.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    fn shown(config: &Value, image: &str) -> String {
        let config = DockerConfig::parse(&config.to_string()).unwrap();
        let image: crate::base::reference::RegistryRef = image.parse().unwrap();
        let found = config.find(image.registry(), image.repository());
        let shown = found.iter().map(|found| match found {
            Found::Here(Credential::Password { user, password }) => {
                format!("{user}:{}", password.expose_secret())
            }
            Found::Here(Credential::Identity(token)) => format!("token {}", token.expose_secret()),
            Found::Helper { name, server } => format!("{name} {server}"),
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn whose_credentials_are_where() {
        let auth = |text: &str| json!({"auth": STANDARD.encode(text)});
        let hub = json!({"auths": {"https://index.docker.io/v1/": auth("u:p:q")}});
        let hosts = json!({"auths": {
            "GHCR.io": auth("g:1\0"), "https://r.example:5000/v2/": {"username": "n", "password": "2"},
            "http://old.example/": auth("o:3"), "id.example": {"auth": STANDARD.encode("x:"), "identitytoken": "t"},
        }});
        let paths = json!({"auths": {"q.io": auth("all:1"), "q.io/org": auth("org:2"), "q.io/org/app": auth("app:3")}});
        let helpers = json!({
            "auths": {"ghcr.io": {}, "left.example": auth("l:4")},
            "credHelpers": {"gcr.io": "gcloud", "docker.io": "hub", "evil.example": "../sh", "worse.example": "a b", "flag.example": "-x"},
            "credsStore": "desktop",
        });
        let bad = json!({"auths": {"a.example": auth("nocolon"), "b.example": {"auth": "%%%"},
            "c.example": auth(":p"), "d.example": auth("u:"), "e.example": 1, "f.example": null}, "credsStore": 7,
            "credHelpers": []});
        let table = [
            (&hub, "redis", "u:p:q"),
            (&hub, "index.docker.io/a/b", "u:p:q"),
            (&hub, "ghcr.io/a", ""),
            (&hosts, "ghcr.io/a", "g:1"),
            (&hosts, "r.example:5000/a", "n:2"),
            (&hosts, "r.example/a", ""),
            (&hosts, "old.example/a", "o:3"),
            (&hosts, "id.example/a", "token t"),
            (&hosts, "xghcr.io/a", ""),
            (&paths, "q.io/org/app/x", "app:3"),
            (&paths, "q.io/org/other", "org:2"),
            (&paths, "q.io/organic", "all:1"),
            (&helpers, "gcr.io/a", "gcloud gcr.io"),
            (&helpers, "redis", "hub https://index.docker.io/v1/"),
            (&helpers, "ghcr.io/a", "desktop ghcr.io"),
            (&helpers, "left.example/a", "desktop left.example, l:4"),
            (&helpers, "evil.example/a", "desktop evil.example"),
            (&helpers, "worse.example/a", "desktop worse.example"),
            (&helpers, "flag.example/a", "desktop flag.example"),
            (&bad, "a.example/a", ""),
            (&bad, "b.example/a", ""),
            (&bad, "c.example/a", ""),
            (&bad, "d.example/a", ""),
            (&bad, "e.example/a", ""),
        ];
        for (config, image, expected) in table {
            assert_eq!(shown(config, image), expected, "{image}");
        }
    }

    #[test]
    fn files_that_are_none() {
        assert!(DockerConfig::parse("{").is_err());
        assert!(DockerConfig::parse("[]").is_err());
        assert!(DockerConfig::parse("{}").unwrap().find("a.example", "b").is_empty());
    }

    #[test]
    fn secrets_do_not_show() {
        let config = json!({"auths": {"a.example": {"username": "u", "password": "p4ss"},
            "b.example": {"identitytoken": "p4ss"}}});
        assert!(!format!("{:?}", DockerConfig::parse(&config.to_string())).contains("p4ss"));
    }
}
