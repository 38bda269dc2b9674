//! Quantities as amounts: compared, added, written in canonical form. Their texts are read and written by
//! `schema/quantity.rs`.
//!
//! Source: `k8s.io/apimachinery/pkg/api/resource`. Amounts are whole numbers of nanos (10⁻⁹), which
//! is upstream's finest step; smaller amounts round away from zero.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::api::resource;

use crate::schema::quantity::{self, Amount, Form, QuantityError};

const NANO: i128 = 1_000_000_000;
/// The largest decimal suffix.
const EXA: i128 = 1_000_000_000_000_000_000;

/// An amount of a resource. Equality and order are by amount: `1` = `1000m`.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    form: Form,
}

impl Quantity {
    pub const ZERO: Self = Self { nanos: 0, form: Form::Decimal };

    /// A whole number, written decimally.
    pub const fn whole(value: i64) -> Self {
        Self { nanos: value as i128 * NANO, form: Form::Decimal }
    }

    /// Thousandths: CPU.
    pub const fn millis(value: i64) -> Self {
        Self { nanos: value as i128 * (NANO / 1000), form: Form::Decimal }
    }

    /// A whole number, written with binary suffixes: memory.
    pub const fn bytes(value: i64) -> Self {
        Self { nanos: value as i128 * NANO, form: Form::Binary }
    }

    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let Amount { negative, nanos, form } =
            quantity::read(text)?.ok_or(QuantityError::Number)?;
        let nanos = i128::try_from(nanos).map_err(|_| QuantityError::Number)?;
        Ok(Self { nanos: if negative { -nanos } else { nanos }, form })
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
        let form = if self.is_zero() { other.form } else { self.form };
        Self { nanos: self.nanos.saturating_add(other.nanos), form }
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
        let amount = Amount {
            negative: self.is_negative(),
            nanos: self.nanos.unsigned_abs(),
            form: self.form,
        };
        match amount.write() {
            Some(text) => f.write_str(&text),
            // A sum beyond every suffix.
            None => write!(f, "{}E", self.nanos / (NANO * EXA)),
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
        assert_eq!(parse("1E").times(1000).to_string(), "1000E");
        assert_eq!(parse("-1Gi").plus(parse("-1Gi")).to_string(), "-2Gi");
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
