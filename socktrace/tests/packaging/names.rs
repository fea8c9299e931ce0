//! Which metrics an expression names. Not a parser of `PromQL`, which Prometheus itself is in other
//! tests: names are what is left when everything else is taken away.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use regex_lite::Regex;
use socktrace::exporter::{METRICS, Type, own::OWN};

use crate::{document, place, rules};

/// What Prometheus itself says of whom it scrapes.
const PROMETHEUS: [&str; 2] = ["up", "scrape_duration_seconds"];

const KEYWORDS: [&str; 12] = [
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "bool",
    "offset",
    "group_left",
    "group_right",
    "inf",
];

/// Every series that there may be, with the names of its labels.
pub(crate) fn known() -> BTreeMap<String, BTreeSet<String>> {
    let mut known = BTreeMap::new();
    for metric in METRICS.iter().chain(OWN) {
        let labels = ["job", "instance"].iter().chain(metric.labels);
        let mut labels: BTreeSet<_> = labels.map(|it| (*it).to_owned()).collect();
        if metric.kind == Type::Histogram {
            for suffix in ["sum", "count"] {
                known.insert(format!("{}_{suffix}", metric.name), labels.clone());
            }
            labels.insert("le".to_owned());
            known.insert(format!("{}_bucket", metric.name), labels);
        } else {
            known.insert(metric.name.to_owned(), labels);
        }
    }
    let labels = BTreeSet::from(["job", "instance"].map(str::to_owned));
    for name in PROMETHEUS {
        known.insert(name.to_owned(), labels.clone());
    }
    for rule in rules::all().into_iter().filter(|it| it.record.is_some()) {
        // Its labels are those of its expression: who uses more finds nothing, which other tests see.
        let of_any = known.values().flatten().cloned().collect();
        known.insert(rule.record.unwrap(), of_any);
    }
    known
}

/// The metrics of an expression, each with the labels that it asks for.
pub(crate) fn named(expression: &str) -> Vec<(String, Vec<String>)> {
    let regex = |text: &str| Regex::new(text).unwrap();
    let text = regex(r#""[^"]*""#).replace_all(expression, "''");
    let text = regex(r"\[[^\]]*\]").replace_all(&text, " ");
    let grouping = r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)";
    let text = regex(grouping).replace_all(&text, " ");
    let label = regex(r"(\w+)\s*(=~|!~|!=|=)");
    let name = regex(r"\b([A-Za-z_:][\w:]*)\s*(\(|\{[^}]*\})?");
    let found = name.captures_iter(&text).filter_map(|found| {
        let after = found.get(2).map_or("", |it| it.as_str());
        let is_function = after.starts_with('(') || KEYWORDS.contains(&&found[1]);
        let labels = label.captures_iter(after);
        let labels = labels.map(|it| it[1].to_owned()).collect();
        (!is_function).then(|| (found[1].to_owned(), labels))
    });
    found.collect()
}

/// Panics unless everything that the expression names is exported.
#[track_caller]
pub(crate) fn check(expression: &str) {
    let known = known();
    let named = named(expression);
    assert!(!named.is_empty(), "{expression}");
    for (name, labels) in named {
        let Some(exported) = known.get(&name) else {
            panic!("nobody exports {name}: {expression}");
        };
        for label in labels {
            assert!(
                exported.contains(&label),
                "{name} has no {label}: {expression}"
            );
        }
    }
}

#[test]
fn an_expression_names_its_metrics_and_nothing_else() {
    let expression = r#"sum by (job, le) (rate(a_bucket{owner=~"b(c)", x!="{y}"}[5m])) / on (z) d:e > bool 5e3 or up"#;
    let names = |it: &str| -> Vec<_> { named(it).into_iter().map(|(name, _)| name).collect() };
    assert_eq!(names(expression), ["a_bucket", "d:e", "up"]);
    assert_eq!(named(expression)[0].1, ["owner", "x"]);
}

#[test]
fn every_metric_that_the_documents_name_is_exported() {
    let known = known();
    let word = Regex::new(r"\b(socktrace|process)_[a-z0-9_]*[a-z0-9]").unwrap();
    // The base of a histogram's three.
    let is_known = |it: &str| known.contains_key(it) || known.contains_key(&format!("{it}_sum"));
    let mut found = 0;
    let docs = fs::read_dir(place("docs")).unwrap();
    let docs = docs.map(|it| format!("docs/{}", it.unwrap().file_name().to_str().unwrap()));
    let documents = docs.filter(|it| Path::new(it).extension().is_some_and(|it| it == "md"));
    let others = ["README.md", "CHANGELOG.md", "packaging/socktrace.toml"];
    for name in documents.chain(others.map(str::to_owned)) {
        for metric in word.find_iter(&document(&name)) {
            assert!(is_known(metric.as_str()), "{name}: {}", metric.as_str());
            found += 1;
        }
    }
    assert!(found > 5, "{found}");
}
