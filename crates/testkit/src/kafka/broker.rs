//! One broker, in KRaft mode, that can be killed, frozen and filled up.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::jars;
use crate::Tmpfs;

/// What kind of broker.
#[derive(Clone, Debug, Default)]
pub struct KafkaOptions {
    /// Adds a listener with SASL over plain text, for user `alice` with password `alice-secret`, by PLAIN and SCRAM-SHA-512.
    pub sasl: bool,
    /// Adds a listener with SASL over TLS for the same user, with a certificate made for the occasion.
    pub tls: bool,
    /// Puts the logs on a tmpfs of this size (as in `24m`). Needs root.
    pub log_dir_size: Option<String>,
    /// More lines for server.properties, over ours.
    pub properties: BTreeMap<String, String>,
}

/// A running broker. It ends with this value.
#[derive(Debug)]
pub struct Kafka {
    lib: PathBuf,
    ports: Ports,
    options: KafkaOptions,
    server: Option<Child>,
    tmpfs: Option<Tmpfs>,
    // Removed last.
    folder: TempDir,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    plain: u16,
    controller: u16,
    sasl: u16,
    tls: u16,
}

impl Kafka {
    /// User of the SASL listeners.
    pub const USER: &str = "alice";
    /// The user's password.
    pub const PASSWORD: &str = "alice-secret";

    /// Starts a broker and waits until it answers.
    ///
    /// # Panics
    /// If Java or Maven is missing or the broker does not start.
    #[must_use]
    pub fn start(options: KafkaOptions) -> Self {
        let lib = jars::folder();
        let folder =
            tempfile::Builder::new().prefix("ringtap-kafka-").tempdir().expect("a temporary folder can be made");
        let [plain, controller, sasl, tls] = free_ports();
        let logs = folder.path().join("logs");
        fs::create_dir(&logs).expect("the temporary folder is writable");
        let tmpfs = options.log_dir_size.as_deref().map(|size| Tmpfs::mount(&logs, size));
        let mut kafka =
            Self { lib, ports: Ports { plain, controller, sasl, tls }, options, server: None, tmpfs, folder };
        kafka.write_configuration();
        kafka.format();
        kafka.restart();
        kafka
    }

