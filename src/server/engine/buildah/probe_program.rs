//! A program for a probe: a static one that ends at once, for each platform, so that the probe needs no
//! image. Pure.

use crate::base::name::Platform;

/// Address at which the program is loaded.
const LOAD_ADDRESS: u64 = 0x40_0000;

/// Size of the ELF header and of one program header.
const HEADER_BYTES: u64 = 64 + 56;

/// `exit(0)` of Linux on x86-64: `xor edi, edi; mov eax, 60; syscall`.
const EXIT_AMD64: &[u8] = &[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];

/// `exit(0)` of Linux on 64-bit ARM: `mov x0, #0; mov x8, #93; svc #0`.
const EXIT_ARM64: &[u8] = &[0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4];

/// Returns the ELF file of the program.
pub(super) fn program(platform: Platform) -> Vec<u8> {
    let (machine, code): (u16, _) = match platform {
        Platform::Amd64 => (62, EXIT_AMD64),
        Platform::Arm64 => (183, EXIT_ARM64),
    };
    let size = HEADER_BYTES + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // An executable, with the program header after this one and no sections.
    file.extend([2, machine].map(u16::to_le_bytes).concat());
    file.extend(1_u32.to_le_bytes());
    file.extend([LOAD_ADDRESS + HEADER_BYTES, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    file.extend([64, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    // One segment to read and execute: the whole file.
    file.extend([1, 5].map(u32::to_le_bytes).concat());
    let segment = [0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 0x1_0000];
    file.extend(segment.map(u64::to_le_bytes).concat());
    file.extend_from_slice(code);
    file
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::server::engine::buildah::steps::native_platform;

    #[test]
    fn the_program_of_this_machine_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (written, path) = (dir.path().join("written"), dir.path().join("program"));
        std::fs::write(&written, program(native_platform())).unwrap();
        std::fs::set_permissions(&written, PermissionsExt::from_mode(0o755)).unwrap();
        // `cp` writes the program, and not this process: if a child process of another test inherited
        // the open file, running the program would fail with ETXTBSY.
        let copied = std::process::Command::new("cp").arg(written).arg(&path).status().unwrap();
        assert!(copied.success());
        assert!(std::process::Command::new(path).status().unwrap().success());
    }
}
