//! Flags and commands of other programs, and what imgplan has instead: a tip in the error for an
//! unknown flag or command. Pure.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Each tip, with the flags that it is for.
const TIPS: [(&str, &[&str]); 26] = [
    (
        "a failure skips only the targets that depend on it; press Ctrl-C to start nothing new",
        &["--fail-fast", "--failfast", "--keep-going", "--max-failures", "--exit-on-error"],
    ),
    ("use `imgplan plan` to see what would be done", &["--dry-run", "--dryrun", "--check"]),
    (
        "use `--auto-approve`",
        &["--yes", "-y", "--approve", "--assume-yes", "--no-input", "--input"],
    ),
    ("use `--replace PATTERN` to force a rebuild", &["--force", "--no-cache", "--rebuild"]),
    (
        "use `--concurrency N` of `imgplan apply`",
        &["-j", "--jobs", "--workers", "--parallel", "--parallelism", "--max-parallel"],
    ),
    ("use `--refresh=false`", &["--no-refresh"]),
    ("use `--target PATTERN`", &["--only", "--filter", "--image", "--images", "--select"]),
    ("use `--exclude PATTERN`", &["--skip", "--except", "--ignore"]),
    (
        "use `--prune`, which deletes the images that the manifest no longer has",
        &["--destroy", "--delete", "--remove-orphans"],
    ),
    ("use `--color never`", &["--no-color", "--no-colour", "--no-ansi"]),
    ("use `imgplan plan --json`", &["--print"]),
    ("apply stores every image at the service", &["--push"]),
    (
        "images are stored at the service: pull them by the paths that `imgplan show` prints",
        &["--load"],
    ),
    ("use `--upgrade` to move pins to the current digests", &["--pull"]),
    ("apply always takes the lock, and fails if another run has it", &["--lock"]),
    ("use `--var NAME=VALUE`, or `include:` in the manifest", &["--var-file"]),
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
    ("imgplan show", &["list", "ls", "images", "ps"]),
    ("imgplan validate", &["check", "lint", "fmt"]),
    ("imgplan init", &["new", "create", "generate", "scaffold"]),
    ("imgplan lock", &["pin", "update", "upgrade"]),
];

/// Adds a tip to the error for an unknown flag or command: what imgplan has instead, or which of its
/// commands have the flag.
pub(super) fn add_tip(error: clap::Error, args: &[String], program: &clap::Command) -> clap::Error {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let tip = match error.kind() {
        ErrorKind::UnknownArgument => {
            let unknown = context(ContextKind::InvalidArg);
            match long_with_one_dash(unknown, args) {
                Some(name) => one_dash_tip(name, program),
                None => flag_tip(unknown, program),
            }
        }
        ErrorKind::InvalidSubcommand => {
            let unknown = context(ContextKind::InvalidSubcommand);
            let command = COMMANDS.iter().find(|(_, others)| others.contains(&unknown));
            command.map(|(ours, _)| format!("use `{ours}`"))
        }
        _ => None,
    };
    let Some(tip) = tip else { return error };
    // Without the flag that is spelled alike: `--prune` deletes, and is no answer to `--print`.
    let mut with_tip = clap::Error::new(error.kind()).with_cmd(program);
    for (kind, value) in error.context().filter(|(kind, _)| *kind != ContextKind::SuggestedArg) {
        with_tip.insert(kind, value.clone());
    }
    let tip = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
    with_tip.insert(ContextKind::Suggested, tip);
    with_tip
}

/// Returns the name of a flag that Terraform writes with one dash, such as `target` of `-target=x`.
/// `unknown` is the first of its letters that is no flag of imgplan.
fn long_with_one_dash<'a>(unknown: &str, args: &'a [String]) -> Option<&'a str> {
    let letter = unknown.strip_prefix('-').filter(|letter| letter.chars().count() == 1)?;
    let names = args.iter().take_while(|arg| *arg != "--").filter_map(|arg| {
        let name = arg.strip_prefix('-')?.split('=').next()?;
        let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        (is_name && name.len() > 2).then_some(name)
    });
    names.into_iter().find(|name| name.contains(letter))
}

fn one_dash_tip(name: &str, program: &clap::Command) -> Option<String> {
    if let Some(tip) = known_tip(&format!("--{name}")) {
        return Some(tip);
    }
    let commands = program.get_subcommands().chain([program]);
    let mut flags = commands.flat_map(clap::Command::get_arguments).filter_map(clap::Arg::get_long);
    flags.any(|flag| flag == name).then(|| format!("use two dashes: `--{name}`"))
}

fn known_tip(flag: &str) -> Option<String> {
    let tip = TIPS.iter().find(|(_, flags)| flags.contains(&flag));
    tip.map(|(tip, _)| (*tip).to_owned())
}

fn flag_tip(flag: &str, program: &clap::Command) -> Option<String> {
    if let Some(tip) = known_tip(flag) {
        return Some(tip);
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
            (["plan", "--destroy"], "use `--prune`, which deletes"),
            (["plan", "--no-color"], "use `--color never`"),
            (["apply", "--print"], "use `imgplan plan --json`"),
            (["apply", "--push"], "stores every image at the service"),
            (["apply", "--load"], "by the paths that `imgplan show` prints"),
            (["apply", "--pull"], "use `--upgrade`"),
            (["apply", "--no-cache"], "use `--replace PATTERN`"),
        ] {
            let command = Cli::command();
            let arguments = ["imgplan"].iter().chain(&args);
            let error = command.clone().try_get_matches_from(arguments).unwrap_err();
            let args = args.map(str::to_owned);
            let text = add_tip(error, &args, &command).to_string();
            assert!(text.contains(tip), "{args:?}: {text}");
            assert_eq!(text.matches("tip: ").count(), 1, "{args:?}: {text}");
            assert!(text.contains("Usage: imgplan"), "{args:?}: {text}");
        }
    }

    /// Terraform writes its flags with one dash.
    #[test]
    fn flags_with_one_dash_get_a_tip() {
        for command in ["plan", "apply"] {
            for (flag, tip) in [
                ("-no-color", "use `--color never`"),
                ("-auto-approve", "use two dashes: `--auto-approve`"),
                ("-out=p", "use two dashes: `--out`"),
                ("-target=x", "use two dashes: `--target`"),
                ("-var", "use two dashes: `--var`"),
                ("-var-file=x", "use `--var NAME=VALUE`"),
                ("-destroy", "use `--prune`"),
                ("-refresh-only", "use two dashes: `--refresh-only`"),
                ("-refresh=false", "use two dashes: `--refresh`"),
                ("-replace=x", "use two dashes: `--replace`"),
                ("-json", "use two dashes: `--json`"),
                ("-detailed-exitcode", "use two dashes: `--detailed-exitcode`"),
                ("-parallelism=4", "use `--concurrency N`"),
                ("-input=false", "use `--auto-approve`"),
                ("-lock=false", "apply always takes the lock"),
                ("-chdir=x", "use two dashes: `--chdir`"),
                ("-j4", "use `--concurrency N`"),
            ] {
                let program = Cli::command();
                let error = program.clone().try_get_matches_from(["imgplan", command, flag]);
                let args = [command.to_owned(), flag.to_owned()];
                let text = add_tip(error.unwrap_err(), &args, &program).to_string();
                assert!(text.contains(tip), "{command} {flag}: {text}");
            }
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
