//! Reads a lockfile that git could not merge: what both sides agree on is taken, and of what they do
//! not, both are kept until the manifest decides. Pure.

use std::collections::BTreeMap;

use super::State;
use super::encode::Decoded;

/// The marks that git puts around what it could not merge; but for that in the middle, each may
/// have the name of a side behind it.
const OURS: &str = "<<<<<<<";
const BASE: &str = "|||||||";
const BETWEEN: &str = "=======";
const THEIRS: &str = ">>>>>>>";

/// Which lines are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Both,
    Ours,
    /// What both came from, which a merge in the style of diff3 shows as well.
    Base,
    Theirs,
}

/// The text as each side has it; `None` where there are no marks, or not in their order.
pub(super) fn sides(text: &str) -> Option<(String, String)> {
    let (mut ours, mut theirs) = (String::new(), String::new());
    let (mut side, mut marks) = (Side::Both, 0);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\r', '\n']);
        let next = match side {
            Side::Both if is(OURS, bare) => Some(Side::Ours),
            Side::Ours if is(BASE, bare) => Some(Side::Base),
            Side::Ours | Side::Base if bare == BETWEEN => Some(Side::Theirs),
            Side::Theirs if is(THEIRS, bare) => Some(Side::Both),
            _ => None,
        };
        if let Some(next) = next {
            side = next;
            marks += 1;
            continue;
        }
        if is_mark(bare) {
            return None;
        }
        if matches!(side, Side::Both | Side::Ours) {
            ours.push_str(line);
        }
        if matches!(side, Side::Both | Side::Theirs) {
            theirs.push_str(line);
        }
    }
    (marks > 0 && side == Side::Both).then_some((ours, theirs))
}

/// Whether a line is this mark. Longer ones are those of a merge of what both came from.
fn is(mark: &str, line: &str) -> bool {
    line.strip_prefix(mark).is_some_and(|name| name.is_empty() || name.starts_with(' '))
}

/// Whether a line is one of the marks.
fn is_mark(line: &str) -> bool {
    line == BETWEEN || [OURS, BASE, THEIRS].iter().any(|mark| is(mark, line))
}

/// The first line with a mark, counted from 1.
pub(super) fn first_mark(text: &str) -> Option<usize> {
    text.lines().position(is_mark).map(|index| index + 1)
}

/// Both sides in one. Of an entry that they do not agree on, ours is in its place and theirs is its
/// rival. Sides that speak of two services have nothing in common.
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
                // To be protected by one side is to be protected.
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
    fn each_side_is_read_whole() {
        let text = "a\n<<<<<<< HEAD\nb\n=======\nc\nd\n>>>>>>> branch\ne\n";
        assert_eq!(sides(text), Some(("a\nb\ne\n".into(), "a\nc\nd\ne\n".into())));
        let three = "<<<<<<< x\r\nb\r\n||||||| y\r\nz\r\n=======\r\n>>>>>>> x\r\n";
        assert_eq!(sides(three), Some(("b\r\n".into(), String::new())));
        assert_eq!(first_mark(text), Some(2));
        for odd in [
            "a\n",
            "<<<<<<< x\na\n",
            "=======\n",
            "<<<<<<< x\n>>>>>>> y\n",
            "<<<<<<< x\n=======\n=======\n>>>>>>> y\n",
            "<<<<<<< x\n<<<<<<< x\n=======\n>>>>>>> y\n",
        ] {
            assert_eq!(sides(odd), None, "{odd}");
        }
    }
}
