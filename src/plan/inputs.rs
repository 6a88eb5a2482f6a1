//! Gathers what decides a unit's content. Pure. The table of what enters is at
//! [`Inputs`].

use super::Facts;
use crate::base::digest::{Digest, Fingerprint};
use crate::manifest::workspace::{Origin, UnitId, Workspace};
use crate::state::Inputs;

/// The inputs of a unit. `fingerprints` holds those of all units before it, and so of its bases:
/// a base's *fingerprint* is known at plan time, while the digest of its image is not.
pub fn inputs_of(
    workspace: &Workspace,
    facts: &Facts,
    unit: UnitId,
    fingerprints: &[Fingerprint],
) -> Inputs {
    let of = workspace.unit(unit);
    let mut inputs = Inputs::new();
    inputs.set("platform", of.platform);
    for &base in &of.needs {
        if let Some(fingerprint) = fingerprints.get(base.0) {
            inputs.set(format!("base {}", workspace.unit(base).key), fingerprint);
        }
    }
    match &of.origin {
        Origin::Mirror(source) => inputs.set("source", source),
        Origin::Build(build) => {
            if let Some(context) = facts.context(unit) {
                inputs.set("context", context.digest);
            }
            inputs.set("dockerfile", Digest::of(build.dockerfile.text().as_bytes()));
            if let Some(path) = &build.dockerfile_inside {
                inputs.set("dockerfile_path", path);
            }
        }
    }
    inputs
}
