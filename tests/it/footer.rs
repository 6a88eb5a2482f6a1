//! The live footer of an apply, in a real terminal that is resized: tmux. And the places that get lines
//! instead.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use imgplan::test_support::server::ServerConfig;

use crate::support::{KEY, TestEnv};

/// Duration of a build that ends in no test.
const FOREVER: Duration = Duration::from_secs(3600);

/// Characters that only the bar of the footer has.
const BAR: [char; 2] = ['━', '─'];

/// A terminal of tmux with a program in it. It is closed when dropped.
struct Tmux {
    socket: String,
}

impl Tmux {
    /// Runs a shell script in a terminal of this size. Returns `None`, with a message, without tmux.
    fn start(script: &str, columns: u16, lines: u16) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            let required = std::env::var_os("IMGPLAN_TMUX").is_some_and(|it| it == "required");
            assert!(!required, "IMGPLAN_TMUX=required: tmux is not installed");
            // Unlike `eprintln!`, this is not captured in tests that succeed.
            let _ = writeln!(std::io::stderr(), "SKIPPED: tmux is not installed");
            return None;
        }
        let socket = format!("imgplan-{}", std::process::id());
        let tmux = Self { socket };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let size = ["-x", &columns, "-y", &lines];
        tmux.run(&[&["-f", "/dev/null", "new-session", "-d"][..], &size, &[script]].concat());
        Some(tmux)
    }

    fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        // Without UTF-8, tmux shows other characters.
        command.args(["-L", &self.socket, "-u"]).args(args).env("LC_ALL", "C.UTF-8");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    fn resize(&self, columns: u16, lines: u16) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.run(&["resize-window", "-x", &columns, "-y", &lines]);
    }

    fn type_in(&self, key: &str) {
        self.run(&["send-keys", key]);
    }

    /// Waits until the screen is as expected.
    #[track_caller]
    fn wait_for(&self, expected: impl Fn(&str) -> bool) -> String {
        let mut screen = self.screen();
        let began = Instant::now();
        while !expected(&screen) {
            assert!(began.elapsed() < Duration::from_secs(60), "not as expected:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
            screen = self.screen();
        }
        screen
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

/// Returns an environment in which an apply forgets `a` at once, and builds `b` and `c` forever.
fn env_with_endless_builds() -> TestEnv {
    let mut env = TestEnv::manifest(
        "version: 1\nimages:\n  - {name: a, context: a}\n  - {name: b, context: b}\n  \
         - {name: c, context: c}\n",
    );
    for name in ["a", "b", "c"] {
        env.context(name, "FROM scratch\n");
    }
    env.apply();
    env.restart(ServerConfig { build_time: FOREVER, ..ServerConfig::default() });
    env.edit("imgplan.yaml", "  - {name: a, context: a}\n", "");
    for name in ["b", "c"] {
        env.context(name, "FROM scratch\nLABEL x=1\n");
    }
    env
}

/// Returns a script that runs apply and prints its exit code.
fn script(env: &TestEnv) -> String {
    let vars = env.vars().iter().map(|(name, value)| format!("{name}='{value}'"));
    let vars: Vec<String> = vars.collect();
    let (dir, program) = (env.path("").display().to_string(), env!("CARGO_BIN_EXE_imgplan"));
    format!(
        "cd {dir} && env -i {} TERM=\"$TERM\" {program} apply --auto-approve --refresh=false; echo \"ended: $?\"; \
         read wait",
        vars.join(" ")
    )
}

#[test]
fn the_footer_follows_the_run_and_the_size_of_the_terminal() {
    let env = env_with_endless_builds();
    let Some(tmux) = Tmux::start(&script(&env), 80, 24) else { return };
    let count = |screen: &str, text: &str| screen.matches(text).count();
    let bars = |screen: &str| screen.lines().filter(|line| line.contains(BAR)).count();
    let is_drawn = |screen: &str| {
        bars(screen) == 1
            && ["1/3 done after", "2 building", "b:latest  building", "c:latest  building"]
                .iter()
                .all(|text| count(screen, text) == 1)
    };
    let screen = tmux.wait_for(is_drawn);
    // What has ended is above the footer, and nothing below.
    let lines: Vec<&str> = screen.trim_end().lines().collect();
    let line = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap();
    assert!(line("a:latest: Forgotten in") < line("1/3 done after"), "{screen}");
    assert!(lines.last().unwrap().contains(":latest  building"), "{screen}");
    for (columns, rows) in [(40, 20), (24, 12), (120, 30), (200, 50), (60, 24)] {
        tmux.resize(columns, rows);
        let screen = tmux.wait_for(|screen| {
            // A narrow terminal has no room for the bar.
            bars(screen) == usize::from(columns > 24)
                && count(screen, "1/3 done after") == 1
                && count(screen, "building") == 3
        });
        assert_eq!(count(&screen, "a:latest: Forgotten"), 1, "{columns}x{rows}:\n{screen}");
    }
    tmux.type_in("C-c");
    let screen = tmux.wait_for(|screen| screen.contains("Press Ctrl-C again"));
    assert!(!screen.contains("ended:"), "{screen}");
    tmux.type_in("C-c");
    let screen = tmux.wait_for(|screen| screen.contains("ended: 130"));
    assert_eq!((bars(&screen), count(&screen, "1/3 done after")), (0, 0), "{screen}");
    assert!(screen.contains("2 pending") && screen.contains("Next: run"), "{screen}");
}

#[test]
fn only_a_terminal_that_can_be_redrawn_gets_a_footer() {
    let config = ServerConfig { build_time: Duration::from_secs(1), ..ServerConfig::default() };
    let mut env = TestEnv::with(config);
    env.write("imgplan.yaml", "version: 1\nimages:\n  - {name: a, context: a}\n");
    env.set("PRIME_API_KEY", KEY);
    let mut version = 0;
    let mut apply = |args: &[&str], vars: &[(&str, &str)]| {
        version += 1;
        env.context("a", &format!("FROM scratch\nLABEL version={version}\n"));
        let args = [&["apply", "--auto-approve"], args].concat();
        let call = env.call(args.iter().copied());
        let call = vars.iter().fold(call, |call, (name, value)| call.env(name, value));
        let began = Instant::now();
        (call.on_terminal_of(80, 24), began.elapsed())
    };
    let term = ("TERM", "xterm-256color");
    for (args, vars, has_footer, has_start) in [
        (&[][..], &[term][..], true, false),
        (&[], &[term, ("NO_COLOR", "1")], true, false),
        (&[], &[], false, true),
        (&[], &[("TERM", "dumb")], false, true),
        (&[], &[term, ("CI", "true")], false, true),
        (&["--progress", "plain"], &[term], false, true),
        (&["--progress", "none"], &[term], false, false),
        (&["--progress", "tty"], &[term, ("CI", "true")], true, false),
        (&["--quiet"], &[term], false, false),
        (&["--json"], &[term], false, false),
    ] {
        let (screen, time) = apply(args, vars);
        let frames = screen.matches("\u{1b}[J").count();
        assert_eq!(frames > 2, has_footer, "{args:?} {vars:?}: {screen:?}");
        assert!(frames as u128 <= time.as_millis() / 100 + 2, "{frames} frames in {time:?}");
        assert_eq!(screen.contains("a:latest: Building..."), has_start, "{args:?} {vars:?}");
        if !has_footer {
            // Colours at most.
            let codes = screen.split("\u{1b}[").skip(1);
            let mut codes =
                codes.map(|code| code.trim_start_matches(|c: char| c != 'm' && !c.is_alphabetic()));
            assert!(codes.all(|code| code.starts_with('m')), "{args:?} {vars:?}: {screen:?}");
        }
    }
}

#[test]
fn a_pipe_gets_no_escape_code() {
    let mut env = TestEnv::manifest("version: 1\nimages:\n  - {name: a, context: a}\n");
    env.context("a", "FROM scratch\n");
    env.set("TERM", "xterm-256color");
    let output = env.ok(["apply", "--auto-approve", "--progress", "tty"]);
    output.says("a:latest: Building...").says("a:latest: Built in").never_says("\u{1b}");
}

#[test]
fn the_file_of_json_lines_has_the_events_below_a_footer_too() {
    let env = TestEnv::manifest("version: 1\nimages:\n  - {name: a, context: a}\n");
    env.context("a", "FROM scratch\n");
    let call = env.call(["apply", "--auto-approve", "--json-into", "lines.jsonl"]);
    let screen = call.env("TERM", "xterm-256color").on_terminal_of(80, 24);
    assert!(screen.contains("\u{1b}[J"), "there is a footer: {screen:?}");
    let lines = env.read("lines.jsonl");
    for kind in ["planned_change", "apply_start", "apply_complete", "change_summary"] {
        assert!(lines.contains(&format!("\"type\":\"{kind}\"")), "{kind}: {lines}");
    }
}
