//! Asks a credential helper, as Docker does: `docker-credential-<name> get`, the registry's name on
//! its stdin, JSON on its stdout.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::docker_config::{Credential, password_of};

/// How long a helper may take: some ask a service of their own, some a person.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most bytes of an answer: no credential is near this.
const MOST: u64 = 64 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// The credential that a helper has for a server, if it has one. An error says in words what is wrong
/// with the helper, and nothing that the helper said: that may be anything.
pub(super) async fn ask(
    path: &OsStr,
    name: &str,
    server: &str,
) -> Result<Option<Credential>, String> {
    let program = format!("docker-credential-{name}");
    let Some(file) = find(path, &program) else {
        return Err(format!("{program}, which Docker's configuration names, is not in PATH"));
    };
    let run = async {
        let mut child = Command::new(file)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that needs no server's name may have ended by now.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MOST).read_to_end(&mut said).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?.success(), said))
    };
    let (well, said) = match tokio::time::timeout(PATIENCE, run).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => return Err(format!("{program} cannot be run: {error}")),
        Err(_) => return Err(format!("{program} did not answer in {} s", PATIENCE.as_secs())),
    };
    if !well {
        // The one text that all helpers agree on.
        let none = String::from_utf8_lossy(&said).contains("credentials not found");
        return if none { Ok(None) } else { Err(format!("{program} failed")) };
    }
    let answer: Answer = serde_json::from_slice(&said)
        .map_err(|_| format!("{program} answered with something else than a credential"))?;
    if answer.username == "<token>" && !answer.secret.is_empty() {
        return Ok(Some(Credential::Identity(answer.secret.into())));
    }
    Ok(password_of(&answer.username, &answer.secret))
}

/// The program in the first of the folders that has it. Folders that depend on where we are, as `.`
/// does, are passed over: anyone may have put something there.
fn find(path: &OsStr, program: &str) -> Option<PathBuf> {
    let file = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(&file)).find(|file| file.is_file())
}
