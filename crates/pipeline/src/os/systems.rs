//! Systems that are known by their SYNs.

use std::collections::HashMap;

use super::signature::{Signature, SignatureError, Window};
use super::syn::{Layout, Quirks, Syn};

/// Hops that a packet hardly ever makes more than.
const FAR: u8 = 35;
/// Labels that a guess can name.
const MOST: usize = 254;

/// A system, or the program that imitates none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// `Linux`, `Windows`, `Cisco IOS` ...
    pub name: String,
    /// Version or variant; may be empty.
    pub flavour: String,
}

/// What a SYN tells: which of the [`Systems`] sent it, and how far away that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guess {
    /// One more than the number of the system; 0 if it is not known.
    system: u8,
    /// One more than the hops.
    hops: u8,
}

impl Guess {
    /// Routers between the sender and the sensor: what is missing of the TTL that the system, or else most systems, start with. `None` without a SYN.
    #[must_use]
    pub fn hops(self) -> Option<u8> {
        self.hops.checked_sub(1)
    }
}

/// A signature and whose it is.
#[derive(Clone, Copy, Debug)]
struct Known {
    signature: Signature,
    system: u8,
    /// It fits several systems: others go first.
    generic: bool,
    /// A program that makes its packets itself, of which nothing is guessed that fits only nearly.
    program: bool,
}

/// All that are known.
#[derive(Debug, Default)]
pub struct Systems {
    systems: Vec<System>,
    by_layout: HashMap<Layout, Vec<Known>>,
}

impl Systems {
    /// Those that ringtap knows by itself.
    #[must_use]
    pub fn built_in() -> Self {
        let mut systems = Self::default();
        // A test reads it: there is no error.
        let _ = systems.add(include_str!("systems.in"));
        systems
    }

    /// Adds those of a database in p0f's format, of which the section `[tcp:request]` counts. What was added before goes first.
    ///
    /// # Errors
    /// The first line that is none of p0f's. What stands before it was added.
    pub fn add(&mut self, database: &str) -> Result<(), SignatureError> {
        let mut is_request = false;
        let mut label = None;
        for (n, line) in database.lines().enumerate() {
            let line = line.trim();
            let error = |what| SignatureError { line: n + 1, what };
            if line.is_empty() || line.starts_with(';') {
                continue;
            }
            if line.starts_with('[') {
                (is_request, label) = (line == "[tcp:request]", None);
                continue;
            }
            if !is_request {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or_else(|| error(format!("{line:?} is not key = value")))?;
            match key.trim() {
                "label" => label = Some(self.label(value.trim()).map_err(error)?),
                "sig" => {
                    let (system, generic, program) =
                        label.ok_or_else(|| error("a signature without a label before it".to_owned()))?;
                    let signature = Signature::parse(value.trim()).map_err(error)?;
                    let known = Known { signature, system, generic, program };
                    self.by_layout.entry(signature.layout).or_default().push(known);
                }
                // What programs run on, and the like.
                _ => {}
            }
        }
        Ok(())
    }

    /// `kind:class:name:flavour`. Gives number, whether it is generic, and whether it is a program.
    fn label(&mut self, text: &str) -> Result<(u8, bool, bool), String> {
        let mut parts = text.splitn(4, ':');
        let (Some(kind), Some(class), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!("{text:?} is not kind:class:name:flavour"));
        };
        let flavour = parts.next().unwrap_or_default();
        // They stand in records as they are.
        let is_plain = |text: &str| text.len() <= 64 && !text.contains(|c: char| c < ' ' || c == '"' || c == '\\');
        if name.is_empty() || !is_plain(name) || !is_plain(flavour) {
            return Err(format!(
                "{text:?}: names have up to 64 octets, without quotes, backslashes and control characters"
            ));
        }
        let system = System { name: name.to_owned(), flavour: flavour.to_owned() };
        let at = self.systems.iter().position(|known| *known == system).unwrap_or_else(|| {
            self.systems.push(system);
            self.systems.len() - 1
        });
        if at >= MOST {
            return Err(format!("there are more than {MOST} different labels"));
        }
        Ok((at as u8 + 1, kind == "g", class == "!"))
    }

    /// The system of a guess that these made.
    #[must_use]
    pub fn system(&self, guess: Guess) -> Option<&System> {
        self.systems.get(usize::from(guess.system.checked_sub(1)?))
    }

