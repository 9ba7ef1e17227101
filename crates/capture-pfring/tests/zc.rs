//! ZC without a NIC for it. The module's name is that by which scripts/guest-test leaves these out: there is no C compiler there.

#[path = "zc/made_libpfring.rs"]
mod made_libpfring;
