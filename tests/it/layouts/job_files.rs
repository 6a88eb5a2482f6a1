//! Dockerfiles side by side in one folder, `<name>.Dockerfile`, all built from the root.

use super::{Change, Layout};

const MANIFEST: &str = "version: 1
images:
  - discover: {dockerfiles: \"docker/**/*.Dockerfile\", exclude: [docker/old]}
    context: .
    name: \"job-{file}\"
";

/// Returns the repository.
pub(super) fn layout() -> Layout {
    Layout {
        manifest: MANIFEST,
        files: super::files(&[
            ("pyproject.toml", "[project]\n"),
            ("src/jobs/etl.py", "print()\n"),
            ("src/jobs/report.py", "print()\n"),
            ("docker/base.Dockerfile", "FROM python:3.12-slim\nCOPY pyproject.toml /app/\n"),
            ("docker/etl.Dockerfile", "FROM job-base\nCOPY src/jobs/etl.py /app/\n"),
            ("docker/web/report.Dockerfile", "FROM job-base\nCOPY src /app/src\n"),
            // This ignore file is for its own Dockerfile.
            ("docker/web/report.Dockerfile.dockerignore", "src/jobs/etl.py\n"),
            ("docker/old/etl.Dockerfile", "FROM nowhere:1\n"),
            ("docker/compose.yaml", "services: {}\n"),
        ]),
        edges: &["job-etl -> job-base", "job-report -> job-base"],
        archives: &[
            (
                "job-etl",
                &[".imgplan.Dockerfile", ".imgplan.Dockerfile.dockerignore", "src/jobs/etl.py"],
            ),
            (
                "job-report",
                &[".imgplan.Dockerfile", ".imgplan.Dockerfile.dockerignore", "src/jobs/report.py"],
            ),
        ],
        changes: vec![
            Change::append("pyproject.toml", "name = 'x'", &["job-base", "job-etl", "job-report"]),
            Change::append("src/jobs/etl.py", "print(1)", &["job-etl"]),
            Change::append("src/jobs/new.py", "print(1)", &["job-report"]),
            Change::append("docker/web/new.Dockerfile", "FROM job-etl", &["job-new"]),
            Change::append("docker/old/etl.Dockerfile", "ENV CHANGED=1", &[]),
            Change::append("docker/compose.yaml", "volumes: {}", &[]),
            Change::append("docker/etl.Dockerfile", "# The last line.", &[]),
        ],
    }
}

#[test]
fn discovered_dockerfiles() {
    layout().check();
}
