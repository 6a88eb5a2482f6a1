//! Faults on purpose: which requests are struck, and how. Pure: whether a request is struck follows
//! from a seed and its number within its class, so that a run can be repeated.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::base::limit::{Class, parse_duration};
use crate::base::name::NameError;

/// How long a `slow` answer is held back where nobody says how long.
const SLOW: Duration = Duration::from_secs(3);
/// How long after its answer a `late` request takes effect where nobody says how long.
const LATE: Duration = Duration::from_secs(5);
/// Sums of rates that people write, such as ten times 10%, miss 1 by this much at most.
const ROUNDING: f64 = 1e-9;

/// The requests that faults are counted among.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// Those of one class of the API.
    Class(Class),
    /// The uploads of contexts.
    Upload,
}

impl FaultClass {
    fn as_str(self) -> &'static str {
        match self {
            Self::Class(class) => class.as_str(),
            Self::Upload => "upload",
        }
    }

    /// The class of the API, if it is one.
    pub(super) fn api(self) -> Option<Class> {
        match self {
            Self::Class(class) => Some(class),
            Self::Upload => None,
        }
    }

    /// All of them. Transfers are asked for by initiates, and their budget is not one of requests.
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

/// What happens to a request that is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// `500`: nothing is done, and the answer is 500.
    InternalError,
    /// `503`: nothing is done, and the answer is 503 with a `Retry-After` of a second.
    Unavailable,
    /// `429`: nothing is done, and the answer is the 429 of a rate; every other one, more or less,
    /// has a `Retry-After` in seconds.
    RateLimit,
    /// `429-date`: nothing is done, and the answer is the 429 of a rate, with a `Retry-After` that
    /// is a date.
    RateLimitDate,
    /// `cut-before`: nothing is done, and the connection closes without an answer.
    CutBefore,
    /// `cut-after`: the request takes effect, and the connection closes without an answer.
    CutAfter,
    /// `html`: nothing is done, and the answer is 200 with a page for people.
    Html,
    /// `html-after`: the request takes effect, and the answer is 502 with a page for people.
    HtmlAfter,
    /// `slow`, `slow=3s`: the request takes effect, and its answer is held back.
    Slow(Duration),
    /// `late`, `late=5s`: the answer comes at once, a gateway's 504 with a page for people or, for
    /// about half of them, none at all; the request takes effect only after that time, or when the
    /// server stops, if that is sooner.
    Late(Duration),
    /// `expired`: the upload URL of a build has expired when it is given out; half of the answers
    /// or so say it, in `expires_in`. Initiates only; a transfer has no URL and notices nothing.
    Expired,
    /// `length`: the upload ends early, the answer is a storage's 400, and nothing is kept.
    /// Uploads only.
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
        ("slow", Self::Slow(SLOW)),
        ("late", Self::Late(LATE)),
        ("expired", Self::Expired),
        ("length", Self::Length),
    ];

    /// The kind as flags write it, without a duration.
    pub fn as_str(self) -> &'static str {
        let is_it =
            |(_, kind): &&(_, Self)| std::mem::discriminant(kind) == std::mem::discriminant(&self);
        Self::NAMES.iter().find(is_it).map_or("", |(name, _)| name)
    }

    /// The only requests that it can happen to, if it cannot happen to all.
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
            NameError::new(
                format!("`{name}` is not a kind of fault"),
                format!("the kinds are {names}"),
            )
        })?;
        let Some(time) = time else { return Ok(known) };
        let timed: fn(Duration) -> Self = match known {
            Self::Slow(_) => Self::Slow,
            Self::Late(_) => Self::Late,
            _ => {
                let help = "only `slow` and `late` take how long: slow=3s, late=5s";
                return Err(NameError::new(format!("`{name}` takes no duration"), help));
            }
        };
        parse_duration(time).map(timed).ok_or_else(|| {
            let help = format!("write a number and a unit: {name}=3s, {name}=200ms");
            NameError::new(format!("`{time}` is not a duration"), help)
        })
    }
}

/// What happens to which requests, and how often: `CLASS:KIND:RATE`.
///
/// ```
/// use imgplan::server::{Fault, FaultKind};
/// let fault: Fault = "initiate:cut-after:20%".parse().unwrap();
/// assert_eq!((fault.kind(), fault.rate()), (FaultKind::CutAfter, 0.2));
/// assert!("start:expired:0.1".parse::<Fault>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// `None`: all of them.
    class: Option<FaultClass>,
    kind: FaultKind,
    rate: f64,
}

impl Fault {
    /// A fault that strikes `rate` (0 to 1) of the requests of one class, or of each.
    pub fn new(class: Option<FaultClass>, kind: FaultKind, rate: f64) -> Result<Self, NameError> {
        if !(0.0..=1.0).contains(&rate) {
            return Err(not_a_rate(&rate.to_string()));
        }
        if class == Some(FaultClass::Class(Class::Images)) {
            let help = "transfers are asked for by the requests of `initiate`";
            return Err(NameError::new("`images` counts images, and no requests", help));
        }
        match kind.only() {
            Some(only) if class != Some(only) => {
                let help = format!("write {only}:{}:RATE", kind.as_str());
                let message = format!("`{}` can only happen to `{only}`", kind.as_str());
                Err(NameError::new(message, help))
            }
            _ => Ok(Self { class, kind, rate }),
        }
    }

