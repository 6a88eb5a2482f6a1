//! Carries out one step from start to end.

use super::job::{AdoptJob, StepJob, Work};
use super::link::observed;
use super::outcome::{StepFailure, StepOutput};
use super::unit::{Links, UnitRun};
use crate::event::Phase;
use crate::state::Record;

/// Carries out one step.
pub(super) async fn run(job: StepJob, links: Links) -> Result<StepOutput, StepFailure> {
    let StepJob { step, key, image, mirror, work } = job;
    let client = observed(&links.client, links.messages.clone(), Some(step));
    let unit = UnitRun { step, key, image, mirror, links: Links { client, ..links } };
    match work {
        Work::Create(job) => unit.create(*job).await,
        Work::Adopt(AdoptJob { build, path, start, timeout, then }) => {
            // The build and its record have the name of before a rename.
            let old_key = then.as_ref().and_then(|change| change.from.clone());
            let key = old_key.unwrap_or_else(|| unit.key.clone());
            let (image, mirror) = (unit.image.clone(), unit.mirror.clone());
            let adopted = UnitRun { step, key, image, mirror, links: unit.links.clone() };
            if start {
                adopted.start_if_not_started(&build).await?;
                let started = Record::Started { unit: adopted.key.clone(), build: build.clone() };
                adopted.record(started).await?;
            }
            adopted.phase(Phase::Building, Some(&build));
            let output = adopted.wait_for_own(&build, path, timeout).await?;
            let Some(change) = then else { return Ok(output) };
            unit.update(&change).await?;
            // The path in the output is that of before the move.
            Ok(StepOutput { path: output.path.filter(|_| !change.moves()), ..output })
        }
        Work::Update(change) => unit.update(&change).await,
        Work::Delete { owner, after } => unit.delete(&owner, after.as_ref()).await,
        Work::Forget(after) => {
            if let Some(build) = after {
                unit.wait_for_earlier(&build, None).await?;
            }
            unit.forget().await
        }
    }
}
