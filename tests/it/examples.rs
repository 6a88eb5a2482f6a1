//! Each folder in `examples/` can be validated, planned and applied.

use std::path::Path;

use super::support::TestEnv;

/// Returns the names of all examples.
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
fn examples_are_validated_planned_and_applied() {
    let names = names();
    assert!(names.len() >= 3, "only {names:?}");
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
        // Only the server in the process receives requests.
        assert_eq!(env.server().requests(), [""; 0], "{name}");
    }
}
