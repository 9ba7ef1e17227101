//! Names of ports, as users of netmap know them.
//!
//! ```text
//! eth1, netmap:eth1    all rings of a NIC          vale0:1             a port of a VALE switch
//! netmap:eth1-3        one ring of a NIC           netmap:x{1, x}1     the two ends of a pipe
//! netmap:eth1^         what the host sends         netmap:eth1^2       one of several host rings
//! ```
//! Then, after a slash, any of `r` and `t` (a monitor of what the port receives, or sends), `z` (a monitor without copies), `x` (nobody
//! else may open it) and `R` (only the receive rings, which is what is done anyway); then perhaps `@3`, the number of the memory to use.

use std::fmt;
use std::str::FromStr;

use capture::CaptureError;

use crate::options::bad;

/// The longest name that a request holds (`NETMAP_REQ_IFNAMSIZ` with the zero at its end).
const LONGEST: usize = 63;
/// `NETMAP_RING_MASK`: numbers of rings are below.
const RINGS: u16 = 0x0fff;

/// A port of netmap, and which part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// As the module knows it: without prefix and suffix.
    pub name: String,
    /// Which of its rings.
    pub rings: Rings,
    /// Watch what somebody else's port receives.
    pub monitor_rx: bool,
    /// Watch what somebody else's port sends.
    pub monitor_tx: bool,
    /// A monitor that is lent the buffers themselves.
    pub zero_copy: bool,
    /// Nobody else may open the same rings.
    pub exclusive: bool,
    /// The number of the memory to use; 0 leaves it to the module.
    pub memory: u16,
}

/// Rings of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rings {
    /// All that the port has.
    All,
    /// One.
    One(u16),
    /// One between the NIC and the host.
    Host(u16),
}

impl Port {
    /// All rings of the port that the module knows as `name`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let (monitor_rx, monitor_tx, zero_copy, exclusive) = (false, false, false, false);
        Self { name, rings: Rings::All, monitor_rx, monitor_tx, zero_copy, exclusive, memory: 0 }
    }

    /// The interface that it belongs to, if it belongs to one: neither a VALE port nor a pipe.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        (!self.name.contains(['{', '}', ':'])).then_some(&self.name)
    }

    /// Whether it watches somebody else's port.
    #[must_use]
    pub fn is_monitor(&self) -> bool {
        self.monitor_rx || self.monitor_tx
    }
}

impl FromStr for Port {
    type Err = CaptureError;

    fn from_str(text: &str) -> Result<Self, CaptureError> {
        let wrong = |allowed: &str| bad("port", text, allowed);
        let rest = text.strip_prefix("netmap:").unwrap_or(text);
        let vale = rest.starts_with("vale") && rest.contains(':');
        let (name, suffix) = rest.split_at(name_length(rest));
        if let Some((switch, port)) = name.split_once(':') {
            if !vale {
                return Err(wrong("eth1, netmap:eth1, vale0:1, or a pipe like netmap:x{1"));
            }
            if !is_identifier(switch) || port.is_empty() {
                return Err(wrong("a port of a VALE switch is named like vale0:1"));
            }
        }
        if let Some(at) = name.find(['{', '}']) {
            let (base, id) = name.split_at(at);
            if base.is_empty() || !is_identifier(&id[1..]) || id.len() == 1 {
                return Err(wrong("a pipe has two ends, named like netmap:x{1 and netmap:x}1"));
            }
        }
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '\0') {
            return Err(wrong("the name of an interface, of a VALE port or of a pipe"));
        }
        let mut port = Self::new(name);
        let most = if port.interface().is_some() { 15 } else { LONGEST };
        if name.len() > most {
            return Err(wrong(&format!("at most {most} octets for the name without prefix and suffix")));
        }
        port.read_suffix(suffix).map_err(|allowed| wrong(&allowed))?;
        Ok(port)
    }
}

impl Port {
    fn read_suffix(&mut self, suffix: &str) -> Result<(), String> {
        let (suffix, memory) = suffix.split_once('@').map_or((suffix, None), |(rest, memory)| (rest, Some(memory)));
        if let Some(memory) = memory {
            self.memory = memory
                .parse()
                .ok()
                .filter(|&number| number != 0 && is_number(memory))
                .ok_or("@ is followed by the number of a memory, 1 to 65535")?;
        }
        let (rings, flags) = suffix.split_once('/').map_or((suffix, None), |(rings, flags)| (rings, Some(flags)));
        let number = |text: &str| {
            let number = text.parse().ok().filter(|&number| number < RINGS && is_number(text));
            number.ok_or(format!("{text:?} is no ring: 0 to {}", RINGS - 1))
        };
        self.rings = match rings.split_at_checked(1) {
            None => Rings::All,
            Some(("-", ring)) => Rings::One(number(ring)?),
            Some(("^", "")) => Rings::Host(0),
            Some(("^", ring)) => Rings::Host(number(ring)?),
            Some(("*", _)) => {
                return Err("the rings of the NIC (eth1) and of the host (eth1^) are two ports here".into());
            }
            Some(_) => return Err("behind the name: -3 for one ring, ^ for the host's, / for flags".into()),
        };
        if matches!(self.rings, Rings::Host(_)) && self.interface().is_none() {
            return Err("only interfaces have host rings (^)".into());
        }
        if flags.is_some_and(str::is_empty) {
            return Err("/ is followed by flags: r, t, z, x".into());
        }
        for flag in flags.unwrap_or_default().chars() {
            match flag {
                'r' => self.monitor_rx = true,
                't' => self.monitor_tx = true,
                'z' => self.zero_copy = true,
                'x' => self.exclusive = true,
                'R' => {}
                'T' => return Err("/T asks for the transmit rings only, by which nothing is received".into()),
                other => {
                    return Err(format!("/{other}: the flags are r, t (a monitor of what is received, sent), z, x"));
                }
            }
        }
        if self.zero_copy && !self.is_monitor() {
            return Err("/z is for monitors: /rz, /tz or /rtz".into());
        }
        Ok(())
    }
}

/// How a name is written, so that it is read as the same.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.name.contains(':') {
            f.write_str("netmap:")?;
        }
        f.write_str(&self.name)?;
        match self.rings {
            Rings::All => {}
            Rings::One(ring) => write!(f, "-{ring}")?,
            Rings::Host(0) => f.write_str("^")?,
            Rings::Host(ring) => write!(f, "^{ring}")?,
        }
        let flags = [(self.monitor_rx, 'r'), (self.monitor_tx, 't'), (self.zero_copy, 'z'), (self.exclusive, 'x')];
        for (number, (_, flag)) in flags.iter().filter(|(set, _)| *set).enumerate() {
            write!(f, "{}{flag}", if number == 0 { "/" } else { "" })?;
        }
        if self.memory != 0 {
            write!(f, "@{}", self.memory)?;
        }
        Ok(())
    }
}

/// Where the suffix begins. A hyphen belongs to the name (br-lan) unless it is followed by a number and nothing else of the name.
fn name_length(text: &str) -> usize {
    let end = text.find(['*', '^', '/', '@']).unwrap_or(text.len());
    let ring = text[..end].rfind('-').filter(|&at| is_number(&text[at + 1..end]));
    ring.unwrap_or(end)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_identifier(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
