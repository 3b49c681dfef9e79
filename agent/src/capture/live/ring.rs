//! Reading the ring.

use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use agent_ebpf::{
    Direction, IgnoredSocket, Kind, RawRecord, SWITCH_ASLEEP, SWITCH_ON, Skip, SocketState, Tuple,
    ignored_slot, skip_key,
};
use aya::maps::{Array, HashMap, MapData, MapError, RingBuf};

use rustix::event::{self, PollFd, PollFlags};

use super::control::Plain;
use super::probes::Probes;
use super::{Control, Gauges, Kept, KeptAll, LiveError, Options, Report, privileges, selftest};
use crate::capture::{Command, Event, Record, Segment};
use crate::units::{Comm, Endpoint, MonoNanos, Origins, OwnerId, SocketId, TcpSeq};

/// The live source: programs in the kernel and the ring they fill.
pub struct Live {
    ring: RingBuf<MapData>,
    bell: OwnedFd,
    switch: Array<MapData, u32>,
    sockets: HashMap<MapData, u64, Plain<SocketState>>,
    skips: HashMap<MapData, u64, Plain<Skip>>,
    ignored: Array<MapData, Plain<IgnoredSocket>>,
    linger: Duration,
    idle: u32,
    malformed: u64,
    unsaid: u64,
    read: u64,
    /// Records that came during the self-test and are not its own: the first
    /// words of sockets that were busy meanwhile.
    early: Vec<Box<[u8]>>,
    testing: bool,
    logger: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
    /// Held for their links: dropping them detaches the programs.
    probes: Probes,
}

/// Empty rounds after which the reader goes to sleep until it is woken.
const IDLE_ROUNDS: u32 = 20;

/// Records kept of those that come during the self-test.
const EARLY: usize = 65536;

impl Live {
    /// Loads, attaches and tests the probes.
    ///
    /// # Errors
    /// Says what this kernel, this user or this build lacks.
    pub fn start(options: &Options) -> Result<(Self, Control, Gauges, Report), LiveError> {
        let mut probes = Probes::load(options)?;
        let ring = map("RING", &mut probes, RingBuf::try_from)?;
        let switch = map("SWITCH", &mut probes, Array::try_from)?;
        let sockets = map("SOCKETS", &mut probes, HashMap::try_from)?;
        let skips = map("SKIPS", &mut probes, HashMap::try_from)?;
        let ignored = map("IGNORED", &mut probes, Array::try_from)?;
        let owners = map("OWNERS", &mut probes, HashMap::try_from)?;
        let verdicts = map("VERDICTS", &mut probes, Array::try_from)?;
        let local = map("LOCAL", &mut probes, |m| {
            aya::maps::PerCpuArray::try_from(m)
        })?;
        let gauges = Gauges::new(local, probes.descriptors());
        let mut control = Control::new(owners, verdicts);
        let mut report = probes.report();
        let logger = options
            .kernel_log
            .then(|| aya_log::EbpfLogger::init(&mut probes.ebpf));
        let logger = logger
            .transpose()
            .map_err(|error| LiveError::KernelLog(error.to_string()))?;
        let bell = bell(&ring)?;
        let mut live = Self {
            ring,
            bell,
            switch,
            sockets,
            skips,
            ignored,
            linger: options.linger,
            idle: 0,
            malformed: 0,
            unsaid: 0,
            read: 0,
            early: Vec::new(),
            testing: true,
            logger,
            probes,
        };
        live.switch
            .set(SWITCH_ON, 1, 0)
            .map_err(|source| LiveError::Map {
                map: "SWITCH",
                source: Box::new(source),
            })?;
        let outcome = selftest::run(&mut live)?;
        report.self_test = outcome.told;
        live.testing = false;
        control.ignore_self(outcome.owner)?;
        Ok((live, control, gauges, report))
    }

