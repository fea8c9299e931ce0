//! What Grafana's dashboard-linter asks of dashboards, and what Grafana's documents do.

use std::{collections::BTreeSet, fs, process::Command};

use regex_lite::Regex;
use serde_json::{Value, json};
use socktrace::exporter::{METRICS, Type, own::OWN};

use crate::{
    dashboard::{all, filled_in, folder, panels, queries},
    document, names,
};

/// Calls `check` with every panel and its name.
fn each(check: impl Fn(&str, &Value)) {
    let boards = all();
    assert_eq!(boards.len(), 4);
    for board in &boards {
        let panels = panels(board);
        assert!(panels.len() > 10);
        for (name, panel) in panels {
            check(&name, panel);
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn the_dashboards_are_what_their_program_writes() {
    let written = tempfile::tempdir().unwrap();
    let status = Command::new("python3")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(folder().join("dashboards.py"))
        .arg(written.path())
        .status()
        .unwrap();
    assert!(status.success());
    let mut found = 0;
    for file in fs::read_dir(written.path()).unwrap() {
        let file = file.unwrap();
        let kept = fs::read_to_string(folder().join(file.file_name())).unwrap_or_default();
        let same = fs::read_to_string(file.path()).unwrap() == kept;
        assert!(same, "{:?}: run dashboards.py", file.file_name());
        found += 1;
    }
    assert_eq!(found, all().len());
}

#[test]
fn a_dashboard_can_be_provisioned_and_found_again() {
    let mut uids = BTreeSet::new();
    for board in all() {
        let uid = text(&board, "uid").to_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        assert!(
            (8..=40).contains(&uid.len()) && uid.chars().all(plain),
            "{uid}"
        );
        assert_eq!(board.get("id"), Some(&Value::Null), "{uid}");
        assert_eq!(board["editable"], false, "{uid}");
        assert!(
            (39..=42).contains(&board["schemaVersion"].as_i64().unwrap()),
            "{uid}"
        );
        assert!(!text(&board, "description").is_empty() && !text(&board, "title").is_empty());
        // These are for uploads to grafana.com, and no provisioning fills them in.
        assert!(board.get("__inputs").is_none(), "{uid}");
        assert!(uids.insert(uid));
    }
}

#[test]
fn data_source_job_and_instance_can_be_chosen() {
    for board in all() {
        let variables = board["templating"]["list"].as_array().unwrap();
        let of_type = |it: &&Value| it["type"] == "datasource";
        let sources: Vec<_> = variables.iter().filter(of_type).collect();
        assert_eq!(sources.len(), 1);
        let source = sources[0];
        let said = ["name", "label", "query"].map(|key| text(source, key));
        assert_eq!(said, ["datasource", "Data Source", "prometheus"]);
        for (name, label) in [("job", "Job"), ("instance", "Instance")] {
            let named = variables.iter().find(|it| it["name"] == name);
            assert_eq!(text(named.expect(name), "label"), label);
        }
        for variable in variables.iter().filter(|it| it["type"] == "query") {
            assert_eq!(variable["datasource"]["uid"], "${datasource}");
            assert_eq!(variable["multi"], true);
            assert_eq!(variable["includeAll"], true);
            assert_eq!(variable["allValue"], ".+");
            assert_eq!(variable["refresh"], 2);
            let query = text(&variable["query"], "query");
            let query = query.strip_prefix("label_values(").expect(query);
            let (series, label) = query.rsplit_once(", ").unwrap();
            let series = filled_in(series, "1m");
            names::check(&series);
            let (name, _) = names::named(&series).remove(0);
            let label = label.trim_end_matches(')');
            assert!(
                names::known()[&name].contains(label),
                "{name} has no {label}"
            );
        }
    }
}

#[test]
fn a_panel_says_what_it_shows_and_in_which_unit() {
    each(|name, panel| {
        for key in ["title", "description"] {
            assert!(!text(panel, key).is_empty(), "{name} has no {key}");
        }
        let unit = text(&panel["fieldConfig"]["defaults"], "unit");
        assert!(!unit.is_empty(), "{name} has no unit");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{name} has no queries");
        let named: BTreeSet<_> = targets.iter().map(|it| text(it, "refId")).collect();
        assert_eq!(named.len(), targets.len(), "{name}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}");
        }
    });
}

#[test]
fn panels_lie_beside_and_below_each_other() {
    for board in all() {
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for (name, panel) in panels(&board) {
            assert!(ids.insert(panel["id"].as_i64().unwrap()), "{name}");
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|it| panel["gridPos"][it].as_i64().unwrap());
            assert!(x + w <= 24, "{name}");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{name} lies on another");
            }
        }
    }
}

