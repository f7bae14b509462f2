//! Sizes, rates and durations as people write and read them: `20 GiB`, `2 MiB/s`, `off`, `3 min 20 s`.
//!
//! `k`, `M`, `G`, `T` mean powers of 1024, as do `KiB` and so on; `kB`, `MB`, `GB`, `TB` mean powers of 1000.

/// Reason to refuse a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write bytes or a number with a unit, such as 512M or 20GiB")]
pub(crate) struct ParseError(String);

/// Reads a size in bytes.
pub(crate) fn parse(text: &str) -> Result<u64, ParseError> {
    let wrong = || ParseError(text.to_owned());
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit_bytes(unit.trim()).ok_or_else(wrong)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit).ok_or_else(wrong);
    }
    let number: f64 = number.parse().map_err(|_not_a_number| wrong())?;
    let bytes = number * unit as f64;
    if bytes.is_finite() && bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(wrong()) }
}

fn unit_bytes(unit: &str) -> Option<u64> {
    let lower = unit.to_ascii_lowercase();
    let power = match lower.bytes().next() {
        None | Some(b'b') => 0,
        Some(b'k') => 1,
        Some(b'm') => 2,
        Some(b'g') => 3,
        Some(b't') => 4,
        Some(_) => return None,
    };
    match (power, lower.get(1..).unwrap_or("")) {
        (0, "") => Some(1),
        (1.., "" | "ib") => Some(1024_u64.pow(power)),
        (1.., "b") => Some(1000_u64.pow(power)),
        _ => None,
    }
}

/// Reads a rate in bytes per second; `0` and `off` are no limit.
pub(crate) fn parse_rate(text: &str) -> Result<Option<u64>, ParseError> {
    let trimmed = text.trim();
    if trimmed.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let rate = parse(trimmed.strip_suffix("/s").unwrap_or(trimmed))?;
    Ok((rate > 0).then_some(rate))
}

/// A size as a person reads it, in units of 1024.
pub(crate) fn display(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Seconds as a person reads them.
pub(crate) fn display_seconds(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_the_forms_that_people_write() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512k", 512 << 10),
            ("20GiB", 20 << 30),
            ("20 gib", 20 << 30),
            ("1.5M", 3 << 19),
            ("2MB", 2_000_000),
            ("1t", 1 << 40),
            ("7B", 7),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "-1", "x", "5 miles", "1e9", "1..2", "99999999999T", "5BB", "5kk"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(parse_rate("off"), Ok(None));
        assert_eq!(parse_rate("0"), Ok(None));
        assert_eq!(parse_rate("2 MiB/s"), Ok(Some(2 << 20)));
    }

    #[test]
    fn sizes_are_shown_in_units_of_1024() {
        assert_eq!(display(0), "0 B");
        assert_eq!(display(1023), "1023 B");
        assert_eq!(display(1 << 30), "1.0 GiB");
        assert_eq!(display((1 << 20) - 1), "1.0 MiB");
        assert_eq!(display(u64::MAX), "16.0 EiB");
        assert_eq!(display_seconds(61), "1 min 1 s");
    }
}
