//! Reads a lockfile. Pure.
//!
//! There are two readers: `fast_path` turns a file that imgplan wrote, and nobody edited, into JSON,
//! which is parsed ten times as fast as YAML. That matters for every plan with thousands of units. All
//! other files (edited by hand, by another tool or by a merge) go to the YAML parser, and so do all
//! errors: its messages are better.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::{Error, Location, UserMessageFormatter};

use super::State;
use super::decoded::Decoded;
use super::error::LockfileError;
use super::fast_path::{self, KeyCounts};
use super::lockfile::{Entry, MAX_LOCKFILE_VERSION, Pin};
use super::merge;
use crate::base::name::{ImageRef, Platform};
use crate::base::plain_text::{deserialize_plain, deserialize_plain_keys};
use crate::base::reference::OciDigest;

/// Maximum number of YAML nodes in a lockfile, far above that of any real one. Limits of the parser
/// protect against aliases, which a lockfile does not have.
const MAX_YAML_NODES: usize = 50_000_000;

/// Maximum number of events of the YAML parser, which are about two per node.
const MAX_YAML_EVENTS: usize = 2 * MAX_YAML_NODES;

#[derive(Deserialize)]
struct LockfileDocument {
    version: u64,
    #[serde(deserialize_with = "deserialize_plain")]
    service: String,
    #[serde(default, deserialize_with = "deserialize_plain_keys")]
    pins: BTreeMap<String, PinBlock>,
    #[serde(default)]
    units: BTreeMap<ImageRef, Entry>,
}

#[derive(Deserialize)]
struct PinBlock {
    digest: OciDigest,
    #[serde(rename = "linux/amd64")]
    amd64: Option<OciDigest>,
    #[serde(rename = "linux/arm64")]
    arm64: Option<OciDigest>,
}

/// Reads the text of a lockfile. If it has conflict markers of git, both sides are read and merged.
///
/// # Errors
///
/// Fails if the file was written by a later imgplan, if its conflict markers are not balanced or a side
/// of the merge is not a lockfile, and if the text is not a lockfile.
pub fn decode(text: &str) -> Result<Decoded, LockfileError> {
    #[derive(Deserialize)]
    struct VersionOnly {
        version: u64,
    }

    // Some editors on Windows add a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(line) = merge::first_conflict_marker(text) {
        let merged = merge::sides(text)
            .map(|(ours, theirs)| Ok(merge::merge(decode(&ours)?, decode(&theirs)?)));
        return match merged.transpose() {
            Ok(Some(Some(merged))) => Ok(merged),
            Err(error @ LockfileError::Newer { .. }) => Err(error),
            Ok(_) | Err(_) => Err(LockfileError::Conflict(line)),
        };
    }
    let check_version = |version: u64| {
        if version > MAX_LOCKFILE_VERSION { Err(newer(version)) } else { Ok(()) }
    };
    let document: LockfileDocument = match read_fast(text) {
        Some(document) => document,
        None => read_yaml(text).or_else(|error| {
            // A later version may have another structure: then report the version instead.
            if let Ok(VersionOnly { version }) = read_yaml(text) {
                check_version(version)?;
            }
            Err(error)
        })?,
    };
    check_version(document.version)?;
    let pins = document.pins.into_iter().map(|(key, block)| (key, block.into())).collect();
    let state = State { entries: document.units, pins, ..State::default() };
    Ok(Decoded { service: document.service, state })
}

fn newer(version: u64) -> LockfileError {
    LockfileError::Newer { version, supported: MAX_LOCKFILE_VERSION }
}

