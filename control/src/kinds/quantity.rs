//! Quantities: `100m`, `1.5Gi`, `12e6`; parsed, compared, added, written in canonical form.
//!
//! Source: `k8s.io/apimachinery/pkg/api/resource`. Amounts are whole numbers of nanos (10⁻⁹), which
//! is upstream's finest step; smaller amounts round away from zero.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::api::resource;

const NANO: i128 = 1_000_000_000;

/// How an amount was written, and so how it is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    Binary,
    /// `12M`
    Decimal,
}

/// Why a text is not a quantity.
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

/// An amount of a resource. Equality and order are by amount: `1` = `1000m`.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    pub const ZERO: Self = Self { nanos: 0, format: Format::Decimal };

    /// A whole number, written decimally.
    pub const fn whole(value: i64) -> Self {
        Self { nanos: value as i128 * NANO, format: Format::Decimal }
    }

    /// Thousandths: CPU.
    pub const fn millis(value: i64) -> Self {
        Self { nanos: value as i128 * (NANO / 1000), format: Format::Decimal }
    }

    /// A whole number, written with binary suffixes: memory.
    pub const fn bytes(value: i64) -> Self {
        Self { nanos: value as i128 * NANO, format: Format::Binary }
    }

    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let text = text.trim();
        let (number, suffix) = split(text)?;
        let (base, exponent, format) = suffix_of(suffix)?;
        let (digits, decimals) = digits_of(number)?;
        let negative = number.starts_with('-');
        let amount = scale(digits, decimals, base, exponent).ok_or(QuantityError::Number)?;
        let amount = match format {
            // Upstream caps binary amounts alone.
            Format::Binary => amount.min(i128::from(i64::MAX) * NANO),
            Format::Decimal | Format::DecimalExponent => amount,
        };
        Ok(Self { nanos: if negative { -amount } else { amount }, format })
    }

    /// The amount, rounded up (away from zero) to a whole number.
    pub fn value(self) -> i64 {
        self.in_units_of(NANO)
    }

    /// The amount in thousandths, rounded up (away from zero).
    pub fn milli_value(self) -> i64 {
        self.in_units_of(NANO / 1000)
    }

    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is a whole number.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// Rounded up (away from zero) to thousandths: what upstream keeps of resource lists.
    pub fn rounded_to_milli(self) -> Self {
        let step = NANO / 1000;
        Self { nanos: round_up(self.nanos, step) * step, ..self }
    }

    /// The sum; where one side is zero it is written as the other.
    pub fn plus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }

    pub fn times(self, factor: i64) -> Self {
        Self { nanos: self.nanos.saturating_mul(i128::from(factor)), ..self }
    }

    fn in_units_of(self, unit: i128) -> i64 {
        let value = round_up(self.nanos, unit);
        value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // Below 1024 and for fractions, binary amounts are written decimally: nothing is rounded.
        let binary =
            self.format == Format::Binary && self.nanos.abs() >= 1024 * NANO && self.is_whole();
        if binary {
            return self.write_binary(f);
        }
        self.write_decimal(f)
    }
}

impl Quantity {
    fn write_binary(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        let mut value = self.nanos / NANO;
        let mut index = 0;
        while value % 1024 == 0 && index + 1 < SUFFIXES.len() {
            value /= 1024;
            index += 1;
        }
        write!(f, "{value}{}", SUFFIXES[index])
    }

    fn write_decimal(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        let mut value = self.nanos;
        let mut index = 0;
        while value % 1000 == 0 && index + 1 < SUFFIXES.len() {
            value /= 1000;
            index += 1;
        }
        if self.format != Format::DecimalExponent {
            return write!(f, "{value}{}", SUFFIXES[index]);
        }
        match index as i32 * 3 - 9 {
            0 => write!(f, "{value}"),
            exponent => write!(f, "{value}e{exponent}"),
        }
    }
}

/// Parses the API's type.
impl TryFrom<&resource::Quantity> for Quantity {
    type Error = QuantityError;

    fn try_from(text: &resource::Quantity) -> Result<Self, QuantityError> {
        Self::parse(&text.0)
    }
}

impl From<Quantity> for resource::Quantity {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.to_string())
    }
}

/// A map of resources, such as a container's requests.
pub type ResourceList = BTreeMap<String, resource::Quantity>;

/// The amount of a resource in a list; none where it is absent or does not parse.
pub fn get(list: Option<&ResourceList>, resource: &str) -> Option<Quantity> {
    list?.get(resource).and_then(|text| Quantity::try_from(text).ok())
}

/// Puts a quantity into canonical form. What does not parse is left for validation to refuse.
pub fn canonicalise(text: &mut resource::Quantity) {
    if let Ok(quantity) = Quantity::try_from(&*text) {
        *text = quantity.into();
    }
}

/// The same for every resource of a list, rounded up to thousandths as upstream does.
pub fn canonicalise_list(list: &mut Option<ResourceList>) {
    for text in list.iter_mut().flat_map(BTreeMap::values_mut) {
        if let Ok(quantity) = Quantity::try_from(&*text) {
            *text = quantity.rounded_to_milli().into();
        }
    }
}

