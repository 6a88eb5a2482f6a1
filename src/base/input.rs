//! The door for reading files: a checkout, a server or a user may hand in any of them.
//!
//! A checkout can hold a link to `/dev/zero`, which never ends, or name a FIFO, which blocks. So every
//! file is opened without blocking, must be a regular file, and is read up to the limit of its
//! [`InputKind`]. Links are followed. Clippy rejects `std::fs::read` and its relatives elsewhere.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Component, Path};

const MIB_BYTES: u64 = 1 << 20;

/// Defines the kinds of files with their limits.
macro_rules! input_kinds {
    ($($(#[$doc:meta])* $kind:ident: $max_mib:literal,)*) => {
        /// The kind of a file that is read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum InputKind {
            $($(#[$doc])* $kind,)*
        }

        impl InputKind {
            /// Maximum size in bytes.
            pub(crate) const fn max_bytes(self) -> u64 {
                match self {
                    $(Self::$kind => $max_mib * MIB_BYTES,)*
                }
            }
        }

        /// The names of all kinds. `tests/it/inputs.rs` attacks each.
        #[cfg(any(test, feature = "test-support"))]
        pub const INPUT_KINDS: &[&str] = &[$(stringify!($kind),)*];
    };
}

// The kinds, with their limits in MiB.
input_kinds! {
    /// A manifest, of the command line or of `include`.
    Manifest: 64,
    /// A list of `sources_from`.
    SourceList: 64,
    /// The `task.toml` of a Harbor task.
    HarborTask: 1,
    /// A file of another tool, for `imgplan convert`.
    Foreign: 64,
    /// A Dockerfile.
    Dockerfile: 4,
    /// A `.dockerignore`, of a context or of a Dockerfile.
    IgnoreFile: 4,
    /// The lockfile. A target takes about 1 KB: room for a million.
    Lockfile: 1024,
    /// The journal. A target takes about 2 KB: room for half a million in one run.
    Journal: 1024,
    /// The stat cache. A file of a context takes about 100 bytes.
    StatCache: 512,
    /// The list of the files of a context that was built.
    FileList: 256,
    /// The cache of registry lookups: 256 MB are some 800,000 references.
    RegistryCache: 256,
    /// A saved plan. A step takes about 0.5 KB.
    SavedPlan: 1024,
    /// A file of `--target-file` or `--exclude-file`.
    TargetFile: 16,
    /// The configuration of the provider's client, `~/.prime/config.json`.
    ServiceConfig: 1,
    /// The configuration of Docker or Podman, with credentials.
    DockerConfig: 4,
    /// The CA certificates of `--registry-ca`.
    CertificateAuthorities: 4,
    /// The state of the local server, or the log of its changes.
    ServerState: 1024,
}

/// Reads a file, which may be a link to a file.
///
/// # Errors
///
/// Fails if the path does not lead to a regular file, if the file cannot be read, and with
/// [`io::ErrorKind::FileTooLarge`] if it is larger than its kind may be.
pub(crate) fn read(path: &Path, kind: InputKind) -> io::Result<Vec<u8>> {
    read_file(&open(path)?, kind)
}

/// Does the same as [`read`] for a text.
///
/// # Errors
///
/// Fails as [`read`] does, and with [`io::ErrorKind::InvalidData`] if the file is not UTF-8.
pub(crate) fn read_text(path: &Path, kind: InputKind) -> io::Result<String> {
    text(read(path, kind)?)
}

/// Reads a file that an argument of the command line names.
///
/// A person may also name a device or an open descriptor: `/dev/stdin`, `/dev/null`, or what a shell
/// makes of `<(command)`. Only a path that says so itself counts (see [`is_device_path`]), so that no
/// link in a checkout leads there. It may block; the limit holds.
///
/// # Errors
///
/// Fails as [`read`] does.
pub(crate) fn read_argument(path: &Path, kind: InputKind) -> io::Result<Vec<u8>> {
    if path == Path::new("/dev/stdin") {
        return read_stdin(kind);
    }
    if !is_device_path(path) {
        return read(path, kind);
    }
    read_bounded(&open_device(path)?, 0, kind)
}

/// Does the same as [`read_argument`] for a text.
///
/// # Errors
///
/// Fails as [`read_text`] does.
pub(crate) fn read_text_argument(path: &Path, kind: InputKind) -> io::Result<String> {
    text(read_argument(path, kind)?)
}

/// Reads standard input.
///
/// # Errors
///
/// Fails if it cannot be read, and if it is longer than the limit.
pub(crate) fn read_stdin(kind: InputKind) -> io::Result<Vec<u8>> {
    read_bounded(io::stdin().lock(), 0, kind)
}

/// Reads an open file, which must be a regular file.
///
/// # Errors
///
/// Fails as [`read`] does.
pub(crate) fn read_file(file: &File, kind: InputKind) -> io::Result<Vec<u8>> {
    let meta = file.metadata()?;
    check_regular(&meta)?;
    read_bounded(file, meta.len(), kind)
}

/// Returns true for the paths of devices and open descriptors: `/dev/NAME`, `/dev/fd/NUMBER` and
/// `/proc/self/fd/NUMBER`. Other paths below `/dev`, such as `/dev/shm`, hold files of any user.
pub(crate) fn is_device_path(path: &Path) -> bool {
    let parts: Option<Vec<&str>> = path.components().map(name_of).collect();
    match parts.as_deref() {
        Some(["/", "dev", _]) => true,
        Some(["/", "dev", "fd", number] | ["/", "proc", "self", "fd", number]) => {
            number.bytes().all(|byte| byte.is_ascii_digit())
        }
        _ => false,
    }
}

fn name_of(part: Component<'_>) -> Option<&str> {
    match part {
        Component::RootDir => Some("/"),
        Component::Normal(name) => name.to_str(),
        _ => None,
    }
}

/// Fails if a file is not a regular one.
///
/// # Errors
///
/// Fails with [`io::ErrorKind::IsADirectory`] for a folder, and with a text that names the kind of the
/// file otherwise.
pub(crate) fn check_regular(meta: &Metadata) -> io::Result<()> {
    if meta.is_file() {
        return Ok(());
    }
    if meta.is_dir() {
        return Err(is_a_directory());
    }
    Err(not_regular(special_name(meta)))
}

fn not_regular(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("it is {name}, not a regular file"))
}

/// Reads at most the limit of a kind. `len` is the expected length.
fn read_bounded(file: impl Read, len: u64, kind: InputKind) -> io::Result<Vec<u8>> {
    let max = kind.max_bytes();
    let too_large = |size: String| {
        let text = format!("it has {size} bytes, and at most {max} are read");
        io::Error::new(io::ErrorKind::FileTooLarge, text)
    };
    if len > max {
        return Err(too_large(len.to_string()));
    }
    let mut bytes = Vec::new();
    // One byte more, so that reading the end of the file needs no larger buffer.
    bytes.try_reserve_exact(usize::try_from(len + 1).unwrap_or(0))?;
    // The size of a file in /proc is 0, and a file may grow.
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(too_large(format!("more than {max}")));
    }
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
    String::from_utf8(bytes).map_err(invalid)
}

#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "this is the door; its callers check and bound")]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    use rustix::io::{Errno, retry_on_intr};

    // Without NONBLOCK, opening a FIFO waits for a writer, and some devices wait as well.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())) {
        Ok(file) => Ok(file.into()),
        Err(Errno::NXIO) => Err(not_regular("a socket or a device without a driver")),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
#[expect(clippy::disallowed_methods, reason = "this is the door; its callers check and bound")]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[expect(clippy::disallowed_methods, reason = "a person named the device; the read is bounded")]
fn open_device(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(unix)]
fn is_a_directory() -> io::Error {
    rustix::io::Errno::ISDIR.into()
}

#[cfg(not(unix))]
fn is_a_directory() -> io::Error {
    io::ErrorKind::IsADirectory.into()
}

#[cfg(unix)]
fn special_name(meta: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = meta.file_type();
    if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_symlink() {
        "a link"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn special_name(meta: &Metadata) -> &'static str {
    if meta.is_symlink() { "a link" } else { "a device" }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "text").unwrap();
        assert_eq!(read_text(&path, InputKind::HarborTask).unwrap(), "text");
        assert_eq!(read_text_argument(&path, InputKind::HarborTask).unwrap(), "text");
        let max = InputKind::HarborTask.max_bytes();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(max).unwrap();
        assert_eq!(read(&path, InputKind::HarborTask).unwrap().len() as u64, max);
        file.set_len(1 << 40).unwrap();
        for kind in [InputKind::HarborTask, InputKind::ServerState] {
            let error = read(&path, kind).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
            let expected =
                format!("it has 1099511627776 bytes, and at most {} are read", kind.max_bytes());
            assert_eq!(error.to_string(), expected);
        }
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(
            read_text(&path, InputKind::HarborTask).unwrap_err().to_string(),
            "it is not UTF-8"
        );
        let missing = read(&dir.path().join("none"), InputKind::HarborTask).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let folder = read(dir.path(), InputKind::HarborTask).unwrap_err();
        assert_eq!(folder.kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn a_file_without_a_size_is_bounded_while_it_is_read() {
        let endless = read_bounded(io::repeat(0), 0, InputKind::HarborTask).unwrap_err();
        let expected = "it has more than 1048576 bytes, and at most 1048576 are read";
        assert_eq!(endless.to_string(), expected);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_refused_without_blocking() {
        use std::os::unix::fs::symlink;

        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        symlink("fifo", path("to-fifo")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        symlink("/dev/null", path("null")).unwrap();
        for (name, expected) in [
            ("fifo", "it is a FIFO, not a regular file"),
            ("to-fifo", "it is a FIFO, not a regular file"),
            ("socket", "it is a socket or a device without a driver, not a regular file"),
            ("zero", "it is a device, not a regular file"),
            ("null", "it is a device, not a regular file"),
        ] {
            for result in [
                read(&path(name), InputKind::Dockerfile),
                read_argument(&path(name), InputKind::Dockerfile),
            ] {
                assert_eq!(result.unwrap_err().to_string(), expected, "{name}");
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_person_may_name_a_device() {
        let null = read_argument(Path::new("/dev/null"), InputKind::TargetFile).unwrap();
        assert!(null.is_empty());
        let zero = read_argument(Path::new("/dev/zero"), InputKind::TargetFile).unwrap_err();
        assert_eq!(zero.kind(), io::ErrorKind::FileTooLarge);
        for (path, expected) in [
            ("/dev/stdin", true),
            ("/dev/fd/63", true),
            ("/proc/self/fd/3", true),
            ("/dev/fd/x", false),
            ("/dev/shm/file", false),
            ("/dev/fd/3/x", false),
            ("/dev/../dev/zero", false),
            ("/proc/self/environ", false),
            ("dev/null", false),
            ("/dev", false),
        ] {
            assert_eq!(is_device_path(Path::new(path)), expected, "{path}");
        }
    }
}
