//! A shared state: in a folder, in moto (a server that speaks S3), and behind a proxy that breaks its
//! promises. `.ci/run` installs moto; by hand, `pip install 'moto[server]==5.2.5'` in a virtual
//! environment, and set `IMGPLAN_MOTO` to its `bin` folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use imgplan::test_support::server::ServerConfig;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::support::{TestEnv, http_client, runtime, wait_until};

/// Groups of the targets of [`chaos`], each with some shards of its own that runs compete for.
const GROUPS: u8 = 8;

/// A server that speaks S3, and ends with the test.
struct Moto {
    child: Child,
    address: String,
}

impl Moto {
    /// Starts it with a bucket called `bucket`. `None` if it is not installed.
    fn start() -> Option<Self> {
        let folder = std::env::var_os("IMGPLAN_MOTO").filter(|folder| !folder.is_empty());
        let Some(folder) = folder.map(PathBuf::from) else {
            tell("SKIPPED: tests with moto: IMGPLAN_MOTO is not set");
            return None;
        };
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let mut command = Command::new(folder.join("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moto = Self { child, address: format!("127.0.0.1:{port}") };
        wait_until("moto listens", || std::net::TcpStream::connect(&moto.address).is_ok());
        let bucket = format!("http://{}/bucket", moto.address);
        let response = runtime().block_on(http_client().put(bucket).send()).unwrap();
        assert!(response.status().is_success());
        Some(moto)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A fault that a [`Proxy`] adds to writes. moto checks a condition some time before it writes, so without a
/// fault the proxy lets one write through at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// Nothing.
    None,
    /// Drops their conditions.
    Ignores,
    /// Checks their conditions some milliseconds before it writes.
    Races,
    /// Carries them out one at a time, and reports every fifth as failed.
    LosesAnswers,
}

/// A proxy in front of moto.
struct Proxy {
    address: String,
    _runtime: Runtime,
}

#[derive(Clone)]
struct Behind {
    address: String,
    fault: Fault,
    client: reqwest::Client,
    writes: Arc<AtomicUsize>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Proxy {
    fn start(moto: &Moto, fault: Fault) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let behind = Behind {
            address: moto.address.clone(),
            fault,
            client: http_client(),
            writes: Arc::default(),
            turn: Arc::default(),
        };
        let router = Router::new().fallback(pass).with_state(behind);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, _runtime: runtime }
    }
}

async fn pass(
    State(behind): State<Behind>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let url = format!("http://{}{}", behind.address, uri.path_and_query().unwrap());
    let is_write = method == Method::PUT;
    let mut kept = headers.clone();
    let is_exact = matches!(behind.fault, Fault::None | Fault::LosesAnswers);
    let _turn = if is_write && is_exact { Some(behind.turn.lock().await) } else { None };
    if is_write && !is_exact {
        kept.remove("if-match");
        kept.remove("if-none-match");
    }
    if is_write && behind.fault == Fault::Races {
        let current = behind.client.head(&url).send().await.unwrap();
        let tag = current.headers().get("etag").filter(|_| current.status().is_success());
        let is_met = match headers.get("if-match") {
            Some(expected) => tag == Some(expected),
            None => tag.is_none() || !headers.contains_key("if-none-match"),
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
        if !is_met {
            return StatusCode::PRECONDITION_FAILED.into_response();
        }
    }
    let request = behind.client.request(method, url).headers(kept).body(body);
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.unwrap();
    let is_lost = is_write && behind.writes.fetch_add(1, Ordering::Relaxed) % 5 == 4;
    if is_lost && behind.fault == Fault::LosesAnswers {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    (status, headers, body).into_response()
}

/// Sets the environment for a bucket of a server.
fn use_bucket(env: &mut TestEnv, address: &str) {
    env.set("AWS_ENDPOINT_URL", &format!("http://{address}"))
        .set("AWS_ALLOW_HTTP", "true")
        .set("AWS_ACCESS_KEY_ID", "id")
        .set("AWS_SECRET_ACCESS_KEY", "a-very-secret-key")
        .set("AWS_REGION", "us-east-1")
        .set("IMGPLAN_STATE", "s3://bucket/team/state");
}

/// Returns an environment with 12 mirrors and a shared state in a folder, which was created.
fn in_folder() -> TestEnv {
    let mut env = TestEnv::unlimited(ServerConfig::default());
    let url = format!("file://{}", env.path("store").display());
    env.set("IMGPLAN_STATE", &url).write("imgplan.yaml", mirrors(12));
    env.ok(["state", "init"]).says("Created the state");
    env
}

/// Returns a manifest of mirrors, in groups. Targets of one shard are of one group.
fn mirrors(count: usize) -> String {
    let images = (0..count).map(|index| {
        let group = blake3::hash(format!("m{index}:v1").as_bytes()).as_bytes()[0] % GROUPS;
        format!("  - {{source: ghcr.io/org/m{index}:v1, groups: [g{group}]}}\n")
    });
    format!("version: 1\nimages:\n{}", images.collect::<String>())
}

/// Asserts that each of `targets` was initiated once, that the state knows the build, and that nothing
/// is left to do.
fn assert_each_once(env: &TestEnv, targets: usize) {
    let mut builds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for build in env.server().builds() {
        builds.entry(build.image).or_default().push(build.id);
    }
    assert_eq!(builds.len(), targets);
    let shown = env.ok(["show", "--json"]).json();
    let units = shown[0]["units"].as_array().unwrap();
    for (image, ids) in &builds {
        let [id] = &ids[..] else { panic!("{image} was initiated as {ids:?}") };
        let is_recorded = |unit: &&serde_json::Value| unit.to_string().contains(id.as_str());
        assert!(units.iter().any(|unit| is_recorded(&unit)), "{image}: {id} is not recorded");
    }
    env.plans_nothing();
}

#[test]
fn a_state_in_a_folder_serves_all_commands() {
    let env = in_folder();
    env.run(["state", "init"]).code(1).says("there is a state at");
    env.apply();
    assert_each_once(&env, 12);
    assert!(!env.exists("imgplan.lock"), "the lockfile is not used");
    env.ok(["state", "show"]).says("Targets: 12, of which 0 in progress");
    env.ok(["state", "locks"]).says("No run holds a shard");
    env.ok(["state", "mv", "m1:v1", "other:v1"]);
    env.ok(["show", "other:v1"]);
    env.run(["state", "mv", "m1:v1", "x:v1"]).code(1).says("the state has no m1:v1");
    env.ok(["state", "mv", "other:v1", "m1:v1"]);
    env.ok(["state", "pull", "--output", "pulled.lock"]);
    env.ok(["state", "rm", "m2:v1", "m3:v1"]).says("Dropped 2 targets");
    env.run(["state", "rm", "m2:v1"]).code(1);
    env.ok(["state", "push", "pulled.lock"]).says("it has 12 targets now");
    env.plans_nothing();
    let fewer = env.read("pulled.lock").replace("  \"m11:v1\":", "  \"n11:v1\":");
    env.write("fewer.lock", fewer);
    env.run(["state", "push", "fewer.lock"])
        .code(1)
        .says("lacks builds of 1 target")
        .says("m11:v1");
    env.ok(["state", "history"]).says("shards");
    env.ok(["status", "--offline"]);
    env.ok(["doctor"]).says("enforces conditional writes");
}

#[test]
fn a_lockfile_is_migrated_to_a_shared_state_and_back() {
    let mut env = TestEnv::unlimited(ServerConfig::default());
    env.write("imgplan.yaml", mirrors(12));
    env.apply();
    let lockfile = env.read("imgplan.lock");
    let url = format!("file://{}", env.path("store").display());
    env.run(["plan", "--state", &url]).code(1).says("run `imgplan state init` once");
    env.ok(["state", "init", "--state", &url]);
    env.ok(["state", "migrate", "--state", &url]).says("Copied 12 targets from imgplan.lock");
    env.run(["state", "migrate", "--state", &url]).code(1).says("has 12 targets already");
    env.set("IMGPLAN_STATE", &url).plans_nothing();
    std::fs::remove_file(env.path("imgplan.lock")).unwrap();
    env.ok(["state", "migrate", "--to-lockfile"]).says("Remove `settings.state`");
    assert_eq!(env.read("imgplan.lock"), lockfile);
    assert_each_once(&env, 12);
}

#[test]
fn a_manifest_does_not_choose_a_folder_outside_of_its_repository() {
    let mut env = in_folder();
    env.unset("IMGPLAN_STATE");
    let plan = |url: &str| {
        let text =
            mirrors(1).replace("images:", &format!("settings: {{state: \"{url}\"}}\nimages:"));
        env.write("repo/imgplan.yaml", text).write("repo/.git/HEAD", "");
        env.run(["-C", "repo", "plan"])
    };
    let outside = env.path("store").display().to_string();
    plan(&format!("file://{outside}")).code(1).says("outside of the repository");
    plan("file:../store").code(1).says("outside of the repository");
    plan("file:inside").code(1).says("there is no state at file:inside");
    plan("http://evil.example/x").code(1).says("is not the URL of a shared state");
}

/// Links of a checkout in the folder of a state lead to files of another program.
#[cfg(unix)]
#[test]
fn links_in_the_folder_of_a_state_are_not_followed() {
    let env = TestEnv::new();
    let text = mirrors(1).replace("images:", "settings: {state: \"file:st\"}\nimages:");
    env.write("repo/imgplan.yaml", text).write("repo/.git/HEAD", "");
    env.ok(["-C", "repo", "state", "init"]);
    let outside = env.path("outside");
    for name in ["lock", "shards", "history", "probe", "state.json", "shards/07.gz"] {
        env.write("outside/file", "of another program").write("outside/shards/07.gz", "foreign");
        let inside = env.path("repo/st").join(name);
        let aside = inside.with_extension("aside");
        if inside.exists() {
            std::fs::rename(&inside, &aside).unwrap();
        }
        let is_folder = !name.contains('.') && name != "lock";
        let to = if is_folder { outside.clone() } else { outside.join("file") };
        std::os::unix::fs::symlink(to, &inside).unwrap();
        for command in [&["state", "rm", "m0:v1"][..], &["doctor"], &["apply", "--auto-approve"]] {
            let arguments = ["-C", "repo"].iter().chain(command);
            // It may fail.
            let _ = env.run(arguments.copied());
        }
        assert_eq!(env.read("outside/file"), "of another program", "{name}");
        let names = std::fs::read_dir(&outside).unwrap().count();
        assert_eq!(names, 2, "{name}: a file was written or removed");
        std::fs::remove_file(&inside).unwrap();
        if aside.exists() {
            std::fs::rename(&aside, &inside).unwrap();
        }
    }
    env.ok(["-C", "repo", "plan", "--offline"]);
}

#[test]
fn a_command_that_ends_early_gives_the_state_back() {
    let mut env = in_folder();
    env.write("p1/imgplan.yaml", mirrors(12)).write("p2/imgplan.yaml", mirrors(12));
    env.set("IMGPLAN_LEASE", "1h");
    let is_held = || env.run(["state", "locks"]).all().contains("pins  run");
    let is_free = || {
        env.run(["state", "locks"]).says("No run holds a shard");
    };
    env.run(["import", "unknown:v1"]).code(1);
    is_free();
    let mut prompt = env.call(["-C", "p1", "apply"]).start_interactive();
    prompt.type_in("no\n");
    prompt.wait().code(4);
    is_free();
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut prompt = env.call(["-C", "p1", "apply"]).start_interactive();
        wait_until("the run holds the state", is_held);
        prompt.signal(signal);
        wait_until("it ends", || prompt.has_ended());
        prompt.wait().code(code).says("interrupted; nothing was sent to the service");
        is_free();
    }
    env.ok(["-C", "p2", "apply", "--auto-approve"]);
    assert_each_once(&env, 12);
}

#[test]
fn a_shard_that_is_missing_is_not_an_empty_one() {
    let env = in_folder();
    env.apply();
    std::fs::remove_file(env.path("store/shards/07.gz")).unwrap();
    env.run(["plan"]).code(1).says("store/shards/07.gz: it is missing");
}

#[test]
fn a_held_state_is_waited_for_or_named() {
    let mut env = in_folder();
    // One build takes until the test ends it.
    env.write("p1/imgplan.yaml", mirrors(12)).write("p2/imgplan.yaml", mirrors(12));
    env.set("IMGPLAN_LEASE", "1s").set("GITHUB_SERVER_URL", "https://ci.example");
    env.set("GITHUB_REPOSITORY", "o/r").set("GITHUB_RUN_ID", "7");
    let prompt = env.call(["-C", "p1", "apply"]).start_interactive();
    wait_until("the first run holds the state", || {
        env.run(["state", "locks"]).all().contains("pins  run")
    });
    let second = env.run(["-C", "p2", "apply", "--auto-approve", "--lock-timeout", "0s"]);
    second.code(5).says("the state is locked").says("https://ci.example/o/r/actions/runs/7");
    env.run(["state", "unlock", "00"]).code(1).says("is held by");
    // Killed: its lease ends by itself.
    prompt.signal("KILL");
    let _ = prompt.wait();
    let third = env.run(["-C", "p2", "apply", "--auto-approve", "--lock-timeout", "30s"]);
    third.success().says("Waiting up to 30s for shard");
    assert_each_once(&env, 12);
}

#[test]
fn a_run_whose_shard_was_taken_away_stops() {
    let mut env = TestEnv::unlimited(ServerConfig {
        build_time: Duration::from_secs(3600),
        ..ServerConfig::default()
    });
    let url = format!("file://{}", env.path("store").display());
    env.set("IMGPLAN_STATE", &url).set("IMGPLAN_LEASE", "2s").write("imgplan.yaml", mirrors(12));
    env.ok(["state", "init"]);
    let run = env.call(["apply", "--auto-approve"]).start();
    wait_until("all were initiated", || env.server().builds().len() == 12);
    env.ok(["state", "unlock", "--force", "pins"]);
    run.wait().code(1).says("has taken over shard pins").says("the run was aborted");
    assert_eq!(env.server().builds().len(), 12);
}

#[test]
fn a_store_that_breaks_its_word_is_refused() {
    let Some(moto) = Moto::start() else { return };
    for fault in [Fault::Ignores, Fault::Races] {
        let proxy = Proxy::start(&moto, fault);
        let mut env = TestEnv::new();
        use_bucket(&mut env, &proxy.address);
        env.write("imgplan.yaml", mirrors(1));
        let refused = env.run(["state", "init"]);
        refused.code(1).says("cannot hold a state: it told").never_says("a-very-secret-key");
        env.run(["plan"]).code(1).says("there is no state at s3://bucket/team/state");
    }
}

#[test]
fn a_state_in_a_bucket_serves_all_commands() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::start(&moto, Fault::None);
    let mut env = TestEnv::unlimited(ServerConfig::default());
    use_bucket(&mut env, &proxy.address);
    env.write("imgplan.yaml", mirrors(12));
    env.ok(["state", "init"]);
    env.apply();
    env.ok(["apply", "--auto-approve", "--replace", "m1"]);
    env.ok(["state", "history"]).says("1 shard");
    env.ok(["state", "mv", "m1:v1", "n1:v1"]);
    env.ok(["state", "mv", "n1:v1", "m1:v1"]);
    env.ok(["doctor"])
        .says("s3://bucket/team/state can be written, and enforces conditional writes");
    env.plans_nothing();
    env.set("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let unreachable = env.run(["plan"]);
    unreachable.code(1).says("cannot read s3://bucket/team/state/state.json");
    unreachable.never_says("a-very-secret-key");
}

/// Writes a line that is shown for tests that succeed as well.
fn tell(line: &str) {
    use std::io::Write;
    // Unlike `eprintln!`, this is not captured.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A small generator of numbers (xorshift), so that a seed gives the same course of a worker.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Eight processes compete for the parts of one manifest. Some are killed, and half of those lose their
/// disk; some are stopped for longer than their lease.
fn chaos(env: &mut TestEnv, seed: u64, targets: usize, lease: Duration) {
    env.set("IMGPLAN_LEASE", &format!("{}ms", lease.as_millis()));
    env.set("IMGPLAN_LOCK_TIMEOUT", "4s");
    env.write("imgplan.yaml", mirrors(targets));
    let env: &TestEnv = env;
    let is_done = || env.server().builds().len() >= targets;
    let counts = Mutex::new([0; 3]);
    std::thread::scope(|scope| {
        for worker in 0..8_u64 {
            let folder = format!("p{worker}");
            env.write(&format!("{folder}/imgplan.yaml"), mirrors(targets));
            let (is_done, counts) = (&is_done, &counts);
            scope.spawn(move || {
                let mut random = Random(seed * 1_000 + worker * 7 + 1);
                for _ in 0..40 {
                    if is_done() {
                        return;
                    }
                    let group = format!("g{}", random.below(GROUPS.into()));
                    let arguments = ["-C", &folder, "apply", "--auto-approve", "--group", &group];
                    let run = env.call(arguments).start();
                    std::thread::sleep(Duration::from_millis(300 + random.below(2_500)));
                    match random.below(3) {
                        0 => {
                            run.signal("KILL");
                            let _ = run.wait();
                            if random.below(2) == 0 {
                                let _ = std::fs::remove_dir_all(env.path(&folder).join(".imgplan"));
                            }
                            counts.lock().unwrap()[0] += 1;
                        }
                        1 => {
                            run.signal("STOP");
                            std::thread::sleep(lease * 5 / 2);
                            run.signal("CONT");
                            let _ = run.wait();
                            counts.lock().unwrap()[1] += 1;
                        }
                        _ => {
                            let _ = run.wait();
                            counts.lock().unwrap()[2] += 1;
                        }
                    }
                }
            });
        }
    });
    // What killed runs had requested is looked up and recorded.
    env.ok(["apply", "--auto-approve", "--lock-timeout", "1m", "--lease", "30s"]);
    let [killed, paused, others] = *counts.lock().unwrap();
    tell(&format!("seed {seed}: {killed} killed, {paused} paused, {others} others"));
    assert_each_once(env, targets);
}

/// Returns a number of the environment, for longer courses by hand.
fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

#[test]
fn runs_that_die_and_sleep_initiate_each_target_once_in_a_folder() {
    let mut env = TestEnv::unlimited(ServerConfig::default());
    let url = format!("file://{}", env.path("store").display());
    env.set("IMGPLAN_STATE", &url).write("imgplan.yaml", mirrors(1));
    env.ok(["state", "init"]);
    let targets = usize::try_from(number("IMGPLAN_CHAOS_TARGETS", 500)).unwrap();
    chaos(&mut env, number("IMGPLAN_CHAOS_SEED", 1), targets, Duration::from_secs(1));
}

/// The same in moto; with `is_lossy` through a proxy that loses answers.
fn chaos_in_bucket(seed: u64, targets: u64, is_lossy: bool) {
    let Some(moto) = Moto::start() else { return };
    let mut env = TestEnv::unlimited(ServerConfig::default());
    let proxy = Proxy::start(&moto, Fault::None);
    use_bucket(&mut env, &proxy.address);
    env.write("imgplan.yaml", mirrors(1));
    // A test of a store that loses answers proves nothing.
    env.ok(["state", "init"]);
    let proxy = if is_lossy { Proxy::start(&moto, Fault::LosesAnswers) } else { proxy };
    use_bucket(&mut env, &proxy.address);
    let targets = usize::try_from(number("IMGPLAN_CHAOS_TARGETS", targets)).unwrap();
    // moto handles some hundred requests a second: a run must be able to renew its leases.
    chaos(&mut env, number("IMGPLAN_CHAOS_SEED", seed), targets, Duration::from_secs(4));
}

#[test]
fn runs_that_die_and_sleep_initiate_each_target_once_in_a_bucket() {
    chaos_in_bucket(2, 500, false);
}

#[test]
fn runs_that_die_and_sleep_initiate_each_target_once_in_a_bucket_that_loses_answers() {
    chaos_in_bucket(3, 120, true);
}

#[test]
fn answers_of_the_store_may_be_lost() {
    let Some(moto) = Moto::start() else { return };
    let mut env = TestEnv::unlimited(ServerConfig::default());
    let exact = Proxy::start(&moto, Fault::None);
    use_bucket(&mut env, &exact.address);
    env.write("imgplan.yaml", mirrors(60));
    // A test of a store that loses answers proves nothing.
    env.ok(["state", "init"]);
    let proxy = Proxy::start(&moto, Fault::LosesAnswers);
    use_bucket(&mut env, &proxy.address);
    env.apply();
    assert_each_once(&env, 60);
    env.ok(["apply", "--auto-approve", "--replace", "m1"]);
    env.plans_nothing();
}
