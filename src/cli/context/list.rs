//! `imgplan context list`: lists the files that are sent, or the largest directories.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::pack::pinned_externals;
use crate::base::size::bytes;
use crate::base::text::plural;
use crate::cli::failure::Failure;
use crate::cli::ui::Ui;
use crate::context::{EntryKind, Placement, RelPath, Tree};
use crate::manifest::workspace::BuildOrigin;
use crate::run;
use crate::state::State;

/// Lists the files and links that are sent, one per line, sorted by the bytes of their paths.
pub(super) fn list(
    ui: &mut Ui,
    tree: &Tree,
    build: &BuildOrigin,
    state: &State,
) -> Result<(), Failure> {
    let placement = placement(tree, build, state);
    let entries = tree.entries().iter().filter(|entry| !entry.kind.is_dir());
    let mut lines: Vec<(&RelPath, Value)> =
        entries.map(|entry| (&entry.path, object(&entry.path, &entry.kind))).collect();
    // Files that imgplan adds. They depend on the paths of bases, so they have no digest here.
    let generated = placement.files.iter().filter(|file| tree.get(file.path.as_bytes()).is_none());
    let object = |path: &RelPath| json!({ "path": path.to_string(), "generated": true });
    lines.extend(generated.map(|file| (&file.path, object(&file.path))));
    lines.sort_by_key(|(path, _)| *path);
    for (path, object) in lines {
        if ui.is_json() { ui.json_data(&object)? } else { ui.data(path)? }
    }
    Ok(())
}

/// Returns where the Dockerfile and its files go. A base that is not built counts as replaced, because
/// its path changes only the text.
fn placement(tree: &Tree, build: &BuildOrigin, state: &State) -> Placement {
    let text = build.dockerfile.text();
    let as_written = |range: &std::ops::Range<usize>| text[range.clone()].to_owned();
    let own = build.bases.iter().map(|base| (base.range.clone(), as_written(&base.range)));
    let bases: Vec<_> = own.chain(pinned_externals(build, state)).collect();
    run::placement(
        tree,
        &build.dockerfile,
        (build.dockerfile_inside.as_deref(), build.is_lowered()),
        &bases,
    )
}

fn object(path: &RelPath, kind: &EntryKind) -> Value {
    let path = path.to_string();
    match kind {
        EntryKind::File { size, permissions, digest } => json!({
            "path": path,
            "size": size,
            "mode": permissions.to_string(),
            "executable": permissions.executable(),
            "digest": digest,
        }),
        EntryKind::Link { target } => {
            json!({ "path": path, "target": String::from_utf8_lossy(target) })
        }
        EntryKind::Dir { .. } => json!({ "path": path }),
    }
}

/// Size and number of all files below a directory.
#[derive(Default)]
struct DirSize {
    size: u64,
    files: usize,
}

/// Lists the directories, the largest first; `.` is the whole context.
pub(super) fn list_by_size(ui: &mut Ui, tree: &Tree) -> Result<(), Failure> {
    let mut sizes: BTreeMap<String, DirSize> =
        BTreeMap::from([(".".to_owned(), DirSize::default())]);
    for entry in tree.entries() {
        let EntryKind::File { size, .. } = entry.kind else { continue };
        let mut folders = vec![".".to_owned()];
        folders.extend(entry.path.folders().map(|folder| format!("{folder}/")));
        for folder in folders {
            let total = sizes.entry(folder).or_default();
            total.size = total.size.saturating_add(size);
            total.files += 1;
        }
    }
    let mut sizes: Vec<(String, DirSize)> = sizes.into_iter().collect();
    sizes.sort_by(|(a, one), (b, other)| other.size.cmp(&one.size).then_with(|| a.cmp(b)));
    for (folder, DirSize { size, files }) in sizes {
        if ui.is_json() {
            ui.json_data(&json!({ "folder": folder, "size": size, "files": files }))?;
        } else {
            let files = plural(files, "file");
            ui.data(format_args!("{:>8}  {files:>11}  {folder}", bytes(size)))?;
        }
    }
    Ok(())
}
