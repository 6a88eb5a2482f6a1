//! The command that goes on where an apply ended too early. Pure.

use std::collections::HashSet;
use std::path::Path;

use super::args::{ApplyArgs, DEFAULT_RETRIES, SelectionArgs};
use super::settings::Settings;
use crate::base::name::ImageRef;
use crate::base::text::{exact_duration, shell_word};
use crate::event::Summary;
use crate::manifest::{Invocation, Workspace};
use crate::plan::{Plan, Reason, Step};

/// The command that does a saved plan, as a shell takes it.
pub(super) fn saved(settings: &Settings, local: bool, path: &Path) -> String {
    let local = if local { " --local" } else { "" };
    format!("{}{local} {}", beginning(settings), shell_word(&path.to_string_lossy()))
}

/// `imgplan apply` on the same manifest.
fn beginning(settings: &Settings) -> String {
    let mut command = "imgplan apply".to_owned();
    let mut add = |flag: &str, value: &str| {
        command = format!("{command} {flag} {}", shell_word(value));
    };
    if let Some(dir) = &settings.chdir {
        add("-C", &dir.to_string_lossy());
    }
    let Invocation { files, vars, sets } = &settings.manifest;
    for file in files.iter().filter(|file| files.len() > 1 || **file != Path::new("imgplan.yaml")) {
        add("-f", &file.to_string_lossy());
    }
    for var in vars {
        add("--var", &format!("{}={}", var.name, var.value));
    }
    for set in sets {
        add("--set", set.text());
    }
    command
}

/// What was to be made again because that was asked for, and was not, and is not under way either. What
/// is, is so on record: to ask for it twice would make it twice.
pub(super) fn still_asked_for(
    plan: &Plan,
    workspace: &Workspace,
    summary: &Summary,
) -> Vec<String> {
    let failed = summary.failures.iter().filter(|failure| !failure.pending);
    let failed = failed.map(|failure| &failure.unit);
    let left: HashSet<&ImageRef> =
        summary.skipped.iter().map(|(key, _)| key).chain(failed).collect();
    let name = |step: &Step| {
        let unit = workspace.unit(step.unit()?);
        let asked = step.reasons.contains(&Reason::Requested) && left.contains(&step.key);
        // The tag of what is not made yet means nothing to the next run.
        let by_content = unit.content_tag.is_some();
        asked.then(|| if by_content { unit.image.to_string() } else { step.key.to_string() })
    };
    plan.steps.iter().filter_map(name).collect()
}

/// The command that does what is left, as a shell takes it: with the flags that decide what it
/// works on and how fast, and what it is still to make again.
pub(super) fn command(settings: &Settings, args: &ApplyArgs, replace: &[String]) -> String {
    let mut command = beginning(settings);
    let mut add = |flag: &str, value: &str| {
        command = format!("{command} {flag} {}", shell_word(value));
    };
    let SelectionArgs { targets, target_file, groups, excludes, exclude_file, replace: _, prune } =
        &args.selection;
    for pattern in targets {
        add("--target", &pattern.to_string());
    }
    for path in target_file {
        add("--target-file", &path.to_string_lossy());
    }
    for group in groups {
        add("--group", group);
    }
    for pattern in excludes {
        add("--exclude", &pattern.to_string());
    }
    for path in exclude_file {
        add("--exclude-file", &path.to_string_lossy());
    }
    if let Some(most) = args.max_destroy {
        add("--max-destroy", &most.to_string());
    }
    for given in &args.service.limits {
        add(
            "--limit",
            &format!(
                "{}={}/{}",
                given.class,
                given.limit.count,
                exact_duration(given.limit.window)
            ),
        );
    }
    if let Some(concurrency) = args.concurrency {
        add("--concurrency", &concurrency.to_string());
    }
    if args.retry_times != DEFAULT_RETRIES {
        add("--retry-times", &args.retry_times.to_string());
    }
    if let Some(timeout) = args.timeout {
        add("--timeout", &exact_duration(timeout));
    }
    if !replace.is_empty() {
        command = format!("{command} --replace {}", shell_word(&replace.join(",")));
    }
    if *prune {
        command.push_str(" --prune");
    }
    if args.service.local {
        command.push_str(" --local");
    }
    command
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Cli, Command};
    use super::*;

    fn next(typed: &[&str]) -> String {
        let mut cli = Cli::try_parse_from(["imgplan", "apply"].iter().chain(typed)).unwrap();
        let settings = Settings::resolve(cli.global, cli.command.take_common());
        let Command::Apply(args) = cli.command else { panic!("no apply") };
        command(&settings, &args, &[])
    }

    #[test]
    fn what_was_typed_is_typed_again() {
        assert_eq!(next(&[]), "imgplan apply");
        let flags = [
            "-C",
            "my apps",
            "-f",
            "it's.yaml",
            "--limit",
            "initiate=50/2s,status=9/1500ms",
            "--concurrency",
            "4",
            "--retry-times",
            "0",
            "--timeout",
            "90m",
            "--local",
        ];
        let again = next(&flags);
        insta::assert_snapshot!(again, @r#"imgplan apply -C 'my apps' -f "it's.yaml" --limit initiate=50/2s --limit status=9/1500ms --concurrency 4 --retry-times 0 --timeout 90m --local"#);
        assert_eq!(next(&["--timeout", "2h", "--auto-approve"]), "imgplan apply --timeout 2h");
        let many = ["-f", "imgplan.yaml", "-f", "b.yaml", "--var", "A=x y", "--set", "*.tag=v1"];
        let again = "imgplan apply -f imgplan.yaml -f b.yaml --var 'A=x y' --set '*.tag=v1'";
        assert_eq!(next(&many), again);
    }
}
