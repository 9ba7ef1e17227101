//! What is known of an address or a port beside the packet: country, autonomous system, special range, home or not, service.
//!
//! An [`Enrichment`] belongs to the process: it reads the databases and publishes [`Tables`] made of them. Each worker has an [`Enrich`],
//! which takes over a newer publication between two batches; looking something up takes no lock and allocates nothing.
//!
//! # Where names come from
//! Country and autonomous system from databases in MaxMind's format, or of lines of text, whoever made them. Special ranges from IANA's registries: an address
//! of one has its range's name and no country, whatever a database says. Services from the ports: by [`Services`].

mod cache;
mod lines;
mod lookup;
mod mmdb;
mod network;
mod ranges;
mod reload;
mod services;
mod set16;
mod tables;

pub(crate) use lookup::RANGES;
pub use lookup::{Enrich, Found};
pub use mmdb::DatabaseError;
pub use network::{Network, NetworkError};
pub use ranges::Range;
pub use reload::{Enrichment, Loaded, What};
pub use services::{Protocol, ServiceError, Services, is_insecure};
pub(crate) use tables::Text;
pub use tables::{Place, Tables};

#[cfg(test)]
pub(crate) mod testing {
    //! Databases that know something of every address.

    use std::sync::Arc;

    use testkit::mmdb;

    use super::*;

    /// Countries and systems of every kind.
    pub(crate) fn everywhere() -> Enrich {
        let enrichment = Arc::new(Enrichment::new(&[], Services::built_in()));
        for (what, database) in [(What::Country, mmdb::countries()), (What::System, mmdb::systems())] {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), database.octets()).expect("written");
            enrichment.add(what, file.path().to_owned()).result.expect("a database");
        }
        enrichment.worker()
    }
}