/// The number (with its sign) and the suffix.
fn split(text: &str) -> Result<(&str, &str), QuantityError> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let signs = text.len() - unsigned.len();
    let number = unsigned.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    if number == 0 {
        return Err(QuantityError::Format);
    }
    let (number, suffix) = text.split_at(signs + number);
    let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let exponent = letters.strip_prefix(['+', '-']).unwrap_or(letters);
    if !exponent.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(QuantityError::Format);
    }
    Ok((number, suffix))
}

/// Base (10 or 2) and exponent of a suffix.
fn suffix_of(suffix: &str) -> Result<(u8, i32, Format), QuantityError> {
    let decimal = |exponent| Ok((10, exponent, Format::Decimal));
    let binary = |exponent| Ok((2, exponent, Format::Binary));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let digits = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
            let exponent = digits.parse().map_err(|_| QuantityError::Suffix)?;
            Ok((10, exponent, Format::DecimalExponent))
        }
    }
}

/// The digits as one whole number, and how many of them are decimals.
fn digits_of(number: &str) -> Result<(i128, i32), QuantityError> {
    let number = number.trim_start_matches(['+', '-']);
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if decimals.contains('.') {
        return Err(QuantityError::Format);
    }
    let digits = format!("0{whole}{decimals}").parse().map_err(|_| QuantityError::Number)?;
    Ok((digits, decimals.len() as i32))
}

/// The amount in nanos, rounded up. None where it is beyond what can be held.
fn scale(digits: i128, decimals: i32, base: u8, exponent: i32) -> Option<i128> {
    if digits == 0 {
        return Some(0);
    }
    let (digits, tens) = if base == 2 {
        (digits.checked_mul(1 << exponent)?, 9 - decimals)
    } else {
        (digits, 9i32.checked_sub(decimals)?.checked_add(exponent)?)
    };
    if tens >= 0 {
        return digits.checked_mul(10i128.checked_pow(tens as u32)?);
    }
    // So small a step that any amount rounds up to one nano.
    let Some(step) = 10i128.checked_pow(tens.unsigned_abs()) else { return Some(1) };
    Some(round_up(digits, step))
}

/// The quotient, rounded away from zero.
fn round_up(value: i128, step: i128) -> i128 {
    let rest = value % step;
    value / step + if rest == 0 { 0 } else { rest.signum() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Quantity {
        Quantity::parse(text).unwrap()
    }

    #[test]
    fn quantities_are_written_in_canonical_form() {
        let cases = [
            ("0", "0"),
            ("0Gi", "0"),
            ("1", "1"),
            ("0.5", "500m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1000Mi", "1000Mi"),
            ("1023", "1023"),
            ("1000", "1k"),
            ("0.1Gi", "107374182400m"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("12e6", "12e6"),
            ("100e6", "100e6"),
            ("1e3", "1e3"),
            ("1E", "1E"),
            ("-1.5", "-1500m"),
            ("+2", "2"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("128974848", "128974848"),
            ("129e6", "129e6"),
            ("123Mi", "123Mi"),
            (".5", "500m"),
            ("5.", "5"),
        ];
        for (text, canonical) in cases {
            assert_eq!(parse(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_quantities_are_refused() {
        let cases = [
            ("", QuantityError::Format),
            ("one", QuantityError::Format),
            ("1.2.3", QuantityError::Format),
            ("1 Gi", QuantityError::Format),
            ("1Gi3x", QuantityError::Format),
            ("1mi", QuantityError::Suffix),
            ("1KiB", QuantityError::Format),
            ("1K", QuantityError::Suffix),
            ("1Gi2", QuantityError::Suffix),
            ("1e99", QuantityError::Number),
        ];
        for (text, error) in cases {
            assert_eq!(Quantity::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn amounts_compare_whatever_their_suffix() {
        assert_eq!(parse("1"), parse("1000m"));
        assert_eq!(parse("1Ki"), parse("1024"));
        assert!(parse("1Gi") > parse("1G"));
        assert!(parse("-1") < Quantity::ZERO);
    }

    #[test]
    fn values_round_away_from_zero() {
        assert_eq!(parse("1500m").value(), 2);
        assert_eq!(parse("-1500m").value(), -2);
        assert_eq!(parse("1500u").milli_value(), 2);
        assert_eq!(parse("250m").milli_value(), 250);
        assert_eq!(parse("1u").rounded_to_milli().to_string(), "1m");
        assert_eq!(parse("100Ei").value(), i64::MAX);
    }

    #[test]
    fn sums_keep_the_first_format_unless_it_is_zero() {
        assert_eq!(parse("1Gi").plus(parse("1Gi")).to_string(), "2Gi");
        assert_eq!(Quantity::ZERO.plus(parse("1Gi")).to_string(), "1Gi");
        assert_eq!(Quantity::millis(100).times(3).to_string(), "300m");
        assert_eq!(Quantity::bytes(1 << 20).to_string(), "1Mi");
    }

    proptest! {
        #[test]
        fn canonical_form_is_stable_and_keeps_the_amount(
            number in 0u32..1_000_000, decimals in 0u32..1000,
            suffix in prop::sample::select(vec!["", "m", "k", "M", "Ki", "Mi", "Gi", "e3"]),
        ) {
            let quantity = parse(&format!("{number}.{decimals}{suffix}"));
            let again = parse(&quantity.to_string());
            prop_assert_eq!(quantity, again);
            prop_assert_eq!(quantity.to_string(), again.to_string());
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,24}") {
            let _ = Quantity::parse(&text);
        }
    }
}
