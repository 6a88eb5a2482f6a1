//! Finds the service that a command talks to: the provider's, or one inside this process.

use std::path::Path;
use std::time::Duration;

use super::args::ServiceArgs;
use super::env::env;
use super::failure::Failure;
use crate::api::{Client, Endpoint, RateLimiter};
use crate::base::limit::{Class, Limit};
use crate::base::name::Owner;
use crate::base::secret::ApiKey;
use crate::context::History;
use crate::manifest::Workspace;
use crate::plan::{Facts, Plan};
use crate::report::PlanView;
use crate::server::{self, Server};
use crate::state::{State, StatePaths};

/// The name that the lockfile of `--local` has for its service, whose port is another each time.
pub(super) const LOCAL: &str = "local";

/// The key that is shown to the local server, which takes any. Not a word that stands in a path: it
/// is taken out of every message.
const LOCAL_KEY: &str = "no-account-needed";

/// How long a build of the local server takes.
const LOCAL_BUILD_TIME: Duration = Duration::from_millis(300);

/// A service, known by name; not yet connected to.
pub(super) struct Target {
    /// What the lockfile calls it.
    pub(super) name: String,
    /// Where its state lies.
    pub(super) paths: StatePaths,
    /// Who owns a new unit of which the manifest does not say.
    pub(super) owner: Owner,
    endpoint: Option<Endpoint>,
    limits: Vec<(Class, Limit)>,
}

/// A service that can be talked to.
pub(super) struct Service {
    pub(super) client: Client,
    local: Option<Server>,
}

impl ServiceArgs {
    /// Where the state of the service lies.
    pub(super) fn paths(&self, root: &Path) -> StatePaths {
        if self.local { StatePaths::local(root) } else { StatePaths::beside(root) }
    }
}

impl Target {
    /// Flags and environment first, then the manifest, then `~/.prime/config.json`.
    pub(super) fn find(
        root: &Path,
        workspace: &Workspace,
        args: &ServiceArgs,
    ) -> Result<Self, Failure> {
        let mut limits = workspace.settings.limits.clone();
        limits.extend(args.limits.iter().map(|given| (given.class, given.limit)));
        if args.local {
            return Ok(Self {
                name: LOCAL.to_owned(),
                paths: args.paths(root),
                owner: Owner::Personal,
                endpoint: None,
                limits,
            });
        }
        let home = std::env::home_dir().map(|home| home.join(".prime").join("config.json"));
        let config = home.and_then(|path| std::fs::read_to_string(path).ok());
        let endpoint =
            Endpoint::resolve(&env, workspace.settings.url.as_deref(), config.as_deref());
        if let Some(problem) = endpoint.invalid_url_reason() {
            let help = "see PRIME_API_BASE_URL, `settings.url` and ~/.prime/config.json";
            return Err(Failure::with_help(problem, help));
        }
        Ok(Self {
            name: endpoint.url.clone(),
            paths: args.paths(root),
            owner: endpoint.owner.clone(),
            endpoint: Some(endpoint),
            limits,
        })
    }

    /// A plan for this service, to be shown; `asked` says whether the service was.
    pub(super) fn view<'a>(
        &'a self,
        plan: &'a Plan,
        workspace: &'a Workspace,
        facts: &'a Facts,
        state: &'a State,
        asked: bool,
    ) -> PlanView<'a> {
        let (lockfile, service) = (self.paths.lockfile.as_path(), self.name.as_str());
        let (limits, owner) = (self.limits.as_slice(), &self.owner);
        PlanView {
            plan,
            workspace,
            facts,
            state,
            limits,
            owner,
            lockfile,
            service,
            refreshed: asked,
        }
    }

    /// Whether it is the server inside this process.
    pub(super) fn is_local(&self) -> bool {
        self.endpoint.is_none()
    }

    /// The files of what was built.
    pub(super) fn history(&self) -> History {
        History::at(&self.paths.work)
    }

    /// What is worth knowing about the way to the service.
    pub(super) fn warning(&self) -> Option<String> {
        let endpoint =
            self.endpoint.as_ref().filter(|endpoint| endpoint.sends_key_unencrypted())?;
        let url = &endpoint.url;
        Some(format!("warning: {url} has no TLS: everyone on the way can read the key"))
    }

    /// A client to ask with; none for the local server, which `plan` does not start, and none
    /// without a key.
    pub(super) fn client_to_ask(&self) -> Option<Client> {
        let endpoint = self.endpoint.as_ref()?;
        Client::new(endpoint, RateLimiter::new(&self.limits)).ok()
    }

    /// Connects; starts the local server where that is meant.
    pub(super) async fn connect(&self) -> Result<Service, Failure> {
        if let Some(endpoint) = &self.endpoint {
            let client = Client::new(endpoint, RateLimiter::new(&self.limits))?;
            return Ok(Service { client, local: None });
        }
        let limits = self.limits.iter();
        let server = server::start(server::ServerConfig {
            state: Some(self.paths.work.join("server")),
            limits: limits
                .map(|&(class, limit)| crate::base::limit::ClassLimit { class, limit })
                .collect(),
            build_time: LOCAL_BUILD_TIME,
            ..server::ServerConfig::default()
        })
        .await?;
        let endpoint =
            Endpoint { url: server.url(), key: ApiKey::new(LOCAL_KEY), owner: Owner::Personal };
        let client = Client::new(&endpoint, RateLimiter::new(&self.limits))?;
        Ok(Service { client, local: Some(server) })
    }
}

impl Service {
    /// Lets the local server save its state.
    pub(super) async fn close(self) -> Result<(), Failure> {
        match self.local {
            Some(server) => Ok(server.stop().await?),
            None => Ok(()),
        }
    }
}