    /// Who sent it. The first that fits in all counts, then the first generic one, then the first that fits but for what routers change.
    pub(crate) fn guess(&self, syn: &Syn) -> Guess {
        let known = self.by_layout.get(&syn.layout).map_or(&[][..], Vec::as_slice);
        let window = in_segments(syn);
        let (mut generic, mut nearly) = (None, None);
        let mut best = None;
        for known in known {
            match fits(&known.signature, syn, window) {
                Fit::Not => {}
                Fit::Whole if known.generic => generic = generic.or(Some(known)),
                Fit::Whole => {
                    best = Some(known);
                    break;
                }
                Fit::Nearly => nearly = nearly.or(Some(known)),
            }
        }
        let best = best.or(generic).or(nearly.filter(|known| !known.program));
        let start = match best.map(|known| &known.signature) {
            Some(signature) if !signature.any_ttl && signature.ttl >= syn.ttl && signature.ttl - syn.ttl <= FAR => {
                signature.ttl
            }
            _ => first_ttl(syn.ttl),
        };
        Guess { system: best.map_or(0, |known| known.system), hops: (start - syn.ttl).saturating_add(1) }
    }
}

/// What systems start with.
fn first_ttl(ttl: u8) -> u8 {
    [32, 64, 128].into_iter().find(|&start| ttl <= start).unwrap_or(255)
}

enum Fit {
    Not,
    /// But for what middleboxes change.
    Nearly,
    Whole,
}

fn fits(signature: &Signature, syn: &Syn, window: Option<(u16, bool)>) -> Fit {
    // What the other version of IP does not have.
    let elsewhere = match (signature.v6, syn.v6) {
        (Some(version), v6) if version != v6 => return Fit::Not,
        (Some(_), _) => 0,
        (None, false) => Quirks::FLOW,
        (None, true) => Quirks::DF | Quirks::ID | Quirks::NO_ID,
    };
    let wanted = signature.quirks.0 & !elsewhere;
    let (missing, more) = (wanted & !syn.quirks.0, syn.quirks.0 & !wanted);
    if missing & !(Quirks::DF | Quirks::ID) != 0 || more & !(Quirks::NO_ID | Quirks::ECN) != 0 {
        return Fit::Not;
    }
    let mut whole = missing | more == 0;
    if signature.padding != syn.padding || signature.ip_options != syn.ip_options {
        return Fit::Not;
    }
    let near = signature.ttl >= syn.ttl && signature.ttl - syn.ttl <= FAR;
    if signature.any_ttl && signature.ttl < syn.ttl {
        return Fit::Not;
    }
    whole &= signature.any_ttl || near;
    let same = signature.mss.is_none_or(|mss| mss == syn.mss)
        && signature.scale.is_none_or(|scale| scale == syn.scale)
        && signature.payload.is_none_or(|payload| payload == syn.has_payload)
        && match signature.window {
            Window::Any => true,
            Window::Octets(octets) => octets == syn.window,
            Window::MultipleOf(octets) => syn.window.is_multiple_of(octets),
            Window::Segments(times) => window == Some((times, false)),
            Window::Packets(times) => window == Some((times, true)),
        };
    match (same, whole) {
        (false, _) => Fit::Not,
        (true, true) => Fit::Whole,
        (true, false) => Fit::Nearly,
    }
}

/// The window in maximum segments, or (`true`) in maximum packets, if it is a multiple of what the sender may have taken for that.
fn in_segments(syn: &Syn) -> Option<(u16, bool)> {
    let (window, mss) = (i32::from(syn.window), i32::from(syn.mss));
    if window == 0 || mss < 100 {
        return None;
    }
    let timestamp = syn.has_timestamp;
    let sizes = [
        (mss, false, true),
        // Some count the timestamp as a part of the segment.
        (mss - 12, false, timestamp),
        // Some know another interface's: Ethernet's.
        (1500 - 40, false, true),
        (1500 - 40 - 12, false, true),
        (1500 - 60, false, syn.v6),
        (1500 - 60 - 12, false, syn.v6),
        (mss + 40, true, true),
        (mss + i32::from(syn.headers), true, true),
        (mss + 60, true, syn.v6),
        (1500, true, true),
    ];
    let fits = |&(size, _, counts): &(i32, bool, bool)| counts && size > 0 && window % size == 0;
    sizes.into_iter().find(fits).map(|(size, packets, _)| ((window / size) as u16, packets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_can_be_read() {
        let mut systems = Systems::default();
        assert_eq!(systems.add(include_str!("systems.in")), Ok(()));
        let names: std::collections::BTreeSet<_> = systems.systems.iter().map(|system| system.name.as_str()).collect();
        for name in ["Linux", "Windows", "macOS", "Cisco IOS"] {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let mut systems = Systems::default();
        let error = systems.add("[tcp:request]\nlabel = s:unix:Linux:\nsig = 4:64:0\n").unwrap_err();
        assert!(error.line == 3 && error.what.contains("8"), "{error}");
        for wrong in
            ["sig = *:64:0:*:*,*:mss:df:0", "label = Linux", "label", "label = s:unix:A\"B:", "label = s:unix::"]
        {
            assert!(Systems::default().add(&format!("[tcp:request]\n{wrong}")).is_err(), "{wrong}");
        }
    }
}
