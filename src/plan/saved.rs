//! A plan in a file: what was agreed to, so that just that is done later, or nothing. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::options::{Pattern, PlanOptions, Selection};
use super::{Action, Change, Create, Plan, Step};
use crate::base::digest::{Digest, Fingerprint};
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, NameError, Owner, Visibility};
use crate::manifest::workspace::{Unit, Workspace};
use crate::state::encode::encode;
use crate::state::{Entry, Pin, State};

/// The version of the file: readers refuse a later one.
pub const VERSION: u32 = 3;

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
    pins: BTreeMap<String, SavedPin>,
    /// Images that it takes the protection from.
    #[serde(default)]
    unprotects: BTreeSet<ImageRef>,
    /// What is done, in order.
    pub steps: Vec<SavedStep>,
}

/// A pin that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedPin {
    /// What the lockfile had; `None` where it had none.
    was: Option<Pin>,
    /// What it has with the plan.
    is: Pin,
}

/// A step as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStep {
    /// The unit.
    pub image: ImageRef,
    /// Built or mirrored.
    pub kind: ImageKind,
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
    Create {
        fingerprint: Fingerprint,
        owner: Option<Owner>,
        visibility: Option<Visibility>,
    },
    Adopt {
        build: BuildId,
        then: Option<SavedChange>,
    },
    Update(SavedChange),
    Forget,
    Delete {
        owner: Owner,
        #[serde(default)]
        changed: Option<Timestamp>,
    },
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

/// A step that cannot be done as it was agreed to, or a pin that cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The unit, or the reference.
    pub what_of: String,
    /// What moved since.
    pub what: String,
}

impl SavedPlan {
    /// A plan, as it is to be kept. `state` is what the lockfile and the journal have.
    pub fn new(
        plan: &Plan,
        state: &State,
        service: &str,
        options: &PlanOptions,
        pins: &BTreeMap<String, Pin>,
        created: Timestamp,
    ) -> Self {
        let texts = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect();
        let PlanOptions { replace, prune, selection: Selection { targets, groups, excludes } } =
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
            options,
            pins: pins.iter().filter_map(moved).collect(),
            unprotects: plan.unprotects.iter().cloned().collect(),
            steps: plan.steps.iter().map(step).collect(),
        }
    }

    /// What the plan was asked to be.
    pub fn options(&self) -> Result<PlanOptions, NameError> {
        let parse = |texts: &[String]| -> Result<Vec<Pattern>, NameError> {
            texts.iter().map(|text| text.parse()).collect()
        };
        let SavedOptions { targets, groups, excludes, replace, prune } = &self.options;
        let selection = Selection {
            targets: parse(targets)?,
            groups: groups.clone(),
            excludes: parse(excludes)?,
        };
        Ok(PlanOptions { replace: parse(replace)?, prune: *prune, selection })
    }

    /// The pins that move with it.
    pub fn pins(&self) -> BTreeMap<String, Pin> {
        self.pins.iter().map(|(reference, pin)| (reference.clone(), pin.is.clone())).collect()
    }

    /// Pins that another moved since: to take them back is nothing that was agreed to.
    fn stale_pins(&self, state: &State) -> impl Iterator<Item = Stale> {
        let stale = self.pins.iter().filter(|(reference, pin)| {
            let now = state.pins.get(*reference);
            now != pin.was.as_ref() && now != Some(&pin.is)
        });
        stale.map(|(reference, _)| Stale {
            what_of: reference.clone(),
            what: "its pin was moved since, or dropped".to_owned(),
        })
    }

    /// Holds a plan that was made anew against this one: what was agreed to and is still the same. Any
    /// step that is not is returned instead, for what it stands on may be another.
    pub fn check(
        &self,
        fresh: Plan,
        workspace: &Workspace,
        state: &State,
    ) -> Result<Plan, Vec<Stale>> {
        let steps: HashMap<&ImageRef, &Step> =
            fresh.steps.iter().map(|step| (&step.key, step)).collect();
        let agreed: HashMap<&ImageRef, &SavedStep> =
            self.steps.iter().map(|step| (&step.image, step)).collect();
        let stale = |saved: &SavedStep| {
            let what = match steps.get(&saved.image) {
                None => saved.unneeded(workspace).to_owned(),
                Some(step) => Self::moved(saved, step, state, &agreed, &fresh)?,
            };
            Some(Stale { what_of: saved.image.to_string(), what })
        };
        let stale = self.steps.iter().filter_map(stale);
        let lifted = fresh.unprotects.iter().filter(|key| !self.unprotects.contains(*key));
        let lifted = lifted.map(|key| Stale {
            what_of: key.to_string(),
            what: "it would lose its protection, which was not agreed to".to_owned(),
        });
        let stale: Vec<Stale> = self.stale_pins(state).chain(stale).chain(lifted).collect();
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
        if !SavedAction::of(&step.action).is(&saved.action) {
            let what = match (&saved.action, &step.action) {
                (SavedAction::Delete { .. }, Action::Delete { .. }) => {
                    "what the service has there is another image now".to_owned()
                }
                (SavedAction::Create { .. }, Action::Create(_)) => {
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

impl SavedStep {
    /// Why there is no such step any more.
    fn unneeded(&self, workspace: &Workspace) -> &'static str {
        let of_unit = match &self.action {
            SavedAction::Create { .. } | SavedAction::Adopt { .. } | SavedAction::Update(_) => true,
            SavedAction::Forget | SavedAction::Delete { .. } => false,
        };
        let mut units = workspace.units.iter();
        if !of_unit || units.clone().any(|unit| unit.key == self.image) {
            return "nothing is left to do: it was done since";
        }
        let content = |unit: &Unit| {
            let template = unit.content_tag.as_ref();
            unit.key.name == self.image.name
                && template.is_some_and(|template| template.matches(&self.image.tag))
        };
        if units.any(content) {
            return "what it is made of changed, and its tag with that";
        }
        "the manifest has no such image now (was it planned with other --var, --set or -f?)"
    }
}

impl SavedAction {
    /// Whether it is the same. Where one of two moments is not known, nothing tells two images apart.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Delete { owner, changed: Some(at) }, Self::Delete { owner: whose, changed }) => {
                owner == whose && changed.is_none_or(|changed| changed == *at)
            }
            (Self::Delete { owner, changed: None }, Self::Delete { owner: whose, .. }) => {
                owner == whose
            }
            (one, other) => one == other,
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
                Self::Adopt { build: build.clone(), then: then.as_ref().map(SavedChange::of) }
            }
            Action::Update { change, .. } => Self::Update(SavedChange::of(change)),
            Action::Forget { .. } => Self::Forget,
            Action::Delete { owner, changed, .. } => {
                Self::Delete { owner: owner.clone(), changed: *changed }
            }
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