#[test]
fn every_selector_keeps_to_the_job_and_the_instance_that_were_chosen() {
    let selector = Regex::new(r"([a-z_:][a-z0-9_:]*)\{([^}]*)\}").unwrap();
    each(|name, panel| {
        let of_owner = name.starts_with("socktrace / Owner:");
        for query in queries(panel) {
            let named = names::named(&filled_in(query, "1m"));
            let found: Vec<_> = selector.captures_iter(query).collect();
            // None stands without braces.
            assert_eq!(found.len(), named.len(), "{name}: {query}");
            for found in found {
                let matchers = &found[2];
                assert!(matchers.contains(r#"job=~"$job""#), "{name}: {query}");
                assert!(
                    matchers.contains(r#"instance=~"$instance""#),
                    "{name}: {query}"
                );
                let is_zero = &found[1] == "socktrace_tracked_sockets";
                let owned = matchers.contains(r#"owner=~"$owner""#);
                assert!(!of_owner || owned || is_zero, "{name}: {query}");
            }
        }
    });
}

#[test]
fn counters_are_rates_over_the_interval_that_fits_the_scrapes() {
    let all = METRICS.iter().chain(OWN);
    let counts = all.filter(|it| it.kind != Type::Gauge).map(|it| it.name);
    let counts: Vec<_> = counts.collect();
    let is_counter = |name: &str| {
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|it| name.strip_suffix(it));
        counts.contains(&name) || base.is_some_and(|it| counts.contains(&it))
    };
    let rated = Regex::new(r"(rate|increase)\(([a-z0-9_]+)\{[^}]*\}\[([^\]]+)\]\)").unwrap();
    each(|name, panel| {
        for query in queries(panel) {
            let mut inside = Vec::new();
            for found in rated.captures_iter(query) {
                // A number of the last hour is of the last hour, however far the graph reaches.
                let over = if &found[1] == "rate" {
                    "$__rate_interval"
                } else {
                    "1h"
                };
                assert_eq!(&found[3], over, "{name}: {query}");
                assert!(is_counter(&found[2]), "{name}: {query}");
                inside.push(found[2].to_owned());
            }
            for (metric, _) in names::named(&filled_in(query, "1m")) {
                let is_inside = inside.contains(&metric);
                assert_eq!(is_counter(&metric), is_inside, "{name}: {query}");
            }
        }
    });
}

#[test]
fn every_metric_in_the_dashboards_is_exported() {
    each(|_, panel| {
        for query in queries(panel) {
            names::check(&filled_in(query, "1m"));
        }
    });
}

#[test]
fn the_table_of_findings_leads_to_the_runbook() {
    let link = json!("http://${__data.fields.instance}/runbook#${__data.fields.kind}");
    let mut found = 0;
    for board in all() {
        for (name, panel) in panels(&board) {
            if text(panel, "title") == "What stands" {
                let overrides = panel["fieldConfig"]["overrides"].as_array().unwrap();
                let link = overrides
                    .iter()
                    .any(|it| it["properties"][0]["value"][0]["url"] == link);
                assert!(link, "{name}");
                found += 1;
            }
        }
    }
    assert_eq!(found, 2);
}

#[test]
fn every_dashboard_is_in_the_documents_with_a_picture_of_all_its_panels() {
    let described = document("docs/prometheus.md");
    for board in all() {
        let uid = text(&board, "uid");
        assert!(described.contains(&format!("`{uid}.json`")), "{uid}");
        let picture = format!("dashboards/{}.svg", uid.trim_start_matches("socktrace-"));
        assert!(described.contains(&format!("({picture})")), "{picture}");
        let picture = document(&format!("docs/{picture}"));
        for (name, panel) in panels(&board) {
            let title = text(panel, "title").replace('\'', "&#x27;");
            let drawn = picture.contains(&format!(">{title}<"));
            assert!(
                drawn,
                "{name} is not in the picture: draw.py draws it again"
            );
        }
    }
}
