//! `imgplan init`: proposes a manifest for the Dockerfiles and Harbor tasks of a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use super::approval::{Question, is_confirmed};
use super::args::InitArgs;
use super::failure::{Exit, Failure};
use super::search::{FoundPaths, search};
use super::settings::Settings;
use super::ui::Ui;
use crate::base::clean_path::clean;
use crate::base::file::{self, AtPath};
use crate::base::input::{self, InputKind};
use crate::base::name::Platform;
use crate::base::safe_text::{is_unsafe, shown_path};
use crate::base::text::{list, plural, shell_word};
use crate::context::ignore::IgnorePatterns;
use crate::convert::proposal::discovery::FindPaths;
use crate::convert::proposal::found::{FoundDockerfile, FoundFiles, context_of};
use crate::convert::proposal::{Proposal, entry_with_arg, propose};
use crate::convert::yaml;
use crate::dockerfile::model::ArgDeclaration;
use crate::dockerfile::reached::ReachedPath;
use crate::dockerfile::{Dockerfile, ReachRequest};
use crate::manifest::workspace::Origin;
use crate::manifest::{Invocation, Workspace, discovered, existing, in_parent};

/// The file that is written.
const MANIFEST: &str = "imgplan.yaml";

/// Maximum number of notes, and of files of other tools that are named.
const MAX_LINES_SHOWN: usize = 10;

/// Maximum number of folders that a note names.
const MAX_FOLDERS_SHOWN: usize = 5;

const QUESTION: Question<'_> = Question {
    text: "Write imgplan.yaml?",
    declined: "Nothing was written.",
    without_terminal: "To write it without a terminal, use --yes.",
    flag: "--yes",
    accepts_y: true,
};

pub(super) async fn run(
    ui: &mut Ui,
    settings: &Settings,
    args: &InitArgs,
) -> Result<Exit, Failure> {
    let here = Path::new(".");
    check_place(here)?;
    let root = here.canonicalize().at("find the folder", here)?;
    let paths = search(&root)?;
    let (foreign, count) = (foreign_commands(&paths.foreign), paths.dockerfiles.len());
    let (found, notes) = read(&root, paths);
    ui.notes(&notes)?;
    let is_empty = found.dockerfiles.is_empty() && found.tasks.is_empty();
    let (text, entries) = if is_empty { <_>::default() } else { proposed(&found)? };
    if !is_empty {
        ui.document(&text)?;
    }
    for line in &foreign {
        ui.message(line)?;
    }
    if is_empty {
        return Err(nothing_found(count));
    }
    if !args.yes && !is_confirmed(ui, &QUESTION).await? {
        return Ok(Exit::Declined);
    }
    match file::create(Path::new(MANIFEST), text.as_bytes()) {
        Err(error) if error.source.kind() == ErrorKind::AlreadyExists => {
            return Err(exists(Path::new(MANIFEST)));
        }
        created => created?,
    }
    ui.message(format_args!("Wrote {MANIFEST} with {}.", plural(entries, "entry")))?;
    let folder = settings.chdir.as_ref();
    let folder = folder.map(|dir| format!(" -C {}", shell_word(&dir.to_string_lossy())));
    ui.hint(Some(&format!("Next: imgplan plan{}", folder.unwrap_or_default())))?;
    Ok(Exit::Success)
}

/// Fails if there is a manifest already, or if none can be written.
fn check_place(folder: &Path) -> Result<(), Failure> {
    if let Some(path) = existing() {
        return Err(exists(path));
    }
    if let Some((parent, name)) = in_parent(folder) {
        let message = format!("a parent folder has a manifest: {}", shown_path(&parent.join(name)));
        let help = "add the images there, or propose a manifest of another folder: -C DIR";
        return Err(Failure::with_help(message, help));
    }
    #[cfg(unix)]
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)
        .map_err(std::io::Error::from)
        .at("create", Path::new(MANIFEST))?;
    Ok(())
}

fn exists(path: &Path) -> Failure {
    let message = format!("{} already exists", shown_path(path));
    Failure::with_help(message, "edit it, or delete it and run `imgplan init` again")
}

