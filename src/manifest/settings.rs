//! Turns what `settings` says into what it means, and finds what is wrong with it. Pure.

use super::model;
use super::resolve::Resolver;
use super::workspace::ServiceSettings;
use crate::base::limit::{Class, Limit};
use crate::base::nearest::nearest;
use crate::base::span::Problem;

impl Resolver<'_> {
    /// What `settings` mean.
    pub(super) fn settings(&mut self) -> ServiceSettings {
        let manifest = self.manifest;
        let Some(written) = &manifest.settings else { return ServiceSettings::default() };
        let mut settings = ServiceSettings {
            url: written.url.as_ref().map(|url| url.trim().to_owned()),
            concurrency: written.concurrency.as_deref().copied(),
            limits: Vec::new(),
            context_warn: written.context_warn.as_ref().map(|size| size.0.value.0),
            context_max: written.context_max.as_ref().map(|size| size.0.value.0),
        };
        if let Some(url) = &written.url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            let message = format!("`{}` is not a URL", url.as_str());
            self.report(message, url.span(), "begin it with https://");
        }
        if let Some(concurrency) = &written.concurrency
            && !(1..=1000).contains(&**concurrency)
        {
            let message = format!("{} images at once is out of range", **concurrency);
            self.report(message, concurrency.span(), "write a number from 1 to 1000");
        }
        self.order_of_sizes(written);
        settings.limits = self.limits(written);
        settings
    }

    fn limits(&mut self, written: &model::Settings) -> Vec<(Class, Limit)> {
        let mut limits = Vec::new();
        for (class, limit) in written.limits.iter().flat_map(|limits| &limits.0.0) {
            match class.parse::<Class>() {
                Ok(known) => limits.push((known, limit.0.value.0)),
                Err(error) => {
                    let help = match nearest(class, &Class::ALL.map(Class::as_str)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => error.help,
                    };
                    self.report(error.message, class.span(), help);
                }
            }
        }
        limits
    }

    /// A warning above the size that is refused would never be seen.
    fn order_of_sizes(&mut self, written: &model::Settings) {
        let (Some(warn), Some(max)) = (&written.context_warn, &written.context_max) else { return };
        if warn.0.value.0 <= max.0.value.0 {
            return;
        }
        let message = "`context_warn` is above `context_max`: nobody would see the warning";
        let problem = Problem::new(message, warn.span(), "warned of above this");
        let problem = problem.and(max.span(), "refused above this");
        self.problems.push(problem.help("write a `context_warn` below `context_max`"));
    }
}
