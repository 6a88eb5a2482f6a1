//! Archives end to end: equal trees give equal bytes, every reader finds the same content, and a
//! failure never leaves a partial archive. The trees have names and files that only Linux supports.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::moby::moby_program;
use crate::support::{TestEnv, wait_until};

const MANIFEST: &str = "version: 1\nimages:\n  - {name: app, tag: v1, context: app}\n";

/// An entry of a test tree.
enum Item {
    Dir,
    File(Vec<u8>),
    Program(Vec<u8>),
    Link(&'static [u8]),
    /// A hard link to another file.
    HardLink(&'static str),
    /// A sparse file of this length, with data at its start and its end.
    Sparse(usize),
}

/// The properties of a tree on disk that must not affect the archive.
#[derive(Clone, Copy)]
struct DiskStyle {
    /// Create the files in reverse order.
    reversed: bool,
    file_mode: u32,
    program_mode: u32,
    folder_mode: u32,
    /// Write hard links as copies, and sparse files without holes.
    plain: bool,
    /// The time of the last change, in seconds since 1970.
    mtime: u64,
}

const FIRST: DiskStyle = DiskStyle {
    reversed: false,
    file_mode: 0o644,
    program_mode: 0o755,
    folder_mode: 0o755,
    plain: false,
    mtime: 1_000_000_000,
};

const SECOND: DiskStyle = DiskStyle {
    reversed: true,
    file_mode: 0o664,
    program_mode: 0o775,
    folder_mode: 0o775,
    plain: true,
    mtime: 1_700_000_000,
};

/// Returns incompressible bytes, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn text(len: usize) -> Vec<u8> {
    let line = |n: u32| format!("line {} of many\n", n % 977 * (n % 89)).into_bytes();
    (0..).flat_map(line).take(len).collect()
}

fn sparse(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[..5].copy_from_slice(b"start");
    bytes[len - 3..].copy_from_slice(b"end");
    bytes
}

/// Returns a tree with every kind of entry that archives store in a special way.
fn items() -> BTreeMap<Vec<u8>, Item> {
    let long = |part: &str, times: usize| [part].repeat(times).join("/").into_bytes();
    let items: Vec<(Vec<u8>, Item)> = vec![
        (b"Dockerfile".to_vec(), Item::File(b"FROM scratch\nCOPY . /\n".to_vec())),
        (b"text.log".to_vec(), Item::File(text(3 << 20))),
        // The last block of gzip and of tar is not full.
        (b"noise.bin".to_vec(), Item::File(noise((3 << 20) + 4321))),
        (b"nothing".to_vec(), Item::File(Vec::new())),
        (b"block".to_vec(), Item::File(text(512))),
        (b"run.sh".to_vec(), Item::Program(b"#!/bin/sh\n".to_vec())),
        (b"twin".to_vec(), Item::HardLink("run.sh")),
        (b"hole".to_vec(), Item::Sparse(2 << 20)),
        (b"empty".to_vec(), Item::Dir),
        (b"deep/er/empty".to_vec(), Item::Dir),
        (b"deep/file".to_vec(), Item::File(b"deep".to_vec())),
        // Sorted by bytes, this path is between a folder and its entries.
        (b"deep.txt".to_vec(), Item::File(b"not deep".to_vec())),
        (b"links/dangling".to_vec(), Item::Link(b"../nowhere")),
        (b"links/absolute".to_vec(), Item::Link(b"/etc/passwd")),
        (b"links/folder".to_vec(), Item::Link(b"../deep")),
        (b"links/untidy".to_vec(), Item::Link(b"./..//deep/./file")),
        (b"links/raw".to_vec(), Item::Link(b"raw\xff")),
        (b"links/long".to_vec(), Item::Link(&[b't'; 300])),
        (vec![b'n'; 100], Item::File(b"100".to_vec())),
        (vec![b'n'; 101], Item::File(b"101".to_vec())),
        (vec![b'n'; 255], Item::File(b"255".to_vec())),
        // With its slash, the name of a folder is one byte longer.
        (vec![b'd'; 100], Item::Dir),
        (long("a-folder-in-a-folder", 15), Item::File(b"far down".to_vec())),
        ("naïve/日本語 𝄞.txt".into(), Item::File(b"text".to_vec())),
        (b"raw\xff\xc3(.bin".to_vec(), Item::File(b"raw".to_vec())),
        (b"two\nlines\t\"quoted\"".to_vec(), Item::File(b"name".to_vec())),
        (b" blank ".to_vec(), Item::File(b"name".to_vec())),
        (b"-dash".to_vec(), Item::File(b"name".to_vec())),
    ];
    items.into_iter().collect()
}

/// Writes a tree to disk.
fn write_tree(root: &Path, items: &BTreeMap<Vec<u8>, Item>, style: DiskStyle) {
    let at = |path: &[u8]| root.join(OsStr::from_bytes(path));
    let mut order: Vec<_> = items.iter().collect();
    if style.reversed {
        order.reverse();
    }
    // A hard link comes after its file.
    order.sort_by_key(|(_, item)| matches!(item, Item::HardLink(_)));
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for (path, item) in order {
        let path = at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match item {
            Item::Dir => fs::create_dir_all(&path).unwrap(),
            Item::Link(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            Item::HardLink(other) if !style.plain => {
                fs::hard_link(root.join(other), &path).unwrap();
            }
            Item::HardLink(other) => fs::copy(root.join(other), &path).map(drop).unwrap(),
            Item::Sparse(len) if !style.plain => {
                let file = File::create(&path).unwrap();
                file.write_all_at(b"start", 0).unwrap();
                file.write_all_at(b"end", *len as u64 - 3).unwrap();
            }
            Item::Sparse(len) => fs::write(&path, sparse(*len)).unwrap(),
            Item::File(content) | Item::Program(content) => fs::write(&path, content).unwrap(),
        }
        match item {
            Item::Dir | Item::Link(_) => {}
            Item::Program(_) | Item::HardLink(_) => mode(&path, style.program_mode),
            Item::File(_) | Item::Sparse(_) => mode(&path, style.file_mode),
        }
    }
    let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(style.mtime);
    crate::support::list(root, &mut |path, meta| {
        if meta.is_dir() {
            mode(path, style.folder_mode);
        }
        if !meta.is_symlink() {
            File::open(path).unwrap().set_modified(mtime).unwrap();
        }
    });
    mode(root, style.folder_mode);
}

/// Returns a project with one image, whose context is the tree of [`items`].
fn project() -> TestEnv {
    let env = TestEnv::at("http://127.0.0.1:9");
    env.write("imgplan.yaml", MANIFEST);
    write_tree(&env.path("app"), &items(), FIRST);
    env
}

#[test]
fn equal_trees_give_equal_archives() {
    let env = project();
    let began = SystemTime::now();
    let sparse = env.path("app/hole").metadata().unwrap();
    assert!(sparse.blocks() * 512 < sparse.len(), "the file system has no holes");
    env.write("elsewhere/and/deeper/imgplan.yaml", MANIFEST);
    write_tree(&env.path("elsewhere/and/deeper/app"), &items(), SECOND);

    let out = |name: &str| env.path(name).into_os_string().into_string().unwrap();
    let pack = |name: &str, threads: &str, place: &[&str]| {
        let args = ["context", "pack", "app", "-o", &out(name)];
        let call = env.call(place.iter().copied().chain(args));
        call.env("RAYON_NUM_THREADS", threads).run().success();
        fs::read(env.path(name)).unwrap()
    };
    let one = pack("one.tar.gz", "1", &[]);
    assert!(one.len() > 3 << 20, "{} bytes are less than the incompressible content", one.len());
    let two = pack("two.tar.gz", "2", &["-C", "elsewhere/and/deeper"]);
    assert!(one == two, "the archive depends on threads, folder or umask");
    let script = "umask 077 && cd / && exec \"$@\"";
    let masked = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_imgplan")])
        .args(["context", "pack", "app", "-o", "-", "-f"])
        .arg(env.path("elsewhere/and/deeper/imgplan.yaml"))
        .envs([("RAYON_NUM_THREADS", "8"), ("TZ", "Asia/Tokyo"), ("LC_ALL", "C")])
        .output()
        .unwrap();
    assert!(masked.status.success(), "{}", String::from_utf8_lossy(&masked.stderr));
    assert!(one == masked.stdout, "the archive depends on the output or the threads");
    // Times in archives are in whole seconds.
    wait_until("a second has passed", || began.elapsed().unwrap() > Duration::from_millis(1100));
    assert!(one == pack("one.tar.gz", "8", &[]), "the archive depends on the time");
    assert_eq!(fs::read_dir(env.everything().join("tmp")).unwrap().count(), 0);
}

/// A member of an archive as a reader returns it. The names of folders have no final slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    path: Vec<u8>,
    /// `f`, `l` or `d`.
    kind: char,
    mode: u32,
    target: Vec<u8>,
    /// SHA-256 of the content.
    digest: String,
}

/// A member as Python prints it, with hex names.
#[derive(Deserialize)]
struct PrintedMember {
    path: String,
    kind: char,
    mode: u32,
    target: String,
    digest: String,
}

/// Prints the members of an archive, or the entries of a folder. Checks the archive more strictly
/// than `tarfile`, which takes an invalid member for the end.
const PYTHON: &str = r#"
import hashlib, io, json, os, stat, sys, tarfile, zlib

def show(path, kind, mode, target=b"", content=b""):
    digest = hashlib.sha256(content).hexdigest()
    member = {"path": path.hex(), "kind": kind, "mode": mode, "target": target.hex(), "digest": digest}
    print(json.dumps(member))

def folder(at, below=b""):
    for name in sorted(os.listdir(at)):
        full, path = os.path.join(at, name), os.path.join(below, name)
        meta = os.lstat(full)
        mode = stat.S_IMODE(meta.st_mode)
        if stat.S_ISLNK(meta.st_mode):
            show(path, "l", mode, os.readlink(full))
        elif stat.S_ISDIR(meta.st_mode):
            show(path, "d", mode)
            folder(full, path)
        else:
            with open(full, "rb") as file:
                show(path, "f", mode, b"", file.read())

def archive(path):
    with open(path, "rb") as file:
        unzip = zlib.decompressobj(31)
        whole = unzip.decompress(file.read()) + unzip.flush()
    assert unzip.eof and not unzip.unused_data, "not exactly one gzip member"
    with tarfile.open(fileobj=io.BytesIO(whole), mode="r:", errorlevel=2) as members:
        for member in members:
            kind = {tarfile.REGTYPE: "f", tarfile.SYMTYPE: "l", tarfile.DIRTYPE: "d"}[member.type]
            content = members.extractfile(member).read() if kind == "f" else b""
            assert len(content) == member.size
            assert (member.mtime, member.uid, member.gid) == (0, 0, 0), member
            assert (member.uname, member.gname) == ("", ""), member
            name, target = os.fsencode(member.name), os.fsencode(member.linkname)
            show(name, kind, member.mode, target, content)
        end = whole[member.offset_data + (member.size + 511) // 512 * 512:]
    assert len(end) >= 1024 and not end.strip(b"\0"), "no end of the archive after the last member"

{"folder": folder, "archive": archive}[sys.argv[1]](os.fsencode(sys.argv[2]))
"#;

/// Runs a program, or returns `None` if it is not installed.
fn run(command: &mut Command) -> Option<Output> {
    let result = command.output();
    let name = command.get_program().display();
    match result {
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {stderr}");
            Some(output)
        }
        Err(error) => {
            // The test harness captures the output of `eprintln!`, but not this.
            let _ = writeln!(std::io::stderr(), "SKIPPED: packs.rs: cannot run {name}: {error}");
            None
        }
    }
}

fn by_python(what: &str, path: &Path) -> Option<Vec<Member>> {
    let mut python = Command::new("python3");
    // File names are bytes, whatever the locale of the tests.
    let output = run(python.args(["-X", "utf8", "-c", PYTHON, what]).arg(path))?;
    let unhex = |hex: &str| {
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        hex.as_bytes().chunks(2).map(byte).collect()
    };
    let members = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    let member = |PrintedMember { path, kind, mode, target, digest }| {
        let (path, target) = (unhex(&path), unhex(&target));
        Member { path, kind, mode, target, digest }
    };
    Some(members.map(Result::unwrap).map(member).collect())
}

/// Unpacks an archive with GNU tar, and reads the result from disk.
fn by_tar(archive: &Path, into: &Path) -> Option<Vec<Member>> {
    fs::create_dir(into).unwrap();
    let mut tar = Command::new("tar");
    run(tar
        .args(["--extract", "--gzip", "--preserve-permissions", "--no-same-owner", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(into))?;
    let mut tar = Command::new("tar");
    let list = ["--list", "--quoting-style=escape", "--gzip", "--file"];
    let listed = run(tar.args(list).arg(archive))?.stdout;
    let members = by_python("folder", into)?;
    let lines = listed.split_inclusive(|byte| *byte == b'\n').count();
    assert_eq!(lines, members.len(), "two members have one path: {}", listed.escape_ascii());
    Some(members)
}

fn by_go(archive: &Path) -> Option<Vec<Member>> {
    let mut go = Command::new(moby_program()?);
    let output = run(go.arg("untar").stdin(File::open(archive).unwrap()))?;
    let text = String::from_utf8(output.stdout).unwrap();
    let member = |line: &str| {
        let (head, rest) = line.split_at(line.find('"').unwrap());
        let mut head = head.split_whitespace();
        let kind = match head.next().unwrap() {
            "0" => 'f',
            "2" => 'l',
            "5" => 'd',
            kind => panic!("{kind}: {line}"),
        };
        let mode = u32::from_str_radix(head.next().unwrap(), 8).unwrap();
        let (mut path, rest) = unquote(rest);
        let (target, rest) = unquote(rest);
        if kind == 'd' {
            assert_eq!(path.pop(), Some(b'/'), "{line}");
        }
        Member { path, kind, mode, target, digest: rest.to_owned() }
    };
    Some(text.lines().map(member).collect())
}

/// Reads a text that Go has quoted from the start of a line. Returns it and the rest of the line.
fn unquote(line: &str) -> (Vec<u8>, &str) {
    let mut chars = line.strip_prefix('"').unwrap().chars();
    let mut bytes = Vec::new();
    loop {
        match chars.next().unwrap() {
            '"' => return (bytes, chars.as_str().trim_start()),
            '\\' => unescape(&mut chars, &mut bytes),
            c => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
}

/// Reads an escape after its backslash, as Go and `context list` write it.
fn unescape(chars: &mut std::str::Chars<'_>, bytes: &mut Vec<u8>) {
    match chars.next().unwrap() {
        'n' => bytes.push(b'\n'),
        't' => bytes.push(b'\t'),
        'x' => {
            let (hex, rest) = chars.as_str().split_at(2);
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            *chars = rest.chars();
        }
        c @ ('"' | '\\') => bytes.push(c as u8),
        c => panic!("\\{c}"),
    }
}

/// Returns the paths in the output of `context list`.
fn listed(text: &str) -> Vec<Vec<u8>> {
    let path = |line: &str| {
        let (mut chars, mut bytes) = (line.chars(), Vec::new());
        while let Some(c) = chars.next() {
            match c {
                '\\' => unescape(&mut chars, &mut bytes),
                c => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        bytes
    };
    text.lines().map(path).collect()
}

/// Returns the expected kind, mode and target of each of these items and its folders, by path.
fn expected(items: &BTreeMap<Vec<u8>, Item>) -> BTreeMap<Vec<u8>, (char, u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for (path, item) in items {
        for (slash, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            all.insert(path[..slash].to_vec(), ('d', 0o755, Vec::new()));
        }
        let member = match item {
            Item::Dir => ('d', 0o755, Vec::new()),
            Item::File(_) | Item::Sparse(_) => ('f', 0o644, Vec::new()),
            Item::Program(_) | Item::HardLink(_) => ('f', 0o755, Vec::new()),
            Item::Link(target) => ('l', 0o777, target.to_vec()),
        };
        all.insert(path.clone(), member);
    }
    all
}

#[test]
fn every_reader_finds_the_listed_files() {
    check_readers(&project(), &items());
}

/// Links in a copied folder are not followed; a link that is copied itself is.
#[test]
fn every_reader_finds_only_the_files_that_the_build_reads() {
    let env = project();
    let dockerfile = "FROM scratch\nCOPY deep/er links n* twin hole /\nCOPY chain/file /\n";
    env.context("app", dockerfile);
    symlink("naïve/../a-folder-in-a-folder", env.path("app/chain")).unwrap();
    env.write("app/a-folder-in-a-folder/file", "through a link");
    let mut sent = items();
    sent.retain(|path, _| {
        let path = String::from_utf8_lossy(path);
        ["deep/er", "links", "n", "twin", "hole"].iter().any(|start| path.starts_with(start))
    });
    sent.insert(b"Dockerfile".to_vec(), Item::File(dockerfile.into()));
    sent.insert(b"chain".to_vec(), Item::Link("naïve/../a-folder-in-a-folder".as_bytes()));
    let through = b"a-folder-in-a-folder/file".to_vec();
    sent.insert(through, Item::File(b"through a link".to_vec()));
    check_readers(&env, &sent);
}

/// Packs the context, and compares what readers find in the archive with these items.
fn check_readers(env: &TestEnv, items: &BTreeMap<Vec<u8>, Item>) {
    let expected = expected(items);
    env.ok(["context", "pack", "app", "-o", "app.tar.gz"]);
    let archive = env.path("app.tar.gz");
    let _ = run(Command::new("gzip").arg("-t").arg(&archive));

    let python = by_python("archive", &archive);
    let tar = by_tar(&archive, &env.path("unpacked"));
    let go = by_go(&archive);
    let readers = [("Python", python), ("GNU tar", tar), ("Go", go)];
    let readers: Vec<_> =
        readers.into_iter().filter_map(|(name, members)| Some((name, members?))).collect();
    for (name, members) in &readers {
        let by_path = members.iter().map(|member| {
            let Member { path, kind, mode, target, .. } = member.clone();
            (path, (kind, mode, target))
        });
        assert_eq!(by_path.collect::<BTreeMap<_, _>>(), expected, "{name}");
        assert_eq!(members.len(), expected.len(), "{name}");
        let (first, first_members) = &readers[0];
        let sorted = |all: &[Member]| {
            let mut all = all.to_vec();
            all.sort();
            all
        };
        assert_eq!(sorted(members), sorted(first_members), "{name} differs from {first}");
    }
    for (path, item) in items {
        let content = match item {
            Item::File(content) | Item::Program(content) => content,
            Item::Sparse(len) => &sparse(*len),
            Item::HardLink(_) | Item::Dir | Item::Link(_) => continue,
        };
        let unpacked = env.path("unpacked").join(OsStr::from_bytes(path));
        assert!(fs::read(&unpacked).unwrap() == *content, "{}", unpacked.display());
    }

    let files = expected.into_iter().filter(|(_, (kind, _, _))| *kind != 'd');
    let files: Vec<_> = files.map(|(path, _)| path).collect();
    assert_eq!(listed(&env.ok(["context", "list", "app"]).stdout), files);
    let json = env.ok(["context", "list", "app", "--json"]).json();
    let paths: Vec<_> = json.iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed(&paths.join("\n")), files);
}

/// A change of a context after the scan: its name, and the change of `file` in the context.
type Change = (&'static str, fn(&Path));

const CHANGES: [Change; 6] = [
    // The size and the time of the last change stay the same.
    ("content", |file| {
        let changed = file.metadata().unwrap().modified().unwrap();
        fs::write(file, "NEW").unwrap();
        File::open(file).unwrap().set_modified(changed).unwrap();
    }),
    ("longer", |file| fs::write(file, "older").unwrap()),
    ("shorter", |file| fs::write(file, "").unwrap()),
    ("gone", |file| fs::remove_file(file).unwrap()),
    ("mode", |file| fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap()),
    ("link", |file| {
        fs::rename(file, file.with_extension("real")).unwrap();
        symlink("file.real", file).unwrap();
    }),
];

#[test]
fn a_context_that_changes_before_packing_is_not_sent() {
    let env = TestEnv::new();
    let mut manifest = "version: 1\nimages:\n".to_owned();
    let names = CHANGES.map(|(name, _)| name);
    for name in names.into_iter().chain(["above", "same", "more"]) {
        manifest = format!("{manifest}  - {{name: {name}, tag: v1, context: {name}}}\n");
        let base = if name == "above" { "content" } else { "scratch" };
        env.context(name, &format!("FROM {base}\nCOPY . /\n"));
        env.write(&format!("{name}/file"), "old");
    }
    env.write("imgplan.yaml", manifest);

    let mut apply = env.call(["apply"]).start_interactive();
    wait_until("it asks", || apply.has_said("is accepted:") || apply.has_ended());
    for (name, change) in CHANGES {
        change(&env.path(name).join("file"));
    }
    env.write("more/new", "a new file");
    apply.type_in("yes\n");
    let apply = apply.wait();

    apply.code(1);
    for name in names {
        apply.says(&format!("{name}/file changed while its context was packed"));
    }
    let ended = "Apply: 2 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 6 failed, 1 skipped, in [time].";
    assert_eq!(apply.last_line(), ended, "{apply}");
    // No build was started for the failed images, or for the image based on one.
    let initiated = |from: usize| {
        let mut all = env.server().initiated().split_off(from);
        all.sort();
        all
    };
    assert_eq!(initiated(0), ["more:v1", "same:v1"]);
    assert_eq!(fs::read_dir(env.everything().join("tmp")).unwrap().count(), 0);

    // The new trees differ from the planned ones, and from those that were sent.
    let again = ["above", "content", "gone", "link", "longer", "mode", "more", "shorter"];
    let plan = env.ok(["plan"]);
    assert_eq!(plan.steps().len(), again.len(), "{plan}");
    env.apply();
    assert_eq!(initiated(2), again.map(|name| format!("{name}:v1")));
    env.plans_nothing();
}

/// Returns the size of the unnamed files in a folder that a process has open.
fn spooled_bytes(process: u32, folder: &Path) -> u64 {
    let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else { return 0 };
    let sizes = open.filter_map(|fd| {
        let fd = fd.ok()?.path();
        let target = fd.read_link().ok()?;
        let unnamed = target.starts_with(folder) && !target.exists();
        unnamed.then(|| fd.metadata().map_or(0, |meta| meta.len()))
    });
    sizes.sum()
}

fn names_in(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    names
}

#[test]
fn a_killed_run_leaves_no_files() {
    let env = TestEnv::new();
    env.write("imgplan.yaml", MANIFEST);
    env.context("app", "FROM scratch\nCOPY . /\n").write("app/noise", noise(96 << 20));
    env.write("out/old.tar.gz", "the old archive");
    let temp = env.everything().join("tmp");
    let calls: [&[&str]; 3] = [
        &["context", "pack", "app", "-o", "out/new.tar.gz"],
        &["context", "pack", "app", "-o", "out/old.tar.gz"],
        &["apply", "--auto-approve"],
    ];
    for args in calls {
        let mut running = env.call(args.iter().copied()).start();
        let process = running.id();
        wait_until("packing has started", || {
            spooled_bytes(process, &temp) > 1 << 20 || running.has_ended()
        });
        running.signal("KILL");
        let output = running.wait();
        assert_eq!(output.code, None, "the run ended before it was killed: {output}");
        assert!(names_in(&temp).is_empty(), "{:?}: {output}", names_in(&temp));
        assert_eq!(names_in(&env.path("out")), [env.path("out/old.tar.gz")], "{output}");
        assert_eq!(env.read("out/old.tar.gz"), "the old archive");
    }
    assert_eq!(env.server().writes(), [""; 0]);
}

#[test]
fn an_archive_replaces_its_file_only_when_complete() {
    let env = project();
    let pack = |out: &str| env.run(["context", "pack", "app", "-o", out]);
    let read = |path: &str| fs::read(env.path(path)).unwrap();
    pack("new.tar.gz").success();
    let mode = |path: &str| env.path(path).symlink_metadata().unwrap().mode() & 0o777;
    assert_eq!(mode("new.tar.gz"), 0o644, "other users must be able to upload it");

    // A file keeps its mode.
    env.write("shelf/kept.tar.gz", "old");
    fs::set_permissions(env.path("shelf/kept.tar.gz"), Permissions::from_mode(0o640)).unwrap();
    pack("shelf/kept.tar.gz").success();
    assert!(read("shelf/kept.tar.gz") == read("new.tar.gz"));
    assert_eq!(mode("shelf/kept.tar.gz"), 0o640);

    // A link is replaced, and its target stays: a checkout may have put it there.
    env.write("victim", "precious");
    for to in ["victim", "nowhere", "/dev/null"] {
        let _ = fs::remove_file(env.path("link.tar.gz"));
        symlink(to, env.path("link.tar.gz")).unwrap();
        pack("link.tar.gz").success();
        assert!(!env.path("link.tar.gz").is_symlink());
        assert!(read("link.tar.gz") == read("new.tar.gz"));
        assert_eq!(env.read("victim"), "precious");
        assert!(!env.exists("nowhere"));
    }

    // A FIFO would block, and is not replaced either. Only a device that the path names is written.
    assert!(Command::new("mkfifo").arg(env.path("pipe")).status().unwrap().success());
    pack("pipe").code(1).says("cannot write pipe: it is a FIFO").says("`-` for standard output");
    assert!(env.path("pipe").metadata().unwrap().file_type().is_fifo());
    pack("/dev/null").success();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    pack("/dev/full").code(1).says("cannot write /dev/full");
    pack("shelf").code(1).says("cannot write shelf");

    // `-` is standard output, not a file of that name. A closed output does not cause a panic.
    let mut child = Command::new(env!("CARGO_BIN_EXE_imgplan"))
        .args(["context", "pack", "app", "-o", "-"])
        .current_dir(env.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut start = [0; 2];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    assert_eq!(start, [0x1f, 0x8b]);
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && !stderr.contains("panicked"), "{stderr}");

    let paths = names_in(&env.path(""));
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
    // On a slow machine, the files are old enough by now for the stat cache.
    let names: Vec<_> = names.filter(|name| *name != ".imgplan").collect();
    let expected = ["app", "imgplan.yaml", "link.tar.gz", "new.tar.gz", "pipe", "shelf", "victim"];
    assert_eq!(names, expected);
    assert_eq!(names_in(&env.path("shelf")), [env.path("shelf/kept.tar.gz")]);
}
