//! Reads the description of a builder. Pure.

use crate::base::name::Platform;
use crate::base::safe_text::one_line;

/// A builder of docker buildx.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Builder {
    /// Driver: `docker`, `docker-container`, `kubernetes` or `remote`.
    pub(super) driver: String,
    /// The platforms whose programs each of its machines runs, the machine's own first. Machines that run
    /// none of the service's platforms are left out.
    machines: Vec<Vec<Platform>>,
}

impl Builder {
    /// Reads the output of `docker buildx inspect`.
    ///
    /// # Errors
    /// Fails with the error of the builder's machines, or if none runs a platform of the service.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let values = |key: &'static str| {
            text.lines().filter_map(move |line| line.strip_prefix(key)).map(str::trim)
        };
        let machines: Vec<_> =
            values("Platforms:").map(platforms).filter(|found| !found.is_empty()).collect();
        if machines.is_empty() {
            let none = "the builder runs programs of neither linux/amd64 nor linux/arm64";
            return Err(one_line(values("Error:").next().unwrap_or(none), 300));
        }
        let driver = one_line(values("Driver:").next().unwrap_or("unknown"), 40);
        Ok(Self { driver, machines })
    }

    /// Returns the platform of the machine that builds for a platform: the first that runs its programs,
    /// as buildx chooses.
    pub(super) fn native(&self, unit: Platform) -> Platform {
        let machine = self.machines.iter().find(|machine| machine.contains(&unit));
        machine
            .or(self.machines.first())
            .and_then(|machine| machine.first())
            .copied()
            .unwrap_or(unit)
    }

    /// Returns the platforms whose programs it runs.
    pub(super) fn platforms(&self) -> Vec<Platform> {
        let runs = |platform: &Platform| self.machines.iter().any(|all| all.contains(platform));
        Platform::ALL.into_iter().filter(runs).collect()
    }

    /// Returns true if it can set the times of files in layers. Docker's own cannot, and with some of its
    /// stores it fails if asked to.
    pub(super) fn rewrites_times(&self) -> bool {
        self.driver != "docker"
    }
}

/// Returns the platforms of the service in a list such as `linux/arm64*, linux/arm/v7`. One that the user
/// has set has an asterisk.
fn platforms(list: &str) -> Vec<Platform> {
    let names = list.split(',').map(|name| name.trim().trim_end_matches('*'));
    names
        .filter_map(|name| Platform::ALL.into_iter().find(|known| known.as_str() == name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_of_several_machines_is_read() {
        let text = "Name:   farm\nDriver: remote\n\nNodes:\nName:      farm0\nStatus:    running\n\
                    Platforms: linux/arm64*, linux/arm/v7\n\nName:      farm1\nStatus:    running\n\
                    Platforms: linux/amd64, linux/amd64/v2, linux/arm64\nLabels:\n x: y\n\n\
                    Name:      farm2\nPlatforms: linux/riscv64\n";
        let builder = Builder::parse(text).unwrap();
        assert_eq!(builder.driver, "remote");
        assert_eq!(builder.platforms(), [Platform::Amd64, Platform::Arm64]);
        assert_eq!(builder.native(Platform::Amd64), Platform::Amd64);
        assert_eq!(builder.native(Platform::Arm64), Platform::Arm64);
        // An emulator.
        let one = Builder::parse("Driver: docker\nPlatforms: linux/amd64, linux/arm64\n").unwrap();
        assert_eq!(one.native(Platform::Arm64), Platform::Amd64);
        assert!(builder.rewrites_times() && !one.rewrites_times());
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
