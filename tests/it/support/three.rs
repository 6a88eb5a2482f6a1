//! A project of three images.

use super::TestEnv;

/// A base, an image on it, and an independent image.
pub(crate) const THREE: &str = "version: 1
defaults: {tag: v1}
images:
  - {name: base, context: base}
  - {name: top, context: top}
  - {name: lone, context: lone}
";

/// Writes the project, without applying it.
pub(crate) fn write_three(env: &TestEnv) {
    env.write("imgplan.yaml", THREE);
    env.context("base", "FROM scratch\n").context("top", "FROM base:v1\n");
    env.context("lone", "FROM scratch\nLABEL v=lone\n");
}
