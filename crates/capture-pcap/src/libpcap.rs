//! The compiler of BPF expressions: whichever libpcap is found at run time.

use std::env;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use capture::{CaptureError, FilterError, FilterProgram, LinkType};

use crate::place::{self, Place};
use crate::sys::{Api, Handle, LiveError, c_string};

/// The compiler of libpcap before 1.8 has global variables, and two loaded copies may be one.
static COMPILER: Mutex<()> = Mutex::new(());

/// The names under which distributions install it: upstream's, Debian's (which kept the name of 0.8), a developer's.
const NAMES: [&str; 3] = ["libpcap.so.1", "libpcap.so.0.8", "libpcap.so"];

/// The longest frame that libpcap takes, octets (`MAXIMUM_SNAPLEN`); also what a snaplen of 0 means to us.
const MAX_SNAPLEN: u32 = 256 << 10;

/// Octets of the ring of a handle that only compiles: as small as any version takes.
const LIVE_BUFFER: i32 = 1 << 20;

/// A libpcap.
pub struct Libpcap {
    api: Api,
    path: PathBuf,
}

/// Why an expression has not become a program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The expression is wrong.
    #[error("filter {expression:?}: {message}{}", Near(.place.as_ref()))]
    Expression {
        /// As the user wrote it.
        expression: String,
        /// In libpcap's words.
        message: String,
        /// Where, if it could be found out.
        place: Option<Place>,
    },
    /// It is right, but too long.
    #[error("filter {expression:?}: {source}")]
    TooLong {
        /// As the user wrote it.
        expression: String,
        /// How long.
        #[source]
        source: FilterError,
    },
    /// It could not come to that.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

/// The place at the end of a message.
struct Near<'p>(Option<&'p Place>);

impl fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |place| write!(f, " {place}"))
    }
}

impl Libpcap {
    /// Loads this library (see [`Self::meant`]), or else the first that is found by its usual names.
    ///
    /// # Errors
    /// [`CaptureError::Unsupported`], which names the package to install.
    pub fn load(path: Option<&Path>) -> Result<Self, CaptureError> {
        static TOLD: Once = Once::new();
        if let Some(named) = path {
            let path = &*Self::meant(named);
            if path != named {
                TOLD.call_once(|| {
                    tracing::info!("libpcap: {} is here, and is taken: {}", named.display(), path.display());
                });
            }
            let api = Api::load(path).map_err(|error| {
                CaptureError::Unsupported(format!(
                    "{} cannot be used as libpcap: {}",
                    path.display(),
                    with_cause(&error)
                ))
            })?;
            return Ok(Self { api, path: path.to_owned() });
        }
        let mut last = None;
        for name in NAMES {
            match Api::load(Path::new(name)) {
                Ok(api) => return Ok(Self { api, path: name.into() }),
                Err(error) => last = last.or(Some(error)),
            }
        }
        Err(CaptureError::Unsupported(format!(
            "filters need libpcap, which is not there{}; Debian and Ubuntu: sudo apt-get install libpcap0.8; Fedora: sudo dnf install libpcap",
            last.map(|error| format!(" ({})", with_cause(&error))).unwrap_or_default()
        )))
    }

    /// The file that a user means by `path`. A name without a slash is that of a file of the working folder, if there is one; else it stays a
    /// name, which the loader looks for in the folders of the system (ld.so(8)), and nowhere else.
    #[must_use]
    pub fn meant(path: &Path) -> PathBuf {
        let name = !path.as_os_str().as_encoded_bytes().contains(&b'/');
        let here = || Some(env::current_dir().ok()?.join(path)).filter(|here| here.is_file());
        name.then(here).flatten().unwrap_or_else(|| path.to_owned())
    }

    /// The library, and the path or name by which it was loaded.
    pub(crate) fn into_parts(self) -> (Api, PathBuf) {
        (self.api, self.path)
    }

    /// What the library calls itself, for example "libpcap version 1.10.3 (with TPACKET_V3)".
    #[must_use]
    pub fn libpcap_version(&self) -> String {
        self.api.version()
    }

