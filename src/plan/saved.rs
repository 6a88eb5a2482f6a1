//! A plan in a file. `apply` carries it out later as it was approved, or rejects it as stale. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::options::PlanOptions;
use super::select::keep_only;
use super::steps::{Action, Change, Create, Plan, Step};
use crate::base::digest::{Digest, Fingerprint};
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Owner, Visibility};
use crate::base::plain_text::{deserialize_plain, deserialize_plain_keys};
use crate::manifest::workspace::{Unit, Workspace};
use crate::state::encode::encode;
use crate::state::{Entry, Pin, State};

/// Version of the file format. Files of another version are rejected.
pub(crate) const VERSION: u32 = 4;

/// A saved plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// Format version: [`VERSION`].
    pub version: u32,
    /// Version of the imgplan that saved the plan.
    pub imgplan: String,
    /// Time at which the plan was made.
    pub created: Timestamp,
    /// Service that the plan is for.
    #[serde(deserialize_with = "deserialize_plain")]
    pub service: String,
    /// Options of the plan.
    pub options: PlanOptions,
    /// New and moved pins.
    #[serde(deserialize_with = "deserialize_plain_keys")]
    pins: BTreeMap<String, SavedPin>,
    /// Images that lose their protection.
    #[serde(default)]
    unprotects: BTreeSet<ImageRef>,
    /// The steps, in order.
    pub steps: Vec<SavedStep>,
}

/// The file of a saved plan.
#[derive(Serialize, Deserialize)]
struct SavedFile<P> {
    /// Digest of the plan, which shows whether the file was edited. It does not protect against
    /// somebody who computes it again: who can write the file can write any plan.
    digest: Digest,
    #[serde(flatten)]
    plan: P,
}

/// An error of reading the file of a saved plan.
#[derive(Debug, thiserror::Error)]
pub enum SavedPlanError {
    /// The file is not a saved plan.
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
    /// The plan is not the one that was written.
    #[error("the plan was changed after it was written")]
    Changed,
}

/// A new or moved pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedPin {
    /// Pin in the lockfile, if it had one.
    was: Option<Pin>,
    /// New pin.
    is: Pin,
}

/// A step of a saved plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStep {
    /// Key of the unit.
    pub image: ImageRef,
    /// Kind of the unit: built or mirrored.
    pub kind: ImageKind,
    /// The action.
    #[serde(flatten)]
    action: SavedAction,
    /// Reasons as text, for people who read the file.
    reasons: Vec<String>,
    /// Digest of the unit's lockfile entry, if it had one.
    was: Option<Digest>,
}

/// Properties of an action that must not have changed when it is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
enum SavedAction {
    Create {
        fingerprint: Fingerprint,
        owner: Option<Owner>,
        visibility: Option<Visibility>,
    },
    Adopt {
        build: BuildId,
        then: Option<Change>,
    },
    Update(Change),
    Forget,
    Delete {
        owner: Owner,
        #[serde(default)]
        changed: Option<Timestamp>,
    },
}

/// A step or pin of a saved plan that no longer fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// Key of the unit, or the reference.
    pub subject: String,
    /// Change since the plan was saved.
    pub cause: String,
}

impl SavedPlan {
    /// Creates the file of a plan. `state` is that of lockfile and journal.
    pub fn new(
        plan: &Plan,
        state: &State,
        service: &str,
        options: &PlanOptions,
        pins: &BTreeMap<String, Pin>,
        created: Timestamp,
    ) -> Self {
        let step = |step: &Step| SavedStep {
            image: step.key.clone(),
            kind: step.kind,
            action: SavedAction::of(&step.action),
            reasons: step.reasons.iter().map(ToString::to_string).collect(),
            was: entry_digest(step, state),
        };
        let moved = |(reference, is): (&String, &Pin)| {
            let was = state.pins.get(reference);
            let pin = SavedPin { was: was.cloned(), is: is.clone() };
            (was != Some(is)).then(|| (reference.clone(), pin))
        };
        Self {
            version: VERSION,
            imgplan: env!("CARGO_PKG_VERSION").to_owned(),
            created,
            service: service.to_owned(),
            options: options.clone(),
            pins: pins.iter().filter_map(moved).collect(),
            unprotects: plan.unprotects.iter().cloned().collect(),
            steps: plan.steps.iter().map(step).collect(),
        }
    }

