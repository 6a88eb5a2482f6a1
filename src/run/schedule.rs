//! Decides which steps may start: a ready queue for each pool. Pure.

use std::collections::BTreeSet;

use crate::plan::StepId;

/// The dependencies and states of all steps, and their pools.
///
/// The steps of a pool share a limit on how many run at once. A full pool does not hold up another.
#[derive(Debug)]
pub(super) struct Schedule {
    nodes: Vec<ScheduledStep>,
    pools: Vec<Pool>,
    stopped: bool,
}

#[derive(Debug)]
struct ScheduledStep {
    pool: usize,
    waits_for: usize,
    dependents: Vec<StepId>,
    state: ScheduleState,
}

#[derive(Debug)]
struct Pool {
    ready: BTreeSet<StepId>,
    active: usize,
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScheduleState {
    Waiting,
    Active,
    Done,
    Skipped,
}

impl Schedule {
    /// `needs[i]` are the steps that step `i` waits for, `pools[i]` is its pool, and `limits[p]` the
    /// number of steps of pool `p` that may run at once.
    pub(super) fn new(needs: &[&[StepId]], pools: &[usize], limits: &[usize]) -> Self {
        let node = |(needs, &pool): (&&[StepId], &usize)| ScheduledStep {
            pool,
            waits_for: needs.len(),
            dependents: Vec::new(),
            state: ScheduleState::Waiting,
        };
        let mut nodes: Vec<ScheduledStep> = needs.iter().zip(pools).map(node).collect();
        let pool = |&limit: &usize| Pool { ready: BTreeSet::new(), active: 0, limit: limit.max(1) };
        let mut pools: Vec<Pool> = limits.iter().map(pool).collect();
        for (index, needs) in needs.iter().enumerate() {
            for need in *needs {
                nodes[need.0].dependents.push(StepId(index));
            }
            if needs.is_empty() {
                pools[nodes[index].pool].ready.insert(StepId(index));
            }
        }
        Self { nodes, pools, stopped: false }
    }

    /// Marks the steps that may start now as active, and returns them in the plan's order.
    pub(super) fn start(&mut self) -> Vec<StepId> {
        let mut started = Vec::new();
        for pool in self.pools.iter_mut().filter(|_| !self.stopped) {
            while pool.active < pool.limit {
                let Some(step) = pool.ready.pop_first() else { break };
                self.nodes[step.0].state = ScheduleState::Active;
                pool.active += 1;
                started.push(step);
            }
        }
        started.sort_unstable();
        started
    }

    /// Marks an active step as ended. If it did not succeed, returns all steps that depend on it,
    /// which are skipped.
    pub(super) fn finish(&mut self, step: StepId, succeeded: bool) -> Vec<StepId> {
        if self.nodes[step.0].state != ScheduleState::Active {
            return Vec::new();
        }
        self.nodes[step.0].state = ScheduleState::Done;
        self.pools[self.nodes[step.0].pool].active -= 1;
        if !succeeded {
            return self.skip_dependents(step);
        }
        for dependent in self.nodes[step.0].dependents.clone() {
            let node = &mut self.nodes[dependent.0];
            node.waits_for -= 1;
            if node.waits_for == 0 && node.state == ScheduleState::Waiting {
                self.pools[node.pool].ready.insert(dependent);
            }
        }
        Vec::new()
    }

    /// Skips all steps that have not started, and returns them.
    pub(super) fn stop(&mut self) -> Vec<StepId> {
        self.stopped = true;
        self.pools.iter_mut().for_each(|pool| pool.ready.clear());
        let waiting =
            |(_, node): &(usize, &mut ScheduledStep)| node.state == ScheduleState::Waiting;
        self.nodes
            .iter_mut()
            .enumerate()
            .filter(waiting)
            .map(|(index, node)| {
                node.state = ScheduleState::Skipped;
                StepId(index)
            })
            .collect()
    }

