//! What stands in the queues, for people: `/debug/api_priority_and_fairness/…`.
//!
//! Source: `k8s.io/apiserver/pkg/util/flowcontrol/apf_controller_debug.go`.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::StatusCode;

use crate::api::answer::respond;
use crate::api::query::Query;
use crate::fair::queue_set::{Request, State};

use super::Fairness;
use super::config::LevelState;
use super::level::{Level, Tag};

const LEVELS: &[&str] = &[
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
const QUEUES: &[&str] = &[
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];
/// The spelling is upstream's.
const REQUESTS: &[&str] = &[
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
];
const DETAILS: &[&str] =
    &["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];

/// The time of what has not begun, as Go writes it.
const NEVER: &str = "0001-01-01T00:00:00Z";

type Row = Vec<String>;

/// `None`: there is no such dump.
pub fn answer(fairness: &Fairness, name: &str, query: &Query) -> Option<Response> {
    let rows = match name {
        "dump_priority_levels" => levels(fairness),
        "dump_queues" => queues(fairness),
        "dump_requests" => requests(fairness, query.text("includeRequestDetails").is_some()),
        _ => return None,
    };
    Some(respond(StatusCode::OK, "text/plain; charset=utf-8", table(&rows)))
}

fn header(names: &[&str]) -> Row {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn levels(fairness: &Fairness) -> Vec<Row> {
    let levels = fairness.levels.lock();
    let row = |(name, state): (&String, &LevelState)| {
        state.level.look(|queues| {
            let active = queues.queues().iter().filter(|queue| queue.len() > 0).count();
            let totals = queues.totals();
            vec![
                name.clone(),
                active.to_string(),
                queues.is_idle().to_string(),
                state.quiescing.to_string(),
                queues.waiting().to_string(),
                queues.executing().to_string(),
                totals.dispatched.to_string(),
                totals.rejected.to_string(),
                totals.timed_out.to_string(),
                totals.cancelled.to_string(),
            ]
        })
    };
    [header(LEVELS)].into_iter().chain(levels.iter().map(row)).collect()
}

fn queues(fairness: &Fairness) -> Vec<Row> {
    let mut rows = vec![header(QUEUES)];
    for (name, state) in fairness.levels.lock().iter() {
        state.level.look(|queues| {
            for (index, queue) in queues.queues().iter().enumerate() {
                rows.push(vec![
                    name.clone(),
                    index.to_string(),
                    queue.len().to_string(),
                    queue.executing.to_string(),
                    queue.seats_in_use.to_string(),
                    queue.next_dispatch.to_string(),
                    queue.initial_seats.to_string(),
                    queue.widest_seats.to_string(),
                    queue.work.to_string(),
                ]);
            }
        });
    }
    rows
}

fn requests(fairness: &Fairness, details: bool) -> Vec<Row> {
    let mut names = header(REQUESTS);
    if details {
        names.extend(header(DETAILS));
    }
    let mut rows = vec![names];
    for state in fairness.levels.lock().values() {
        state.level.look(|queues| {
            let mut of_level: Vec<(isize, isize, Row)> = Vec::new();
            for (ticket, request) in queues.requests() {
                if request.state == State::Lingering {
                    continue;
                }
                let queue = request.queue.map_or(-1, |queue| queue as isize);
                let place = request.queue.and_then(|queue| {
                    queues.queues()[queue].waiting().position(|waiting| waiting == ticket)
                });
                let place = place.map_or(-1, |place| place as isize);
                of_level.push((queue, place, row(&state.level, request, (queue, place), details)));
            }
            // Queue by queue; those who wait before those who are served, those without a queue last.
            of_level
                .sort_by_key(|(queue, place, _)| (queue.cast_unsigned(), place.cast_unsigned()));
            rows.extend(of_level.into_iter().map(|(_, _, row)| row));
        });
    }
    rows
}

fn row(
    level: &Arc<Level>,
    request: &Request<Tag>,
    (queue, place): (isize, isize),
    details: bool,
) -> Row {
    let tag = &request.tag;
    let mut row = vec![
        level.name.clone(),
        tag.schema.name.clone(),
        queue.to_string(),
        place.to_string(),
        tag.distinguisher.to_string(),
        level.time(request.arrived).to_string(),
        request.work.initial.to_string(),
        request.work.last.to_string(),
        go_duration(request.work.lingers),
        request.started.map_or_else(|| NEVER.to_owned(), |at| level.time(at).to_string()),
    ];
    if details {
        let asked = &tag.asked;
        let address = asked.address.clone().unwrap_or_default();
        let api_version = match address.group.as_str() {
            "" => address.version,
            group => format!("{group}/{}", address.version),
        };
        row.extend([
            asked.user.clone(),
            asked.verb.to_owned(),
            asked.path.clone(),
            address.namespace,
            address.name,
            api_version,
            address.resource,
            address.subresource,
        ]);
    }
    row
}

/// Go's `time.Duration.String` below a minute.
fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (unit, name) = match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "\u{b5}s"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    format!("{}{name}", nanos as f64 / unit as f64)
}

/// Go's `text/tabwriter` over cells that end in commas: each column as wide as its widest cell and
/// one more, and eight at least.
fn table(rows: &[Row]) -> String {
    const WIDTH_MIN: usize = 8;
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), WIDTH_MIN);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + 2);
        }
    }
    let mut out = String::new();
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            out.push_str(cell);
            if index + 1 < row.len() {
                let padding = width.saturating_sub(cell.chars().count() + 1);
                out.push(',');
                out.extend(std::iter::repeat_n(' ', padding));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_behind_commas() {
        let row = |cells: &[&str]| header(cells);
        let rows = [row(&["PriorityLevelName", "A", "B"]), row(&["exempt", "a long cell", "c"])];
        assert_eq!(
            table(&rows),
            "PriorityLevelName, A,           B\nexempt,            a long cell, c\n"
        );
        assert_eq!(table(&[row(&["a", "b"])]), "a,      b\n");
    }

    #[test]
    fn durations_are_written_as_go_does() {
        for (micros, text) in [(0, "0s"), (5000, "5ms"), (5500, "5.5ms"), (1_500_000, "1.5s")] {
            assert_eq!(go_duration(Duration::from_micros(micros)), text);
        }
    }
}
