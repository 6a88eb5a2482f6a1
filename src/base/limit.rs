//! Rate limits: the endpoint classes of the service, and limits of the form `N/Ds`. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::name::{NameError, Owner};

/// A class of endpoints whose requests share one rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// `POST /images/build`.
    Initiate,
    /// `POST /images/build/{id}/start`.
    Start,
    /// `GET /images/build/{id}`.
    Status,
    /// The listings: `GET /images/builds` and `GET /images`.
    List,
    /// Transfers, counted in images and not in requests (API contract, section 3).
    Images,
    /// `PATCH /images`.
    Update,
    /// `DELETE /images/...`.
    Delete,
}

impl Class {
    /// All classes, in display order.
    pub const ALL: [Self; 7] = [
        Self::Initiate,
        Self::Start,
        Self::Status,
        Self::List,
        Self::Images,
        Self::Update,
        Self::Delete,
    ];

    /// Returns the class as flags and the manifest write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initiate => "initiate",
            Self::Start => "start",
            Self::Status => "status",
            Self::List => "list",
            Self::Images => "images",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// Returns the limit that the service documents, or 300 requests in 60 s if it documents none
    /// (API contract, sections 1 and 3). For transfers: the limit of a personal account; a team has
    /// [`TEAM_TRANSFER_LIMIT`].
    pub fn default_limit(self) -> Limit {
        let count = match self {
            Self::Initiate => 150,
            Self::Start | Self::Status | Self::List => 300,
            Self::Images => 10,
            Self::Update => 50,
            Self::Delete => 100,
        };
        Limit { count, window: Duration::from_secs(60) }
    }
}

/// Transfer limit of a team, counted in images (API contract, section 3).
pub(crate) const TEAM_TRANSFER_LIMIT: Limit = Limit { count: 60, window: Duration::from_secs(60) };

/// Returns the transfer limit of an owner, counted in images: the configured one, else the
/// documented one. `None` means unlimited: the service does not count transfers of the platform
/// (API contract, section 3).
pub(super) fn transfer_limit(owner: &Owner, configured: Option<Limit>) -> Option<Limit> {
    configured.or(match owner {
        Owner::Personal => Some(Class::Images.default_limit()),
        Owner::Team(_) => Some(TEAM_TRANSFER_LIMIT),
        Owner::Platform => None,
    })
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Class {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            NameError::new(
                format!("`{text}` is not an endpoint class"),
                format!("the classes are {known}"),
            )
        })
    }
}

/// At most `count` requests (or images) in any `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Maximum number of requests (or images) in one window.
    pub count: u32,
    /// Length of the sliding window.
    pub window: Duration,
}

impl Limit {
    /// Returns the number of requests (or images) per second.
    pub(crate) fn per_second(self) -> f64 {
        f64::from(self.count) / self.window.as_secs_f64()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.count, self.window)
    }
}

impl FromStr for Limit {
    type Err = NameError;

    /// Parses `150/60s`, `50/2s`, `10/1m` or `10/500ms`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = || {
            NameError::new(
                format!("`{text}` is not a limit"),
                "write a count and a window: 150/60s",
            )
        };
        let (count, window) = text.split_once('/').ok_or_else(bad)?;
        let count = count.trim().parse().map_err(|_| bad())?;
        let window = parse_duration(window.trim()).ok_or_else(bad)?;
        if count == 0 || window.is_zero() {
            return Err(NameError::new(
                format!("`{text}` would allow no request"),
                "write a count and a window above zero: 150/60s",
            ));
        }
        Ok(Self { count, window })
    }
}

/// A limit of one endpoint class, as in the flag value `CLASS=N/Ds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassLimit {
    /// The class.
    pub class: Class,
    /// Its limit.
    pub limit: Limit,
}

impl FromStr for ClassLimit {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (class, limit) = text.split_once('=').ok_or_else(|| {
            NameError::new(
                format!("`{text}` is not a limit for an endpoint class"),
                "write CLASS=N/Ds: initiate=150/60s",
            )
        })?;
        let class: Class = class.parse()?;
        if limit.bytes().all(|byte| byte.is_ascii_digit()) && !limit.is_empty() {
            let message = format!("`{text}` has no window");
            return Err(NameError::new(message, format!("write a window: {class}={limit}/60s")));
        }
        Ok(Self { class, limit: limit.parse()? })
    }
}

/// Maximum of [`parse_duration`]: 100 years.
const MAX_DURATION_MILLIS: u64 = 100 * 365 * 86_400_000;

/// Parses a duration of one whole number and one unit: `500ms`, `30s`, `30m`, `6h`, `7d`. `None` if
/// the text has another form, or is more than 100 years, which could overflow when added to a time.
///
/// ```
/// use imgplan::test_support::base::limit::parse_duration;
/// use std::time::Duration;
/// assert_eq!(parse_duration("30m"), Some(Duration::from_secs(1800)));
/// assert_eq!(parse_duration("30"), None);
/// ```
pub fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number
        .checked_mul(millis_per_unit)
        .filter(|millis| *millis <= MAX_DURATION_MILLIS)
        .map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_parsed() {
        let limit: ClassLimit = "initiate=50/2s".parse().unwrap();
        assert_eq!(limit.class, Class::Initiate);
        assert_eq!(limit.limit, Limit { count: 50, window: Duration::from_secs(2) });
        for bad in
            ["initiate", "x=1/1s", "initiate=0/1s", "initiate=1/0s", "initiate=1/1", "list=a/1s"]
        {
            assert!(bad.parse::<ClassLimit>().is_err(), "{bad}");
        }
        let error = "initiate=10".parse::<ClassLimit>().unwrap_err();
        assert_eq!(error.help, "write a window: initiate=10/60s");
        assert_eq!(parse_duration("99999999999999999999d"), None);
        assert_eq!(parse_duration("é"), None);
    }
}
