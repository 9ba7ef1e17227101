//! Configuration: files in TOML, over which flags win.

pub(crate) mod options;
pub(crate) mod values;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use options::ConfigFile;

/// Where `run` and `check` look if no file is named.
const DEFAULT: &str = "/etc/ringtap/ringtap.toml";

/// Octets of a configuration file at most.
const LARGEST: u64 = 1 << 20;

/// Reads the named file, or the default one if it is there; then `conf.d/*.toml` beside it in the order of their names, of which
/// each wins over those before.
pub(crate) fn load(named: Option<&Path>) -> Result<ConfigFile> {
    let main = named.unwrap_or(Path::new(DEFAULT));
    let mut config = if named.is_some() || main.exists() { read(main)? } else { ConfigFile::default() };
    for path in drop_ins(main)? {
        config = read(&path)?.or(config);
    }
    Ok(config)
}

fn drop_ins(main: &Path) -> Result<Vec<PathBuf>> {
    let directory = main.with_file_name("conf.d");
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", directory.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<ConfigFile> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text))
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    if text.len() as u64 > LARGEST {
        bail!("{} is longer than 1 MiB: that is no configuration of ringtap's", path.display());
    }
    parse(&text, &path.display().to_string())
}

/// The error has the file, the line, what stands there and what is allowed.
fn parse(text: &str, name: &str) -> Result<ConfigFile> {
    match toml::from_str::<ConfigFile>(text) {
        Ok(mut config) => {
            // Whether a filter is right shows only when it is compiled.
            if !config.filter.filters.is_empty() {
                let line = text.lines().position(|line| line.trim_start().starts_with("filters"));
                let line = line.map(|n| format!(", line {}", n + 1)).unwrap_or_default();
                config.filter.origin = Some(format!("{name}{line}"));
            }
            Ok(config)
        }
        Err(error) => {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let (shown, whole) = shown(text, line);
            bail!(
                "{name}, line {line}: {}\n{shown}",
                if whole { error.message() } else { without_value(error.message()) }
            )
        }
    }
}

/// A line as far as it may be seen by those who read the log, and whether that is all of it: no password of an option or of a
/// URL, and nothing from within a text of several lines, which may be a key.
fn shown(text: &str, number: usize) -> (String, bool) {
    let mut inside = false;
    for line in text.lines().take(number - 1) {
        inside ^= (line.matches("\"\"\"").count() + line.matches("'''").count()) % 2 == 1;
    }
    let line = text.lines().nth(number - 1).unwrap_or_default();
    if !inside && !shipper::is_secret(line) && !line.contains('@') {
        return (line.to_owned(), true);
    }
    let key = line.split_once('=').map_or("", |(key, _)| key);
    if inside || key.contains('@') { (String::new(), false) } else { (format!("{key}= ***"), false) }
}

