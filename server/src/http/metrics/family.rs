use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::board::{HOLD_BOUNDS_S, Times};

/// What tells the samples of a family apart. Each value is one of a bounded number: a source, a dialect, a word of ours,
/// or a lock that the operator named.
pub(super) type Labels = Vec<(&'static str, String)>;

/// The value of a sample.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// What is so now, in whole numbers.
    Whole(i64),
    /// What is so now.
    Real(f64),
    /// What was added up since the start.
    Count(u64),
    /// How long things lasted that ended since the start.
    Times(Times),
}

impl Value {
    /// What is so now.
    pub(super) fn now(value: u64) -> Value {
        Value::Whole(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// So many milliseconds, in Prometheus's unit.
    pub(super) fn seconds(ms: i64) -> Value {
        Value::Real(ms as f64 / 1_000.0)
    }
}

/// One family with its samples, as they are at the moment of a scrape.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<(Labels, Value)>,
}

/// Adds a family. One without samples is left out: what is unknown is absent, since a 0 would be a claim.
pub(super) fn add(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
    samples: impl IntoIterator<Item = (Labels, Value)>,
) {
    let samples: Vec<_> = samples.into_iter().collect();
    let kind = match samples.first() {
        None => return,
        Some((_, Value::Whole(_) | Value::Real(_))) => MetricType::Gauge,
        Some((_, Value::Count(_))) => MetricType::Counter,
        Some((_, Value::Times(_))) => MetricType::Histogram,
    };
    registry.register_collector(Box::new(Family { name, help, kind, samples }));
}

impl Collector for Family {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, self.kind)?;
        for (labels, value) in &self.samples {
            // A sample without labels has no braces either.
            match labels.is_empty() {
                true => value.encode(&mut family)?,
                false => value.encode(&mut family.encode_family(labels)?)?,
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, sample: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Value::Whole(value) => sample.encode_gauge(value),
            Value::Real(value) => sample.encode_gauge(value),
            Value::Count(count) => sample.encode_counter::<NoLabelSet, _, u64>(count, None),
            Value::Times(times) => {
                let bounds = HOLD_BOUNDS_S.into_iter().chain([f64::MAX]);
                let lengths: Vec<(f64, u64)> = bounds.zip(times.lengths).collect();
                sample.encode_histogram::<NoLabelSet>(times.sum_s, times.count(), &lengths, None)
            }
        }
    }
}
