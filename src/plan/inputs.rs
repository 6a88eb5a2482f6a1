//! Gathers what decides a unit's content. Pure. The table of what enters is at
//! [`Inputs`].

use std::collections::HashMap;

use super::facts::Facts;
use super::pins;
use crate::base::digest::{Digest, Fingerprint};
use crate::base::name::{ImageRef, Platform};
use crate::base::reference::{OciDigest, full_form};
use crate::manifest::workspace::{Origin, UnitId, Workspace};
use crate::state::{Inputs, State};

/// What a unit's content is decided by, and how it was found.
pub(super) struct Sources<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) facts: &'a Facts,
    pub(super) state: &'a State,
    /// The names of units whose tag holds the fingerprint of their content.
    pub(super) settled: &'a HashMap<UnitId, ImageRef>,
}

impl Sources<'_> {
    /// The inputs of a unit. `fingerprints` holds those of all units before it, and so of its bases:
    /// a base's *fingerprint* is known at plan time, while the digest of its image is not.
    pub(super) fn inputs(&self, unit: UnitId, fingerprints: &[Fingerprint], again: u32) -> Inputs {
        let of = self.workspace.unit(unit);
        let mut inputs = Inputs::new();
        inputs.set("platform", of.platform);
        for &base in &of.needs {
            if let Some(fingerprint) = fingerprints.get(base.0) {
                let open = &self.workspace.unit(base).key;
                let key = self.settled.get(&base).unwrap_or(open);
                inputs.set(format!("base {key}"), fingerprint);
            }
        }
        match &of.origin {
            Origin::Mirror(source) => {
                inputs.set("source", full_form(source.as_str()));
                if let Some(digest) = self.pinned(source.as_str(), Some(of.platform)) {
                    inputs.set("digest", digest);
                }
            }
            Origin::Build(build) => {
                if let Some(context) = self.facts.context(unit) {
                    inputs.set("context", context.digest);
                }
                inputs.set("dockerfile", Digest::of(build.dockerfile.text().as_bytes()));
                if let Some(path) = &build.dockerfile_inside {
                    inputs.set("dockerfile_path", path);
                }
                for (name, value) in &build.args {
                    // The lockfile is read by more people than the value is meant for.
                    let digest = Digest::of(value.as_bytes());
                    let [first, ..] = digest.as_bytes();
                    inputs.set(format!("arg {name}"), format_args!("{first:02x}"));
                }
                if let Some(target) = &build.target {
                    inputs.set("target", target);
                }
                for base in &build.externals {
                    if let Some(digest) = self.pinned(&base.image, base.platform) {
                        inputs.set(pins::from_key(base, of.platform), digest);
                    }
                }
            }
        }
        if again > 0 {
            inputs.set("again", again);
        }
        inputs
    }

    /// The digest that a reference is pinned to on one platform; without one, of all that it names.
    fn pinned(&self, reference: &str, platform: Option<Platform>) -> Option<OciDigest> {
        self.facts.pin_in(self.state, reference)?.digest_for(platform)
    }
}
