//! `OpenMetrics` 1.0, which Prometheus asks for first.
//!
//! Beside the text format 0.0.4 it differs in this: the family of a counter is named without
//! `_total`, and the text has an end.

use std::fmt::Write as _;

use prometheus::proto::{Metric, MetricFamily, MetricType};

/// The families as `OpenMetrics`.
pub fn openmetrics(families: &[MetricFamily]) -> String {
    let mut out = String::with_capacity(1 << 16);
    for family in families {
        let kind = family.get_field_type();
        let counter = kind == MetricType::COUNTER;
        let name = family.name();
        let base = name
            .strip_suffix("_total")
            .filter(|_| counter)
            .unwrap_or(name);
        let word = match kind {
            MetricType::COUNTER => "counter",
            MetricType::HISTOGRAM => "histogram",
            _ => "gauge",
        };
        // Writing to a string cannot fail.
        _ = writeln!(out, "# TYPE {base} {word}");
        if base.ends_with("_seconds") {
            _ = writeln!(out, "# UNIT {base} seconds");
        }
        _ = writeln!(out, "# HELP {base} {}", escaped(family.help()));
        for metric in family.get_metric() {
            if kind == MetricType::HISTOGRAM {
                histogram(&mut out, base, metric);
                continue;
            }
            let value = if counter {
                metric.get_counter().get_value()
            } else {
                metric.get_gauge().get_value()
            };
            let suffix = if counter { "_total" } else { "" };
            sample(&mut out, &format!("{base}{suffix}"), metric, None, value);
        }
    }
    out.push_str("# EOF\n");
    out
}

#[allow(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers"
)]
fn histogram(out: &mut String, base: &str, metric: &Metric) {
    let histogram = metric.get_histogram();
    let bucket = format!("{base}_bucket");
    for it in histogram.get_bucket() {
        let bound = number(it.upper_bound());
        sample(
            out,
            &bucket,
            metric,
            Some(&bound),
            it.cumulative_count() as f64,
        );
    }
    let count = histogram.get_sample_count() as f64;
    sample(out, &bucket, metric, Some("+Inf"), count);
    sample(out, &format!("{base}_count"), metric, None, count);
    sample(
        out,
        &format!("{base}_sum"),
        metric,
        None,
        histogram.get_sample_sum(),
    );
}

fn sample(out: &mut String, name: &str, metric: &Metric, bound: Option<&str>, value: f64) {
    out.push_str(name);
    let labels = metric.get_label().iter().map(|it| (it.name(), it.value()));
    let mut separator = '{';
    for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        _ = write!(out, "{separator}{name}=\"{}\"", escaped(value));
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    _ = writeln!(out, " {}", number(value));
}

/// As floating-point numbers are written there: with a point.
fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else {
        format!("{value:?}")
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    text.replace('"', "\\\"")
}
