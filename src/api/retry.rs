//! Says whether a request may be sent again, and after how long. Pure: the caller sleeps, and
//! brings the time and the dice.
//!
//! The service has no idempotency key (`api.md` §4): a request that asks for something new and whose
//! answer was lost is looked up before it is sent again.

use std::time::Duration;

use tokio::time::Instant;

use super::error::{ApiError, ErrorKind};

/// What may be done with a request whose answer was lost, or makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It may be sent again as it is: it reads, sets what is set already, or leaves something
    /// behind that does no harm.
    Safe,
    /// It asks for something new: whether that is there must be looked up first.
    LookFirst,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Wait so long and send it again.
    Again(Duration),
    /// Wait so long, look whether it took effect, and send it again if it did not.
    Look(Duration),
    /// The failure stands.
    GiveUp,
}

/// What a verdict depends on besides the error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attempt {
    /// Tries so far, the one that has just failed among them. Of a 429 those that met a 429; of
    /// all else those that met all else.
    pub tries: u32,
    /// Tries in all, at most.
    pub most: u32,
    /// The time since the first that failed.
    pub since_first: Duration,
    /// Whether the service has ever answered sensibly in this run.
    pub reached: bool,
    /// 0 or more, below 1: drawn by the caller.
    pub jitter: f64,
}

/// Tries at one request: some three minutes of waits.
pub const TRIES: u32 = 10;

/// Tries where the service was never reached: a wrong URL is told within seconds.
const TRIES_UNREACHED: u32 = 4;

/// The same where something answers that is not the service: that is a wrong URL even more likely.
const TRIES_STRANGER: u32 = 3;

/// The first wait; each further one is twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait of our own accord.
const LONGEST: Duration = Duration::from_secs(60);

/// The longest wait that the service is granted (`api.md` §3: honour it and cap it).
const LONGEST_ASKED: Duration = Duration::from_secs(120);

/// No try begins later than this after the first that failed.
const IN_ALL: Duration = Duration::from_secs(15 * 60);

/// Judges a failure.
///
/// A wait has at least half its length and at most all of it. Full jitter, down to nothing, would
/// spread as well, but could spend all tries within moments of an outage.
///
/// A rate has no cap, neither on tries nor on time: nothing was done, and waiting is all that is
/// asked. It never fails a unit.
pub fn after(error: &ApiError, attempt: &Attempt, repeat: Repeat) -> Verdict {
    use ErrorKind::{BadAnswer, Lost, Rate, Server, Unreachable};
    let wait = wait(error, attempt);
    let tries = match error.kind {
        Rate => return Verdict::Again(wait),
        BadAnswer if !attempt.reached => TRIES_STRANGER,
        Unreachable | Server | Lost | BadAnswer if attempt.reached => TRIES,
        Unreachable | Server | Lost | BadAnswer => TRIES_UNREACHED,
        _ => return Verdict::GiveUp,
    };
    if attempt.tries >= tries.min(attempt.most) || attempt.since_first + wait > IN_ALL {
        return Verdict::GiveUp;
    }
    match repeat {
        // Of what was never sent there is nothing to look up.
        Repeat::LookFirst if error.kind != Unreachable => Verdict::Look(wait),
        Repeat::LookFirst | Repeat::Safe => Verdict::Again(wait),
    }
}

/// What the service asks for, never less; else a backoff with jitter. That it asks for no wait at
/// all says nothing.
fn wait(error: &ApiError, attempt: &Attempt) -> Duration {
    let doublings = attempt.tries.saturating_sub(1).min(16);
    let backoff = (FIRST * (1 << doublings)).min(LONGEST).mul_f64(0.5 + attempt.jitter / 2.0);
    let asked = error.retry_after.filter(|asked| !asked.is_zero());
    asked.map_or(backoff, |asked| asked.min(LONGEST_ASKED))
}

/// The tries at one thing, over the look-ups between them.
#[derive(Debug, Clone)]
pub struct Tries {
    repeat: Repeat,
    most: u32,
    failed: u32,
    rates: u32,
    first: Option<Instant>,
}

impl Tries {
    /// None so far.
    pub fn new(repeat: Repeat) -> Self {
        Self { repeat, most: TRIES, failed: 0, rates: 0, first: None }
    }

    /// No more than so many, for whoever comes back anyway.
    pub fn at_most(self, most: u32) -> Self {
        Self { most, ..self }
    }

    /// Takes in that another has failed: which one it was, from 1, and the verdict on it.
    pub fn failed(
        &mut self,
        error: &ApiError,
        reached: bool,
        jitter: f64,
        now: Instant,
    ) -> (u32, Verdict) {
        let rate = error.kind == ErrorKind::Rate;
        let tries = if rate { &mut self.rates } else { &mut self.failed };
        *tries += 1;
        let tries = *tries;
        // To wait one's turn is no failure, however long it takes.
        let first = if rate { now } else { *self.first.get_or_insert(now) };
        let since_first = now.saturating_duration_since(first);
        let attempt = Attempt { tries, most: self.most, since_first, reached, jitter };
        (self.rates + self.failed, after(error, &attempt, self.repeat))
    }
}
