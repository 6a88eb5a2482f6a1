//! Writes the reports of a run to the files that the arguments name.

use std::path::{Path, PathBuf};

use super::args::{JsonIntoArgs, ReportFile, ReportFormat, RunFileArgs, ServiceArgs};
use super::door::json_text;
use super::failure::Failure;
use super::settings::Settings;
use crate::base::file::{self, PathError};
use crate::base::input::is_device_path;
use crate::report::run_report::{self, RunView};

impl RunFileArgs {
    /// Fails if a file cannot be written, or if a flag names a file that another one names, or that
    /// imgplan reads. Called before anything is written or sent.
    pub(super) fn check(
        &self,
        settings: &Settings,
        service: &ServiceArgs,
        json_into: &JsonIntoArgs,
    ) -> Result<(), Failure> {
        let json_into = json_into.json_into.as_deref().map(|path| ("--json-into", path));
        let files: Vec<(&str, &Path)> = self.paths().chain(json_into).collect();
        check_distinct(settings, service, &files)?;
        self.paths().try_for_each(|(_, path)| Ok(file::check_writable(path)?))
    }

    fn reports(&self) -> impl Iterator<Item = &ReportFile> {
        self.reports.iter().flat_map(|lines| &lines.0)
    }

    /// Returns the flags with the files that they name.
    fn paths(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let reports = self.reports().map(|report| ("--report", report.path.as_path()));
        let junit = self.junit.as_deref().map(|path| ("--junit", path));
        let metadata = self.metadata_file.as_deref().map(|path| ("--metadata-file", path));
        reports.chain(junit).chain(metadata)
    }

    /// Writes all files, and returns the error if some could not be written.
    pub(super) fn write(&self, view: &RunView<'_>) -> Option<Failure> {
        let report = |ReportFile { path, format }: &ReportFile| {
            let text = match format {
                ReportFormat::Html => run_report::html(view),
                ReportFormat::Markdown => run_report::markdown(view),
            };
            file::replace(path, text.as_bytes())
        };
        let junit = |path| file::replace(path, run_report::junit(view).as_bytes());
        let metadata =
            |path| file::replace(path, json_text(&run_report::metadata(view)).as_bytes());
        let reports = self.reports().map(report);
        let junit = self.junit.as_deref().map(junit);
        let metadata = self.metadata_file.as_deref().map(metadata);
        let mut errors = reports.chain(junit).chain(metadata).filter_map(Result::err);
        let (first, others): (PathError, Vec<PathError>) = (errors.next()?, errors.collect());
        if others.is_empty() {
            return Some(first.into());
        }
        let all = [first].into_iter().chain(others);
        let lines = all.map(|error| format!("  {error}: {}", error.source)).collect();
        let help = "the results are in the lockfile; only these files are missing";
        Some(Failure::with_lines("cannot write the reports of the run", lines, help))
    }
}

/// Fails if two flags name the same file, or if one names the manifest or the lockfile. Devices may be
/// named twice.
pub(super) fn check_distinct(
    settings: &Settings,
    service: &ServiceArgs,
    files: &[(&str, &Path)],
) -> Result<(), Failure> {
    let lockfile = service.paths(&settings.root()).lockfile;
    let manifests = settings.manifest.files.iter().map(PathBuf::as_path);
    let manifests = manifests.chain([settings.manifest.first()]);
    let mut taken: Vec<(&str, PathBuf)> =
        manifests.map(|path| ("the manifest", resolved(path))).collect();
    taken.push(("the lockfile", resolved(&lockfile)));
    for &(flag, path) in files.iter().filter(|(_, path)| !is_device_path(path)) {
        let resolved = resolved(path);
        if let Some((other, _)) = taken.iter().find(|(_, taken)| *taken == resolved) {
            let path = path.display();
            return Err(Failure::usage(
                format!("{flag} {path} would replace {other}"),
                "name another file".to_owned(),
            ));
        }
        taken.push((flag, resolved));
    }
    Ok(())
}

/// Returns the path with the links of its folder followed: the file itself may not exist yet.
fn resolved(path: &Path) -> PathBuf {
    let folder = file::folder_of(path);
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder.join(path.file_name().unwrap_or_default())
}
