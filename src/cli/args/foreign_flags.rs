//! Flags of other programs, and what imgplan has instead: a tip in the error for an unknown flag. Pure.

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

/// Adds a tip to the error for an unknown flag, if another program has this flag.
pub(super) fn add_tip(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return error };
    let tip = TIPS.iter().find(|(_, flags)| flags.contains(&flag.as_str()));
    if let Some((tip, _)) = tip
        && error.kind() == ErrorKind::UnknownArgument
    {
        let tip = ContextValue::StyledStrs(vec![StyledStr::from(*tip)]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
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
        ] {
            let command = Cli::command();
            let error = command.try_get_matches_from(["imgplan"].iter().chain(&args)).unwrap_err();
            let text = add_tip(error).to_string();
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
            .filter_map(|arg| arg.get_long().map(|long| format!("--{long}")))
            .collect();
        for (tip, foreign) in TIPS {
            for word in tip.split(['`', ' ', '=', '\'']).filter(|word| word.starts_with("--")) {
                assert!(known.iter().any(|flag| flag == word), "{tip}");
            }
            for flag in foreign {
                assert!(!known.iter().any(|known| known == flag), "{flag} exists");
            }
        }
    }
}
