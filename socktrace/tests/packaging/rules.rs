//! Alerts and recording rules.

use std::{collections::BTreeMap, process::Command};

use serde::Deserialize;
use socktrace::detect::Kind;

use crate::{document, names, place};

const FILE: &str = "packaging/prometheus/socktrace.rules.yml";
const TESTS: &str = "packaging/prometheus/socktrace.tests.yml";

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
pub(crate) struct Rule {
    pub(crate) record: Option<String>,
    alert: Option<String>,
    pub(crate) expr: String,
    #[serde(rename = "for")]
    lasting: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

pub(crate) fn all() -> Vec<Rule> {
    let file: File = serde_saphyr::from_str(&document(FILE)).unwrap();
    file.groups.into_iter().flat_map(|it| it.rules).collect()
}

fn alerts() -> Vec<(String, Rule)> {
    let named = |mut rule: Rule| Some((rule.alert.take()?, rule));
    all().into_iter().filter_map(named).collect()
}

/// The headings of the runbook's sections.
fn sections() -> Vec<String> {
    let runbook = document("docs/runbook.md");
    let headings = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    headings.map(str::to_owned).collect()
}

#[track_caller]
fn promtool(arguments: &[&str]) {
    let folder = place("packaging/prometheus");
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("promtool, of Debian's package prometheus");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn promtool_finds_nothing_wrong_with_the_rules_and_their_tests_pass() {
    promtool(&[
        "check",
        "rules",
        "--lint=all",
        "--lint-fatal",
        "socktrace.rules.yml",
    ]);
    promtool(&["test", "rules", "socktrace.tests.yml"]);
}

#[test]
fn an_alert_says_what_it_is_how_bad_and_where_to_read_on() {
    let sections = sections();
    let mut linked = Vec::new();
    for (name, rule) in alerts() {
        assert!(name.starts_with("Socktrace"), "{name}");
        assert!(rule.lasting.is_some(), "{name} has no `for`");
        let severity = rule.labels.get("severity").map_or("", String::as_str);
        assert!(
            ["info", "warning", "critical"].contains(&severity),
            "{name}"
        );
        for annotation in ["summary", "description"] {
            assert!(
                rule.annotations.contains_key(annotation),
                "{name}: {annotation}"
            );
        }
        let address = &rule.annotations["runbook_url"];
        let anchor = address.strip_prefix("http://{{ $labels.instance }}/runbook#");
        let anchor = anchor.unwrap_or_else(|| panic!("{name}: {address}"));
        assert!(sections.iter().any(|it| it == anchor), "{name}: {anchor}");
        linked.push(anchor.to_owned());
    }
    for section in sections {
        assert!(linked.contains(&section), "no alert leads to {section}");
    }
}

#[test]
fn every_kind_of_finding_has_an_alert_and_a_section_of_the_runbook() {
    let (alerts, sections) = (alerts(), sections());
    for kind in Kind::ALL {
        let about = format!("kind=\"{}\"", kind.word());
        let told = alerts.iter().any(|(_, rule)| rule.expr.contains(&about));
        assert!(told, "no alert is about {kind:?}");
        assert!(sections.iter().any(|it| it == kind.word()), "{kind:?}");
    }
    // And no alert is about another.
    for (name, rule) in alerts {
        let Some((_, kind)) = rule.expr.split_once("kind=\"") else {
            continue;
        };
        let kind = kind.split('"').next().unwrap();
        assert!(
            Kind::ALL.iter().any(|it| it.word() == kind),
            "{name}: {kind}"
        );
    }
}

#[test]
fn every_rule_is_tested_and_every_alert_both_ways() {
    #[derive(Deserialize)]
    struct Tests {
        tests: Vec<Test>,
    }
    #[derive(Deserialize)]
    struct Test {
        #[serde(default)]
        alert_rule_test: Vec<Moment>,
        #[serde(default)]
        promql_expr_test: Vec<Expression>,
    }
    #[derive(Deserialize)]
    struct Moment {
        alertname: String,
        #[serde(default)]
        exp_alerts: Vec<serde_json::Value>,
    }
    #[derive(Deserialize)]
    struct Expression {
        expr: String,
    }

    let tests: Tests = serde_saphyr::from_str(&document(TESTS)).unwrap();
    let tests = &tests.tests;
    for rule in all() {
        if let Some(name) = &rule.alert {
            let moments = tests.iter().flat_map(|it| &it.alert_rule_test);
            let moments = moments.filter(|it| it.alertname == *name);
            let (quiet, loud): (Vec<_>, Vec<_>) = moments.partition(|it| it.exp_alerts.is_empty());
            assert!(!quiet.is_empty() && !loud.is_empty(), "{name}");
        }
        if let Some(name) = &rule.record {
            let mut asked = tests.iter().flat_map(|it| &it.promql_expr_test);
            assert!(asked.any(|it| it.expr == *name), "{name}");
        }
    }
}

#[test]
fn every_metric_in_the_rules_is_exported() {
    for rule in all() {
        names::check(&rule.expr);
    }
}
