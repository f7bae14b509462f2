//! Sizes in bytes, as people write and read them.

/// The units, each 1024 times the one before.
const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// Reads a number of bytes, with a unit or without: `500`, `10GiB`, `1.5 TiB`; `G` and `GB` mean `GiB`.
///
/// # Errors
/// What is wrong with the text.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("'{text}' is no size: write bytes or a number with KiB, MiB, GiB or TiB");
    let text = text.trim();
    let digits = text.find(|is: char| !is.is_ascii_digit() && is != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    let letter = unit.chars().next().map_or('B', |letter| letter.to_ascii_uppercase());
    let power = UNITS.iter().position(|known| known.starts_with(letter)).ok_or_else(wrong)?;
    let spelled = [&UNITS[power][..1], UNITS[power], &format!("{letter}B")]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(unit));
    if !unit.is_empty() && !spelled {
        return Err(wrong());
    }
    let bytes = match number.parse::<u64>() {
        Ok(number) => u128::from(number) << (10 * power),
        Err(_fraction) => {
            (number.parse::<f64>().map_err(|_none| wrong())?
                * 1024_f64.powi(i32::try_from(power).unwrap_or(0))) as u128
        }
    };
    let max = i64::MAX.unsigned_abs();
    u64::try_from(bytes)
        .ok()
        .filter(|bytes| *bytes <= max)
        .ok_or_else(|| format!("'{text}' is too much"))
}

/// Says a number of bytes in the unit that suits it.
pub(super) fn format(bytes: u64) -> String {
    let power = UNITS.len() - 1;
    let power = (0..power).find(|power| bytes >> (10 * (power + 1)) == 0).unwrap_or(power);
    if power == 0 {
        return format!("{bytes} B");
    }
    let number = bytes as f64 / 1024_f64.powi(i32::try_from(power).unwrap_or(0));
    format!("{number:.1} {}", UNITS[power])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let sizes = [
            ("0", 0),
            ("500", 500),
            ("1k", 1024),
            ("10GiB", 10 << 30),
            ("10 GB", 10 << 30),
            ("1.5 TiB", 3 << 39),
            ("7b", 7),
        ];
        for (text, bytes) in sizes {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "GiB", "-1", "1.2.3", "10 apples", "1KiBi", "9000000 PiB", "1e5"] {
            assert!(parse(wrong).is_err(), "{wrong}: {:?}", parse(wrong));
        }
    }

    #[test]
    fn sizes_are_said_in_a_unit_that_suits_them() {
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 40, "1.0 TiB")];
        for (bytes, words) in sizes {
            assert_eq!(format(bytes), words);
        }
    }
}
