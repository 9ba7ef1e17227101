//! CreateTopics, version 2 of the protocol, by hand: Kafka's own command takes three seconds to start, each time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const CREATE_TOPICS: i16 = 19;
const VERSION: i16 = 2;

pub(super) fn create_topic(address: &str, name: &str, partitions: u32, configs: &[(&str, &str)]) -> io::Result<()> {
    let mut request = Vec::new();
    request.extend(CREATE_TOPICS.to_be_bytes());
    request.extend(VERSION.to_be_bytes());
    request.extend(7_i32.to_be_bytes()); // correlation
    string(&mut request, "testkit");
    request.extend(1_i32.to_be_bytes()); // topics
    string(&mut request, name);
    request.extend(partitions.to_be_bytes());
    request.extend(1_i16.to_be_bytes()); // replication factor
    request.extend(0_i32.to_be_bytes()); // assignments
    request.extend(u32::try_from(configs.len()).expect("few").to_be_bytes());
    for (key, value) in configs {
        string(&mut request, key);
        string(&mut request, value);
    }
    request.extend(10_000_i32.to_be_bytes()); // milliseconds
    request.push(0); // not only to validate

    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(&u32::try_from(request.len()).expect("short").to_be_bytes())?;
    stream.write_all(&request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;

    // Correlation, throttle time, number of topics, name: then the error's code and text.
    let at = 4 + 4 + 4 + 2 + name.len();
    match answer.get(at..at + 2) {
        Some([0, 0]) => Ok(()),
        _ => Err(io::Error::other(format!("the broker refuses: {}", String::from_utf8_lossy(&answer[12..])))),
    }
}

fn string(request: &mut Vec<u8>, text: &str) {
    request.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
    request.extend(text.as_bytes());
}
