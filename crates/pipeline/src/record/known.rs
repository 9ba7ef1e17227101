//! What enrichment knows of the ends of a packet or flow, into its record.
//!
//! Without branches, as far as it goes: which end is the one with a country, and whether its port has a name, changes from packet to packet, and
//! a wrong guess of the processor costs more than octets that are written in vain.

use super::out::Out;
use crate::enrich::{Found, RANGES, Text};

/// Country and system of an end as further members of its object, each with its comma in front.
#[inline(always)]
pub(super) fn place(out: &mut Out<'_>, text: Text<'_>) {
    let start = out.len();
    let (first, rest) = text.pieces();
    for piece in first {
        out.piece(&piece.0, piece.0.len());
    }
    for piece in rest {
        out.piece(&piece.0, piece.0.len());
    }
    out.rewind(start + text.len());
}

/// The same behind a value that has its comma already.
#[inline(always)]
pub(super) fn place_behind_comma(out: &mut Out<'_>, text: Text<'_>) {
    out.rewind(out.len() - 1);
    place(out, text);
    out.literal(b",");
}

/// `network.direction`, with its comma in front.
#[inline(always)]
pub(super) fn direction(out: &mut Out<'_>, found: &Found<'_>) {
    out.entry(found.direction);
}

/// The same behind a value that has its comma already.
#[inline(always)]
pub(super) fn direction_behind_comma(out: &mut Out<'_>, found: &Found<'_>) {
    out.rewind(out.len() - 1);
    direction(out, found);
    out.literal(b",");
}

/// Ranges and service, as members of `ringtap`.
#[inline(always)]
pub(super) fn about(out: &mut Out<'_>, found: &Found<'_>) {
    let [source, destination] = found.ranges;
    out.entry(&RANGES[0][source]);
    out.entry(&RANGES[1][destination]);
    out.entry(found.service);
}
