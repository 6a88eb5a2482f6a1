//! Adds units to the groups whose patterns match them. Pure.

use super::diagnostics::Diagnostics;
use super::expand::Scope;
use super::scalars::check_group_name;
use super::workspace::Unit;
use crate::base::glob::Glob;

/// Adds each group of the manifest to the units that its patterns match.
pub(super) fn add(scopes: &[Scope], units: &mut [Unit], diagnostics: &mut Diagnostics) {
    for (name, patterns) in scopes.iter().flat_map(|scope| scope.manifest.groups.iter().flatten()) {
        if let Err(error) = check_group_name(name) {
            diagnostics.error(error.message, name.span(), error.help);
            continue;
        }
        for pattern in patterns {
            if !add_matching(name, pattern, units) {
                let message = format!("no image matches `{}`", **pattern);
                let help = "a pattern matches whole names, or with a `:` whole `name:tag`; `*` \
                            matches any characters";
                diagnostics.warn(message, pattern.span(), help);
            }
        }
    }
}

/// Adds a group to the units that a pattern matches, by any of their names. Returns false if there are
/// none.
fn add_matching(group: &str, pattern: &Glob, units: &mut [Unit]) -> bool {
    let mut any = false;
    for unit in units {
        let matches = |name| pattern.matches_image(&name);
        if pattern.matches_image(&unit.key) || unit.other_names().any(matches) {
            unit.groups.insert(group.to_owned());
            any = true;
        }
    }
    any
}
