//! Names of services by transport and port: IANA's, as the system's services file has them, and the user's own.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::set16::Set16;

/// Octets of a name at most: IANA's have 15 (RFC 6335), some systems' a few more.
const NAME_OCTETS: usize = 24;

/// Octets of the system's services file that are read at most.
const LARGEST: u64 = 4 << 20;

/// What a record says of a service: `"service":{"name":"...","insecure":true},` and how many octets of it count.
pub(crate) type ServiceText = ([u8; 64], u8);

/// Transports that have ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP and UDP-Lite.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// By its number in the IP header.
    #[inline(always)]
    #[must_use]
    pub const fn of(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 | 136 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        match name {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "sctp" => Some(Self::Sctp),
            _ => None,
        }
    }
}

/// What is wrong with an entry of the user's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ServiceError {
    /// No port with a transport.
    #[error("{0:?} is no port with its transport such as \"8443/tcp\", \"5000/udp\" or \"3868/sctp\"")]
    Port(String),
    /// No name.
    #[error("{0:?} is no name of a service: 1 to 24 letters, digits, dots, dashes and underscores")]
    Name(String),
}

/// A port of a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Port(u16, Protocol);

impl FromStr for Port {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let port = text.split_once('/').and_then(|(port, transport)| {
            let port = port.trim().parse().ok().filter(|&port| port != 0)?;
            Some(Self(port, Protocol::of_name(&transport.trim().to_ascii_lowercase())?))
        });
        port.ok_or_else(|| ServiceError::Port(text.to_owned()))
    }
}

/// Ports and what their services are called.
#[derive(Clone)]
pub struct Services {
    /// For each transport the ports that have a name: most packets have one that has none.
    named: [Set16; 3],
    /// For each transport and port the number of a text. Port 0 has none.
    ports: [Box<[u16; 65_536]>; 3],
    /// The first is empty.
    texts: Vec<ServiceText>,
    numbers: HashMap<String, u16>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("names", &self.numbers.len()).finish_non_exhaustive()
    }
}

impl Services {
    /// Of the system's services file at `path`, if there is one, and the few that are built in.
    #[must_use]
    pub fn of_system(path: &Path) -> Self {
        let text = std::fs::File::open(path).and_then(|file| {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::io::Read::take(file, LARGEST), &mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        });
        // Of two names the first counts: those that are built in are for ports that it does not name.
        Self::parse(&[text.unwrap_or_default().as_str(), BUILT_IN].join("\n"))
    }

    /// Of a small list of IANA's names.
    #[must_use]
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN)
    }

    /// Lines of `name port/transport aliases # comment`, as in services(5). Of two names for a port the first counts; lines of another form
    /// say nothing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let zeros = || vec![0_u16; 65_536].try_into().unwrap_or_else(|_| unreachable!("so many were made"));
        let mut services = Self {
            named: Default::default(),
            ports: [zeros(), zeros(), zeros()],
            texts: vec![([0; 64], 0)],
            numbers: HashMap::new(),
        };
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let (Some(name), Some(port)) = (words.next(), words.next()) else { continue };
            let (true, Ok(Port(port, protocol))) = (is_name(name), port.parse()) else { continue };
            if services.ports[protocol as usize][usize::from(port)] == 0 {
                services.set(Port(port, protocol), name);
            }
        }
        services
    }

    /// Names a port (`8443/tcp`), whatever it was called before.
    ///
    /// # Errors
    /// If it is no port, or no name.
    pub fn add(&mut self, port: &str, name: &str) -> Result<(), ServiceError> {
        let port = port.parse()?;
        if !is_name(name) {
            return Err(ServiceError::Name(name.to_owned()));
        }
        self.set(port, name);
        Ok(())
    }

    fn set(&mut self, Port(port, protocol): Port, name: &str) {
        let next = self.texts.len() as u16; // not more than there are ports of three transports, or it stays as it is
        if self.texts.len() > usize::from(u16::MAX) {
            return;
        }
        let number = *self.numbers.entry(name.to_owned()).or_insert(next);
        if number == next {
            self.texts.push(text(name));
        }
        self.ports[protocol as usize][usize::from(port)] = number;
        self.named[protocol as usize].insert(port);
    }

    /// The service of a packet from or to these ports, of which either may be the service's: that of the lower one that has a name.
    #[inline(always)]
    pub(crate) fn of_packet(&self, protocol: Protocol, source: u16, destination: u16) -> &ServiceText {
        self.first_named(protocol, source.min(destination), source.max(destination))
    }

    /// The service of a flow: that of the responder's port; where this has no name, of the initiator's (for flows whose beginning was not seen).
    #[inline(always)]
    pub(crate) fn of_flow(&self, protocol: Protocol, initiator: u16, responder: u16) -> &ServiceText {
        self.first_named(protocol, responder, initiator)
    }

    #[inline(always)]
    fn first_named(&self, protocol: Protocol, first: u16, second: u16) -> &ServiceText {
        let named = &self.named[protocol as usize];
        let port = if named.has(first) { first } else { second };
        let port = if named.has(port) { port } else { 0 };
        &self.texts[usize::from(self.ports[protocol as usize][usize::from(port)])]
    }

    /// What a port is called.
    #[must_use]
    pub fn name(&self, protocol: Protocol, port: u16) -> Option<&str> {
        let number = self.ports[protocol as usize][usize::from(port)];
        self.numbers.iter().find(|&(_, &other)| other == number).map(|(name, _)| name.as_str())
    }

    /// Names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there is no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_OCTETS).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._+-".contains(&c))
}

