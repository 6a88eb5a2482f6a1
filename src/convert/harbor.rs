//! Converts a folder of Harbor tasks into one entry that discovers them. Pure: the caller reads the
//! folder.

use std::collections::HashMap;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::draft::{DraftImage, DraftOrigin};
use super::dropped::{DropList, ItemPlace};
use super::folders::Folders;
use super::{ConvertError, Converted};
use crate::base::name::image_name_of;
use crate::base::source_ref::SourceRef;

/// Help for a task at which `discover` would stop.
const REPAIR: &str = "repair the task; nothing else of the folder would load";

/// A task, as far as it matters for its image.
#[derive(Debug)]
pub(crate) struct ForeignTask {
    /// Name of the folder; `None` if the input itself is the task.
    pub(crate) folder: Option<String>,
    /// Text of its `task.toml`, or the reason why it cannot be read.
    pub(crate) text: Result<String, String>,
    pub(crate) has_environment: bool,
    pub(crate) has_dockerfile: bool,
}

/// Converts the tasks in the folder of the input.
///
/// # Errors
///
/// Fails if there is no task with an image, and for a task at which `discover` would stop.
pub(crate) fn convert(tasks: &[ForeignTask], folders: &Folders) -> Result<Converted, ConvertError> {
    convert_named(tasks, folders).map(|(converted, _)| converted)
}

/// Does the same as [`convert`], and returns the `name:tag` of each image too.
///
/// # Errors
///
/// Fails as [`convert`] does.
pub(crate) fn convert_named(
    tasks: &[ForeignTask],
    folders: &Folders,
) -> Result<(Converted, Vec<String>), ConvertError> {
    let path = folders.of_manifest(".").ok_or_else(|| {
        ConvertError::new("no relative path leads to the folder", "write the manifest beside it")
    })?;
    let (mut converted, mut prefer_image) = (Converted::default(), false);
    let mut names: HashMap<String, Option<SourceRef>> = HashMap::new();
    for task in tasks {
        let folder = task.folder.as_deref().unwrap_or(".");
        let place = ItemPlace::named("tasks", folder);
        let fail = |reason: String| ConvertError::new(format!("{place}: {reason}"), REPAIR);
        let source = source(task, &place, &mut converted.dropped).map_err(fail)?;
        if !task.has_environment || source.is_none() && !task.has_dockerfile {
            let reason = "it has no docker_image, and no Dockerfile in environment/";
            converted.dropped.add(&place, "", reason);
            continue;
        }
        prefer_image |= source.is_some() && task.has_dockerfile;
        let key = match &source {
            Some(source) => source.destination(false).map(|(name, tag)| format!("{name}:{tag}")),
            None => Ok(format!("{}:latest", image_name_of(folder))),
        };
        let key = key.map_err(|error| fail(error.message))?;
        // Tasks may share an image to mirror.
        match names.insert(key.clone(), source.clone()) {
            Some(known) if source.is_none() || known != source => {
                return Err(fail(format!("another task is {key} too")));
            }
            _ => {}
        }
    }
    if names.is_empty() {
        let help = "a task is a folder with task.toml and environment/";
        return Err(ConvertError::new("no task in the folder has an image", help));
    }
    let mut entry = DraftImage::new(DraftOrigin::Harbor { path, prefer_image });
    if prefer_image {
        entry.comments.push("A task with a docker_image and a Dockerfile is mirrored.".to_owned());
    }
    converted.draft.add("tasks", entry).map_err(|reason| ConvertError::new(reason, REPAIR))?;
    Ok((converted, names.into_keys().collect()))
}

/// Returns the image that a task mirrors, if it does. Fails with the reason if `task.toml` is not valid.
fn source(
    task: &ForeignTask,
    place: &ItemPlace,
    dropped: &mut DropList,
) -> Result<Option<SourceRef>, String> {
    let table = DeTable::parse(task.text.as_deref()?);
    let table = table.map_err(|_| "its task.toml is not TOML".to_owned())?;
    let section = table.get_ref().iter().find(|(key, _)| key.get_ref() == "environment");
    let mut source = None;
    for (key, value) in
        section.and_then(|(_, keys)| keys.get_ref().as_table()).into_iter().flatten()
    {
        match (&**key.get_ref(), value.get_ref()) {
            ("docker_image", DeValue::String(text)) if text.trim().is_empty() => {}
            ("docker_image", DeValue::String(text)) => {
                let parsed: Result<SourceRef, _> = text.parse();
                source = Some(parsed.map_err(|error| error.message)?);
            }
            ("docker_image", _) => return Err("its docker_image is not a text".to_owned()),
            ("build_timeout_sec", DeValue::Integer(number)) if is_time(number.as_str()) => {}
            ("build_timeout_sec", DeValue::Float(number)) if is_time(number.as_str()) => {}
            ("build_timeout_sec", _) => return Err("its build_timeout_sec is no time".to_owned()),
            (key, _) => {
                dropped.add(place, &format!("environment.{key}"), "it is about running the image");
            }
        }
    }
    Ok(source)
}

/// True for a number of seconds that the manifest takes as a timeout: at least a millisecond.
fn is_time(number: &str) -> bool {
    let seconds: Option<f64> = number.replace('_', "").parse().ok();
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.is_some_and(|time| time.as_millis() > 0)
}
