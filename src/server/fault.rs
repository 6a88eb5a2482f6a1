//! Fault injection: which requests get a fault, and which one. Pure: a fault follows from a seed and
//! the number of the request within its class, so that a run can be repeated.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::base::limit::{Class, parse_duration};
use crate::base::name::NameError;

/// Default delay of a `slow` response.
const DEFAULT_SLOW: Duration = Duration::from_secs(3);
/// Default time between the response to a `late` request and its effect.
const DEFAULT_LATE: Duration = Duration::from_secs(5);
/// Tolerance for sums of rates, such as ten times 10 %.
const RATE_TOLERANCE: f64 = 1e-9;

/// The class of requests that a fault applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// Requests of one class of the API.
    Class(Class),
    /// Uploads of contexts.
    Upload,
}

impl FaultClass {
    fn as_str(self) -> &'static str {
        match self {
            Self::Class(class) => class.as_str(),
            Self::Upload => "upload",
        }
    }

    /// Returns the class of the API, or `None` for uploads.
    pub(super) fn api(self) -> Option<Class> {
        match self {
            Self::Class(class) => Some(class),
            Self::Upload => None,
        }
    }

    /// Returns all classes of requests. [`Class::Images`] counts images and not requests.
    fn all() -> impl Iterator<Item = Self> {
        let classes = Class::ALL.into_iter().filter(|class| *class != Class::Images);
        classes.map(Self::Class).chain([Self::Upload])
    }
}

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// `500`: no effect; responds with 500.
    InternalError,
    /// `503`: no effect; responds with 503 and a `Retry-After` of one second.
    Unavailable,
    /// `429`: no effect; responds with the 429 of a rate limit, about half of them with a `Retry-After`
    /// in seconds.
    RateLimit,
    /// `429-date`: no effect; responds with the 429 of a rate limit, with a date as `Retry-After`.
    RateLimitDate,
    /// `cut-before`: no effect; closes the connection without a response.
    CutBefore,
    /// `cut-after`: takes effect; closes the connection without a response.
    CutAfter,
    /// `html`: no effect; responds with 200 and an HTML page.
    Html,
    /// `html-after`: takes effect; responds with 502 and an HTML page.
    HtmlAfter,
    /// `slow`, `slow=3s`: takes effect; the response is delayed.
    Slow(Duration),
    /// `late`, `late=5s`: takes effect after that time, or when the server stops. Responds at once with
    /// a gateway's 504 and an HTML page; about half of the connections are closed instead.
    Late(Duration),
    /// `expired`: takes effect; the returned upload URL has expired. About half of the responses say so
    /// in `expires_in`. Only for initiates; a transfer has no upload URL.
    Expired,
    /// `length`: no effect; responds with a storage's 400 for an incomplete body. Only for uploads.
    Length,
}

impl FaultKind {
    const NAMES: [(&str, Self); 12] = [
        ("500", Self::InternalError),
        ("503", Self::Unavailable),
        ("429", Self::RateLimit),
        ("429-date", Self::RateLimitDate),
        ("cut-before", Self::CutBefore),
        ("cut-after", Self::CutAfter),
        ("html", Self::Html),
        ("html-after", Self::HtmlAfter),
        ("slow", Self::Slow(DEFAULT_SLOW)),
        ("late", Self::Late(DEFAULT_LATE)),
        ("expired", Self::Expired),
        ("length", Self::Length),
    ];

    /// Returns the kind as `--fault` writes it, without a duration.
    pub fn as_str(self) -> &'static str {
        let same =
            |(_, kind): &&(_, Self)| std::mem::discriminant(kind) == std::mem::discriminant(&self);
        Self::NAMES.iter().find(same).map_or("", |(name, _)| name)
    }

    /// Returns the only class that the kind applies to, or `None` if it applies to all.
    fn only(self) -> Option<FaultClass> {
        match self {
            Self::Expired => Some(FaultClass::Class(Class::Initiate)),
            Self::Length => Some(FaultClass::Upload),
            _ => None,
        }
    }
}

impl FromStr for FaultKind {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (name, time) = match text.split_once('=') {
            None => (text, None),
            Some((name, time)) => (name, Some(time)),
        };
        let known = Self::NAMES.iter().find(|(known, _)| *known == name);
        let known = known.map(|(_, kind)| *kind).ok_or_else(|| {
            let names = Self::NAMES.map(|(name, _)| name).join(", ");
            NameError::new(format!("unknown fault kind `{name}`"), format!("the kinds are {names}"))
        })?;
        let Some(time) = time else { return Ok(known) };
        let timed: fn(Duration) -> Self = match known {
            Self::Slow(_) => Self::Slow,
            Self::Late(_) => Self::Late,
            _ => {
                let help = "only `slow` and `late` take a duration: slow=3s, late=5s";
                return Err(NameError::new(format!("`{name}` takes no duration"), help));
            }
        };
        parse_duration(time).map(timed).ok_or_else(|| {
            let help = format!("write a number and a unit: {name}=3s, {name}=200ms");
            NameError::new(format!("`{time}` is not a duration"), help)
        })
    }
}

