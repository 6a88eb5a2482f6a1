//! References to images of the server, as the engine and people use them.

use super::{BASE, EngineEnv};

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
    let mut manifest = "version: 1\nimages:\n".to_owned();
    for (index, form) in forms.iter().enumerate() {
        let copied = format!("FROM scratch\nCOPY --from={form} /bin/busybox /b\n");
        let mounted = format!(
            "FROM {form}\nRUN --mount=type=bind,from={form},target=/m cp /m/bin/busybox /b\n"
        );
        for (kind, dockerfile) in [("copied", copied), ("mounted", mounted)] {
            let name = format!("{kind}-{index}");
            engine.env.context(&name, &dockerfile);
            manifest += &format!("  - {{name: {name}, tag: v1, context: {name}}}\n");
        }
    }
    engine.env.write("imgplan.yaml", manifest);
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
    let manifest = "version: 1\nimages:\n  - {name: core, tag: v1, context: core, owner: platform, visibility: public}\n";
    engine.env.write("imgplan.yaml", manifest);
    engine.env.apply();
    let reference = format!("{}/core:v1", engine.registry.address);
    assert!(engine.registry.inspect("--raw", &reference)["layers"].is_array());
    // A literal name that is not in the manifest of its user.
    engine.env.context("app", "FROM core:v1\nRUN echo app > /app\n");
    engine.env.write("imgplan.yaml", super::one_image("app"));
    engine.env.ok(["apply", "--auto-approve"]);
    assert_eq!(engine.layers("app:v1").len(), 3);
}
