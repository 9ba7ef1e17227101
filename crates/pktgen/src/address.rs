//! What users write: ranges of addresses and ports in pkt-gen's own form, MAC addresses, rates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::GenError;

/// A range of addresses with ports: pkt-gen's `10.0.0.1:2000-10.0.0.9:2100`; ports and the end may be left out, IPv6 addresses with a port
/// stand in brackets: `[2001:db8::1]:2000-[2001:db8::9]:2100`.
///
/// Addresses and ports run through their ranges independently of each other, ports first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The first address.
    pub first: IpAddr,
    /// How many addresses, from 1 to all of IPv4.
    pub addresses: u64,
    /// The first port.
    pub port: u16,
    /// How many ports, at least 1.
    pub ports: u32,
}

/// pkt-gen's port where none is named.
const DEFAULT_PORT: u16 = 1234;

impl Endpoints {
    /// One address, and pkt-gen's port 1234.
    #[must_use]
    pub const fn one(address: IpAddr) -> Self {
        Self { first: address, addresses: 1, port: DEFAULT_PORT, ports: 1 }
    }

    /// The `n`th combination, counted round and round. The address of IPv4 is in the lower half of the number.
    #[inline]
    #[must_use]
    pub fn nth(&self, n: u64) -> (u128, u16) {
        let port = self.port.wrapping_add((n % u64::from(self.ports)) as u16);
        let address = u128::from(n / u64::from(self.ports) % self.addresses);
        (number(self.first).wrapping_add(address), port)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// How many addresses lie from `first` to `last`: `None` if they are of different families, the wrong way round, or more than 2^32.
#[must_use]
pub fn ip_range_of(first: IpAddr, last: IpAddr) -> Option<u64> {
    if first.is_ipv4() != last.is_ipv4() {
        return None;
    }
    let count = number(last).checked_sub(number(first))?.checked_add(1)?;
    u64::try_from(count).ok().filter(|count| *count <= 1 << 32)
}

impl FromStr for Endpoints {
    type Err = GenError;

    fn from_str(text: &str) -> Result<Self, GenError> {
        let wrong = || GenError::BadValue {
            what: "address range",
            value: text.to_owned(),
            allowed: "IP[:PORT][-IP[:PORT]], as in 10.0.0.1:2000-10.0.0.9:2100 (IPv6 with a port in brackets), up to 2^32 addresses",
        };
        let (first, last) = text.split_once('-').map_or((text, None), |(first, last)| (first, Some(last)));
        let (address, port) = endpoint(first).ok_or_else(wrong)?;
        let port = port.unwrap_or(DEFAULT_PORT);
        let Some(last) = last else { return Ok(Self { port, ..Self::one(address) }) };
        let (last_address, last_port) = endpoint(last).ok_or_else(wrong)?;
        let addresses = ip_range_of(address, last_address).ok_or_else(wrong)?;
        let ports = u32::from(last_port.unwrap_or(port)).checked_sub(u32::from(port)).ok_or_else(wrong)? + 1;
        Ok(Self { first: address, addresses, port, ports })
    }
}

fn endpoint(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address, None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once("]:")?;
        return Some((address.parse::<Ipv6Addr>().ok()?.into(), Some(port.parse().ok()?)));
    }
    let (address, port) = text.split_once(':')?;
    Some((address.parse::<Ipv4Addr>().ok()?.into(), Some(port.parse().ok()?)))
}

/// A MAC address, or pkt-gen's range `00:11:22:33:44:00-00:11:22:33:44:ff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacRange {
    /// The first.
    pub first: [u8; 6],
    /// How many, at least 1.
    pub count: u64,
}

impl MacRange {
    /// One address.
    #[must_use]
    pub const fn one(address: [u8; 6]) -> Self {
        Self { first: address, count: 1 }
    }

    /// The `n`th, counted round and round.
    #[inline]
    #[must_use]
    pub fn nth(&self, n: u64) -> [u8; 6] {
        if self.count == 1 {
            return self.first;
        }
        let [_, _, octets @ ..] = (mac_number(self.first) + n % self.count).to_be_bytes();
        octets
    }
}

