//! The stat cache, and contexts that share folders: what is found must be what is there, whatever
//! was known before.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::dir::{Dir, NativeDir, portable::PortableDir};
use super::*;

/// A folder of contexts, and one for the cache. What is made in it is older than now, so that it
/// may be remembered.
struct World {
    dir: TempDir,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        for (path, text) in files {
            world.write(path, text);
        }
        world.let_time_pass();
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

    /// Waits until the file system's clock has moved.
    fn let_time_pass(&self) {
        let time = || cache::now(&self.cache());
        fs::create_dir_all(self.dir.path().join("cache")).unwrap();
        let before = time();
        while time() == before {
            std::thread::yield_now();
        }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache/stat-cache")
    }

    fn open(&self) -> StatCache {
        StatCache::without_margin(&self.dir.path().join("cache"))
    }

    fn wanted(&self, roots: &[&str]) -> Vec<ScanRequest> {
        roots.iter().map(|root| ScanRequest { root: self.path(root), dockerfile: None }).collect()
    }

    fn scan_by<D: Dir>(&self, roots: &[&str]) -> Vec<Arc<Tree>> {
        scan::scan_with::<D>(&self.wanted(roots), Some(self.open())).unwrap()
    }

    fn scan(&self, roots: &[&str]) -> Vec<Arc<Tree>> {
        self.scan_by::<NativeDir>(roots)
    }

    /// That a scan with the cache finds what one without finds.
    #[track_caller]
    fn agrees(&self, roots: &[&str], what: &str) {
        let with = self.scan(roots);
        let without = scan_all(&self.wanted(roots), None).unwrap();
        for (with, without) in with.iter().zip(&without) {
            assert_eq!(with.entries(), without.entries(), "{what}");
        }
    }

    /// Puts other digests into the cache, all of them wrong.
    fn falsify(&self) {
        let tree = self.scan(&["."]).remove(0);
        let mut forged = cache::read(&self.cache()).to_vec();
        for entry in tree.entries() {
            let EntryKind::File { digest, .. } = &entry.kind else { continue };
            let at = forged.windows(32).position(|part| part == digest.as_bytes()).unwrap();
            forged[at] ^= 1;
        }
        cache::write(&self.cache(), &forged);
    }
}

