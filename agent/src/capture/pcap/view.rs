//! A connection as its observed ends see it.

use super::owners::Owners;
use super::stream::Data;
use super::table::{End, Key};
use crate::capture::{Event, Record, Segment};
use crate::units::{Comm, Direction, MonoNanos, Origins, OwnerId, Side, SocketId, TcpSeq};

/// `ECONNRESET` of Linux, on whatever the capture is read.
const ECONNRESET: i32 = 104;

/// Which ends' sockets are observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Observe {
    /// The end that received the connection.
    #[default]
    Server,
    /// The end that opened it.
    Client,
    /// Both: two sockets for each connection.
    Both,
}

impl Observe {
    #[inline]
    const fn sees(self, side: Side) -> bool {
        match side {
            Side::Server => !matches!(self, Self::Client),
            Side::Client => !matches!(self, Self::Server),
        }
    }
}

/// A connection of which it is known who opened it.
#[derive(Debug)]
pub(super) struct View {
    observe: Observe,
    client: End,
    sockets: [Socket; 2],
}

/// One end.
#[derive(Clone, Copy, Debug)]
struct Socket {
    id: SocketId,
    owner: OwnerId,
    origins: Origins,
}

impl View {
    /// The connection of this number; `origins` are the client's and the
    /// server's first bytes.
    pub(super) fn new(
        number: u64,
        observe: Observe,
        key: &Key,
        client: End,
        origins: Option<(TcpSeq, TcpSeq)>,
        owners: &mut Owners,
    ) -> Self {
        let mut socket = |side, end: End| {
            Socket {
                id: SocketId(number << 1 | u64::from(side == Side::Server)),
                // Only who is observed is an owner.
                owner: if observe.sees(side) {
                    owners.id(key.endpoint(end).ip)
                } else {
                    OwnerId(u64::MAX)
                },
                origins: match (origins, side) {
                    (None, _) => Origins::default(),
                    (Some((local, peer)), Side::Client) | (Some((peer, local)), Side::Server) => {
                        Origins {
                            local,
                            peer,
                            exact: true,
                            known: true,
                        }
                    }
                },
            }
        };
        Self {
            observe,
            client,
            sockets: [
                socket(Side::Client, client),
                socket(Side::Server, client.other()),
            ],
        }
    }

    /// Who opened it.
    pub(super) const fn client(&self) -> End {
        self.client
    }

    /// First sight.
    pub(super) fn opened(&self, key: &Key, sink: &mut impl FnMut(Record<'_>)) {
        let client = key.endpoint(self.client);
        let server = key.endpoint(self.client.other());
        for (side, local, peer) in [
            (Side::Client, client, server),
            (Side::Server, server, client),
        ] {
            let comm = Comm::default();
            self.tell(side, Event::Opened { local, peer, comm }, sink);
        }
    }

    /// One end sent data, the other received it.
    #[inline(always)]
    pub(super) fn moved(&self, from: End, data: &Data<'_>, sink: &mut impl FnMut(Record<'_>)) {
        self.tell_both(
            from,
            |direction| {
                Event::Segment(Segment {
                    direction,
                    seq: data.seq,
                    len: data.len,
                    head: data.head,
                    tail: &[],
                    entry: data.at,
                    exit: data.at,
                })
            },
            sink,
        );
    }

    /// One end sent its FIN.
    pub(super) fn ended(&self, from: End, at: MonoNanos, sink: &mut impl FnMut(Record<'_>)) {
        self.tell_both(from, |direction| Event::Ended { direction, at }, sink);
    }

    /// One end sent a reset: the other's calls fail, while to itself the
    /// connection is just closed.
    pub(super) fn reset(&self, from: End, at: MonoNanos, sink: &mut impl FnMut(Record<'_>)) {
        let failed = Event::Failed {
            direction: Direction::In,
            errno: ECONNRESET,
            at,
        };
        self.tell(self.side(from.other()), failed, sink);
    }

    /// It is over.
    pub(super) fn closed(&self, at: MonoNanos, sink: &mut impl FnMut(Record<'_>)) {
        for side in [Side::Client, Side::Server] {
            self.tell(side, Event::Closed { at }, sink);
        }
    }

    #[inline]
    fn side(&self, end: End) -> Side {
        if end == self.client {
            Side::Client
        } else {
            Side::Server
        }
    }

    #[inline]
    const fn socket(&self, side: Side) -> &Socket {
        let [client, server] = &self.sockets;
        match side {
            Side::Client => client,
            Side::Server => server,
        }
    }

    /// Tells who is observed; the sender first, then the receiver.
    #[inline(always)]
    fn tell_both<'a>(
        &self,
        from: End,
        event: impl Fn(Direction) -> Event<'a>,
        sink: &mut impl FnMut(Record<'_>),
    ) {
        let sender = self.side(from);
        let only = match self.observe {
            Observe::Server => Side::Server,
            Observe::Client => Side::Client,
            Observe::Both => {
                self.say(sender, event(Direction::Out), sink);
                return self.say(self.side(from.other()), event(Direction::In), sink);
            }
        };
        let direction = if sender == only {
            Direction::Out
        } else {
            Direction::In
        };
        self.say(only, event(direction), sink);
    }

    /// Tells an end if it is observed.
    #[inline]
    fn tell(&self, side: Side, event: Event<'_>, sink: &mut impl FnMut(Record<'_>)) {
        if self.observe.sees(side) {
            self.say(side, event, sink);
        }
    }

    #[inline(always)]
    fn say(&self, side: Side, event: Event<'_>, sink: &mut impl FnMut(Record<'_>)) {
        let socket = self.socket(side);
        sink(Record {
            socket: socket.id,
            origins: socket.origins,
            owner: socket.owner,
            pid: 0,
            event,
        });
    }
}
