//! One test binary: a module for each part of the program that is tested from outside.

#![allow(clippy::unwrap_used, reason = "a test that panics says where")]
#![allow(clippy::disallowed_methods, reason = "tests read what they wrote")]

mod bases;
#[cfg(target_os = "linux")]
mod buildah;
#[cfg(unix)]
mod ci_recipes;
mod commands;
#[cfg(unix)]
mod completions;
mod context;
mod contract;
mod convert;
mod copies;
mod crash;
mod day;
mod dockerfiles;
#[cfg(unix)]
mod doctor;
#[cfg(target_os = "linux")]
mod engine;
mod exact;
mod examples;
mod failures;
mod faults;
mod fields;
#[cfg(target_os = "linux")]
mod followed;
#[cfg(unix)]
mod footer;
#[cfg(target_os = "linux")]
mod full_disk;
mod github;
mod graph;
mod honest;
#[cfg(unix)]
mod hostile_text;
mod hub;
mod images;
mod init;
#[cfg(unix)]
mod inputs;
mod judged;
mod kill;
mod layers;
mod layouts;
mod life;
mod lint;
mod lockfiles;
mod logs;
mod lost;
mod main_job;
mod manifests;
mod many;
mod merge;
mod mirrors;
#[cfg(target_os = "linux")]
mod mirrors_for_real;
mod moby;
#[cfg(target_os = "linux")]
mod narrowed;
#[cfg(target_os = "linux")]
mod odd_registries;
mod owners;
#[cfg(target_os = "linux")]
mod packs;
mod pages;
mod partition;
mod pins;
#[cfg(target_os = "linux")]
mod power;
mod prime;
mod reach;
mod reached;
mod reference;
mod refresh;
#[cfg(target_os = "linux")]
mod registries;
mod render;
mod reports;
mod resume;
mod saved;
mod schema;
mod secrets;
mod select;
mod server;
#[cfg(unix)]
mod shared;
mod slips;
mod slow;
mod status;
mod stranger;
mod support;
mod weather;
mod why;
mod windows;
#[cfg(unix)]
mod work_folder;
