//! Puts units into the groups whose patterns they match. Pure.

use super::image::Draft;
use super::resolve::Resolver;
use super::scalars::group_name;
use super::workspace::Unit;
use crate::base::glob::Glob;
use crate::base::span::Problem;

impl Resolver<'_> {
    /// Adds each group of the manifest to the units that its patterns match.
    pub(super) fn groups(&mut self, drafts: &[Draft<'_>], units: &mut [Unit]) {
        let said = self.scopes.iter().flat_map(|scope| scope.manifest.groups.iter().flatten());
        for (name, patterns) in said {
            if let Err((message, help)) = group_name(name) {
                self.report(message, name.span(), help);
                continue;
            }
            for pattern in patterns {
                if !add_matching(name, &pattern.0.value.0, drafts, units) {
                    let message = format!("no image matches `{}`", pattern.0.value.0);
                    let help = "a pattern stands for whole names, or for whole `name:tag` where \
                                it has a `:`; `*` is any run of characters";
                    let problem = Problem::new(message, pattern.span(), "here").help(help);
                    self.warnings.push(problem.warning());
                }
            }
        }
    }
}

/// Adds a group to the units that a pattern matches, by their own tag or by the image's, which
/// leaves the platform out. Whether there are any.
fn add_matching(group: &str, pattern: &Glob, drafts: &[Draft<'_>], units: &mut [Unit]) -> bool {
    let mut any = false;
    for draft in drafts {
        let whole = pattern.as_str().contains(':')
            && pattern.matches(&format!("{}:{}", draft.name, draft.tag));
        for &unit in &draft.units {
            let unit = &mut units[unit];
            if whole || pattern.matches_image(&unit.key) {
                unit.groups.insert(group.to_owned());
                any = true;
            }
        }
    }
    any
}
