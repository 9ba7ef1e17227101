//! Numbers of sending and receiving as users read them.

use crate::numbers::significant;

/// `1 frame`, `2 frames`.
pub(super) fn frames(number: u64) -> String {
    if number == 1 { "1 frame".to_owned() } else { format!("{number} frames") }
}

/// Frames a second: whole ones from 1000 on, below with four digits.
pub(super) fn rate(rate: f64) -> String {
    significant(rate, 4)
}

/// Bits a second, with a unit that leaves one to three digits before the point.
pub(super) fn bit_rate(rate: f64) -> String {
    let units = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")];
    let (factor, unit) = units.into_iter().find(|(factor, _)| rate >= *factor).unwrap_or((1.0, "bit/s"));
    format!("{} {unit}", significant(rate / factor, 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_have_digits() {
        let rates = [0.0, 0.001, 0.5, 1.0 / 3.0, 1.5, 12.0, 999.96, 1000.4, 1_389_000.2];
        let texts = ["0", "0.001", "0.5", "0.3333", "1.5", "12", "1000", "1000", "1389000"];
        assert_eq!(rates.map(rate), texts);
        let rates = [0.0, 240.0, 14_400.0, 9_600_000.0, 9_872_000_000.0];
        assert_eq!(rates.map(bit_rate), ["0 bit/s", "240 bit/s", "14.4 kbit/s", "9.6 Mbit/s", "9.872 Gbit/s"]);
        assert_eq!([0, 1, 2].map(frames), ["0 frames", "1 frame", "2 frames"]);
    }
}
