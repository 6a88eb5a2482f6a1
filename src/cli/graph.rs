//! `imgplan graph`: prints the dependency graph. Reads only the manifest.

use super::args::{GraphArgs, GraphFormat};
use super::env::env;
use super::failure::{Exit, Failure};
use super::settings::Settings;
use super::ui::Ui;
use crate::manifest::Workspace;
use crate::plan::Pattern;
use crate::report::graph::Graph;

pub(super) fn run(ui: &mut Ui, settings: &Settings, args: GraphArgs) -> Result<Exit, Failure> {
    let patterns = args
        .images
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<Pattern>, _>>()
        .map_err(|error| Failure::with_help(error.message, error.help))?;
    let workspace = Workspace::load(&settings.manifest, &env)?;
    for pattern in &patterns {
        if !workspace.units.iter().any(|unit| pattern.matches(unit)) {
            let message = format!("the manifest has no image `{pattern}`");
            return Err(Failure::with_help(message, "`imgplan graph` shows all images"));
        }
    }
    let graph = Graph::of(&workspace, |unit| {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(unit))
    });
    let format = if ui.is_json() { GraphFormat::Json } else { args.format };
    match format {
        GraphFormat::Dot => ui.document(&format!("{}\n", graph.dot()))?,
        GraphFormat::Mermaid => ui.document(&format!("{}\n", graph.mermaid()))?,
        GraphFormat::Json => ui.json_data(&graph.json())?,
    }
    Ok(Exit::Success)
}
