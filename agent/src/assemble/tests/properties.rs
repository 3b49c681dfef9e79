//! However a stream is cut, it is the same exchanges; what is lost costs what
//! it must and no more.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use Direction::{In, Out};

/// How a body is sent.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Nothing,
    Counted(usize),
    Chunked(usize, usize),
}

/// What is asked and how it is answered; its number is path and status.
#[derive(Clone, Debug)]
struct Planned {
    head: bool,
    asks: Sent,
    answers: Sent,
    interim: bool,
    /// Sent before the one before is answered.
    pipelined: bool,
    headers: usize,
}

/// A message, of which the bytes before `head` are its head.
#[derive(Clone, Debug)]
struct Message {
    direction: Direction,
    bytes: Vec<u8>,
    head: usize,
    exchange: usize,
    /// Its framing can be lost with bytes of its body.
    chunked: bool,
}

/// A call: part of a message.
#[derive(Clone, Debug)]
struct Piece {
    direction: Direction,
    bytes: Vec<u8>,
    exchange: usize,
    /// Bytes of a head are among it.
    in_head: bool,
    chunked: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        2 => Just(Sent::Nothing),
        2 => (0..40_usize).prop_map(Sent::Counted),
        1 => (1000..40_000_usize).prop_map(Sent::Counted),
        2 => (1..30_usize, 1..4_usize).prop_map(|(len, count)| Sent::Chunked(len, count)),
        1 => (500..3000_usize, 1..4_usize).prop_map(|(len, count)| Sent::Chunked(len, count)),
    ]
}

fn planned(pipelining: bool) -> impl Strategy<Value = Planned> {
    let parts = (prop::bool::weighted(0.15), sent(), sent(), any::<bool>());
    let more = (any::<bool>(), 0..600_usize);
    (parts, more).prop_map(
        move |((head, asks, answers, interim), (pipelined, headers))| Planned {
            head,
            asks: if head { Sent::Nothing } else { asks },
            answers,
            interim: interim && !pipelining,
            pipelined: pipelined && pipelining,
            headers,
        },
    )
}

fn plan(pipelining: bool) -> impl Strategy<Value = Vec<Planned>> {
    vec(planned(pipelining), 2..7)
}

fn body(sent: Sent) -> (String, String) {
    match sent {
        Sent::Nothing => (String::new(), String::new()),
        Sent::Counted(len) => (format!("Content-Length: {len}\r\n"), "b".repeat(len)),
        Sent::Chunked(len, count) => {
            let chunk = "c".repeat(len);
            let chunks = chunked(&vec![&*chunk; count]);
            ("Transfer-Encoding: chunked\r\n".into(), chunks)
        }
    }
}

fn message(direction: Direction, exchange: usize, line: &str, sent: Sent, bare: bool) -> Message {
    let (framing, body) = body(sent);
    let head = format!("{line}\r\n{framing}\r\n");
    let body = if bare { String::new() } else { body };
    Message {
        direction,
        head: head.len(),
        chunked: matches!(sent, Sent::Chunked(..)) && !body.is_empty(),
        bytes: (head + &body).into_bytes(),
        exchange,
    }
}

fn request(n: usize, planned: &Planned, direction: Direction) -> Message {
    let method = match planned {
        Planned { head: true, .. } => "HEAD",
        Planned {
            asks: Sent::Nothing,
            ..
        } => "GET",
        _ => "POST",
    };
    let filler = "f".repeat(planned.headers);
    let line = format!("{method} /{n} HTTP/1.1\r\nX-Filler: {filler}");
    message(direction, n, &line, planned.asks, false)
}

fn answer(n: usize, planned: &Planned, direction: Direction) -> Message {
    // Without framing a response would last to the close.
    let sent = match planned.answers {
        Sent::Nothing => Sent::Counted(0),
        sent => sent,
    };
    let line = format!(
        "HTTP/1.1 {} Fine\r\nX: {}",
        210 + n,
        "f".repeat(planned.headers / 2)
    );
    message(direction, n, &line, sent, planned.head)
}

