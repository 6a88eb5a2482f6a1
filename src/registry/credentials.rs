//! Finds the credentials that Docker's own configuration has for a registry, when one asks for them
//! and not before.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;

use super::credential_helper;
use super::docker_config::{Credential, DockerConfig, Found};
use super::throttle::lock;
use crate::base::reference::RegistryRef;

/// Most bytes of a configuration that are read.
const MOST: u64 = 4 << 20;

/// Where credentials may be. Holds none itself.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    files: Vec<PathBuf>,
    path: OsString,
}

impl Credentials {
    /// Asks everybody without credentials.
    pub fn none() -> Self {
        Self::default()
    }

    /// These files, of which the first that knows a registry counts, with their helpers out of the
    /// folders of `path`, which is written like the variable `PATH`.
    pub fn of(files: Vec<PathBuf>, path: impl Into<OsString>) -> Self {
        Self { files, path: path.into() }
    }

    /// Where Docker and Podman have them: the file of `REGISTRY_AUTH_FILE`; `config.json` in
    /// `DOCKER_CONFIG`, else in `.docker` of the home folder; `containers/auth.json` in
    /// `XDG_RUNTIME_DIR`.
    pub fn from_env(env: &dyn Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Self {
        let full = |name: &str| env(name).filter(|text| !text.is_empty()).map(PathBuf::from);
        let docker = full("DOCKER_CONFIG").or_else(|| Some(home?.join(".docker")));
        let podman = full("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        let files =
            [full("REGISTRY_AUTH_FILE"), docker.map(|folder| folder.join("config.json")), podman];
        Self::of(files.into_iter().flatten().collect(), env("PATH").unwrap_or_default())
    }
}

/// What was found for a registry.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookup {
    pub(super) credential: Option<Credential>,
    /// Why there may be one that was not found, in words.
    pub(super) trouble: Option<String>,
}

/// Credentials as they were found: each file is read once, and each helper asked once for a server.
pub(super) struct Keyring {
    from: Credentials,
    configs: OnceCell<Vec<Result<DockerConfig, String>>>,
    /// By the helper's name and the server's.
    helped: Mutex<HashMap<(String, String), OnceHelped>>,
}

type Helped = Result<Option<Credential>, String>;
type OnceHelped = Arc<OnceCell<Helped>>;

impl Keyring {
    pub(super) fn new(from: Credentials) -> Self {
        Self { from, configs: OnceCell::new(), helped: Mutex::default() }
    }

    /// What there is for an image's registry. A helper that fails does not keep us from asking
    /// without: most images are for everybody.
    pub(super) async fn find(&self, image: &RegistryRef) -> Lookup {
        let configs = self.configs.get_or_init(|| self.read()).await;
        let mut lookup = Lookup::default();
        for config in configs {
            let config = match config {
                Ok(config) => config,
                Err(trouble) => {
                    lookup.trouble.get_or_insert_with(|| trouble.clone());
                    continue;
                }
            };
            for found in config.find(image.registry(), image.repository()) {
                let credential = match found {
                    Found::Here(credential) => Some(credential.clone()),
                    Found::Helper { name, server } => match self.ask(name, server).await {
                        Ok(credential) => credential,
                        Err(trouble) => {
                            lookup.trouble.get_or_insert(trouble);
                            None
                        }
                    },
                };
                if credential.is_some() {
                    return Lookup { credential, trouble: None };
                }
            }
        }
        lookup
    }

    async fn ask(&self, name: &str, server: String) -> Helped {
        let key = (name.to_owned(), server.clone());
        let cell = Arc::clone(lock(&self.helped).entry(key).or_default());
        cell.get_or_init(|| credential_helper::ask(&self.from.path, name, &server)).await.clone()
    }

    async fn read(&self) -> Vec<Result<DockerConfig, String>> {
        let mut configs = Vec::new();
        for path in &self.from.files {
            let text = match text(path).await {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    configs.push(Err(format!("{} cannot be read: {error}", path.display())));
                    continue;
                }
            };
            let config = DockerConfig::parse(&text);
            configs.push(config.map_err(|why| format!("{} {why}", path.display())));
        }
        configs
    }
}

async fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    tokio::fs::File::open(path).await?.take(MOST).read_to_string(&mut text).await?;
    Ok(text)
}
