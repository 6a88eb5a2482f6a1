//! A destination of changes of the state other than the lockfile.

use std::fmt::Debug;

use tokio::sync::oneshot;

use super::lockfile::{Entry, Pin};
use crate::base::name::ImageRef;

/// A place that takes changes of the state, and may refuse those of other runs' targets.
pub(crate) trait Replica: Debug + Send {
    /// True if this run may change a unit.
    fn holds(&self, unit: &ImageRef) -> bool;

    /// True if this run may change pins.
    fn holds_pins(&self) -> bool;

    /// Changes the entry of a unit; `None` drops it. A unit that is not held is not changed.
    fn set_entry(&mut self, unit: ImageRef, entry: Option<Entry>);

    /// Drops the entries of units once all changes until now are kept, some of which may be these entries
    /// under other names. A unit that is not held is not changed.
    fn drop_moved(&mut self, units: Vec<ImageRef>);

    /// Changes a pin; `None` drops it.
    fn set_pin(&mut self, reference: String, pin: Option<Pin>);

    /// Confirms to steps once all changes until now are kept. If they are lost, the senders are dropped.
    fn confirm(&mut self, steps: Vec<oneshot::Sender<()>>);
}
