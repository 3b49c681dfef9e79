//! Packet captures as a source of records: what the live probes would have
//! said of the same traffic.
//!
//! `reader` takes files apart (pcap, pcapng), `decode` packets (link, IP,
//! TCP), `tracker` finds the `connection`, whose two `stream`s put the bytes in
//! order, and `view` says it as [`Record`]s of the observed end. `quick` is a
//! short cut past all this for packets that need none of it.
//!
//! - A workload is an IP address: [`PcapSource::owner_address`] says which.
//! - The clock is the capture's own, UNIX time in nanoseconds; the offset from
//!   it to UNIX time is 0. Entry and exit of a call are the same instant.
//! - The client is who sent the SYN. In a capture that begins in the middle of
//!   a connection it is who sends what reads like the start of an HTTP request,
//!   or receives what reads like a response; if the first packets are neither,
//!   the lower port is the server's.
//! - Origins are known if both initial sequence numbers were seen.
//! - The same connection seen on both sides of a NAT is two connections here:
//!   nothing but its sequence numbers says otherwise.

mod classic;
mod connection;
mod counters;
mod decode;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod input;
#[expect(unsafe_code, reason = "files are mapped")]
mod map;
mod ng;
mod owners;
mod quick;
mod reader;
mod side;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod tracker;
mod view;
pub mod write;

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

pub use counters::Counters;
pub use error::PcapError;
#[cfg(any(test, feature = "fuzzing"))]
pub use fuzz::fuzz_pcap;
pub use view::Observe;

use crate::capture::Record;
use crate::units::{MonoNanos, OwnerId};
use input::Input;
use reader::{Packet, Reader, Stopped, Take};
use tracker::Tracker;

/// A capture being read.
#[derive(Debug)]
pub struct PcapSource<R> {
    reader: Reader<R>,
    tracker: Tracker,
    latest: MonoNanos,
    /// What is to be said once the end has been reached.
    end: Option<Drained>,
}

/// How far [`PcapSource::drain`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// The budget is used up, the capture is not.
    More,
    /// What has come out of a pipe is used up: the next drain waits for
    /// whoever writes it. Only [`PcapSource::open`]ed pipes have this.
    Dry,
    /// All was read.
    End {
        /// The last record of the file is cut short, or a damaged one came
        /// before.
        truncated: bool,
    },
}

impl PcapSource<File> {
    /// Opens a capture file.
    pub fn open(path: &Path, observe: Observe) -> Result<Self, PcapError> {
        Self::of(Input::open(File::open(path)?), observe)
    }

    /// The pipe that is read, if it is one.
    #[must_use]
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.reader.pipe().map(AsFd::as_fd)
    }
}

impl<R: Read> PcapSource<R> {
    /// Reads a capture from anything; the file header is read at once, in
    /// chunks of its own, so no buffering is needed below.
    pub fn from_reader(input: R, observe: Observe) -> Result<Self, PcapError> {
        Self::of(Input::new(input), observe)
    }

    fn of(input: Input<R>, observe: Observe) -> Result<Self, PcapError> {
        Ok(Self {
            reader: Reader::new(input)?,
            tracker: Tracker::new(observe),
            latest: MonoNanos::default(),
            end: None,
        })
    }

    /// Reads up to `budget` records of the file and says what they brought.
    ///
    /// At the end of the file, and before an error is returned, whatever still
    /// waited for a missing packet is given out, so that the records so far are
    /// complete. Connections that are still open get no end. After an error
    /// the source is at its end.
    pub fn drain(
        &mut self,
        budget: usize,
        sink: &mut impl FnMut(Record<'_>),
    ) -> Result<Drained, PcapError> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        let mut tracking = Tracking {
            tracker: &mut self.tracker,
            sink,
            latest: self.latest,
        };
        let stopped = self.reader.read(budget, &mut tracking);
        self.latest = tracking.latest;
        let end = match stopped {
            Ok(Stopped::Budget) => return Ok(Drained::More),
            Ok(Stopped::Dry) => return Ok(Drained::Dry),
            Ok(Stopped::End { truncated }) => Drained::End { truncated },
            Err(_) => Drained::End { truncated: true },
        };
        self.end = Some(end);
        self.tracker.finish(sink);
        stopped.map(|_| end)
    }

    /// What was read, refused and lost so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.tracker.counters()
    }

    /// The latest time of all packets so far.
    #[must_use]
    pub const fn latest(&self) -> MonoNanos {
        self.latest
    }

    /// The address that an owner of this source's records stands for.
    #[must_use]
    pub fn owner_address(&self, owner: OwnerId) -> Option<IpAddr> {
        self.tracker.owner_address(owner)
    }
}

/// From the reader to the tracker.
struct Tracking<'a, S> {
    tracker: &'a mut Tracker,
    sink: &'a mut S,
    latest: MonoNanos,
}

impl<S: FnMut(Record<'_>)> Take for Tracking<'_, S> {
    #[inline(always)]
    fn take(&mut self, packet: Packet<'_>) {
        self.latest = self.latest.max(packet.at);
        self.tracker.packet(packet, self.sink);
    }
}
