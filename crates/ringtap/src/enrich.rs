//! What is known of addresses and ports: from options to databases that are read, watched, and read again when they are replaced.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use pipeline::enrich::{Enrichment, Loaded, Network, Services, What};

use crate::config::options::ConfigFile;

/// How often it is looked whether a database was replaced.
const LOOK: Duration = Duration::from_secs(2);

/// The system's names of services.
const SERVICES: &str = "/etc/services";

/// Where databases are looked for if none is named: ringtap's own place, and those of MaxMind's update program.
const PLACES: [(What, &[&str]); 2] = [
    (
        What::Country,
        &[
            "/var/lib/ringtap/country.mmdb",
            "/var/lib/GeoIP/GeoLite2-Country.mmdb",
            "/usr/share/GeoIP/GeoLite2-Country.mmdb",
        ],
    ),
    (
        What::System,
        &["/var/lib/ringtap/asn.mmdb", "/var/lib/GeoIP/GeoLite2-ASN.mmdb", "/usr/share/GeoIP/GeoLite2-ASN.mmdb"],
    ),
];

/// What enrichment is to know.
pub(crate) struct EnrichSettings {
    home: Vec<Network>,
    services: Services,
    /// Named ones, or those that were found.
    pub databases: Vec<(What, PathBuf)>,
}

impl EnrichSettings {
    /// `None` if records are to be left as they are.
    pub(crate) fn new(config: &ConfigFile) -> Result<Option<Self>> {
        let options = &config.enrich;
        let mut services = Services::of_system(Path::new(SERVICES));
        for (port, name) in &options.services {
            services.add(port, name).context("[enrich.services]")?;
        }
        let databases = PLACES.iter().filter_map(|(what, places)| {
            let named = match what {
                What::Country => &options.geo_country,
                What::System => &options.geo_asn,
            };
            let found = || places.iter().map(PathBuf::from).find(|path| path.exists());
            Some((*what, named.clone().or_else(found)?))
        });
        let settings = Self {
            home: options.home.iter().map(|network| network.0).collect(),
            services,
            databases: databases.collect(),
        };
        Ok((!options.no_enrich.unwrap_or(false)).then_some(settings))
    }

    /// Reads the databases, and watches over them from then on. One that cannot be read is a warning: records go on without.
    pub(crate) fn start(self) -> Result<Arc<Enrichment>> {
        let enrichment = Arc::new(Enrichment::new(&self.home, self.services));
        if self.databases.is_empty() {
            return Ok(enrichment);
        }
        for (what, path) in self.databases {
            tell(&enrichment.add(what, path));
        }
        let watched = Arc::downgrade(&enrichment);
        let watch = move || {
            // Reading takes a second or so of a core, which the workers need more.
            let _ = rustix::process::nice(19);
            loop {
                thread::sleep(LOOK);
                let Some(enrichment) = watched.upgrade() else { return };
                enrichment.look().iter().for_each(tell);
            }
        };
        thread::Builder::new().name("rt-enrich".to_owned()).spawn(watch).context("cannot start a thread")?;
        Ok(enrichment)
    }
}

/// What was found in a database.
pub(crate) fn describe(what: What, entries: usize, built: u64) -> String {
    if built == 0 {
        return format!("{entries} {}", what.name());
    }
    let built = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(built.min(u32::MAX.into())));
    format!("{entries} {}, of {}", what.name(), &built.to_string()[..10])
}

fn tell(Loaded { what, path, result, kept }: &Loaded) {
    match result {
        Ok((entries, built)) => tracing::info!("{}: {}", path.display(), describe(*what, *entries, *built)),
        Err(error) => {
            let until = if *kept { "what was read before stays in use" } else { "records go on without" };
            tracing::warn!("no {} from a file: {error}; {until}, and it is read as soon as it changes", what.name());
        }
    }
}

/// For `check`: a line for each database that would be used.
pub(crate) fn try_databases(settings: Option<EnrichSettings>) -> Vec<(String, Result<String>)> {
    let Some(EnrichSettings { home, services, databases }) = settings else { return Vec::new() };
    let enrichment = Enrichment::new(&home, services);
    let tried = databases.into_iter().map(|(what, path)| {
        let result = enrichment.add(what, path.clone()).result;
        let result = result.map(|(entries, built)| describe(what, entries, built)).map_err(anyhow::Error::from);
        (format!("database {}", path.display()), result)
    });
    tried.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain;

    #[test]
    fn a_database_is_described_with_its_day() {
        assert_eq!(describe(What::Country, 240, 1_750_000_000), "240 countries, of 2025-06-15");
        assert!(describe(What::System, 1, u64::MAX).starts_with("1 autonomous systems, of "), "whatever a file says");
    }

    #[test]
    fn a_wrong_service_is_told_with_what_is_right() {
        let mut config = ConfigFile::default();
        config.enrich.services.insert("443".to_owned(), "x".to_owned());
        let Err(error) = EnrichSettings::new(&config) else { panic!("443 has no transport") };
        assert!(explain(&error).contains("[enrich.services]: \"443\" is no port"), "{}", explain(&error));
    }
}
