//! FlowSchemas and levels, made of the API's objects.
//!
//! Source: `k8s.io/apiserver/pkg/util/flowcontrol/apf_controller.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, FlowSchemaSpec, PriorityLevelConfiguration, PriorityLevelConfigurationSpec,
};

use crate::fair::SEATS;
use crate::fair::limits::{Borrower, Limits, Share, Wish, divide};
use crate::fair::objects::{CATCH_ALL, EXEMPT, FLOW_SCHEMAS, PRIORITY_LEVELS};
use crate::fair::queue_set::Queuing;
use crate::fair::shuffle;

use super::Fairness;
use super::level::Level;
use super::metrics::SchemaCounts;

/// A FlowSchema as requests are matched to it.
pub struct Schema {
    pub name: String,
    pub uid: String,
    pub spec: FlowSchemaSpec,
    pub level: Arc<Level>,
    pub level_uid: String,
    /// Whether flows are dealt onto queues.
    pub is_sharded: bool,
    /// The most seats that a request is guessed to take; `None`: no more is known.
    pub widest: Option<usize>,
    pub exempt: bool,
    pub counts: SchemaCounts,
}

/// What is known of a level beside its requests.
pub struct LevelState {
    pub level: Arc<Level>,
    pub uid: String,
    pub part: Part,
    pub limits: Limits,
    pub wish: Wish,
    /// The seats that it has now.
    pub current: usize,
    /// No object wants it any more; it goes when its last request has.
    pub quiescing: bool,
}

/// What an object says of its level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    pub share: Share,
    pub queuing: Queuing,
}

impl Part {
    /// `None`: what it says makes no sense. (Validation lets nothing of the kind in.)
    fn of(name: &str, spec: &PriorityLevelConfigurationSpec) -> Option<Self> {
        let positive = |number: Option<i32>| u32::try_from(number.unwrap_or(0)).ok();
        match (spec.type_.as_str(), &spec.limited, &spec.exempt) {
            ("Exempt", None, exempt) if name == EXEMPT => {
                let exempt = exempt.clone().unwrap_or_default();
                let share = Share {
                    shares: positive(exempt.nominal_concurrency_shares)?,
                    lendable_percent: positive(exempt.lendable_percent)?,
                    borrowing_percent: None,
                };
                Some(Self { share, queuing: Queuing::Exempt })
            }
            ("Limited", Some(limited), None) if name != EXEMPT => {
                let borrowing = limited.borrowing_limit_percent;
                let share = Share {
                    shares: positive(limited.nominal_concurrency_shares)?,
                    lendable_percent: positive(limited.lendable_percent)?,
                    borrowing_percent: borrowing.and_then(|percent| positive(Some(percent))),
                };
                let response = limited.limit_response.as_ref()?;
                let queuing = match (response.type_.as_str(), &response.queuing) {
                    ("Reject", None) => Queuing::Reject,
                    ("Queue", Some(queuing)) => {
                        let count = positive(queuing.queues)? as usize;
                        let hand = positive(queuing.hand_size)? as usize;
                        let length_max = positive(queuing.queue_length_limit)? as usize;
                        if !shuffle::can_deal(count, hand) {
                            return None;
                        }
                        Queuing::Queues { count, hand, length_max }
                    }
                    _ => return None,
                };
                Some(Self { share, queuing })
            }
            _ => None,
        }
    }

    fn is_exempt(self) -> bool {
        self.queuing == Queuing::Exempt
    }
}

impl LevelState {
    fn borrower(&self) -> Borrower {
        Borrower { exempt: self.part.is_exempt(), limits: self.limits, wish: self.wish }
    }

    pub fn target(&self) -> f64 {
        self.borrower().target()
    }
}

impl Fairness {
    /// Takes on these objects, and the mandatory ones where they are missing. Requests that wait
    /// stay where they are. Returns the names of the levels that FlowSchemas may refer to.
    pub fn configure(
        &self,
        levels: &[Arc<PriorityLevelConfiguration>],
        schemas: &[Arc<FlowSchema>],
    ) -> BTreeSet<String> {
        let mut states = self.levels.lock();
        let known = self.take_levels(&mut states, levels);
        let all: u64 = states.values().map(|state| u64::from(state.part.share.shares)).sum();
        for state in states.values_mut() {
            state.limits = Limits::of(state.part.share, all, SEATS);
        }
        self.share_out(&mut states);
        *self.schemas.write() = self.schemas(&states, &known, schemas);
        known
    }

