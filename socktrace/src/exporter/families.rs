//! A reading as families of metrics, through the registry that every exporter has.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::{
    Registry, TextEncoder,
    core::{Collector, Desc},
    proto::{Bucket, Counter, Gauge, Histogram as Buckets, LabelPair, MetricFamily, MetricType},
};

use super::{
    catalog::{self as metric, Metric, Type},
    histogram::Histogram,
    own,
    reading::Reading,
    settings::Settings,
};

mod fill;

/// Makes texts of readings. One scrape at a time.
pub struct Exporter {
    registry: Registry,
    latest: Arc<Latest>,
}

impl Exporter {
    /// For series bounded as the settings say.
    pub fn new(settings: &Settings) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let latest = Arc::new(Latest(Mutex::new(State {
            settings: settings.clone(),
            reading: None,
            dropped: BTreeMap::new(),
        })));
        registry.register(Box::new(Source(Arc::clone(&latest))))?;
        Ok(Self { registry, latest })
    }

    /// Other settings from now on.
    pub fn configure(&self, settings: &Settings) {
        self.latest.lock().settings = settings.clone();
    }

    /// The families of a reading, sorted by name.
    pub fn families(&self, reading: Reading) -> Vec<MetricFamily> {
        self.latest.lock().reading = Some(reading);
        self.registry.gather()
    }
}

/// The text format, version 0.0.4.
pub fn text(families: &[MetricFamily]) -> Result<String, prometheus::Error> {
    let text = TextEncoder::new().encode_to_string(families)?;
    // The library writes as Rust does what the format spells otherwise.
    Ok(text.replace(" inf\n", " +Inf\n"))
}

struct State {
    settings: Settings,
    reading: Option<Reading>,
    /// Series that were left out so far, by metric.
    dropped: BTreeMap<&'static str, u64>,
}

struct Latest(Mutex<State>);

impl Latest {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What is in it is whole at any moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one collector: everything is made anew for each scrape, so what is gone leaves no series.
struct Source(Arc<Latest>);

impl Collector for Source {
    fn desc(&self) -> Vec<&Desc> {
        // Families are made, not declared: nothing else is in this registry.
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut state = self.0.lock();
        let Some(reading) = state.reading.take() else {
            return Vec::new();
        };
        let mut families = Families {
            list: Vec::new(),
            most: state.settings.series,
            dropped: std::mem::take(&mut state.dropped),
        };
        fill::fill(&mut families, &reading, &state.settings);
        let dropped = families.dropped.clone();
        for (name, count) in &dropped {
            families.value(&metric::DROPPED, &[name], *count);
        }
        state.dropped = dropped;
        families.list.extend(own::families());
        families.list
    }
}

/// Families under construction.
pub(super) struct Families {
    list: Vec<MetricFamily>,
    most: usize,
    dropped: BTreeMap<&'static str, u64>,
}

impl Families {
    /// Adds a value of a counter or gauge.
    #[allow(
        clippy::cast_precision_loss,
        reason = "Prometheus has no other numbers"
    )]
    fn value(&mut self, what: &'static Metric, labels: &[&str], value: u64) {
        self.number(what, labels, value as f64);
    }

    fn number(&mut self, what: &'static Metric, labels: &[&str], value: f64) {
        self.add(what, labels, series(what, value));
    }

    fn histogram(&mut self, what: &'static Metric, labels: &[&str], histogram: &Histogram) {
        let mut buckets = Buckets::default();
        buckets.set_sample_count(histogram.count());
        buckets.set_sample_sum(histogram.sum);
        let bounds = histogram.cumulative().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        buckets.set_bucket(bounds.collect());
        let mut series = prometheus::proto::Metric::default();
        series.set_histogram(buckets);
        self.add(what, labels, series);
    }

    fn add(
        &mut self,
        what: &'static Metric,
        labels: &[&str],
        mut series: prometheus::proto::Metric,
    ) {
        debug_assert_eq!(what.labels.len(), labels.len(), "{}", what.name);
        let pairs = what.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        series.set_label(pairs.collect());
        let known = self.list.iter().position(|it| it.name() == what.name);
        let place = known.unwrap_or_else(|| {
            self.list.push(family(what));
            self.list.len() - 1
        });
        let family = &mut self.list[place];
        if family.get_metric().len() >= self.most {
            *self.dropped.entry(what.name).or_default() += 1;
            return;
        }
        family.mut_metric().push(series);
    }
}

/// A value of a counter or gauge.
pub(super) fn series(what: &Metric, value: f64) -> prometheus::proto::Metric {
    let mut series = prometheus::proto::Metric::default();
    if what.kind == Type::Counter {
        let mut counter = Counter::default();
        counter.set_value(value);
        series.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        series.set_gauge(gauge);
    }
    series
}

pub(super) fn family(what: &Metric) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(what.name.to_owned());
    family.set_help(what.help.to_owned());
    family.set_field_type(match what.kind {
        Type::Counter => MetricType::COUNTER,
        Type::Gauge => MetricType::GAUGE,
        Type::Histogram => MetricType::HISTOGRAM,
    });
    family
}
