//! Quantities: `500m`, `1Gi`. Which texts are quantities, how much they are, and the one canonical text of each.
//! What is calculated with them stands in `kinds/quantity.rs`.
//!
//! Source of the rules: `k8s.io/apimachinery/pkg/api/resource`.

/// Why a text is no quantity, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Number,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// How an amount was written, and so how it is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `12Mi`
    Binary,
    /// `12M`
    Decimal,
    /// `12e6`
    Exponent,
}

/// What a text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    pub negative: bool,
    /// In units of 10^-9, rounded up.
    pub nanos: u128,
    pub form: Form,
}

/// A text taken apart: `digits × 10^exponent × 2^shift`.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    form: Form,
    exponent: i32,
    shift: u32,
}

/// Digits that are kept; what lies beyond only rounds up. Binary forms keep fewer, since their
/// mantissa is shifted by up to 60 bits.
const DIGITS_MAX: usize = 36;
const BINARY_DIGITS_MAX: usize = 20;
/// Amounts are counted in units of 10^-9, upstream's smallest.
const NANO: i32 = 9;
/// The largest amount of a binary form: larger ones are cut to it.
const CAP: u128 = i64::MAX as u128 * 1_000_000_000;

/// Checks a text without computing its canonical form.
pub fn check(text: &str) -> Result<(), QuantityError> {
    take_apart(text).map(|_| ())
}

/// The amount; `None` where it is beyond counting.
pub fn read(text: &str) -> Result<Option<Amount>, QuantityError> {
    let parts = take_apart(text)?;
    let amount = |nanos| Amount { negative: parts.negative, nanos, form: parts.form };
    Ok(nanos(&parts).map(amount))
}

/// The canonical text: `0.5` → `500m`, `1024Mi` → `1Gi`. Beyond every suffix there is, the text stands as it came.
pub fn canonical(text: &str) -> Result<String, QuantityError> {
    let written = read(text)?.and_then(|amount| amount.write());
    Ok(written.unwrap_or_else(|| text.trim().to_owned()))
}

impl Amount {
    /// The canonical text; `None` where no suffix is large enough.
    pub fn write(&self) -> Option<String> {
        const UNIT: u128 = 1_000_000_000;
        let nanos = self.nanos;
        if nanos == 0 {
            return Some("0".to_owned());
        }
        let form = match self.form {
            // Below 1024 and for fractions, binary amounts are written decimally: nothing is rounded.
            Form::Binary if nanos < 1024 * UNIT || !nanos.is_multiple_of(UNIT) => Form::Decimal,
            form => form,
        };
        let sign = if self.negative { "-" } else { "" };
        match form {
            Form::Binary => Some(format!("{sign}{}", binary(nanos / UNIT))),
            Form::Decimal | Form::Exponent => {
                let (mantissa, exponent) = decimal(nanos);
                suffix(form, exponent).map(|suffix| format!("{sign}{mantissa}{suffix}"))
            }
        }
    }
}

fn take_apart(text: &str) -> Result<Parts<'_>, QuantityError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(QuantityError::Format);
    }
    let (negative, rest) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, rest) = split(rest, |c| c.is_ascii_digit());
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => split(rest, |c| c.is_ascii_digit()),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(QuantityError::Format);
    }
    let (form, exponent, shift) = interpret(rest)?;
    Ok(Parts { negative, whole, fraction, form, exponent, shift })
}

fn split(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

/// A suffix → its form, power of ten and power of two.
fn interpret(suffix: &str) -> Result<(Form, i32, u32), QuantityError> {
    let (letters, rest) = split(suffix, |c| "eEinumkKMGTP".contains(c));
    let digits = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(QuantityError::Format);
    }
    let plain = |exponent| Ok((Form::Decimal, exponent, 0));
    match suffix {
        "n" => plain(-9),
        "u" => plain(-6),
        "m" => plain(-3),
        "" => plain(0),
        "k" => plain(3),
        "M" => plain(6),
        "G" => plain(9),
        "T" => plain(12),
        "P" => plain(15),
        "E" => plain(18),
        "Ki" => Ok((Form::Binary, 0, 10)),
        "Mi" => Ok((Form::Binary, 0, 20)),
        "Gi" => Ok((Form::Binary, 0, 30)),
        "Ti" => Ok((Form::Binary, 0, 40)),
        "Pi" => Ok((Form::Binary, 0, 50)),
        "Ei" => Ok((Form::Binary, 0, 60)),
        _ if letters == "e" || letters == "E" => {
            let exponent = rest.parse().map_err(|_| QuantityError::Suffix)?;
            Ok((Form::Exponent, exponent, 0))
        }
        _ => Err(QuantityError::Suffix),
    }
}

