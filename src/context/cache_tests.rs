//! Tests of the stat cache, and of contexts that share folders: whatever the cache contains, a scan
//! must return what is on disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::dir::{Dir, NativeDir, portable::PortableDir};
use super::tests::scan;
use super::*;

/// A folder for contexts, and one for the cache.
struct World {
    dir: TempDir,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        for (path, text) in files {
            world.write(path, text);
        }
        world.wait_for_clock();
        world
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("work").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Waits until the clock of the file system advances, so that the files may be cached.
    fn wait_for_clock(&self) {
        let time = || cache::now(&self.cache_dir());
        fs::create_dir_all(self.cache_dir()).unwrap();
        let before = time();
        while time() == before {
            std::thread::yield_now();
        }
    }

    fn cache(&self) -> PathBuf {
        self.cache_dir().join("stat-cache")
    }

    fn cache_dir(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn open(&self) -> StatCache {
        StatCache::without_min_age(&self.cache_dir())
    }

    fn requests(&self, roots: &[&str]) -> Vec<ScanRequest> {
        roots
            .iter()
            .map(|root| ScanRequest { root: self.path(root).into(), dockerfile: None, reads: None })
            .collect()
    }

    fn scan_by<D: Dir>(&self, roots: &[&str]) -> Vec<Arc<Tree>> {
        scan::scan_with::<D>(&self.requests(roots), Some(self.open())).unwrap()
    }

    fn scan(&self, roots: &[&str]) -> Vec<Arc<Tree>> {
        self.scan_by::<NativeDir>(roots)
    }

    /// Checks that scans with and without the cache return the same.
    #[track_caller]
    fn check_scan(&self, roots: &[&str], what: &str) {
        let with = self.scan(roots);
        let without = scan_all(&self.requests(roots), None).unwrap();
        for (with, without) in with.iter().zip(&without) {
            assert_eq!(with.entries(), without.entries(), "{what}");
        }
    }

    /// Changes every digest in the cache.
    fn forge_digests(&self) {
        let tree = self.scan(&["."]).remove(0);
        let mut forged = cache::read(&self.cache_dir()).to_vec();
        for entry in tree.entries() {
            let EntryKind::File { digest, .. } = &entry.kind else { continue };
            let at = forged.windows(32).position(|part| part == digest.as_bytes()).unwrap();
            forged[at] ^= 1;
        }
        cache::write(&self.cache_dir(), &forged);
    }
}

fn link(target: &str, path: &Path) {
    std::os::unix::fs::symlink(target, path).unwrap();
}

fn digest_of(tree: &Tree, path: &str) -> String {
    match tree.get(path.as_bytes()).unwrap() {
        EntryKind::File { digest, .. } => digest.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn cached_files_are_not_read() {
    let world = World::new(&[("a", "1"), ("d/b", "2")]);
    let correct = world.scan(&["."]).remove(0);
    world.forge_digests();
    let tree = world.scan(&["."]).remove(0);
    assert_ne!(digest_of(&tree, "a"), digest_of(&correct, "a"), "the digest comes from the cache");
    // The other implementation of `Dir` sees the same metadata.
    let portable = world.scan_by::<PortableDir>(&["."]).remove(0);
    assert_eq!(portable.entries(), tree.entries());
    world.write("a", "3");
    let tree = world.scan(&["."]).remove(0);
    assert_eq!(digest_of(&tree, "a"), crate::base::digest::Digest::of(b"3").to_string());
    assert_ne!(
        digest_of(&tree, "d/b"),
        digest_of(&correct, "d/b"),
        "the digest still comes from the cache"
    );
}

#[test]
fn a_complete_cache_is_not_written() {
    let world = World::new(&[("a", "1"), ("d/b", "2"), ("d/.dockerignore", "")]);
    world.scan(&[".", "d"]);
    let written = fs::metadata(world.cache()).unwrap().modified().unwrap();
    world.wait_for_clock();
    world.scan(&[".", "d"]);
    world.scan(&["d"]);
    assert_eq!(fs::metadata(world.cache()).unwrap().modified().unwrap(), written);
}

#[test]
fn every_change_is_detected() {
    type Change = fn(&World);
    let changes: [(&str, Change); 17] = [
        ("content", |world| world.write("a", "2")),
        ("longer", |world| world.write("a", "22")),
        ("added", |world| world.write("d/new", "n")),
        ("gone", |world| fs::remove_file(world.path("d/b")).unwrap()),
        ("moved", |world| fs::rename(world.path("a"), world.path("z")).unwrap()),
        ("swapped", |world| {
            fs::rename(world.path("a"), world.path("t")).unwrap();
            fs::rename(world.path("d/b"), world.path("a")).unwrap();
            fs::rename(world.path("t"), world.path("d/b")).unwrap();
        }),
        ("added below", |world| world.write("d/c/new", "n")),
        ("a folder added", |world| fs::create_dir(world.path("d/new")).unwrap()),
        ("an empty folder filled", |world| world.write("empty/new", "n")),
        ("an ignore file added", |world| world.write(".dockerignore", "d")),
        ("a link for a file", |world| {
            fs::remove_file(world.path("a")).unwrap();
            link("d/b", &world.path("a"));
        }),
        ("a file for a link", |world| {
            fs::remove_file(world.path("l")).unwrap();
            world.write("l", "4");
        }),
        ("a link for a folder", |world| {
            fs::rename(world.path("d"), world.path("e")).unwrap();
            link("e", &world.path("d"));
        }),
        ("another target", |world| {
            fs::remove_file(world.path("l")).unwrap();
            link("d/c", &world.path("l"));
        }),
        ("a folder moved", |world| fs::rename(world.path("d"), world.path("e")).unwrap()),
        ("a file for a folder", |world| {
            fs::remove_dir_all(world.path("d")).unwrap();
            world.write("d", "1");
        }),
        ("the same times", |world| {
            let time = fs::metadata(world.path("a")).unwrap().modified().unwrap();
            world.write("a", "9");
            let file = fs::File::options().write(true).open(world.path("a")).unwrap();
            file.set_modified(time).unwrap();
        }),
    ];
    for (what, change) in changes {
        let world = World::new(&[("a", "1"), ("d/b", "2"), ("d/c/f", "3")]);
        fs::create_dir(world.path("empty")).unwrap();
        link("d", &world.path("l"));
        world.wait_for_clock();
        world.scan(&["."]);
        change(&world);
        world.check_scan(&["."], what);
        world.wait_for_clock();
        world.check_scan(&["."], what);
        world.check_scan(&["."], what);
    }
}

/// If a file is written, hashed and written again within one tick of the clock, its size and times
/// are the same, unless the times are finer than a tick.
#[test]
fn two_writes_within_a_clock_tick_are_detected() {
    let world = World::new(&[("a", "0")]);
    for round in 0..300 {
        world.write("a", "x");
        world.scan(&["."]);
        world.write("a", "y");
        let tree = world.scan(&["."]).remove(0);
        let expected = crate::base::digest::Digest::of(b"y").to_string();
        assert_eq!(digest_of(&tree, "a"), expected, "round {round}");
    }
}

/// The same for a name that is added.
#[test]
fn two_names_within_a_clock_tick_are_detected() {
    let world = World::new(&[("a", "0")]);
    for round in 0..300 {
        world.write(&format!("x{round}"), "");
        world.scan(&["."]);
        world.write(&format!("y{round}"), "");
        let tree = world.scan(&["."]).remove(0);
        assert_eq!(tree.files(), 3 + 2 * round, "round {round}");
    }
}

#[test]
fn unchanged_folders_are_not_listed() {
    let world = World::new(&[("d/listed-name", "1"), ("d/other", "2")]);
    world.scan(&["."]);
    let written = cache::read(&world.cache_dir()).to_vec();
    let forge = |name: &[u8; 11]| {
        let mut forged = written.clone();
        let at = forged.windows(11).position(|part| part == b"listed-name").unwrap();
        forged[at..at + 11].copy_from_slice(name);
        cache::write(&world.cache_dir(), &forged);
    };
    let files = |world: &World| world.scan(&["."]).remove(0).files();
    if !NativeDir::keeps_folder_times(&world.path(".")) {
        return;
    }
    forge(b"forged-name");
    assert_eq!(files(&world), 1, "the names come from the cache");
    // Names that no folder has, and names out of order.
    for name in [b"../d/listed", b"a/b/c/d/e/f", b"a\0b\0c\0d\0e\0f", b"zzzzzz-name"] {
        forge(name);
        assert_eq!(files(&world), 2, "{name:?}");
    }
    forge(b"listed-name");
    world.write("d/new", "3");
    assert_eq!(files(&world), 3, "the folder has changed");
}

/// A change deep below folders that are not open: each is opened from the one above it.
#[test]
fn a_change_below_unchanged_folders_is_read() {
    let path = format!("{}f", "d/".repeat(300));
    let world = World::new(&[(&path, "1"), ("other", "2")]);
    world.scan(&["."]);
    world.write(&path, "3");
    let tree = world.scan(&["."]).remove(0);
    assert_eq!(digest_of(&tree, &path), crate::base::digest::Digest::of(b"3").to_string());
}

#[test]
fn links_are_followed_with_a_cache() {
    let world = World::new(&[("one/f", "1"), ("two/f", "2"), ("unread", "3")]);
    link("one", &world.path("to"));
    world.wait_for_clock();
    let read = |path: &str| ContextRead { path: path.to_owned(), excludes: Vec::new() };
    let reads: Arc<[ContextRead]> = [read("to/f"), read("missing/f")].into();
    let requests = [ScanRequest { reads: Some(reads), ..world.requests(&["."]).remove(0) }];
    let paths = || {
        let tree = scan_all(&requests, Some(world.open())).unwrap().remove(0);
        tree.entries().iter().map(|entry| entry.path.to_string()).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        assert_eq!(paths(), ["one", "one/f", "to"]);
    }
    fs::remove_file(world.path("to")).unwrap();
    link("two", &world.path("to"));
    world.wait_for_clock();
    for _ in 0..2 {
        assert_eq!(paths(), ["to", "two", "two/f"]);
    }
    world.write("missing/f", "4");
    assert_eq!(paths(), ["missing", "missing/f", "to", "two", "two/f"]);
}

#[test]
fn a_damaged_cache_is_ignored() {
    let world = World::new(&[("a", "1"), ("d/b", "2")]);
    world.scan(&["."]);
    let valid = fs::read(world.cache()).unwrap();
    for at in 0..valid.len() {
        let mut damaged = valid.clone();
        damaged[at] ^= 0x40;
        fs::write(world.cache(), &damaged).unwrap();
        assert!(cache::read(&world.cache_dir()).is_empty(), "byte {at}");
        fs::write(world.cache(), &valid[..at]).unwrap();
        assert!(cache::read(&world.cache_dir()).is_empty(), "cut at {at}");
    }
    world.check_scan(&["."], "cut short");
    // A valid file with invalid content, as of a version that forgot to change the kind.
    cache::write(&world.cache_dir(), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    world.check_scan(&["."], "nonsense");
}

#[test]
fn scans_work_without_a_cache_folder() {
    let world = World::new(&[("a", "1")]);
    fs::write(world.dir.path().join("file"), "").unwrap();
    let cache = StatCache::read(&world.dir.path().join("file"));
    let tree = scan_all(&world.requests(&["."]), Some(cache)).unwrap().remove(0);
    assert_eq!(tree.files(), 1);
}

#[test]
fn contexts_that_share_folders_keep_their_own_rules() {
    let world = World::new(&[
        (".dockerignore", "services\n!services/api/src\nlib/*.md"),
        ("lib/a.md", ""),
        ("lib/b", ""),
        ("services/api/src/main", ""),
        ("services/api/test/t", ""),
        ("services/api/.dockerignore", "test"),
        ("services/web/x/y", ""),
        ("docker/Web.Dockerfile", ""),
        ("docker/Web.Dockerfile.dockerignore", "*\n!lib"),
    ]);
    let roots = [".", "services/api", "services/web", "services/web/x", "lib", "services"];
    let mut requests = world.requests(&roots);
    let dockerfile = Some(world.path("docker/Web.Dockerfile").into());
    requests.push(ScanRequest {
        root: world.path(".").into(),
        dockerfile: dockerfile.clone(),
        reads: None,
    });
    let separate: Vec<Tree> =
        requests.iter().map(|r| scan(&r.root, r.dockerfile.as_deref()).unwrap()).collect();
    for cached in [false, true, true] {
        let together = scan_all(&requests, cached.then(|| world.open())).unwrap();
        for (one, other) in separate.iter().zip(&together) {
            assert_eq!(one.entries(), other.entries());
            assert_eq!((one.root(), one.ignore_file()), (other.root(), other.ignore_file()));
        }
    }
    let shared = scan_all(&[requests[0].clone(), requests[0].clone()], None).unwrap();
    assert!(Arc::ptr_eq(&shared[0], &shared[1]));
    let paths: Vec<String> = separate[6].entries().iter().map(|e| e.path.to_string()).collect();
    assert_eq!(paths, ["lib", "lib/a.md", "lib/b"]);
}

#[test]
fn the_errors_of_all_contexts_are_returned() {
    let world = World::new(&[("a/x", ""), ("b/.dockerignore", "["), ("file", "")]);
    let requests = world.requests(&["a", "b", "file", "none"]);
    let errors = scan_all(&requests, None).unwrap_err();
    let mut roots: Vec<_> = errors.iter().map(|error| error.root.clone()).collect();
    roots.sort();
    assert_eq!(roots, ["b", "file", "none"].map(|root| world.path(root)));
}

#[test]
fn a_file_with_a_time_in_the_future_is_not_cached() {
    let world = World::new(&[("a", "1")]);
    let later = SystemTime::now() + Duration::from_secs(3600);
    let file = fs::File::options().write(true).open(world.path("a")).unwrap();
    file.set_modified(later).unwrap();
    world.wait_for_clock();
    world.scan(&["."]);
    let digest = crate::base::digest::Digest::of(b"1");
    let cached = cache::read(&world.cache_dir());
    assert!(!cached.windows(32).any(|part| part == digest.as_bytes()), "no file may be cached");
}

#[test]
fn a_recently_written_file_is_not_cached() {
    let world = World::new(&[("a", "1")]);
    let cache = || StatCache::read(&world.dir.path().join("cache"));
    scan_all(&world.requests(&["."]), Some(cache())).unwrap();
    assert!(!world.cache().exists(), "the file is too new");
    world.scan(&["."]);
    assert!(world.cache().exists());
    let now = stat::unix_nanos(SystemTime::now());
    let at = |time| stat::Stat { size: 1, mtime: time, ctime: time, inode: 1, device: 1, mode: 0 };
    let cache = cache();
    let scan = cache.start_scan();
    assert!(!scan.may_cache(&at(now - 1_900_000_000)) && scan.may_cache(&at(now - 3_000_000_000)));
}
