//! What fairness counts. Source: `k8s.io/apiserver/pkg/util/flowcontrol/metrics/metrics.go`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::fair::queue_set::{Refusal, State};

use super::Fairness;
use super::config::LevelState;

/// Seconds, as upstream.
const BUCKETS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct Flow {
    priority_level: String,
    flow_schema: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Rejected {
    priority_level: String,
    flow_schema: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Waited {
    priority_level: String,
    flow_schema: String,
    execute: bool,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfLevel {
    priority_level: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// What is counted where it happens.
pub struct Counts {
    dispatched: Family<Flow, Counter>,
    rejected: Family<Rejected, Counter>,
    waited: Histograms<Waited>,
    executed: Histograms<Flow>,
    fair_part: Gauge<f64, AtomicU64>,
}

impl Default for Counts {
    fn default() -> Self {
        let histogram = (|| Histogram::new(BUCKETS)) as fn() -> Histogram;
        Self {
            dispatched: Family::default(),
            rejected: Family::default(),
            waited: Family::new_with_constructor(histogram),
            executed: Family::new_with_constructor(histogram),
            fair_part: Gauge::default(),
        }
    }
}

impl Counts {
    pub fn of(&self, level: &str, schema: &str) -> SchemaCounts {
        let flow = Flow { priority_level: level.to_owned(), flow_schema: schema.to_owned() };
        SchemaCounts {
            dispatched: self.dispatched.get_or_create_owned(&flow),
            executed: self.executed.get_or_create_owned(&flow),
            served: self.waited.get_or_create_owned(&flow.waited(true)),
            rejected: self.rejected.clone(),
            waited: self.waited.clone(),
            flow,
        }
    }

    pub fn fair_part(&self, part: f64) {
        self.fair_part.set(part);
    }
}

/// The counts of one schema, at hand.
pub struct SchemaCounts {
    flow: Flow,
    dispatched: Counter,
    executed: Histogram,
    /// The waits of those that were served in the end.
    served: Histogram,
    rejected: Family<Rejected, Counter>,
    waited: Histograms<Waited>,
}

impl Flow {
    fn waited(&self, execute: bool) -> Waited {
        let Self { priority_level, flow_schema } = self.clone();
        Waited { priority_level, flow_schema, execute }
    }
}

impl SchemaCounts {
    pub fn dispatched(&self) {
        self.dispatched.inc();
    }

    pub fn executed(&self, took: Duration) {
        self.executed.observe(took.as_secs_f64());
    }

    pub fn waited(&self, took: Duration, execute: bool) {
        let seconds = took.as_secs_f64();
        if execute {
            self.served.observe(seconds);
        } else {
            self.waited.get_or_create(&self.flow.waited(false)).observe(seconds);
        }
    }

    pub fn rejected(&self, refusal: Refusal) {
        let Flow { priority_level, flow_schema } = self.flow.clone();
        let labels = Rejected { priority_level, flow_schema, reason: refusal.name() };
        self.rejected.get_or_create(&labels).inc();
    }
}

/// Registers all that fairness tells.
pub fn register(registry: &mut Registry, fairness: &Arc<Fairness>) {
    let counts = &fairness.counts;
    let registry = registry.sub_registry_with_prefix("apiserver_flowcontrol");
    registry.register(
        "dispatched_requests",
        "Requests that were served",
        counts.dispatched.clone(),
    );
    registry.register("rejected_requests", "Requests that were refused", counts.rejected.clone());
    registry.register(
        "request_wait_duration_seconds",
        "How long requests waited in their queues",
        counts.waited.clone(),
    );
    registry.register(
        "request_execution_seconds",
        "How long requests held seats, watches while they began",
        counts.executed.clone(),
    );
    registry.register(
        "seat_fair_frac",
        "The part of their targets that all levels were given",
        counts.fair_part.clone(),
    );
    registry.register_collector(Box::new(Gauges(fairness.clone())));
}

/// What is read off when somebody asks.
pub struct Gauges(Arc<Fairness>);

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

/// Requests and seats of a flow schema.
#[derive(Clone, Copy, Default)]
struct Present {
    waiting: (usize, usize),
    executing: (usize, usize),
}

type OfFlow = (&'static str, &'static str, fn(&Present) -> usize);
type OfState = (&'static str, &'static str, fn(&LevelState) -> f64);

const FLOWS: [OfFlow; 4] = [
    ("current_inqueue_requests", "Requests that wait", |present| present.waiting.0),
    ("current_inqueue_seats", "Seats that are waited for", |present| present.waiting.1),
    ("current_executing_requests", "Requests that hold seats", |present| present.executing.0),
    ("current_executing_seats", "Seats that are held", |present| present.executing.1),
];

const LEVELS: [OfState; 9] = [
    ("nominal_limit_seats", "Seats by shares", |level| level.limits.nominal as f64),
    ("lower_limit_seats", "Seats that are never lent", |level| level.limits.lowest as f64),
    ("upper_limit_seats", "Seats with all that may be borrowed", |level| {
        level.limits.highest as f64
    }),
    ("current_limit_seats", "Seats now", |level| level.current as f64),
    ("demand_seats_high_watermark", "The most seats that were wanted lately", |level| {
        level.wish.observed.most as f64
    }),
    ("demand_seats_average", "Seats that were wanted lately, on average", |level| {
        level.wish.observed.average.unwrap_or(0.0)
    }),
    ("demand_seats_stdev", "The standard deviation of that", |level| level.wish.observed.deviation),
    ("demand_seats_smoothed", "The demand that falls slowly", |level| level.wish.smoothed),
    ("target_seats", "Seats that the level should have if there were enough", |level| {
        level.target()
    }),
];

impl Gauges {
    fn present(&self) -> BTreeMap<Flow, Present> {
        let mut all: BTreeMap<Flow, Present> = BTreeMap::new();
        let flow = |level: &str, schema: &str| Flow {
            priority_level: level.to_owned(),
            flow_schema: schema.to_owned(),
        };
        for schema in self.0.schemas.read().iter() {
            all.entry(flow(&schema.level.name, &schema.name)).or_default();
        }
        for state in self.0.levels.lock().values() {
            state.level.look(|queues| {
                for (_, request) in queues.requests() {
                    let flow = flow(&state.level.name, &request.tag.schema.name);
                    let present = all.entry(flow).or_default();
                    let (requests, seats) = match request.state {
                        State::Waiting => &mut present.waiting,
                        State::Executing | State::Lingering => &mut present.executing,
                    };
                    *requests += usize::from(request.state != State::Lingering);
                    *seats += request.work.widest();
                }
            });
        }
        all
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let present = self.present();
        for (name, help, value) in FLOWS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (flow, present) in &present {
                family.encode_family(flow)?.encode_gauge(&(value(present) as f64))?;
            }
        }
        let levels = self.0.levels.lock();
        for (name, help, value) in LEVELS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (level, state) in levels.iter() {
                let labels = OfLevel { priority_level: level.clone() };
                family.encode_family(&labels)?.encode_gauge(&value(state))?;
            }
        }
        Ok(())
    }
}