/// The messages in the order in which they go over the socket.
fn messages(plan: &[Planned], side_in: Direction) -> Vec<Message> {
    let side_out = match side_in {
        In => Out,
        Out => In,
    };
    let mut messages = Vec::new();
    let mut batch: Vec<usize> = Vec::new();
    for (n, planned) in plan.iter().enumerate() {
        if !planned.pipelined {
            messages.extend(batch.drain(..).map(|n| answer(n, &plan[n], side_out)));
        }
        messages.push(request(n, planned, side_in));
        if planned.interim {
            let line = "HTTP/1.1 100 Continue";
            messages.push(message(side_out, n, line, Sent::Nothing, true));
        }
        batch.push(n);
    }
    messages.extend(batch.drain(..).map(|n| answer(n, &plan[n], side_out)));
    messages
}

/// Cuts every message into calls.
fn cut(messages: &[Message], cuts: &[Index]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut cuts = cuts.iter().cycle();
    for message in messages {
        let count = cuts.next().unwrap().index(5);
        let mut at: Vec<_> = (0..count)
            .map(|_| cuts.next().unwrap().index(message.bytes.len()))
            .collect();
        at.extend([0, message.bytes.len()]);
        at.sort_unstable();
        at.dedup();
        for range in at.windows(2) {
            pieces.push(Piece {
                direction: message.direction,
                bytes: message.bytes[range[0]..range[1]].to_vec(),
                exchange: message.exchange,
                in_head: range[0] < message.head,
                chunked: message.chunked,
            });
        }
    }
    pieces
}

fn data(sent: Sent) -> u64 {
    match sent {
        Sent::Nothing => 0,
        Sent::Counted(len) => len as u64,
        Sent::Chunked(len, count) => (len * count) as u64,
    }
}

/// What every exchange must be, sizes of bodies included.
fn expected(plan: &[Planned]) -> Vec<(String, Option<u16>, u64, u64)> {
    let exchanges = plan.iter().enumerate().map(|(n, planned)| {
        let answered = if planned.head {
            0
        } else {
            data(planned.answers)
        };
        (
            format!("/{n}"),
            Some(210 + n as u16),
            data(planned.asks),
            answered,
        )
    });
    exchanges.collect()
}

fn seen(exchange: &Exchange) -> (String, Option<u16>, u64, u64) {
    (
        String::from_utf8_lossy(exchange.text.target()).into_owned(),
        exchange.status,
        exchange.request_body.bytes,
        exchange.response_body.bytes,
    )
}

fn number(exchange: &Exchange) -> usize {
    String::from_utf8_lossy(&exchange.text.target()[1..])
        .parse()
        .unwrap()
}

/// A call as the kernel brings it: whole if a head is in it, in records of at
/// most 4 KiB, otherwise its ends.
fn as_kernel(socket: &mut Socket, piece: &Piece) {
    if piece.in_head {
        for record in piece.bytes.chunks(4096) {
            socket.moves(piece.direction, record);
        }
    } else {
        socket.peeked(piece.direction, &piece.bytes);
    }
}

