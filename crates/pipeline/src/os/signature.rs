//! Signatures in p0f's notation, as `sig = version:ttl:options:mss:window,scale:layout:quirks:payload`.

use super::syn::{Layout, Quirks};

/// What a database says that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct SignatureError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// How large the window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    Any,
    Octets(u16),
    /// A multiple of so much.
    MultipleOf(u16),
    /// So many maximum segments.
    Segments(u16),
    /// So many maximum packets.
    Packets(u16),
}

/// What the SYNs of a system have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signature {
    /// IPv6 or not; `None` for both.
    pub(super) v6: Option<bool>,
    /// What the sender starts with.
    pub(super) ttl: u8,
    /// Any TTL up to that may be the first.
    pub(super) any_ttl: bool,
    pub(super) ip_options: u16,
    pub(super) mss: Option<u16>,
    pub(super) window: Window,
    pub(super) scale: Option<u8>,
    pub(super) layout: Layout,
    pub(super) padding: u8,
    pub(super) quirks: Quirks,
    pub(super) payload: Option<bool>,
}

impl Signature {
    /// What stands behind `sig =`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split(':').map(str::trim).collect();
        let [version, ttl, ip_options, mss, window, layout, quirks, payload] = fields[..] else {
            return Err(format!("{text:?} has {} parts between colons, where a signature has 8", fields.len()));
        };
        let number = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is no number up to 65535"));
        let any_or = |text: &str| if text == "*" { Ok(None) } else { number(text).map(Some) };
        let (window, scale) = window.split_once(',').ok_or_else(|| format!("{window:?} is not window,scale"))?;
        let window = match window {
            "*" => Window::Any,
            _ if window.starts_with("mss*") => Window::Segments(number(&window[4..])?),
            _ if window.starts_with("mtu*") => Window::Packets(number(&window[4..])?),
            _ if window.starts_with('%') => Window::MultipleOf(number(&window[1..])?.max(1)),
            _ => Window::Octets(number(window)?),
        };
        let (layout, padding) = layout_of(layout)?;
        let start = ttl.split(['-', '+']).next().unwrap_or_default();
        let start: u8 = start.parse().map_err(|_| format!("{ttl:?} is no TTL"))?;
        // "54+10": what was seen, and how many hops more it started with.
        let hops = ttl.split_once('+').and_then(|(_, hops)| hops.parse().ok()).unwrap_or(0);
        Ok(Self {
            v6: match version {
                "*" => None,
                "4" => Some(false),
                "6" => Some(true),
                other => return Err(format!("{other:?} is no version of IP: 4, 6 or *")),
            },
            ttl: start.saturating_add(hops),
            any_ttl: ttl.ends_with('-'),
            ip_options: number(ip_options)?,
            mss: any_or(mss)?,
            window,
            scale: any_or(scale)?.map(|scale| scale.min(255) as u8),
            layout,
            padding,
            quirks: quirks_of(quirks)?,
            payload: match payload {
                "*" => None,
                "0" => Some(false),
                "+" => Some(true),
                other => return Err(format!("{other:?} is no class of payloads: 0, + or *")),
            },
        })
    }
}

fn layout_of(text: &str) -> Result<(Layout, u8), String> {
    let (mut layout, mut padding) = (Layout::default(), 0);
    for name in text.split(',').filter(|name| !name.is_empty()) {
        let kind = match name {
            "nop" => 1,
            "mss" => 2,
            "ws" => 3,
            "sok" => 4,
            "sack" => 5,
            "ts" => 8,
            _ if name.starts_with("eol+") => {
                padding = name[4..].parse().map_err(|_| format!("{name:?} is no number of octets"))?;
                0
            }
            _ if name.starts_with('?') => name[1..].parse().map_err(|_| format!("{name:?} is no kind of option"))?,
            _ => return Err(format!("{name:?} is no TCP option")),
        };
        if !layout.push(kind) {
            return Err(format!("{text:?} has more options than a segment holds"));
        }
    }
    Ok((layout, padding))
}

fn quirks_of(text: &str) -> Result<Quirks, String> {
    let mut quirks = Quirks::default();
    for name in text.split(',').filter(|name| !name.is_empty()) {
        let known = Quirks::NAMES.iter().find(|(known, _)| *known == name);
        let (_, bit) = known.ok_or_else(|| format!("{name:?} is no quirk"))?;
        quirks.0 |= bit;
    }
    Ok(quirks)
}
