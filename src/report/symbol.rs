//! The symbols of steps, as Terraform has them. Pure.

use anstyle::AnsiColor;

use crate::plan::{Action, Step};

/// Symbol of a step and its entry in the legend.
pub(super) struct Symbol {
    pub(super) text: &'static str,
    pub(super) color: AnsiColor,
    pub(super) meaning: &'static str,
}

/// Returns the symbol of a step, three columns wide.
pub(super) fn symbol(step: &Step) -> Symbol {
    let (text, color, meaning) = match &step.action {
        Action::Create(create) if create.replaces => {
            ("-/+", AnsiColor::Yellow, "rebuild over the existing tag")
        }
        Action::Create(_) => ("  +", AnsiColor::Green, "create"),
        Action::Adopt { .. } => (" <=", AnsiColor::Cyan, "adopt a build in progress"),
        Action::Update { .. } => ("  ~", AnsiColor::Yellow, "update without a build"),
        Action::Forget { .. } => ("  .", AnsiColor::Red, "forget, image kept"),
        Action::Delete { .. } => ("  -", AnsiColor::Red, "delete"),
    };
    Symbol { text, color, meaning }
}
