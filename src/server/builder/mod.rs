//! Stands in for a real build: checks what one would trip over, and says it so that a person
//! understands.

use super::app::App;
use super::model::Build;

/// Why a build fails, or nothing.
#[expect(clippy::unused_async, reason = "the checks come with the reader of Dockerfiles")]
pub(super) async fn check(_app: &App, _build: &Build) -> Result<(), String> {
    Ok(())
}
