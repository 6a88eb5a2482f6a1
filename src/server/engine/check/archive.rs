//! Reads an uploaded archive: the list of its entries, and the text of its Dockerfile.
//!
//! The archive may come from anyone with a token, so nothing is unpacked to disk, and the cost of
//! reading it is bounded.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};
use tokio_util::sync::CancellationToken;

use crate::base::links::{self, LinkEntry};

/// Maximum size of an unpacked archive.
const MAX_UNPACKED_BYTES: u64 = 64 << 30;
/// Maximum size of what comes before the data of an entry: its header and its long names.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Maximum number of entries.
const MAX_ENTRIES: usize = 500_000;
/// Maximum length of a path, as on Linux.
const MAX_PATH_BYTES: usize = 4096;
/// Maximum number of segments of a path. Each is a folder of its own.
const MAX_DEPTH: usize = 256;
/// Maximum size of the names and link targets of all entries and their folders.
const MAX_NAME_BYTES: usize = 256 << 20;
/// Maximum size of a Dockerfile.
const MAX_DOCKERFILE_BYTES: u64 = 4 << 20;

/// The entries of an archive.
#[derive(Debug, Default)]
pub(super) struct Contents {
    entries: HashMap<String, ArchiveEntry>,
    /// Size of the names and link targets of all entries.
    name_bytes: usize,
    /// Number of files.
    pub(super) files: usize,
    /// Size of all files, in bytes.
    pub(super) bytes: u64,
    /// Content of the requested file, if it exists and is not a link.
    file: Option<Vec<u8>>,
}

#[derive(Debug, PartialEq, Eq)]
enum ArchiveEntry {
    File,
    Folder,
    /// A link and its target. The target of a hard link starts with `/`, the root of the context.
    Link(String),
}

/// Reads an archive from its start, and the Dockerfile inside it.
///
/// # Errors
/// Fails if the archive is damaged or exceeds a limit, or if it has no such Dockerfile.
pub(super) fn read(
    file: &File,
    dockerfile: &str,
    stop: &CancellationToken,
) -> Result<(Contents, String), String> {
    let missing = || format!("the context has no Dockerfile at `{dockerfile}`");
    let mut contents = list(file, dockerfile, stop)?;
    let real = contents.resolve(dockerfile).ok_or_else(missing)?;
    if real != dockerfile {
        // The Dockerfile is a link, whose target may come before it in the archive.
        contents = list(file, &real, stop)?;
    }
    if contents.entries.get(&real) == Some(&ArchiveEntry::Folder) {
        return Err(format!("the Dockerfile at `{dockerfile}` is a folder"));
    }
    let bytes = contents.file.take().ok_or_else(missing)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| format!("the Dockerfile at `{dockerfile}` is not UTF-8 text"))?;
    Ok((contents, text))
}

impl Contents {
    /// True if a `COPY` of `path` succeeds.
    pub(super) fn has(&self, path: &str) -> bool {
        links::can_copy(path, |path| self.entry(path))
    }

    /// Follows the links of a path, and returns the path they lead to.
    fn resolve(&self, path: &str) -> Option<String> {
        links::follow(path, |path| self.entry(path))
    }

    fn entry(&self, path: &str) -> Option<LinkEntry> {
        Some(match self.entries.get(path)? {
            ArchiveEntry::Link(target) => LinkEntry::Link(target.clone()),
            ArchiveEntry::File | ArchiveEntry::Folder => LinkEntry::Other,
        })
    }

    /// Adds an entry and the folders that it is in.
    ///
    /// # Errors
    /// Fails if the names of all entries take too much memory.
    fn insert(&mut self, path: String, kind: ArchiveEntry) -> Result<(), String> {
        for (at, _) in path.match_indices('/') {
            if !self.entries.contains_key(&path[..at]) {
                self.name_bytes += at;
                self.entries.insert(path[..at].to_owned(), ArchiveEntry::Folder);
            }
        }
        if !path.is_empty() {
            let target = if let ArchiveEntry::Link(target) = &kind { target.len() } else { 0 };
            self.name_bytes += path.len() + target;
            self.entries.insert(path, kind);
        }
        if self.name_bytes > MAX_NAME_BYTES {
            return Err("the names of the context's entries take more than 256 MiB".to_owned());
        }
        Ok(())
    }
}

