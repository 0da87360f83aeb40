//! Prices as exact integers: read from decimal strings, never from floating point.
//!
//! A price list speaks of dollars per million tokens, a bill of tokens. [`Price`] is the price of
//! one token in whole 10⁻¹² dollars, so that a sum of tokens × price has no rounding in it;
//! [`PriceFactor`] is what multiplies a price. Both refuse more decimals than they can hold instead
//! of rounding them away.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Decimals of a dollar price per million tokens that [`Price`] holds.
const PRICE_DECIMALS: u32 = 6;
/// Decimals that [`PriceFactor`] holds.
const FACTOR_DECIMALS: u32 = 3;
/// Decimals of a dollar price per thousand uses that [`UsePrice`] holds.
const USE_DECIMALS: u32 = 9;
/// Decimals of a dollar price per hour that [`HourPrice`] holds.
const HOUR_DECIMALS: u32 = 12;

/// The price of one token.
///
/// **Units**: whole 10⁻¹² US dollars a token. It reads and prints as dollars per million tokens:
/// `"0.125"` is 125,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Price(u64);

impl Price {
    /// Dollars × 10⁻¹² for one token.
    #[must_use]
    pub fn picodollars_per_token(self) -> u64 {
        self.0
    }

    /// The price multiplied; `None` where the result is not whole in this unit, or too large for
    /// it.
    #[must_use]
    pub fn times(self, factor: PriceFactor) -> Option<Price> {
        let scale = 10_u64.pow(FACTOR_DECIMALS);
        let product = self.0.checked_mul(u64::from(factor.0))?;
        (product % scale == 0).then_some(Price(product / scale))
    }
}

/// What a price is multiplied with.
///
/// **Units**: whole thousandths. It reads and prints as a decimal: `"0.5"` is 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PriceFactor(u32);

impl PriceFactor {
    /// The factor × 1,000.
    #[must_use]
    pub fn thousandths(self) -> u32 {
        self.0
    }
}

/// The price of one use of a tool that runs at the provider.
///
/// **Units**: whole 10⁻¹² US dollars a use. It reads and prints as dollars per thousand uses:
/// `"10"` is 10¹⁰.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UsePrice(u64);

impl UsePrice {
    /// Dollars × 10⁻¹² for one use.
    #[must_use]
    pub fn picodollars_per_use(self) -> u64 {
        self.0
    }
}

/// The price of one hour. **Units**: whole 10⁻¹² US dollars; it reads and prints as dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HourPrice(u64);

/// What the tools cost that run at the provider, besides the tokens that they read and write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTools {
    /// A thousand web searches. Neither the batch factor nor that of a place is known to apply.
    pub web_search: UsePrice,
    /// A thousand web pages fetched.
    pub web_fetch: UsePrice,
    /// An hour of a container that executes code. A bill counts hours over all requests of an
    /// organisation, with free ones among them, so no request's own share can be derived from its
    /// usage: it is not part of a row's cost.
    pub code_execution_hour: HourPrice,
    /// Hours of that which are free each month.
    pub code_execution_free_hours: u64,
}

/// What a model costs, at the provider's standard rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Input that is neither written to nor read from a cache.
    pub input: Price,
    /// Output, thinking included.
    pub output: Price,
    /// Input written to the five-minute cache.
    pub cache_write_5m: Price,
    /// Input written to the one-hour cache.
    pub cache_write_1h: Price,
    /// Input read from a cache.
    pub cache_read: Price,
    /// What every price is multiplied with in a batch.
    pub batch_factor: PriceFactor,
    /// What every price is multiplied with where inference is bound to the US; `None` where that
    /// cannot be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub us_factor: Option<PriceFactor>,
    /// Other prices for long prompts, by rising length.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bands: Vec<Band>,
}

/// The prices of requests with a long prompt; they hold for every token of such a request, output
/// included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// The band holds for prompts of more tokens than this; uncached input, cache reads and cache
    /// writes count together.
    pub above_prompt_tokens: u64,
    /// As in [`Prices`].
    pub input: Price,
    /// As in [`Prices`].
    pub output: Price,
    /// As in [`Prices`].
    pub cache_write_5m: Price,
    /// As in [`Prices`].
    pub cache_write_1h: Price,
    /// As in [`Prices`].
    pub cache_read: Price,
}

