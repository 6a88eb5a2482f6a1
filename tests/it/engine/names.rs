//! References to images of the server, as the engine and people use them.

use imgplan::test_support::server::ServerConfig;

use super::{BASE, EngineEnv, manifest};
use crate::support::TestEnv;

#[test]
fn every_form_of_a_reference_is_the_image() {
    let Some(engine) = EngineEnv::start(|_| ()) else { return };
    engine.context("base", BASE);
    engine.env.write("imgplan.yaml", super::one_image("base"));
    engine.env.apply();
    let full = engine.reference("base:v1");
    let shown = engine.env.ok(["show", "--json", "base:v1"]);
    assert!(shown.stdout.contains(&full), "{shown}");
    let forms = ["prime/local/base:v1", "prime/local-account/base:v1", &*full];
    let mut names = Vec::new();
    for (index, form) in forms.iter().enumerate() {
        let copied = format!("FROM scratch\nCOPY --from={form} /bin/busybox /b\n");
        let mounted = format!(
            "FROM {form}\nRUN --mount=type=cache,target=/m cp /bin/busybox /m/b && cp /m/b /b\n"
        );
        for (kind, dockerfile) in [("copied", copied), ("mounted", mounted)] {
            let name = format!("{kind}-{index}");
            engine.env.context(&name, &dockerfile);
            names.push(name);
        }
    }
    engine.env.write("imgplan.yaml", manifest(&names));
    engine.env.apply();
    engine.env.plans_nothing();
    for (index, _) in forms.iter().enumerate() {
        assert_eq!(engine.layers(&format!("copied-{index}:v1")), engine.layers("copied-0:v1"));
        assert_eq!(engine.layers(&format!("mounted-{index}:v1")), engine.layers("mounted-0:v1"));
    }

    // Names that are not images of the server are of registries, and never paths of this machine.
    let message = engine.fails("missing", "FROM prime/local/none:v1\n");
    assert!(message.contains("`prime/local/none:v1` does not exist"), "{message}");
    let message =
        engine.fails("missing", &format!("FROM {}/prime/local/none:v1\n", engine.registry.address));
    assert!(message.contains("prime/local/none:v1` does not exist"), "{message}");
    let message = engine.fails("transport", "FROM docker-archive:/etc/hostname\n");
    assert!(message.contains("line 1"), "{message}");
    let other = format!("{}/other/none:v1", engine.registry.address);
    let message = engine.fails("foreign", &format!("FROM {other}\n"));
    assert!(message.contains(&format!("the base image `{other}` cannot be pulled")), "{message}");
}

#[test]
fn moved_images_and_the_platform_have_paths_in_the_registry() {
    let Some(engine) = EngineEnv::start(|_| ()) else { return };
    engine.context("core", BASE);
    let platform = "version: 1\nimages:\n  - {name: core, tag: v1, context: core, owner: platform, visibility: public}\n";
    engine.env.write("imgplan.yaml", platform);
    engine.env.apply();
    let reference = format!("{}/core:v1", engine.registry.address);
    assert!(engine.registry.inspect("--raw", &reference)["layers"].is_array());
    // A literal name that is not in the manifest of its user.
    engine.env.context("app", "FROM core:v1\nRUN echo app > /app\n");
    engine.env.write("imgplan.yaml", super::one_image("app"));
    engine.env.ok(["apply", "--auto-approve"]);
    assert_eq!(engine.layers("app:v1").len(), 3);
}

/// `user` with the password `pass-4711`.
const USERS: &str = "user:$2b$04$1VCXElWosoRwOEw1xDLb1.Qrn1jJZvieqa./GkvlbiqBm7hLTI85m\n";

#[test]
fn credentials_of_a_file_are_used() {
    let Some(registry) = super::programs_with(Some(USERS)) else { return };
    let dir = tempfile::tempdir().unwrap();
    let auth = dir.path().join("auth.json");
    let text =
        serde_json::json!({"auths": {(&*registry.address): {"auth": "dXNlcjpwYXNzLTQ3MTE="}}});
    std::fs::write(&auth, text.to_string()).unwrap();
    for (auth, succeeds) in [(Some(auth), true), (None, false)] {
        let mut engine = super::config(&registry);
        engine.registry.as_mut().unwrap().auth = auth;
        let env = TestEnv::unlimited(ServerConfig { engine, ..ServerConfig::default() });
        env.context("base", "FROM scratch\nCOPY Dockerfile /\n");
        env.context("app", "FROM base:v1\nCOPY Dockerfile /app\n");
        env.write(
            "imgplan.yaml",
            "version: 1\nimages:\n  - {name: base, tag: v1, context: base}\n\
             \x20 - {name: app, tag: v1, context: app}\n",
        );
        let output = env.run(["apply", "--auto-approve"]);
        assert_eq!(output.code == Some(0), succeeds, "{output}");
        assert_eq!(output.stdout.contains("the image cannot be pushed to"), !succeeds, "{output}");
        assert!(!output.stdout.contains("pass-4711"), "{output}");
    }
}
