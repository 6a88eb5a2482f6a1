//! Checks a build for the errors that a real one would have.
//!
//! The archive must unpack; it must contain the Dockerfile, which must parse; the copied files must
//! exist; and base images of this server must exist. The only account can see all images.

mod archive;

use tokio_util::sync::CancellationToken;

use super::app::App;
use super::build_log::BuildLog;
use super::descriptors::open_patiently;
use super::location::{DockerfileRef, Location, dockerfile_ref};
use super::model::{StoredBuild, StoredOrigin};
use super::state::ServerState;
use crate::base::name::Platform;
use crate::base::size::bytes;
use crate::base::text::plural;
use crate::base::work_dir::WorkName;
use crate::dockerfile::reached::ReadBy;
use crate::dockerfile::{Dockerfile, ReachRequest};

/// A line of the Dockerfile, and an image or an error in it.
type AtLine = (usize, String);

/// Checks a build, and writes what it checks to the log.
///
/// # Errors
/// Fails with the errors of the build, in the words of a build log.
pub(super) async fn check(
    app: &App,
    build: &StoredBuild,
    log: &BuildLog,
    cancel: &CancellationToken,
) -> Result<(), String> {
    let StoredOrigin::Context { dockerfile_path, .. } = &build.origin else { return Ok(()) };
    let _core = app.cores.acquire().await;
    let name = WorkName::upload(&build.id);
    let file = open_patiently(|| app.uploads.open_file(&name)).await.map_err(|error| {
        format!("the server cannot read the uploaded context: {}", error.source)
    })?;
    log.line("Nothing is built: this server checks what a build needs.");
    let (platform, dockerfile, stop) = (build.platform, dockerfile_path.clone(), cancel.clone());
    let read = tokio::task::spawn_blocking(move || {
        let (contents, text) = archive::read(&file, &dockerfile, &stop)?;
        let checked = check_dockerfile(&text, platform, &contents);
        Ok::<_, String>((contents.files, contents.bytes, checked))
    });
    let (files, size, (bases, mut problems)) =
        read.await.map_err(|_| "the server could not read the context".to_owned())??;
    log.line(&format!("context: {}, {}", plural(files, "file"), bytes(size)));
    log.line(&format!("{dockerfile_path}: {}", plural(bases.len(), "base image")));
    for (line, image) in &bases {
        log.line(&format!("  line {line}: {image}"));
    }
    let store = app.store();
    let missing = bases
        .iter()
        .filter_map(|(line, image)| Some((*line, check_base(app, store.state(), image)?)));
    problems.extend(missing);
    problems.sort_by_key(|(line, _)| *line);
    if problems.is_empty() { Ok(()) } else { Err(report(dockerfile_path, &problems)) }
}

/// Returns the base images of a Dockerfile, and its errors.
fn check_dockerfile(
    text: &str,
    platform: Platform,
    contents: &archive::Contents,
) -> (Vec<AtLine>, Vec<AtLine>) {
    let line = |at: usize| 1 + text.get(..at).unwrap_or(text).matches('\n').count();
    let dockerfile = match Dockerfile::parse(text) {
        Ok(dockerfile) => dockerfile,
        Err(errors) => {
            let problem = |error: crate::dockerfile::DockerfileError| {
                (line(error.span.start), error.to_string())
            };
            return (Vec::new(), errors.into_iter().map(problem).collect());
        }
    };
    let Ok(reach) = dockerfile.reach(&ReachRequest::new(platform)) else {
        return (Vec::new(), Vec::new());
    };
    let mut bases = Vec::new();
    let errors = reach.errors.into_iter();
    let mut problems: Vec<AtLine> =
        errors.map(|error| (line(error.span.start), error.to_string())).collect();
    for reference in reach.references {
        let line = line(reference.span.start);
        match reference.image {
            Ok(image) => bases.push((line, image)),
            Err(unresolved) => problems.push((line, unresolved.to_string())),
        }
    }
    for source in reach.paths {
        let is_known = source.certain && source.resolved;
        let (true, Some(span)) = (is_known, source.span) else { continue };
        if source.read_by != ReadBy::Mount && !contents.has(&source.path) {
            let line = line(span.start);
            problems.push((line, format!("`{}` is not in the build context", source.path)));
        }
    }
    (bases, problems)
}

/// Returns the error of a base image, or `None` if it is usable or of another registry.
fn check_base(app: &App, state: &ServerState, image: &str) -> Option<String> {
    if app.form.vm_paths && image.starts_with("vm/") {
        return Some(format!("`{image}` is a storage path, which cannot be pulled"));
    }
    let location = match dockerfile_ref(image) {
        DockerfileRef::Foreign => return None,
        DockerfileRef::Bare(location) if is_in_registry(state, &location) => return None,
        DockerfileRef::Own(location) | DockerfileRef::Bare(location) => location,
        DockerfileRef::Malformed => {
            return Some(format!(
                "`{image}` is not an image of this server: use prime/<owner>/<name>:<tag>"
            ));
        }
    };
    let problem = pull_problem(state, &location)?;
    Some(format!("the base image `{image}` {problem}"))
}

/// True if a registry is asked for a reference without an owner: the platform has no image of that
/// name, or a copy of the registry's image.
fn is_in_registry(state: &ServerState, location: &Location) -> bool {
    let mut builds = state.builds_at(location);
    let copied = builds.all(|build| matches!(build.origin, StoredOrigin::Transfer { .. }));
    copied || !state.is_taken(location)
}

/// Returns why an image cannot be pulled, or `None` if it can.
fn pull_problem(state: &ServerState, location: &Location) -> Option<String> {
    if state.image(location).is_some() {
        return None;
    }
    Some(state.builds_at(location).next().map_or_else(
        || "does not exist".to_owned(),
        |build| format!("is not COMPLETED: its last build is {}", build.status.as_str()),
    ))
}

fn report(dockerfile: &str, problems: &[AtLine]) -> String {
    let lines = problems.iter().map(|(line, problem)| format!("line {line}: {problem}"));
    format!("{dockerfile}: {}", lines.collect::<Vec<_>>().join("; "))
}