/// Reads a lockfile as imgplan writes it. `None` if the file is different in any way.
fn read_fast(text: &str) -> Option<LockfileDocument> {
    let (json, keys_in_text) = fast_path::to_json(text)?;
    let document: LockfileDocument = serde_json::from_str(&json).ok()?;
    let input_count = |entry: &Entry| {
        let built = entry.built.as_ref().map(|built| &built.inputs);
        let submitted = entry.submitted.as_ref().map(|submitted| &submitted.inputs);
        let pending = entry.pending.as_ref().map(|pending| &pending.inputs);
        let inputs = [built, submitted, pending].into_iter().flatten();
        inputs.map(|inputs| inputs.0.len()).sum::<usize>()
    };
    let keys = KeyCounts {
        units: document.units.len() + document.pins.len(),
        inputs: document.units.values().map(input_count).sum(),
    };
    // Fewer keys than in the text means that a key was there twice, for example after a wrong merge.
    // The JSON parser accepts that; the YAML parser reports it.
    (keys == keys_in_text).then_some(document)
}

fn read_yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, LockfileError> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! { max_nodes: MAX_YAML_NODES, max_events: MAX_YAML_EVENTS },
    };
    let line = |at: Location| usize::try_from(at.line()).ok();
    serde_saphyr::from_str_with_options(text, options).map_err(|error| match error {
        Error::DuplicateMappingKey { key, location } => {
            let key = key.unwrap_or_default();
            LockfileError::Duplicate { key, line: line(location).unwrap_or_default() }
        }
        error => {
            let message = error.render_with_formatter(&UserMessageFormatter);
            let message = message.lines().next().unwrap_or_default().replace("\\n", ": ");
            LockfileError::Malformed { message, line: error.location().and_then(line) }
        }
    })
}

