//! Runs credential helpers as Docker does: `docker-credential-<name> get`, with the server name on
//! stdin and JSON on stdout.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::docker_config::{Credential, password_of};

/// Maximum time for a helper: some use a network service, others ask the user.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum size of a helper's output, far above that of any credential.
const MAX_OUTPUT_BYTES: u64 = 64 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperOutput {
    username: String,
    secret: String,
}

/// Returns the file name of a helper.
pub(super) fn program(name: &str) -> String {
    format!("docker-credential-{name}")
}

/// Returns the credential that a helper has for a server. `None` if it has none.
///
/// # Errors
///
/// Fails with a message if the helper cannot be run, fails or times out. The message never contains
/// the output of the helper, which may contain secrets.
pub(super) async fn get(
    path: &OsStr,
    name: &str,
    server: &str,
) -> Result<Option<Credential>, String> {
    let program = program(name);
    let Some(file) = find(path, &program) else {
        return Err(format!("{program} (from Docker's configuration) is not in PATH"));
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
            // A helper that does not read the server name may have ended already.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        let mut stdout = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            pipe.take(MAX_OUTPUT_BYTES).read_to_end(&mut stdout).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?.success(), stdout))
    };
    let (success, stdout) = match tokio::time::timeout(HELPER_TIMEOUT, run).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => return Err(format!("{program} cannot be run: {error}")),
        Err(_) => {
            return Err(format!("{program} did not answer in {} s", HELPER_TIMEOUT.as_secs()));
        }
    };
    if !success {
        // All helpers print this text if they have no credential for the server.
        let has_none = String::from_utf8_lossy(&stdout).contains("credentials not found");
        return if has_none { Ok(None) } else { Err(format!("{program} failed")) };
    }
    let output: HelperOutput = serde_json::from_slice(&stdout)
        .map_err(|_| format!("the output of {program} is not a credential"))?;
    if output.username == "<token>" && !output.secret.is_empty() {
        return Ok(Some(Credential::Identity(output.secret.into())));
    }
    Ok(password_of(&output.username, &output.secret))
}

/// Searches the folders of `path` for a program. Relative folders (`.`, for example) are skipped: other
/// users may be able to write to the current folder.
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
    async fn the_first_helper_in_an_absolute_folder_is_used() {
        let dir = tempfile::tempdir().unwrap();
        for (folder, user) in [("one", "ann"), ("two", "bob")] {
            let folder = dir.path().join(folder);
            fs::create_dir(&folder).unwrap();
            let script = dir.path().join(user);
            let output = format!(r#"echo '{{"Username":"{user}","Secret":"s"}}'"#);
            fs::write(&script, format!("#!/bin/sh\n{output}\n")).unwrap();
            // `install` writes the program, and not this process: if a child process of another test
            // inherited the open file, running the program would fail with ETXTBSY.
            let mut install = std::process::Command::new("install");
            let to = folder.join("docker-credential-test");
            assert!(install.arg("-m755").arg(script).arg(to).status().unwrap().success());
        }
        // A relative path to the first folder.
        let here = std::env::current_dir().unwrap();
        let up: PathBuf = here.components().skip(1).map(|_| Path::new("..")).collect();
        let relative = up.join(dir.path().strip_prefix("/").unwrap().join("one"));
        assert!(relative.join("docker-credential-test").is_file() && relative.is_relative());
        let path = std::env::join_paths([relative, dir.path().join("two"), dir.path().join("one")]);
        let credential = get(&path.unwrap(), "test", "a.example").await.unwrap();
        let Some(Credential::Password { user, .. }) = credential else { panic!("{credential:?}") };
        assert_eq!(user, "bob");
        let error = get(OsStr::new("."), "test", "a.example").await.unwrap_err();
        assert!(error.contains("is not in PATH"), "{error}");
    }
}