/// The parser quotes a value of the wrong type.
fn without_value(message: &str) -> &str {
    if message.starts_with("invalid type") || message.starts_with("invalid value") {
        "this value has the wrong type"
    } else {
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        format!("{:#}", parse(text, "ringtap.toml").unwrap_err())
    }

    #[test]
    fn errors_name_the_line_and_what_is_allowed() {
        let unknown = message("[output]\nto = [\"null:\"]\nbatch-sise = 1\n");
        assert!(unknown.contains("ringtap.toml, line 3") && unknown.contains("`batch-size`"), "{unknown}");
        let range = message("[capture]\nqueues = 0\n");
        assert!(range.contains("line 2") && range.contains("1 to 256"), "{range}");
        let kind = message("[capture]\nqueues = true\n");
        assert!(kind.contains("line 2") && kind.contains("invalid type"), "{kind}");
        let unit = message("[output]\nbatch-age = 200\n");
        assert!(unit.contains("200ms"), "{unit}");
        let direction = message("[capture]\ndirection = \"up\"\n");
        assert!(direction.contains("one of in, out, promisc"), "{direction}");
        assert!(message("[capture\n").contains("line 1"));
        for queues in ["\"x\"", "-1", "170141183460469231731687303715884105727", "18446744073709551616"] {
            let range = message(&format!("[capture]\nqueues = {queues}\n"));
            assert!(range.contains("line 2") && range.contains("1 to 256"), "{range}");
        }
        for (sinks, says) in [
            ("\"null:\"", "a list in brackets"),
            ("[\"ftp://host/x\"]", "kafka://host:9092/topic"),
            ("[\"null:\", \"null:\"]", "entry 2 of this list is there twice"),
        ] {
            let error = message(&format!("[output]\n\nto = {sinks}\n"));
            assert!(error.contains("ringtap.toml, line 3") && error.contains(says), "{error}");
        }
    }

    #[test]
    fn errors_have_no_password() {
        let section = "[kafka.librdkafka]\n";
        for (text, line) in [
            (format!("{section}\"sasl.password\" = \"s3cret\n"), "line 2: "),
            (format!("{section}\"sasl.password\" = 53cre7\n"), "line 2: "),
            (format!("{section}\"sasl.password\" = s3cret\n"), "line 2: "),
            (format!("{section}sasl.password = \"s3cret\"\n"), "sasl.password = ***"),
            ("[output]\n\"Sasl.Password\" = \"s3cret\"\n".to_owned(), "\"Sasl.Password\" = ***"),
            (format!("{section}\"ssl.key.pem\" = \"\"\"\nabc\ns3cret\\q==\n\"\"\"\n"), "line 4: "),
            ("[output]\nto = [\"kafka://al:s3cret@h/t\n".to_owned(), "to = ***"),
            ("[output]\nto = [\n  \"kafka://al:s3cret@h/t?a=b\n".to_owned(), "line 3: "),
            ("[output]\nto = [\"kafka://h/t?sasl.password=s3cret\n".to_owned(), "to = ***"),
            ("[output]\nto = \"kafka://al:s3cret@h/t\"\n".to_owned(), "to = ***"),
        ] {
            let said = message(&text);
            assert!(said.contains(line) && !said.contains("s3cret") && !said.contains("53cre7"), "{text}: {said}");
        }
        let number = message(&format!("{section}\"sasl.password\" = 12345\n"));
        assert!(number.contains("\"sasl.password\" = ***") && !number.contains("12345"), "{number}");
    }

    #[test]
    fn later_files_win_and_librdkafka_options_add_up() {
        let first =
            parse("[capture]\nqueues = 1\nsnaplen = 100\n[kafka.librdkafka]\n\"a.b\" = \"1\"\n\"c.d\" = \"1\"\n", "a")
                .unwrap();
        let second = parse("[capture]\nqueues = 2\n[kafka.librdkafka]\n\"c.d\" = \"2\"\n", "b").unwrap();
        let both = second.or(first);
        assert_eq!(both.capture.queues.unwrap().get(), 2);
        assert_eq!(both.capture.snaplen.unwrap().get(), 100);
        assert_eq!(both.kafka.librdkafka.into_values().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn options_of_librdkafka_need_no_quotes() {
        let config = parse("[kafka.librdkafka]\n\"a\" = 5\n\"b\" = true\n\"c\" = \"x\"\n\"d\" = 0.5\n", "a").unwrap();
        assert_eq!(config.kafka.librdkafka.into_values().collect::<Vec<_>>(), ["5", "true", "x", "0.5"]);
        let error = message("[kafka.librdkafka]\n\"a\" = []\n");
        assert!(error.contains("line 2") && error.contains("text, a number, true or false"), "{error}");
        let error = message("[kafka.librdkafka]\n\"a\" = 5\n\"sasl.password\" = 1.50\n");
        assert!(error.contains("line 3") && error.contains("sasl.password"), "{error}");
    }

    #[test]
    fn a_file_that_never_ends_is_no_configuration() {
        let error = format!("{:#}", load(Some(Path::new("/dev/zero"))).unwrap_err());
        assert!(error.contains("/dev/zero is longer than 1 MiB"), "{error}");
    }

    #[test]
    fn conf_d_is_read_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("ringtap.toml");
        fs::write(&main, "[output]\nto = [\"null:\"]\n").unwrap();
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        fs::write(dir.path().join("conf.d/20.toml"), "[output]\nsensor = \"b\"\n").unwrap();
        fs::write(dir.path().join("conf.d/10.toml"), "[output]\nsensor = \"a\"\n").unwrap();
        fs::write(dir.path().join("conf.d/30.toml.bak"), "nonsense").unwrap();
        let config = load(Some(&main)).unwrap();
        assert_eq!(config.output.sensor.unwrap().0, "b");
        assert_eq!(config.output.to, ["null:"]);
    }
}
