//! `imgplan completions` in real shells, and the candidates that the scripts get. `imgplan man`.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Terminal, TestEnv};

const MANIFEST: &str = "\
version: 1
defaults: {labels: {tier: web}}
groups: {nightly: ['*'], weekly: [app]}
images:
  - {name: app, tag: v1, context: app}
  - {name: base, tag: v2, context: app, platforms: [linux/amd64, linux/arm64]}
  - {source: 'docker.io/library/redis:7'}
";

/// An environment with the program in `PATH`.
fn project(manifest: &str) -> TestEnv {
    let mut env = TestEnv::manifest(manifest);
    env.context("app", "FROM scratch\n");
    let bin = env.everything().join("bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(env!("CARGO_BIN_EXE_imgplan"), bin.join("imgplan")).unwrap();
    let path = format!("{}:{}", bin.display(), env.vars()["PATH"]);
    env.set("PATH", &path);
    env
}

/// Returns the command of a shell. `None`, with a note, if the shell is not installed.
fn shell(env: &TestEnv, name: &str, args: &[&str]) -> Option<Command> {
    let is_installed =
        std::env::split_paths(&env.vars()["PATH"]).any(|dir| dir.join(name).exists());
    if !is_installed {
        note_missing(name);
        return None;
    }
    let mut command = Command::new(name);
    command.args(args).current_dir(env.path("")).env_clear().envs(env.vars());
    command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
    Some(command)
}

/// Notes that a part of the test is skipped. With `IMGPLAN_SHELLS=required`, the test fails instead.
fn note_missing(program: &str) {
    let required = std::env::var_os("IMGPLAN_SHELLS").is_some_and(|it| it == "required");
    assert!(!required, "IMGPLAN_SHELLS=required: {program} is not installed");
    // Unlike `eprintln!`, this is not captured in tests that succeed.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {program} is not installed");
}

/// Asks for candidates as the script for fish does, and returns them without their descriptions.
fn candidates(env: &TestEnv, words: &[&str]) -> Vec<String> {
    let args = ["--", "imgplan"].into_iter().chain(words.iter().copied());
    let output = env.call(args).env("IMGPLAN_COMPLETE", "fish").run();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{words:?}");
    let lines = output.stdout.lines().map(|line| line.split('\t').next().unwrap().to_owned());
    lines.collect()
}

/// A line as typed, and the words that it becomes after the Tab key.
const TYPED: [(&str, &[&str]); 11] = [
    ("imgplan val", &["validate"]),
    ("imgplan plan --detailed", &["plan", "--detailed-exitcode"]),
    ("imgplan plan --target app:", &["plan", "--target", "app:v1"]),
    ("imgplan plan --target=base:v2-ar", &["plan", "--target=base:v2-arm64"]),
    ("imgplan apply --target app,red", &["apply", "--target", "app,redis"]),
    ("imgplan plan --group ni", &["plan", "--group", "nightly"]),
    ("imgplan plan --exclude tier=", &["plan", "--exclude", "tier=web"]),
    ("imgplan -C 'sub dir' plan --target oth", &["-C", "sub dir", "plan", "--target", "other"]),
    ("imgplan plan -f ~/oth", &["plan", "-f", "~/other.yaml"]),
    ("imgplan -C ~/work plan --target inn", &["-C", "~/work", "plan", "--target", "inner"]),
    ("imgplan plan -f other\\ name.y", &["plan", "-f", "other name.yaml"]),
];

/// Lines that end with a redirection, whose target is a file. If it is not completed, it does not exist.
const REDIRECTED: [(&str, &[&str]); 2] =
    [("imgplan plan < outp", &["plan"]), ("imgplan why < bas", &["why"])];

/// An environment for [`TYPED`] and [`REDIRECTED`].
fn typed_project() -> TestEnv {
    let env = project(MANIFEST);
    let other = "version: 1\nimages: [{name: other, tag: '{fingerprint}', context: .}]\n";
    env.write("sub dir/imgplan.yaml", other).write("other name.yaml", other);
    env.write("output.txt", "").write("bases.txt", "");
    let work = env.home().join("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(env.home().join("other.yaml"), other).unwrap();
    std::fs::write(work.join("imgplan.yaml"), other.replace("other", "inner")).unwrap();
    env
}

/// Types each line in a shell, and compares the words. `setup` loads the completions.
fn type_lines(env: &TestEnv, shell: Command, setup: &str) {
    let mut terminal = Terminal::start(shell);
    // The marks are written in two parts, so that the typed text does not contain them.
    terminal.type_in(&format!("{setup}; echo RE''ADY\r"));
    terminal.wait_for("READY");
    for (line, words) in TYPED.into_iter().chain(REDIRECTED) {
        // Ctrl-A goes to the start of the line; Ctrl-U and Ctrl-K empty it.
        terminal.type_in(&format!("{line}\t\x01printf '<%s>' \r"));
        terminal.wait_for(&printed(env, words));
    }
    drop(terminal);
    is_unchanged(env);
}

/// Returns the words of a line as a shell passes them: with the path of the home folder.
fn printed(env: &TestEnv, words: &[&str]) -> String {
    let home = env.home().display().to_string();
    format!("<imgplan><{}>", words.join("><").replace('~', &home))
}

/// Checks that nothing was written and nobody was asked.
fn is_unchanged(env: &TestEnv) {
    assert!(!env.exists(".imgplan") && !env.exists("imgplan.lock"));
    assert_eq!(env.server().requests(), [""; 0]);
}

#[test]
fn bash_completes_lines() {
    let env = typed_project();
    let Some(shell) = shell(&env, "bash", &["--norc", "--noprofile", "-i"]) else { return };
    type_lines(&env, shell, "eval \"$(imgplan completions bash)\"");
}

#[test]
fn zsh_completes_lines() {
    let env = typed_project();
    let Some(shell) = shell(&env, "zsh", &["-f", "-i"]) else { return };
    let setup =
        "bindkey -e; autoload -Uz compinit; compinit -u -D; source <(imgplan completions zsh)";
    type_lines(&env, shell, setup);
}

/// Packages install the script as a file of the folder of functions.
#[test]
fn zsh_loads_the_script_as_a_function() {
    let env = typed_project();
    let Some(shell) = shell(&env, "zsh", &["-f", "-i"]) else { return };
    env.write("functions/_imgplan", env.ok(["completions", "zsh"]).stdout);
    let setup = "bindkey -e; fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u -D";
    type_lines(&env, shell, setup);
}

#[test]
fn fish_completes_lines() {
    let env = typed_project();
    for (line, words) in TYPED {
        // The script is read from the folder in which packages install it.
        env.write("fish.fish", env.ok(["completions", "fish"]).stdout);
        let script = "source fish.fish; complete -C $LINE";
        let Some(mut shell) = shell(&env, "fish", &["--no-config", "-c", script]) else { return };
        let output = shell.env("LINE", line).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let found: Vec<&str> = text.lines().map(|line| line.split('\t').next().unwrap()).collect();
        assert!(found.contains(words.last().unwrap()), "{line}: {found:?}");
        assert!(found.len() <= 2, "{line}: {found:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
    }
}

#[test]
fn elvish_completes_lines() {
    let env = typed_project();
    let Some(shell) = shell(&env, "elvish", &["-norc"]) else { return };
    let mut terminal = Terminal::start(shell);
    // The function prints the words of the lines.
    terminal.type_in(
        "use str; fn imgplan {|@words| echo '<imgplan><'(str:join '><' $words)'>' }; \
         eval (e:imgplan completions elvish | slurp); echo RE''ADY\r",
    );
    terminal.wait_for("READY");
    // A backslash does not quote.
    for (line, words) in TYPED.into_iter().filter(|(line, _)| !line.contains('\\')) {
        // If the word needs quotes, the first Enter takes it from a list.
        terminal.type_in(&format!("{line}\t\r\r"));
        terminal.wait_for(&printed(&env, words));
    }
    drop(terminal);
    is_unchanged(&env);
}

#[test]
fn each_shell_has_a_script() {
    let env = TestEnv::at("http://127.0.0.1:9");
    for shell in ["bash", "zsh", "fish", "elvish"] {
        let script = env.ok(["completions", shell]).stdout;
        assert!(script.contains("IMGPLAN_COMPLETE") && script.contains("imgplan"), "{script}");
    }
    for shell in ["tcsh", "powershell"] {
        env.run(["completions", shell]).code(64);
    }
    // A variable that somebody exported does not change other commands.
    let output = env.call(["--version"]).env("IMGPLAN_COMPLETE", "bash").run();
    assert!(output.stdout.starts_with("imgplan "), "{output}");
}

#[test]
fn a_missing_program_prints_nothing() {
    let mut env = project(MANIFEST);
    let bash = ["--norc", "--noprofile", "-c"];
    let script = env.ok(["completions", "bash"]).stdout;
    env.write("bash.bash", script);
    std::fs::remove_file(env.everything().join("bin/imgplan")).unwrap();
    env.set("LINE", "imgplan plan --target ");
    let script = "source bash.bash; COMP_LINE=$LINE; COMP_POINT=${#LINE}; _imgplan imgplan ''; \
                  echo \"${#COMPREPLY[@]}\"";
    let Some(mut shell) = shell(&env, "bash", &[bash[0], bash[1], bash[2], script]) else { return };
    let output = shell.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn names_come_from_the_manifest_that_the_line_chooses() {
    let mut env = typed_project();
    assert_eq!(candidates(&env, &["why", "b"]), ["base", "base:v2-amd64", "base:v2-arm64"]);
    assert_eq!(candidates(&env, &["context", "list", "redis"]), ["redis", "redis:7"]);
    for words in [
        &["-C", "sub dir", "show", "o"][..],
        &["plan", "-f", "other name.yaml", "--target", "o"],
        &["plan", "--file=other name.yaml", "--target", "o"],
    ] {
        assert_eq!(candidates(&env, words), ["other"], "{words:?}");
    }
    env.write("vars.yaml", "version: 1\nimages: [{name: 'a-${X}', tag: v, context: .}]\n");
    let words = ["plan", "-f", "vars.yaml", "--var", "X=y", "--target", "a"];
    assert_eq!(candidates(&env, &words), ["a-y", "a-y:v"]);
    assert_eq!(candidates(&env, &["-C", "s"]), ["sub dir/"]);
    assert_eq!(candidates(&env, &["-C", "outp"]), [""; 0], "a file is no directory");
    env.set("IMGPLAN_FILE", "other name.yaml");
    assert_eq!(candidates(&env, &["logs", "o"]), ["other"]);
}

#[test]
fn words_that_a_shell_would_execute_are_not_candidates() {
    let manifest = "version: 1\n\
        images:\n\
        - {name: app, context: app, labels: {a: '$(touch pwned)', b: '`touch pwned`', c: 'x;y', ok: plain}}\n";
    let env = project(manifest);
    let all = candidates(&env, &["plan", "--target", ""]);
    assert_eq!(all, ["app", "app:latest", "ok=plain"]);
    env.write("$(touch pwned).yaml", "");
    let output =
        env.call(["--", "imgplan plan -f '$(t", "$(t"]).env("IMGPLAN_COMPLETE", "bash").run();
    assert_eq!(output.stdout, "\\$\\(touch\\ pwned\\).yaml\n");
}

/// Creates a bad manifest.
type Create = fn(&Path);

/// Nothing is printed about a manifest that cannot be read, and flags are completed all the same.
#[test]
fn bad_manifests_are_quiet_and_quick() {
    let env = project(MANIFEST);
    let path = env.path("imgplan.yaml");
    let replace: [(&str, Create); 8] = [
        ("nothing", |_| {}),
        ("text", |path| std::fs::write(path, "images: [\u{0}").unwrap()),
        ("binary", |path| std::fs::write(path, [0xff, 0xfe, 0]).unwrap()),
        ("folder", |path| std::fs::create_dir(path).unwrap()),
        ("device", |path| symlink("/dev/zero", path).unwrap()),
        ("FIFO", |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success())),
        ("outside", |path| symlink("/proc/self/environ", path).unwrap()),
        ("large", |path| std::fs::File::create(path).unwrap().set_len(1 << 40).unwrap()),
    ];
    for (name, create) in replace {
        let _ = std::fs::remove_file(&path);
        create(&path);
        let began = Instant::now();
        assert_eq!(candidates(&env, &["plan", "--target", ""]), [""; 0], "{name}");
        assert_eq!(candidates(&env, &["plan", "--targ"]), ["--target", "--target-file"], "{name}");
        assert!(began.elapsed() < Duration::from_secs(20), "{name}: {:?}", began.elapsed());
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_dir(&path);
    }
    let before = env.listing();
    env.write(
        "imgplan.yaml",
        "version: 1\nunknown: 1\nimages: [{name: app}, {name: web, context: 7}]\n",
    );
    assert_eq!(candidates(&env, &["why", "a"]), ["app", "app:latest"]);
    assert_eq!(env.listing().len(), before.len() + 1);
    // Standard input is the terminal.
    assert_eq!(candidates(&env, &["plan", "-f", "-", "--target", ""]), [""; 0]);
    assert_eq!(candidates(&env, &["--help", "plan", "--targ"]), ["--target", "--target-file"]);
}

/// Expanding such a manifest takes several seconds, so that the time is what ends it.
#[test]
fn a_manifest_that_takes_long_is_given_up() {
    let rows = |count: u32| (0..count).map(|row| format!("'{row}'")).collect::<Vec<_>>().join(", ");
    let (long, short) = (rows(60), rows(13));
    let env = project(&format!(
        "version: 1\nimages:\n- {{name: 'a-${{A}}-${{B}}-${{C}}', context: app, \
         matrix: {{A: [{long}], B: [{long}], C: [{short}]}}}}\n"
    ));
    let began = Instant::now();
    assert_eq!(candidates(&env, &["plan", "--target", "a-59-59-1"]), [""; 0]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn manual_pages_are_accepted_by_man() {
    let env = TestEnv::at("http://127.0.0.1:9");
    let output = env.ok(["man", "--output", "pages/man1"]);
    assert!(
        output.stderr.starts_with("wrote ") && output.stderr.contains("pages/man1"),
        "{output}"
    );
    let pages: Vec<_> = std::fs::read_dir(env.path("pages/man1")).unwrap().collect();
    let plan = env.read("pages/man1/imgplan-plan.1");
    assert!(plan.contains("imgplan\\-plan") && plan.contains("\\-\\-target"), "{plan}");
    assert!(plan.contains("[env: IMGPLAN_ALLOW_OUTSIDE]"), "{plan}");
    assert!(env.exists("pages/man1/imgplan-context-list.1") && env.exists("pages/man1/imgplan.1"));
    assert!(!env.exists("pages/man1/imgplan-man.1") && pages.len() > 15, "{pages:?}");
    assert!(env.read("pages/man1/imgplan.1").contains(".SH \"EXIT STATUS\"\n    0  Success"));
    env.call(["man", "-o", "again"]).env("SOURCE_DATE_EPOCH", "0").run().success();
    assert!(env.read("again/imgplan.1").contains("1970-01-01"));
    for page in pages {
        let page = page.unwrap().path();
        let groff = Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(&page).output();
        let mandoc =
            Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&page).output();
        for (name, output) in [("groff", groff), ("mandoc", mandoc)] {
            let Ok(output) = output else {
                note_missing(name);
                continue;
            };
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert_eq!(text, "", "{name} {}", page.display());
        }
    }
}
