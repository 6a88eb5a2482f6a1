//! The words of the program: values that are parsed once and never a bare string after. And rules that
//! more than one module above keeps, as those of all who send requests: [`window`], [`backoff`],
//! [`header`]. Pure but for [`mod@file`], which replaces and locks files, and [`memory`], which asks the
//! system for less.

pub mod backoff;
pub mod digest;
pub mod file;
pub mod glob;
pub mod header;
pub mod limit;
pub mod loopback;
pub mod memory;
pub mod name;
pub mod nearest;
pub mod one_line;
pub mod reference;
pub mod secret;
pub mod size;
pub mod source;
mod template;
pub mod upstream;
pub mod window;
