//! The one door through which every request leaves: it waits until its class has a free slot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::window::{Admit, SlidingWindow};
use crate::base::limit::{Class, Limit, TEAM_TRANSFERS};
use crate::base::name::Owner;

/// The budgets of all classes, shared by everything that talks to the service.
#[derive(Debug)]
pub struct Gate {
    lanes: HashMap<Class, Arc<Lane>>,
    /// Transfers are counted by account; the limit of all accounts where one was given.
    transfers: Mutex<HashMap<Owner, Arc<Lane>>>,
    transfer_limit: Option<Limit>,
}

/// One window and those who wait for it, first come, first served.
#[derive(Debug)]
struct Lane {
    turn: tokio::sync::Mutex<()>,
    window: Mutex<SlidingWindow>,
    answered: Notify,
}

/// The right to send one request (or transfer some images); its slots are given back when dropped,
/// one window later.
#[derive(Debug)]
#[must_use = "a dropped permit counts as answered"]
pub struct Permit {
    lane: Arc<Lane>,
    slots: u32,
}

impl Gate {
    /// Budgets with the given limits, and the defaults for all other classes.
    pub fn new(limits: &[(Class, Limit)]) -> Self {
        let given =
            |class| limits.iter().rev().find(|(of, _)| *of == class).map(|(_, limit)| *limit);
        let lanes = Class::ALL
            .into_iter()
            .map(|class| {
                let limit = given(class).unwrap_or_else(|| class.default_limit());
                (class, Arc::new(Lane::new(limit)))
            })
            .collect();
        Self { lanes, transfers: Mutex::default(), transfer_limit: given(Class::Images) }
    }

    /// Waits for a slot of a class.
    pub async fn request(&self, class: Class) -> Permit {
        Lane::take(Arc::clone(&self.lanes[&class]), 1).await
    }

    /// Waits until `owner` may transfer that many images. Transfers of the platform are not
    /// counted (`api.md` §3).
    pub async fn transfer(&self, owner: &Owner, images: u32) -> Option<Permit> {
        let default = match owner {
            Owner::Personal => Class::Images.default_limit(),
            Owner::Team(_) => TEAM_TRANSFERS,
            Owner::Platform => self.transfer_limit?,
        };
        let lane = {
            let mut lanes = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
            let limit = self.transfer_limit.unwrap_or(default);
            Arc::clone(lanes.entry(owner.clone()).or_insert_with(|| Arc::new(Lane::new(limit))))
        };
        Some(Lane::take(lane, images).await)
    }
}

impl Lane {
    fn new(limit: Limit) -> Self {
        Self {
            turn: tokio::sync::Mutex::new(()),
            window: Mutex::new(SlidingWindow::new(limit)),
            answered: Notify::new(),
        }
    }

    async fn take(lane: Arc<Self>, slots: u32) -> Permit {
        {
            let _turn = lane.turn.lock().await;
            loop {
                // Registered before the window is read, so that no answer slips between.
                let answered = lane.answered.notified();
                let admit = lane.window().admit(slots, Instant::now());
                match admit {
                    Admit::Now => break,
                    Admit::At(at) => sleep_until(at).await,
                    Admit::AfterAnswer => answered.await,
                }
            }
        }
        Permit { lane, slots }
    }

    fn window(&self) -> std::sync::MutexGuard<'_, SlidingWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Holds back the whole class: the service asked to wait.
    pub fn pause(&self, length: Duration) {
        self.lane.window().pause(length, Instant::now());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.lane.window().answered(self.slots, Instant::now());
        self.lane.answered.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_that_wait_go_as_soon_as_they_may() {
        let limit = Limit { count: 10, window: Duration::from_secs(60) };
        let gate = Arc::new(Gate::new(&[(Class::Initiate, limit)]));
        let start = Instant::now();
        let tasks: Vec<_> = (0..35)
            .map(|_| {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move {
                    let _permit = gate.request(Class::Initiate).await;
                    start.elapsed().as_secs()
                })
            })
            .collect();
        let mut times = Vec::new();
        for task in tasks {
            times.push(task.await.unwrap());
        }
        times.sort_unstable();
        let expected: Vec<u64> =
            [0, 60, 120].into_iter().flat_map(|at| [at; 10]).chain([180; 5]).collect();
        assert_eq!(times, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_transfer_apart() {
        let gate = Gate::new(&[]);
        let start = Instant::now();
        for _ in 0..10 {
            drop(gate.transfer(&Owner::Personal, 1).await);
        }
        for _ in 0..60 {
            drop(gate.transfer(&Owner::Team("t".to_owned()), 1).await);
        }
        assert!(gate.transfer(&Owner::Platform, 1).await.is_none());
        assert_eq!(start.elapsed().as_secs(), 0);
        drop(gate.transfer(&Owner::Personal, 1).await);
        assert_eq!(start.elapsed().as_secs(), 60);
    }
}
