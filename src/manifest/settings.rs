//! Resolves the `settings` of a manifest. Pure.

use super::diagnostics::Diagnostics;
use super::expand::LARGEST_MAX_IMAGES;
use super::model::{LocalSettings, ManifestSettings};
use super::workspace::{LocalEngine, ServiceSettings};
use crate::base::limit::{Class, Limit};
use crate::base::nearest::did_you_mean;
use crate::base::span::Problem;
use crate::base::state_url::StateUrl;

/// Resolves the settings, and reports values that are out of range.
pub(super) fn resolve(
    settings: Option<&ManifestSettings>,
    diagnostics: &mut Diagnostics,
) -> ServiceSettings {
    let Some(settings) = settings else { return ServiceSettings::default() };
    if let Some(url) = &settings.url
        && !(url.starts_with("http://") || url.starts_with("https://"))
    {
        let message = format!("`{}` is not a URL", url.as_str());
        diagnostics.error(message, url.span(), "begin it with https://");
    }
    let state = settings.state.as_ref().and_then(|url| match url.trim().parse::<StateUrl>() {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            diagnostics.error(error.message, url.span(), error.help);
            None
        }
    });
    if let Some(concurrency) = &settings.concurrency
        && !(1..=1000).contains(&**concurrency)
    {
        let message = format!("`concurrency` is {}, which is out of range", **concurrency);
        diagnostics.error(message, concurrency.span(), "write a number from 1 to 1000");
    }
    if let Some(images) = &settings.max_images
        && !usize::try_from(**images).is_ok_and(|max| (1..=LARGEST_MAX_IMAGES).contains(&max))
    {
        let message = format!("`max_images` is {}, which is out of range", **images);
        let help = format!("write a number from 1 to {LARGEST_MAX_IMAGES}");
        diagnostics.error(message, images.span(), help);
    }
    if let (Some(warn), Some(max)) = (&settings.context_warn, &settings.context_max)
        && warn.0 > max.0
    {
        let message = "`context_warn` is above `context_max`: the warning would never be shown";
        let problem = Problem::new(message, warn.span(), "warning above this size")
            .and(max.span(), "error above this size")
            .help("write a `context_warn` below `context_max`");
        diagnostics.push(problem);
    }
    ServiceSettings {
        url: settings.url.as_ref().map(|url| url.trim().to_owned()),
        state,
        concurrency: settings.concurrency.as_deref().copied(),
        limits: limits(settings, diagnostics),
        context_warn: settings.context_warn.as_ref().map(|size| size.0),
        context_max: settings.context_max.as_ref().map(|size| size.0),
        inputs: settings.inputs.as_deref().copied().unwrap_or_default(),
        local: settings.local.as_ref().map(|local| engine(local, diagnostics)).unwrap_or_default(),
    }
}

fn engine(local: &LocalSettings, diagnostics: &mut Diagnostics) -> LocalEngine {
    if let Some(slots) = &local.slots
        && !(1..=1000).contains(&**slots)
    {
        let message = format!("`slots` is {}, which is out of range", **slots);
        diagnostics.error(message, slots.span(), "write a number from 1 to 1000");
    }
    LocalEngine {
        kind: local.engine,
        disk: local.disk.map(|size| size.0),
        memory: local.memory.map(|size| size.0),
        slots: local.slots.as_deref().map(|slots| *slots as usize),
        build_timeout: local.build_timeout.map(|duration| duration.0),
    }
}

fn limits(settings: &ManifestSettings, diagnostics: &mut Diagnostics) -> Vec<(Class, Limit)> {
    let mut limits = Vec::new();
    for (class, limit) in settings.limits.iter().flat_map(|limits| &limits.0) {
        match class.parse::<Class>() {
            Ok(known) => limits.push((known, **limit)),
            Err(error) => {
                let help = did_you_mean(class, &Class::ALL.map(Class::as_str));
                diagnostics.error(error.message, class.span(), help.unwrap_or(error.help));
            }
        }
    }
    limits
}
