//! A full disk at each place that a run writes to: the run says so, and the next one continues with
//! what was accepted.

use std::io::Write;
use std::process::Command;

use crate::support::{KEY, TestEnv};

/// Runs in a user namespace of its own, which may mount a small disk. `$1` is the place of the disk,
/// `$2` the folder of the project, and `$0` the program. Prints the exit codes.
const SCRIPT: &str = r#"
mount -t tmpfs -o size=1m none "$1" || exit 99
cp -r project/. "$2"
cd "$2"
cat /dev/zero >"$1/filler" 2>/dev/null
"$0" apply --auto-approve; echo "full: $?"
rm "$1/filler"
"$0" apply --auto-approve; echo "free: $?"
"$0" plan --detailed-exitcode; echo "plan: $?"
"#;

#[test]
fn a_full_disk_loses_nothing() {
    for (place, project) in [("work", "work"), ("work/.imgplan", "work"), ("tmp", "work")] {
        let env = TestEnv::new();
        let root = env.everything();
        for folder in ["project/app", "work/.imgplan"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let manifest = "version: 1\nimages: [{name: app, tag: v1, context: app}]\n";
        std::fs::write(root.join("project/imgplan.yaml"), manifest).unwrap();
        std::fs::write(root.join("project/app/Dockerfile"), "FROM scratch\nCOPY f /\n").unwrap();
        std::fs::write(root.join("project/app/f"), "text").unwrap();
        let output = Command::new("unshare")
            .args(["-rm", "sh", "-c", SCRIPT, env!("CARGO_BIN_EXE_imgplan")])
            .args([root.join(place), root.join(project)])
            .current_dir(root)
            .env_clear()
            .envs(env.vars())
            .output();
        let output = match output {
            Ok(output) if output.status.success() => output,
            _ => {
                // Unlike `eprintln!`, this is not captured in tests that succeed.
                let reason = "this user cannot mount a disk in a namespace";
                return writeln!(std::io::stderr(), "SKIPPED: {reason}").unwrap();
            }
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("full: 1"), "{place}\n{text}");
        assert!(text.contains("No space left on device"), "{place}\n{text}");
        assert!(text.contains("free: 0") && text.contains("plan: 0"), "{place}\n{text}");
        assert!(!text.contains(KEY) && !text.contains("panicked"), "{place}\n{text}");
        let completed = env.server().builds().into_iter().filter(|build| build.image == "app:v1");
        assert_eq!(completed.filter(|build| build.started).count(), 1, "{place}\n{text}");
    }
}
