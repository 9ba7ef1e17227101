//! Networks as users write them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What is wrong with the text of a network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NetworkError {
    /// Not `address/prefix`.
    #[error("{0:?} is not a network such as 10.0.0.0/8, 192.0.2.1 or fd00::/8")]
    Form(String),
    /// An address with bits behind the prefix.
    #[error("{0:?} has bits set behind the prefix: is {1} meant?")]
    Bits(String, String),
}

/// A range of addresses with a common prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    pub(super) const fn v4(first: [u8; 4], prefix: u8) -> Self {
        let [a, b, c, d] = first;
        Self { first: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    pub(super) const fn v6(first: [u16; 8], prefix: u8) -> Self {
        let [a, b, c, d, e, f, g, h] = first;
        Self { first: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix }
    }

    /// The first and the last address as numbers, if it is of IPv4.
    pub(super) fn range_v4(&self) -> Option<(u32, u32)> {
        let IpAddr::V4(first) = self.first else { return None };
        let first = u32::from(first);
        Some((first, first | u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0)))
    }

    /// The first and the last address as numbers, if it is of IPv6.
    pub(super) fn range_v6(&self) -> Option<(u128, u128)> {
        let IpAddr::V6(first) = self.first else { return None };
        let first = u128::from(first);
        Some((first, first | u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0)))
    }

    pub(super) const fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let form = || NetworkError::Form(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = prefix.map_or(Ok(bits), str::parse).map_err(|_| form())?;
        if prefix > bits {
            return Err(form());
        }
        let first = match address {
            IpAddr::V4(v4) => {
                let behind = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & !behind).into())
            }
            IpAddr::V6(v6) => {
                let behind = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & !behind).into())
            }
        };
        if first != address {
            return Err(NetworkError::Bits(text.to_owned(), format!("{first}/{prefix}")));
        }
        Ok(Self { first, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_mistakes_are_told() {
        let range = |text: &str| text.parse::<Network>().unwrap().range_v4().unwrap();
        assert_eq!(range("10.0.0.0/8"), (0x0a00_0000, 0x0aff_ffff));
        assert_eq!(range("192.0.2.1"), (0xc000_0201, 0xc000_0201));
        assert_eq!(range("0.0.0.0/0"), (0, u32::MAX));
        let v6: Network = "fd00::/8".parse().unwrap();
        assert_eq!(v6.range_v6(), Some((0xfd << 120, (0xfe << 120) - 1)));
        assert_eq!("::/0".parse::<Network>().unwrap().range_v6(), Some((0, u128::MAX)));
        for wrong in ["", "10", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "fd00::/129", "home"] {
            assert_eq!(wrong.parse::<Network>(), Err(NetworkError::Form(wrong.to_owned())), "{wrong}");
        }
        let error = "192.168.1.1/24".parse::<Network>().unwrap_err().to_string();
        assert!(error.contains("192.168.1.0/24"), "{error}");
    }
}
