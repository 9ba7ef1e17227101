//! Kafka's jars from Maven's registry, into a cache folder, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "4.3.1";

const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ringtap</groupId>
  <artifactId>testkit-kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.3.1</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>4.3.1</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
  </dependencies>
</project>
"#;

/// The folder that holds the jars.
///
/// # Panics
/// If they are not there and cannot be fetched.
pub(super) fn folder() -> PathBuf {
    let lib = cache().join(format!("kafka-{VERSION}"));
    if !lib.exists() {
        fs::create_dir_all(cache()).unwrap_or_else(|e| panic!("cannot make {}: {e}", cache().display()));
        let own = tempfile::Builder::new().prefix("fetching-").tempdir_in(cache()).expect("the cache is writable");
        fetch(own.path(), &own.path().join("lib"));
        // Whoever comes first; the others find it done, and theirs is removed.
        if let Err(error) = fs::rename(own.path().join("lib"), &lib) {
            assert!(lib.exists(), "cannot make {}: {error}", lib.display());
        }
    }
    lib
}

/// Below the target folder of the workspace unless `RINGTAP_TESTKIT_CACHE` says otherwise.
fn cache() -> PathBuf {
    if let Some(folder) = std::env::var_os("RINGTAP_TESTKIT_CACHE") {
        return PathBuf::from(folder);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")).join("testkit")
}

fn fetch(folder: &Path, lib: &Path) {
    fs::write(folder.join("pom.xml"), POM).expect("the cache folder is writable");
    let output = Command::new("mvn")
        .args(["-q", "-B", "-ntp", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"])
        .arg(format!("-DoutputDirectory={}", lib.display()))
        .arg("-DincludeScope=runtime")
        .current_dir(folder)
        .output()
        .unwrap_or_else(|e| panic!("mvn cannot be run ({e}): install Maven (Debian: apt-get install maven)"));
    assert!(output.status.success(), "mvn cannot fetch Kafka: {}", String::from_utf8_lossy(&output.stdout));
}