    fn take_levels(
        &self,
        states: &mut BTreeMap<String, LevelState>,
        levels: &[Arc<PriorityLevelConfiguration>],
    ) -> BTreeSet<String> {
        let mut take = |level: &PriorityLevelConfiguration| {
            let name = level.metadata.name.as_deref().unwrap_or_default();
            let Some(part) = level.spec.as_ref().and_then(|spec| Part::of(name, spec)) else {
                tracing::warn!(name, "a PriorityLevelConfiguration is broken, and ignored");
                return None;
            };
            let state = states.entry(name.to_owned()).or_insert_with(|| LevelState {
                level: Level::new(name, part.queuing, 0, self.ambient.clone()),
                uid: String::new(),
                part,
                limits: Limits::default(),
                wish: Wish::default(),
                current: 0,
                quiescing: false,
            });
            state.uid = level.metadata.uid.clone().unwrap_or_default();
            state.part = part;
            Some(name.to_owned())
        };
        let known: BTreeSet<String> = levels.iter().filter_map(|level| take(level)).collect();
        // They are there even where no object says so.
        for level in &PRIORITY_LEVELS.mandatory {
            if !level.metadata.name.as_ref().is_some_and(|name| known.contains(name)) {
                take(level);
            }
        }
        states.retain(|name, state| {
            let wanted = known.contains(name) || matches!(name.as_str(), EXEMPT | CATCH_ALL);
            state.quiescing = !wanted;
            wanted || !state.level.is_idle()
        });
        known
    }

    fn schemas(
        &self,
        states: &BTreeMap<String, LevelState>,
        known: &BTreeSet<String>,
        schemas: &[Arc<FlowSchema>],
    ) -> Arc<[Arc<Schema>]> {
        let name = |schema: &FlowSchema| schema.metadata.name.clone().unwrap_or_default();
        let level = |schema: &FlowSchema| {
            let spec = schema.spec.as_ref()?;
            Some(spec.priority_level_configuration.name.clone())
        };
        let is_sound =
            |schema: &FlowSchema| level(schema).is_some_and(|name| known.contains(&name));
        let sound: Vec<&FlowSchema> =
            schemas.iter().map(|schema| &**schema).filter(|schema| is_sound(schema)).collect();
        let is_there = |wanted: &str| sound.iter().any(|schema| name(schema) == wanted);
        let missing = FLOW_SCHEMAS.mandatory.iter().filter(|schema| !is_there(&name(schema)));
        let mut all: Vec<&FlowSchema> = sound.iter().copied().chain(missing).collect();
        all.sort_by_key(|schema| {
            let precedence = schema.spec.as_ref().and_then(|spec| spec.matching_precedence);
            (precedence.unwrap_or(0), name(schema))
        });
        let made = all.into_iter().filter_map(|schema| {
            let state = states.get(&level(schema)?)?;
            let name = name(schema);
            let (is_sharded, widest) = match state.part.queuing {
                Queuing::Queues { count, hand, .. } => {
                    (count > 1, Some(state.limits.widest_guess(hand)))
                }
                Queuing::Exempt | Queuing::Reject => (false, None),
            };
            Some(Arc::new(Schema {
                counts: self.counts.of(&state.level.name, &name),
                name,
                uid: schema.metadata.uid.clone().unwrap_or_default(),
                spec: schema.spec.clone()?,
                level: state.level.clone(),
                level_uid: state.uid.clone(),
                is_sharded,
                widest,
                exempt: state.part.is_exempt(),
            }))
        });
        made.collect()
    }

    /// Divides the seats anew by what the levels wanted lately. Returns whether a level that nobody
    /// wants any more could go.
    pub fn rebalance(&self) -> bool {
        let mut states = self.levels.lock();
        self.share_out(&mut states);
        states.values().any(|state| state.quiescing && state.level.is_idle())
    }

    fn share_out(&self, states: &mut BTreeMap<String, LevelState>) {
        for state in states.values_mut() {
            state.wish.observe(state.level.observed());
        }
        let borrowers: Vec<Borrower> = states.values().map(LevelState::borrower).collect();
        let (seats, part) = divide(&borrowers);
        self.counts.fair_part(part);
        for (state, seats) in states.values_mut().zip(seats) {
            state.current = seats;
            state.level.configure(state.part.queuing, seats);
        }
    }
}
