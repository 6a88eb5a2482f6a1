//! The client against a service inside the process, under a clock that jumps.