fn list(mut file: &File, requested: &str, stop: &CancellationToken) -> Result<Contents, String> {
    file.rewind()
        .map_err(|error| format!("the server cannot read the uploaded context: {error}"))?;
    let meter = Rc::new(Meter::default());
    let unpacked = MultiGzDecoder::new(BufReader::with_capacity(1 << 17, file));
    let reader = Metered { inner: unpacked, meter: Rc::clone(&meter), stop: stop.clone() };
    list_entries(reader, requested, &meter).map_err(|error| match (meter.limit.get(), error) {
        (Some(limit), _) => limit.to_owned(),
        (None, ArchiveError::Entry(message)) => message,
        (None, ArchiveError::Read(error)) => {
            format!("the uploaded context is not a complete tar.gz archive: {error}")
        }
    })
}

enum ArchiveError {
    Read(io::Error),
    Entry(String),
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

fn list_entries(
    reader: Metered<'_>,
    requested: &str,
    meter: &Meter,
) -> Result<Contents, ArchiveError> {
    let mut archive = Archive::new(reader);
    let mut contents = Contents::default();
    let mut entries = archive.entries()?;
    loop {
        meter.header_left.set(Some(MAX_HEADER_BYTES));
        let Some(entry) = entries.next() else { break };
        let mut entry = entry?;
        meter.header_left.set(None);
        if contents.entries.len() >= MAX_ENTRIES {
            let message = format!("the context has more than {MAX_ENTRIES} entries");
            return Err(ArchiveError::Entry(message));
        }
        let path = context_path(&entry.path_bytes()).map_err(ArchiveError::Entry)?;
        let link = |root: &str, target: Option<std::borrow::Cow<'_, [u8]>>| {
            let target = target.unwrap_or_default();
            ArchiveEntry::Link(format!("{root}{}", String::from_utf8_lossy(&target)))
        };
        let kind = match entry.header().entry_type() {
            EntryType::Directory => ArchiveEntry::Folder,
            EntryType::Symlink => link("", entry.link_name_bytes()),
            EntryType::Link => link("/", entry.link_name_bytes()),
            EntryType::XGlobalHeader => continue,
            _ => ArchiveEntry::File,
        };
        if kind == ArchiveEntry::File && path == requested {
            let mut bytes = Vec::new();
            (&mut entry).take(MAX_DOCKERFILE_BYTES + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > MAX_DOCKERFILE_BYTES {
                let message = format!("the Dockerfile at `{requested}` is larger than 4 MiB");
                return Err(ArchiveError::Entry(message));
            }
            contents.file = Some(bytes);
        }
        contents.files += usize::from(kind == ArchiveEntry::File);
        contents.bytes += entry.size();
        contents.insert(path, kind).map_err(ArchiveError::Entry)?;
        // Read the data here: in `next`, it would count as a header.
        io::copy(&mut entry, &mut io::sink())?;
    }
    meter.header_left.set(None);
    // Read to the end, where the checksum is compared.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(contents)
}

/// Returns the path of an entry without `./`.
///
/// # Errors
/// Fails if the path is too long or too deep, or if it leaves the context.
fn context_path(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > MAX_PATH_BYTES {
        return Err(format!("the context has a path of more than {MAX_PATH_BYTES} bytes"));
    }
    let path = String::from_utf8_lossy(bytes);
    let segments = || path.split('/').filter(|segment| !matches!(*segment, "" | "."));
    if path.starts_with('/') || segments().any(|segment| segment == "..") {
        return Err(format!("the context has a path that leaves it: `{}`", path.escape_debug()));
    }
    if segments().count() > MAX_DEPTH {
        return Err(format!("the context has a path of more than {MAX_DEPTH} segments"));
    }
    Ok(segments().collect::<Vec<_>>().join("/"))
}

/// The amount read so far, and the limit that was exceeded.
#[derive(Default)]
struct Meter {
    total: Cell<u64>,
    /// Bytes that may be read before the next entry; `None` inside the data of an entry.
    header_left: Cell<Option<u64>>,
    limit: Cell<Option<&'static str>>,
}

struct Metered<'f> {
    inner: MultiGzDecoder<BufReader<&'f File>>,
    meter: Rc<Meter>,
    stop: CancellationToken,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let refuse = |limit| {
            self.meter.limit.set(Some(limit));
            Err(io::Error::other(limit))
        };
        if self.stop.is_cancelled() {
            return refuse("the server is stopping");
        }
        let count = self.inner.read(buffer)?;
        let total = self.meter.total.get() + count as u64;
        self.meter.total.set(total);
        if total > MAX_UNPACKED_BYTES {
            return refuse("the context unpacks to more than 64 GiB");
        }
        if let Some(left) = self.meter.header_left.get() {
            match left.checked_sub(count as u64) {
                Some(left) => self.meter.header_left.set(Some(left)),
                None => return refuse("the context has an entry whose header exceeds 1 MiB"),
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    type Tar = tar::Builder<Vec<u8>>;

    fn file(tar: &mut Tar, path: &str, text: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }

    fn link(tar: &mut Tar, kind: EntryType, path: &str, target: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        tar.append_link(&mut header, path, target).unwrap();
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn read_bytes(bytes: &[u8], dockerfile: &str) -> Result<(Contents, String), String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("context");
        std::fs::write(&path, bytes).unwrap();
        read(&File::open(&path).unwrap(), dockerfile, &CancellationToken::new())
    }

    fn read_tar(build: impl Fn(&mut Tar), dockerfile: &str) -> Result<(Contents, String), String> {
        let mut tar = Tar::new(Vec::new());
        build(&mut tar);
        read_bytes(&gzip(&tar.into_inner().unwrap()), dockerfile)
    }

    #[test]
    fn finds_files_folders_and_links() {
        let long = format!("{}/deep", "d".repeat(200));
        let build = |tar: &mut Tar| {
            file(tar, "./Dockerfile", "old");
            file(tar, "src/main.rs", "");
            file(tar, &long, "");
            link(tar, EntryType::Symlink, "link", "src");
            link(tar, EntryType::Symlink, "loop", "loop");
            link(tar, EntryType::Symlink, "gone", "nowhere");
            file(tar, "Dockerfile", "new");
        };
        let (contents, text) = read_tar(build, "Dockerfile").unwrap();
        assert_eq!(text, "new");
        for ok in
            [".", "/", "src", "./src/", "/src/main.rs", "link/main.rs", "../src", "*.x", &long]
        {
            assert!(contents.has(ok), "{ok}");
        }
        for missing in ["none", "src/none", "loop", "gone", "src/main.rs/x"] {
            assert!(!contents.has(missing), "{missing}");
        }
    }

    #[test]
    fn a_dockerfile_may_be_a_link() {
        let build = |tar: &mut Tar| {
            file(tar, "shared/Df", "FROM scratch");
            link(tar, EntryType::Link, "hard", "shared/Df");
            link(tar, EntryType::Symlink, "images/soft", "../hard");
            link(tar, EntryType::Symlink, "dangling", "../outside");
        };
        assert_eq!(read_tar(build, "images/soft").unwrap().1, "FROM scratch");
        let error = |path| read_tar(build, path).unwrap_err();
        assert_eq!(error("dangling"), "the context has no Dockerfile at `dangling`");
        assert_eq!(error("shared"), "the Dockerfile at `shared` is a folder");
    }

    #[test]
    fn several_gzip_members_are_one_archive() {
        let mut tar = Tar::new(Vec::new());
        file(&mut tar, "Dockerfile", "FROM scratch");
        let bytes = tar.into_inner().unwrap();
        let (one, two) = bytes.split_at(700);
        let members = [gzip(one), gzip(two)].concat();
        assert_eq!(read_bytes(&members, "Dockerfile").unwrap().1, "FROM scratch");
        let broken = &members[..members.len() - 4];
        let error = read_bytes(broken, "Dockerfile").unwrap_err();
        assert!(error.contains("not a complete tar.gz archive"), "{error}");
        for invalid in [&b""[..], b"not gzip", &gzip(b"not tar, though it is long enough")] {
            let error = read_bytes(invalid, "Dockerfile").unwrap_err();
            assert!(error.contains("not a complete tar.gz archive"), "{error}");
        }
    }

    #[test]
    fn hostile_archives_are_refused_at_little_cost() {
        let escaping = |tar: &mut Tar| {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..4].copy_from_slice(b"../x");
            header.set_size(0);
            header.set_cksum();
            tar.append(&header, io::empty()).unwrap();
        };
        let error = read_tar(escaping, "Dockerfile").unwrap_err();
        assert_eq!(error, "the context has a path that leaves it: `../x`");

        let long_name = |tar: &mut Tar| {
            let size = 64 << 20;
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(EntryType::GNULongName);
            header.set_size(size);
            header.set_cksum();
            tar.append(&header, io::repeat(b'x').take(size)).unwrap();
            file(tar, "Dockerfile", "");
        };
        let error = read_tar(long_name, "Dockerfile").unwrap_err();
        assert_eq!(error, "the context has an entry whose header exceeds 1 MiB");

        // Each segment is a folder with a name of its own.
        let deep = |tar: &mut Tar| file(tar, &"d/".repeat(300), "");
        let error = read_tar(deep, "Dockerfile").unwrap_err();
        assert_eq!(error, "the context has a path of more than 256 segments");

        let many = |tar: &mut Tar| {
            for index in 0..600 {
                file(tar, &format!("{index}/{}", format!("{}/", "x".repeat(14)).repeat(250)), "");
            }
        };
        let error = read_tar(many, "Dockerfile").unwrap_err();
        assert_eq!(error, "the names of the context's entries take more than 256 MiB");
    }
}
