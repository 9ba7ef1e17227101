//! Numbers as users read them.

/// With so many digits that say something, and never fewer than stand before the point: what is little does not look like nothing. Zeros at the
/// end of a fraction are left out.
pub(crate) fn significant(number: f64, digits: i32) -> String {
    if number == 0.0 || !number.is_finite() {
        return "0".to_owned();
    }
    let before = number.abs().log10().floor() as i32 + 1;
    let text = format!("{number:.*}", (digits - before).clamp(0, 12) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
