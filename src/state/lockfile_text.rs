//! Keeps the form of the lockfile's text where its content does not change. Pure.

use super::decode::decode;
use super::decoded::Decoded;
use super::encode::encode;
use super::{State, merge};

/// Returns the text of a lockfile with the line ends of the text on disk.
pub(super) fn encode_like(on_disk: Option<&str>, service: &str, state: &State) -> String {
    let text = encode(service, state);
    if on_disk.is_some_and(has_crlf) { text.replace('\n', "\r\n") } else { text }
}

/// True if a text has this content, even if another program has changed its form: line ends, quotes,
/// a byte order mark. Conflict markers are not a matter of form.
pub(super) fn has_content(text: &str, service: &str, state: &State) -> bool {
    let same = |decoded: Decoded| decoded.service == service && decoded.state == *state;
    merge::first_conflict_marker(text).is_none() && decode(text).is_ok_and(same)
}

/// True if most lines end with CR LF, as git writes them on Windows.
fn has_crlf(text: &str) -> bool {
    2 * text.matches("\r\n").count() > text.matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_of(visibility: &str) -> (String, State) {
        let mut state = State::with_one_pending_build();
        for entry in state.entries.values_mut() {
            let pending = entry.pending.as_mut().unwrap();
            pending.visibility = visibility.parse().unwrap();
        }
        (encode("s", &state), state)
    }

    #[test]
    fn a_lockfile_of_another_form_is_left_alone() {
        let (text, state) = state_of("private");
        let crlf = text.replace('\n', "\r\n");
        let mixed = text.replacen('\n', "\r\n", 3);
        for on_disk in [
            text.clone(),
            crlf.clone(),
            mixed,
            format!("\u{feff}{crlf}"),
            format!("\u{feff}{text}"),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            text.replace('"', "'"),
            text.replace("private", "private  # by hand"),
        ] {
            assert!(has_content(&on_disk, "s", &state), "{on_disk:?}");
            assert!(!has_content(&on_disk, "t", &state), "another service");
            assert!(!has_content(&on_disk, "s", &State::default()));
        }
    }

    #[test]
    fn a_changed_lockfile_keeps_its_line_ends() {
        let (old, _) = state_of("private");
        let (new, state) = state_of("public");
        let crlf = |text: &str| text.replace('\n', "\r\n");
        for (on_disk, expected) in [
            (old.clone(), &new),
            (crlf(&old), &crlf(&new)),
            (old.replacen('\n', "\r\n", 2), &new),
            (crlf(&old).replacen("\r\n", "\n", 2), &crlf(&new)),
            (String::new(), &new),
        ] {
            assert_eq!(encode_like(Some(&on_disk), "s", &state), *expected, "{on_disk:?}");
        }
        assert_eq!(encode_like(None, "s", &state), new);
    }

    #[test]
    fn conflict_markers_are_not_a_matter_of_form() {
        let (text, state) = state_of("private");
        for text in [text.clone(), text.replace('\n', "\r\n")] {
            let end = if text.contains('\r') { "\r\n" } else { "\n" };
            let conflict = format!("<<<<<<< HEAD{end}{text}======={end}{text}>>>>>>> b{end}");
            assert!(!has_content(&conflict, "s", &state));
            assert_eq!(encode_like(Some(&conflict), "s", &state), text);
        }
    }
}
