//! The dashboards, as tests see them: also those that ask a real Prometheus.

use std::{fs, path::PathBuf};

use serde_json::Value;

/// Where they are, and the program that writes them.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging/grafana")
}

/// All of them.
pub(crate) fn all() -> Vec<Value> {
    let files = fs::read_dir(folder()).unwrap();
    let files = files.map(|it| it.unwrap().path());
    let files = files.filter(|it| it.extension().is_some_and(|it| it == "json"));
    let boards = files.map(|it| serde_json::from_slice(&fs::read(it).unwrap()).unwrap());
    boards.collect()
}

/// The panels of a dashboard, each as `dashboard: title`.
pub(crate) fn panels(board: &Value) -> Vec<(String, &Value)> {
    let panels = board["panels"].as_array().unwrap().iter();
    let name = |panel: &Value| {
        let words = [board, panel].map(|it| it["title"].as_str().unwrap());
        words.join(": ")
    };
    panels.map(|panel| (name(panel), panel)).collect()
}

/// The queries of a panel.
pub(crate) fn queries(panel: &Value) -> Vec<&str> {
    let targets = panel["targets"].as_array().unwrap().iter();
    targets.map(|it| it["expr"].as_str().unwrap()).collect()
}

/// What Grafana makes of a query when everything is chosen.
pub(crate) fn filled_in(query: &str, rate_interval: &str) -> String {
    let mut query = query.replace("$__rate_interval", rate_interval);
    for variable in ["job", "instance", "owner"] {
        query = query.replace(&format!("${variable}"), ".+");
    }
    assert!(!query.contains('$'), "{query}");
    query
}
