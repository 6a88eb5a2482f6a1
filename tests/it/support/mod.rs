//! What the end-to-end tests stand on: a folder with an empty home ([`TestEnv`]), the program run
//! in it as a process of its own ([`Call`], [`Running`], [`Output`]), and a service to run it
//! against: our local server in this process, or answers that it never gives ([`Scripted`]).

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
mod three;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use imgplan::base::limit::Class;
use imgplan::base::secret::ApiKey;
use imgplan::server::{LoggedRequest, RequestCounts, Server, ServerBuild, ServerConfig};
use tempfile::TempDir;
use tokio::runtime::Runtime;

#[cfg(target_os = "linux")]
pub(crate) use self::buildah::{Buildah, Image, skip};
#[cfg(target_os = "linux")]
pub(crate) use self::front::{Front, FrontSeen, answer};
pub(crate) use self::inside::{Death, Life, World};
pub(crate) use self::output::Output;
pub(crate) use self::process::{Call, Running};
#[cfg(target_os = "linux")]
pub(crate) use self::registry::{Registry, digest};
pub(crate) use self::scripted::{Answer, Scripted};
pub(crate) use self::three::{THREE, write_three};

/// The one key that the server of a [`TestEnv`] accepts.
pub(crate) const KEY: &str = "key-c2VjcmV0LWFzLWNhbi1iZQ";

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder to work in, an empty home, and a service.
pub(crate) struct TestEnv {
    dir: TempDir,
    vars: BTreeMap<String, String>,
    server: Option<LocalServer>,
}

impl TestEnv {
    /// With a server that builds at once.
    pub(crate) fn new() -> Self {
        Self::with(ServerConfig::default())
    }

    /// With a server as it is told to be. It accepts [`KEY`] alone.
    pub(crate) fn with(config: ServerConfig) -> Self {
        let token = config.token.clone().or_else(|| ApiKey::new(KEY));
        let server = LocalServer::start(ServerConfig { token, ..config });
        let mut env = Self::at(&server.url());
        env.server = Some(server);
        env
    }

    /// With a server as it is told to be, and so large a budget of every class, on both sides, that
    /// nothing waits for one.
    pub(crate) fn unlimited(config: ServerConfig) -> Self {
        let limits = Class::ALL.map(|class| format!("{class}=10000/60s"));
        let parsed = limits.iter().map(|limit| limit.parse().unwrap()).collect();
        let mut env = Self::with(ServerConfig { limits: parsed, ..config });
        env.set("IMGPLAN_LIMIT", &limits.join(","));
        env
    }

    /// With a service that is somewhere else, or nowhere.
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

    /// With a manifest.
    pub(crate) fn manifest(text: &str) -> Self {
        let env = Self::new();
        env.write("imgplan.yaml", text);
        env
    }

    /// With one of the examples in the folder.
    pub(crate) fn example(name: &str) -> Self {
        let env = Self::new();
        env.copy_example(name);
        env
    }

    /// Copies an example, such as it is in this repository, into the folder.
    pub(crate) fn copy_example(&self, name: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
        copy(&from, &self.path(""));
    }

    /// Sets a variable of the environment for all that is run from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Takes a variable out of the environment.
    pub(crate) fn unset(&mut self, name: &str) -> &mut Self {
        self.vars.remove(name);
        self
    }

