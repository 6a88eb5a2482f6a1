//! Flags and commands of other programs, and what imgplan has instead: a tip in the error for an
//! unknown flag or command. Pure.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Each tip, with the flags that it is for.
const TIPS: [(&str, &[&str]); 19] = [
    (
        "a failure skips only the targets that depend on it; press Ctrl-C to start nothing new",
        &["--fail-fast", "--failfast", "--keep-going", "--max-failures", "--exit-on-error"],
    ),
    ("use `imgplan plan` to see what would be done", &["--dry-run", "--dryrun", "--check"]),
    ("use `--auto-approve`", &["--yes", "-y", "--approve", "--assume-yes", "--no-input"]),
    ("use `--replace PATTERN` to force a rebuild", &["--force", "--no-cache", "--rebuild"]),
    ("use `--concurrency N`", &["-j", "--jobs", "--workers", "--parallel", "--max-parallel"]),
    ("use `--refresh=false`", &["--no-refresh"]),
    ("use `--target PATTERN`", &["--only", "--filter", "--image", "--images", "--select"]),
    ("use `--exclude PATTERN`", &["--skip", "--except", "--ignore"]),
    ("use `--prune`", &["--destroy", "--delete", "--remove-orphans"]),
    ("use `-f FILE`", &["--manifest", "--config", "-c"]),
    ("use `-C DIR`", &["--cwd", "--directory", "--workdir", "--project-directory"]),
    ("use `--json`", &["--format", "--output-format"]),
    ("use `--verbose`", &["--debug", "--log-level"]),
    ("use `--quiet`", &["--silent"]),
    (
        "set PRIME_API_BASE_URL, or `settings: {url: ...}` in the manifest",
        &["--url", "--api-url", "--endpoint"],
    ),
    ("set PRIME_API_KEY", &["--api-key", "--key", "--token"]),
    ("set PRIME_TEAM_ID, or `owner:` in the manifest", &["--team", "--team-id", "--owner"]),
    ("use `--set 'PATTERN.args.NAME=VALUE'`", &["--build-arg"]),
    ("use `--set 'PATTERN.FIELD=VALUE'`", &["--platform", "--platforms", "--tag", "--visibility"]),
];

/// Commands of imgplan, with the commands of other programs for the same.
const COMMANDS: [(&str, &[&str]); 8] = [
    ("imgplan apply", &["up", "build", "deploy", "run", "push", "mirror", "copy", "sync", "start"]),
    ("imgplan plan", &["diff", "preview", "dry-run", "outdated"]),
    ("imgplan plan --refresh-only", &["refresh"]),
    ("imgplan apply --prune", &["destroy", "delete", "down", "rm", "prune"]),
    ("imgplan show", &["list", "ls", "state", "images", "ps"]),
    ("imgplan validate", &["check", "lint", "fmt"]),
    ("imgplan init", &["new", "create", "generate", "scaffold"]),
    ("imgplan lock", &["pin", "update", "upgrade"]),
];

/// Adds a tip to the error for an unknown flag or command: what imgplan has instead, or which of its
/// commands have the flag.
pub(super) fn add_tip(mut error: clap::Error, program: &clap::Command) -> clap::Error {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let tip = match error.kind() {
        ErrorKind::UnknownArgument => flag_tip(context(ContextKind::InvalidArg), program),
        ErrorKind::InvalidSubcommand => {
            let unknown = context(ContextKind::InvalidSubcommand);
            let command = COMMANDS.iter().find(|(_, others)| others.contains(&unknown));
            command.map(|(ours, _)| format!("use `{ours}`"))
        }
        _ => None,
    };
    if let Some(tip) = tip {
        let tip = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
}

fn flag_tip(flag: &str, program: &clap::Command) -> Option<String> {
    if let Some((tip, _)) = TIPS.iter().find(|(_, flags)| flags.contains(&flag)) {
        return Some((*tip).to_owned());
    }
    let name = flag.strip_prefix("--")?;
    let has_flag = |command: &&clap::Command| {
        command.get_arguments().any(|arg| arg.get_long() == Some(name) && !arg.is_hide_set())
    };
    let commands = program.get_subcommands().filter(has_flag);
    let commands: Vec<String> = commands.map(|command| command.get_name().to_owned()).collect();
    (!commands.is_empty()).then(|| format!("commands with this flag: {}", commands.join(", ")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::Cli;
    use super::*;

    #[test]
    fn flags_of_other_programs_get_a_tip() {
        for (args, tip) in [
            (["apply", "--fail-fast"], "press Ctrl-C"),
            (["plan", "--fail-fast"], "press Ctrl-C"),
            (["apply", "--dry-run"], "use `imgplan plan`"),
            (["apply", "-y"], "use `--auto-approve`"),
            (["apply", "--jobs=4"], "use `--concurrency N`"),
            (["plan", "--only"], "use `--target PATTERN`"),
            (["plan", "--no-refresh"], "use `--refresh=false`"),
            (["apply", "--build-arg"], "use `--set 'PATTERN.args.NAME=VALUE'`"),
            (["plan", "--auto-approve"], "commands with this flag: apply"),
            (["validate", "--target=a"], "commands with this flag: plan, apply"),
            (["show", "--var"], "commands with this flag: validate, plan, why, apply"),
            (["up", "-x"], "use `imgplan apply`"),
            (["diff", "-x"], "use `imgplan plan`"),
            (["destroy", "-x"], "use `imgplan apply --prune`"),
        ] {
            let command = Cli::command();
            let arguments = ["imgplan"].iter().chain(&args);
            let error = command.clone().try_get_matches_from(arguments).unwrap_err();
            let text = add_tip(error, &command).to_string();
            assert!(text.contains(tip), "{args:?}: {text}");
        }
    }

    #[test]
    fn tips_name_flags_that_exist() {
        let command = Cli::command();
        let apply = command.find_subcommand("apply").unwrap();
        let known: Vec<String> = apply
            .get_arguments()
            .chain(command.get_arguments())
            .flat_map(|arg| {
                let long = arg.get_long().map(|long| format!("--{long}"));
                long.into_iter().chain(arg.get_short().map(|short| format!("-{short}")))
            })
            .collect();
        for (ours, foreign) in COMMANDS {
            let name = ours.split(' ').nth(1).unwrap();
            assert!(command.find_subcommand(name).is_some(), "{ours}");
            for name in foreign {
                assert!(command.find_subcommand(name).is_none(), "{name} exists");
            }
        }
        for (tip, foreign) in TIPS {
            for word in tip.split(['`', ' ', '=', '\'']).filter(|word| word.starts_with('-')) {
                assert!(known.iter().any(|flag| flag == word), "{tip}");
            }
            for flag in foreign {
                assert!(!known.iter().any(|known| known == flag), "{flag} exists");
            }
        }
    }
}
