//! The planner on worlds made by hand and on random ones.

mod merge;
mod model;
mod pins;
mod properties;
mod reasons;
mod rules;
mod saved;
mod selection;
mod world;