fn mac_number([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

impl FromStr for MacRange {
    type Err = GenError;

    fn from_str(text: &str) -> Result<Self, GenError> {
        let wrong = || GenError::BadValue {
            what: "MAC address",
            value: text.to_owned(),
            allowed: "MAC[-MAC] with colons, as in 00:11:22:33:44:55",
        };
        let (first, last) = text.split_once('-').map_or((text, text), |(first, last)| (first, last));
        let (first, last) = mac(first).zip(mac(last)).ok_or_else(wrong)?;
        let count = mac_number(last).checked_sub(mac_number(first)).ok_or_else(wrong)? + 1;
        Ok(Self { first, count })
    }
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let mut octets = [0; 6];
    let mut parts = text.split(':');
    for octet in &mut octets {
        *octet = parts
            .next()
            .filter(|part| (1..=2).contains(&part.len()))
            .and_then(|part| u8::from_str_radix(part, 16).ok())?;
    }
    parts.next().is_none().then_some(octets)
}

/// A number without its decimal unit: `k`, `M`, `G`; and how much that is.
fn scaled(text: &str) -> (&str, u64) {
    let units = [("k", 1_000), ("K", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)];
    let found = units.into_iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    found.unwrap_or((text, 1))
}

/// A number of frames: `1000`, `20k`, `1.389M`, to the frame.
///
/// # Errors
/// [`GenError::BadValue`].
pub fn frames(text: &str) -> Result<u64, GenError> {
    let wrong = || GenError::BadValue {
        what: "number of frames",
        value: text.to_owned(),
        allowed: "a whole number, as in 1000, 20k or 1.389M",
    };
    let (digits, factor) = scaled(text);
    let (whole, part) = match digits.split_once('.') {
        Some((whole, part)) if !part.is_empty() && factor > 1 => (whole, part.trim_end_matches('0')),
        Some(_) => return Err(wrong()),
        None => (digits, ""),
    };
    let number = |digits: &str| match digits.bytes().all(|digit| digit.is_ascii_digit()) {
        true => digits.parse::<u64>().ok(),
        false => None,
    };
    let sum = || {
        let step = factor / 10u64.checked_pow(part.len().try_into().ok()?)?;
        let part = if part.is_empty() { 0 } else { number(part).filter(|_| step > 0)? * step };
        number(whole)?.checked_mul(factor)?.checked_add(part)
    };
    sum().ok_or_else(wrong)
}

/// Frames a second: `1000`, `20k`, `1.389M`; `0` is as fast as it goes, like pkt-gen's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub Option<f64>);

impl FromStr for Rate {
    type Err = GenError;

    fn from_str(text: &str) -> Result<Self, GenError> {
        let wrong = || GenError::BadValue {
            what: "rate",
            value: text.to_owned(),
            allowed: "frames per second from 0.001 to 1G, as in 1000, 20k or 1.389M; 0 or max for as fast as it goes",
        };
        if text == "max" {
            return Ok(Self(None));
        }
        let (digits, factor) = scaled(text);
        let number: f64 = digits.parse().map_err(|_| wrong())?;
        let rate = number * factor as f64;
        match rate {
            0.0 => Ok(Self(None)),
            0.001..=1e9 => Ok(Self(Some(rate))),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_pkt_gens() {
        let range: Endpoints = "10.0.0.1:2000-10.0.0.9:2100".parse().unwrap();
        assert_eq!(range, Endpoints { first: "10.0.0.1".parse().unwrap(), addresses: 9, port: 2000, ports: 101 });
        assert_eq!(range.nth(0), (0x0a00_0001, 2000));
        assert_eq!(range.nth(100), (0x0a00_0001, 2100));
        assert_eq!(range.nth(101), (0x0a00_0002, 2000));
        assert_eq!(range.nth(101 * 9), (0x0a00_0001, 2000));
        let one: Endpoints = "10.0.0.1".parse().unwrap();
        assert_eq!((one.addresses, one.port, one.ports), (1, 1234, 1));
        let v6: Endpoints = "[2001:db8::1]:53-[2001:db8::2]:53".parse().unwrap();
        assert_eq!((v6.addresses, v6.port, v6.ports), (2, 53, 1));
        assert_eq!("2001:db8::7".parse::<Endpoints>().unwrap().first, "2001:db8::7".parse::<IpAddr>().unwrap());
        for wrong in [
            "",
            "10.0.0",
            "10.0.0.9-10.0.0.1",
            "10.0.0.1-2001:db8::1",
            "10.0.0.1:70000",
            "10.0.0.1:9-10.0.0.1:8",
            "::-ffff::",
        ] {
            assert!(wrong.parse::<Endpoints>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn mac_addresses() {
        let range: MacRange = "00:11:22:33:44:fe-00:11:22:33:45:01".parse().unwrap();
        assert_eq!(range.count, 4);
        assert_eq!(range.nth(2), [0, 0x11, 0x22, 0x33, 0x45, 0]);
        assert_eq!(range.nth(4), range.first);
        for wrong in
            ["", "00:11:22:33:44", "00:11:22:33:44:55:66", "0:0:0:0:0:zz", "00:00:00:00:00:02-00:00:00:00:00:01"]
        {
            assert!(wrong.parse::<MacRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_of_frames_are_exact() {
        let good = [("0", 0), ("1000", 1000), ("1k", 1000), ("10M", 10_000_000), ("2G", 2_000_000_000), ("1.5K", 1500)];
        for (text, number) in good {
            assert_eq!(frames(text).unwrap(), number, "{text}");
        }
        assert_eq!(frames("1.389M").unwrap(), 1_389_000);
        assert_eq!(frames("1.5000k").unwrap(), 1500);
        assert_eq!(frames(&u64::MAX.to_string()).unwrap(), u64::MAX);
        for wrong in ["", "k", "-1", "+1", "1.5", "1.", "1.k", "1.0005k", "1e3", "1 k", "1kk", "0x10", "99999999999G"] {
            let error = frames(wrong).unwrap_err().to_string();
            assert!(error.contains("20k or 1.389M"), "{wrong}: {error}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!("1.389M".parse::<Rate>().unwrap(), Rate(Some(1_389_000.0)));
        assert_eq!("20k".parse::<Rate>().unwrap(), Rate(Some(20_000.0)));
        assert_eq!("0".parse::<Rate>().unwrap(), Rate(None));
        assert_eq!("max".parse::<Rate>().unwrap(), Rate(None));
        for wrong in ["", "k", "-1", "NaN", "1e99", "inf", "1 k"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
