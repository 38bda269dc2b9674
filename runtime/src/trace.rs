//! W3C trace context: a request that a guest makes while it serves another belongs to that one's trace.
//!
//! The guest sees `traceparent` and `tracestate` as headers like others. Where it sends a request without a
//! `traceparent`, the incoming one's is sent along, with the id of a new span. This module performs no I/O.

use http::{HeaderMap, HeaderName, HeaderValue};

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace that a request belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    /// 32 lower-case hexadecimal digits.
    id: String,
    /// Two of them.
    flags: String,
    /// Each vendor's own, unread.
    states: Vec<HeaderValue>,
}

impl Trace {
    /// `None` where the request has no trace context, or none that is well-formed.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Trace> {
        // Looked at for each request: most have none.
        let parent = headers.get(PARENT)?.to_str().ok()?;
        if headers.get_all(PARENT).iter().count() > 1 {
            return None;
        }
        let mut parts = parent.split('-');
        let (version, id, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let whole = [(version, 2), (id, 32), (span, 16), (flags, 2)].into_iter().all(is_hex);
        let set = |digits: &str| digits.bytes().any(|digit| digit != b'0');
        // Of a later version the beginning is understood as that of the first, which has nothing after its flags.
        let known = version != "ff" && (version != "00" || parts.next().is_none());
        (whole && known && set(id) && set(span)).then(|| Trace {
            id: id.to_owned(),
            flags: flags.to_owned(),
            states: headers.get_all(STATE).iter().cloned().collect(),
        })
    }

    /// Gives an outgoing request the trace, as the span `span`, unless it has one of its own.
    pub(crate) fn carry_into(&self, headers: &mut HeaderMap, span: u64) {
        if headers.contains_key(PARENT) {
            return;
        }
        let parent = format!("00-{}-{:016x}-{}", self.id, span.max(1), self.flags);
        let Ok(parent) = HeaderValue::from_str(&parent) else { return };
        headers.insert(PARENT, parent);
        // A state without a parent means nothing: the incoming one's goes with its trace.
        headers.remove(STATE);
        for state in &self.states {
            headers.append(STATE, state.clone());
        }
    }
}

fn is_hex((digits, length): (&str, usize)) -> bool {
    digits.len() == length && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(parents: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(PARENT, parent.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_a_well_formed_parent_is_a_trace() {
        let good = format!("00-{ID}-00f067aa0ba902b7-01");
        assert!(Trace::of(&headers(&[&good])).is_some());
        let later = format!("01-{ID}-00f067aa0ba902b7-01-more");
        assert!(Trace::of(&headers(&[&later])).is_some());
        for bad in [
            String::new(),
            format!("00-{ID}-00f067aa0ba902b7"),
            format!("00-{ID}-00f067aa0ba902b7-01-more"),
            format!("ff-{ID}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{ID}-0000000000000000-01"),
        ] {
            assert_eq!(Trace::of(&headers(&[&bad])), None, "{bad}");
        }
        assert_eq!(Trace::of(&headers(&[&good, &good])), None);
        assert_eq!(Trace::of(&headers(&[])), None);
    }

    #[test]
    fn an_outgoing_request_gets_the_trace_unless_it_has_one() {
        let mut incoming = headers(&[&format!("00-{ID}-00f067aa0ba902b7-01")]);
        incoming.append(STATE, "vendor=1".parse().unwrap());
        let trace = Trace::of(&incoming).unwrap();
        let mut outgoing = HeaderMap::new();
        outgoing.append(STATE, "stray=1".parse().unwrap());
        trace.carry_into(&mut outgoing, 0xabc);
        assert_eq!(outgoing[PARENT], format!("00-{ID}-0000000000000abc-01"));
        assert_eq!(outgoing.get_all(STATE).iter().collect::<Vec<_>>(), ["vendor=1"]);
        let own = format!("00-{}-00f067aa0ba902b7-00", "1".repeat(32));
        let mut outgoing = headers(&[&own]);
        trace.carry_into(&mut outgoing, 0xabc);
        assert_eq!(outgoing[PARENT], own);
        assert!(!outgoing.contains_key(STATE));
    }
}
