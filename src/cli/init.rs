//! `imgplan init`: proposes a manifest for the Dockerfiles and Harbor tasks of a folder.

use std::collections::BTreeSet;
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
use crate::convert::proposal::found::{FoundDockerfile, FoundFiles, context_of};
use crate::convert::proposal::propose;
use crate::convert::yaml;
use crate::dockerfile::{Dockerfile, ReachRequest};
use crate::manifest::existing;

/// The file that is written.
const MANIFEST: &str = "imgplan.yaml";

/// Maximum number of notes, and of files of other tools that are named.
const MAX_LINES_SHOWN: usize = 10;

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
    let foreign = foreign_commands(&paths.foreign);
    let (found, notes) = read(&root, paths);
    ui.notes(&notes)?;
    let draft = propose(&found).map_err(Failure::new)?;
    let text = yaml::write(&draft, "Proposed by `imgplan init`.");
    if draft.len() > 0 {
        ui.document(&text)?;
    }
    for line in &foreign {
        ui.message(line)?;
    }
    if draft.len() == 0 {
        let help = "run it in the folder of a project, or write the manifest by hand";
        let message = "found no valid Dockerfile and no Harbor task in this folder";
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

/// Reads the found files, and returns notes about what is left out. `root` is canonical.
fn read(root: &Path, paths: FoundPaths) -> (FoundFiles, Vec<String>) {
    let FoundPaths { dockerfiles, tasks, irregular, unreadable, .. } = paths;
    let root_name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut found = FoundFiles { root: root_name, tasks, irregular, ..FoundFiles::default() };
    let mut notes: Vec<String> =
        unreadable.into_iter().map(|text| format!("not searched: {text}")).collect();
    for path in dockerfiles {
        match read_dockerfile(root, &path) {
            Ok(dockerfile) => found.dockerfiles.push(dockerfile),
            Err(reason) => {
                notes.push(format!("left out {path}: {reason}"));
                found.left_out.push(path);
            }
        }
    }
    (found, limited(notes, "notes"))
}

/// Reads a Dockerfile. Fails with the reason why no plan could have it: it is invalid, or the name of
/// an image needs the value of an argument.
fn read_dockerfile(root: &Path, path: &str) -> Result<FoundDockerfile, String> {
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
    let mut references = Vec::new();
    for reference in reach.references {
        let image = reference.image.map_err(|error| error.to_string())?;
        references.extend(reference.needed.then_some(image));
    }
    let sources = reach.paths.iter().filter(|path| path.resolved).map(|path| {
        let path = path.path_from_root();
        let plain = path.split('/').take_while(|part| !part.contains(['*', '?', '[']));
        plain.collect::<Vec<_>>().join("/")
    });
    let sources: Vec<String> = sources.filter(|source| !source.is_empty()).collect();
    let exists =
        |path: &str| root.join(path).canonicalize().is_ok_and(|real| real.starts_with(root));
    let context = context_of(path, &sources, &exists);
    Ok(FoundDockerfile { path: path.to_owned(), context, references })
}

/// Returns a line for each file of another tool, with the command that converts it.
fn foreign_commands(files: &BTreeSet<(String, &str)>) -> Vec<String> {
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
    limited(files.iter().map(line).collect(), "files of other tools")
}

/// Returns the first lines, and one that counts the others.
fn limited(mut lines: Vec<String>, name: &str) -> Vec<String> {
    let more = lines.len().saturating_sub(MAX_LINES_SHOWN);
    lines.truncate(MAX_LINES_SHOWN);
    lines.extend((more > 0).then(|| format!("{more} more {name} are not shown")));
    lines
}
