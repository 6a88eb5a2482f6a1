//! `imgplan init`: proposes a manifest for the Dockerfiles and Harbor tasks of a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use rayon::prelude::*;

use super::args::InitArgs;
use super::convert::task;
use super::failure::{Exit, Failure};
use super::search::{self, FoundPaths};
use super::settings::Settings;
use super::ui::Ui;
use crate::base::clean_path::clean;
use crate::base::file::{self, AtPath};
use crate::base::input::{self, InputKind};
use crate::base::name::Platform;
use crate::base::safe_text::shown_path;
use crate::base::text::{plural, shell_word};
use crate::convert::folders::Folders;
use crate::convert::found::{FoundDockerfile, KnownFile, context_of};
use crate::convert::harbor;
use crate::convert::proposal::{FoundFiles, FoundTasks, propose};
use crate::convert::yaml;
use crate::dockerfile::{Dockerfile, ReachRequest};
use crate::manifest::{existing, is_official};

/// The file that is written.
const MANIFEST: &str = "imgplan.yaml";

/// Maximum number of files of other tools that are named.
const MAX_FOREIGN_SHOWN: usize = 10;

pub(super) fn run(ui: &mut Ui, settings: &Settings, args: &InitArgs) -> Result<Exit, Failure> {
    if let Some(path) = existing() {
        return Err(exists(path));
    }
    let root = Path::new(".").canonicalize().at("find the folder", Path::new("."))?;
    let paths = search::search(&root)?;
    let (found, mut notes) = read(&root, &paths);
    notes.extend(paths.unreadable.iter().map(|text| format!("not searched: {text}")));
    ui.notes(&notes)?;
    let draft = propose(&found).map_err(Failure::new)?;
    let foreign = foreign_commands(&paths, draft.len() > 0);
    let text = yaml::write(&draft, "Proposed by `imgplan init`.");
    if draft.len() > 0 {
        ui.document(&text)?;
    }
    for line in &foreign {
        ui.message(line)?;
    }
    if draft.len() == 0 {
        let message = "found no Dockerfile and no Harbor task in this folder";
        let help = if foreign.is_empty() {
            "run it in the folder of a project, or write the manifest by hand"
        } else {
            "convert these files, or write the manifest by hand"
        };
        return Err(Failure::with_help(message, help));
    }
    if !args.yes && !is_approved(ui)? {
        return Ok(Exit::Declined);
    }
    match file::create(Path::new(MANIFEST), text.as_bytes()) {
        Err(error) if error.source.kind() == ErrorKind::AlreadyExists => {
            return Err(exists(Path::new(MANIFEST)));
        }
        created => created?,
    }
    ui.message(format_args!("Wrote {MANIFEST} with {}.", plural(draft.len(), "entry")))?;
    let folder = settings.chdir.as_ref();
    let folder = folder.map(|dir| format!(" -C {}", shell_word(&dir.to_string_lossy())));
    ui.hint(Some(&format!("Next: imgplan plan{}", folder.unwrap_or_default())))?;
    Ok(Exit::Success)
}

fn exists(path: &Path) -> Failure {
    let message = format!("{} exists, and is not overwritten", shown_path(path));
    Failure::with_help(message, "edit it, or remove it first; `imgplan plan` shows what it means")
}

fn is_approved(ui: &mut Ui) -> Result<bool, Failure> {
    let question = format!("Write {MANIFEST}? Only \"yes\" is accepted:");
    let answer = ui.prompt(&question).map_err(|error| {
        Failure::with_help(format!("cannot read the answer: {error}"), "use --yes")
    })?;
    let approved = answer.trim() == "yes";
    if !approved {
        ui.message("Nothing was written.")?;
        if answer.is_empty() {
            ui.hint(Some("To write it without a terminal, use --yes."))?;
        }
    }
    Ok(approved)
}

/// Reads the found files. Returns what the proposal needs to know of them, and notes about tasks that
/// it leaves out.
fn read(root: &Path, paths: &FoundPaths) -> (FoundFiles, Vec<String>) {
    let tasks = task_folders(root, paths);
    let mut irregular = paths.with_links.clone();
    irregular.extend(tasks.iter().cloned());
    let all: BTreeSet<&str> = paths.files.iter().map(|(path, _)| &**path).collect();
    let dockerfiles = paths.files.iter().filter(|(_, file)| *file == KnownFile::Dockerfile);
    let mut own: Vec<&str> = Vec::new();
    for (path, _) in dockerfiles {
        // Podman and Buildah look for both names, Docker only for the second: they are one image.
        let is_twin = |folder: &str| all.contains(format!("{folder}Dockerfile").as_str());
        let of_task = path.strip_suffix("/environment/Dockerfile");
        if path.strip_suffix("Containerfile").is_some_and(is_twin) {
            let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
            irregular.insert(folder.rsplit_once('/').map_or(".", |(parent, _)| parent).to_owned());
        } else if !of_task.is_some_and(|task| tasks.contains(task)) {
            own.push(path);
        }
    }
    let dockerfiles = own.par_iter().map(|path| read_dockerfile(root, path)).collect();
    let (tasks, notes) = read_tasks(root, &tasks);
    let name = root.file_name().map(|name| name.to_string_lossy().into_owned());
    let root = name.unwrap_or_default();
    (FoundFiles { root, dockerfiles, tasks, irregular, is_official }, notes)
}

