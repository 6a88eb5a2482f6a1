//! Values that every module uses: names, references, digests, source spans, limits and secrets. A text
//! is validated once, when it is parsed into one of these types. Pure, except for the three doors to
//! files: [`input`] reads, [`mod@file`] replaces and locks, and [`work_dir`] keeps the work folder.

pub(crate) mod bucket;
pub(crate) mod budget;
pub(crate) mod clean_path;
pub(crate) mod digest;
pub(crate) mod engine_kind;
pub(crate) mod file;
pub(crate) mod free_space;
pub(crate) mod glob;
pub(crate) mod image_path;
pub(crate) mod input;
pub(crate) mod kind;
pub(crate) mod limit;
pub(crate) mod links;
pub(crate) mod name;
pub(crate) mod nearest;
pub(crate) mod official_images;
pub(crate) mod open_files;
pub(crate) mod owner;
pub(crate) mod plain_text;
pub(crate) mod platform;
pub(crate) mod reach;
pub(crate) mod reference;
pub(crate) mod runner_command;
pub(crate) mod safe_text;
pub(crate) mod secret;
pub(crate) mod share;
pub(crate) mod size;
pub(crate) mod source_ref;
pub(crate) mod span;
pub(crate) mod state_url;
pub(crate) mod template;
pub(crate) mod text;
pub(crate) mod work_dir;
pub(crate) mod workflow_command;
pub(crate) mod yaml_budget;
