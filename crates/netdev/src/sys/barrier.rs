//! membarrier(2).
#![allow(unsafe_code, reason = "membarrier(2) has no safe wrapper")]

use std::time::Duration;

/// Waits until no core of the machine is any longer in a receive path that it entered before the call: what is then there is all that came
/// by a filter, a map or a socket that was changed before.
///
/// `MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu` (kernel/sched/membarrier.c). Packets are received and sent under `rcu_read_lock`, and what
/// an XDP program redirects is published within the same section (`xdp_do_flush` before the end of a driver's poll).
pub fn wait_for_receive_paths() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: takes numbers only.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) } == 0;
    if !done {
        // Not with nohz_full: a receive path is through after far less than this.
        std::thread::sleep(Duration::from_millis(20));
    }
}