    /// A path in the folder.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("work").join(path)
    }

    /// The empty home.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Everything of this environment: the folder, the home, and where temporary files go.
    pub(crate) fn everything(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file, and the folders that it lies in.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Writes a build's folder: a Dockerfile of these lines.
    pub(crate) fn context(&self, path: &str, dockerfile: &str) -> &Self {
        self.write(&format!("{path}/Dockerfile"), dockerfile)
    }

    /// Reads a file.
    pub(crate) fn read(&self, path: &str) -> String {
        let path = self.path(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Whether there is such a file or folder.
    pub(crate) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Changes what a file has once.
    pub(crate) fn edit(&self, path: &str, from: &str, to: &str) -> &Self {
        let text = self.read(path);
        assert_eq!(text.matches(from).count(), 1, "{path} has {from:?} not once:\n{text}");
        self.write(path, text.replace(from, to))
    }

    /// Every file below the folder, with its size and the moment of its last change.
    pub(crate) fn listing(&self) -> Vec<String> {
        let mut all = Vec::new();
        list(&self.path(""), &mut |path, meta| {
            let changed = meta.modified().unwrap();
            all.push(format!("{} {} {changed:?}", path.display(), meta.len()));
        });
        all.sort();
        all
    }

    /// The program with these arguments, to be told more and then run.
    pub(crate) fn call<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Call {
        Call::new(&self.path(""), &self.vars, args)
    }

    /// Runs the program with these arguments.
    #[must_use]
    pub(crate) fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        self.call(args).run()
    }

    /// Runs the program, which must succeed.
    pub(crate) fn ok<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        let output = self.run(args);
        output.success();
        output
    }

    /// Applies without asking, which must succeed.
    pub(crate) fn apply(&self) -> Output {
        self.ok(["apply", "--auto-approve"])
    }

    /// Plans, which must find nothing to do.
    pub(crate) fn plans_nothing(&self) {
        let output = self.run(["plan", "--detailed-exitcode"]);
        output.success();
        assert!(output.stdout.starts_with("No changes."), "{output}");
    }

    /// The build ID that the lockfile has for a unit.
    pub(crate) fn build_of(&self, unit: &str) -> String {
        let shown = self.ok(["show", "--json", unit]);
        let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
        let build = shown["units"][0]["built"]["build_id"].as_str();
        build.unwrap_or_else(|| panic!("the lockfile has no build of {unit}: {shown:#}")).to_owned()
    }

    /// Puts another server in the place of the one so far: with the same `state`, it goes on from there.
    pub(crate) fn restart(&mut self, config: ServerConfig) {
        let old = self.server.take().expect("there is one").url();
        let token = ApiKey::new(KEY);
        let server = LocalServer::start(ServerConfig { token, ..config });
        self.write("imgplan.lock", self.read("imgplan.lock").replace(&old, &server.url()));
        self.set("PRIME_API_BASE_URL", &server.url());
        self.server = Some(server);
    }

    /// Lets all that is on record be so many hours older than it is.
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

    /// The local server.
    pub(crate) fn server(&self) -> &LocalServer {
        self.server.as_ref().expect("this environment has no server of its own")
    }
}

/// Walks all that is below a folder.
pub(crate) fn list(dir: &Path, found: &mut dyn FnMut(&Path, &std::fs::Metadata)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        found(&path, &meta);
        if meta.is_dir() {
            list(&path, found);
        }
    }
}

/// Copies a folder of examples.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        // What an apply by hand left behind is no part of the example.
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

/// Waits until something holds, and says what if it never does.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Our server, on threads of its own, so that tests are plain functions.
pub(crate) struct LocalServer {
    server: Option<Server>,
    runtime: Option<Runtime>,
}

impl LocalServer {
    /// Starts one.
    pub(crate) fn start(config: ServerConfig) -> Self {
        let runtime = runtime();
        let server = runtime.block_on(imgplan::server::start(config)).unwrap();
        Self { server: Some(server), runtime: Some(runtime) }
    }

    fn inner(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        self.inner().url()
    }

    /// What it counted.
    pub(crate) fn counts(&self) -> RequestCounts {
        self.inner().counts()
    }

    /// Every request so far, in order.
    pub(crate) fn log(&self) -> Vec<LoggedRequest> {
        self.counts().log
    }

    /// Every build and transfer that was accepted, in order.
    pub(crate) fn builds(&self) -> Vec<ServerBuild> {
        self.inner().builds()
    }

    /// Every request so far as `POST /images/build`, without the API's prefix, build IDs as `ID`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.log().iter().map(request).collect()
    }

    /// The requests that asked for a change: all but those that read.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.log().iter().filter(|seen| seen.method != "GET").map(request).collect()
    }

    /// The images whose builds or transfers were accepted, in order.
    pub(crate) fn initiated(&self) -> Vec<String> {
        let images = self.log().into_iter().filter_map(|seen| seen.image);
        images.flat_map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Asks it what it has: `images?teamId=t`.
    pub(crate) fn get(&self, path: &str) -> serde_json::Value {
        self.send("GET", path, &serde_json::Value::Null)
    }

    /// Sends it what another client could, which it has to take.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> serde_json::Value {
        let url = format!("{}/api/v1/{path}", self.url());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = http.request(method.parse().unwrap(), url).bearer_auth(KEY);
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = async {
            let answer = request.send().await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert!(status.is_success(), "{method} {path}: {status} {text}");
            serde_json::from_str(&text).unwrap()
        };
        self.runtime.as_ref().unwrap().block_on(answer)
    }

    /// How often images were listed, or searched for, so far.
    pub(crate) fn listings(&self) -> usize {
        self.requests().iter().filter(|request| *request == "GET /images").count()
    }

    /// The images that an owner has, as `app:v1 PUBLIC`, by a query such as `teamId=t`.
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

fn request(seen: &LoggedRequest) -> String {
    let path = seen.path.strip_prefix("/api/v1").unwrap_or(&seen.path);
    let path = output::redact_builds(path);
    format!("{} {path}", seen.method)
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        drop(self.server.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