/// A fault, its class and its rate: `CLASS:KIND:RATE`.
///
/// ```
/// use imgplan::test_support::server::{Fault, FaultKind};
/// let fault: Fault = "initiate:cut-after:20%".parse().unwrap();
/// assert_eq!((fault.kind(), fault.rate()), (FaultKind::CutAfter, 0.2));
/// assert!("start:expired:0.1".parse::<Fault>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// `None` applies to all classes.
    class: Option<FaultClass>,
    kind: FaultKind,
    rate: f64,
}

impl Fault {
    /// Creates a fault for a share of `rate` (0 to 1) of the requests of one class, or of each class.
    ///
    /// # Errors
    /// Fails if the rate is out of range, or if the kind does not apply to the class.
    pub fn new(class: Option<FaultClass>, kind: FaultKind, rate: f64) -> Result<Self, NameError> {
        if !(0.0..=1.0).contains(&rate) {
            return Err(not_a_rate(&rate.to_string()));
        }
        if class == Some(FaultClass::Class(Class::Images)) {
            let help = "use `initiate`, the class of the requests for transfers";
            return Err(NameError::new("`images` counts images and not requests", help));
        }
        match kind.only() {
            Some(only) if class != Some(only) => {
                let help = format!("write {only}:{}:RATE", kind.as_str());
                let message = format!("`{}` applies only to `{only}`", kind.as_str());
                Err(NameError::new(message, help))
            }
            _ => Ok(Self { class, kind, rate }),
        }
    }

    /// Returns the kind.
    #[cfg(feature = "test-support")]
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// Returns the share of requests, from 0 to 1.
    #[cfg(feature = "test-support")]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    fn applies_to(&self, class: FaultClass) -> bool {
        self.class.is_none_or(|own| own == class)
    }
}

impl FromStr for Fault {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut parts = text.split(':');
        let (Some(class), Some(kind), Some(rate), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            let help = "write CLASS:KIND:RATE: initiate:500:0.2, all:cut-after:5%";
            return Err(NameError::new(format!("`{text}` is not a fault"), help));
        };
        let class = match class {
            "all" => None,
            "upload" => Some(FaultClass::Upload),
            class => Some(FaultClass::Class(class.parse().map_err(|error: NameError| {
                NameError { help: format!("{}, upload, all", error.help), ..error }
            })?)),
        };
        let number = rate.strip_suffix('%').unwrap_or(rate);
        let number: f64 = number.parse().map_err(|_| not_a_rate(rate))?;
        let share = if rate.ends_with('%') { number / 100.0 } else { number };
        Self::new(class, kind.parse()?, share).map_err(|error| NameError {
            message: error.message.replace(&format!("`{share}`"), &format!("`{rate}`")),
            ..error
        })
    }
}

fn not_a_rate(text: &str) -> NameError {
    NameError::new(format!("`{text}` is not a rate"), "write a number from 0 to 1, or 0% to 100%")
}

/// A fault that was picked for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InjectedFault {
    pub(super) kind: FaultKind,
    /// True selects the second of a kind's two forms.
    pub(super) alternate: bool,
}

/// The faults of a server.
#[derive(Debug, Default)]
pub(super) struct Faults {
    faults: Vec<Fault>,
    seed: u64,
}

impl Faults {
    /// Checks that the rates of each class add up to at most 1.
    pub(super) fn new(faults: &[Fault], seed: u64) -> Result<Self, NameError> {
        for class in FaultClass::all() {
            let applying = faults.iter().filter(|fault| fault.applies_to(class));
            let sum: f64 = applying.map(|fault| fault.rate).sum();
            if sum > 1.0 + RATE_TOLERANCE {
                let message =
                    format!("the fault rates of `{class}` add up to {sum}, which is more than 1");
                let help = "a request gets at most one fault: lower the rates";
                return Err(NameError::new(message, help));
            }
        }
        Ok(Self { faults: faults.to_vec(), seed })
    }

