//! Every folder in `examples/` does what a newcomer does with it, and leaves nothing to do.

use std::path::Path;

use super::support::TestEnv;

/// All of them, found by looking, so that none is forgotten.
fn names() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> =
        folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn each_is_validated_planned_and_applied() {
    let names = names();
    assert!(names.len() >= 3, "{names:?}: are these all?");
    for name in names {
        let env = TestEnv::example(&name);
        env.ok(["validate"]).says("imgplan.yaml is valid");
        let plan = env.run(["plan", "--local", "--detailed-exitcode"]);
        let steps = plan.code(2).steps();
        assert!(steps.iter().all(|step| step.starts_with("+ ")), "{plan}");
        let apply = env.ok(["apply", "--local", "--auto-approve"]);
        assert!(!apply.all().contains("warning"), "{apply}");
        let again = env.run(["plan", "--local", "--detailed-exitcode"]);
        again.success().says("No changes.");
        let shown = env.ok(["show", "--local"]).stdout;
        assert_eq!(shown.lines().count(), steps.len(), "{name}\n{shown}");
        // Nobody but the server in the process was asked.
        assert_eq!(env.server().requests(), [""; 0], "{name}");
    }
}