    /// What happens.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// To how many of the requests, from 0 to 1.
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

/// What a request is struck with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InjectedFault {
    pub(super) kind: FaultKind,
    /// Which of a kind's two forms.
    pub(super) alternate: bool,
}

/// All faults of a server.
#[derive(Debug, Default)]
pub(super) struct Faults {
    faults: Vec<Fault>,
    seed: u64,
}

impl Faults {
    /// Takes faults whose rates do not exceed 1 for any class.
    pub(super) fn new(faults: &[Fault], seed: u64) -> Result<Self, NameError> {
        for class in FaultClass::all() {
            let applying = faults.iter().filter(|fault| fault.applies_to(class));
            let sum: f64 = applying.map(|fault| fault.rate).sum();
            if sum > 1.0 + ROUNDING {
                let message = format!("the faults of `{class}` add up to {sum}, more than 1");
                let help = "each request meets one fault at most: lower the rates";
                return Err(NameError::new(message, help));
            }
        }
        Ok(Self { faults: faults.to_vec(), seed })
    }

    /// What the request with a number within its class is struck with, if anything.
    pub(super) fn pick(&self, class: FaultClass, number: u64) -> Option<InjectedFault> {
        if self.faults.is_empty() {
            return None;
        }
        let (share, alternate) = draw(self.seed, class, number);
        let mut sum = 0.0;
        let mut faults = self.faults.iter().filter(|fault| fault.applies_to(class));
        let fault = faults.find(|fault| {
            sum += fault.rate;
            // What is almost 1 is 1: a rounding must not let a request through.
            share < if sum > 1.0 - ROUNDING { 1.0 } else { sum }
        })?;
        Some(InjectedFault { kind: fault.kind, alternate })
    }
}

/// Whether a server can be started with these faults.
pub fn check_faults(faults: &[Fault]) -> Result<(), NameError> {
    Faults::new(faults, 0).map(|_| ())
}

/// A number from 0 to just below 1, and a coin: the same for the same request of the same seed.
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
    fn what_is_written() {
        let slow: Fault = "list:slow=200ms:25%".parse().unwrap();
        assert_eq!(slow.kind, FaultKind::Slow(Duration::from_millis(200)));
        assert!((slow.rate - 0.25).abs() < 1e-12 && !slow.applies_to(START));
        let late = |text: &str| text.parse::<Fault>().unwrap().kind;
        assert_eq!(late("initiate:late=2m:1"), FaultKind::Late(Duration::from_secs(120)));
        assert_eq!(late("all:late:1"), FaultKind::Late(LATE));
        assert!("all:html:1".parse::<Fault>().unwrap().applies_to(FaultClass::Upload));
        let bad = [
            ("start", "`start` is not a fault"),
            ("start:500:1:1", "`start:500:1:1` is not a fault"),
            ("begin:500:1", "`begin` is not an endpoint class"),
            ("images:500:1", "`images` counts images, and no requests"),
            ("start:501:1", "`501` is not a kind of fault"),
            ("start:slow=3:1", "`3` is not a duration"),
            ("start:late=x:1", "`x` is not a duration"),
            ("start:500=3s:1", "`500` takes no duration"),
            ("start:500:101%", "`101%` is not a rate"),
            ("start:500:-1", "`-1` is not a rate"),
            ("start:500:NaN", "`NaN` is not a rate"),
            ("start:500:x", "`x` is not a rate"),
            ("all:expired:1", "`expired` can only happen to `initiate`"),
            ("start:length:1", "`length` can only happen to `upload`"),
        ];
        for (text, message) in bad {
            assert_eq!(text.parse::<Fault>().unwrap_err().message, message, "{text}");
        }
    }

    #[test]
    fn rates_add_up_to_one_at_most() {
        let tenths = ["start:500:10%"; 10];
        assert!(faults(&tenths, 0).is_ok());
        let error = faults(&["all:500:0.5", "start:html:0.75"], 0).unwrap_err();
        assert_eq!(error.message, "the faults of `start` add up to 1.25, more than 1");
        let certain = faults(&tenths, 0).unwrap();
        assert!((0..1000).all(|number| certain.pick(START, number).is_some()));
    }

    #[test]
    fn a_seed_decides() {
        let texts = ["start:500:20%", "all:html:0.1"];
        let struck = |seed| {
            let faults = faults(&texts, seed).unwrap();
            (0..10_000).map(|number| faults.pick(START, number)).collect::<Vec<_>>()
        };
        assert_eq!(struck(7), struck(7));
        assert_ne!(struck(7), struck(8));
        let count = |kind| struck(7).iter().flatten().filter(|s| s.kind == kind).count();
        assert!((1_840..2_160).contains(&count(FaultKind::InternalError)));
        assert!((880..1_120).contains(&count(FaultKind::Html)));
        let alternate = struck(7).iter().flatten().filter(|fault| fault.alternate).count();
        assert!((1_390..1_610).contains(&alternate), "{alternate}");
    }
}
