//! Describes this process to the next one that wants the state.

/// Describes this process for the error message of another one.
pub(super) fn describe_process() -> String {
    let since = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ");
    format!("PID {}{}, since {since}", std::process::id(), on_host())
}

/// Returns ` on host NAME`; empty if the name is not known.
#[cfg(unix)]
pub(crate) fn on_host() -> String {
    format!(" on host {}", rustix::system::uname().nodename().to_string_lossy())
}

/// Returns ` on host NAME`; empty if the name is not known.
#[cfg(not(unix))]
pub(crate) fn on_host() -> String {
    std::env::var("COMPUTERNAME").map(|host| format!(" on host {host}")).unwrap_or_default()
}
