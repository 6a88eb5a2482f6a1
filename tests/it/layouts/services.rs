//! OpenTelemetry's demonstration: 25 services that are built from the root, each of which reads its own
//! folder and the shared definitions.

use super::{Change, Layout};

const MANIFEST: &str = "version: 1
images:
  - discover: {glob: \"src/*\"}
    context: .
";

/// Services with Dockerfiles that read the definitions.
const WITH_DEFINITIONS: [&str; 16] = [
    "accounting",
    "ad",
    "cart",
    "checkout",
    "currency",
    "delivery",
    "email",
    "fraud",
    "frontend",
    "kafka",
    "payment",
    "product",
    "quote",
    "recommend",
    "review",
    "shipping",
];

/// Services with Dockerfiles that do not.
const WITHOUT_DEFINITIONS: [&str; 9] =
    ["cache", "collector", "dashboard", "flags", "images", "load", "proxy", "search", "traces"];

/// Returns the repository.
pub(super) fn layout() -> Layout {
    let mut files = super::files(&[
        (".dockerignore", "**/node_modules\n**/*.md\n"),
        (".env", "VERSION=1\n"),
        ("compose.yaml", "services: {}\n"),
        ("docs/load.txt", "Load\n"),
        ("pb/demo.proto", "syntax = \"proto3\";\n"),
    ]);
    for service in WITH_DEFINITIONS.iter().chain(&WITHOUT_DEFINITIONS) {
        let pb = if WITH_DEFINITIONS.contains(service) { "COPY ./pb/ ./proto/\n" } else { "" };
        let dockerfile = format!(
            "FROM --platform=$BUILDPLATFORM alpine AS builder\nWORKDIR /src\n\
             COPY ./src/{service}/ .\n{pb}RUN make\n\
             FROM builder AS test\nCOPY ./test/ /test/\nRUN make test\n\
             FROM scratch\nCOPY --from=builder /src/main /main\n"
        );
        files.push((format!("src/{service}/Dockerfile"), dockerfile));
        files.push((format!("src/{service}/main.c"), "int main;\n".to_owned()));
        files.push((format!("src/{service}/README.md"), "Service\n".to_owned()));
    }
    Layout {
        manifest: MANIFEST,
        files,
        edges: &[],
        archives: &[
            ("cart", &["pb/demo.proto", "src/cart/Dockerfile", "src/cart/main.c"]),
            ("proxy", &["src/proxy/Dockerfile", "src/proxy/main.c"]),
        ],
        changes: vec![
            Change::append("src/cart/main.c", "int cart;", &["cart"]),
            Change::append("src/proxy/new.c", "int proxy;", &["proxy"]),
            Change::append("pb/demo.proto", "// More", &WITH_DEFINITIONS),
            Change::append("docs/load.txt", "More", &[]),
            Change::append("compose.yaml", "volumes: {}", &[]),
            Change::append("src/cart/README.md", "More", &[]),
            Change::append("test/cart.c", "int test;", &[]),
            Change::append("imgplan.yaml", "# Services.", &[]),
        ],
    }
}

#[test]
fn services_that_are_built_from_the_root() {
    layout().check();
}