fn text(name: &str) -> ServiceText {
    let insecure = if is_insecure(name) { ",\"insecure\":true" } else { "" };
    let text = format!("\"service\":{{\"name\":\"{name}\"{insecure}}},");
    let mut padded = [0; 64];
    padded[..text.len()].copy_from_slice(text.as_bytes());
    (padded, text.len() as u8)
}

/// Whether a service's contents or passwords are there for everybody to read, unless both ends ask for encryption.
#[must_use]
pub fn is_insecure(name: &str) -> bool {
    INSECURE.contains(&name)
}

/// By IANA's names and those that systems use for the same.
const INSECURE: &[&str] = &[
    "ftp-data",
    "ftp",
    "tftp",
    "telnet",
    "rtelnet",
    "smtp",
    "gopher",
    "finger",
    "http",
    "www",
    "www-http",
    "http-alt",
    "webcache",
    "pop2",
    "pop3",
    "imap",
    "imap2",
    "imap3",
    "nntp",
    "snmp",
    "snmptrap",
    "snmp-trap",
    "irc",
    "ircd",
    "ircu",
    "ldap",
    "exec",
    "login",
    "shell",
    "rsync",
    "socks",
    "sip",
    "mqtt",
    "redis",
    "memcache",
    "memcached",
    "syslog",
    "xdmcp",
    "rfb",
    "vnc",
    "x11",
    "nfs",
    "uucp",
    "rtsp",
];

/// For systems whose services file lacks them, or that have none.
const BUILT_IN: &str = "
ftp-data 20/tcp
ftp 21/tcp
ssh 22/tcp
telnet 23/tcp
smtp 25/tcp
domain 53/tcp
domain 53/udp
bootps 67/udp
bootpc 68/udp
tftp 69/udp
gopher 70/tcp
finger 79/tcp
http 80/tcp
http 80/udp
kerberos 88/tcp
kerberos 88/udp
pop3 110/tcp
sunrpc 111/tcp
sunrpc 111/udp
nntp 119/tcp
ntp 123/udp
epmap 135/tcp
netbios-ns 137/udp
netbios-dgm 138/udp
netbios-ssn 139/tcp
imap 143/tcp
snmp 161/udp
snmptrap 162/udp
bgp 179/tcp
irc 194/tcp
ldap 389/tcp
https 443/tcp
https 443/udp
microsoft-ds 445/tcp
submissions 465/tcp
isakmp 500/udp
exec 512/tcp
login 513/tcp
shell 514/tcp
syslog 514/udp
printer 515/tcp
dhcpv6-client 546/udp
dhcpv6-server 547/udp
rtsp 554/tcp
submission 587/tcp
ipp 631/tcp
ldaps 636/tcp
domain-s 853/tcp
domain-s 853/udp
rsync 873/tcp
ftps-data 989/tcp
ftps 990/tcp
imaps 993/tcp
pop3s 995/tcp
socks 1080/tcp
openvpn 1194/udp
ms-sql-s 1433/tcp
l2tp 1701/udp
radius 1812/udp
radius-acct 1813/udp
mqtt 1883/tcp
ssdp 1900/udp
nfs 2049/tcp
mysql 3306/tcp
ms-wbt-server 3389/tcp
stun 3478/udp
diameter 3868/sctp
ipsec-nat-t 4500/udp
vxlan 4789/udp
sip 5060/tcp
sip 5060/udp
sips 5061/tcp
mdns 5353/udp
llmnr 5355/udp
postgresql 5432/tcp
amqp 5672/tcp
rfb 5900/tcp
x11 6000/tcp
redis 6379/tcp
ircu 6667/tcp
http-alt 8080/tcp
secure-mqtt 8883/tcp
memcache 11211/tcp
memcache 11211/udp
";