/// The calls, for a person to read.
fn script(pieces: &[Piece], lost: impl Fn(usize) -> bool) -> String {
    let lines = pieces.iter().enumerate().map(|(n, piece)| {
        let text = String::from_utf8_lossy(&piece.bytes);
        let lost = if lost(n) { "LOST " } else { "" };
        let start: String = text.chars().take(30).collect();
        format!("{lost}{:?} {} {start:?}", piece.direction, text.len())
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(In), Just(Out)]
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_is_the_same(plan in plan(true), cuts in cuts(), side in direction()) {
        let messages = messages(&plan, side);
        let mut socket = Socket::new();
        for piece in cut(&messages, &cuts) {
            socket.moves(piece.direction, &piece.bytes);
        }
        let seen: Vec<_> = socket.finished().into_iter().map(seen).collect();
        prop_assert_eq!(seen, expected(&plan));
        prop_assert!(socket.finished().iter().all(|e| e.failure.is_none() && !e.lenient));
        prop_assert_eq!(socket.assembler.held(), 0);
    }

    #[test]
    fn calls_across_messages_are_the_same(plan in plan(true), cuts in vec(any::<Index>(), 30)) {
        // All that one side sends before the other answers is one stream.
        let messages = messages(&plan, In);
        let mut socket = Socket::new();
        for run in messages.chunk_by(|a, b| a.direction == b.direction) {
            let bytes: Vec<u8> = run.iter().flat_map(|m| m.bytes.clone()).collect();
            let mut at: Vec<_> = cuts.iter().take(8).map(|cut| cut.index(bytes.len())).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            at.dedup();
            for range in at.windows(2) {
                socket.moves(run[0].direction, &bytes[range[0]..range[1]]);
            }
        }
        let seen: Vec<_> = socket.finished().into_iter().map(seen).collect();
        prop_assert_eq!(seen, expected(&plan));
    }

    #[test]
    fn what_the_kernel_leaves_out_does_not_matter(
        plan in plan(true),
        cuts in cuts(),
        side in direction(),
    ) {
        let messages = messages(&plan, side);
        let mut socket = Socket::new();
        for piece in cut(&messages, &cuts) {
            as_kernel(&mut socket, &piece);
        }
        let expected = expected(&plan);
        let finished = socket.finished();
        prop_assert_eq!(finished.len(), plan.len());
        for (n, (exchange, expected)) in finished.into_iter().zip(expected).enumerate() {
            let (target, status, asked, answered) = seen(exchange);
            prop_assert_eq!((target, status), (expected.0, expected.1));
            prop_assert_eq!(exchange.failure, None);
            for (size, got, data, sent) in [
                (exchange.request_body, asked, expected.2, plan[n].asks),
                (exchange.response_body, answered, expected.3, plan[n].answers),
            ] {
                let wire = body(sent).1.len() as u64;
                prop_assert_eq!(got, if size.wire { wire } else { data });
                prop_assert!(!size.wire || matches!(sent, Sent::Chunked(..)));
            }
        }
    }

    #[test]
    fn one_lost_record_costs_one_exchange(
        plan in plan(false),
        cuts in cuts(),
        side in direction(),
        lost in any::<Index>(),
    ) {
        let pieces = cut(&messages(&plan, side), &cuts);
        let lost = lost.index(pieces.len());
        let mut socket = Socket::new();
        for (n, piece) in pieces.iter().enumerate() {
            if n == lost {
                socket.lose(piece.direction, &piece.bytes);
            } else {
                socket.moves(piece.direction, &piece.bytes);
            }
        }
        socket.close();
        let script = script(&pieces, |n| n == lost);
        let hit = &pieces[lost];
        let harmless = !hit.in_head && !hit.chunked;
        let expected = expected(&plan);
        let mut left: Vec<_> = (0..plan.len()).collect();
        for exchange in socket.finished() {
            let n = number(exchange);
            prop_assert!(left.contains(&n), "{} twice", n);
            left.retain(|&other| other != n);
            if n == hit.exchange && !harmless {
                prop_assert!(exchange.status.is_none_or(|status| status == 210 + n as u16));
            } else if n == hit.exchange && hit.direction == side {
                // The end of the request's body may be what is lost, which
                // shows only behind the response.
                prop_assert_eq!(exchange.status, Some(210 + n as u16));
                prop_assert_eq!(exchange.failure, None);
            } else if n == hit.exchange && n + 1 == plan.len() {
                // Nothing came behind what was lost.
                prop_assert_eq!(exchange.status, Some(210 + n as u16));
            } else {
                prop_assert_eq!(&seen(exchange), &expected[n], "{}", script);
                prop_assert_eq!(exchange.failure, None);
            }
        }
        left.retain(|&n| n != hit.exchange);
        prop_assert!(left.is_empty(), "{:?} are missing of\n{}", left, script);
        prop_assert_eq!(socket.assembler.held(), 0);
    }

    #[test]
    fn no_loss_makes_a_wrong_exchange(
        plan in vec(planned(false), 4..12),
        cuts in cuts(),
        side in direction(),
        lost in vec(prop::bool::weighted(0.25), 200),
        burst in any::<Index>(),
        len in 0..12_usize,
    ) {
        // The first exchange and the last two are seen: where a connection is
        // picked up or ends in doubt, it is guessed that one message is lost.
        let last = plan.len() - 2;
        let pieces = cut(&messages(&plan, side), &cuts);
        let burst = burst.index(pieces.len());
        let lost: Vec<usize> = (0..pieces.len())
            .filter(|&n| (1..last).contains(&pieces[n].exchange))
            .filter(|&n| (burst..burst + len).contains(&n) || lost[n % lost.len()] && len % 2 == 0)
            .collect();
        let mut socket = Socket::new();
        for (n, piece) in pieces.iter().enumerate() {
            if lost.contains(&n) {
                socket.lose(piece.direction, &piece.bytes);
            } else {
                socket.moves(piece.direction, &piece.bytes);
            }
        }
        socket.close();
        let mut told = Vec::new();
        for exchange in socket.finished() {
            let n = number(exchange);
            prop_assert!(!told.contains(&n), "{} twice", n);
            told.push(n);
            prop_assert!(
                exchange.status.is_none_or(|status| status == 210 + n as u16),
                "{} of\n{}",
                tell(exchange),
                script(&pieces, |n| lost.contains(&n))
            );
        }
        let counters = socket.counters();
        prop_assert_eq!(counters.began, counters.finished);
        prop_assert_eq!(socket.assembler.held(), 0);
    }

    #[test]
    fn batches_recover_with_the_next(
        plan in vec(planned(true), 3..8),
        side in direction(),
        lost in any::<Index>(),
    ) {
        // One call a message, so that a loss is one message.
        // In a batch, a `HEAD` that is lost takes the next responses with it:
        // they look like the body of its own.
        let plan: Vec<_> = plan.into_iter().map(|planned| Planned { head: false, ..planned }).collect();
        let pieces = messages(&plan, side);
        let lost = lost.index(pieces.len());
        let mut socket = Socket::new();
        let mut script = String::new();
        for (n, message) in pieces.iter().enumerate() {
            let text = String::from_utf8_lossy(&message.bytes);
            script.push_str(&format!("\n{} {:?} {text:.60?}", n == lost, message.direction));
            if n == lost {
                socket.lose(message.direction, &message.bytes);
            } else {
                socket.moves(message.direction, &message.bytes);
            }
        }
        // Two more, one after the other.
        for n in 90..92 {
            let planned = Planned {
                head: false,
                asks: Sent::Nothing,
                answers: Sent::Nothing,
                interim: false,
                pipelined: false,
                headers: 0,
            };
            let (request, answer) = match side {
                In => (request(n, &planned, In), answer(n, &planned, Out)),
                Out => (request(n, &planned, Out), answer(n, &planned, In)),
            };
            socket.moves(request.direction, &request.bytes);
            socket.moves(answer.direction, &answer.bytes);
        }
        socket.close();
        let expected = expected(&plan);
        let mut told = Vec::new();
        for exchange in socket.finished() {
            let n = number(exchange);
            told.push(n);
            if n >= 90 {
                prop_assert_eq!(exchange.status, Some(210 + n as u16), "{}", script);
            } else if exchange.status.is_some() {
                prop_assert_eq!(&seen(exchange), &expected[n], "{}", script);
            }
        }
        prop_assert!(told.ends_with(&[90, 91]), "{:?}", told);
    }
}

#[test]
fn a_head_split_anywhere_is_the_same() {
    let request = "POST /1 HTTP/1.1\r\nHost: x\r\nX-Request-Id: r\r\nContent-Length: 2\r\n\r\nhi";
    let answer = "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let whole = {
        let mut socket = Socket::new();
        socket.recv(request).send(answer);
        format!("{:?} {:?}", socket.told(), socket.finished()[0].began.seed)
    };
    for fresh in [true, false] {
        for at in 1..request.len() {
            let mut socket = if fresh { Socket::new() } else { Socket::old() };
            let (a, b) = request.split_at(at);
            socket.recv(a).recv(b).send(answer);
            let told = format!("{:?} {:?}", socket.told(), socket.finished()[0].began.seed);
            assert_eq!(told, whole, "{a:?}");
        }
        for at in 1..answer.len() {
            let mut socket = if fresh { Socket::new() } else { Socket::old() };
            let (a, b) = answer.split_at(at);
            socket.recv(request).send(a).send(b);
            let told = format!("{:?} {:?}", socket.told(), socket.finished()[0].began.seed);
            assert_eq!(told, whole, "{a:?}");
        }
    }
}
