//! One format each for money, numbers, bytes, durations and percentages.

use std::time::Duration;

use rowmill::cost::Money;

/// A number in groups of three: `12,345`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// An amount as people read it: dollars and cents, and four digits of what is less than a dollar.
/// `$1,234.50`, `$0.01234`.
pub(crate) fn usd(amount: Money) -> String {
    let sign = if amount.is_negative() { "-" } else { "" };
    let pico = u128::from(amount.picodollars().unsigned_abs());
    // As many decimals as it takes to show four digits; never fewer than two.
    let decimals = match pico {
        0 => 2,
        1_000_000_000_000.. => 2,
        _ => (1..=12)
            .find(|n| pico >= 10_u128.pow(12 - n))
            .map_or(12, |first| (first + 3).min(12)),
    };
    let unit = 10_u128.pow(12 - decimals);
    let rounded = (pico + unit / 2) / unit;
    let scale = 10_u128.pow(decimals);
    let whole = u64::try_from(rounded / scale).unwrap_or(u64::MAX);
    let fraction = format!("{:0width$}", rounded % scale, width = decimals as usize);
    let kept = fraction.trim_end_matches('0').len().max(2);
    format!("{sign}${}.{}", count(whole), &fraction[..kept])
}

/// Thousandths as a percentage: `2.5%`, `98%`.
pub(crate) fn percent(thousandths: u64) -> String {
    match thousandths % 10 {
        0 => format!("{}%", thousandths / 10),
        tenth => format!("{}.{tenth}%", thousandths / 10),
    }
}

/// `1 batch`, `3 batches`.
pub(crate) fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// Bytes with a decimal unit: `1.2 MB`.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// A duration in its two largest units: `2h 5m`, `3m 12s`, `5m`, `0.5s`.
pub(crate) fn duration(d: Duration) -> String {
    let seconds = d.as_secs();
    let two = |large: u64, large_unit: char, small: u64, small_unit: char| match small {
        0 => format!("{large}{large_unit}"),
        small => format!("{large}{large_unit} {small}{small_unit}"),
    };
    match seconds {
        0..10 => {
            let text = format!("{:.1}", d.as_secs_f64());
            format!("{}s", text.trim_end_matches(".0"))
        }
        10..60 => format!("{seconds}s"),
        60..3_600 => two(seconds / 60, 'm', seconds % 60, 's'),
        3_600..86_400 => two(seconds / 3_600, 'h', seconds % 3_600 / 60, 'm'),
        _ => two(seconds / 86_400, 'd', seconds % 86_400 / 3_600, 'h'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_amounts_as_people_read_them() {
        for (amount, text) in [
            ("0", "$0.00"),
            ("1234567.5", "$1,234,567.50"),
            ("40", "$40.00"),
            ("1.005", "$1.01"),
            ("0.5", "$0.50"),
            ("0.123456", "$0.1235"),
            ("0.99999", "$1.00"),
            ("0.0020345", "$0.002035"),
            ("0.000000005", "$0.000000005"),
            ("0.000000000001", "$0.000000000001"),
            ("-12.344", "-$12.34"),
        ] {
            assert_eq!(usd(amount.parse().unwrap()), text, "{amount}");
        }
    }

    #[test]
    fn writes_numbers_as_people_read_them() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(
            [0, 25, 980, 1_000].map(percent),
            ["0%", "2.5%", "98%", "100%"]
        );
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500_000), "1.5 MB");
        for (millis, text) in [
            (0, "0s"),
            (300, "0.3s"),
            (1_250, "1.2s"),
            (2_000, "2s"),
            (12_400, "12s"),
            (192_000, "3m 12s"),
            (300_000, "5m"),
            (3_600_000, "1h"),
            (3_725_000, "1h 2m"),
            (90_000_000, "1d 1h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }
}
