//! Mirrors of Docker Hub at today's service, which makes public images of the platform of them: they
//! are compared, deleted, moved and imported where they are, and only there.

use imgplan::test_support::server::{ApiVersion, ServerConfig};

use crate::support::{Output, TestEnv};

/// Mirrors of Docker Hub, one of them of a namespace, and one of another registry.
const MIRRORS: &str = "version: 1
images:
  - {source: \"docker.io/library/redis:7\"}
  - {source: \"docker.io/grafana/grafana:10\"}
  - {source: \"ghcr.io/org/app:v1\"}
";

const REFUSED: &str = "note: the API key may not list the platform's images (HTTP 403: Only platform \
                       admins can list platform images); the 2 recorded ones are assumed to match \
                       the lockfile, and are not deleted";

fn config(admin: bool) -> ServerConfig {
    ServerConfig { api: ApiVersion::November2026, admin, ..ServerConfig::default() }
}

fn applied(admin: bool) -> TestEnv {
    let env = TestEnv::with(config(admin));
    env.write("imgplan.yaml", MIRRORS);
    env.apply().says("3 mirrored");
    env
}

/// Removes the mirrors of Docker Hub from the manifest.
fn remove_hub(env: &TestEnv) {
    env.write("imgplan.yaml", "version: 1\nimages: [{source: \"ghcr.io/org/app:v1\"}]\n");
}

fn prune(env: &TestEnv, flags: &[&'static str]) -> Output {
    let apply = ["apply", "--auto-approve", "--prune", "--max-destroy", "2"];
    env.run(apply.iter().chain(flags).copied())
}

/// Builds an image of the same name that no lockfile has, as somebody else would.
fn build_by_hand(env: &TestEnv, team: Option<&str>) {
    let mut other = TestEnv::at(&env.server().url());
    if let Some(team) = team {
        other.set("PRIME_TEAM_ID", team);
    }
    other.write("imgplan.yaml", "version: 1\nimages: [{name: redis, tag: \"7\", context: hand}]\n");
    other.context("hand", "FROM scratch\n");
    other.apply();
}

#[test]
fn every_comparison_looks_where_the_mirrors_are() {
    for (admin, team) in [(true, None), (true, Some("t1")), (false, None), (false, Some("t1"))] {
        let mut env = TestEnv::with(config(admin));
        if let Some(team) = team {
            env.set("PRIME_TEAM_ID", team);
        }
        env.write("imgplan.yaml", MIRRORS);
        env.apply();
        let transfers = env.server().builds().len();
        let lockfile = env.read("imgplan.lock");
        for args in [
            &["plan", "--detailed-exitcode"][..],
            &["plan", "--detailed-exitcode", "--refresh=false"],
            &["plan", "--detailed-exitcode", "--minimal-refresh"],
            &["plan", "--detailed-exitcode", "--refresh-only"],
            &["apply", "--auto-approve", "--detailed-exitcode"],
        ] {
            let output = env.run(args.iter().copied());
            output.success().says(if args.contains(&"--refresh-only") {
                "No drift"
            } else {
                "No ch"
            });
            let looks = !args.contains(&"--refresh=false") && !args.contains(&"--minimal-refresh");
            let notes = output.stderr.matches("note: ").count();
            assert_eq!(notes, usize::from(looks && !admin), "{output}");
            if notes > 0 {
                output.says(REFUSED);
            }
        }
        assert_eq!(env.read("imgplan.lock"), lockfile);
        assert_eq!(env.server().builds().len(), transfers);
    }
}

#[test]
fn an_image_of_the_same_name_is_not_deleted() {
    for team in [None, Some("t1")] {
        let mut env = TestEnv::with(config(true));
        if let Some(team) = team {
            env.set("PRIME_TEAM_ID", team);
        }
        build_by_hand(&env, team);
        env.write("imgplan.yaml", MIRRORS);
        env.apply();
        remove_hub(&env);
        prune(&env, &[]).success().says("2 deleted");
        let query = team.map(|team| format!("teamId={team}")).unwrap_or_default();
        assert_eq!(env.server().images(&query), ["app:v1 PRIVATE", "redis:7 PRIVATE"]);
        assert_eq!(env.server().images("ownerScope=platform"), [""; 0]);
    }
}

/// Everybody has the same image, so that another copy of it is no drift. It is not ours to delete.
#[test]
fn a_mirror_that_somebody_else_replaced_is_no_drift() {
    let env = applied(true);
    env.age(1);
    let steps = env.ok(["plan"]).steps();
    assert!(matches!(&steps[..], [step] if step.starts_with("-/+ app:v1 mirror")), "{steps:?}");
    env.ok(["plan", "--refresh-only"]).says("app:v1").says("1 image differs");
    remove_hub(&env);
    let plan = env.ok(["plan", "--prune"]);
    let steps: Vec<String> =
        plan.steps().into_iter().filter(|step| step.contains("forget")).collect();
    assert_eq!(steps.len(), 2, "{plan}");
}

#[test]
fn without_rights_a_mirror_is_only_forgotten() {
    let env = applied(false);
    remove_hub(&env);
    // Without a refresh, nothing says that the key may not delete it.
    let refused = prune(&env, &["--refresh=false"]);
    refused.code(1).says("cannot delete the image (HTTP 403): Only platform admins can delete");
    refused.says("platform images are not yours to change; to drop one from the lockfile, remove");
    refused.says("0 forgotten, 0 deleted, 2 failed");
    assert!(env.read("imgplan.lock").contains("\"redis:7\""));
    prune(&env, &[]).success().says(REFUSED).says("2 forgotten, 0 deleted");
    assert!(!env.read("imgplan.lock").contains("\"redis:7\""));
}

#[test]
fn an_image_that_is_missing_is_forgotten_and_not_deleted() {
    let env = applied(true);
    for image in ["redis/7", "grafana/grafana/10"] {
        let path = format!("images/{image}?ownerScope=platform");
        env.server().send("DELETE", &path, &serde_json::Value::Null);
    }
    remove_hub(&env);
    let pruned = prune(&env, &["--refresh=false"]);
    pruned.success().says("2 forgotten, 0 deleted").says("redis:7: Forgotten");
}

#[test]
fn a_move_that_is_not_permitted_has_help() {
    let env = applied(false);
    env.edit(
        "imgplan.yaml",
        "{source: \"docker.io/library/redis:7\"}",
        "{source: \"docker.io/library/redis:7\", name: cache}",
    );
    env.write(
        "imgplan.yaml",
        format!("{}moved: [{{from: redis, to: cache}}]\n", env.read("imgplan.yaml")),
    );
    let refused = env.run(["apply", "--auto-approve"]);
    refused.code(1).says("Only platform admins can change platform images");
    refused.says("platform images are not yours to change");
}

#[test]
fn a_mirror_is_imported_from_where_it_is() {
    for (source, image, admin) in [
        ("docker.io/library/redis:7", "redis", true),
        ("grafana/grafana:10", "grafana/grafana", true),
        ("docker.io/library/redis:7", "redis", false),
    ] {
        let env = applied(admin);
        std::fs::remove_file(env.path("imgplan.lock")).unwrap();
        let manifest = format!("version: 1\nimages: [{{source: \"{source}\"}}]\n");
        env.write("imgplan.yaml", manifest);
        let transfers = env.server().builds().len();
        let imported = env.run(["import", image]);
        if admin {
            imported.success();
            assert!(env.read("imgplan.lock").contains("owner: \"platform\""));
            env.plans_nothing();
        } else {
            imported.code(1).says("the API key may not list the platform's images");
        }
        assert_eq!(env.server().builds().len(), transfers);
    }
}

/// An earlier imgplan recorded the owner that it had asked for, and the name that the service of
/// August 2026 derives.
#[test]
fn lockfiles_of_earlier_versions_converge() {
    for (source, fields, key, owner) in [
        ("docker.io/library/redis:7", "", "redis:7", "personal"),
        ("docker.io/library/redis:7", "", "redis:7", "team:t1"),
        ("docker.io/grafana/grafana:10", "", "grafana:10", "personal"),
        ("bitnami/redis:7", ", protect: true", "redis:7", "personal"),
        (
            "docker.io/library/debian:12",
            ", owner: platform, visibility: public",
            "library/debian:12",
            "platform",
        ),
    ] {
        for admin in [true, false] {
            if owner == "platform" && !admin {
                continue;
            }
            let env = TestEnv::with(config(admin));
            let manifest = format!("version: 1\nimages: [{{source: \"{source}\"{fields}}}]\n");
            env.write("imgplan.yaml", manifest);
            env.apply();
            let today = env.read("imgplan.lock");
            let quoted = today.lines().find(|line| line.ends_with("\":")).unwrap().trim();
            let earlier = today
                .replace(quoted, &format!("\"{key}\":"))
                .replace("owner: \"platform\"", &format!("owner: \"{owner}\""));
            env.write("imgplan.lock", earlier);
            let images = env.server().images("");
            env.plans_nothing();
            env.ok(["plan", "--refresh-only", "--detailed-exitcode"]);
            let requests = env.server().writes().len();
            let apply = env.ok(["apply", "--auto-approve", "--prune", "--max-destroy", "9"]);
            apply.says("No changes.");
            assert_eq!(env.read("imgplan.lock"), today, "{source} {owner}");
            assert_eq!(env.server().writes().len(), requests, "nothing is sent");
            assert_eq!(env.server().images(""), images);
        }
    }
}

/// The service of August 2026 names a mirror otherwise than the manifest does now.
#[test]
fn an_image_of_another_name_is_found_and_deleted_under_that_name() {
    let config = ServerConfig { api: ApiVersion::August2026, ..ServerConfig::default() };
    let env = TestEnv::with(config);
    let manifest = "version: 1\nimages: [{source: \"grafana/grafana:10\", name: grafana}]\n";
    env.write("imgplan.yaml", manifest);
    env.apply();
    // Earlier versions derived this name.
    env.edit("imgplan.yaml", ", name: grafana", "");
    env.plans_nothing();
    env.apply();
    assert!(env.read("imgplan.lock").contains("image: \"grafana:10\""));
    env.plans_nothing();
    env.write("imgplan.yaml", "version: 1\nimages: [{source: \"ghcr.io/org/app:v1\"}]\n");
    prune(&env, &[]).success().says("1 deleted");
    assert!(env.server().writes().contains(&"DELETE /images/grafana/10".to_owned()));
}

/// A row may show the path of the artifact in the storage, which nobody can pull.
#[test]
fn a_storage_path_never_becomes_a_base() {
    for adopt in ["import", "moved"] {
        let env = TestEnv::with(ServerConfig { vm_paths: true, ..config(true) });
        env.write("imgplan.yaml", "version: 1\nimages: [{name: base, context: base}]\n");
        env.context("base", "FROM scratch\n");
        env.apply();
        let name = if adopt == "import" {
            std::fs::remove_file(env.path("imgplan.lock")).unwrap();
            env.ok(["import", "base"]);
            assert!(!env.read("imgplan.lock").contains("\"vm/"));
            "base"
        } else {
            "root"
        };
        let moved = if adopt == "moved" { "moved: [{from: base, to: root}]\n" } else { "" };
        env.write(
            "imgplan.yaml",
            format!(
                "version: 1\nimages: [{{name: {name}, context: base}}, {{name: top, context: top}}]\n\
                 {moved}"
            ),
        );
        env.context("top", &format!("FROM {name}\n"));
        env.apply().says("1 built");
        assert!(!env.read("imgplan.lock").contains("\"vm/"), "{}", env.read("imgplan.lock"));
        env.plans_nothing();
    }
}
