//! The lockfile as other programs leave it: links, mounts, line ends, and merges that keep both
//! sides.

use crate::support::TestEnv;

fn project() -> TestEnv {
    let env = TestEnv::new();
    env.write(
        "imgplan.yaml",
        "version: 1\nimages:\n  - {name: a, context: a}\n  - {name: b, context: b}\n",
    );
    env.context("a", "FROM scratch\n").context("b", "FROM scratch\nLABEL v=b\n");
    env.apply();
    env
}

#[test]
fn line_ends_are_kept() {
    let env = project();
    let text = env.read("imgplan.lock");
    let crlf = text.replace('\n', "\r\n");
    let with_bom = format!("\u{feff}{crlf}");
    let mixed = text.replacen('\n', "\r\n", 4);
    for on_disk in [&crlf, &with_bom, &mixed, &text] {
        env.write("imgplan.lock", on_disk);
        env.apply().says("No changes");
        assert_eq!(env.read("imgplan.lock"), **on_disk, "it is left alone");
    }
    for (on_disk, is_crlf) in [(&crlf, true), (&with_bom, true), (&mixed, false), (&text, false)] {
        env.write("imgplan.lock", on_disk);
        let dockerfile = env.read("a/Dockerfile");
        env.write("a/Dockerfile", format!("{dockerfile}LABEL v=more\n"));
        env.apply();
        let written = env.read("imgplan.lock");
        let ends = if is_crlf { written.matches('\n').count() } else { 0 };
        assert_eq!(written.matches("\r\n").count(), ends, "{written:?}");
        assert!(!written.starts_with('\u{feff}'));
        env.plans_nothing();
    }
}

/// With `merge=union`, git keeps the lines of both sides.
#[test]
fn duplicate_keys_are_explained() {
    let env = project();
    let text = env.read("imgplan.lock");
    let (head, units) = text.split_once("units:\n").unwrap();
    let build = text.lines().find(|line| line.contains("build: ")).unwrap();
    let pin =
        format!("  \"docker.io/library/redis:7\":\n    digest: \"sha256:{}\"\n", "0".repeat(64));
    for (what, merged) in [
        ("a:latest", format!("{text}{units}")),
        ("build", text.replacen(build, &format!("{build}\n{build}"), 1)),
        ("units", format!("{text}units:\n{units}")),
        ("service", text.replacen("service:", "service: \"x\"\nservice:", 1)),
        ("docker.io/library/redis:7", format!("{head}pins:\n{pin}{pin}units:\n{units}")),
    ] {
        for merged in [merged.clone(), merged.replace('\n', "\r\n")] {
            env.write("imgplan.lock", &merged);
            let output = env.run(["plan"]);
            output
                .code(1)
                .says(&format!("has {what} again, as after a merge"))
                .says("finish the merge");
            output.says("imgplan.lock: line ").says("[imgplan.lock:").never_says("Policy");
            assert_eq!(env.run(["apply", "--auto-approve"]).code(1).all(), output.all());
            assert_eq!(env.read("imgplan.lock"), merged);
        }
    }
}

/// Any other damage is shown with its line.
#[test]
fn damage_is_shown_with_its_line() {
    let env = project();
    let text = env.read("imgplan.lock");
    for (from, to, message, line) in [
        ("kind: build", "kind: bild", "unknown variant `bild`", "kind: bild"),
        ("kind: build", "kind: !x build", "tag", "kind: !x build"),
        ("\"a:latest\"", "\"A:latest\"", "`A` is not an image name: write `a`", "\"A:latest\""),
        ("\"b3:", "\"b4:", "is not a digest", "fingerprint"),
    ] {
        env.write("imgplan.lock", text.replacen(from, to, 1));
        let output = env.run(["plan"]);
        let (number, _) = env
            .read("imgplan.lock")
            .lines()
            .enumerate()
            .find_map(|(index, read)| read.contains(to).then(|| (index + 1, read.to_owned())))
            .unwrap();
        output.code(1).says(message).says(&format!("imgplan.lock:{number}:")).says(line);
        output.says("restore it from git").never_says("from_str");
    }
}

