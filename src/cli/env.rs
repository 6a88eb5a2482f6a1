//! Reads the environment.

/// Returns the value of an environment variable; `None` where it is unset or not UTF-8.
pub(super) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
