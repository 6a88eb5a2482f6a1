//! Values that every module uses: names, references, digests, source spans, limits and secrets. A text
//! is validated once, when it is parsed into one of these types. Pure, except for [`mod@file`], which
//! replaces and locks files.

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
