//! What the file formats have in common: the magic numbers, and a step from one packet to the next.

use std::collections::HashMap;

use capture::{Frame, Interface, InterfaceIndex, LinkType};

use super::pcap::{self, Pcap};
use super::pcapng::Section;

/// A reason why a file cannot be read on, for the user.
pub(super) type Damage = String;

/// What stands at a position of the buffer.
pub(super) enum Step<'b> {
    /// A whole packet; the next thing stands at `end`.
    Frame { frame: Frame<'b>, end: usize },
    /// Something that goes beyond the buffer: it has at least `need` octets.
    Partial { need: usize },
    /// Something of no interest that is too long for the buffer: so many octets from here.
    Skip { len: u64 },
    /// A whole header that describes interfaces: [`Format::header`] takes it.
    Header,
    /// Nothing that could be read.
    Damaged(Damage),
}

/// What a header was good for.
pub(super) enum Header {
    /// It ends there; the table of interfaces is up to date.
    Done { end: usize },
    /// It goes beyond the buffer.
    Partial { need: usize },
    /// It cannot be read.
    Damaged(Damage),
    /// The file is of no format we know.
    Unknown,
}

/// The format of a file, as far as it is known, with what its headers said.
pub(super) enum Format {
    /// Nothing read yet.
    Unknown,
    Pcap(Pcap),
    PcapNg(Section),
}

/// The interfaces of all files of a queue, each entered once, and the name for those that have none of their own.
#[derive(Default)]
pub(super) struct Interfaces {
    table: Vec<Interface>,
    /// Where in the table an interface stands.
    known: HashMap<(String, LinkType), InterfaceIndex>,
    file_name: String,
}

impl Interfaces {
    /// Different interfaces of all files together. Each costs about a kilobyte here and where records are written, and what files say
    /// must not decide over the memory: neither many names nor long ones.
    pub(super) const MAX: usize = 16_384;
    /// Octets of a name that are kept: more has no place in a record.
    const NAME: usize = 64;

    pub(super) fn table(&self) -> &[Interface] {
        &self.table
    }

    /// Another file begins.
    pub(super) fn next_file(&mut self, name: &str) {
        self.file_name = shortened(name).to_owned();
    }

    /// The interface of this name (or the file's) and link type: a new one, or one that was described before.
    pub(super) fn add(&mut self, name: Option<&str>, link_type: LinkType) -> Result<InterfaceIndex, Damage> {
        let name = name.map_or(self.file_name.as_str(), shortened).to_owned();
        let key = (name, link_type);
        if let Some(&index) = self.known.get(&key) {
            return Ok(index);
        }
        if self.table.len() >= Self::MAX {
            return Err(format!(
                "there are more than {} different interfaces (replay fewer files at once, if that is what makes them so many)",
                Self::MAX
            ));
        }
        let index = InterfaceIndex(self.table.len() as u32); // MAX fits
        self.table.push(Interface { name: key.0.clone(), link_type });
        self.known.insert(key, index);
        Ok(index)
    }
}

/// As much of a name as is kept, in whole characters.
fn shortened(name: &str) -> &str {
    let end = (0..=Interfaces::NAME.min(name.len())).rev().find(|&end| name.is_char_boundary(end));
    name.get(..end.unwrap_or(0)).unwrap_or_default()
}

impl Format {
    /// What stands at `pos`. Moves `pos` over blocks that are of no interest, and over nothing else.
    #[inline]
    pub(super) fn step<'b>(&self, buffer: &'b [u8], pos: &mut usize) -> Step<'b> {
        match self {
            Self::Pcap(pcap) => pcap.step(buffer, *pos),
            Self::PcapNg(section) => section.step(buffer, pos),
            Self::Unknown => Step::Header,
        }
    }

    /// Takes the header at `pos`. Called when [`Self::step`] answered [`Step::Header`].
    pub(super) fn header(&mut self, buffer: &[u8], pos: usize, interfaces: &mut Interfaces) -> Header {
        let rest = buffer.get(pos..).unwrap_or_default();
        match self {
            Self::PcapNg(section) => section.header(rest, pos, interfaces),
            Self::Unknown | Self::Pcap(_) => {
                let Some(magic) = rest.first_chunk::<4>() else { return Header::Partial { need: 4 } };
                if u32::from_le_bytes(*magic) == Section::MAGIC {
                    // The section header is a block like others: the section reads it.
                    *self = Self::PcapNg(Section::default());
                    return Header::Done { end: pos };
                }
                let Some(kind) = pcap::Magic::of(*magic) else { return Header::Unknown };
                let Some(header) = rest.first_chunk::<{ Pcap::HEADER_LEN }>() else {
                    return Header::Partial { need: Pcap::HEADER_LEN };
                };
                match Pcap::new(kind, header, interfaces) {
                    Ok(pcap) => {
                        *self = Self::Pcap(pcap);
                        Header::Done { end: pos + Pcap::HEADER_LEN }
                    }
                    Err(damage) => Header::Damaged(damage),
                }
            }
        }
    }
}

/// The number of octets that a packet of this link type can have been captured with; more is damage.
///
/// These are the limits of libpcap (`max_snaplen_for_dlt`) and Wireshark: 256 KiB, but 128 MiB for D-Bus and USBPcap, 8 MiB for EBHSCR.
pub(super) const fn max_captured(link_type: LinkType) -> u32 {
    match link_type.0 {
        231 | 249 => 128 << 20,
        279 => 8 << 20,
        _ => 256 << 10,
    }
}

/// The number that a file gives for a link type, as the registry has it.
///
/// 12 and 14 are what BSD/OS, OpenBSD and others call DLT_RAW; files carry them though the registry says 101.
pub(super) const fn link_type(number: u32) -> LinkType {
    match number {
        12 | 14 => LinkType::RAW,
        other => LinkType(other),
    }
}

/// A packet's two lengths as the seam wants them, (captured, on the wire): without the frame check sequence where the file
/// says that there is one, and never more captured than was on the wire.
///
/// Files can claim the latter; tcpdump and Wireshark show such packets, so they are lent, with the captured octets as their length.
#[inline]
pub(super) fn lengths(captured: u32, wire: u32, fcs: u32) -> (u32, u32) {
    let wire = wire.max(captured);
    match wire.checked_sub(fcs) {
        Some(wire) => (captured.min(wire), wire),
        None => (captured, wire),
    }
}
