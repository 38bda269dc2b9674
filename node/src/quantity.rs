//! Quantities (`500m`, `64Mi`, `1e3`) as whole numbers. Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The value in thousandths, rounded up; `None` where the text is no quantity.
pub fn millis(quantity: &Quantity) -> Option<i128> {
    let nanos = nanos(&quantity.0)?;
    Some(div_up(nanos, 1_000_000))
}

/// The value in whole units, rounded up.
pub fn units(quantity: &Quantity) -> Option<i128> {
    let nanos = nanos(&quantity.0)?;
    Some(div_up(nanos, 1_000_000_000))
}

fn div_up(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

fn nanos(text: &str) -> Option<i128> {
    let text = text.trim();
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && matches!(c, '+' | '-'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let negative = whole.starts_with('-');
    let whole = whole.trim_start_matches(['+', '-']);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let fraction_digits = u32::try_from(fraction.len()).ok()?;
    let (multiplier, divisor) = scale(suffix)?;
    let divisor = divisor.checked_mul(10i128.checked_pow(fraction_digits)?)?;
    let nanos = div_up(digits.checked_mul(multiplier)?, divisor);
    Some(if negative { -nanos } else { nanos })
}

/// What a suffix multiplies a number of nano-units by, as a fraction.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    const NANO: i128 = 1_000_000_000;
    let power = |base: i128, exponent: u32| base.checked_pow(exponent).map(|p| (p * NANO, 1));
    match suffix {
        "n" => Some((1, 1)),
        "u" => Some((1_000, 1)),
        "m" => Some((1_000_000, 1)),
        "" => Some((NANO, 1)),
        "k" => power(1000, 1),
        "M" => power(1000, 2),
        "G" => power(1000, 3),
        "T" => power(1000, 4),
        "P" => power(1000, 5),
        "E" => power(1000, 6),
        "Ki" => power(1024, 1),
        "Mi" => power(1024, 2),
        "Gi" => power(1024, 3),
        "Ti" => power(1024, 4),
        "Pi" => power(1024, 5),
        "Ei" => power(1024, 6),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = 10i128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (NANO, size) } else { (size.checked_mul(NANO)?, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_upstream_reads_them() {
        for (text, expected_millis) in [
            ("500m", 500),
            ("1", 1000),
            ("0.1", 100),
            ("1.5", 1500),
            ("1n", 1),
            ("64Mi", 67_108_864_000),
            ("1e3", 1_000_000),
            ("2k", 2_000_000),
            ("-1", -1000),
        ] {
            assert_eq!(millis(&Quantity(text.into())), Some(expected_millis), "{text}");
        }
        for text in ["", "x", "1Zi", "."] {
            assert_eq!(millis(&Quantity(text.into())), None, "{text}");
        }
        assert_eq!(units(&Quantity("1500m".into())), Some(2));
    }
}
