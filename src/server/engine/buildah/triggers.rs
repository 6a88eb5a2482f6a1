//! Judges the `ONBUILD` triggers of base images. Pure.

/// Names of Buildah's other sources of images, which are paths and stores of the machine.
const TRANSPORTS: [&str; 8] = [
    "containers-storage:",
    "dir:",
    "docker-archive:",
    "docker-daemon:",
    "oci:",
    "oci-archive:",
    "sif:",
    "tarball:",
];

/// True if a trigger downloads with `ADD`, or copies from an image that is a path of this machine. In
/// doubt, it does: a variable may have any value.
pub(super) fn reach_out(triggers: &[String]) -> bool {
    triggers.iter().any(|trigger| {
        let trigger = trigger.trim().to_ascii_lowercase();
        let adds = trigger.starts_with("add") && trigger.contains(['$', '@', ':']);
        let sources = || trigger.split("from=").skip(1);
        adds || sources().any(|from| {
            from.starts_with('$') || TRANSPORTS.iter().any(|name| from.starts_with(name))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_that_reach_out_are_found() {
        let judge = |trigger: &str| reach_out(&[trigger.to_owned()]);
        for refused in [
            "ADD http://127.0.0.1/x /",
            " add ${URL} /x",
            "ADD git@host:x /",
            "COPY --from=dir:/etc /",
            "RUN --mount=type=bind,from=containers-storage:[x]y,target=/m ls",
        ] {
            assert!(judge(refused), "{refused}");
        }
        for allowed in ["COPY . /app", "ADD app.tar /", "COPY --from=build /x /", "RUN make"] {
            assert!(!judge(allowed), "{allowed}");
        }
    }
}
