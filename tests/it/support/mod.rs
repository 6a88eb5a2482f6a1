//! Support for the end-to-end tests: a folder with an empty home ([`TestEnv`]), the program as a process
//! in it ([`Call`], [`Running`], [`Output`]), and a service: the local server in this process, or a
//! service with scripted responses ([`Scripted`]).

#[cfg(target_os = "linux")]
mod buildah;
#[cfg(target_os = "linux")]
mod front;
mod inside;
mod output;
mod process;
#[cfg(target_os = "linux")]
mod registry;
mod scripted;
#[cfg(unix)]
mod terminal;
mod three;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use imgplan::test_support::base::limit::Class;
use imgplan::test_support::base::secret::ApiKey;
use imgplan::test_support::http::install_tls_provider;
use imgplan::test_support::server::{
    Capabilities, LoggedRequest, RequestCounts, Server, ServerBuild, ServerConfig,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

#[cfg(target_os = "linux")]
pub(crate) use self::buildah::{Buildah, Image, skip};
#[cfg(target_os = "linux")]
pub(crate) use self::front::{Front, FrontSeen, answer};
pub(crate) use self::inside::{CrashPoint, ProcessResult, Simulation};
pub(crate) use self::output::Output;
pub(crate) use self::process::{Call, Running};
#[cfg(target_os = "linux")]
pub(crate) use self::registry::{PulledImage, REGISTRY_USER, Registry, digest};
pub(crate) use self::scripted::{Answer, Scripted, completed};
#[cfg(unix)]
pub(crate) use self::terminal::Terminal;
pub(crate) use self::three::{THREE, write_three};

/// The only key that the server of a [`TestEnv`] accepts.
pub(crate) const KEY: &str = "key-c2VjcmV0LWFzLWNhbi1iZQ";

/// Maximum time that a test waits for a condition.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A working folder, an empty home, and a service.
pub(crate) struct TestEnv {
    dir: TempDir,
    vars: BTreeMap<String, String>,
    server: Option<LocalServer>,
}

impl TestEnv {
    /// An environment whose server completes builds at once.
    pub(crate) fn new() -> Self {
        Self::with(ServerConfig::default())
    }

    /// An environment with a configured server, which accepts only [`KEY`].
    pub(crate) fn with(config: ServerConfig) -> Self {
        let token = config.token.clone().or_else(|| ApiKey::new(KEY));
        let server = LocalServer::start(ServerConfig { token, ..config });
        let mut env = Self::at(&server.url());
        env.server = Some(server);
        env
    }

    /// An environment with a configured server, and rate limits so high that nothing waits for them.
    pub(crate) fn unlimited(config: ServerConfig) -> Self {
        let limits = Class::ALL.map(|class| format!("{class}=10000/60s"));
        let parsed = limits.iter().map(|limit| limit.parse().unwrap()).collect();
        let mut env = Self::with(ServerConfig { limits: parsed, ..config });
        env.set("IMGPLAN_LIMIT", &limits.join(","));
        env
    }

    /// An environment with another service, or with none at `url`.
    pub(crate) fn at(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["home", "tmp", "work"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
        let vars = [
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("HOME", text(dir.path().join("home"))),
            ("TMPDIR", text(dir.path().join("tmp"))),
            ("COLUMNS", "100".to_owned()),
            ("PRIME_API_BASE_URL", url.to_owned()),
            ("PRIME_API_KEY", KEY.to_owned()),
        ];
        let vars = vars.map(|(name, value)| (name.to_owned(), value)).into();
        Self { dir, vars, server: None }
    }

    /// An environment with a manifest.
    pub(crate) fn manifest(text: &str) -> Self {
        let env = Self::new();
        env.write("imgplan.yaml", text);
        env
    }

    /// An environment with one of the examples.
    pub(crate) fn example(name: &str) -> Self {
        let env = Self::new();
        env.copy_example(name);
        env
    }

    /// Copies an example of this repository into the folder.
    pub(crate) fn copy_example(&self, name: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
        copy(&from, &self.path(""));
    }

    /// Sets an environment variable for later calls.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Removes an environment variable.
    pub(crate) fn unset(&mut self, name: &str) -> &mut Self {
        self.vars.remove(name);
        self
    }

    /// Returns the environment variables of all calls.
    pub(crate) fn vars(&self) -> &BTreeMap<String, String> {
        &self.vars
    }

    /// Returns a path in the folder.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("work").join(path)
    }

    /// Returns the home folder.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Returns the parent of the folder, the home and the temporary files.
    pub(crate) fn everything(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file, and creates its folders.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Writes a context with a Dockerfile.
    pub(crate) fn context(&self, path: &str, dockerfile: &str) -> &Self {
        self.write(&format!("{path}/Dockerfile"), dockerfile)
    }

    /// Reads a file.
    pub(crate) fn read(&self, path: &str) -> String {
        let path = self.path(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// True if the file or folder exists.
    pub(crate) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Replaces a text that occurs once in a file.
    pub(crate) fn edit(&self, path: &str, from: &str, to: &str) -> &Self {
        let text = self.read(path);
        assert_eq!(text.matches(from).count(), 1, "{path} must have {from:?} once:\n{text}");
        self.write(path, text.replace(from, to))
    }

    /// Returns every file in the folder, with its size and modification time.
    pub(crate) fn listing(&self) -> Vec<String> {
        let mut files = Vec::new();
        list(&self.path(""), &mut |path, meta| {
            let modified = meta.modified().unwrap();
            files.push(format!("{} {} {modified:?}", path.display(), meta.len()));
        });
        files.sort();
        files
    }

    /// Prepares a call of the program.
    pub(crate) fn call<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Call {
        Call::new(&self.path(""), &self.vars, args)
    }

    /// Runs the program.
    #[must_use]
    pub(crate) fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        self.call(args).run()
    }

    /// Runs the program and asserts that it succeeds.
    pub(crate) fn ok<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        let output = self.run(args);
        output.success();
        output
    }

    /// Applies without a prompt and asserts that it succeeds.
    pub(crate) fn apply(&self) -> Output {
        self.ok(["apply", "--auto-approve"])
    }

    /// Asserts that the plan is empty.
    pub(crate) fn plans_nothing(&self) {
        let output = self.run(["plan", "--detailed-exitcode"]);
        output.success();
        assert!(output.stdout.starts_with("No changes."), "{output}");
    }

    /// Returns the build ID of a unit in the lockfile.
    pub(crate) fn build_of(&self, unit: &str) -> String {
        let shown = self.ok(["show", "--json", unit]);
        let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
        let build = shown["units"][0]["built"]["build_id"].as_str();
        build.unwrap_or_else(|| panic!("the lockfile has no build of {unit}: {shown:#}")).to_owned()
    }

    /// Replaces the server by another one, which continues with the state of `config.state`.
    pub(crate) fn restart(&mut self, config: ServerConfig) {
        let old = self.server.take().expect("this environment has no server of its own").url();
        let token = ApiKey::new(KEY);
        let server = LocalServer::start(ServerConfig { token, ..config });
        self.write("imgplan.lock", self.read("imgplan.lock").replace(&old, &server.url()));
        self.set("PRIME_API_BASE_URL", &server.url());
        self.server = Some(server);
    }

    /// Makes all times in the lockfile `hours` older.
    pub(crate) fn age(&self, hours: i64) -> &Self {
        let line = |line: &str| match line.split_once("completed: ") {
            Some((indent, at)) => {
                let at: jiff::Timestamp = at.trim_matches('"').parse().unwrap();
                format!("{indent}completed: \"{}\"\n", at - jiff::SignedDuration::from_hours(hours))
            }
            None => format!("{line}\n"),
        };
        let aged: String = self.read("imgplan.lock").lines().map(line).collect();
        assert_ne!(aged, self.read("imgplan.lock"));
        self.write("imgplan.lock", aged)
    }

    /// Returns the local server.
    pub(crate) fn server(&self) -> &LocalServer {
        self.server.as_ref().expect("this environment has no server of its own")
    }
}

/// Calls `visit` for every file and folder below a folder.
pub(crate) fn list(dir: &Path, visit: &mut dyn FnMut(&Path, &std::fs::Metadata)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        visit(&path, &meta);
        if meta.is_dir() {
            list(&path, visit);
        }
    }
}

/// Copies a folder of examples.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        // Files of a manual apply are not part of the example.
        if name == ".imgplan" || name == "imgplan.lock" {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Returns a client for requests that imgplan does not send. It uses no proxy.
pub(crate) fn http_client() -> reqwest::Client {
    install_tls_provider();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Waits until a condition holds. Panics with its description otherwise.
#[track_caller]
pub(crate) fn wait_until(condition: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < MAX_WAIT, "did not happen in time: {condition}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The local server on its own threads, so that tests need not be async.
pub(crate) struct LocalServer {
    server: Option<Server>,
    runtime: Option<Runtime>,
}

impl LocalServer {
    /// Starts a server.
    pub(crate) fn start(config: ServerConfig) -> Self {
        let runtime = runtime();
        let server = runtime.block_on(imgplan::test_support::server::start(config)).unwrap();
        Self { server: Some(server), runtime: Some(runtime) }
    }

    fn inner(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Returns its URL.
    pub(crate) fn url(&self) -> String {
        self.inner().url()
    }

    /// Returns the abilities of its engine.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        self.inner().capabilities()
    }

    /// Waits until no build or transfer is running.
    pub(crate) fn wait_until_idle(&self) {
        self.runtime.as_ref().unwrap().block_on(self.inner().idle());
    }

    /// Returns its counts.
    pub(crate) fn counts(&self) -> RequestCounts {
        self.inner().counts()
    }

    /// Returns all requests so far, in order.
    pub(crate) fn log(&self) -> Vec<LoggedRequest> {
        self.counts().log
    }

    /// Returns all accepted builds and transfers, in order.
    pub(crate) fn builds(&self) -> Vec<ServerBuild> {
        self.inner().builds()
    }

    /// Returns all requests so far, such as `POST /images/build`, with `ID` for build IDs.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.log().iter().map(request).collect()
    }

    /// Returns all requests so far that are not GET.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.log().iter().filter(|request| request.method != "GET").map(request).collect()
    }

    /// Returns the images whose builds or transfers were accepted, in order.
    pub(crate) fn initiated(&self) -> Vec<String> {
        let images = self.log().into_iter().filter_map(|request| request.image);
        images.flat_map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Sends a GET, such as `images?teamId=t`.
    pub(crate) fn get(&self, path: &str) -> serde_json::Value {
        self.send("GET", path, &serde_json::Value::Null)
    }

    /// Sends a request as another client would, and asserts that it succeeds.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> serde_json::Value {
        let url = format!("{}/api/v1/{path}", self.url());
        let http = http_client();
        let mut request = http.request(method.parse().unwrap(), url).bearer_auth(KEY);
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = async {
            let response = request.send().await.unwrap();
            let (status, text) = (response.status(), response.text().await.unwrap());
            assert!(status.is_success(), "{method} {path}: {status} {text}");
            serde_json::from_str(&text).unwrap()
        };
        self.runtime.as_ref().unwrap().block_on(response)
    }

    /// Makes a personal image public, as another client would.
    pub(crate) fn publish(&self, image: &str) {
        let (name, tag) = image.split_once(':').unwrap();
        let source =
            serde_json::json!({ "owner": { "type": "personal" }, "name": name, "tag": tag });
        let update = serde_json::json!({ "source": source, "set": { "visibility": "PUBLIC" } });
        let body = serde_json::json!({ "mode": "explicit", "dryRun": false, "updates": [update] });
        let response = self.send("PATCH", "images", &body);
        assert_eq!(response["success"], true, "{response}");
    }

    /// Returns the number of listings and searches of images so far.
    pub(crate) fn listings(&self) -> usize {
        self.requests().iter().filter(|request| *request == "GET /images").count()
    }

    /// Returns the images of an owner, such as `app:v1 PUBLIC`, by a query such as `teamId=t`.
    pub(crate) fn images(&self, query: &str) -> Vec<String> {
        let listed = self.get(&format!("images?limit=250&{query}"));
        let row = |row: &serde_json::Value| {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            format!("{}:{} {}", text("imageName"), text("imageTag"), text("visibility"))
        };
        let mut images: Vec<String> = listed["data"].as_array().unwrap().iter().map(row).collect();
        images.sort();
        images
    }
}

fn request(request: &LoggedRequest) -> String {
    let path = request.path.strip_prefix("/api/v1").unwrap_or(&request.path);
    let path = output::redact_builds(path);
    format!("{} {path}", request.method)
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        drop(self.server.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