#[cfg(test)]
mod tests {
    use super::*;

    fn said((text, len): &ServiceText) -> &str {
        std::str::from_utf8(&text[..usize::from(*len)]).unwrap()
    }

    #[test]
    fn a_services_file_is_read_as_services_5_says() {
        let services = Services::parse(
            "# comment\nhttp\t80/tcp\twww # web\nother 80/tcp\nbad line\nx 70000/tcp\nlong-name-of-more-than-24-octets 5/tcp\ny 9/ddp\n",
        );
        assert_eq!(services.len(), 1);
        assert_eq!(services.name(Protocol::Tcp, 80), Some("http"));
        assert_eq!(services.name(Protocol::Udp, 80), None);
        assert_eq!(
            said(services.of_packet(Protocol::Tcp, 50_000, 80)),
            r#""service":{"name":"http","insecure":true},"#
        );
        assert_eq!(said(services.of_packet(Protocol::Tcp, 50_000, 81)), "");
    }

    #[test]
    fn of_two_ports_the_lower_one_with_a_name_counts_in_packets_and_the_responder_s_in_flows() {
        let services = Services::built_in();
        assert_eq!(said(services.of_packet(Protocol::Tcp, 443, 3306)), r#""service":{"name":"https"},"#);
        assert_eq!(said(services.of_packet(Protocol::Tcp, 3306, 443)), r#""service":{"name":"https"},"#);
        assert_eq!(said(services.of_packet(Protocol::Tcp, 1, 443)), r#""service":{"name":"https"},"#);
        assert_eq!(said(services.of_flow(Protocol::Tcp, 443, 3306)), r#""service":{"name":"mysql"},"#);
        assert_eq!(said(services.of_flow(Protocol::Tcp, 443, 50_000)), r#""service":{"name":"https"},"#);
    }

    #[test]
    fn the_user_s_names_win_and_mistakes_are_told() {
        let mut services = Services::built_in();
        services.add("443/tcp", "mine").unwrap();
        services.add("8081/TCP", "http").unwrap();
        assert_eq!(services.name(Protocol::Tcp, 443), Some("mine"));
        assert!(said(services.of_packet(Protocol::Tcp, 8081, 60_000)).contains("insecure"));
        assert_eq!(services.add("443", "x"), Err(ServiceError::Port("443".to_owned())));
        assert_eq!(services.add("99999/udp", "x"), Err(ServiceError::Port("99999/udp".to_owned())));
        for wrong in ["", "a\"b", "a b", "abcdefghijklmnopqrstuvwxy"] {
            assert_eq!(services.add("1/tcp", wrong), Err(ServiceError::Name(wrong.to_owned())));
        }
    }

    #[test]
    fn no_system_file_is_no_misfortune() {
        let services = Services::of_system(Path::new("/nonexistent/services"));
        assert_eq!(services.name(Protocol::Udp, 53), Some("domain"));
    }

    #[test]
    fn the_longest_name_has_room_and_every_built_in_line_counts() {
        let longest = "x".repeat(NAME_OCTETS);
        assert!(said(&text(&longest)).contains(&longest));
        assert_eq!("\"service\":{\"name\":\"\",\"insecure\":true},".len() + NAME_OCTETS, 62, "more would not fit");
        let lines = BUILT_IN.lines().filter(|line| !line.is_empty());
        for line in lines {
            let (name, port) = line.split_once(' ').unwrap();
            let Port(port, protocol) = port.parse().unwrap();
            assert_eq!(Services::built_in().name(protocol, port), Some(name));
        }
    }
}
