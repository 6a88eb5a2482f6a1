//! `imgplan schema`: prints the JSON Schema of the manifest.

use super::args::SchemaArgs;
use super::failure::{Exit, Failure};
use super::ui::Ui;
use crate::base::file;
use crate::manifest;

pub(super) fn run(ui: &mut Ui, args: SchemaArgs) -> Result<Exit, Failure> {
    let text = manifest::schema();
    match args.output {
        Some(path) => file::replace(&path, text.as_bytes())?,
        None => ui.json_document(text.trim_end())?,
    }
    Ok(Exit::Success)
}
