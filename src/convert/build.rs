//! Turns the fields of one build, which Bake and Compose share, into an entry. Pure.

use super::draft::{DraftImage, DraftOrigin};
use super::dropped::{DropList, ItemPlace};
use super::folders::Folders;
use super::read::{NamedValue, NamedValues};
use crate::base::name::Platform;

/// Arguments by which BuildKit is configured; a Dockerfile does not see their values.
const BUILDKIT_OPTIONS: [&str; 9] = [
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SYNTAX",
    "SOURCE_DATE_EPOCH",
];

/// Ends of the words in names of arguments that are secrets, in the singular.
const SECRET_WORDS: [&str; 6] = ["TOKEN", "PASSWORD", "PASSWD", "SECRET", "CREDENTIAL", "KEY"];

/// Beginnings of contexts that are not folders of this machine.
const REMOTE_CONTEXTS: [&str; 3] = ["git@", "github.com/", "target:"];

/// Fields of a build, as the other tool has them.
#[derive(Debug, Default)]
pub(super) struct BuildFields {
    pub(super) context: Option<String>,
    /// Path of the Dockerfile, relative to the context.
    pub(super) dockerfile: Option<String>,
    /// Field with the text of the Dockerfile itself, if the file has it.
    pub(super) inline: Option<&'static str>,
    pub(super) args: NamedValues,
    pub(super) target: Option<String>,
    pub(super) platforms: Vec<String>,
    /// Field that lists the platforms.
    pub(super) platforms_field: &'static str,
}

/// Returns the entry of a build, without its names; `None` if the image is dropped.
pub(super) fn image(
    fields: BuildFields,
    folders: &Folders,
    (place, dropped): (&ItemPlace, &mut DropList),
) -> Option<DraftImage> {
    if let Some(field) = fields.inline {
        let reason = "the image is left out: write its Dockerfile to a file, and name it here";
        dropped.add(place, field, reason);
        return None;
    }
    let context = fields.context.filter(|context| !context.is_empty());
    let context = context.as_deref().unwrap_or(".");
    let context = context.strip_prefix("cwd://").unwrap_or(context);
    if is_remote(context) {
        let reason =
            "the image is left out: its context is no folder; clone it, and name the folder";
        dropped.add(place, "context", reason);
        return None;
    }
    let dockerfile = fields.dockerfile.filter(|path| !path.is_empty() && path != "Dockerfile");
    let dockerfile = match dockerfile {
        Some(path) if is_remote(&path) => {
            dropped.add(place, "dockerfile", "the image is left out: its Dockerfile is no file");
            return None;
        }
        Some(path) if path.starts_with('/') => Some(folders.of_context(context, &path)),
        path => path.map(Some),
    };
    let (Some(path), None | Some(Some(_))) = (folders.of_manifest(context), &dockerfile) else {
        dropped.add(place, "context", "the image is left out: no relative path leads there");
        return None;
    };
    let mut image =
        DraftImage::new(DraftOrigin::Context { path, dockerfile: dockerfile.flatten() });
    image.platforms = platforms(&fields.platforms, fields.platforms_field, (place, dropped))?;
    image.target = fields.target.filter(|target| !target.trim().is_empty());
    image.args = args(fields.args, (place, dropped));
    Some(image)
}

/// True for a context or a Dockerfile that is not a path.
fn is_remote(path: &str) -> bool {
    path == "-" || path.contains("://") || REMOTE_CONTEXTS.iter().any(|it| path.starts_with(it))
}

/// Returns the platforms that the service has. `None` if it has none of several: the image is dropped.
pub(super) fn platforms(
    texts: &[String],
    field: &str,
    (place, dropped): (&ItemPlace, &mut DropList),
) -> Option<Vec<Platform>> {
    let (mut platforms, mut unknown) = (Vec::new(), false);
    for text in texts.iter().flat_map(|text| text.split(',')).map(str::trim) {
        match text.strip_suffix("/v8").unwrap_or(text).parse() {
            Ok(platform) if platforms.contains(&platform) => {}
            Ok(platform) => platforms.push(platform),
            // The platform of the builder, whichever it is.
            Err(_) if text == "local" => {}
            Err(_) => {
                unknown = true;
                dropped.add(place, field, format!("the service does not build for {text}"));
            }
        }
    }
    if platforms.is_empty() && unknown {
        dropped.add(place, "", "the image is left out: the service has none of its platforms");
        return None;
    }
    Some(platforms)
}

fn args(
    values: NamedValues,
    (place, dropped): (&ItemPlace, &mut DropList),
) -> Vec<(String, String)> {
    let mut args = Vec::new();
    for (name, value) in values.0 {
        let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let is_name =
            name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit());
        let reason = match &value {
            _ if BUILDKIT_OPTIONS.contains(&&*name) => "it configures BuildKit, not the image",
            _ if !is_name => "no ARG can have this name",
            NamedValue::Missing => "its value comes from the environment: write it into `args:`",
            _ if is_secret(&name) => "it looks like a secret: write `${NAME}` into `args:`",
            NamedValue::Unclear => "it is no text: quote it",
            NamedValue::Text(value) if value.contains(['\n', '\r', '\0']) => {
                "no ARG can hold a line break"
            }
            NamedValue::Text(value) if value.contains("{arch}") => "`{arch}` would be replaced",
            NamedValue::Text(_) => "",
        };
        let reason = reason.replace("NAME", &name);
        match value {
            NamedValue::Text(value) if reason.is_empty() => args.push((name, value)),
            _ => dropped.add(place, &format!("args.{name}"), reason),
        }
    }
    // Two builds with the same arguments are one, whatever their order.
    args.sort_unstable();
    args
}

/// True for the name of an argument that says that its value is a secret.
fn is_secret(name: &str) -> bool {
    let is_word = |part: &str| SECRET_WORDS.iter().any(|word| part.ends_with(word));
    name.to_ascii_uppercase().split('_').any(|part| is_word(part.trim_end_matches('S')))
}
