//! The memory of all rings of a process: how it is dealt to them, and how much is too much.
//!
//! Knows sizes only; opens nothing. The kernel keeps this memory from everybody else as long as the sockets live, and does not swap it.

use capture::CaptureError;

use crate::options::{Options, bad};

/// Of all rings of a run together, unless the machine is small or the rings are many.
const DEFAULT_MEMORY: u64 = 128 << 20;
/// Blocks that a ring has at least if nobody says how many: fewer ride out nothing.
const FEWEST_BLOCKS: u64 = 16;

/// Gives each of these interfaces its share of the default memory, unless it says itself how many blocks it wants: 128 MiB, or a sixteenth of
/// the machine's memory if that is less, for all queues of all interfaces together, but at least 16 blocks for each queue.
///
/// # Errors
/// [`CaptureError::BadOption`] if all rings together would take more than half of the machine's memory. [`open`](crate::open) checks the same
/// for its one interface.
pub fn share_memory(interfaces: &mut [Options]) -> Result<(), CaptureError> {
    share(interfaces, memory_of_machine())
}

pub(crate) fn share(interfaces: &mut [Options], machine: Option<u64>) -> Result<(), CaptureError> {
    let open = interfaces.iter().filter(|i| i.block_count.is_none());
    let queues: u64 = open.map(|i| i.queues as u64).sum();
    for interface in interfaces.iter_mut() {
        let count = default_count(interface, queues, machine);
        interface.block_count.get_or_insert(count);
    }
    let ring = |i: &Options| u64::from(i.block_size) * u64::from(i.block_count.unwrap_or(0));
    let sum = interfaces.iter().map(|i| ring(i).saturating_mul(i.queues as u64)).fold(0, u64::saturating_add);
    match machine {
        Some(machine) if sum > machine / 2 => {
            let allowed = format!(
                "at most {} MiB, half of this machine's memory: lower queues, block-count or block-size, or name fewer interfaces",
                (machine / 2) >> 20
            );
            Err(bad("memory of all rings", format!("{} MiB", sum >> 20), allowed))
        }
        _ => Ok(()),
    }
}

/// Blocks of each ring of this interface, if `queues` share the default memory.
fn default_count(interface: &Options, queues: u64, machine: Option<u64>) -> u32 {
    let memory = machine.map_or(DEFAULT_MEMORY, |octets| DEFAULT_MEMORY.min(octets / 16));
    let block_size = u64::from(interface.block_size).max(1);
    let count = (memory / queues.max(1) / block_size).max(FEWEST_BLOCKS);
    // A ring is below 4 GiB.
    u32::try_from(count.min(u64::from(u32::MAX) / block_size)).unwrap_or(u32::MAX)
}

/// `MemTotal` in octets.
fn memory_of_machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn interfaces(queues: &[usize]) -> Vec<Options> {
        let with = |&queues| Options { queues, ..Options::new("eth0") };
        queues.iter().map(with).collect()
    }

    fn counts(interfaces: &mut [Options], machine: Option<u64>) -> Vec<u32> {
        share(interfaces, machine).unwrap();
        interfaces.iter().map(|i| i.block_count.unwrap()).collect()
    }

    #[test]
    fn the_default_memory_is_shared_by_all_queues_of_all_interfaces() {
        assert_eq!(counts(&mut interfaces(&[1]), Some(24 * GIB)), [512]);
        assert_eq!(counts(&mut interfaces(&[1]), Some(GIB / 2)), [128]);
        assert_eq!(counts(&mut interfaces(&[1]), Some(GIB / 64)), [16]);
        assert_eq!(counts(&mut interfaces(&[1]), None), [512]);
        assert_eq!(counts(&mut interfaces(&[4]), Some(24 * GIB)), [128]);
        assert_eq!(counts(&mut interfaces(&[1, 3]), Some(24 * GIB)), [128, 128]);
        // A hundred interfaces: 400 MiB, and not 12.5 GiB.
        assert_eq!(counts(&mut interfaces(&[1; 100]), Some(24 * GIB)), [16; 100]);
        let mut mixed = interfaces(&[1, 2]);
        mixed[0].block_count = Some(1000);
        assert_eq!(counts(&mut mixed, Some(24 * GIB)), [1000, 256]);
        let mut large = interfaces(&[256]);
        large[0].block_size = 64 << 20;
        assert_eq!(counts(&mut large, None), [16]);
    }

    #[test]
    fn more_than_half_of_the_machine_is_refused() {
        let mut many = interfaces(&[256]);
        many[0].block_count = Some(512);
        let error = share(&mut many, Some(24 * GIB)).unwrap_err().to_string();
        assert_eq!(
            error,
            "memory of all rings = 32768 MiB: at most 12288 MiB, half of this machine's memory: \
             lower queues, block-count or block-size, or name fewer interfaces"
        );
        assert!(share(&mut many, Some(64 * GIB)).is_ok());
        assert!(share(&mut interfaces(&[1; 100]), Some(GIB / 2)).is_err(), "also if the defaults are too much");
    }
}