    /// Returns the fault of a request, by its number within its class.
    pub(super) fn pick(&self, class: FaultClass, number: u64) -> Option<InjectedFault> {
        if self.faults.is_empty() {
            return None;
        }
        let (share, alternate) = draw(self.seed, class, number);
        let mut sum = 0.0;
        let mut faults = self.faults.iter().filter(|fault| fault.applies_to(class));
        let fault = faults.find(|fault| {
            sum += fault.rate;
            // A sum of almost 1 counts as 1, so that rounding does not spare a request.
            share < if sum > 1.0 - RATE_TOLERANCE { 1.0 } else { sum }
        })?;
        Some(InjectedFault { kind: fault.kind, alternate })
    }
}

/// Checks that a server can be started with these faults.
///
/// # Errors
/// Fails if the rates of a class add up to more than 1.
pub(crate) fn check_faults(faults: &[Fault]) -> Result<(), NameError> {
    Faults::new(faults, 0).map(|_| ())
}

/// Returns a number from 0 to just below 1, and a coin flip, that depend on the arguments only.
fn draw(seed: u64, class: FaultClass, number: u64) -> (f64, bool) {
    let hash = blake3::hash(format!("{seed} {class} {number}").as_bytes());
    let [a, b, c, d, coin, ..] = *hash.as_bytes();
    let share = f64::from(u32::from_le_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0);
    (share, coin % 2 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: FaultClass = FaultClass::Class(Class::Start);

    fn faults(texts: &[&str], seed: u64) -> Result<Faults, NameError> {
        let faults: Vec<Fault> = texts.iter().map(|text| text.parse().unwrap()).collect();
        Faults::new(&faults, seed)
    }

    #[test]
    fn faults_are_parsed() {
        let slow: Fault = "list:slow=200ms:25%".parse().unwrap();
        assert_eq!(slow.kind, FaultKind::Slow(Duration::from_millis(200)));
        assert!((slow.rate - 0.25).abs() < 1e-12 && !slow.applies_to(START));
        let late = |text: &str| text.parse::<Fault>().unwrap().kind;
        assert_eq!(late("initiate:late=2m:1"), FaultKind::Late(Duration::from_secs(120)));
        assert_eq!(late("all:late:1"), FaultKind::Late(DEFAULT_LATE));
        assert!("all:html:1".parse::<Fault>().unwrap().applies_to(FaultClass::Upload));
        let bad = [
            ("start", "`start` is not a fault"),
            ("start:500:1:1", "`start:500:1:1` is not a fault"),
            ("begin:500:1", "`begin` is not an endpoint class"),
            ("images:500:1", "`images` counts images and not requests"),
            ("start:501:1", "unknown fault kind `501`"),
            ("start:slow=3:1", "`3` is not a duration"),
            ("start:late=x:1", "`x` is not a duration"),
            ("start:500=3s:1", "`500` takes no duration"),
            ("start:500:101%", "`101%` is not a rate"),
            ("start:500:-1", "`-1` is not a rate"),
            ("start:500:NaN", "`NaN` is not a rate"),
            ("start:500:x", "`x` is not a rate"),
            ("all:expired:1", "`expired` applies only to `initiate`"),
            ("start:length:1", "`length` applies only to `upload`"),
        ];
        for (text, message) in bad {
            assert_eq!(text.parse::<Fault>().unwrap_err().message, message, "{text}");
        }
    }

    #[test]
    fn rates_add_up_to_at_most_one() {
        let tenths = ["start:500:10%"; 10];
        assert!(faults(&tenths, 0).is_ok());
        let error = faults(&["all:500:0.5", "start:html:0.75"], 0).unwrap_err();
        assert_eq!(
            error.message,
            "the fault rates of `start` add up to 1.25, which is more than 1"
        );
        let certain = faults(&tenths, 0).unwrap();
        assert!((0..1000).all(|number| certain.pick(START, number).is_some()));
    }

    #[test]
    fn the_seed_decides() {
        let texts = ["start:500:20%", "all:html:0.1"];
        let injected = |seed| {
            let faults = faults(&texts, seed).unwrap();
            (0..10_000).map(|number| faults.pick(START, number)).collect::<Vec<_>>()
        };
        assert_eq!(injected(7), injected(7));
        assert_ne!(injected(7), injected(8));
        let count = |kind| injected(7).iter().flatten().filter(|s| s.kind == kind).count();
        assert!((1_840..2_160).contains(&count(FaultKind::InternalError)));
        assert!((880..1_120).contains(&count(FaultKind::Html)));
        let alternate = injected(7).iter().flatten().filter(|fault| fault.alternate).count();
        assert!((1_390..1_610).contains(&alternate), "{alternate}");
    }
}