    /// Gives up every capability of this thread, and of those it starts from
    /// now on, that only loading and attaching needed. With `finds_sockets`
    /// the one stays that shows where processes of other users listen.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn give_up_privileges(&mut self, finds_sockets: bool) -> Result<Kept, KeptAll> {
        privileges::give_up(finds_sockets, || self.sleepy(0).is_ok())
    }

    /// Detaches the programs, so that what is in the ring is all there will
    /// be. A program that runs at this moment may still finish its record.
    pub fn close(&mut self) {
        self.probes.detach();
    }

    /// Hands up to `budget` records to `sink`; returns how many there were.
    pub fn drain(&mut self, budget: usize, mut sink: impl FnMut(&Record<'_>)) -> usize {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        self.tidy_inside();
        if !self.testing {
            for early in std::mem::take(&mut self.early) {
                if let Some(record) = decode(&early) {
                    sink(&record);
                }
            }
        }
        let mut read = 0;
        while read < budget {
            let Some(item) = self.ring.next() else { break };
            read += 1;
            if let Some(inside) = &mut self.probes.inside
                && let Some(raw) = read_raw(&item)
            {
                inside.see(&raw);
            }
            match decode(&item) {
                Some(record) => {
                    if self.testing && self.early.len() < EARLY && record.pid != std::process::id()
                    {
                        self.early.push((*item).into());
                    }
                    sink(&record);
                }
                None => self.malformed += 1,
            }
        }
        self.read += read as u64;
        self.idle = if read == 0 {
            self.idle.saturating_add(1)
        } else {
            0
        };
        read
    }

    /// Waits until reading is worth while again.
    ///
    /// While there is traffic the reader comes by itself every few
    /// milliseconds and the programs wake nobody. After a while without any it
    /// sleeps, and the first record wakes it.
    ///
    /// # Errors
    /// If polling fails.
    pub fn wait(&mut self, longest: Duration) -> Result<(), LiveError> {
        if self.idle < IDLE_ROUNDS {
            return self.doze(self.linger.min(longest));
        }
        self.sleepy(1)?;
        // A record may have come before the kernel side could see the mark.
        if !self.has_data() {
            self.doze(longest)?;
        }
        self.sleepy(0)
    }

    /// Tells the programs what is of no interest.
    pub fn apply(&mut self, command: &Command) {
        match *command {
            Command::SkipTo {
                socket,
                origins,
                direction,
                seq,
            } => {
                self.say(socket, direction, skip(origins, seq, 0));
            }
            Command::Ignore { socket, origins } => {
                for direction in [Direction::In, Direction::Out] {
                    self.say(socket, direction, skip(origins, TcpSeq(0), 1));
                }
            }
            Command::Renew { socket } => {
                // Its connection is made out anew from the socket itself.
                let _closed = self.sockets.remove(&socket.0);
                self.forget(socket);
            }
        }
    }

    /// Forgets a socket that is gone, in case a command came after its end.
    pub fn forget(&mut self, socket: SocketId) {
        for direction in [Direction::In, Direction::Out] {
            let _gone = self.skips.remove(&skip_key(socket.0, direction));
        }
        let slot = ignored_slot(socket.0);
        if self
            .ignored
            .get(&slot, 0)
            .is_ok_and(|entry| entry.0.sock == socket.0)
        {
            let empty = Plain(IgnoredSocket {
                sock: 0,
                ports: 0,
                calls: 0,
            });
            let _kept = self.ignored.set(slot, empty, 0);
        }
    }

    /// Records read since the start, those of the self-test included.
    #[must_use]
    pub fn records_read(&self) -> u64 {
        self.read.saturating_sub(self.malformed)
    }

    /// Records that could not be decoded: none, unless the object and the
    /// agent disagree.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// What [`Live::apply`] was told and the kernel's map had no room for.
    #[must_use]
    pub fn unsaid(&self) -> u64 {
        self.unsaid
    }

    /// A full map only means that bytes come up in vain.
    fn say(&mut self, socket: SocketId, direction: Direction, skip: Plain<Skip>) {
        let said = self.skips.insert(skip_key(socket.0, direction), skip, 0);
        self.unsaid += u64::from(said.is_err());
    }

    fn tidy_inside(&mut self) {
        let Some(inside) = &mut self.probes.inside else {
            return;
        };
        inside.tidy();
        if inside.is_empty() {
            self.probes.unwatch_inside();
        }
    }

    fn has_data(&self) -> bool {
        let fd = self.ring.as_fd();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        event::poll(
            &mut fds,
            Some(&event::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        )
        .is_ok_and(|ready| ready > 0)
    }

    /// Sleeps until the programs wake us, even if there are records already:
    /// the descriptor is watched for edges.
    fn doze(&self, longest: Duration) -> Result<(), LiveError> {
        let time = event::Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        let mut events = [MaybeUninit::uninit()];
        match event::epoll::wait(&self.bell, &mut events, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(LiveError::Wait(error.into())),
        }
    }

    fn sleepy(&mut self, mark: u32) -> Result<(), LiveError> {
        self.switch
            .set(SWITCH_ASLEEP, mark, 0)
            .map_err(|source| LiveError::Map {
                map: "SWITCH",
                source: Box::new(source),
            })
    }
}

/// A record from its bytes, `None` if they are not one.
pub(crate) fn decode(bytes: &[u8]) -> Option<Record<'_>> {
    let raw = read_raw(bytes)?;
    let payload = bytes.get(size_of::<RawRecord>()..)?;
    let direction = if raw.direction == Direction::Out as u8 {
        Direction::Out
    } else {
        Direction::In
    };
    let at = MonoNanos(raw.exit);
    let event = match raw.kind {
        k if k == Kind::Segment as u8 => {
            let head_len = usize::from(raw.head_len);
            let head = payload.get(..head_len)?;
            let tail = payload.get(head_len..head_len + usize::from(raw.tail_len))?;
            Event::Segment(Segment {
                direction,
                seq: TcpSeq(raw.seq),
                len: raw.len,
                head,
                tail,
                entry: if raw.entry == 0 {
                    at
                } else {
                    MonoNanos(raw.entry)
                },
                exit: at,
            })
        }
        k if k == Kind::Opened as u8 => read_opened(payload)?,
        k if k == Kind::Ended as u8 => Event::Ended { direction, at },
        k if k == Kind::Failed as u8 => Event::Failed {
            direction,
            errno: i32::try_from(raw.len).unwrap_or(i32::MAX),
            at,
        },
        k if k == Kind::Closed as u8 => Event::Closed { at },
        _ => return None,
    };
    Some(Record {
        socket: SocketId(raw.sock),
        origins: Origins {
            local: TcpSeq(raw.local_origin),
            peer: TcpSeq(raw.peer_origin),
            exact: false,
            known: true,
        },
        owner: OwnerId(raw.owner),
        pid: (raw.pid_tgid >> 32) as u32,
        event,
    })
}

