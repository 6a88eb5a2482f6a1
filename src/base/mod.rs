//! Names, references, digests, spans of source text, limits and secrets: values that are parsed once
//! and never passed on as bare strings. Pure, except for [`mod@file`], which replaces and locks files.

pub mod digest;
pub mod file;
pub mod glob;
pub mod kind;
pub mod limit;
pub mod name;
pub mod nearest;
pub mod one_line;
pub mod reference;
pub mod secret;
pub mod size;
pub mod source_ref;
pub mod span;
mod template;
pub mod text;