fn digest_of(tree: &Tree, path: &str) -> String {
    match tree.get(path.as_bytes()).unwrap() {
        EntryKind::File { digest, .. } => digest.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_known_is_not_read_again() {
    let world = World::new(&[("a", "1"), ("d/b", "2")]);
    let honest = world.scan(&["."]).remove(0);
    world.falsify();
    let tree = world.scan(&["."]).remove(0);
    assert_ne!(digest_of(&tree, "a"), digest_of(&honest, "a"), "the cache is believed");
    // By the other way to read folders as well: both see the same.
    let portable = world.scan_by::<PortableDir>(&["."]).remove(0);
    assert_eq!(portable.entries(), tree.entries());
    world.write("a", "3");
    let tree = world.scan(&["."]).remove(0);
    assert_eq!(digest_of(&tree, "a"), crate::base::digest::Digest::of(b"3").to_string());
    assert_ne!(digest_of(&tree, "d/b"), digest_of(&honest, "d/b"), "the rest still is");
}

#[test]
fn a_cache_that_says_all_there_is_stays_as_it_is() {
    let world = World::new(&[("a", "1"), ("d/b", "2"), ("d/.dockerignore", "")]);
    world.scan(&[".", "d"]);
    let written = fs::metadata(world.cache()).unwrap().modified().unwrap();
    world.let_time_pass();
    world.scan(&[".", "d"]);
    world.scan(&["d"]);
    assert_eq!(fs::metadata(world.cache()).unwrap().modified().unwrap(), written);
}

#[test]
fn every_change_is_seen() {
    type Change = fn(&World);
    let changes: [(&str, Change); 9] = [
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
        world.scan(&["."]);
        change(&world);
        world.agrees(&["."], what);
        world.let_time_pass();
        world.agrees(&["."], what);
        world.agrees(&["."], what);
    }
}

/// Written, digested and written again within one tick of the clock, a file has the same size and
/// times after both; unless the system counts more finely than it ticks.
#[test]
fn a_file_written_twice_within_a_tick_is_seen() {
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

#[test]
fn a_damaged_cache_is_as_good_as_none() {
    let world = World::new(&[("a", "1"), ("d/b", "2")]);
    world.scan(&["."]);
    let whole = fs::read(world.cache()).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(world.cache(), &damaged).unwrap();
        assert!(cache::read(&world.cache()).is_empty(), "byte {at}");
        fs::write(world.cache(), &whole[..at]).unwrap();
        assert!(cache::read(&world.cache()).is_empty(), "cut at {at}");
    }
    world.agrees(&["."], "cut short");
    // One that is whole but makes no sense: of a version that forgot to change its name.
    cache::write(&world.cache(), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    world.agrees(&["."], "nonsense");
}

#[test]
fn without_a_place_for_the_cache_all_is_found_as_well() {
    let world = World::new(&[("a", "1")]);
    fs::write(world.dir.path().join("file"), "").unwrap();
    let nowhere = StatCache::read(&world.dir.path().join("file"));
    let tree = scan_all(&world.wanted(&["."]), Some(nowhere)).unwrap().remove(0);
    assert_eq!(tree.files(), 1);
}

#[test]
fn contexts_that_share_folders_each_get_what_is_theirs() {
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
    let mut wanted = world.wanted(&roots);
    let dockerfile = Some(world.path("docker/Web.Dockerfile"));
    wanted.push(ScanRequest { root: world.path("."), dockerfile: dockerfile.clone() });
    let one_by_one: Vec<Tree> =
        wanted.iter().map(|w| scan(&w.root, w.dockerfile.as_deref()).unwrap()).collect();
    for cached in [false, true, true] {
        let together = scan_all(&wanted, cached.then(|| world.open())).unwrap();
        for (one, other) in one_by_one.iter().zip(&together) {
            assert_eq!(one.entries(), other.entries());
            assert_eq!((one.root(), one.ignored_by()), (other.root(), other.ignored_by()));
        }
    }
    let shared = scan_all(&[wanted[0].clone(), wanted[0].clone()], None).unwrap();
    assert!(Arc::ptr_eq(&shared[0], &shared[1]));
    let paths: Vec<String> = one_by_one[6].entries().iter().map(|e| e.path.to_string()).collect();
    assert_eq!(paths, ["lib", "lib/a.md", "lib/b"]);
}

#[test]
fn all_that_is_wrong_with_any_is_told_at_once() {
    let world = World::new(&[("a/x", ""), ("b/.dockerignore", "["), ("file", "")]);
    let wanted = world.wanted(&["a", "b", "file", "none"]);
    let errors = scan_all(&wanted, None).unwrap_err();
    let mut roots: Vec<_> = errors.iter().map(|error| error.root.clone()).collect();
    roots.sort();
    assert_eq!(roots, ["b", "file", "none"].map(|root| world.path(root)));
}

#[test]
fn a_time_to_come_is_not_believed() {
    let world = World::new(&[("a", "1")]);
    let later = SystemTime::now() + Duration::from_secs(3600);
    let file = fs::File::options().write(true).open(world.path("a")).unwrap();
    file.set_modified(later).unwrap();
    world.let_time_pass();
    world.scan(&["."]);
    assert!(!Path::new(&world.cache()).exists(), "there is nothing to remember");
}

#[test]
fn a_file_that_was_written_lately_is_not_remembered() {
    let world = World::new(&[("a", "1")]);
    let real = || StatCache::read(&world.dir.path().join("cache"));
    scan_all(&world.wanted(&["."]), Some(real())).unwrap();
    assert!(!world.cache().exists(), "it may still be written to");
    world.scan(&["."]);
    assert!(world.cache().exists());
    let now = stat::unix_nanos(SystemTime::now());
    let at = |time| stat::Stat { size: 1, mtime: time, ctime: time, inode: 1, mode: 0 };
    let cache = real();
    let rows = cache.rows();
    assert!(!rows.may_keep(&at(now - 1_900_000_000)) && rows.may_keep(&at(now - 3_000_000_000)));
}