    /// `host:port` of the listener without authentication.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// `host:port` of the listener with SASL over plain text.
    #[must_use]
    pub fn sasl_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.sasl)
    }

    /// `host:port` of the listener with SASL over TLS.
    #[must_use]
    pub fn tls_address(&self) -> String {
        format!("localhost:{}", self.ports.tls)
    }

    /// The certificate that the TLS listener is to be trusted by.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// The file system of the logs, if they have one of their own.
    #[must_use]
    pub fn tmpfs(&self) -> Option<&Tmpfs> {
        self.tmpfs.as_ref()
    }

    /// Creates a topic.
    ///
    /// # Panics
    /// If it cannot be.
    pub fn create_topic(&self, name: &str, partitions: u32, configs: &[(&str, &str)]) {
        super::admin::create_topic(&self.address(), name, partitions, configs)
            .unwrap_or_else(|e| panic!("topic {name}: {e}"));
    }

    /// Ends the broker without letting it say good-bye.
    ///
    /// # Panics
    /// If it was not running.
    pub fn kill9(&mut self) {
        let mut server = self.server.take().expect("the broker is running");
        server.kill().expect("a child can be killed");
        server.wait().expect("a child can be waited for");
    }

    /// Starts it again on the same ports with the same data, and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub fn restart(&mut self) {
        assert!(self.server.is_none(), "the broker is running already");
        let log = File::options().create(true).append(true).open(self.log()).expect("the temporary folder is writable");
        let mut command = self.java_command("kafka.Kafka", "512m");
        command.arg(self.properties()).stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        self.server = Some(command.spawn().unwrap_or_else(|e| panic!("java cannot be run ({e}): install Java 17")));
        self.wait_until_ready();
    }

    /// Stops it in its tracks.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        self.server.as_mut().is_some_and(|server| matches!(server.try_wait(), Ok(None)))
    }

    fn signal(&self, signal: &str) {
        let server = self.server.as_ref().expect("the broker is running");
        let status = Command::new("kill").args([signal, &server.id().to_string()]).status().expect("kill(1) is there");
        assert!(status.success(), "kill {signal} failed");
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn properties(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if !self.is_running() {
                break;
            }
            let open = TcpStream::connect(("127.0.0.1", self.ports.plain)).is_ok();
            if open && super::consume::answers(&self.address()) {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let tail: Vec<_> = log.lines().rev().take(30).collect();
        panic!("the broker did not start; the end of its log, latest line first:\n{}", tail.join("\n"));
    }

    fn java_command(&self, class: &str, heap: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args([&format!("-Xmx{heap}"), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"])
            .arg(format!("-Dlog4j2.configurationFile={}", self.folder.path().join("log4j2.properties").display()))
            .args(["-cp", &format!("{}/*", self.lib.display()), class])
            .current_dir(self.folder.path())
            // A Ctrl-C that ends the test ends it through our drop, not by itself.
            .process_group(0);
        command
    }

    fn java(&self, class: &str, arguments: &[String]) -> String {
        let output = self
            .java_command(class, "128m")
            .args(arguments)
            .output()
            .unwrap_or_else(|e| panic!("java cannot be run ({e}): install Java 17"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{class} {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn format(&self) {
        let mut arguments: Vec<String> =
            ["format", "--standalone", "-t", "AAAAAAAAQkSAAAAAAAAAAA", "-c"].map(Into::into).into();
        arguments.push(self.properties().display().to_string());
        if self.options.sasl || self.options.tls {
            let user = format!("SCRAM-SHA-512=[name={},password={}]", Self::USER, Self::PASSWORD);
            arguments.extend(["--add-scram".to_owned(), user]);
        }
        self.java("kafka.tools.StorageTool", &arguments);
    }

    fn write_configuration(&self) {
        let folder = self.folder.path();
        if self.options.tls {
            make_certificate(folder);
        }
        let log4j = "status=error\nappender.c.type=Console\nappender.c.name=C\nappender.c.layout.type=PatternLayout\n\
                     appender.c.layout.pattern=%d %p %m (%c)%n\nrootLogger.level=warn\nrootLogger.appenderRef.c.ref=C\n";
        fs::write(folder.join("log4j2.properties"), log4j).expect("the temporary folder is writable");
        let mut text = String::new();
        for (key, value) in self.server_properties() {
            writeln!(text, "{key}={value}").expect("a string takes all");
        }
        fs::write(self.properties(), text).expect("the temporary folder is writable");
    }

    fn server_properties(&self) -> BTreeMap<String, String> {
        let Ports { plain, controller, sasl, tls } = self.ports;
        let mut listeners =
            vec![format!("PLAINTEXT://127.0.0.1:{plain}"), format!("CONTROLLER://127.0.0.1:{controller}")];
        let mut advertised = vec![format!("PLAINTEXT://127.0.0.1:{plain}")];
        let jaas = |module: &str, more: &str| format!("org.apache.kafka.common.security.{module} required{more};");
        let plain_users = format!(" user_{}=\"{}\"", Self::USER, Self::PASSWORD);
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for (wanted, name, host, port) in
            [(self.options.sasl, "SASL_PLAINTEXT", "127.0.0.1", sasl), (self.options.tls, "SASL_SSL", "localhost", tls)]
        {
            if wanted {
                listeners.push(format!("{name}://{host}:{port}"));
                advertised.push(format!("{name}://{host}:{port}"));
                let listener = format!("listener.name.{}", name.to_lowercase());
                all.insert(format!("{listener}.plain.sasl.jaas.config"), jaas("plain.PlainLoginModule", &plain_users));
                all.insert(format!("{listener}.scram-sha-512.sasl.jaas.config"), jaas("scram.ScramLoginModule", ""));
            }
        }
        if self.options.tls {
            all.insert("ssl.keystore.type".into(), "PEM".into());
            all.insert("ssl.keystore.location".into(), self.folder.path().join("key-store.pem").display().to_string());
        }
        let ours = [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", "1".to_owned()),
            ("controller.quorum.bootstrap.servers", format!("127.0.0.1:{controller}")),
            ("listeners", listeners.join(",")),
            ("advertised.listeners", advertised.join(",")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL".to_owned(),
            ),
            ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512".to_owned()),
            ("log.dirs", self.folder.path().join("logs/data").display().to_string()),
            ("offsets.topic.replication.factor", "1".to_owned()),
            ("offsets.topic.num.partitions", "1".to_owned()),
            ("transaction.state.log.replication.factor", "1".to_owned()),
            ("transaction.state.log.min.isr", "1".to_owned()),
            ("transaction.state.log.num.partitions", "1".to_owned()),
            ("share.coordinator.state.topic.replication.factor", "1".to_owned()),
            ("share.coordinator.state.topic.min.isr", "1".to_owned()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            ("auto.create.topics.enable", "false".to_owned()),
            // A restart after kill -9 takes 4 seconds with these rather than 12.
            ("broker.session.timeout.ms", "2000".to_owned()),
            ("broker.heartbeat.interval.ms", "500".to_owned()),
        ];
        all.extend(ours.map(|(key, value)| (key.to_owned(), value)));
        all.extend(self.options.properties.clone());
        all
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            drop(server.kill());
            drop(server.wait());
        }
    }
}

/// Ports that are free now. All are held until all are known, so that they differ.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("loopback has free ports"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket has an address").port())
}

fn make_certificate(folder: &Path) {
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(folder)
        .output()
        .unwrap_or_else(|e| panic!("openssl cannot be run ({e}): install openssl"));
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("openssl wrote it");
    fs::write(folder.join("key-store.pem"), read("key.pem") + &read("certificate.pem"))
        .expect("the folder is writable");
}
