//! Writes the command that continues an apply which ended early. Pure.

use std::collections::HashSet;
use std::path::Path;

use super::args::{ApplyArgs, DEFAULT_RETRIES, EngineArgs, SelectionArgs};
use super::settings::Settings;
use crate::base::engine_kind::EngineKind;
use crate::base::name::ImageRef;
use crate::base::secret::is_secret_name;
use crate::base::text::{exact_duration, shell_word};
use crate::event::Summary;
use crate::manifest::{Invocation, Override, Variable, Workspace};
use crate::plan::{Partition, Plan, Reason, Step};
use crate::server::BuildNetwork;

/// Returns the command that applies a saved plan.
pub(super) fn saved(settings: &Settings, local: bool, path: &Path) -> String {
    let mut command = CommandLine::apply(settings);
    command.switch("--local", local);
    format!("{} {}", command.0, shell_word(&path.to_string_lossy()))
}

/// Returns the patterns of `--replace` that still apply: those targets neither succeeded nor have a
/// build in progress. A build in progress is recorded; to replace it would build it twice.
pub(super) fn remaining_replacements(
    plan: &Plan,
    workspace: &Workspace,
    summary: &Summary,
) -> Vec<String> {
    let failed = summary.failures.iter().filter(|failure| !failure.pending);
    let failed = failed.map(|failure| &failure.unit);
    let unfinished: HashSet<&ImageRef> =
        summary.skipped.iter().map(|(key, _)| key).chain(failed).collect();
    let pattern = |step: &Step| {
        let unit = workspace.unit(step.unit()?);
        let remains = step.reasons.contains(&Reason::Requested) && unfinished.contains(&step.key);
        // A tag that is a fingerprint may differ in the next run.
        let by_content = unit.content_tag.is_some();
        remains.then(|| if by_content { unit.image.to_string() } else { step.key.to_string() })
    };
    plan.steps.iter().filter_map(pattern).collect()
}

/// Returns the command that brings the bases of a partition up to date.
pub(super) fn trunk(settings: &Settings, args: &ApplyArgs) -> String {
    let replace: Vec<String> = args.selection.replace.iter().map(ToString::to_string).collect();
    let selection = SelectionArgs { partition: Some(Partition::Trunk), ..args.selection.clone() };
    write(settings, args, &selection, &replace)
}

/// Returns the command that continues an apply, with the flags that select its work and its speed.
pub(super) fn command(settings: &Settings, args: &ApplyArgs, replace: &[String]) -> String {
    write(settings, args, &args.selection, replace)
}

fn write(
    settings: &Settings,
    args: &ApplyArgs,
    selection: &SelectionArgs,
    replace: &[String],
) -> String {
    let mut command = CommandLine::apply(settings);
    let SelectionArgs {
        targets,
        target_file,
        groups,
        excludes,
        exclude_file,
        partition,
        replace: _,
        prune,
    } = selection;
    command.flags("--target", targets);
    command.flags("--target-file", target_file.iter().map(|path| path.display()));
    command.flags("--group", groups);
    command.flags("--exclude", excludes);
    command.flags("--exclude-file", exclude_file.iter().map(|path| path.display()));
    command.flags("--partition", *partition);
    command.flags("--max-destroy", args.max_destroy);
    command.flags(
        "--limit",
        args.service.limits.iter().map(|limit| {
            let window = exact_duration(limit.limit.window);
            format!("{}={}/{window}", limit.class, limit.limit.count)
        }),
    );
    command.flags("--state", &args.service.state.state);
    command.flags("--budget-share", args.service.budget_share);
    command.flags("--concurrency", args.concurrency);
    let retries = (args.retry_times != DEFAULT_RETRIES).then_some(args.retry_times);
    command.flags("--retry-times", retries);
    command.flags("--timeout", args.timeout.map(exact_duration));
    command.flags("--replace", (!replace.is_empty()).then(|| replace.join(",")));
    command.switch("--prune", *prune);
    command.switch("--local", args.service.local);
    command.engine(&args.engine);
    command.0
}

/// A command line for a shell.
struct CommandLine(String);

