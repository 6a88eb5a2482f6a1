//! Parses and formats sizes in bytes. Pure.

/// Parses a size of one whole number and one unit: `800B`, `64kB`, `500MB`, `2GB`, `64KiB`,
/// `500MiB`, `2GiB`. One blank between them is allowed, since [`bytes()`] writes one.
///
/// ```
/// use imgplan::test_support::base::size::parse_size;
/// assert_eq!(parse_size("500MB"), Some(500_000_000));
/// assert_eq!(parse_size("2 GiB"), Some(2 << 30));
/// assert_eq!(parse_size("500"), None);
/// ```
pub fn parse_size(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let bytes_per_unit = match unit.strip_prefix(' ').unwrap_or(unit) {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes_per_unit)
}

/// Formats a number of bytes with a decimal unit: `212 MB`, `1.5 kB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count;
    let mut tenths = 0;
    let mut unit = 0;
    while value >= 1000 && unit + 1 < UNITS.len() {
        tenths = value % 1000 / 100;
        value /= 1000;
        unit += 1;
    }
    if unit > 0 && value < 10 {
        format!("{value}.{tenths} {}", UNITS[unit])
    } else {
        format!("{value} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed() {
        for (text, size) in [
            ("0B", 0),
            ("007B", 7),
            ("1kB", 1_000),
            ("1KB", 1_000),
            ("1KiB", 1_024),
            ("500MB", 500_000_000),
            ("500MiB", 524_288_000),
            ("2 GB", 2_000_000_000),
            ("2GiB", 2_147_483_648),
        ] {
            assert_eq!(parse_size(text), Some(size), "{text}");
        }
        for text in ["", "5", "MB", "1.5GB", "-1MB", "5  MB", " 5MB", "5mb", "5M", "5TB", "5MBé"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
        assert_eq!(parse_size("99999999999GB"), None);
        assert_eq!(parse_size("99999999999999999999B"), None);
    }

    #[test]
    fn sizes_are_formatted() {
        let texts: Vec<String> =
            [0, 999, 1000, 1_550, 12_345, 212_000_000, u64::MAX].map(bytes).into();
        assert_eq!(texts, ["0 B", "999 B", "1.0 kB", "1.5 kB", "12 kB", "212 MB", "18446744 TB"]);
    }
}
