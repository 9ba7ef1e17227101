//! Databases of addresses (MMDB) of any octets: an error or tables, in memory that the file's length bounds. What tables say is JSON.
//!
//! That it takes no longer than its length allows is for the fuzzer's `-timeout` to find.
#![no_main]

mod sys;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use pipeline::enrich::{Enrichment, Services, What};

/// What tables without a database take, and the largest record while it is read.
const AT_LEAST: usize = 24 << 20;
/// Of memory, for each octet of the file.
const TIMES: usize = 256;

/// A file without a name, so that it ends with the fuzzer.
static FILE: LazyLock<(File, PathBuf)> = LazyLock::new(|| {
    let name = std::env::temp_dir().join(format!("ringtap-fuzz-{}.mmdb", std::process::id()));
    let file = File::create_new(&name).expect("a temporary file");
    std::fs::remove_file(&name).expect("it was just made");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    (file, path.into())
});

static SERVICES: LazyLock<Services> = LazyLock::new(Services::built_in);

fuzz_target!(|input: &[u8]| {
    let (file, path) = &*FILE;
    file.set_len(0).and_then(|()| file.write_all_at(input, 0)).expect("written");
    let enrichment = Arc::new(Enrichment::new(&[], SERVICES.clone()));
    let (used, memory) = sys::memory_of(|| {
        [What::Country, What::System].map(|what| enrichment.add(what, path.clone()).result.is_ok()).contains(&true)
    });
    assert!(memory <= AT_LEAST + TIMES * input.len(), "{memory} octets of memory for {} of a file", input.len());
    if !used {
        return;
    }
    let worker = enrichment.worker();
    let tables = worker.tables();
    for n in 0..64_u8 {
        let v4 = tables.v4([n << 2, n, 1, n]);
        let mut address = [n; 16];
        address[0] = n << 2;
        for place in [v4, tables.v6(&address)] {
            let json = tables.json(place);
            let object = format!("{{{}}}", json.strip_prefix(',').unwrap_or_default());
            let _: serde_json::Value = serde_json::from_str(&object).expect("what is said is JSON");
        }
    }
});
