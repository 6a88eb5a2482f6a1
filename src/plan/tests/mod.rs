//! Tests of the planner, on units written by hand and on random manifests.

mod earlier_inputs;
mod forced;
mod merge;
mod model;
mod moves;
mod orphans;
mod partitions;
mod pins;
mod properties;
mod reasons;
mod rules;
mod saved;
mod selection;
mod unrecorded;
mod world;
