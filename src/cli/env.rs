//! Reads environment variables.

/// Returns the value of an environment variable, if it is set and UTF-8.
pub(super) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
