//! `imgplan convert`: writes a manifest from a file of another tool, and lists what the manifest cannot
//! express.

use std::io::{self, ErrorKind};
use std::path::Path;

use clap::ValueEnum;

use super::args::{ConvertArgs, ForeignFormat};
use super::failure::{Exit, Failure};
use super::ui::Ui;
use crate::base::file::{self, PathError, folder_of};
use crate::base::input::{self, InputKind};
use crate::base::safe_text::shown_path;
use crate::base::text::{plural, shell_word};
use crate::convert::folders::Folders;
use crate::convert::{ConvertError, Converted, bake, compose, prime, regsync, skopeo, yaml};

/// Path that means a standard stream.
const STANDARD_STREAM: &str = "-";

pub(super) fn run(ui: &mut Ui, args: ConvertArgs) -> Result<Exit, Failure> {
    let ConvertArgs { input, from, output, strict } = args;
    // Its input is a folder.
    if from == ForeignFormat::Harbor {
        return Err(harbor(&input));
    }
    let is_stdout = output == Path::new(STANDARD_STREAM);
    if !is_stdout && output.symlink_metadata().is_ok() {
        return Err(exists(&output));
    }
    let shown = shown_path(&input);
    let converted = convert(from, &input, &folders(from, &input, &output)?)?;
    ui.notes(&converted.dropped.lines())?;
    if converted.draft.len() == 0 {
        let help = "name a file with images to build or to mirror";
        return Err(Failure::with_help(format!("{shown} has no image to convert"), help));
    }
    let count = converted.dropped.count();
    if strict && count > 0 {
        let message = format!("{} dropped, and --strict was given", were(count));
        let help = "remove them from the input, or convert without --strict; nothing was written";
        return Err(Failure::with_help(message, help));
    }
    let format = from.to_possible_value();
    let format = format.as_ref().map_or("", |value| value.get_name());
    let name = input.file_name().filter(|_| !is_stream(&input)).unwrap_or("a stream".as_ref());
    let name = name.to_string_lossy();
    let origin = format!("Converted from {name} by `imgplan convert --from {format}`.");
    let text = yaml::write(&converted.draft, &origin);
    if text.len() as u64 > InputKind::Manifest.max_bytes() {
        let message = "the manifest would be larger than one that is read";
        return Err(Failure::with_help(message, "convert a part of the input"));
    }
    if is_stdout {
        ui.document(&text)?;
        return Ok(Exit::Success);
    }
    match file::create(&output, text.as_bytes()) {
        Err(error) if error.source.kind() == ErrorKind::AlreadyExists => {
            return Err(exists(&output));
        }
        created => created?,
    }
    let entries = plural(converted.draft.len(), "entry");
    ui.message(format_args!(
        "Wrote {} with {entries}; {} dropped.",
        output.display(),
        were(count)
    ))?;
    let path = shell_word(&output.to_string_lossy());
    ui.hint(Some(&format!("Next: imgplan validate -f {path}")))?;
    Ok(Exit::Success)
}

/// True for standard input and open descriptors, which are in no folder.
fn is_stream(input: &Path) -> bool {
    input == Path::new(STANDARD_STREAM) || input::is_device_path(input)
}

fn were(count: usize) -> String {
    match count {
        0 => "nothing was".to_owned(),
        1 => "1 field was".to_owned(),
        count => format!("{count} fields were"),
    }
}

fn exists(output: &Path) -> Failure {
    let message = format!("{} exists, and is not overwritten", shown_path(output));
    Failure::with_help(message, "name another file, or remove it first")
}

/// Returns the folders that the paths of the input and of the manifest are relative to.
fn folders(from: ForeignFormat, input: &Path, output: &Path) -> Result<Folders, Failure> {
    let canonical = |folder: &Path| {
        let at = |source| PathError { action: "find the folder", path: folder.to_owned(), source };
        folder.canonicalize().map_err(at)
    };
    let input = match from {
        ForeignFormat::Bake => Path::new("."),
        _ if is_stream(input) => Path::new("."),
        _ => folder_of(input),
    };
    Ok(Folders { input: canonical(input)?, output: canonical(folder_of(output))? })
}

fn convert(from: ForeignFormat, input: &Path, folders: &Folders) -> Result<Converted, Failure> {
    let text = read(input).map_err(|error| unreadable(input, &error))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let converted = match from {
        ForeignFormat::Bake => bake::convert(text, folders),
        ForeignFormat::Compose => compose::convert(text, folders),
        ForeignFormat::Prime => prime::convert(text, folders),
        ForeignFormat::Regsync => regsync::convert(text),
        ForeignFormat::Skopeo => skopeo::convert(text),
        ForeignFormat::Harbor => return Err(harbor(input)),
    };
    converted.map_err(|ConvertError { message, help }| {
        Failure::with_help(format!("cannot convert {}: {message}", shown_path(input)), help)
    })
}

/// Describes what a manifest says about Harbor tasks, which it reads itself.
fn harbor(input: &Path) -> Failure {
    let message = "Harbor tasks need no conversion: a manifest reads them itself";
    let path = shown_path(input);
    let entry = format!("add `- discover: {{ harbor: {path} }}` to `images` of imgplan.yaml");
    Failure::with_help(message, entry)
}

fn unreadable(input: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot read {}: {error}", shown_path(input)))
}

fn read(input: &Path) -> io::Result<String> {
    if input == Path::new(STANDARD_STREAM) {
        return input::read_text_argument(Path::new("/dev/stdin"), InputKind::Foreign);
    }
    input::read_text_argument(input, InputKind::Foreign)
}
