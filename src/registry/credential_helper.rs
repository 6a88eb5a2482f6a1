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

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn a_helper_is_the_first_of_its_name_in_an_absolute_folder() {
        let dir = tempfile::tempdir().unwrap();
        for (folder, user) in [("one", "ann"), ("two", "bob")] {
            let folder = dir.path().join(folder);
            fs::create_dir(&folder).unwrap();
            let script = dir.path().join(user);
            let said = format!(r#"echo '{{"Username":"{user}","Secret":"s"}}'"#);
            fs::write(&script, format!("#!/bin/sh\n{said}\n")).unwrap();
            // Another process writes what is run: where one of ours has a file open, as a child of
            // another test may for a moment, it cannot be run.
            let mut install = std::process::Command::new("install");
            let to = folder.join("docker-credential-test");
            assert!(install.arg("-m755").arg(script).arg(to).status().unwrap().success());
        }
        // A path from here to there, whatever here is.
        let here = std::env::current_dir().unwrap();
        let up: PathBuf = here.components().skip(1).map(|_| Path::new("..")).collect();
        let near = up.join(dir.path().strip_prefix("/").unwrap().join("one"));
        assert!(near.join("docker-credential-test").is_file() && near.is_relative());
        let path = std::env::join_paths([near, dir.path().join("two"), dir.path().join("one")]);
        let found = ask(&path.unwrap(), "test", "a.example").await.unwrap();
        let Some(Credential::Password { user, .. }) = found else { panic!("{found:?}") };
        assert_eq!(user, "bob");
        let error = ask(OsStr::new("."), "test", "a.example").await.unwrap_err();
        assert!(error.contains("is not in PATH"), "{error}");
    }
}
