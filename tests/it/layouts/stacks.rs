//! docker-stacks: one folder for each image, and each Dockerfile takes its base from the registry where
//! the project publishes, put together by arguments.

use super::{Change, Layout};

const MANIFEST: &str = "version: 1
defaults: {published_as: \"quay.io/org/{name}\"}
images:
  - discover: {glob: \"images/*\"}
";

/// Images, and their bases.
const STACKS: [(&str, &str); 10] = [
    ("lab", "foundation"),
    ("minimal", "lab"),
    ("r", "minimal"),
    ("julia", "minimal"),
    ("scipy", "minimal"),
    ("tensorflow", "scipy"),
    ("pytorch", "scipy"),
    ("datascience", "scipy"),
    ("pyspark", "scipy"),
    ("all-spark", "pyspark"),
];

/// Returns the repository.
pub(super) fn layout() -> Layout {
    let mut files = super::files(&[
        ("README.md", "Stacks\n"),
        ("images/foundation/Dockerfile", "FROM scratch\nCOPY start.sh /usr/local/bin/\n"),
        ("images/foundation/start.sh", "exec \"$@\"\n"),
    ]);
    for (stack, base) in STACKS {
        let dockerfile = format!(
            "ARG REGISTRY=quay.io\nARG OWNER=org\nARG BASE=$REGISTRY/$OWNER/{base}\nFROM $BASE\n\
             LABEL maintainer=org\nCOPY setup-*.py /opt/setup/\n"
        );
        files.push((format!("images/{stack}/Dockerfile"), dockerfile));
        files.push((format!("images/{stack}/setup-{stack}.py"), "print()\n".to_owned()));
        files.push((format!("images/{stack}/README.md"), "How to use it\n".to_owned()));
        files.push((format!("images/{stack}/.dockerignore"), "README.md\n".to_owned()));
    }
    Layout {
        manifest: MANIFEST,
        files,
        edges: &[
            "all-spark -> pyspark",
            "datascience -> scipy",
            "julia -> minimal",
            "lab -> foundation",
            "minimal -> lab",
            "pyspark -> scipy",
            "pytorch -> scipy",
            "r -> minimal",
            "scipy -> minimal",
            "tensorflow -> scipy",
        ],
        archives: &[
            ("foundation", &["Dockerfile", "start.sh"]),
            ("scipy", &["Dockerfile", "setup-scipy.py"]),
        ],
        changes: vec![
            Change::append(
                "images/scipy/Dockerfile",
                "ENV CHANGED=1",
                &["all-spark", "datascience", "pyspark", "pytorch", "scipy", "tensorflow"],
            ),
            Change::append("images/pyspark/setup-more.py", "", &["all-spark", "pyspark"]),
            Change::append("images/julia/Dockerfile", "# The last line.", &[]),
            Change::append("images/julia/README.md", "More", &[]),
            Change::append("README.md", "More", &[]),
        ],
    }
}

#[test]
fn stacks_published_in_one_namespace() {
    layout().check();
}
