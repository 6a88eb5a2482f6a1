//! Looks up credentials in Docker's configuration, and only for a registry that requires them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::credential_helper;
use super::docker_config::{Credential, CredentialSource, DockerConfig};
use super::throttle::lock;
use crate::base::input::{self, InputKind};
use crate::base::reference::RegistryRef;

/// The locations of credentials: configuration files, and the folders of credential helpers. Contains
/// no secret.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    files: Vec<PathBuf>,
    path: OsString,
}

impl Credentials {
    /// Returns no locations: every request is anonymous.
    pub fn none() -> Self {
        Self::default()
    }

    /// Uses these configuration files, of which the first with a credential for the registry wins, and
    /// credential helpers in the folders of `path`, which has the form of the variable `PATH`.
    pub fn from_files(files: Vec<PathBuf>, path: impl Into<OsString>) -> Self {
        Self { files, path: path.into() }
    }

    /// Uses the configuration files of Docker and Podman: `REGISTRY_AUTH_FILE`; `config.json` in
    /// `DOCKER_CONFIG`, else in `~/.docker`; `containers/auth.json` in `XDG_RUNTIME_DIR`.
    pub fn from_env(env: &dyn Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Self {
        let path = |name: &str| env(name).filter(|text| !text.is_empty()).map(PathBuf::from);
        let docker = path("DOCKER_CONFIG").or_else(|| Some(home?.join(".docker")));
        let podman = path("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        let files =
            [path("REGISTRY_AUTH_FILE"), docker.map(|folder| folder.join("config.json")), podman];
        Self::from_files(files.into_iter().flatten().collect(), env("PATH").unwrap_or_default())
    }
}

/// The result of a lookup of credentials.
#[derive(Debug, Clone, Default)]
pub(super) struct CredentialLookup {
    pub(super) credential: Option<Credential>,
    /// The file or the program that has the credential.
    pub(super) source: Option<String>,
    /// A problem (of a file or a helper) that may be the reason why no credential was found.
    pub(super) problem: Option<String>,
}

/// Time after which files are read and helpers are run again: the user of a server may log in while it
/// runs, and the passwords of some helpers expire.
const MAX_CREDENTIAL_AGE: Duration = Duration::from_secs(600);

/// Looks up credentials. Reads each file once, and runs each helper once per server, in ten minutes.
pub(super) struct Keyring {
    locations: Credentials,
    found: Mutex<(Instant, Arc<FoundCredentials>)>,
}

#[derive(Default)]
struct FoundCredentials {
    /// The files with their paths.
    configs: OnceCell<Vec<Result<(PathBuf, DockerConfig), String>>>,
    /// Results of helpers, by the names of helper and server.
    helper_results: Mutex<HashMap<(String, String), HelperCell>>,
}

type HelperResult = Result<Option<Credential>, String>;
type HelperCell = Arc<OnceCell<HelperResult>>;

impl Keyring {
    pub(super) fn new(locations: Credentials) -> Self {
        Self { locations, found: Mutex::new((Instant::now(), Arc::default())) }
    }

    /// Returns the credentials that were found in the last ten minutes.
    fn found(&self) -> Arc<FoundCredentials> {
        let mut found = lock(&self.found);
        if found.0.elapsed() > MAX_CREDENTIAL_AGE {
            *found = (Instant::now(), Arc::default());
        }
        Arc::clone(&found.1)
    }

    /// Looks up the credential for an image. A failed helper is not an error: most images are public,
    /// so an anonymous request may succeed.
    pub(super) async fn find(&self, image: &RegistryRef) -> CredentialLookup {
        let found = self.found();
        let configs = found.configs.get_or_init(|| self.read_configs()).await;
        let mut lookup = CredentialLookup::default();
        for config in configs {
            let (path, config) = match config {
                Ok((path, config)) => (path, config),
                Err(problem) => {
                    lookup.problem.get_or_insert_with(|| problem.clone());
                    continue;
                }
            };
            for source in config.find(image.registry(), image.repository()) {
                let (credential, source) = match source {
                    CredentialSource::Stored(credential) => {
                        (Some(credential.clone()), path.display().to_string())
                    }
                    CredentialSource::Helper { name, server } => {
                        let credential = match self.run_helper(&found, name, server).await {
                            Ok(credential) => credential,
                            Err(problem) => {
                                lookup.problem.get_or_insert(problem);
                                None
                            }
                        };
                        (credential, credential_helper::program(name))
                    }
                };
                if credential.is_some() {
                    return CredentialLookup { credential, source: Some(source), problem: None };
                }
            }
        }
        lookup
    }

    async fn run_helper(
        &self,
        found: &FoundCredentials,
        name: &str,
        server: String,
    ) -> HelperResult {
        let key = (name.to_owned(), server.clone());
        let cell = Arc::clone(lock(&found.helper_results).entry(key).or_default());
        let run = || credential_helper::get(&self.locations.path, name, &server);
        cell.get_or_init(run).await.clone()
    }

    async fn read_configs(&self) -> Vec<Result<(PathBuf, DockerConfig), String>> {
        let mut configs = Vec::new();
        for path in &self.locations.files {
            let text = match read_config(path).await {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    configs.push(Err(format!("{} cannot be read: {error}", path.display())));
                    continue;
                }
            };
            let config = DockerConfig::parse(&text).map(|config| (path.clone(), config));
            configs.push(config.map_err(|problem| format!("{} {problem}", path.display())));
        }
        configs
    }
}

async fn read_config(path: &Path) -> std::io::Result<String> {
    let path = path.to_owned();
    let read = move || input::read_text(&path, InputKind::DockerConfig);
    tokio::task::spawn_blocking(read).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[tokio::test]
    async fn a_configuration_that_is_no_regular_file_is_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", path("zero")).unwrap();
        let large = std::fs::File::create(path("large")).unwrap();
        large.set_len(1 << 40).unwrap();
        for (name, expected) in
            [("fifo", "it is a FIFO"), ("zero", "it is a device"), ("large", "at most 4194304")]
        {
            let keyring = Keyring::new(Credentials::from_files(vec![path(name)], ""));
            let lookup = keyring.find(&"a.example/x:1".parse().unwrap()).await;
            let problem = lookup.problem.unwrap();
            assert!(problem.contains(name) && problem.contains(expected), "{problem}");
        }
    }
}
