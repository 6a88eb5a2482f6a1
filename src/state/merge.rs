//! Merges the two sides of a lockfile that has conflict markers of git. Entries that differ between
//! the sides are kept twice; the planner chooses one of them by the manifest. Pure.

use std::collections::BTreeMap;

use super::State;
use super::decoded::Decoded;

// The conflict markers of git. The name of a side may follow each but the separator.
const OURS: &str = "<<<<<<<";
const BASE: &str = "|||||||";
const SEPARATOR: &str = "=======";
const THEIRS: &str = ">>>>>>>";

/// The part of a conflict that a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Both,
    Ours,
    /// The common ancestor, which git writes if `merge.conflictStyle` is `diff3`.
    Base,
    Theirs,
}

/// Splits a text with conflict markers into the texts of both sides. `None` if there are no markers,
/// or not in the right order.
pub(super) fn sides(text: &str) -> Option<(String, String)> {
    let (mut ours, mut theirs) = (String::new(), String::new());
    let (mut side, mut markers) = (Side::Both, 0);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\r', '\n']);
        let next = match side {
            Side::Both if has_marker(OURS, bare) => Some(Side::Ours),
            Side::Ours if has_marker(BASE, bare) => Some(Side::Base),
            Side::Ours | Side::Base if bare == SEPARATOR => Some(Side::Theirs),
            Side::Theirs if has_marker(THEIRS, bare) => Some(Side::Both),
            _ => None,
        };
        if let Some(next) = next {
            side = next;
            markers += 1;
            continue;
        }
        if is_conflict_marker(bare) {
            return None;
        }
        if matches!(side, Side::Both | Side::Ours) {
            ours.push_str(line);
        }
        if matches!(side, Side::Both | Side::Theirs) {
            theirs.push_str(line);
        }
    }
    (markers > 0 && side == Side::Both).then_some((ours, theirs))
}

/// True if the line is this marker. A longer run of the character is not: git writes it for conflicts
/// inside the common ancestor.
fn has_marker(marker: &str, line: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|name| name.is_empty() || name.starts_with(' '))
}

fn is_conflict_marker(line: &str) -> bool {
    line == SEPARATOR || [OURS, BASE, THEIRS].iter().any(|marker| has_marker(marker, line))
}

/// Returns the number of the first line with a conflict marker, from 1.
pub(super) fn first_conflict_marker(text: &str) -> Option<usize> {
    text.lines().position(is_conflict_marker).map(|index| index + 1)
}

/// Merges both sides. If an entry differs, ours is used, and theirs is kept in
/// [`State::entry_conflicts`]. `None` if the sides belong to different services.
pub(super) fn merge(ours: Decoded, theirs: Decoded) -> Option<Decoded> {
    if ours.service != theirs.service {
        return None;
    }
    let Decoded { service, state: State { mut entries, mut pins, .. } } = ours;
    let (mut entry_conflicts, mut pin_conflicts) = (BTreeMap::new(), BTreeMap::new());
    for (key, theirs) in theirs.state.entries {
        match entries.get_mut(&key) {
            None => {
                entries.insert(key, theirs);
            }
            Some(ours) if *ours != theirs => {
                // Protection by one side is enough.
                ours.protect |= theirs.protect;
                entry_conflicts.insert(key, theirs);
            }
            Some(_) => {}
        }
    }
    for (reference, pin) in theirs.state.pins {
        match pins.get(&reference) {
            None => {
                pins.insert(reference, pin);
            }
            Some(ours) if *ours != pin => {
                pin_conflicts.insert(reference, pin);
            }
            Some(_) => {}
        }
    }
    Some(Decoded { service, state: State { entries, pins, entry_conflicts, pin_conflicts } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_is_split_into_two_sides() {
        let text = "a\n<<<<<<< HEAD\nb\n=======\nc\nd\n>>>>>>> branch\ne\n";
        assert_eq!(sides(text), Some(("a\nb\ne\n".into(), "a\nc\nd\ne\n".into())));
        let diff3 = "<<<<<<< x\r\nb\r\n||||||| y\r\nz\r\n=======\r\n>>>>>>> x\r\n";
        assert_eq!(sides(diff3), Some(("b\r\n".into(), String::new())));
        assert_eq!(first_conflict_marker(text), Some(2));
        for unbalanced in [
            "a\n",
            "<<<<<<< x\na\n",
            "=======\n",
            "<<<<<<< x\n>>>>>>> y\n",
            "<<<<<<< x\n=======\n=======\n>>>>>>> y\n",
            "<<<<<<< x\n<<<<<<< x\n=======\n>>>>>>> y\n",
        ] {
            assert_eq!(sides(unbalanced), None, "{unbalanced}");
        }
    }
}
