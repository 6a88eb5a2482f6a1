//! The order in which the local server writes to disk and responds: a response is sent once all that it
//! shows would survive a power failure. Observed from outside, with strace.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{KEY, TestEnv, http_client, wait_until};

/// The system calls that strace writes down.
const CALLS: &str = "trace=write,writev,sendto,fsync,fdatasync,rename,renameat,renameat2,mkdirat";

/// A system call: its text, and the lines of the trace at which it began and ended.
#[derive(Debug)]
struct SystemCall {
    text: String,
    began: usize,
    ended: usize,
}

impl SystemCall {
    fn is(&self, names: &[&str], argument: &str) -> bool {
        names.iter().any(|name| self.text.starts_with(&format!("{name}(")))
            && self.text.contains(argument)
    }
}

/// Reads a trace. A call of one thread that another thread interrupts is in two lines.
fn read(trace: &str) -> Vec<SystemCall> {
    let mut unfinished: HashMap<&str, (String, usize)> = HashMap::new();
    let mut calls = Vec::new();
    for (index, line) in trace.lines().enumerate() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(begin) = text.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (begin.to_owned(), index));
        } else if text.starts_with("<... ") {
            let Some((begin, began)) = unfinished.remove(thread) else { continue };
            let end = text.split_once(" resumed>").unwrap().1;
            calls.push(SystemCall { text: begin + end, began, ended: index });
        } else {
            calls.push(SystemCall { text: text.to_owned(), began: index, ended: index });
        }
    }
    calls.sort_by_key(|call| call.began);
    calls
}

/// A server under strace. It is killed when dropped.
struct Traced {
    strace: Child,
    url: String,
}

impl Traced {
    /// Starts a server. Returns `None`, with a message, if strace is missing or unusable.
    fn start(env: &TestEnv) -> Option<Self> {
        let usable = Command::new("strace").args(["-f", "-y", "-o", "/dev/null", "true"]).output();
        if !usable.is_ok_and(|output| output.status.success()) {
            let required = std::env::var_os("IMGPLAN_STRACE").is_some_and(|it| it == "required");
            assert!(!required, "IMGPLAN_STRACE=required: no usable strace");
            // Unlike `eprintln!`, this is not captured in tests that succeed.
            let text = "SKIPPED: no usable strace";
            std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes())
                .unwrap();
            return None;
        }
        let strace = Command::new("strace")
            .args(["-f", "-y", "-s", "4096", "-e", CALLS, "-e", "signal=none", "-o", "trace"])
            .arg(env!("CARGO_BIN_EXE_imgplan"))
            .args(["serve", "--listen", "127.0.0.1:0", "--state", "state", "--url-file", "url"])
            .current_dir(env.path(""))
            .env_clear()
            .envs(env.vars())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut traced = Self { strace, url: String::new() };
        wait_until("the server listens", || env.exists("url"));
        env.read("url").trim().clone_into(&mut traced.url);
        Some(traced)
    }

    /// Sends a request, and returns its response.
    async fn send(&self, method: &str, path: &str, body: Value) -> Value {
        let http = http_client();
        let url = format!("{}/api/v1{path}", self.url);
        let request = http.request(method.parse().unwrap(), url).bearer_auth(KEY).json(&body);
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{method} {path}: {}", response.status());
        response.json().await.unwrap()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // strace ends with the server, and passes SIGTERM on to nobody.
        let server = format!("--ppid={}", self.strace.id());
        let ids = Command::new("ps").args(["-o", "pid=", &server]).output().unwrap().stdout;
        let ids = String::from_utf8(ids).unwrap();
        let _ = Command::new("kill").args(ids.split_whitespace()).status();
        let _ = self.strace.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_is_sent_after_all_that_it_shows_is_on_disk() {
    // The server is a process of its own.
    let env = TestEnv::at("http://127.0.0.1:1");
    let Some(server) = Traced::start(&env) else { return };
    let body = json!({
        "image_name": "app", "image_tag": "v1", "dockerfile_path": "Dockerfile",
        "platform": "linux/amd64",
    });
    let build = server.send("POST", "/images/build", body).await;
    let id = build["build_id"].as_str().unwrap().to_owned();
    let upload = http_client();
    let upload = upload.put(build["upload_url"].as_str().unwrap()).body(vec![0; 5000]);
    assert!(upload.send().await.unwrap().status().is_success());
    let path = format!("/images/build/{id}/start");
    server.send("POST", &path, json!({ "context_uploaded": true })).await;
    // The archive is no archive: the build fails.
    let path = format!("/images/build/{id}");
    while server.send("GET", &path, Value::Null).await["status"] != "FAILED" {}
    drop(server);

    let trace = env.read("trace");
    let calls = read(&trace);
    let log = "/state/changes.jsonl>";
    let commits: Vec<&SystemCall> =
        calls.iter().filter(|call| call.is(&["write"], log) && call.text.contains(&id)).collect();
    assert_eq!(commits.len(), 4, "initiated, uploaded, started, failed:\n{trace}");
    let syncs: Vec<&SystemCall> =
        calls.iter().filter(|call| call.is(&["fdatasync"], log)).collect();
    // Each sync serves all who wait.
    assert!(syncs.len() <= commits.len(), "{trace}");
    let responses: Vec<&SystemCall> = calls
        .iter()
        .filter(|call| call.is(&["write", "writev", "sendto"], "HTTP/1.1 20"))
        .collect();
    assert!(responses.len() >= 4, "{trace}");
    for response in &responses {
        let shown = commits.iter().filter(|commit| commit.ended < response.began);
        for commit in shown {
            let synced = |sync: &&&SystemCall| {
                sync.began > commit.ended
                    && sync.ended < response.began
                    && sync.text.ends_with("= 0")
            };
            assert!(syncs.iter().any(|sync| synced(&sync)), "{commit:#?}\n{response:#?}\n{trace}");
        }
    }

    // The context, its name, and the new folder's own names.
    let uploaded = responses[1];
    let before = |names: &[&str], argument: &str| {
        calls.iter().any(|call| call.ended < uploaded.began && call.is(names, argument))
    };
    assert!(before(&["fsync"], "/state/uploads/.upload-"), "{trace}");
    assert!(before(&["fsync"], "/state/uploads>"), "{trace}");
    assert!(before(&["fsync"], "/state>"), "{trace}");
    let root = format!("{}>", env.path("").display().to_string().trim_end_matches('/'));
    assert!(before(&["fsync"], &root), "{trace}");
}
