//! Keeps the form of the lockfile's text where its content does not change. Pure.

use super::decode::decode;
use super::decoded::Decoded;
use super::encode::encode;
use super::{State, merge};

/// Returns the text to write for a state. Returns `None` if the text on disk has that content
/// already, even if another program has changed its form: line ends, quotes, a byte order mark.
pub(super) fn changed(on_disk: Option<&str>, service: &str, state: &State) -> Option<String> {
    let text = encode(service, state);
    let Some(on_disk) = on_disk else { return (*state != State::default()).then_some(text) };
    let text = if has_crlf(on_disk) { text.replace('\n', "\r\n") } else { text };
    let same = |decoded: Decoded| decoded.service == service && decoded.state == *state;
    let is_current = text == *on_disk
        || merge::first_conflict_marker(on_disk).is_none() && decode(on_disk).is_ok_and(same);
    (!is_current).then_some(text)
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
            assert_eq!(changed(Some(&on_disk), "s", &state), None, "{on_disk:?}");
            assert!(changed(Some(&on_disk), "t", &state).is_some(), "another service");
        }
        assert_eq!(changed(None, "s", &state), Some(text));
        assert_eq!(changed(None, "s", &State::default()), None, "an empty state needs no file");
    }

    #[test]
    fn a_changed_lockfile_keeps_its_line_ends() {
        let (old, _) = state_of("private");
        let (new, state) = state_of("public");
        let crlf = |text: &str| text.replace('\n', "\r\n");
        assert_eq!(changed(Some(&old), "s", &state), Some(new.clone()));
        assert_eq!(changed(Some(&crlf(&old)), "s", &state), Some(crlf(&new)));
        assert_eq!(changed(Some(&old.replacen('\n', "\r\n", 2)), "s", &state), Some(new.clone()));
        let mostly_crlf = crlf(&old).replacen("\r\n", "\n", 2);
        assert_eq!(changed(Some(&mostly_crlf), "s", &state), Some(crlf(&new)));
    }

    #[test]
    fn conflict_markers_are_removed() {
        let (text, state) = state_of("private");
        for text in [text.clone(), text.replace('\n', "\r\n")] {
            let end = if text.contains('\r') { "\r\n" } else { "\n" };
            let conflict = format!("<<<<<<< HEAD{end}{text}======={end}{text}>>>>>>> b{end}");
            assert_eq!(changed(Some(&conflict), "s", &state), Some(text));
        }
    }
}