/// The five prices that hold for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// As in [`Prices`].
    pub input: Price,
    /// As in [`Prices`].
    pub output: Price,
    /// As in [`Prices`].
    pub cache_write_5m: Price,
    /// As in [`Prices`].
    pub cache_write_1h: Price,
    /// As in [`Prices`].
    pub cache_read: Price,
}

impl Rates {
    /// Each price multiplied; `None` where one is not whole afterwards.
    #[must_use]
    pub fn times(self, factor: PriceFactor) -> Option<Rates> {
        Some(Rates {
            input: self.input.times(factor)?,
            output: self.output.times(factor)?,
            cache_write_5m: self.cache_write_5m.times(factor)?,
            cache_write_1h: self.cache_write_1h.times(factor)?,
            cache_read: self.cache_read.times(factor)?,
        })
    }
}

impl Prices {
    /// The standard rates of a request whose whole prompt has this many tokens, cached ones
    /// included.
    #[must_use]
    pub fn rates(&self, prompt_tokens: u64) -> Rates {
        match self
            .bands
            .iter()
            .rfind(|band| prompt_tokens > band.above_prompt_tokens)
        {
            Some(band) => Rates {
                input: band.input,
                output: band.output,
                cache_write_5m: band.cache_write_5m,
                cache_write_1h: band.cache_write_1h,
                cache_read: band.cache_read,
            },
            None => Rates {
                input: self.input,
                output: self.output,
                cache_write_5m: self.cache_write_5m,
                cache_write_1h: self.cache_write_1h,
                cache_read: self.cache_read,
            },
        }
    }
}

/// Why a decimal string was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not digits, or digits with one point between them.
    #[error("`{text}` is not a decimal such as `0.125`")]
    NotDecimal {
        /// What was written.
        text: String,
    },
    /// More decimals than the unit holds.
    #[error("`{text}` has more than {decimals} decimals")]
    TooFine {
        /// What was written.
        text: String,
        /// Most decimals.
        decimals: u32,
    },
    /// Larger than the unit holds.
    #[error("`{text}` is too large")]
    TooLarge {
        /// What was written.
        text: String,
    },
}

/// Reads a decimal as a whole number of 10^-`decimals`. Trailing zeros may exceed that.
fn parse_decimal(text: &str, decimals: u32) -> Result<u64, DecimalError> {
    let not_decimal = || DecimalError::NotDecimal {
        text: text.to_owned(),
    };
    let too_large = || DecimalError::TooLarge {
        text: text.to_owned(),
    };
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) => return Err(not_decimal()),
        Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
        None => (text, ""),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Err(not_decimal());
    }
    let missing = decimals.checked_sub(u32::try_from(fraction.len()).unwrap_or(u32::MAX));
    let missing = missing.ok_or_else(|| DecimalError::TooFine {
        text: text.to_owned(),
        decimals,
    })?;
    let value: u64 = format!("{whole}{fraction}")
        .parse()
        .map_err(|_| too_large())?;
    value.checked_mul(10_u64.pow(missing)).ok_or_else(too_large)
}

/// Writes a whole number of 10^-`decimals` as a decimal, without zeros at the end.
fn write_decimal(f: &mut fmt::Formatter<'_>, value: u64, decimals: u32) -> fmt::Result {
    let scale = 10_u64.pow(decimals);
    let fraction = format!("{:0width$}", value % scale, width = decimals as usize);
    match fraction.trim_end_matches('0') {
        "" => write!(f, "{}", value / scale),
        fraction => write!(f, "{}.{fraction}", value / scale),
    }
}

/// Reads and prints a unit that is a whole number of 10^-`$decimals`.
macro_rules! decimal_unit {
    ($unit:ident, $decimals:ident) => {
        impl FromStr for $unit {
            type Err = DecimalError;
            fn from_str(text: &str) -> Result<Self, DecimalError> {
                let value = parse_decimal(text, $decimals)?;
                value
                    .try_into()
                    .map($unit)
                    .map_err(|_| DecimalError::TooLarge {
                        text: text.to_owned(),
                    })
            }
        }

        impl fmt::Display for $unit {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_decimal(f, self.0.into(), $decimals)
            }
        }

        impl TryFrom<String> for $unit {
            type Error = DecimalError;
            fn try_from(text: String) -> Result<Self, DecimalError> {
                text.parse()
            }
        }

        impl From<$unit> for String {
            fn from(unit: $unit) -> String {
                unit.to_string()
            }
        }
    };
}

