//! `imgplan init`: proposes a manifest for the Dockerfiles and Harbor tasks of a folder.

use std::io::ErrorKind;
use std::path::Path;

use super::approval::{Question, is_confirmed};
use super::args::InitArgs;
use super::failure::{Exit, Failure};
use super::search::{FoundPaths, search};
use super::settings::Settings;
use super::ui::Ui;
use crate::base::file::{self, AtPath};
use crate::base::input::{self, InputKind};
use crate::base::name::Platform;
use crate::base::safe_text::shown_path;
use crate::base::text::{plural, shell_word};
use crate::convert::proposal::found::{FoundDockerfile, context_of};
use crate::convert::proposal::{FoundFiles, propose};
use crate::convert::yaml;
use crate::dockerfile::{Dockerfile, ReachRequest};
use crate::manifest::existing;

/// The file that is written.
const MANIFEST: &str = "imgplan.yaml";

/// Maximum number of files of other tools that are named.
const MAX_FOREIGN_SHOWN: usize = 10;

const QUESTION: Question<'_> = Question {
    text: "Write imgplan.yaml?",
    declined: "Nothing was written.",
    without_terminal: "To write it without a terminal, use --yes.",
    flag: "--yes",
};

pub(super) fn run(ui: &mut Ui, settings: &Settings, args: &InitArgs) -> Result<Exit, Failure> {
    if let Some(path) = existing() {
        return Err(exists(path));
    }
    let root = Path::new(".").canonicalize().at("find the folder", Path::new("."))?;
    let paths = search(&root)?;
    let unreadable = paths.unreadable.iter().map(|text| format!("not searched: {text}"));
    ui.notes(&unreadable.collect::<Vec<_>>())?;
    let foreign = foreign_commands(&paths);
    let draft = propose(&read(&root, paths)).map_err(Failure::new)?;
    let text = yaml::write(&draft, "Proposed by `imgplan init`.");
    if draft.len() > 0 {
        ui.document(&text)?;
    }
    for line in &foreign {
        ui.message(line)?;
    }
    if draft.len() == 0 {
        let help = "run it in the folder of a project, or write the manifest by hand";
        let message = "found no Dockerfile and no Harbor task in this folder";
        return Err(Failure::with_help(message, help));
    }
    if !args.yes && !is_confirmed(ui, &QUESTION)? {
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

/// Reads the found files. `root` is canonical.
fn read(root: &Path, FoundPaths { dockerfiles, tasks, irregular, .. }: FoundPaths) -> FoundFiles {
    let name = root.file_name().map(|name| name.to_string_lossy().into_owned());
    let dockerfiles = dockerfiles.into_iter().map(|path| read_dockerfile(root, path)).collect();
    FoundFiles { root: name.unwrap_or_default(), dockerfiles, tasks, irregular }
}

/// Reads a Dockerfile. One with errors is proposed too: `imgplan validate` shows them.
fn read_dockerfile(root: &Path, path: String) -> FoundDockerfile {
    let text = input::read_text(&root.join(&path), InputKind::Dockerfile);
    let parsed = text.ok().and_then(|text| Dockerfile::parse(&text).ok());
    let reach = parsed.and_then(|file| file.reach(&ReachRequest::new(Platform::Amd64)).ok());
    let reach = reach.unwrap_or_default();
    let references = reach.references.into_iter().filter(|reference| reference.needed);
    let references = references.filter_map(|reference| reference.image.ok()).collect();
    let sources = reach.paths.iter().filter(|path| path.resolved).map(|path| {
        let path = path.path_from_root();
        let plain = path.split('/').take_while(|part| !part.contains(['*', '?', '[']));
        plain.collect::<Vec<_>>().join("/")
    });
    let sources: Vec<String> = sources.filter(|source| !source.is_empty()).collect();
    let exists =
        |path: &str| root.join(path).canonicalize().is_ok_and(|real| real.starts_with(root));
    FoundDockerfile { context: context_of(&path, &sources, &exists), path, references }
}

/// Returns a line for each file of another tool, with the command that converts it.
fn foreign_commands(paths: &FoundPaths) -> Vec<String> {
    let line = |(path, format): &(String, &str)| {
        let (stem, extension) = path.rsplit_once('.').unwrap_or((path, ""));
        let (input, output) = (shell_word(path), shell_word(&format!("{stem}.imgplan.yaml")));
        let command = |input: &str| format!("imgplan convert --from {format} {input} -o {output}");
        let command = if extension == "hcl" {
            format!("docker buildx bake --print -f {input} | {}", command("-"))
        } else {
            command(&input)
        };
        format!("Found {path}, which is not part of the proposal. To convert it: {command}")
    };
    let mut lines: Vec<String> = paths.foreign.iter().take(MAX_FOREIGN_SHOWN).map(line).collect();
    if let more @ 1.. = paths.foreign.len().saturating_sub(MAX_FOREIGN_SHOWN) {
        lines.push(format!("Found {} of other tools more.", plural(more, "file")));
    }
    lines
}