/// Describes a folder for which no manifest is proposed although it has this many Dockerfiles.
fn nothing_found(dockerfiles: usize) -> Failure {
    let message = match dockerfiles {
        0 => "found no Dockerfile and no Harbor task in this folder",
        1 => "the only Dockerfile cannot be proposed",
        count => &format!("none of the {count} Dockerfiles can be proposed"),
    };
    Failure::with_help(
        message,
        "run `imgplan init` in another folder, or write the manifest by hand",
    )
}

/// Returns the text of the proposed manifest, and the number of its entries.
///
/// # Errors
///
/// Fails if the manifest would not mean the images that were found.
fn proposed(found: &FoundFiles) -> Result<(String, usize), Failure> {
    let attempt = |find: FindPaths<'_>| {
        let Proposal { draft, targets } = propose(found, find).map_err(Failure::new)?;
        let text = yaml::write(&draft, "Proposed by `imgplan init`.");
        check(&text, &targets)?;
        Ok((text, draft.len()))
    };
    // A pattern may find something else than expected; an entry for each image does not.
    attempt(&discovered).or_else(|_: Failure| attempt(&|_, _| None))
}

/// Fails if the targets of a manifest that are not Harbor tasks differ from these Dockerfiles by
/// `name:tag`.
fn check(text: &str, expected: &BTreeMap<String, String>) -> Result<(), Failure> {
    let invocation = Invocation { text: Some(text.to_owned()), ..Invocation::file(MANIFEST) };
    let workspace = Workspace::load(&invocation, &|_| None).map_err(|mut error| {
        "the proposal, which was not written".clone_into(&mut error.name);
        error
    })?;
    let mut targets = BTreeMap::new();
    for unit in &workspace.units {
        if let Origin::Build(build) = &unit.origin {
            let path = clean(&build.dockerfile_path).to_string_lossy().into_owned();
            targets.insert(unit.key.to_string(), path);
        }
    }
    targets.retain(|key, path| {
        expected.contains_key(key) || !path.ends_with("environment/Dockerfile")
    });
    let mut all = expected.iter().chain(&targets);
    let Some((key, path)) = all.find(|(key, _)| expected.get(*key) != targets.get(*key)) else {
        return Ok(());
    };
    let path = shown_path(Path::new(path));
    let message = format!("cannot propose a manifest: {key} would not be built from {path} only");
    Err(Failure::with_help(message, "write the manifest by hand"))
}

/// Reads the found files, and returns notes about what is left out. `root` is canonical.
fn read(root: &Path, mut paths: FoundPaths) -> (FoundFiles, Vec<String>) {
    let root_name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut found = FoundFiles { root: root_name, ..FoundFiles::default() };
    let (mut notes, mut ignore_files) = (Vec::new(), BTreeSet::new());
    for path in std::mem::take(&mut paths.dockerfiles) {
        match read_dockerfile(root, &path, &paths, &mut found) {
            Ok(copies_all) => {
                ignore_files.extend(copies_all.then(|| ignore_file(root, &path)).flatten());
            }
            Err(reason) => notes.push(format!("left out {path}: {reason}")),
        }
    }
    notes.extend(paths.links.iter().map(|path| format!("left out {path}: it is a link")));
    let mut notes = limited(notes, "Dockerfiles that were left out");
    let mut note = |what: &str, folders: &[String]| {
        let folders_shown = list(folders, MAX_FOLDERS_SHOWN);
        let count = plural(folders.len(), "folder");
        notes.extend((!folders.is_empty()).then(|| format!("{count} {what}: {folders_shown}")));
    };
    note("left out, with a manifest of its own", &paths.manifests);
    note("left out as build output or foreign code", &paths.unsearched);
    note("cannot be read", &paths.unreadable);
    notes.extend(ignore_files.into_iter().map(|file| {
        format!("add `{MANIFEST}` to {file}: otherwise the manifest is copied into an image")
    }));
    paths.tasks.retain(|task| has_image(&root.join(task)));
    found.tasks = paths.tasks;
    (found, notes)
}

/// Returns true if a Harbor task has a Dockerfile, or the image to mirror.
fn has_image(task: &Path) -> bool {
    task.join("environment/Dockerfile").is_file()
        || input::read_text(&task.join("task.toml"), InputKind::HarborTask)
            .is_ok_and(|text| text.contains("docker_image"))
}

