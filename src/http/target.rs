//! The rule for an address that a server hands out: the target of a redirect, a token service, an
//! upload URL. Whoever follows one calls [`check_target`] first. Pure.
//!
//! A name that resolves to an address of this machine is not recognized: only addresses are judged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use super::loopback::is_loopback;

/// Addresses of the metadata of Alibaba Cloud and of Azure's host.
const METADATA_V4: [Ipv4Addr; 2] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];

/// Address of the metadata of AWS.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Checks that a request may go to `to` because the server `from` says so.
///
/// A server must not lead to HTTP without encryption (unless it is reached so itself), to this
/// machine (unless it runs there), or to an address at which clouds have their metadata.
///
/// # Errors
///
/// Fails with a description of the target, to follow "redirects to".
pub(crate) fn check_target(from: &Url, to: &Url) -> Result<(), String> {
    if !matches!(to.scheme(), "http" | "https")
        || !to.has_host()
        || !to.username().is_empty()
        || to.password().is_some()
    {
        return Err("an invalid URL".to_owned());
    }
    let is_unencrypted = to.scheme() == "http" && !is_loopback(to);
    let problem = if is_this_machine(to) && !is_this_machine(from) {
        "which is this machine"
    } else if address(to).is_some_and(may_have_metadata) {
        "which may have the metadata of a cloud"
    } else if is_unencrypted && from.scheme() != "http" {
        "which is not HTTPS"
    } else {
        return Ok(());
    };
    Err(format!("{}, {problem}", origin(to)))
}

/// Returns scheme, host and port of a URL. They contain no secret.
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Returns true for loopback, and for the addresses 0.0.0.0 and ::, which reach this machine too.
fn is_this_machine(url: &Url) -> bool {
    is_loopback(url) || address(url).is_some_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// Returns the address in a URL, of an IPv4 address written in IPv6 (`::ffff:127.0.0.1`) the former.
fn address(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Some(ip.into());
    }
    let ip: Ipv6Addr = host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
    Some(ip.to_canonical())
}

/// Returns true for link-local addresses, where most clouds have their metadata, and for the others at
/// which some have them.
fn may_have_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_link_local() || METADATA_V4.contains(&ip),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip == METADATA_V6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_checked() {
        let (https, http, local) = ("https://a/", "http://a/", "http://127.0.0.1:1/");
        for (from, to, problem) in [
            (https, "https://b/x?sig=s", None),
            (https, "https://10.0.0.1/", None),
            (https, "http://a/", Some("not HTTPS")),
            (https, "http://127.0.0.1/", Some("this machine")),
            (https, "http://127.1/", Some("this machine")),
            (https, "https://localhost/", Some("this machine")),
            (https, "https://[::1]/", Some("this machine")),
            (https, "https://[::ffff:127.0.0.1]/", Some("this machine")),
            (https, "https://0.0.0.0/", Some("this machine")),
            (https, "https://[::]/", Some("this machine")),
            (https, "https://169.254.169.254/latest", Some("metadata")),
            (https, "https://[fe80::1]/", Some("metadata")),
            (https, "https://[::ffff:169.254.169.254]/", Some("metadata")),
            (https, "https://u:p@b/", Some("an invalid URL")),
            (https, "ftp://b/", Some("an invalid URL")),
            (https, "data:text/plain,x", Some("an invalid URL")),
            (http, "http://b/", None),
            (http, "https://b/", None),
            (http, "http://localhost/", Some("this machine")),
            (http, "http://169.254.169.254/", Some("metadata")),
            (local, "http://localhost:2/", None),
            (local, "https://b/", None),
            (local, "http://b/", None),
            (https, "http://localhost./", Some("this machine")),
            (https, "https://a.localhost/", Some("this machine")),
            (https, "https://[fd00:ec2::254]/", Some("metadata")),
            (https, "https://100.100.100.200/", Some("metadata")),
            (local, "http://169.254.169.254/", Some("metadata")),
        ] {
            let (from, to) = (Url::parse(from).unwrap(), Url::parse(to).unwrap());
            match (check_target(&from, &to), problem) {
                (Ok(()), None) => {}
                (Err(text), Some(problem)) => assert!(text.contains(problem), "{to}: {text}"),
                (result, _) => panic!("{from} {to} {result:?}"),
            }
        }
    }
}
