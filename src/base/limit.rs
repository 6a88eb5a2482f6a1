//! Words for request budgets: the classes of the service's endpoints and `N/Ds` limits. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::name::{NameError, Owner};

/// A group of requests that share one budget.
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
    /// Transfers, counted in images and not in requests (`api.md` §3).
    Images,
    /// `PATCH /images` and the older visibility endpoints.
    Update,
    /// `DELETE /images/...`.
    Delete,
}

impl Class {
    /// All classes, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::Initiate,
        Self::Start,
        Self::Status,
        Self::List,
        Self::Images,
        Self::Update,
        Self::Delete,
    ];

    /// The class as flags and the manifest write it.
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

    /// The limit that the service publishes, or 300 in 60 s where it publishes none (`api.md` §1,
    /// §3). Transfers: 10 images a minute for a personal account; [`TEAM_TRANSFERS`] for a team.
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

/// Transfers a team may make: 60 images in 60 s (`api.md` §3).
pub const TEAM_TRANSFERS: Limit = Limit { count: 60, window: Duration::from_secs(60) };

/// How many images an owner may transfer in how long: `given`, else 10 a minute for an account and
/// 60 for a team. Transfers of the platform are not counted (`api.md` §3), unless a limit was given.
pub fn transfer_limit(owner: &Owner, given: Option<Limit>) -> Option<Limit> {
    given.or(match owner {
        Owner::Personal => Some(Class::Images.default_limit()),
        Owner::Team(_) => Some(TEAM_TRANSFERS),
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
                format!("`{text}` is not a class of requests"),
                format!("the classes are {known}"),
            )
        })
    }
}

/// At most `count` requests (or images) in any `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub count: u32,
    /// In how long.
    pub window: Duration,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.count, self.window)
    }
}

impl FromStr for Limit {
    type Err = NameError;

    /// Reads `150/60s`, `50/2s`, `10/1m` or `10/500ms`.
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
                format!("`{text}` would let nothing through"),
                "write a count and a window above zero: 150/60s",
            ));
        }
        Ok(Self { count, window })
    }
}

/// A `CLASS=N/Ds` flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassLimit {
    /// Which requests.
    pub class: Class,
    /// How many in how long.
    pub limit: Limit,
}

impl FromStr for ClassLimit {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (class, limit) = text.split_once('=').ok_or_else(|| {
            NameError::new(
                format!("`{text}` is not a limit of a class"),
                "write CLASS=N/Ds: initiate=150/60s",
            )
        })?;
        Ok(Self { class: class.parse()?, limit: limit.parse()? })
    }
}

/// Reads a duration of one number and one unit: `500ms`, `30s`, `30m`, `6h`, `7d`. At most a
/// hundred years, so that sums with a clock cannot overflow.
///
/// ```
/// use imgplan::base::limit::parse_duration;
/// use std::time::Duration;
/// assert_eq!(parse_duration("30m"), Some(Duration::from_secs(1800)));
/// assert_eq!(parse_duration("30"), None);
/// ```
pub fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number
        .checked_mul(millis)
        .filter(|millis| *millis <= 100 * 365 * 86_400_000)
        .map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let limit: ClassLimit = "initiate=50/2s".parse().unwrap();
        assert_eq!(limit.class, Class::Initiate);
        assert_eq!(limit.limit, Limit { count: 50, window: Duration::from_secs(2) });
        for bad in
            ["initiate", "x=1/1s", "initiate=0/1s", "initiate=1/0s", "initiate=1/1", "list=a/1s"]
        {
            assert!(bad.parse::<ClassLimit>().is_err(), "{bad}");
        }
        assert_eq!(parse_duration("99999999999999999999d"), None);
        assert_eq!(parse_duration("é"), None);
    }
}
