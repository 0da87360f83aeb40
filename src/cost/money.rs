//! An amount of money that adds up to the last unit.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Units in a dollar.
const UNITS: i64 = 1_000_000_000_000;
/// Decimals of a dollar that the unit holds.
const DECIMALS: usize = 12;

/// An amount of money.
///
/// **Units**: whole 10⁻¹² US dollars, so that tokens × price has no rounding in it; up to about
/// nine million dollars. It reads and prints as a plain decimal of dollars, without zeros at the
/// end: `0.0125`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);
    /// More than any run costs.
    pub const MAX: Money = Money(i64::MAX);

    /// An amount in 10⁻¹² dollars.
    #[must_use]
    pub const fn from_picodollars(units: i64) -> Money {
        Money(units)
    }

    /// Whole 10⁻¹² dollars.
    #[must_use]
    pub const fn picodollars(self) -> i64 {
        self.0
    }

    /// The sum; `None` where it does not fit.
    #[must_use]
    pub fn checked_add(self, other: Money) -> Option<Money> {
        self.0.checked_add(other.0).map(Money)
    }

    /// The difference; `None` where it does not fit.
    #[must_use]
    pub fn checked_sub(self, other: Money) -> Option<Money> {
        self.0.checked_sub(other.0).map(Money)
    }

    /// The sum, or the largest amount there is.
    #[must_use]
    pub fn saturating_add(self, other: Money) -> Money {
        Money(self.0.saturating_add(other.0))
    }

    /// The difference, or the smallest amount there is.
    #[must_use]
    pub fn saturating_sub(self, other: Money) -> Money {
        Money(self.0.saturating_sub(other.0))
    }
}

impl Money {
    /// The amount multiplied, or the largest amount there is.
    #[must_use]
    pub fn times(self, n: u64) -> Money {
        Money(self.0.saturating_mul(i64::try_from(n).unwrap_or(i64::MAX)))
    }

    /// Whether it is less than nothing.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// An amount of `units`, or the largest amount there is.
    pub(super) fn from_wide(units: u128) -> Money {
        Money(i64::try_from(units).unwrap_or(i64::MAX))
    }
}

/// As [`Money::saturating_add`].
impl Add for Money {
    type Output = Money;
    fn add(self, more: Money) -> Money {
        self.saturating_add(more)
    }
}

/// As [`Money::saturating_sub`].
impl Sub for Money {
    type Output = Money;
    fn sub(self, less: Money) -> Money {
        self.saturating_sub(less)
    }
}

/// As [`Money::saturating_add`].
impl AddAssign for Money {
    fn add_assign(&mut self, more: Money) {
        *self = *self + more;
    }
}

/// As [`Money::saturating_add`].
impl Sum for Money {
    fn sum<I: Iterator<Item = Money>>(amounts: I) -> Money {
        amounts.fold(Money::ZERO, Money::saturating_add)
    }
}

/// Why a text is no amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not digits, or digits with one point between them.
    #[error("`{text}` is not an amount of dollars such as `12.50`")]
    NotDecimal {
        /// What was written.
        text: String,
    },
    /// More decimals than the unit holds.
    #[error("`{text}` has more than {DECIMALS} decimals")]
    TooFine {
        /// What was written.
        text: String,
    },
    /// Larger than the unit holds.
    #[error("`{text}` is too large an amount")]
    TooLarge {
        /// What was written.
        text: String,
    },
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Money, MoneyError> {
        let not_decimal = || MoneyError::NotDecimal {
            text: text.to_owned(),
        };
        let too_large = || MoneyError::TooLarge {
            text: text.to_owned(),
        };
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(not_decimal()),
            Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
            None => (digits, ""),
        };
        let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) {
            return Err(not_decimal());
        }
        if fraction.len() > DECIMALS {
            return Err(MoneyError::TooFine {
                text: text.to_owned(),
            });
        }
        let units: i64 = format!("{whole}{fraction:0<DECIMALS$}")
            .parse()
            .map_err(|_| too_large())?;
        Ok(Money(sign * units))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) = (
            self.0.unsigned_abs() / UNITS.unsigned_abs(),
            self.0.unsigned_abs() % UNITS.unsigned_abs(),
        );
        let fraction = format!("{fraction:0DECIMALS$}");
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{sign}{whole}"),
            fraction => write!(f, "{sign}{whole}.{fraction}"),
        }
    }
}

impl TryFrom<String> for Money {
    type Error = MoneyError;

    fn try_from(text: String) -> Result<Money, MoneyError> {
        text.parse()
    }
}

impl From<Money> for String {
    fn from(money: Money) -> String {
        money.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_decimals_exactly() {
        let cases = [
            ("0", 0, "0"),
            ("1", UNITS, "1"),
            ("12.50", 12 * UNITS + UNITS / 2, "12.5"),
            ("0.000000000001", 1, "0.000000000001"),
            ("-0.25", -UNITS / 4, "-0.25"),
            ("9223372.036854775807", i64::MAX, "9223372.036854775807"),
        ];
        for (text, units, printed) in cases {
            let money: Money = text.parse().unwrap();
            assert_eq!(
                (money.picodollars(), money.to_string().as_str()),
                (units, printed)
            );
        }
    }

    #[test]
    fn refuses_what_it_would_have_to_round_or_guess() {
        for text in [
            "", ".", "1.", ".5", "+1", "1e3", "1,5", "1.2.3", " 1", "$1", "--1",
        ] {
            assert!(
                matches!(text.parse::<Money>(), Err(MoneyError::NotDecimal { .. })),
                "{text:?}"
            );
        }
        assert!(matches!(
            "0.0000000000001".parse::<Money>(),
            Err(MoneyError::TooFine { .. })
        ));
        assert!(matches!(
            "9223372.036854775808".parse::<Money>(),
            Err(MoneyError::TooLarge { .. })
        ));
    }

    #[test]
    fn does_not_wrap_around() {
        let most = Money::from_picodollars(i64::MAX);
        assert_eq!(
            (most.saturating_add(most), most.checked_add(most)),
            (most, None)
        );
        assert_eq!([most, most].into_iter().sum::<Money>(), most);
        assert_eq!((most.times(2), most + most), (most, most));
    }
}
