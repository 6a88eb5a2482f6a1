//! Judges the `ONBUILD` triggers of base images. Pure.

use super::plain_file::{NO_DOWNLOADS, downloads, instruction_text};
use crate::dockerfile::PlainInstruction;
use crate::server::engine::config::BuildNetwork;

/// Returns the keyword of the first trigger that is refused, and the reason.
pub(super) fn refused(triggers: &[String], network: BuildNetwork) -> Option<(String, String)> {
    triggers.iter().find_map(|trigger| {
        let reason = if downloads(trigger, network) {
            Some(NO_DOWNLOADS.to_owned())
        } else {
            leads_out(trigger)
        };
        let keyword = trigger.split_whitespace().next().unwrap_or_default().to_owned();
        reason.map(|reason| (keyword, reason))
    })
}

/// Returns the reason for which a trigger may reach files of the server, whatever its quotes.
fn leads_out(trigger: &str) -> Option<String> {
    let bare: String = trigger.chars().filter(|c| !matches!(c, '"' | '\'' | '\\')).collect();
    let bare = bare.to_ascii_lowercase();
    if let Some(text) = ["--mount", "--from", "<<"].into_iter().find(|text| bare.contains(text)) {
        return Some(format!("`{text}` in a trigger may reach files of the server"));
    }
    let read = PlainInstruction::read(trigger.trim(), '\\');
    let Some(read) = read.filter(|read| !matches!(&*read.keyword, "FROM" | "ONBUILD")) else {
        return Some("the trigger is not an instruction on one line".to_owned());
    };
    instruction_text(&read).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_that_reach_out_are_found() {
        let judge = |trigger: &str| refused(&[trigger.to_owned()], BuildNetwork::None);
        for trigger in [
            "ADD http://127.0.0.1/x /",
            " add ${URL} /x",
            "ADD ht${X}tp://127.0.0.1/ /x",
            "ADD [\"http\\u003a//a\", \"/\"]",
            "ADD git@host:x /",
            "COPY --from=dir:/etc /",
            "COPY \"--fr\"om=dir:/etc /",
            "COPY --${X}rom=dir:/etc /",
            "RUN --mount=type=bind,from=containers-storage:[x]y,target=/m ls",
            "RUN --mo\"unt=type=cache\",target=/m ls",
            "RUN cat <<E",
            "RUN a \\",
            "--mount=type=bind true",
            "# escape=`",
        ] {
            assert!(judge(trigger).is_some(), "{trigger}");
        }
        for trigger in ["COPY . /app", "ADD app.tar /", "COPY --chown=a:b x /x", "RUN make"] {
            assert_eq!(judge(trigger), None, "{trigger}");
        }
    }

    #[test]
    fn downloads_are_allowed_with_the_network_of_the_machine() {
        let judge = |trigger: &str| refused(&[trigger.to_owned()], BuildNetwork::Host);
        assert_eq!(judge("ADD http://127.0.0.1/x /"), None);
        assert_eq!(judge("COPY --from=dir:/etc / /").unwrap().0, "COPY");
    }
}