    /// Returns the text of the plan's file.
    ///
    /// # Errors
    ///
    /// Fails if the plan cannot be written as JSON.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(&SavedFile { digest: self.digest()?, plan: self })
    }

    /// Reads the text of a plan's file.
    ///
    /// # Errors
    ///
    /// Fails if the text is not a saved plan, and if the plan has another digest than the file says.
    pub fn decode(text: &str) -> Result<Self, SavedPlanError> {
        let SavedFile { digest, plan } = serde_json::from_str::<SavedFile<Self>>(text)?;
        if plan.digest()? != digest {
            return Err(SavedPlanError::Changed);
        }
        Ok(plan)
    }

    /// Returns the digest of all fields, which does not depend on the layout of the file.
    fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&serde_json::to_vec(self)?))
    }

    /// Returns the new and moved pins.
    pub fn pins(&self) -> BTreeMap<String, Pin> {
        self.pins.iter().map(|(reference, pin)| (reference.clone(), pin.is.clone())).collect()
    }

    /// Returns pins that were moved or dropped since. Moving them back is not what was approved.
    fn stale_pins(&self, state: &State) -> impl Iterator<Item = Stale> {
        let stale = self.pins.iter().filter(|(reference, pin)| {
            let current = state.pins.get(*reference);
            current != pin.was.as_ref() && current != Some(&pin.is)
        });
        stale.map(|(reference, _)| Stale {
            subject: reference.clone(),
            cause: "its pin was changed or removed since".to_owned(),
        })
    }

    /// Reduces a fresh plan to the steps of this one.
    ///
    /// # Errors
    ///
    /// Fails if a step or pin of this plan no longer fits; returns all that do not.
    pub fn check(
        &self,
        fresh: Plan,
        workspace: &Workspace,
        state: &State,
    ) -> Result<Plan, Vec<Stale>> {
        let steps: HashMap<&ImageRef, &Step> =
            fresh.steps.iter().map(|step| (&step.key, step)).collect();
        let approved: HashMap<&ImageRef, &SavedStep> =
            self.steps.iter().map(|step| (&step.image, step)).collect();
        let stale = |saved: &SavedStep| {
            let cause = match steps.get(&saved.image) {
                None => saved.cause_of_absence(workspace).to_owned(),
                Some(step) => Self::cause_of_difference(saved, step, state, &approved, &fresh)?,
            };
            Some(Stale { subject: saved.image.to_string(), cause })
        };
        let stale = self.steps.iter().filter_map(stale);
        let lifted = fresh.unprotects.iter().filter(|key| !self.unprotects.contains(*key));
        let lifted = lifted.map(|key| Stale {
            subject: key.to_string(),
            cause: "it would lose its protection, which is not part of the saved plan".to_owned(),
        });
        let stale: Vec<Stale> = self.stale_pins(state).chain(stale).chain(lifted).collect();
        if !stale.is_empty() {
            return Err(stale);
        }
        let keep: Vec<bool> =
            fresh.steps.iter().map(|step| approved.contains_key(&step.key)).collect();
        let mut plan = fresh;
        keep_only(&mut plan, &keep);
        Ok(plan)
    }

    /// Returns the difference between a saved step and the fresh one, if there is one.
    fn cause_of_difference(
        saved: &SavedStep,
        step: &Step,
        state: &State,
        approved: &HashMap<&ImageRef, &SavedStep>,
        fresh: &Plan,
    ) -> Option<String> {
        if entry_digest(step, state) != saved.was {
            return Some("its lockfile entry was changed by another apply or a merge".to_owned());
        }
        if !SavedAction::of(&step.action).is_same(&saved.action) {
            let cause = match (&saved.action, &step.action) {
                (SavedAction::Delete { .. }, Action::Delete { .. }) => {
                    "the service has another image there now".to_owned()
                }
                (SavedAction::Create { .. }, Action::Create(_)) => "its inputs changed".to_owned(),
                _ => format!("its step is another one now: {}", step.verb()),
            };
            return Some(format!("{cause} ({})", reasons(step)));
        }
        if step.kind != saved.kind {
            let kind = step.kind.as_str();
            return Some(format!("it is of another kind now: {kind} ({})", reasons(step)));
        }
        let mut needs = step.needs.iter().filter_map(|need| fresh.steps.get(need.0));
        let new = needs.find(|need| !approved.contains_key(&need.key))?;
        Some(format!("it needs {}, which must change first ({})", new.key, reasons(new)))
    }
}

impl SavedStep {
    /// Returns the reason why the fresh plan does not have this step.
    fn cause_of_absence(&self, workspace: &Workspace) -> &'static str {
        let of_unit = match &self.action {
            SavedAction::Create { .. } | SavedAction::Adopt { .. } | SavedAction::Update(_) => true,
            SavedAction::Forget | SavedAction::Delete { .. } => false,
        };
        let mut units = workspace.units.iter();
        if !of_unit || units.clone().any(|unit| unit.key == self.image) {
            return "nothing left to do: it was done in the meantime";
        }
        let content = |unit: &Unit| {
            let template = unit.content_tag.as_ref();
            unit.key.name == self.image.name
                && template.is_some_and(|template| template.matches(&self.image.tag))
        };
        if units.any(content) {
            return "its inputs changed, and with them its tag";
        }
        "the manifest no longer has this image (was the plan made with other --var, --set or -f?)"
    }
}

impl SavedAction {
    /// True if both are the same action. A deletion whose push time is not known matches any other
    /// of the same owner.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Delete { owner, changed }, Self::Delete { owner: other, changed: at }) => {
                owner == other && (changed.is_none() || at.is_none() || changed == at)
            }
            (action, other) => action == other,
        }
    }

    fn of(action: &Action) -> Self {
        match action {
            Action::Create(Create { fingerprint, owner, visibility, .. }) => Self::Create {
                fingerprint: *fingerprint,
                owner: owner.clone(),
                visibility: *visibility,
            },
            Action::Adopt { build, then, .. } => {
                Self::Adopt { build: build.clone(), then: then.clone() }
            }
            Action::Update { change, .. } => Self::Update(change.clone()),
            Action::Forget { .. } => Self::Forget,
            Action::Delete { owner, changed, .. } => {
                Self::Delete { owner: owner.clone(), changed: *changed }
            }
        }
    }
}

fn reasons(step: &Step) -> String {
    let reasons: Vec<String> = step.reasons.iter().map(ToString::to_string).collect();
    reasons.join("; ")
}

/// Returns the digest of the unit's lockfile entry, which a rename finds under the old name.
fn entry_digest(step: &Step, state: &State) -> Option<Digest> {
    let key = match &step.action {
        Action::Update { change: Change { from: Some(from), .. }, .. } => from,
        _ => &step.key,
    };
    let entry: &Entry = state.entries.get(key)?;
    let single =
        State { entries: BTreeMap::from([(key.clone(), entry.clone())]), ..State::default() };
    Some(Digest::of(encode("", &single).as_bytes()))
}
