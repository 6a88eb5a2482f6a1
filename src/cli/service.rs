//! The image service of a command: the remote one, or a server inside this process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::ServiceArgs;
use super::engine;
use super::env::env;
use super::failure::Failure;
use super::ui::Ui;
use crate::api::{ALLOW_URL_VARIABLE, Client, Endpoint, RateLimiter};
use crate::base::budget::Budget;
use crate::base::input::{self, InputKind};
use crate::base::limit::{Class, ClassLimit, Limit};
use crate::base::owner::DefaultOwner;
use crate::base::secret::ApiKey;
use crate::base::share::Share;
use crate::base::state_url::StateUrl;
use crate::base::text::shell_word;
use crate::context::History;
use crate::manifest::Workspace;
use crate::manifest::workspace::ServiceSettings;
use crate::plan::{Facts, Partition, Plan};
use crate::report::PlanView;
use crate::server::{self, EngineConfig, Server, ServerConfig, StateOrigin};
use crate::state::{State, StatePaths};

/// Name of the local server in its lockfile. Its URL has another port in each run.
pub(super) const LOCAL: &str = "local";

/// API key for a local server that accepts any key. Not a word that occurs in paths: the key is
/// redacted from every message.
const LOCAL_KEY: &str = "no-account-needed";

/// Duration of a build of the local server.
const LOCAL_BUILD_TIME: Duration = Duration::from_millis(300);

/// The settings of the service that a command uses; there is no connection yet.
pub(super) struct ServiceProfile {
    /// Name of the service in the lockfile: its URL, or `local`.
    pub(super) name: String,
    /// Location of its state.
    pub(super) paths: StatePaths,
    /// URL of its state, if that is shared.
    pub(super) state: Option<StateUrl>,
    /// Owner of new targets for which the manifest sets none.
    pub(super) owner: DefaultOwner,
    /// Address and key; `None` for the local server.
    endpoint: Option<Endpoint>,
    /// Rate limits of this run.
    budget: Budget,
    /// Share of the rate limits that the user set.
    share: Option<Share>,
}

/// A connection to a service, and the local server if it is that.
pub(super) struct ServiceConnection {
    pub(super) client: Client,
    local: Option<Server>,
    /// Folder of the local server's state.
    state: PathBuf,
}

impl ServiceArgs {
    /// Returns the location of the service's state; `root` is the directory of the manifest.
    pub(super) fn paths(&self, root: &Path) -> StatePaths {
        if self.local { StatePaths::local(root) } else { StatePaths::beside(root) }
    }
}

impl ServiceProfile {
    /// Resolves the service: flags and environment win over the manifest, and the manifest over
    /// `~/.prime/config.json`.
    ///
    /// # Errors
    ///
    /// Fails if the URL is invalid.
    pub(super) fn resolve(
        root: &Path,
        settings: &ServiceSettings,
        args: &ServiceArgs,
    ) -> Result<Self, Failure> {
        let mut limits = settings.limits.clone();
        limits.extend(args.limits.iter().map(|given| (given.class, given.limit)));
        let share = args.budget_share;
        let budget = Budget::new(limits).with_share(share.unwrap_or_default(), None);
        let state = args.state_url(root, settings)?;
        let paths = match &state {
            Some(url) => StatePaths::shared(root, url),
            None => args.paths(root),
        };
        if args.local {
            let (name, owner) = (LOCAL.to_owned(), DefaultOwner::default());
            return Ok(Self { name, paths, state, owner, endpoint: None, budget, share });
        }
        let config = provider_config()?;
        let endpoint = Endpoint::resolve(&env, settings.url.as_deref(), config.as_deref());
        if let Some(problem) = endpoint.invalid_url_reason() {
            let help = "check PRIME_API_BASE_URL, `settings.url` and ~/.prime/config.json";
            return Err(Failure::with_help(problem, help));
        }
        let (name, owner) = (endpoint.url.clone(), endpoint.owner.clone());
        Ok(Self { name, paths, state, owner, endpoint: Some(endpoint), budget, share })
    }

