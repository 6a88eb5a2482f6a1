//! A ready queue: which steps may start, given what has ended. Pure.

use std::collections::BTreeSet;

use crate::plan::StepId;

/// Steps, what they need, how far each is, and how many may be worked on at once.
///
/// Steps of one lane share a limit. What waits in one lane, for a budget say, keeps nothing in
/// another one from going.
#[derive(Debug)]
pub(super) struct Schedule {
    nodes: Vec<Node>,
    lanes: Vec<Lane>,
    stopped: bool,
}

#[derive(Debug)]
struct Node {
    lane: usize,
    waits_for: usize,
    dependents: Vec<StepId>,
    state: NodeState,
}

#[derive(Debug)]
struct Lane {
    ready: BTreeSet<StepId>,
    active: usize,
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NodeState {
    Waiting,
    Active,
    Done,
    Skipped,
}

impl Schedule {
    /// `needs[i]` are the steps that step `i` waits for, `lanes[i]` is its lane, and `limits[l]` how
    /// many steps of lane `l` are worked on at once.
    pub(super) fn new(needs: &[&[StepId]], lanes: &[usize], limits: &[usize]) -> Self {
        let node = |(needs, &lane): (&&[StepId], &usize)| Node {
            lane,
            waits_for: needs.len(),
            dependents: Vec::new(),
            state: NodeState::Waiting,
        };
        let mut nodes: Vec<Node> = needs.iter().zip(lanes).map(node).collect();
        let lane = |&limit: &usize| Lane { ready: BTreeSet::new(), active: 0, limit: limit.max(1) };
        let mut lanes: Vec<Lane> = limits.iter().map(lane).collect();
        for (index, needs) in needs.iter().enumerate() {
            for need in *needs {
                nodes[need.0].dependents.push(StepId(index));
            }
            if needs.is_empty() {
                lanes[nodes[index].lane].ready.insert(StepId(index));
            }
        }
        Self { nodes, lanes, stopped: false }
    }

    /// Takes the steps that may start now, in the plan's order.
    pub(super) fn start(&mut self) -> Vec<StepId> {
        let mut started = Vec::new();
        for lane in self.lanes.iter_mut().filter(|_| !self.stopped) {
            while lane.active < lane.limit {
                let Some(step) = lane.ready.pop_first() else { break };
                self.nodes[step.0].state = NodeState::Active;
                lane.active += 1;
                started.push(step);
            }
        }
        started.sort_unstable();
        started
    }

    /// Says that a started step ended. Where it did not succeed, returns all that can now never
    /// start.
    pub(super) fn finish(&mut self, step: StepId, succeeded: bool) -> Vec<StepId> {
        if self.nodes[step.0].state != NodeState::Active {
            return Vec::new();
        }
        self.nodes[step.0].state = NodeState::Done;
        self.lanes[self.nodes[step.0].lane].active -= 1;
        if !succeeded {
            return self.skip_above(step);
        }
        for dependent in self.nodes[step.0].dependents.clone() {
            let node = &mut self.nodes[dependent.0];
            node.waits_for -= 1;
            if node.waits_for == 0 && node.state == NodeState::Waiting {
                self.lanes[node.lane].ready.insert(dependent);
            }
        }
        Vec::new()
    }

    /// Starts nothing any more, and returns all that was not started.
    pub(super) fn stop(&mut self) -> Vec<StepId> {
        self.stopped = true;
        self.lanes.iter_mut().for_each(|lane| lane.ready.clear());
        let waiting = |(_, node): &(usize, &mut Node)| node.state == NodeState::Waiting;
        self.nodes
            .iter_mut()
            .enumerate()
            .filter(waiting)
            .map(|(index, node)| {
                node.state = NodeState::Skipped;
                StepId(index)
            })
            .collect()
    }

    /// How many steps are being worked on.
    pub(super) fn active(&self) -> usize {
        self.lanes.iter().map(|lane| lane.active).sum()
    }

    fn skip_above(&mut self, step: StepId) -> Vec<StepId> {
        let mut skipped = BTreeSet::new();
        let mut queue = self.nodes[step.0].dependents.clone();
        while let Some(next) = queue.pop() {
            let node = &mut self.nodes[next.0];
            if node.state == NodeState::Waiting {
                node.state = NodeState::Skipped;
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
    fn a_base_comes_first_and_its_failure_skips_what_needs_it() {
        let needs = [&[][..], &steps(&[0]), &steps(&[1]), &[]];
        let mut schedule = Schedule::new(&needs, &[0; 4], &[10]);
        assert_eq!(schedule.start(), steps(&[0, 3]));
        assert_eq!(schedule.finish(StepId(3), true), []);
        assert_eq!(schedule.start(), []);
        assert_eq!(schedule.finish(StepId(0), false), steps(&[1, 2]));
        assert_eq!((schedule.start(), schedule.active()), (vec![], 0));
    }

    #[test]
    fn a_full_lane_keeps_nothing_in_another_from_going() {
        let mut schedule = Schedule::new(&[&[][..]; 6], &[0, 0, 0, 1, 1, 2], &[1, 2, 9]);
        assert_eq!(schedule.start(), steps(&[0, 3, 4, 5]));
        schedule.finish(StepId(3), true);
        assert_eq!(schedule.start(), []);
        schedule.finish(StepId(0), true);
        assert_eq!(schedule.start(), steps(&[1]));
    }

    proptest! {
        /// Every step ends exactly once, none before what it needs, never too many at once; and
        /// exactly those are skipped that stand above a failure.
        #[test]
        fn each_ends_once_and_in_order(
            edges in prop::collection::vec((0usize..14, 0usize..14), 0..40),
            fails in prop::collection::vec(any::<bool>(), 14),
            limits in (1usize..4, 1usize..4),
            lanes in prop::collection::vec(0usize..2, 14),
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
            let mut schedule = Schedule::new(&by_step, &lanes, &limits);
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
                for (lane, limit) in limits.iter().enumerate() {
                    let in_lane = active.iter().filter(|step| lanes[step.0] == lane).count();
                    prop_assert!(in_lane <= *limit);
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