fn read_raw(bytes: &[u8]) -> Option<RawRecord> {
    let head = bytes.get(..size_of::<RawRecord>())?;
    // SAFETY: the slice has the record's size, every bit pattern is a valid
    // record (integers only), and the read does not ask for alignment.
    Some(unsafe { head.as_ptr().cast::<RawRecord>().read_unaligned() })
}

fn read_opened(payload: &[u8]) -> Option<Event<'_>> {
    let bytes = payload.get(..size_of::<Tuple>())?;
    // SAFETY: as for `read_raw`.
    let tuple = unsafe { bytes.as_ptr().cast::<Tuple>().read_unaligned() };
    let address = |bytes: [u8; 16]| -> IpAddr {
        if tuple.family == AF_INET {
            let [a, b, c, d, ..] = bytes;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        } else {
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
    };
    Some(Event::Opened {
        local: Endpoint {
            ip: address(tuple.local),
            port: tuple.local_port,
        },
        peer: Endpoint {
            ip: address(tuple.peer),
            port: u16::from_be(tuple.peer_port),
        },
        comm: Comm::new(&tuple.comm),
    })
}

const AF_INET: u16 = 2;

fn skip(origins: Origins, until: TcpSeq, ignore: u32) -> Plain<Skip> {
    Plain(Skip {
        local_origin: origins.local.0,
        peer_origin: origins.peer.0,
        until: until.0,
        ignore,
    })
}

fn bell(ring: &RingBuf<MapData>) -> Result<OwnedFd, LiveError> {
    use event::epoll;
    let wait = |error: rustix::io::Errno| LiveError::Wait(error.into());
    let bell = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(wait)?;
    let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&bell, ring, epoll::EventData::new_u64(0), edges).map_err(wait)?;
    Ok(bell)
}

fn map<M>(
    name: &'static str,
    probes: &mut Probes,
    make: impl FnOnce(aya::maps::Map) -> Result<M, MapError>,
) -> Result<M, LiveError> {
    let map = probes.ebpf.take_map(name).ok_or_else(|| LiveError::Map {
        map: name,
        source: Box::new(MapError::InvalidName {
            name: name.to_owned(),
        }),
    })?;
    make(map).map_err(|source| LiveError::Map {
        map: name,
        source: Box::new(source),
    })
}
