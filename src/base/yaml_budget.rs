//! The limits of YAML that people write.

use serde_saphyr::Budget;

/// Returns the limits. The default ones reject large files, such as 200,000 images that share one anchor.
/// These still reject a "billion laughs" document, because expanded aliases count as events.
pub(crate) fn yaml_budget() -> Option<Budget> {
    serde_saphyr::budget! {
        max_nodes: 5_000_000,
        max_events: 10_000_000,
        max_merge_keys: 1_000_000,
        max_aliases: 1_000_000,
        enforce_alias_anchor_ratio: false,
    }
}