    /// Takes the share of the rate limits that a run of a partition has, unless the user set another.
    pub(super) fn with_partition(mut self, partition: Option<Partition>) -> Self {
        let default = partition.map(Partition::budget).unwrap_or_default();
        let run = partition.and_then(Partition::share);
        self.budget = self.budget.with_share(self.share.unwrap_or(default), run);
        self
    }

    /// Returns what a reporter needs to show a plan.
    pub(super) fn view<'a>(
        &'a self,
        plan: &'a Plan,
        workspace: &'a Workspace,
        facts: &'a Facts,
        state: &'a State,
    ) -> PlanView<'a> {
        let (lockfile, service) = (self.paths.lockfile.as_path(), self.name.as_str());
        let (budget, owner) = (&self.budget, &self.owner);
        let place = if self.state.is_some() { "shared state" } else { "lockfile" };
        PlanView { plan, workspace, facts, state, budget, owner, lockfile, place, service }
    }

    /// Returns the rate limit of a class for this run.
    pub(super) fn limit(&self, class: Class) -> Limit {
        self.budget.of(class).limit
    }

    /// Returns the rate limit of each class that has one, for targets of the default owner.
    pub(super) fn run_limits(&self) -> Vec<(Class, Limit)> {
        let transfers = self.budget.of_transfers(&self.owner.owner).map(|run| run.limit);
        let limit = |class| match class {
            Class::Images => transfers.map(|limit| (class, limit)),
            class => Some((class, self.limit(class))),
        };
        Class::ALL.into_iter().filter_map(limit).collect()
    }

    /// Returns the reason for which the service cannot be asked. The local server needs none: nobody
    /// else changes its images.
    pub(super) fn no_reader_reason(&self) -> Option<&'static str> {
        let endpoint = self.endpoint.as_ref()?;
        endpoint.key.is_none().then_some("no API key")
    }

    /// Returns the rate limit of builds.
    pub(super) fn initiate_limit(&self) -> Limit {
        self.limit(Class::Initiate)
    }

    /// Returns the variable or file with the API key, if there is one.
    pub(super) fn key_from(&self) -> Option<&'static str> {
        self.endpoint.as_ref()?.key_from
    }

    /// Returns true if there is an API key that must not be sent to the service.
    pub(super) fn withholds_key(&self) -> bool {
        self.endpoint.as_ref().is_some_and(Endpoint::withholds_key)
    }

    /// Returns true for the server inside this process.
    pub(super) fn is_local(&self) -> bool {
        self.endpoint.is_none()
    }

    /// Returns the file lists of contexts that were built.
    pub(super) fn history(&self) -> History {
        History::at(&self.paths.work)
    }

    /// Returns a warning if the API key is sent without encryption.
    pub(super) fn warning(&self) -> Option<String> {
        let endpoint =
            self.endpoint.as_ref().filter(|endpoint| endpoint.sends_key_unencrypted())?;
        let url = &endpoint.url;
        Some(format!("warning: {url} does not use TLS; the API key is sent unencrypted"))
    }

    /// Returns a client for reading. `None` without an API key, and for the local server, which a
    /// reading command does not start.
    ///
    /// # Errors
    ///
    /// Fails if there is an API key that must not be sent to the service.
    pub(super) fn reader(&self) -> Result<Option<Client>, Failure> {
        let with_key = |endpoint: &&Endpoint| endpoint.key.is_some() || endpoint.withholds_key();
        let endpoint = self.endpoint.as_ref().filter(with_key);
        endpoint.map(|endpoint| self.client(endpoint)).transpose()
    }

    /// Returns a client of the remote service.
    fn client(&self, endpoint: &Endpoint) -> Result<Client, Failure> {
        if endpoint.withholds_key() {
            let url = &endpoint.url;
            let message =
                format!("the manifest names the service {url}, and your API key is not for it");
            let help = format!(
                "if you trust it with the key, set {ALLOW_URL_VARIABLE}={url} or \
                 PRIME_API_BASE_URL={url}; to send nothing, use `imgplan plan --offline`"
            );
            return Err(Failure::with_help(message, help));
        }
        Ok(Client::new(endpoint, RateLimiter::within(self.budget.clone()))?)
    }

    /// Connects to the service; if it is the local server, starts it with an engine first, and prints
    /// what the engine can do.
    ///
    /// # Errors
    ///
    /// Fails without an API key, and if the local server cannot start.
    pub(super) async fn connect(
        &self,
        ui: &mut Ui,
        engine: EngineConfig,
    ) -> Result<ServiceConnection, Failure> {
        if let Some(endpoint) = &self.endpoint {
            let client = self.client(endpoint)?;
            return Ok(ServiceConnection { client, local: None, state: self.local_state() });
        }
        let limits = self.budget.configured().iter();
        let limits = limits.map(|&(class, limit)| ClassLimit { class, limit });
        let runs_commands = engine::runs_commands(&engine);
        // Whoever could use the server could run commands as this user.
        let token = if runs_commands { server::new_token()? } else { None };
        let server = server::start(ServerConfig {
            state: Some(self.local_state()),
            origin: StateOrigin::Checkout,
            token: token.clone(),
            limits: limits.collect(),
            build_time: if runs_commands { Duration::ZERO } else { LOCAL_BUILD_TIME },
            ..engine::server_config(engine)
        })
        .await?;
        let lines = if runs_commands { engine::lines(server.capabilities()) } else { Vec::new() };
        lines.iter().try_for_each(|line| ui.message(line))?;
        let client = self.local_client(server.url(), token)?;
        Ok(ServiceConnection { client, local: Some(server), state: self.local_state() })
    }

    /// Returns a client of a service that runs already: the remote one, or the local server inside
    /// another process. `None` if no local server runs.
    ///
    /// # Errors
    ///
    /// Fails without an API key.
    pub(super) fn running(&self) -> Result<Option<Client>, Failure> {
        if let Some(endpoint) = &self.endpoint {
            return self.client(endpoint).map(Some);
        }
        let running = server::running(&self.local_state());
        running.map(|(url, token)| self.local_client(url, token)).transpose()
    }

    /// Returns the folder of the local server's state.
    pub(super) fn local_state(&self) -> PathBuf {
        self.paths.work.join("server")
    }

    fn local_client(&self, url: String, token: Option<ApiKey>) -> Result<Client, Failure> {
        let key = token.or_else(|| ApiKey::new(LOCAL_KEY));
        let owner = DefaultOwner::default();
        let endpoint = Endpoint { url, key, key_from: None, owner };
        Ok(Client::new(&endpoint, RateLimiter::within(self.budget.clone()))?)
    }
}

