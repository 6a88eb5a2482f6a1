//! The words of the program: values that are parsed once and never a bare string after. Pure but
//! for [`mod@file`], which replaces and locks files, and [`memory`], which asks the system for less.

pub mod digest;
pub mod file;
pub mod glob;
pub mod limit;
pub mod memory;
pub mod name;
pub mod nearest;
pub mod reference;
pub mod secret;
pub mod size;
pub mod source;
mod template;
pub mod upstream;