    /// The path or name by which it was loaded.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Compiles expressions (pcap-filter(7)), which must all match, for frames out of a file. Empty ones, and none at all, take every frame.
    ///
    /// The program returns `snaplen` octets (0: 256 KiB, the longest that libpcap knows) for a frame that it takes.
    ///
    /// # Errors
    /// [`CompileError::Expression`] with libpcap's own message and, where it can be found out, the place;
    /// [`CompileError::TooLong`] for more instructions than the kernel takes.
    pub fn compile<E: AsRef<str>>(
        &self,
        expressions: &[E],
        link_type: LinkType,
        snaplen: u32,
    ) -> Result<FilterProgram, CompileError> {
        let _one_at_a_time = COMPILER.lock().unwrap_or_else(PoisonError::into_inner);
        let mut handle = self.dead(dlt(link_type), snaplen)?;
        self.compile_with(&mut handle, expressions, || self.dead(dlt(link_type), snaplen))
    }

    /// Compiles expressions, which must all match, for a raw (`SOCK_RAW`) socket bound to this interface, whose frames start with `link_type`. The program may
    /// use the kernel's extensions (linux/filter.h, `SKF_AD_OFF`): it sees VLAN tags that the kernel has taken out of the frame, and knows
    /// `inbound` from `outbound`. A program of [`Self::compile`] does not see such tags. To have libpcap make it, a socket is opened for a
    /// moment.
    ///
    /// # Errors
    /// As [`Self::compile`], and [`CaptureError::NoSuchInterface`], [`CaptureError::Permission`] (it takes `CAP_NET_RAW`).
    pub fn compile_live<E: AsRef<str>>(
        &self,
        interface: &str,
        link_type: LinkType,
        expressions: &[E],
        snaplen: u32,
    ) -> Result<FilterProgram, CompileError> {
        let _one_at_a_time = COMPILER.lock().unwrap_or_else(PoisonError::into_inner);
        let no_such = || CaptureError::NoSuchInterface { name: interface.to_owned() };
        let name = c_string(interface).ok_or_else(no_such)?;
        let mut handle = match self.api.open_live(&name, snaplen_for(snaplen), LIVE_BUFFER) {
            // On PPP and others libpcap captures "cooked", and its program looks at another header than the socket shows.
            Ok(live) if live.link_type() == dlt(link_type) => live,
            Ok(_) => self.dead(dlt(link_type), snaplen)?,
            Err(error) if error.status == LiveError::NOT_UP => self.stand_in(interface, link_type, snaplen)?,
            Err(error) if error.status == LiveError::NO_SUCH_DEVICE => return Err(no_such().into()),
            Err(error) if error.status == LiveError::PERMISSION_DENIED => {
                return Err(CompileError::Capture(CaptureError::Permission {
                    action: "compiling a filter for a live interface",
                    capability: "CAP_NET_RAW",
                    setcap: "cap_net_raw",
                    program: env::current_exe().map_or_else(|_| "ringtap".to_owned(), |p| p.display().to_string()),
                }));
            }
            Err(error) => return Err(system(format!("compiling a filter for {interface}"), &error.message).into()),
        };
        self.compile_with(&mut handle, expressions, || self.dead(dlt(link_type), snaplen))
    }