/// Reads the configuration of the provider's client, if there is one that this user may read.
fn provider_config() -> Result<Option<String>, Failure> {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};

    let Some(home) = std::env::home_dir() else { return Ok(None) };
    let path = home.join(".prime").join("config.json");
    match input::read_text(&path, InputKind::ServiceConfig) {
        Ok(text) => Ok(Some(text)),
        // In containers, HOME is often the folder of another user.
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | PermissionDenied) => {
            Ok(None)
        }
        Err(error) => {
            let message = format!("cannot read {}: {error}", path.display());
            Err(Failure::with_help(message, "correct the file, or remove it"))
        }
    }
}

impl ServiceConnection {
    /// True if builds are only checked.
    pub(super) fn only_checks(&self) -> bool {
        self.local.as_ref().is_some_and(|server| server.capabilities().registry.is_none())
    }

    /// Returns a note about the registry that ends with this command, and the command that keeps it
    /// running. `None` if there is no such registry.
    pub(super) fn registry_note(&self) -> Option<String> {
        let server = self.local.as_ref().filter(|server| server.has_own_registry())?;
        let registry = server.capabilities().registry.as_deref()?;
        let state = std::path::absolute(&self.state).unwrap_or_else(|_| self.state.clone());
        let state = shell_word(&state.to_string_lossy());
        Some(format!(
            "The registry {registry} ends with this command; to pull from it, keep it running: \
             IMGPLAN_TOKEN=SECRET imgplan serve --engine buildah --state {state}"
        ))
    }

    /// Closes the connection. The local server saves its state.
    ///
    /// # Errors
    ///
    /// Fails if the local server cannot save its state.
    pub(super) async fn close(self) -> Result<(), Failure> {
        match self.local {
            Some(server) => Ok(server.stop().await?),
            None => Ok(()),
        }
    }
}