#[cfg(unix)]
mod links {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Replaces the lockfile by a link. Returns its text.
    fn link(env: &TestEnv, to: &str) -> String {
        let text = env.read("imgplan.lock");
        fs::remove_file(env.path("imgplan.lock")).unwrap();
        symlink(to, env.path("imgplan.lock")).unwrap();
        text
    }

    #[test]
    fn a_link_to_a_file_of_the_repository_is_followed() {
        let env = project();
        env.write(".git/HEAD", "").write("state/images.lock", env.read("imgplan.lock"));
        symlink("images.lock", env.path("state/chain")).unwrap();
        for to in ["state/images.lock", "./state/chain"] {
            link(&env, to);
            env.plans_nothing();
            let before = env.read("state/images.lock");
            let dockerfile = env.read("a/Dockerfile");
            env.write("a/Dockerfile", format!("{dockerfile}LABEL v=more\n"));
            env.apply();
            assert_eq!(fs::read_link(env.path("imgplan.lock")).unwrap().to_str(), Some(to));
            assert_ne!(env.read("state/images.lock"), before);
            env.plans_nothing();
        }
    }

    #[test]
    fn other_links_are_rejected() {
        let env = project();
        let outside = tempfile::tempdir().unwrap();
        let outside = outside.path().join("images.lock");
        fs::copy(env.path("imgplan.lock"), &outside).unwrap();
        let text = env.read("imgplan.lock");
        env.write("a/Dockerfile", "FROM scratch\nLABEL v=changed\n");
        let before = env.server().requests();
        for (to, why) in [
            (outside.to_str().unwrap(), "which is outside of the repository"),
            ("/dev/zero", "which is outside of the repository"),
            ("a", "which is not a regular file"),
            ("nowhere.lock", "which does not exist"),
            ("imgplan.lock", "which cannot be followed"),
        ] {
            link(&env, to);
            for args in [&["plan"][..], &["apply", "--auto-approve"], &["show"], &["lock"]] {
                let output = env.run(args.iter().copied());
                output
                    .code(1)
                    .says(&format!("imgplan.lock is a link to {to}, {why}"))
                    .says("help:");
            }
            fs::remove_file(env.path("imgplan.lock")).unwrap();
            env.write("imgplan.lock", &text);
        }
        assert_eq!(fs::read_to_string(outside).unwrap(), text);
        assert_eq!(env.server().requests(), before);
    }
}

/// A lockfile that is mounted on its own, as `docker run -v` does, cannot be renamed over.
#[cfg(target_os = "linux")]
#[test]
fn a_mounted_lockfile_is_written_in_place() {
    use std::process::Command;

    let env = project();
    env.write("outside/images.lock", env.read("imgplan.lock"));
    env.write("a/Dockerfile", "FROM scratch\nLABEL v=changed\n");
    let script = "mount --bind outside/images.lock imgplan.lock || exit 99; exec \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script, env!("CARGO_BIN_EXE_imgplan")])
        .args(["apply", "--auto-approve"])
        .current_dir(env.path(""))
        .env("PRIME_API_BASE_URL", env.server().url())
        .env("PRIME_API_KEY", crate::support::KEY)
        .env("HOME", env.home())
        .output();
    let Some(output) = output.ok().filter(|output| output.status.code() != Some(99)) else {
        return crate::support::skip("no mount is allowed here");
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("unshare") {
        return crate::support::skip("no namespace is allowed here");
    }
    assert!(output.status.success(), "{stderr}");
    assert_ne!(env.read("outside/images.lock"), env.read("imgplan.lock"));
    assert!(!env.exists(".imgplan/imgplan.lock.old"));
    assert!(!env.exists(".imgplan/journal.jsonl"));
    env.write("imgplan.lock", env.read("outside/images.lock"));
    env.plans_nothing();
}
