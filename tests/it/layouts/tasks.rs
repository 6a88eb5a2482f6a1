//! Harbor: tasks with an image, with a Dockerfile, and with both.

use super::{Change, Layout};

const MANIFEST: &str = "version: 1
images:
  - {name: agent-base, context: base}
  - discover: {harbor: tasks, prefer: dockerfile}
    name: \"task-{dir}\"
";

/// Returns the repository.
pub(super) fn layout() -> Layout {
    let toml = |image: &str| format!("version = \"1.0\"\n[environment]\n{image}");
    let image = |name: &str| toml(&format!("docker_image = \"quay.io/org/{name}:20251101\"\n"));
    Layout {
        manifest: MANIFEST,
        files: super::files(&[
            ("README.md", "Tasks\n"),
            ("base/Dockerfile", "FROM scratch\nCOPY tools /tools\n"),
            ("base/tools/run.sh", "run\n"),
            // Both: the published image, and the Dockerfile that it was built from.
            ("tasks/sort/task.toml", &image("sort")),
            ("tasks/sort/instruction.md", "Sort it.\n"),
            ("tasks/sort/environment/Dockerfile", "FROM agent-base\nCOPY data /data\n"),
            ("tasks/sort/environment/data/in.csv", "2,1\n"),
            ("tasks/sort/solution/solve.sh", "sort\n"),
            ("tasks/sort/tests/test.sh", "diff\n"),
            ("tasks/find/task.toml", &toml("")),
            ("tasks/find/instruction.md", "Find it.\n"),
            ("tasks/find/environment/Dockerfile", "FROM agent-base\nWORKDIR /app\nCOPY . .\n"),
            ("tasks/find/environment/app.py", "print()\n"),
            ("tasks/ready/task.toml", &image("ready")),
            ("tasks/ready/environment/.gitkeep", ""),
        ]),
        edges: &["task-find -> agent-base", "task-sort -> agent-base"],
        archives: &[
            ("task-sort", &["Dockerfile", "data/in.csv"]),
            (
                "task-find",
                &[
                    ".imgplan.Dockerfile",
                    ".imgplan.Dockerfile.dockerignore",
                    "Dockerfile",
                    "app.py",
                ],
            ),
        ],
        changes: vec![
            Change::append("base/tools/run.sh", "more", &["agent-base", "task-find", "task-sort"]),
            Change::append("tasks/sort/environment/data/in.csv", "3,1", &["task-sort"]),
            Change::append("tasks/find/environment/lib.py", "", &["task-find"]),
            Change::append("tasks/sort/tests/test.sh", "cmp", &[]),
            Change::append("tasks/sort/solution/solve.sh", "uniq", &[]),
            Change::append("tasks/find/instruction.md", "Soon.", &[]),
            // A task that is built does not use its published image.
            Change::replace("tasks/sort/task.toml", "20251101", "20251102", &[]),
            Change::append("tasks/find/task.toml", "cpus = 2", &[]),
        ],
    }
}

#[test]
fn tasks_with_an_image_and_a_dockerfile() {
    layout().check();
}
