//! Carries recorded mirrors over to the owner and the name that they have in the service. Pure.
//!
//! Earlier versions recorded the owner that they had asked for, and derived the name of a mirror of
//! Docker Hub as the service of August 2026 did. The name of such a mirror may also be one that the
//! manifest set, and that the service did not use.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::base::name::{ImageRef, Owner};
use crate::base::source_ref::SourceRef;
use crate::manifest::workspace::{Unit, Workspace};
use crate::state::{Built, Entry, Record, State};

/// Returns the records that carry all entries over.
pub(crate) fn carry_over(workspace: &Workspace, state: &State) -> Vec<Record> {
    let units: HashMap<&ImageRef, &Unit> =
        workspace.units.iter().map(|unit| (&unit.key, unit)).collect();
    let mut records = Vec::new();
    for (key, entry) in &state.entries {
        let successor = (!units.contains_key(key)).then(|| successor(&units, state, key, entry));
        let new_key = successor.flatten().map_or(key, |unit| &unit.key);
        let carried = carried(key, new_key, entry);
        if new_key != key {
            records.push(Record::Forgotten { unit: key.clone() });
        } else if matches!(carried, Cow::Borrowed(_)) {
            continue;
        }
        records.extend(records_of(new_key, carried.into_owned()));
    }
    records
}

/// Returns the unit that has the image of an entry without a unit: an earlier imgplan derived the key of
/// the entry, or the service chose the name of the image and the manifest no longer sets another one.
fn successor<'w>(
    units: &HashMap<&ImageRef, &'w Unit>,
    state: &State,
    key: &ImageRef,
    entry: &Entry,
) -> Option<&'w Unit> {
    let source = entry.inputs().next()?.source()?;
    let unit = *units.get(&source.platform_image()?)?;
    let image = entry.built.as_ref().map_or(key, |built| built.image(key));
    let is_of = |source: &SourceRef| source.destinations().contains(image);
    let is_successor = is_of(&source)
        && unit.source().is_some_and(is_of)
        && unit.platform == entry.platform
        && !state.entries.contains_key(&unit.key);
    is_successor.then_some(unit)
}

/// Returns an entry with the owner and the name that its image has in the service. Few change, so the
/// others are not copied.
fn carried<'e>(key: &ImageRef, new_key: &ImageRef, entry: &'e Entry) -> Cow<'e, Entry> {
    let mut carried = Cow::Borrowed(entry);
    if let Some(built) = &entry.built {
        let is_on_platform = built.inputs.is_on_platform(&built.path);
        let image = Some(image_name(built, key)).filter(|image| image != new_key);
        let is_moved = is_on_platform && built.owner != Owner::Platform;
        if (is_moved || image != built.image)
            && let Some(built) = &mut carried.to_mut().built
        {
            built.image = image;
            if is_on_platform {
                built.owner = Owner::Platform;
            }
        }
    }
    if let Some(pending) = &entry.pending
        && pending.owner != Owner::Platform
        && pending.inputs.is_on_platform(&pending.path)
        && let Some(pending) = &mut carried.to_mut().pending
    {
        pending.owner = Owner::Platform;
    }
    carried
}

/// Returns the name of a recorded image in the service: that of its path, if it is the platform's.
fn image_name(built: &Built, key: &ImageRef) -> ImageRef {
    let platform = || built.inputs.source()?.platform_image();
    let of_path = platform().filter(|_| built.inputs.is_on_platform(&built.path));
    of_path.unwrap_or_else(|| built.image(key).clone())
}

/// Returns the records that make an entry. The last failure is not among them: only the end of a build
/// records one.
fn records_of(key: &ImageRef, entry: Entry) -> Vec<Record> {
    let Entry { kind, platform, built, submitted, pending, failed: _, protect } = entry;
    let unit = || key.clone();
    let built =
        built.map(|built| Record::Known { unit: unit(), kind, platform, built: Some(built) });
    let submitted =
        submitted.map(|submission| Record::Submitting { unit: unit(), kind, platform, submission });
    let pending = pending.map(|pending| Record::Created { unit: unit(), kind, platform, pending });
    let protect = protect.then(|| Record::Protected { unit: unit(), kind, platform, protect });
    [built, pending, submitted, protect].into_iter().flatten().collect()
}
