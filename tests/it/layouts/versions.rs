//! rocker: one Dockerfile for each image and version in one folder, with a literal namespace and tag,
//! all built from the root, where the scripts are.

use super::{Change, Layout};

const MANIFEST: &str = "version: 1
defaults: {published_as: \"rocks/{name}\"}
images:
  - matrix:
      IMAGE: [r-ver, rstudio, tidyverse, shiny, cuda]
      R: [\"4.3\", \"4.4\"]
      exclude: [{IMAGE: cuda, R: \"4.3\"}]
    name: \"${IMAGE}\"
    tag: \"${R}\"
    context: .
    dockerfile: \"dockerfiles/${IMAGE}_${R}.Dockerfile\"
";

/// Returns the Dockerfiles and the files beside them.
fn repository() -> Vec<(String, String)> {
    let mut files = super::files(&[
        ("README.md", "Images\n"),
        (
            "dockerfiles/cuda_4.4.Dockerfile",
            "FROM nvidia/cuda:12.4 AS cuda\n\
             FROM scratch\nCOPY --from=cuda /usr/local/cuda /cuda\n\
             COPY --from=rocks/shiny:4.4 /init /init\nCOPY scripts /scripts\n",
        ),
    ]);
    for r in ["4.3", "4.4"] {
        let bases = [
            ("r-ver", "ubuntu:jammy".to_owned()),
            ("rstudio", format!("docker.io/rocks/r-ver:{r}")),
            ("tidyverse", format!("rocks/rstudio:{r}")),
            ("shiny", format!("rocks/r-ver:{r}")),
        ];
        for (image, base) in bases {
            let text = format!(
                "FROM {base}\nENV R_VERSION={r}\nCOPY scripts/install_{image}.sh /scripts/\n\
                 RUN /scripts/install_{image}.sh\n"
            );
            files.push((format!("dockerfiles/{image}_{r}.Dockerfile"), text));
            files.push((format!("scripts/install_{image}.sh"), "set -e\n".to_owned()));
        }
    }
    files
}

/// Returns the repository.
pub(super) fn layout() -> Layout {
    Layout {
        manifest: MANIFEST,
        files: repository(),
        edges: &[
            "cuda:4.4 -> shiny:4.4",
            "rstudio:4.3 -> r-ver:4.3",
            "rstudio:4.4 -> r-ver:4.4",
            "shiny:4.3 -> r-ver:4.3",
            "shiny:4.4 -> r-ver:4.4",
            "tidyverse:4.3 -> rstudio:4.3",
            "tidyverse:4.4 -> rstudio:4.4",
        ],
        archives: &[
            (
                "r-ver:4.3",
                &[
                    ".imgplan.Dockerfile",
                    ".imgplan.Dockerfile.dockerignore",
                    "scripts/install_r-ver.sh",
                ],
            ),
            (
                "cuda:4.4",
                &[
                    ".imgplan.Dockerfile",
                    ".imgplan.Dockerfile.dockerignore",
                    "scripts/install_r-ver.sh",
                    "scripts/install_rstudio.sh",
                    "scripts/install_shiny.sh",
                    "scripts/install_tidyverse.sh",
                ],
            ),
        ],
        changes: vec![
            Change::append(
                "dockerfiles/rstudio_4.4.Dockerfile",
                "ENV CHANGED=1",
                &["rstudio:4.4", "tidyverse:4.4"],
            ),
            Change::append(
                "scripts/install_tidyverse.sh",
                "true",
                &["cuda:4.4", "tidyverse:4.3", "tidyverse:4.4"],
            ),
            Change::append("dockerfiles/r-ver_4.2.Dockerfile", "FROM scratch", &[]),
            Change::append("README.md", "More", &[]),
        ],
    }
}

#[test]
fn versions_in_a_literal_namespace() {
    layout().check();
}
