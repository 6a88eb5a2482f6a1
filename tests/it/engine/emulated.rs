//! Builds for ARM on a machine without, by QEMU: `apt-get install qemu-user-static`. It is registered in a
//! user namespace of the test, so that nothing changes for the rest of the machine. Needs root, and Linux
//! 6.7 or later.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::local::assert_nothing_is_left;
use super::{manifest, programs};
use crate::support::{Call, TestEnv};

/// Runs a program in a user namespace of all users of the machine, with QEMU for the programs of ARM.
const WITH_QEMU: &str = r#"
set -e
turn=$(mktemp -u)
mkfifo "$turn"
unshare --user --mount sh -ec '
    echo >"$1"
    read -r _ <"$1"
    shift
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    magic="\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    mask="\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    printf %s ":arm:M::$magic:$mask:/usr/bin/qemu-aarch64-static:F" \
        >/proc/sys/fs/binfmt_misc/register
    exec "$@"' sh "$turn" "$0" "$@" &
read -r _ <"$turn"
for map in uid_map gid_map; do echo "0 0 65536" >"/proc/$!/$map"; done
echo >"$turn"
rm "$turn"
wait $!
"#;

/// Returns a program of 64-bit Linux on ARM that only exits with a code.
fn program(code: u8) -> Vec<u8> {
    let (headers, address) = (64_u64 + 56, 0x40_0000_u64);
    let size = headers + 12;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2_u16, 183].map(u16::to_le_bytes).concat());
    file.extend(1_u32.to_le_bytes());
    file.extend([address + headers, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    file.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    file.extend([0, address, address, size, size, 0x1_0000].map(u64::to_le_bytes).concat());
    // mov x0, #code; mov x8, #93; svc #0
    let instructions = [0xd280_0000 | (u32::from(code) << 5), 0xd280_0ba8, 0xd400_0001];
    file.extend(instructions.map(u32::to_le_bytes).concat());
    file
}

#[test]
fn an_emulator_runs_the_commands_of_a_foreign_platform() {
    if programs().is_none() {
        return;
    }
    let env = TestEnv::at("http://127.0.0.1:9");
    // Without namespaces, the script waits for ever.
    let script = WITH_QEMU.replace("\"$0\" \"$@\"", "true");
    let tried = Command::new("timeout").args(["20", "sh", "-c", &script]).output().unwrap();
    if !Path::new("/usr/bin/qemu-aarch64-static").exists() || !tried.status.success() {
        let required = std::env::var_os("IMGPLAN_QEMU").is_some_and(|value| value == "required");
        let reason = String::from_utf8_lossy(&tried.stderr).into_owned();
        assert!(!required, "IMGPLAN_QEMU=required: no usable qemu-aarch64-static: {reason}");
        let _ = writeln!(std::io::stderr(), "SKIPPED: engine::emulated: no usable QEMU");
        return;
    }
    let contexts = [0, 7].map(|code| {
        let name = format!("exits-{code}");
        env.context(&name, "FROM scratch\nCOPY --chmod=755 program /\nRUN [\"/program\"]\n");
        env.write(&format!("{name}/program"), program(code));
        name
    });
    let manifest = manifest(&contexts).replace('}', ", platforms: [linux/arm64]}");
    env.write("imgplan.yaml", manifest);
    let args = ["apply", "--local", "--engine", "buildah", "--auto-approve", "--slots", "1"];
    let args = [&args[..], &["--build-network", "none"]].concat();
    let apply = || -> Call { env.call(args.iter().copied()) };
    // Without the emulator, nothing runs.
    apply().run().code(1).says("Apply: 0 built").says("apt install qemu-user-static");
    let emulated = apply().in_shell(WITH_QEMU).run();
    emulated.code(1).says("RUN: linux/amd64, linux/arm64").says("Apply: 1 built");
    emulated.says("exits-7:v1").says("`RUN /program` failed: exit status 7");
    assert_nothing_is_left(&env);
}
