//! The JSON lines of plans.

use super::*;
use crate::plan::PartialPlan;

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../../schema/plan.schema.json");
    jsonschema::draft202012::new(&serde_json::from_str(text).unwrap()).unwrap()
}

#[test]
fn json_lines_match_the_schema() {
    let schema = schema();
    let mut partial = full_plan();
    partial.plan.partial = Some(PartialPlan { selected: 1, left: 7 });
    for fixture in [full_plan(), large_plan(), partial, Fixture::new()] {
        for line in fixture.json() {
            let errors: Vec<String> =
                schema.iter_errors(&line).map(|error| format!("{error}")).collect();
            assert_eq!(errors, [""; 0], "{line:#}");
        }
    }
}

#[test]
fn json_lines_have_every_fact_of_the_plan() {
    let lines = full_plan().json();
    let change = |image: &str| {
        let line = lines.iter().find(|line| line["change"]["image"] == image);
        line.unwrap_or_else(|| panic!("no {image}"))["change"].clone()
    };
    assert_eq!(change("new:v1")["previous_image"], "old:v1");
    assert_eq!(change("api:v4")["previous_image"], serde_json::Value::Null);
    assert_eq!(change("python-base:3.12")["added"], true);
    assert_eq!(change("python-base:3.12")["protected"], true);
    assert_eq!(change("api:v4")["protected"], false);
    let app = change("app:0000");
    assert_eq!((&app["action"], &app["platform"]), (&"delete".into(), &"linux/arm64".into()));
    assert_eq!(app["owner"], "team:t");
    let summary = &lines.last().unwrap()["changes"];
    assert_eq!(summary["protected"], serde_json::json!(["keep:v1"]));
    assert_eq!(summary["renamed"], serde_json::json!([{ "from": "was:v1", "to": "cron:v1" }]));
    assert_eq!((&summary["drift"], &summary["delete"]), (&2.into(), &2.into()));
    assert_eq!(summary["partial"], serde_json::Value::Null);
}