    /// A handle in the place of one on an interface that is down, on which none can be opened: what libpcap compiles depends on the link
    /// type and on being live, not on the interface.
    fn stand_in(&self, interface: &str, link_type: LinkType, snaplen: u32) -> Result<Handle<'_>, CaptureError> {
        if link_type == LinkType::ETHERNET {
            match self.api.open_live(c"lo", snaplen_for(snaplen), LIVE_BUFFER) {
                Ok(live) if live.link_type() == dlt(link_type) => return Ok(live),
                _ => tracing::warn!(
                    interface,
                    "the interface is down, and so is lo: `vlan` in the filter will not see tags that the kernel takes out of frames"
                ),
            }
        }
        self.dead(dlt(link_type), snaplen)
    }

    /// A handle that compiles for files.
    fn dead(&self, link_type: i32, snaplen: u32) -> Result<Handle<'_>, CaptureError> {
        let handle = self.api.open_dead(link_type, snaplen_for(snaplen));
        handle.ok_or_else(|| system("opening a libpcap handle".to_owned(), "out of memory"))
    }

    /// Compiles; `probe` gives the handle by which the place of a mistake is looked for.
    fn compile_with<'a, E: AsRef<str>>(
        &'a self,
        handle: &mut Handle<'a>,
        expressions: &[E],
        probe: impl Fn() -> Result<Handle<'a>, CaptureError>,
    ) -> Result<FilterProgram, CompileError> {
        let expressions: Vec<&str> = expressions.iter().map(AsRef::as_ref).filter(|e| !e.trim().is_empty()).collect();
        match expressions.as_slice() {
            [] => Self::compile_one(handle, "", &probe),
            [one] => Self::compile_one(handle, one, &probe),
            several => {
                // Each alone first: two wrong ones can be right together, and a mistake is shown in the user's own words.
                for expression in several {
                    Self::compile_one(handle, expression, &probe)?;
                }
                let all = several.iter().map(|e| format!("({e})")).collect::<Vec<_>>().join(" and ");
                Self::compile_one(handle, &all, &probe)
            }
        }
    }

    fn compile_one<'a>(
        handle: &mut Handle<'a>,
        expression: &str,
        probe: impl Fn() -> Result<Handle<'a>, CaptureError>,
    ) -> Result<FilterProgram, CompileError> {
        let wrong = |message: String, place| {
            Err(CompileError::Expression { expression: expression.to_owned(), message, place })
        };
        let Some(text) = c_string(expression) else {
            return wrong("it has a zero octet in it".to_owned(), None);
        };
        match handle.compile(&text) {
            Ok(compiled) => FilterProgram::new(compiled.instructions())
                .map_err(|source| CompileError::TooLong { expression: expression.to_owned(), source }),
            Err(message) => {
                let mut probe = probe()?;
                let place = place::find(expression, &message, &mut |attempt| {
                    c_string(attempt).and_then(|attempt| probe.compile(&attempt).err())
                });
                wrong(place::plain(&message).to_owned(), place)
            }
        }
    }

    /// What libpcap says against an expression.
    #[cfg(test)]
    pub(crate) fn compile_message(&self, expression: &str, link_type: LinkType) -> Option<String> {
        let _one_at_a_time = COMPILER.lock().unwrap_or_else(PoisonError::into_inner);
        self.dead(dlt(link_type), 0).ok()?.compile(&c_string(expression)?).err()
    }

    /// libpcap's own interpreter, on an expression, as a judge of ours.
    #[cfg(test)]
    pub(crate) fn judge(&self, expression: &str, link_type: LinkType) -> Option<crate::sys::Compiled<'_>> {
        let _one_at_a_time = COMPILER.lock().unwrap_or_else(PoisonError::into_inner);
        self.dead(dlt(link_type), 0).ok()?.compile(&c_string(expression)?).ok()
    }
}

/// The loader's own words are the cause of libloading's.
fn with_cause(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn system(action: String, message: &str) -> CaptureError {
    CaptureError::System { action, source: io::Error::other(message.to_owned()) }
}

fn snaplen_for(snaplen: u32) -> i32 {
    // A program compiled for 0 octets rejects everything.
    let snaplen = if snaplen == 0 { MAX_SNAPLEN } else { snaplen };
    i32::try_from(snaplen).unwrap_or(i32::MAX)
}

/// libpcap's number on this platform for a number of the registry: they differ for a few old types.
///
/// pcap/dlt.h and pcap/bpf.h of libpcap; here as on Linux.
fn dlt(link_type: LinkType) -> i32 {
    match link_type.0 {
        100 => 11, // ATM_RFC1483
        101 => 12, // RAW
        102 => 15, // SLIP_BSDOS
        103 => 16, // PPP_BSDOS
        106 => 19, // ATM_CLIP
        other => i32::try_from(other).unwrap_or(i32::MAX),
    }
}

/// The other way round.
pub(crate) fn linktype_of_dlt(dlt: i32) -> LinkType {
    LinkType(match dlt {
        11 => 100,
        12 | 14 => 101, // 14 on OpenBSD
        15 => 102,
        16 => 103,
        19 => 106,
        other => u32::try_from(other).unwrap_or(u32::MAX),
    })
}