/// The magnitude in units of 10^-9, rounded up; `None` where it is beyond counting.
fn nanos(parts: &Parts<'_>) -> Option<u128> {
    let digits = || parts.whole.bytes().chain(parts.fraction.bytes()).skip_while(|&b| b == b'0');
    let total = digits().count();
    let kept = if parts.shift == 0 { DIGITS_MAX } else { BINARY_DIGITS_MAX };
    let mut mantissa: u128 = 0;
    for digit in digits().take(kept) {
        mantissa = mantissa * 10 + u128::from(digit - b'0');
    }
    if digits().skip(kept).any(|digit| digit != b'0') {
        mantissa += 1;
    }
    if mantissa == 0 {
        return Some(0);
    }
    let dropped = i64::try_from(total.saturating_sub(kept)).ok()?;
    let fraction = i64::try_from(parts.fraction.len()).ok()?;
    let exponent = i64::from(parts.exponent) + i64::from(NANO) + dropped - fraction;
    let shifted = mantissa << parts.shift;
    let amount = if exponent >= 0 {
        let power = u32::try_from(exponent).ok().and_then(|exponent| 10u128.checked_pow(exponent));
        power.and_then(|power| shifted.checked_mul(power))
    } else {
        let power = u32::try_from(-exponent).ok().and_then(|exponent| 10u128.checked_pow(exponent));
        // A power beyond u128 exceeds any amount: the smallest unit is what is left.
        Some(power.map_or(1, |power| shifted.div_ceil(power)))
    };
    match parts.form {
        Form::Binary => Some(amount.unwrap_or(CAP).min(CAP)),
        Form::Decimal | Form::Exponent => amount,
    }
}

fn binary(mut amount: u128) -> String {
    let suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut at = 0;
    while amount.is_multiple_of(1024) && at + 1 < suffixes.len() {
        amount /= 1024;
        at += 1;
    }
    format!("{amount}{}", suffixes[at])
}

/// Mantissa and exponent, the exponent the largest multiple of three that loses nothing.
fn decimal(nanos: u128) -> (u128, i32) {
    let (mut mantissa, mut exponent) = (nanos, -NANO);
    while mantissa.is_multiple_of(1000) {
        mantissa /= 1000;
        exponent += 3;
    }
    (mantissa, exponent)
}

fn suffix(form: Form, exponent: i32) -> Option<String> {
    if form == Form::Exponent {
        return Some(if exponent == 0 { String::new() } else { format!("e{exponent}") });
    }
    let suffixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    let at = usize::try_from((exponent + NANO) / 3).ok()?;
    suffixes.get(at).map(|&suffix| suffix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms_are_those_of_upstream() {
        for (text, expected) in [
            ("0", "0"),
            ("0Gi", "0"),
            ("1", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1.5", "1500m"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("1000m", "1"),
            ("100m", "100m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1.1Ki", "1126400m"),
            ("1023Ki", "1023Ki"),
            ("-1Gi", "-1Gi"),
            ("1e3", "1e3"),
            ("12E5", "1200e3"),
            ("1E", "1E"),
            ("0.1n", "1n"),
            ("1.G", "1G"),
            ("9223372036854775807", "9223372036854775807"),
            ("100Ei", "9223372036854775807"),
            (" 1 ", "1"),
            ("10000000000000000000000", "10000000000000000000000"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "x", "1x", "1Kib", "1 Gi", "--1", ".", "-", "1e3x"] {
            assert_eq!(canonical(text), Err(QuantityError::Format), "{text}");
        }
        for text in ["1MM", "1K", "1i", "1e", "1k3"] {
            assert_eq!(canonical(text), Err(QuantityError::Suffix), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_canonical_text_is_its_own_canonical_form(text in "[+-]?[0-9]{0,25}(\\.[0-9]{0,25})?(n|u|m|k|M|Gi|Ei|e-?[0-9]{1,3})?") {
            if let Ok(first) = canonical(&text) {
                proptest::prop_assert_eq!(canonical(&first), Ok(first));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            let _ = canonical(&text);
        }
    }
}
