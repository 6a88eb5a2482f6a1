//! The client of the images API: one method an endpoint, below it the request budgets.

pub mod wire;
