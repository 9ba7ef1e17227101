//! The ledger as people read it.

use std::fmt;

use capture::Count;

use super::{Report, SinkReport};

/// Several lines, without a line break at the end.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = &self.frames;
        write!(
            f,
            "frames   offered {} = received {} + ring_dropped {} + nic_dropped {}",
            frames.offered, frames.received, frames.ring_dropped, frames.nic_dropped
        )?;
        if frames.in_ring != Count::Exact(0) {
            write!(f, " + in_ring {}", frames.in_ring)?;
        }
        write!(
            f,
            "\n         received {} = filtered {} + processed {}",
            frames.received, frames.filtered, frames.processed
        )?;
        for (name, n) in [("damaged", frames.damaged), ("abandoned", frames.abandoned), ("in_work", frames.in_work)] {
            if n > 0 {
                write!(f, " + {name} {n}")?;
            }
        }
        if frames.undecodable > 0 {
            write!(f, "   (undecodable {} of processed)", frames.undecodable)?;
        }
        if frames.super_frames > 0 {
            write!(f, "   (merged by GRO/LRO {}: sizes are not those of the wire)", frames.super_frames)?;
        }
        if let Some(flows) = &self.flows {
            write!(f, "\nflows    processed {}", frames.processed)?;
            if flows.carried > 0 {
                write!(f, " + carried in tunnels {}", flows.carried)?;
            }
            write!(f, " = reported {}", flows.reported)?;
            for (name, n) in [("unreported", flows.unreported), ("cut_off", flows.cut_off)] {
                if n > 0 {
                    write!(f, " + {name} {n}")?;
                }
            }
            write!(f, "   ({} reports", flows.reports)?;
            for (name, n) in [("live flows", flows.live), ("flows reported early, the table was full", flows.evicted)] {
                if n > 0 {
                    write!(f, "; {n} {name}")?;
                }
            }
            f.write_str(")")?;
            if flows.recorded + flows.shed > 0 {
                write!(f, "\npackets  processed {} = recorded {}", frames.processed, flows.recorded)?;
                for (name, n) in [("unselected", flows.unselected), ("shed", flows.shed)] {
                    if n > 0 {
                        write!(f, " + {name} {n}")?;
                    }
                }
                if flows.shed > 0 {
                    f.write_str("   (sinks did not keep up with packets; their flows are complete)")?;
                }
            }
        }
        if let Some(app) = self.flows.as_ref().and_then(|flows| flows.app) {
            write!(f, "\napp      found {}", app.found)?;
            for (name, n) in [
                ("in several segments that could not be joined", app.incomplete),
                ("too little captured: raise --snaplen", app.not_captured),
                ("of those found not kept: raise --flow-memory", app.full),
            ] {
                if n > 0 {
                    write!(f, "; {n} {name}")?;
                }
            }
        }
        for sink in &self.sinks {
            write!(f, "\nrecords  {sink}")?;
        }
        if self.stalled.times > 0 {
            write!(
                f,
                "\nstalled  {} times, {} ms in all: a sink was slower than the wire and the ring had to hold",
                self.stalled.times, self.stalled.milliseconds
            )?;
        }
        match self.closes {
            None => Ok(()),
            Some(true) => write!(f, "\nledger   closes"),
            Some(false) => {
                write!(f, "\nledger   DOES NOT CLOSE (a bug in ringtap, please report it):")?;
                self.gaps.iter().try_for_each(|gap| write!(f, "\n         {} is off by {}", gap.line, gap.by))
            }
        }
    }
}

/// One line.
impl fmt::Display for SinkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: produced {} = delivered {} + rejected {} + spooled {} + in_flight {} + expired {}",
            self.sink, self.produced, self.delivered, self.rejected, self.spooled, self.in_flight, self.expired
        )?;
        let mut separator = "   (";
        for (reason, n) in &self.reasons {
            write!(f, "{separator}{reason} {n}")?;
            separator = ", ";
        }
        if self.reasons.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}