/// Reads a Dockerfile. One with errors is proposed too: `imgplan validate` shows them.
fn read_dockerfile(root: &Path, path: &str) -> FoundDockerfile {
    let mut found = FoundDockerfile { path: path.to_owned(), ..FoundDockerfile::default() };
    let text = input::read_text(&root.join(path), InputKind::Dockerfile);
    let parsed = text.ok().and_then(|text| Dockerfile::parse(&text).ok());
    let reach = parsed.and_then(|file| file.reach(&ReachRequest::new(Platform::Amd64)).ok());
    let reach = reach.unwrap_or_default();
    for reference in reach.references.iter().filter(|reference| reference.needed) {
        match &reference.image {
            Ok(image) => found.references.push(image.clone()),
            Err(_) => found.unresolved.push(reference.text.clone()),
        }
    }
    let sources = reach.paths.iter().filter(|path| path.resolved).map(|path| {
        let path = path.path_from_root();
        let plain = path.split('/').take_while(|part| !part.contains(['*', '?', '[']));
        plain.collect::<Vec<_>>().join("/")
    });
    let sources: Vec<String> = sources.filter(|source| !source.is_empty()).collect();
    let exists =
        |path: &str| root.join(path).canonicalize().is_ok_and(|real| real.starts_with(root));
    found.context = context_of(path, &sources, &exists);
    found
}

/// Returns the folders of the Harbor tasks; that of the search itself is empty.
fn task_folders(root: &Path, paths: &FoundPaths) -> BTreeSet<String> {
    let files = paths.files.iter().filter(|(_, file)| *file == KnownFile::HarborTask);
    let folders = files.map(|(path, _)| path.rsplit_once('/').map_or("", |(folder, _)| folder));
    let has_environment = |folder: &&str| {
        let environment = root.join(folder).join("environment");
        environment.symlink_metadata().is_ok_and(|meta| meta.is_dir())
    };
    folders.filter(has_environment).map(str::to_owned).collect()
}

/// Reads the Harbor tasks, and makes one entry of those in one folder.
fn read_tasks(root: &Path, tasks: &BTreeSet<String>) -> (Vec<FoundTasks>, Vec<String>) {
    let mut by_parent: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in tasks {
        let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
        by_parent.entry(parent).or_default().push(name);
    }
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    for (parent, names) in by_parent {
        let input = root.join(parent);
        let read = |name: &&str| {
            task(&input.join(name), Some((*name).to_owned()).filter(|name| !name.is_empty()))
        };
        let tasks: Vec<_> = names.iter().map(read).collect();
        let input = clean(&input);
        match harbor::convert_named(&tasks, &Folders { input, output: root.to_owned() }) {
            Ok((converted, keys)) => found.push(FoundTasks {
                entry: converted.draft,
                parent: parent.to_owned(),
                keys,
                folders: names.into_iter().map(str::to_owned).collect(),
            }),
            Err(error) => notes.push(format!("left out the tasks in {parent}: {error}")),
        }
    }
    (found, notes)
}

/// Returns a line for each file of another tool, with the command that converts it. With a manifest in
/// this folder, the result needs another name.
fn foreign_commands(paths: &FoundPaths, has_manifest: bool) -> Vec<String> {
    let is_foreign = |(path, file): &&(String, KnownFile)| {
        let is_own = matches!(file, KnownFile::Dockerfile | KnownFile::HarborTask);
        // Tasks have Compose files of their own, which run their images.
        !is_own && !path.contains("/environment/")
    };
    let files: Vec<_> = paths.files.iter().filter(is_foreign).collect();
    let lines = files.iter().take(MAX_FOREIGN_SHOWN).map(|(path, file)| {
        let stem = path.rsplit_once('.').map_or(&**path, |(stem, _)| stem);
        let output =
            if has_manifest { format!("{stem}.imgplan.yaml") } else { MANIFEST.to_owned() };
        let (input, output) = (shell_word(path), shell_word(&output));
        let convert =
            |from: &str, input: &str| format!("imgplan convert --from {from} {input} -o {output}");
        let command = match file {
            KnownFile::BakeHcl => {
                let convert = convert("bake", "-");
                format!("docker buildx bake --print -f {input} | {convert}")
            }
            KnownFile::BakeJson => convert("bake", &input),
            KnownFile::Regsync => convert("regsync", &input),
            KnownFile::Skopeo => convert("skopeo", &input),
            KnownFile::Compose | KnownFile::Dockerfile | KnownFile::HarborTask => {
                convert("compose", &input)
            }
        };
        format!("Found {path}, which is not part of the proposal. To convert it: {command}")
    });
    let mut lines: Vec<String> = lines.collect();
    if let more @ 1.. = files.len().saturating_sub(MAX_FOREIGN_SHOWN) {
        lines.push(format!("Found {} of other tools more.", plural(more, "file")));
    }
    lines
}
