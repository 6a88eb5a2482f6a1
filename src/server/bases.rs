//! The images of this server that a Dockerfile may use. The only account can see all images.

use std::sync::Arc;

use super::app::App;
use super::engine::{BaseImage, BaseImages};
use super::location::{DockerfileRef, Location, dockerfile_ref};
use super::model::StoredOrigin;
use super::state::ServerState;

/// The images of a server.
pub(super) struct ServerImages(pub(super) Arc<App>);

impl BaseImages for ServerImages {
    fn find(&self, reference: &str) -> Result<BaseImage, String> {
        let Self(app) = self;
        if app.form.vm_paths && reference.starts_with("vm/") {
            return Err(format!("`{reference}` is a storage path, which cannot be pulled"));
        }
        let path = app.form.without_registry(reference);
        let store = app.store();
        let state = store.state();
        let location = match dockerfile_ref(path.unwrap_or(reference)) {
            DockerfileRef::Foreign => return Ok(BaseImage::External),
            // An image that someone else pushed to the registry, or one of another registry.
            DockerfileRef::Bare(location) if path.is_some() && !state.is_taken(&location) => {
                return Ok(BaseImage::External);
            }
            DockerfileRef::Bare(location) if path.is_none() && is_external(state, &location) => {
                return Ok(BaseImage::External);
            }
            DockerfileRef::Own(location) | DockerfileRef::Bare(location) => location,
            DockerfileRef::Malformed => {
                return Err(format!(
                    "`{reference}` is not an image of this server: use \
                     prime/<owner>/<name>:<tag>"
                ));
            }
        };
        match pull_problem(state, &location) {
            Some(problem) => Err(format!("the base image `{reference}` {problem}")),
            None => Ok(BaseImage::Own(app.form.full_path(&location))),
        }
    }
}

/// True if a registry is asked for a reference without an owner: the platform has no image of that
/// name, or a copy of the registry's image.
fn is_external(state: &ServerState, location: &Location) -> bool {
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
