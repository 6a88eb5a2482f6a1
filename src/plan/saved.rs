//! A plan in a file: what was agreed to, so that just that is done later, or nothing. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::options::{Options, Pattern, Selection};
use super::{Action, Change, Make, Plan, Step};
use crate::base::digest::{Digest, Fingerprint};
use crate::base::name::{BuildId, ImageRef, NameError, Owner, Visibility};
use crate::state::encode::encode;
use crate::state::{Entry, Kind, Pin, State};

/// The version of the file: readers refuse a later one.
pub const VERSION: u32 = 1;

/// A plan as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// [`VERSION`].
    pub version: u32,
    /// The imgplan that made it.
    pub imgplan: String,
    /// When.
    pub created: Timestamp,
    /// The service that it is for.
    pub service: String,
    /// What it was asked to be.
    options: SavedOptions,
    /// Pins that move with it.
    pub pins: BTreeMap<String, Pin>,
    /// What is done, in order.
    pub steps: Vec<SavedStep>,
}

/// A step as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStep {
    /// The unit.
    pub image: ImageRef,
    /// Built or mirrored.
    pub kind: Kind,
    /// What is done.
    #[serde(flatten)]
    action: SavedAction,
    /// Why, in words; only for whoever reads the file.
    reasons: Vec<String>,
    /// The digest of what the lockfile had of the unit; `None` where it had nothing.
    was: Option<Digest>,
}

/// What decides whether an action is still the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
enum SavedAction {
    Make { fingerprint: Fingerprint, owner: Option<Owner>, visibility: Option<Visibility> },
    Adopt { build: BuildId, then: Option<SavedChange> },
    Update(SavedChange),
    Forget,
    Remove { owner: Owner },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedChange {
    of: Owner,
    from: Option<ImageRef>,
    visibility: Option<Visibility>,
    owner: Option<Owner>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SavedOptions {
    targets: Vec<String>,
    groups: BTreeSet<String>,
    excludes: Vec<String>,
    replace: Vec<String>,
    prune: bool,
}

/// A step that cannot be done as it was agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The unit.
    pub image: ImageRef,
    /// What moved since.
    pub what: String,
}

impl SavedPlan {
    /// A plan, as it is to be kept. `state` is what the lockfile and the journal have.
    pub fn new(
        plan: &Plan,
        state: &State,
        service: &str,
        options: &Options,
        pins: &BTreeMap<String, Pin>,
        created: Timestamp,
    ) -> Self {
        let texts = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect();
        let Options { replace, prune, selection: Selection { targets, groups, excludes } } =
            options;
        let options = SavedOptions {
            targets: texts(targets),
            groups: groups.clone(),
            excludes: texts(excludes),
            replace: texts(replace),
            prune: *prune,
        };
        let step = |step: &Step| SavedStep {
            image: step.key.clone(),
            kind: step.kind,
            action: SavedAction::of(&step.action),
            reasons: step.reasons.iter().map(ToString::to_string).collect(),
            was: was(step, state),
        };
        Self {
            version: VERSION,
            imgplan: env!("CARGO_PKG_VERSION").to_owned(),
            created,
            service: service.to_owned(),
            options,
            pins: pins.clone(),
            steps: plan.steps.iter().map(step).collect(),
        }
    }

    /// What the plan was asked to be.
    pub fn options(&self) -> Result<Options, NameError> {
        let parse = |texts: &[String]| -> Result<Vec<Pattern>, NameError> {
            texts.iter().map(|text| text.parse()).collect()
        };
        let SavedOptions { targets, groups, excludes, replace, prune } = &self.options;
        let selection = Selection {
            targets: parse(targets)?,
            groups: groups.clone(),
            excludes: parse(excludes)?,
        };
        Ok(Options { replace: parse(replace)?, prune: *prune, selection })
    }

    /// Holds a plan that was made anew against this one: what was agreed to and is still the same. Any
    /// step that is not is returned instead, for what it stands on may be another.
    pub fn check(&self, fresh: Plan, state: &State) -> Result<Plan, Vec<Stale>> {
        let steps: HashMap<&ImageRef, &Step> =
            fresh.steps.iter().map(|step| (&step.key, step)).collect();
        let agreed: HashMap<&ImageRef, &SavedStep> =
            self.steps.iter().map(|step| (&step.image, step)).collect();
        let stale = |saved: &SavedStep| {
            let what = match steps.get(&saved.image) {
                None => "nothing is left to do: it was done since".to_owned(),
                Some(step) => Self::moved(saved, step, state, &agreed, &fresh)?,
            };
            Some(Stale { image: saved.image.clone(), what })
        };
        let stale: Vec<Stale> = self.steps.iter().filter_map(stale).collect();
        if !stale.is_empty() {
            return Err(stale);
        }
        let keep: Vec<bool> =
            fresh.steps.iter().map(|step| agreed.contains_key(&step.key)).collect();
        let mut plan = fresh;
        super::select::keep_only(&mut plan, &keep);
        Ok(plan)
    }

    /// What moved since a step was agreed to.
    fn moved(
        saved: &SavedStep,
        step: &Step,
        state: &State,
        agreed: &HashMap<&ImageRef, &SavedStep>,
        fresh: &Plan,
    ) -> Option<String> {
        if was(step, state) != saved.was {
            return Some(
                "another apply, or a merge, changed what the lockfile has of it".to_owned(),
            );
        }
        if SavedAction::of(&step.action) != saved.action {
            let what = match (&saved.action, &step.action) {
                (SavedAction::Make { .. }, Action::Make(_)) => {
                    "what it is made of changed".to_owned()
                }
                _ => format!("it is to be another step now, {}", step.verb()),
            };
            return Some(format!("{what} ({})", why(step)));
        }
        let mut needs = step.needs.iter().filter_map(|need| fresh.steps.get(need.0));
        let new = needs.find(|need| !agreed.contains_key(&need.key))?;
        Some(format!("it needs {}, which has to change first by now ({})", new.key, why(new)))
    }
}

impl SavedAction {
    fn of(action: &Action) -> Self {
        match action {
            Action::Make(Make { fingerprint, owner, visibility, .. }) => Self::Make {
                fingerprint: *fingerprint,
                owner: owner.clone(),
                visibility: *visibility,
            },
            Action::Adopt { build, then, .. } => {
                Self::Adopt { build: build.clone(), then: then.as_ref().map(SavedChange::of) }
            }
            Action::Update { change, .. } => Self::Update(SavedChange::of(change)),
            Action::Forget { .. } => Self::Forget,
            Action::Remove { owner, .. } => Self::Remove { owner: owner.clone() },
        }
    }
}

impl SavedChange {
    fn of(change: &Change) -> Self {
        let Change { of, from, visibility, owner } = change.clone();
        Self { of, from, visibility, owner }
    }
}

fn why(step: &Step) -> String {
    let reasons: Vec<String> = step.reasons.iter().map(ToString::to_string).collect();
    reasons.join("; ")
}

/// The digest of what the lockfile has of the unit, under the name that it has there.
fn was(step: &Step, state: &State) -> Option<Digest> {
    let key = match &step.action {
        Action::Update { change: Change { from: Some(from), .. }, .. } => from,
        _ => &step.key,
    };
    let entry: &Entry = state.entries.get(key)?;
    let alone =
        State { entries: BTreeMap::from([(key.clone(), entry.clone())]), ..State::default() };
    Some(Digest::of(encode("", &alone).as_bytes()))
}