    /// Returns the number of active steps.
    pub(super) fn active(&self) -> usize {
        self.pools.iter().map(|pool| pool.active).sum()
    }

    fn skip_dependents(&mut self, step: StepId) -> Vec<StepId> {
        let mut skipped = BTreeSet::new();
        let mut queue = self.nodes[step.0].dependents.clone();
        while let Some(next) = queue.pop() {
            let node = &mut self.nodes[next.0];
            if node.state == ScheduleState::Waiting {
                node.state = ScheduleState::Skipped;
                skipped.insert(next);
                queue.extend(&node.dependents);
            }
        }
        skipped.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps(ids: &[usize]) -> Vec<StepId> {
        ids.iter().map(|id| StepId(*id)).collect()
    }

    #[test]
    fn a_failed_base_skips_its_dependents() {
        let needs = [&[][..], &steps(&[0]), &steps(&[1]), &[]];
        let mut schedule = Schedule::new(&needs, &[0; 4], &[10]);
        assert_eq!(schedule.start(), steps(&[0, 3]));
        assert_eq!(schedule.finish(StepId(3), true), []);
        assert_eq!(schedule.start(), []);
        assert_eq!(schedule.finish(StepId(0), false), steps(&[1, 2]));
        assert_eq!((schedule.start(), schedule.active()), (vec![], 0));
    }

    #[test]
    fn a_full_pool_does_not_hold_up_another() {
        let mut schedule = Schedule::new(&[&[][..]; 6], &[0, 0, 0, 1, 1, 2], &[1, 2, 9]);
        assert_eq!(schedule.start(), steps(&[0, 3, 4, 5]));
        schedule.finish(StepId(3), true);
        assert_eq!(schedule.start(), []);
        schedule.finish(StepId(0), true);
        assert_eq!(schedule.start(), steps(&[1]));
    }

    proptest! {
        /// Every step ends exactly once and after its dependencies, no pool exceeds its limit, and
        /// exactly the dependents of failed steps are skipped.
        #[test]
        fn each_step_ends_once_and_in_order(
            edges in prop::collection::vec((0usize..14, 0usize..14), 0..40),
            fails in prop::collection::vec(any::<bool>(), 14),
            limits in (1usize..4, 1usize..4),
            pools in prop::collection::vec(0usize..2, 14),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 14),
        ) {
            let mut needs = vec![Vec::new(); 14];
            for (a, b) in edges {
                let (low, high) = (a.min(b), a.max(b));
                if low != high && !needs[high].contains(&StepId(low)) {
                    needs[high].push(StepId(low));
                }
            }
            let by_step: Vec<&[StepId]> = needs.iter().map(Vec::as_slice).collect();
            let limits = [limits.0, limits.1];
            let mut schedule = Schedule::new(&by_step, &pools, &limits);
            let mut active: Vec<StepId> = Vec::new();
            let mut done = [None; 14];
            for pick in picks {
                for step in schedule.start() {
                    for need in &needs[step.0] {
                        prop_assert_eq!(done[need.0], Some(true));
                    }
                    prop_assert!(done[step.0].is_none());
                    active.push(step);
                }
                for (pool, limit) in limits.iter().enumerate() {
                    let in_pool = active.iter().filter(|step| pools[step.0] == pool).count();
                    prop_assert!(in_pool <= *limit);
                }
                prop_assert_eq!(active.len(), schedule.active());
                if active.is_empty() { break; }
                let step = active.remove(pick.index(active.len()));
                done[step.0] = Some(!fails[step.0]);
                for skipped in schedule.finish(step, !fails[step.0]) {
                    prop_assert!(done[skipped.0].is_none());
                    done[skipped.0] = Some(false);
                }
            }
            if schedule.start().is_empty() && active.is_empty() {
                for (index, needs) in needs.iter().enumerate() {
                    let below = needs.iter().any(|need| done[need.0] == Some(false));
                    prop_assert_eq!(done[index], Some(!below && !fails[index]));
                }
            }
        }
    }
}
