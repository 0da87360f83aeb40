//! Numbers as text, rounded and grouped by their decimal digits.

use std::borrow::Cow;

use minijinja::Error;
use minijinja::value::{Kwargs, Value, ValueKind};

use super::wrong;
use crate::template::row::{is_null, plain_null};

/// The filter `number`.
pub(super) fn number(
    value: &Value,
    decimals: Option<usize>,
    thousands: Option<Cow<'_, str>>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let decimals = match decimals {
        Some(decimals) => Some(decimals),
        None => kwargs.get("decimals")?,
    };
    let thousands = match &thousands {
        Some(thousands) => thousands,
        None => kwargs.get::<Option<&str>>("thousands")?.unwrap_or(""),
    };
    kwargs.assert_all_used()?;
    if is_null(value) {
        return Ok(plain_null());
    }
    let digits =
        Digits::of(value).ok_or_else(|| wrong("`number` got a value that is no number"))?;
    let rounded = match decimals {
        Some(decimals) => digits.round(decimals.min(100)),
        None => digits,
    };
    Ok(Value::from(rounded.write(thousands)))
}

/// A decimal number as text, so that no digit is lost and rounding follows the digits that a user
/// sees: 2.675 is 2.68 although its float is a little less.
struct Digits {
    negative: bool,
    whole: String,
    fraction: String,
}

impl Digits {
    fn of(value: &Value) -> Option<Digits> {
        let text = match value.kind() {
            ValueKind::String => value.as_str()?.trim().to_owned(),
            ValueKind::Number if value.is_integer() => value.to_string(),
            // `Display` of floats is the shortest text, without an exponent.
            ValueKind::Number => f64::try_from(value.clone())
                .ok()
                .filter(|v| v.is_finite())?
                .to_string(),
            _ => return None,
        };
        match Digits::parse(&text) {
            Some(digits) => Some(digits),
            None => Digits::parse(
                &text
                    .parse::<f64>()
                    .ok()
                    .filter(|v| v.is_finite())?
                    .to_string(),
            ),
        }
    }

    fn parse(text: &str) -> Option<Digits> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if unsigned.is_empty() || whole.is_empty() || !digits(whole) || !digits(fraction) {
            return None;
        }
        let whole = match whole.trim_start_matches('0') {
            "" => "0",
            whole => whole,
        };
        Some(Digits {
            negative: text.starts_with('-'),
            whole: whole.to_owned(),
            fraction: fraction.to_owned(),
        })
    }

    fn round(mut self, decimals: usize) -> Digits {
        if self.fraction.len() <= decimals {
            self.fraction
                .extend(std::iter::repeat_n('0', decimals - self.fraction.len()));
            return self;
        }
        let up = self.fraction.as_bytes()[decimals] >= b'5';
        self.fraction.truncate(decimals);
        if up {
            let mut all: Vec<u8> = [self.whole.as_bytes(), self.fraction.as_bytes()].concat();
            match all.iter().rposition(|&digit| digit != b'9') {
                Some(place) => {
                    all[place] += 1;
                    all[place + 1..].fill(b'0');
                }
                None => {
                    all.fill(b'0');
                    all.insert(0, b'1');
                }
            }
            let fraction = all.split_off(all.len() - decimals);
            self.whole = all.into_iter().map(char::from).collect();
            self.fraction = fraction.into_iter().map(char::from).collect();
        }
        self
    }

    fn write(&self, thousands: &str) -> String {
        let mut out = String::new();
        let is_zero = self.whole == "0" && self.fraction.bytes().all(|b| b == b'0');
        if self.negative && !is_zero {
            out.push('-');
        }
        for (place, digit) in self.whole.chars().enumerate() {
            if place > 0 && (self.whole.len() - place).is_multiple_of(3) {
                out.push_str(thousands);
            }
            out.push(digit);
        }
        if !self.fraction.is_empty() {
            out.push('.');
            out.push_str(&self.fraction);
        }
        out
    }
}
