//! Says for which platform a `FROM` takes its image. Pure.

use super::instruction::Stage;
use super::resolve::{expand, first_variable, globals, lookup};
use super::{Dockerfile, UnresolvedArg};
use crate::base::name::Platform;

/// The platform for which the image of a reference is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferencePlatform {
    /// That of the unit which is built, whether `--platform` says so or nothing.
    Unit,
    /// Another one that is written, or that variables lead to.
    Fixed(Platform),
    /// That of the machine which builds, as `$BUILDPLATFORM` is: nobody else knows it.
    Builder,
    /// One for which the service builds nothing, or a text that is no platform.
    Other(String),
}

impl ReferencePlatform {
    /// The platform for which a `FROM` takes its image. To BuildKit, one that expands to nothing is
    /// an error.
    pub(super) fn of(
        file: &Dockerfile,
        stage: &Stage,
        unit: Platform,
    ) -> Result<Self, UnresolvedArg> {
        let Some(written) = &stage.platform else { return Ok(Self::Unit) };
        let nothing = |message: String| UnresolvedArg {
            name: first_variable(written).unwrap_or_default(),
            message,
            help: "write the platform, or leave `--platform` out".to_owned(),
        };
        let on = |builder: Platform| {
            let globals = globals(file, unit, builder);
            expand(file, written, &|name| lookup(&globals, name)).map_err(nothing)
        };
        let (one, other) = (on(Platform::Amd64)?, on(Platform::Arm64)?);
        if one.text.is_empty() || one.demanded {
            return Err(nothing(format!("`--platform={written}` names no platform")));
        }
        // What is not the same on all builders is theirs to say.
        if one.text != other.text {
            return Ok(Self::Builder);
        }
        Ok(Self::read(&one.text, unit))
    }

    /// Reads an expanded `--platform` by the rules of containerd's `platforms.Parse`: names of one
    /// architecture agree, in any case, and a system alone is that of the builder.
    fn read(text: &str, unit: Platform) -> Self {
        let lower = text.to_ascii_lowercase();
        let arch = match lower.split_once('/') {
            Some(("linux", arch)) => arch,
            None if lower == "linux" => return Self::Builder,
            None => lower.as_str(),
            Some(_) => return Self::Other(text.to_owned()),
        };
        let platform = match arch {
            "amd64" | "amd64/v1" | "x86_64" | "x86_64/v1" | "x86-64" | "x86-64/v1" => {
                Platform::Amd64
            }
            "arm64" | "arm64/v8" | "arm64/8" | "aarch64" | "aarch64/v8" | "aarch64/8" => {
                Platform::Arm64
            }
            _ => return Self::Other(text.to_owned()),
        };
        if platform == unit { Self::Unit } else { Self::Fixed(platform) }
    }
}
