//! `imgplan context`: the files that an image is built from.

mod digest;
mod find;
mod list;
mod pack;
mod why;

use self::find::{find, read_state, scan_one};
use super::args::{ContextArgs, ContextCommand};
use super::env::env;
use super::failure::{Exit, Failure};
use super::settings::Settings;
use super::ui::Ui;
use crate::manifest::Workspace;

pub(super) async fn run(
    ui: &mut Ui,
    settings: &Settings,
    args: ContextArgs,
) -> Result<Exit, Failure> {
    let workspace = Workspace::load(&settings.manifest, &env)?;
    match args.command {
        ContextCommand::List { image, by_size, .. } => {
            let (id, build) = find(&workspace, &image)?;
            let tree = scan_one(settings, &workspace, id)?;
            if by_size {
                list::list_by_size(ui, &tree)?;
            } else {
                list::list(ui, &tree, build, &read_state(settings, false).await?)?;
            }
        }
        ContextCommand::Digest { image, .. } => {
            let (id, _) = find(&workspace, &image)?;
            let state = read_state(settings, false).await?;
            digest::digest(ui, settings, &workspace, id, &state)?;
        }
        ContextCommand::Dockerfile { image, local, .. } => {
            let (id, build) = find(&workspace, &image)?;
            let state = read_state(settings, local).await?;
            let unit = workspace.unit(id);
            let bases = pack::base_replacements(ui, &workspace, unit, build, &state)?;
            let text = build.dockerfile.with_replaced(&bases);
            ui.document(&text)?;
        }
        ContextCommand::Why { image, path, .. } => {
            let (id, build) = find(&workspace, &image)?;
            why::why(ui, &workspace, id, build, &path)?;
        }
        ContextCommand::Pack { image, output, local, .. } => {
            let (id, build) = find(&workspace, &image)?;
            let state = read_state(settings, local).await?;
            let unit = workspace.unit(id);
            let bases = pack::base_replacements(ui, &workspace, unit, build, &state)?;
            let tree = scan_one(settings, &workspace, id)?;
            pack::pack(ui, &tree, build, &bases, &output)?;
        }
    }
    Ok(Exit::Success)
}
