//! Reads the description of a builder. Pure.

use crate::base::name::Platform;
use crate::base::safe_text::one_line;

/// A builder of docker buildx.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Builder {
    /// Driver: `docker`, `docker-container`, `kubernetes` or `remote`.
    pub(super) driver: String,
    /// Platform of the builder itself.
    pub(super) native: Platform,
    /// Platforms whose programs it runs.
    pub(super) platforms: Vec<Platform>,
}

impl Builder {
    /// Reads the output of `docker buildx inspect`. A builder may have several machines; the platform of
    /// the first counts as its own.
    ///
    /// # Errors
    /// Fails with the error of the builder's machines, or if none has a platform of the service.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let values = |key: &'static str| {
            text.lines().filter_map(move |line| line.strip_prefix(key)).map(str::trim)
        };
        // A platform that the user has set has an asterisk.
        let named = values("Platforms:").flat_map(|list| list.split(','));
        let named = named.map(|name| name.trim().trim_end_matches('*'));
        let mut platforms = Vec::new();
        for platform in
            named.filter_map(|name| Platform::ALL.into_iter().find(|p| p.as_str() == name))
        {
            if !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        let Some(&native) = platforms.first() else {
            let error = values("Error:").next();
            return Err(match error {
                Some(error) => one_line(error, 300),
                None => {
                    "the builder runs programs of neither linux/amd64 nor linux/arm64".to_owned()
                }
            });
        };
        let driver = one_line(values("Driver:").next().unwrap_or("unknown"), 40);
        Ok(Self { driver, native, platforms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_of_two_machines_is_read() {
        let text = "Name:   farm\nDriver: remote\n\nNodes:\nName:      farm0\nStatus:    running\n\
                    Platforms: linux/arm64*, linux/arm/v7\n\nName:      farm1\nStatus:    running\n\
                    Platforms: linux/amd64, linux/amd64/v2, linux/arm64\nLabels:\n x: y\n";
        let platforms = vec![Platform::Arm64, Platform::Amd64];
        let expected = Builder { driver: "remote".to_owned(), native: Platform::Arm64, platforms };
        assert_eq!(Builder::parse(text), Ok(expected));
    }

    #[test]
    fn a_builder_that_does_not_run_has_an_error() {
        let text =
            "Name:   x\nDriver: remote\n\nNodes:\nName:     x0\nError:    no route to host\n";
        assert_eq!(Builder::parse(text), Err("no route to host".to_owned()));
        let other = Builder::parse("Driver: remote\nPlatforms: windows/amd64\n").unwrap_err();
        assert!(other.contains("neither"), "{other}");
    }
}
