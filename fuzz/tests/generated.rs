//! Runs every structure-aware fuzz target on a fixed number of generated documents. For a longer
//! run, set `IMGPLAN_FUZZ_SECONDS` to the time per target, and `IMGPLAN_FUZZ_SEED` to a number that
//! selects other documents.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use imgplan_fuzz::generated;

type Target = fn(&[u8]) -> bool;

/// Maximum number of attempts to make a failing input smaller.
const MAX_SHRINK_RUNS: usize = 400;

/// Runs the target on `runs` inputs. Fails if it panics, or if imgplan accepts less than
/// `min_accepted` percent of the documents.
fn check(target: Target, runs: usize, min_accepted: usize) {
    let variable = |name: &str| {
        std::env::var(name).ok().map(|value| value.parse::<u64>().expect("the value is a number"))
    };
    let mut random = Random(variable("IMGPLAN_FUZZ_SEED").unwrap_or(1));
    let time = variable("IMGPLAN_FUZZ_SECONDS").map(Duration::from_secs);
    let began = Instant::now();
    let (mut done, mut accepted, mut slowest) = (0, 0, Duration::ZERO);
    while time.map_or(done < runs, |time| began.elapsed() < time) {
        let input = random.bytes();
        let started = Instant::now();
        match run(target, &input) {
            Some(is_accepted) => accepted += usize::from(is_accepted),
            None => fail(target, input),
        }
        slowest = slowest.max(started.elapsed());
        done += 1;
    }
    println!("{done} documents, {accepted} accepted, the slowest in {slowest:.0?}");
    assert!(accepted * 100 >= done * min_accepted, "{accepted} of {done} are accepted");
}

/// Returns the result of the target; `None` if it panics.
fn run(target: Target, input: &[u8]) -> Option<bool> {
    catch_unwind(AssertUnwindSafe(|| target(input))).ok()
}

/// Makes the failing input smaller, and fails with it.
fn fail(target: Target, mut input: Vec<u8>) -> ! {
    let mut length = input.len() / 2;
    let mut runs = 0;
    while length > 0 && runs < MAX_SHRINK_RUNS {
        let mut start = 0;
        while start < input.len() && runs < MAX_SHRINK_RUNS {
            let mut smaller = input.clone();
            smaller.drain(start..(start + length).min(input.len()));
            runs += 1;
            if run(target, &smaller).is_none() {
                input = smaller;
            } else {
                start += length;
            }
        }
        length /= 2;
    }
    println!("the smallest failing input that was found: {input:?}");
    target(&input);
    unreachable!("the target panics on this input");
}

/// Pseudorandom numbers (`SplitMix64`), the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let words = 4 + self.next() % 60;
        (0..words).flat_map(|_| self.next().to_le_bytes()).collect()
    }
}

#[test]
fn dockerfile() {
    check(generated::dockerfile, 4_000, 60);
}

#[test]
fn ignore_file() {
    check(generated::ignore_file, 400, 60);
}

#[test]
fn manifest() {
    check(generated::manifest, 200, 50);
}

#[test]
fn lockfile() {
    check(generated::lockfile, 2_000, 60);
}

#[test]
fn journal() {
    check(generated::journal, 2_000, 60);
}

#[test]
fn merge_conflict() {
    check(generated::merge_conflict, 1_000, 60);
}

#[test]
fn saved_plan() {
    check(generated::saved_plan, 200, 40);
}

#[test]
fn initiate_answers() {
    check(generated::initiate_answers, 3_000, 60);
}

#[test]
fn listing_answers() {
    check(generated::listing_answers, 3_000, 50);
}

#[test]
fn update_answers() {
    check(generated::update_answers, 2_000, 30);
}

#[test]
fn registry_answers() {
    check(generated::registry_answers, 3_000, 25);
}
