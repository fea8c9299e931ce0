//! The list of metrics for people: `docs/metrics.md`.

use std::fmt::Write as _;

use super::{METRICS, Metric, Type, own::OWN};

/// The page.
pub fn page() -> String {
    let mut page = "# Metrics\n\n\
        Written by `cargo xtask docs` from the code.\n\n\
        `owner` is the systemd service, the container or the name of a process, the first of these that is known \
        (`metrics.owner`); `other` for those that find no room (`metrics.owners`), `unknown` where nobody is known. \
        `netns` is the inode number of a network namespace (`lsns -t net`). `state` is as `node_exporter` spells it. Series end \
        when what they are about is gone.\n\n"
        .to_owned();
    for metric in METRICS {
        add(&mut page, metric);
    }
    page.push_str("\nAnd those that every exporter has, of the daemon itself:\n\n");
    for metric in OWN {
        add(&mut page, metric);
    }
    page
}

fn add(page: &mut String, metric: &Metric) {
    let kind = match metric.kind {
        Type::Counter => "counter",
        Type::Gauge => "gauge",
        Type::Histogram => "histogram",
    };
    let labels = metric.labels.join(", ");
    let labels = if labels.is_empty() {
        labels
    } else {
        format!("{{{labels}}}")
    };
    // Writing to a string cannot fail.
    _ = writeln!(
        page,
        "- `{}{labels}` ({kind}): {}",
        metric.name, metric.help
    );
}
