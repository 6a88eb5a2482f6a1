//! `imgplan completions`: prints the script that completes command lines in a shell.
//!
//! Such a script runs the program with the variable `IMGPLAN_COMPLETE` and with the words of the line
//! after `--`. The program then prints candidates and nothing else: no error, because it would stand in
//! the middle of the line. Names come from the manifest, which is read within limits; no Dockerfile is
//! read, nobody is asked and no program is run.

mod words;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, ValueEnum};
use clap_complete::engine::{self, ArgValueCandidates, CompletionCandidate};

use super::args::{
    Cli, CommonArgs, CompletionsArgs, FileArgs, GlobalArgs, ManifestArgs, ShellKind,
};
use super::env::env;
use super::failure::{Exit, Failure};
use super::settings::Settings;
use super::ui::{self, Ui};
use crate::manifest::{DeclaredNames, Invocation};

/// Variable with the name of the shell that asks for candidates.
const VARIABLE: &str = "IMGPLAN_COMPLETE";

/// Maximum time to read the names of a manifest.
const MAX_NAMES_TIME: Duration = Duration::from_secs(1);

/// Maximum size of a manifest whose names are candidates.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Stack of the thread that reads a manifest: that of a main thread.
const STACK_BYTES: usize = 8 << 20;

pub(super) fn run(ui: &mut Ui, args: CompletionsArgs) -> Result<Exit, Failure> {
    ui.document(script(args.shell))?;
    Ok(Exit::Success)
}

/// Returns the script of a shell. The program is found in `PATH`, so that one of a checkout is not run.
fn script(shell: ShellKind) -> &'static str {
    match shell {
        ShellKind::Bash => include_str!("completions/imgplan.bash"),
        ShellKind::Zsh => include_str!("completions/imgplan.zsh"),
        ShellKind::Fish => include_str!("completions/imgplan.fish"),
        ShellKind::Elvish => include_str!("completions/imgplan.elv"),
    }
}

/// Prints the candidates for a line if the script of a shell asks for them. Returns false otherwise.
pub(super) fn answer() -> bool {
    let shell = env(VARIABLE).and_then(|name| ShellKind::from_str(&name, false).ok());
    let (Some(shell), mut args) = (shell, std::env::args_os().skip(1)) else { return false };
    if args.next().is_none_or(|arg| arg != "--") {
        return false;
    }
    let text = candidates(shell, args.collect()).unwrap_or_default();
    // If the stream is closed, the shell no longer waits.
    let _ = ui::candidates(&text);
    true
}

/// Returns the candidates as a shell reads them. The last argument is the word to complete; bash
/// passes its line and the part of the last word that it replaces.
fn candidates(shell: ShellKind, args: Vec<OsString>) -> Option<String> {
    let (words, replaced) = match (shell, args.as_slice()) {
        (ShellKind::Bash, [line, replaced]) => (words::split(line.to_str()?)?, replaced.to_str()?),
        (ShellKind::Bash, _) => return None,
        _ => (args, ""),
    };
    let (last, before) = words.split_last()?;
    let replaced = words::Replaced::new(&last.to_string_lossy(), replaced);
    let home = std::env::home_dir();
    let before = before.iter().map(|word| words::expanded(word, home.as_deref()));
    let before: Vec<OsString> = before.collect();
    let (chdir, invocation) = given(&before).unwrap_or_default();
    if let Some(dir) = chdir {
        std::env::set_current_dir(dir).ok()?;
    }
    let names = Arc::new(LazyLock::new(move || names(invocation)));
    let mut command = with_names(Cli::command(), &names);
    let (index, dir) = (words.len() - 1, std::env::current_dir().ok());
    let found = engine::complete(&mut command, words, index, dir.as_deref()).ok()?;
    let lines = found.iter().filter_map(|candidate| {
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().unwrap_or_default();
        words::line(shell, candidate.get_value().to_str()?, help, &replaced)
    });
    Some(lines.flat_map(|line| [line, "\n".to_owned()]).collect())
}

/// Returns the directory and the manifest that the words before the last one choose.
fn given(words: &[OsString]) -> Option<(Option<PathBuf>, Invocation)> {
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(words).ok()?;
    let global = GlobalArgs::from_arg_matches(&matches).ok()?;
    let mut command = &matches;
    while let Some((_, inner)) = command.subcommand() {
        command = inner;
    }
    // The engine also completes commands that have no manifest, or only its path.
    let has = |matches: &ArgMatches, id| matches.try_contains_id(id).is_ok();
    let manifest = if has(command, "vars") {
        ManifestArgs::from_arg_matches(command).ok()?
    } else if has(command, "files") {
        ManifestArgs { file: FileArgs::from_arg_matches(command).ok()?, ..Default::default() }
    } else {
        ManifestArgs::default()
    };
    let settings = Settings::resolve(global, CommonArgs { manifest, ..Default::default() });
    Some((settings.chdir, settings.manifest))
}

/// Adds the names of the manifest to the arguments that take them.
fn with_names(
    command: clap::Command,
    names: &Arc<LazyLock<DeclaredNames, impl FnOnce() -> DeclaredNames + Send + Sync + 'static>>,
) -> clap::Command {
    let list = |arg: Arg, list: fn(&DeclaredNames) -> Vec<&String>| {
        let names = Arc::clone(names);
        arg.add(ArgValueCandidates::new(move || {
            // A shell may insert a name as it is.
            let plain = list(&names).into_iter().filter(|name| words::is_plain(name));
            plain.map(CompletionCandidate::new).collect()
        }))
    };
    let command = command.mut_args(|arg| match arg.get_id().as_str() {
        "targets" | "excludes" | "replace" | "upgrade_image" => {
            list(arg, |names| names.images.iter().chain(&names.labels).collect())
        }
        "groups" => list(arg, |names| names.groups.iter().collect()),
        "image" | "images" | "build" => list(arg, |names| names.images.iter().collect()),
        _ => arg,
    });
    command.mut_subcommands(|command| with_names(command, names))
}

/// Reads the names of a manifest. Returns none of a manifest that is large, slow to read or no file.
fn names(invocation: Invocation) -> DeclaredNames {
    let (sender, receiver) = mpsc::channel();
    let read = move || {
        let is_small = |file: &Path| {
            file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_MANIFEST_BYTES)
        };
        let others = invocation.files.iter().skip(1);
        if is_small(invocation.first()) && others.into_iter().all(|file| is_small(file)) {
            // Nobody receives it if it took too long.
            let _ = sender.send(DeclaredNames::read(&invocation, &env));
        }
    };
    // The thread ends with the process.
    match thread::Builder::new().stack_size(STACK_BYTES).spawn(read) {
        Ok(_) => receiver.recv_timeout(MAX_NAMES_TIME).unwrap_or_default(),
        Err(_) => DeclaredNames::default(),
    }
}
