//! The permissions of files and folders, as they are sent. Pure.

use std::fmt;

/// The twelve permission bits of a file or folder: read, write and execute for owner, group and
/// others, and the setuid, setgid and sticky bits. Docker sends them as they are, and so does
/// imgplan, with one exception: 664 counts as 644, and 775 as 755. These are the modes of a checkout
/// under the umasks 002 and 022, so that the same commit is the same context on both machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Permissions(u16);

impl Permissions {
    /// The usual permissions of a file: `rw-r--r--`.
    pub const FILE: Self = Self(0o644);
    /// The usual permissions of a folder, and of a file that can be executed: `rwxr-xr-x`.
    pub const EXECUTABLE: Self = Self(0o755);

    /// Returns the permissions of a Unix mode, whatever its file type.
    pub fn of_mode(mode: u32) -> Self {
        match mode & 0o7777 {
            0o664 => Self::FILE,
            0o775 => Self::EXECUTABLE,
            // Twelve bits fit.
            bits => Self(u16::try_from(bits).unwrap_or_default()),
        }
    }

    /// Returns the bits.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// Returns true if the owner may execute the file.
    pub fn executable(self) -> bool {
        self.0 & 0o100 != 0
    }
}

/// Writes the bits in octal, as `chmod` takes them.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_modes_of_another_umask_change() {
        for (mode, sent) in [
            (0o100_644, "644"),
            (0o100_664, "644"),
            (0o100_755, "755"),
            (0o100_775, "755"),
            (0o40_775, "755"),
            (0o100_600, "600"),
            (0o100_440, "440"),
            (0o40_700, "700"),
            (0o100_666, "666"),
            (0o100_777, "777"),
            (0o100_000, "0"),
            (0o41_777, "1777"),
            (0o104_755, "4755"),
            (0o102_775, "2775"),
            (0o106_664, "6664"),
        ] {
            assert_eq!(Permissions::of_mode(mode).to_string(), sent, "{mode:o}");
        }
    }
}