impl CommandLine {
    /// Returns `imgplan apply` for the same manifest.
    fn apply(settings: &Settings) -> Self {
        let mut command = Self("imgplan apply".to_owned());
        command.flags("-C", settings.chdir.iter().map(|dir| dir.display()));
        let Invocation { files, text: _, vars, sets, allowed } = &settings.manifest;
        let is_default = files.len() <= 1 && settings.manifest.first() == Path::new("imgplan.yaml");
        if !is_default {
            command.flags("-f", files.iter().map(|file| file.display()));
        }
        let (secrets, plain): (Vec<&Variable>, Vec<&Variable>) =
            vars.iter().partition(|var| is_secret_name(&var.name));
        command.flags("--var", plain.iter().map(|var| format!("{}={}", var.name, var.value)));
        // The command is written to logs and reports.
        command.flags("--var", secrets.iter().map(|var| format!("{}=***", var.name)));
        command.flags("--set", sets.iter().map(Override::text));
        command.flags("--allow-outside", allowed.folders.iter().map(|folder| folder.display()));
        command.flags("--allow-env", &allowed.variables);
        command
    }

    /// Adds the flags of an engine. The pattern has no `..`, so that no flag is forgotten.
    fn engine(&mut self, args: &EngineArgs) {
        let EngineArgs {
            engine,
            registry,
            builder,
            registry_auth,
            registry_ca,
            plain_http,
            disk,
            memory,
            slots,
            build_timeout,
            build_network,
            cache,
        } = args;
        self.flags("--engine", engine.map(EngineKind::as_str));
        self.flags("--registry", registry);
        self.flags("--builder", builder);
        self.flags("--registry-auth", registry_auth.iter().map(|path| path.display()));
        self.flags("--registry-ca", registry_ca.iter().map(|path| path.display()));
        self.switch("--plain-http", *plain_http);
        self.flags("--disk", disk.map(|bytes| format!("{bytes}B")));
        self.flags("--memory", memory.map(|bytes| format!("{bytes}B")));
        self.flags("--slots", *slots);
        self.flags("--build-timeout", build_timeout.map(exact_duration));
        self.flags("--build-network", build_network.map(BuildNetwork::as_str));
        self.flags("--cache", cache);
    }

    /// Adds a flag with each of these values.
    fn flags<T: ToString>(&mut self, flag: &str, values: impl IntoIterator<Item = T>) {
        for value in values {
            self.0 = format!("{} {flag} {}", self.0, shell_word(&value.to_string()));
        }
    }

    /// Adds a flag without a value.
    fn switch(&mut self, flag: &str, on: bool) {
        if on {
            self.0 = format!("{} {flag}", self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::{Cli, Command};
    use super::*;
    use clap::Parser;

    fn rerun(flags: &[&str]) -> String {
        let mut cli = Cli::try_parse_from(["imgplan", "apply"].iter().chain(flags)).unwrap();
        let settings = Settings::resolve(cli.global, cli.command.take_common());
        let Command::Apply(args) = cli.command else { panic!("not an apply") };
        command(&settings, &args, &[])
    }

    #[test]
    fn flags_are_repeated() {
        assert_eq!(rerun(&[]), "imgplan apply");
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
        insta::assert_snapshot!(rerun(&flags), @r#"imgplan apply -C 'my apps' -f "it's.yaml" --limit initiate=50/2s --limit status=9/1500ms --concurrency 4 --retry-times 0 --timeout 90m --local"#);
        assert_eq!(rerun(&["--timeout", "2h", "--auto-approve"]), "imgplan apply --timeout 2h");
        let engine = "--local --engine buildah --registry r:5000 --builder farm \
                      --registry-auth a.json --plain-http --disk 3000000B --memory 64B --slots 2 --build-timeout 90m --build-network none \
                      --cache r:5000/c";
        let flags: Vec<&str> = engine.split(' ').collect();
        assert_eq!(rerun(&flags), format!("imgplan apply {engine}"));
        let flags = ["-f", "imgplan.yaml", "-f", "b.yaml", "--var", "A=x y", "--set", "*.tag=v1"];
        let expected = "imgplan apply -f imgplan.yaml -f b.yaml --var 'A=x y' --set '*.tag=v1'";
        assert_eq!(rerun(&flags), expected);
    }
}
