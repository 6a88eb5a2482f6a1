//! Computes the inputs of a unit. Pure. All inputs are listed at [`Inputs`].

use super::facts::{Context, Facts};
use super::pins;
use crate::base::digest::{Digest, Fingerprint};
use crate::base::name::ImageRef;
use crate::base::reference::full_form;
use crate::manifest::workspace::{BuildOrigin, Origin, Unit, UnitId};
use crate::state::{Inputs, State};

/// Sets the inputs that are files.
pub(super) fn set_files(inputs: &mut Inputs, build: &BuildOrigin, context: Option<&Context>) {
    if let Some(context) = context {
        inputs.set("context", context.digest);
    }
    if let Some(instructions) = context.and_then(|context| context.instructions) {
        inputs.set("dockerfile", instructions);
        inputs.set("inputs", "reached");
        return;
    }
    inputs.set("dockerfile", Digest::of(build.dockerfile.text().as_bytes()));
    if let Some(path) = &build.dockerfile_inside {
        inputs.set("dockerfile_path", path);
    }
}

/// Returns the inputs of a unit. Bases count by their *fingerprint*, which is known at plan time;
/// the digest of their image is not.
pub(super) fn inputs<'b>(
    id: UnitId,
    unit: &Unit,
    bases: impl Iterator<Item = (&'b ImageRef, Fingerprint)>,
    replace_count: u32,
    facts: &Facts,
    state: &State,
) -> Inputs {
    let mut inputs = Inputs::new();
    inputs.set("platform", unit.platform);
    for (key, fingerprint) in bases {
        inputs.set(format!("base {key}"), fingerprint);
    }
    // Without a platform, the digest is that of the index of all platforms.
    let digest = |reference: &str, platform| {
        facts.pin_in(state, reference).and_then(|pin| pin.digest_for(platform))
    };
    match &unit.origin {
        Origin::Mirror(source) => {
            inputs.set("source", full_form(source.as_str()));
            if let Some(digest) = digest(source.as_str(), Some(unit.platform)) {
                inputs.set("digest", digest);
            }
        }
        Origin::Build(build) => {
            set_files(&mut inputs, build, facts.context(id));
            for (name, value) in &build.args {
                // More people can read the lockfile than the value is meant for.
                let digest = Digest::of(value.as_bytes());
                let [first, ..] = digest.as_bytes();
                inputs.set(format!("arg {name}"), format_args!("{first:02x}"));
            }
            if let Some(target) = &build.target {
                inputs.set("target", target);
            }
            for base in &build.externals {
                if let Some(digest) = digest(&base.image, base.platform) {
                    inputs.set(pins::base_input(base, unit.platform), digest);
                }
            }
        }
    }
    if replace_count > 0 {
        inputs.set("again", replace_count);
    }
    inputs
}