decimal_unit!(Price, PRICE_DECIMALS);
decimal_unit!(PriceFactor, FACTOR_DECIMALS);
decimal_unit!(UsePrice, USE_DECIMALS);
decimal_unit!(HourPrice, HOUR_DECIMALS);

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        text.parse().expect("a price")
    }

    #[test]
    fn reads_dollars_per_million_exactly() {
        for (text, picodollars) in [
            ("0", 0),
            ("1", 1_000_000),
            ("0.005", 5_000),
            ("3.125", 3_125_000),
            ("0.000001", 1),
            ("00.10", 100_000),
            ("12.5000000000", 12_500_000),
            ("18446744073709.551615", u64::MAX),
        ] {
            assert_eq!(price(text).picodollars_per_token(), picodollars, "{text}");
        }
    }

    #[test]
    fn refuses_what_it_would_have_to_round_or_guess() {
        for text in [
            "", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", "1.2.3", " 1", "0x1", "٣", "1_000",
        ] {
            assert!(
                matches!(text.parse::<Price>(), Err(DecimalError::NotDecimal { .. })),
                "{text:?}"
            );
        }
        assert!(matches!(
            "0.0000001".parse::<Price>(),
            Err(DecimalError::TooFine { decimals: 6, .. })
        ));
        assert!(matches!(
            "0.0001".parse::<PriceFactor>(),
            Err(DecimalError::TooFine { decimals: 3, .. })
        ));
        assert!(matches!(
            "18446744073709.551616".parse::<Price>(),
            Err(DecimalError::TooLarge { .. })
        ));
        assert!(matches!(
            "99999999999999999999".parse::<Price>(),
            Err(DecimalError::TooLarge { .. })
        ));
        assert!(matches!(
            "4294967.296".parse::<PriceFactor>(),
            Err(DecimalError::TooLarge { .. })
        ));
    }

    #[test]
    fn prints_what_it_read_without_zeros_at_the_end() {
        for (text, printed) in [
            ("0.20", "0.2"),
            ("16", "16"),
            ("0.0625", "0.0625"),
            ("10.00", "10"),
            ("0.000001", "0.000001"),
        ] {
            assert_eq!(price(text).to_string(), printed);
            assert_eq!(price(printed), price(text));
        }
        assert_eq!("0.5".parse::<PriceFactor>().unwrap().to_string(), "0.5");
    }

    #[test]
    fn multiplies_exactly_or_not_at_all() {
        let half: PriceFactor = "0.5".parse().unwrap();
        let us: PriceFactor = "1.1".parse().unwrap();
        assert_eq!(price("0.01").times(half), Some(price("0.005")));
        assert_eq!(
            price("0.01").times(half).unwrap().times(us),
            Some(price("0.0055"))
        );
        assert_eq!(price("0.000001").times(half), None);
        assert_eq!(price("18446744073709.551615").times(us), None);
    }

    #[test]
    fn takes_the_band_only_above_its_length() {
        let five = |dollars: &str| {
            [
                "input",
                "output",
                "cache_write_5m",
                "cache_write_1h",
                "cache_read",
            ]
            .map(|kind| format!("{kind} = '{dollars}'\n"))
            .concat()
        };
        let text = format!(
            "{}batch_factor = '0.5'\n[[bands]]\nabove_prompt_tokens = \
             100\n{}[[bands]]\nabove_prompt_tokens = 200\n{}",
            five("1"),
            five("5"),
            five("9")
        );
        let prices: Prices = toml::from_str(&text).expect("prices");
        for (tokens, dollars) in [
            (0, "1"),
            (100, "1"),
            (101, "5"),
            (200, "5"),
            (201, "9"),
            (u64::MAX, "9"),
        ] {
            assert_eq!(prices.rates(tokens).output, price(dollars), "{tokens}");
        }
    }
}