impl From<PinBlock> for Pin {
    fn from(block: PinBlock) -> Self {
        let amd64 = block.amd64.map(|digest| (Platform::Amd64, digest));
        let arm64 = block.arm64.map(|digest| (Platform::Arm64, digest));
        Self { digest: block.digest, platforms: amd64.into_iter().chain(arm64).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode::encode;
    use super::super::lockfile::{BuildStage, Built, Failed, Inputs, Pending, Submission};
    use super::*;
    use crate::base::digest::Digest;
    use crate::base::image_path::ImagePath;
    use crate::base::kind::ImageKind;
    use crate::base::name::{BuildId, Owner, Visibility};

    fn sample() -> State {
        let mut inputs = Inputs::default();
        inputs.set("context", Digest::of(b"c"));
        inputs.set("base base:3.12", "escaped\ttext # é");
        let fingerprint = inputs.fingerprint();
        let build = BuildId::new("b-1").unwrap();
        let entry = Entry {
            kind: ImageKind::Build,
            platform: Platform::Arm64,
            built: Some(Built {
                fingerprint,
                inputs: inputs.clone(),
                build: build.clone(),
                path: ImagePath::new("prime/x/api:v1").unwrap(),
                owner: Owner::Team("t 1".to_owned()),
                visibility: Visibility::Public,
                image: Some("other:v1".parse().unwrap()),
                completed: Some("2026-11-25T12:30:00Z".parse().unwrap()),
                seconds: Some(41),
            }),
            protect: true,
            submitted: Some(Submission {
                at: "2026-11-25T12:00:00Z".parse().unwrap(),
                fingerprint,
                inputs: inputs.clone(),
                owner: Owner::Personal,
                visibility: None,
            }),
            pending: Some(Pending {
                fingerprint,
                inputs: Inputs::default(),
                build: build.clone(),
                path: ImagePath::default(),
                owner: Owner::Personal,
                visibility: Visibility::Private,
                stage: BuildStage::Uploaded,
            }),
            failed: Some(Failed {
                fingerprint,
                build,
                error: Some("`a \"b\"` failed: C:\\d".to_owned()),
            }),
        };
        let keys = ["api:1.10", "a--b:latest", "ns/app:020"];
        let pin = Pin {
            digest: OciDigest::of(b"index"),
            platforms: BTreeMap::from([(Platform::Arm64, OciDigest::of(b"image"))]),
        };
        State {
            entries: keys.iter().map(|key| (key.parse().unwrap(), entry.clone())).collect(),
            pins: BTreeMap::from([("docker.io/library/redis:7".to_owned(), pin)]),
            entry_conflicts: BTreeMap::new(),
            pin_conflicts: BTreeMap::new(),
        }
    }

    #[test]
    fn a_lockfile_round_trips() {
        for state in [State::default(), sample()] {
            let text = encode("https://x", &state);
            let decoded = decode(&text).unwrap();
            assert_eq!(decoded, Decoded { service: "https://x".to_owned(), state });
            assert_eq!(encode(&decoded.service, &decoded.state), text);
        }
    }

    /// JSON leaves these characters as they are, and YAML forbids them or reads them as line breaks.
    #[test]
    fn characters_that_yaml_forbids_round_trip() {
        let mut state = sample();
        for c in ['\u{0}', '\u{7f}', '\u{85}', '\u{9b}', '\u{2028}', '\u{feff}', '\u{fffe}', '😀']
        {
            let built = state.entries.values_mut().next().unwrap().built.as_mut().unwrap();
            built.inputs.set("dockerfile_path", format!("a{c}b"));
            let text = encode("x", &state);
            assert_eq!(decode(&text).map(|decoded| decoded.state), Ok(state.clone()), "{text}");
        }
    }

    #[test]
    fn both_readers_agree() {
        let mut state = sample();
        let text = encode("x", &state);
        assert!(read_fast(&text).is_none(), "escapes are left to the YAML parser");
        for entry in state.entries.values_mut() {
            entry.built.as_mut().unwrap().inputs.set("base base:3.12", "plain # é");
            entry.submitted.as_mut().unwrap().inputs.set("base base:3.12", "plain # é");
        }
        let text = encode("x", &state);
        let slow: LockfileDocument = read_yaml(&text).unwrap();
        let fast = read_fast(&text).expect("the file is as imgplan writes it");
        assert_eq!(fast.units, slow.units);
        let first = text.find("  \"a--b").unwrap();
        let duplicated = format!("{text}{}", &text[first..]);
        assert!(read_fast(&duplicated).is_none(), "a duplicate unit is left to the YAML parser");
        assert!(matches!(decode(&duplicated), Err(LockfileError::Duplicate { .. })));
    }

    #[test]
    fn both_sides_of_a_merge_conflict_are_read() {
        let ours = sample();
        let mut theirs = sample();
        let (api, new) = ("api:1.10".parse().unwrap(), "new:1".parse().unwrap());
        theirs.entries.get_mut(&api).unwrap().failed = None;
        theirs.entries.insert(new, theirs.entries[&api].clone());
        let (text, other) = (encode("x", &ours), encode("x", &theirs));
        let conflict = format!("<<<<<<< HEAD\n{text}=======\n{other}>>>>>>> b\n");
        let merged = decode(&conflict).unwrap().state;
        assert_eq!(merged.entries.len(), 4, "entries of one side are kept");
        assert_eq!(merged.entries[&api], ours.entries[&api]);
        assert_eq!(merged.entry_conflicts.keys().collect::<Vec<_>>(), [&api]);
        assert_eq!(merged.entry_conflicts[&api], theirs.entries[&api]);
        assert_eq!(merged.pin_conflicts, BTreeMap::new(), "both sides have the same pins");
        let reference = "docker.io/library/redis:7";
        let digest = OciDigest::of(b"other");
        let pin = Pin { digest, platforms: BTreeMap::new() };
        theirs.pins.insert(reference.to_owned(), pin.clone());
        let pinned = conflict.replace(&other, &encode("x", &theirs));
        let pinned = decode(&pinned).unwrap().state;
        assert_eq!(pinned.pins, ours.pins);
        assert_eq!(pinned.pin_conflicts, BTreeMap::from([(reference.to_owned(), pin)]));
        let other_service = conflict.replacen("service: \"x\"", "service: \"y\"", 1);
        assert_eq!(decode(&other_service), Err(LockfileError::Conflict(1)));
        let later = conflict.replace("version: 2", "version: 9");
        assert_eq!(decode(&later), Err(newer(9)));
    }

    #[test]
    fn fields_that_older_versions_ignore_are_optional() {
        type Removal = (&'static str, &'static str, fn(&mut Entry));
        let mut state = sample();
        let mut later = encode("x", &state);
        let removals: [Removal; 2] = [
            ("2", "seconds: ", |entry| entry.built.as_mut().unwrap().seconds = None),
            ("1", "error: ", |entry| entry.failed.as_mut().unwrap().error = None),
        ];
        for (revision, field, remove) in removals {
            assert!(later.contains(&format!("revision: {revision}\n")), "{later}");
            state.entries.values_mut().for_each(remove);
            // As earlier versions write it.
            let before = encode("x", &state);
            assert!(!before.contains(field), "{before}");
            assert_eq!(decode(&before).unwrap().state, state);
            let lines = |text: &str| -> Vec<String> {
                let kept = |line: &&str| !line.contains(field) && !line.contains("revision: ");
                text.lines().filter(kept).map(str::to_owned).collect()
            };
            assert_eq!(lines(&later), lines(&before));
            later = before;
        }
        assert!(later.contains("revision: 0\n"), "{later}");
    }

    /// An older imgplan that drops the field rejects the file instead of acting on the wrong image.
    #[test]
    fn a_field_that_an_older_version_would_misread_raises_the_version() {
        type Change = fn(&mut State);
        let image: Change = |state| {
            let built = state.entries.values_mut().next().unwrap().built.as_mut();
            built.unwrap().image = Some("other:v1".parse().unwrap());
        };
        let protect: Change = |state| state.entries.values_mut().next().unwrap().protect = true;
        let pins: Change = |state| state.pins = sample().pins;
        let nothing: Change = |_| {};
        for (change, version) in [(nothing, 1), (image, 2), (protect, 2), (pins, 2)] {
            let mut state = sample();
            state.pins.clear();
            for entry in state.entries.values_mut() {
                entry.protect = false;
                entry.built.as_mut().unwrap().image = None;
            }
            change(&mut state);
            let text = encode("x", &state);
            assert!(text.contains(&format!("\nversion: {version}\n")), "{text}");
        }
    }

    #[test]
    fn unreadable_files_are_rejected() {
        let text = encode("x", &sample());
        assert_eq!(decode(&text.replace("version: 2", "version: 3")), Err(newer(3)));
        let conflict = format!("{text}<<<<<<< HEAD\n");
        assert!(matches!(decode(&conflict), Err(LockfileError::Conflict(_))));
        for (key, bad) in
            [("path", "p\\nRUN x"), ("service", "x\\u001b"), ("owner", "team:\\u202e")]
        {
            let at = text.find(&format!("{key}: \"")).unwrap() + key.len() + 3;
            let end = at + text[at..].find('"').unwrap();
            let edited = format!("{}{bad}{}", &text[..at], &text[end..]);
            let line = edited[..at].lines().count();
            let Err(LockfileError::Malformed { line: Some(found), .. }) = decode(&edited) else {
                panic!("{edited}");
            };
            assert_eq!(found, line, "{key}");
        }
        let edited = text.replace("docker.io/library/redis:7", "a\\nb");
        assert!(matches!(decode(&edited), Err(LockfileError::Malformed { .. })));
        for bad in ["", "[]", "version: x", "version: 1\n", "version: 1\nservice: a\nunits: 3\n"] {
            assert!(matches!(decode(bad), Err(LockfileError::Malformed { .. })), "{bad:?}");
        }
        let later = text.replace("revision: 1", "revision: 7\nnews: [1, 2]");
        assert_eq!(decode(&later).unwrap().state, sample());
    }
}
