//! The planner on worlds made by hand and on random ones.

mod again;
mod merge;
mod model;
mod moves;
mod orphans;
mod pins;
mod places;
mod properties;
mod reasons;
mod rules;
mod saved;
mod selection;
mod world;
