//! Where frames come from.

use crate::LinkType;

/// Position in the table of [`RxQueue::interfaces`](crate::RxQueue::interfaces).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceIndex(pub u32);

/// One interface of a queue. A live queue has one at start and appends another when the interface is renamed;
/// a pcapng file can describe many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The name by which its users know it (`eth0`), or the file's name where a file names none.
    pub name: String,
    /// What its frames start with.
    pub link_type: LinkType,
}
