//! The main job, end to end: a manifest, a plan, an apply, a lockfile, and nothing left to do.

use crate::support::TestEnv;

#[test]
fn a_second_plan_is_empty() {
    let env = TestEnv::example("monorepo");
    env.apply();
    env.plans_nothing();
}