/// Returns the ignore file of a Dockerfile with the context `.`, unless it ignores the manifest.
fn ignore_file(root: &Path, dockerfile: &str) -> Option<String> {
    let own = format!("{dockerfile}.dockerignore");
    let file = if root.join(&own).exists() { own } else { ".dockerignore".to_owned() };
    let text = input::read_text(&root.join(&file), InputKind::IgnoreFile).unwrap_or_default();
    let is_ignored = IgnorePatterns::parse(&text).is_ok_and(|it| it.match_path(MANIFEST).ignored);
    (!is_ignored).then_some(file)
}

/// Reads a Dockerfile, and adds it. Returns true if it copies the whole folder of the manifest. Fails
/// with the reason why no plan could have it: it is invalid, or the name of an image needs the value
/// of an argument.
fn read_dockerfile(
    root: &Path,
    path: &str,
    paths: &FoundPaths,
    found: &mut FoundFiles,
) -> Result<bool, String> {
    let text = input::read_text(&root.join(path), InputKind::Dockerfile);
    let text = text.map_err(|error| error.to_string())?;
    let parsed = Dockerfile::parse(&text);
    let parsed =
        parsed.map_err(|errors| errors.first().map_or_else(String::new, ToString::to_string))?;
    let reach = parsed.reach(&ReachRequest::new(Platform::Amd64));
    let reach = reach.map_err(|error| error.to_string())?;
    if let Some(error) = reach.errors.first() {
        return Err(error.to_string());
    }
    let sources =
        || reach.paths.iter().filter(|path| path.resolved).map(ReachedPath::path_from_root);
    let plain = sources().map(|source| {
        let plain = source.split('/').take_while(|part| !part.contains(['*', '?', '[']));
        plain.collect::<Vec<_>>().join("/")
    });
    let plain = plain.filter(|source| !source.is_empty());
    let context = context_of(path, plain, &|folder, path| paths.has(folder, path));
    let mut dockerfile = FoundDockerfile { path: path.to_owned(), context, references: Vec::new() };
    for reference in reach.references {
        let image = reference.image.map_err(|error| {
            let is_arg = |arg: &ArgDeclaration| arg.stage.is_none() && arg.name == error.name;
            if !parsed.args().iter().any(is_arg) {
                return error.to_string();
            }
            let entry = entry_with_arg(&found.root, &dockerfile, &error.name);
            format!("{error}; to add it, write the value in `- {entry}`")
        })?;
        dockerfile.references.extend(reference.needed.then_some(image));
    }
    let copies_all = dockerfile.context == "." && sources().any(|source| source.is_empty());
    found.dockerfiles.push(dockerfile);
    Ok(copies_all)
}

/// Returns a line for each file of another tool, with the command that converts it.
fn foreign_commands(files: &BTreeSet<(String, &str)>) -> Vec<String> {
    let line = |(path, format): &(String, &str)| {
        let found =
            format!("Found {path}, which may declare the same images: use it or the proposal.");
        if path.contains(is_unsafe) {
            return found;
        }
        let (stem, extension) = path.rsplit_once('.').unwrap_or((path, ""));
        // A path that begins with `-` would be read as a flag.
        let dot = if path.starts_with('-') { "./" } else { "" };
        let input = shell_word(&format!("{dot}{path}"));
        let output = shell_word(&format!("{dot}{stem}.imgplan.yaml"));
        let command = |input: &str| format!("imgplan convert --from {format} {input} -o {output}");
        let command = if extension == "hcl" {
            format!("docker buildx bake --print -f {input} | {}", command("-"))
        } else {
            command(&input)
        };
        format!("{found} To convert it: {command}")
    };
    limited(files.iter().map(line).collect(), "files of other tools")
}

/// Returns the first lines, and one that counts the others.
fn limited(mut lines: Vec<String>, name: &str) -> Vec<String> {
    let more = lines.len().saturating_sub(MAX_LINES_SHOWN);
    lines.truncate(MAX_LINES_SHOWN);
    lines.extend((more > 0).then(|| format!("{more} more {name} are not shown")));
    lines
}
