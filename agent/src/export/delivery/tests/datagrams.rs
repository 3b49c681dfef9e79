//! Datagrams: what can be known of them is, the rest is not claimed.

use tokio::net::UdpSocket;

use super::*;
use crate::export::{Refused, Span, datagrams};

/// A datagram for each two spans, of their durations.
#[derive(Default)]
struct Pairs(Vec<u64>);

impl Encoder for Pairs {
    fn content_type(&self) -> &'static str {
        ""
    }
    fn encode(&mut self, span: &Span, _: &mut Vec<u8>) -> Result<(), Refused> {
        if span.duration == 13 {
            return Err(Refused::TooLarge { limit: 1 });
        }
        self.0.push(span.duration);
        Ok(())
    }
    fn pending(&self) -> usize {
        8 * self.0.len()
    }
    fn finish(&mut self, batch: &mut Vec<u8>) {
        for pair in self.0.chunks(2) {
            let payload: Vec<u8> = pair.iter().flat_map(|n| n.to_le_bytes()).collect();
            datagrams::push(batch, pair.len() as u32, &payload);
        }
        self.0.clear();
    }
}

fn rig(address: SocketAddr, datagram: usize, change: impl FnOnce(&mut DeliveryConfig)) -> Rig {
    let mut delivery = DeliveryConfig {
        grace: Duration::from_mins(10),
        ..DeliveryConfig::default()
    };
    change(&mut delivery);
    let ledger = Ledger::new().backend("jaeger");
    let address = Address::parse(&address.to_string()).unwrap();
    let encoder = Box::new(Pairs::default());
    let (batcher, worker) = delivery.send_to(address, datagram, encoder, Arc::clone(&ledger));
    Rig {
        ledger,
        batcher,
        worker: tokio::spawn(worker.run()),
        next: 1,
    }
}

async fn received(socket: &UdpSocket, spans: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut buffer = [0; 100];
    while numbers.len() < spans {
        let read = socket.recv(&mut buffer).await.unwrap();
        let (all, _) = buffer[..read].as_chunks::<8>();
        numbers.extend(all.iter().map(|n| u64::from_le_bytes(*n)));
    }
    numbers
}

#[tokio::test]
async fn each_datagram_arrives_and_is_counted_by_its_spans() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // Batches end by what the encoder holds back.
    let mut rig = rig(socket.local_addr().unwrap(), 40, |_| {});
    rig.push(25);
    rig.batcher.flush();
    let numbers = received(&socket, 24).await;
    assert_eq!(numbers, (1..=25).filter(|n| *n != 13).collect::<Vec<u64>>());
    let ledger = rig.end().await;
    assert_eq!(ledger.sent.get(), 24);
    assert_eq!(dropped(&ledger, Undelivered::TooLarge), 1);
    assert_eq!((ledger.batches.get(), ledger.failures.get()), (5, 0));
}

#[tokio::test]
async fn a_refused_port_is_an_error_and_the_rest_waits_for_it() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let mut rig = rig(address, 32, |delivery| {
        delivery.retry.first = Duration::from_millis(20);
    });
    rig.push(10);
    rig.batcher.flush();
    while rig.ledger.failures.get() < 3 {
        sleep(Duration::from_millis(10)).await;
    }
    // Only the first datagram went where nobody was without that being known.
    assert_eq!(rig.ledger.sent.get(), 2);
    let error = format!("{:?}", rig.ledger.last_error());
    assert!(
        error.contains("refused") && error.contains("udp://127.0.0.1"),
        "{error}"
    );
    let socket = UdpSocket::bind(address).await.unwrap();
    let numbers = received(&socket, 8).await;
    assert_eq!(numbers, (3..=10).collect::<Vec<u64>>());
    let ledger = rig.end().await;
    assert_eq!((ledger.sent.get(), ledger.dropped.total()), (10, 0));
    assert!(ledger.retries.get() >= 3);
}

#[tokio::test]
async fn what_never_gets_out_is_given_up_or_left_at_shutdown() {
    let target = format!("{NOBODY}:6831");
    let mut delivery = DeliveryConfig {
        grace: Duration::from_millis(300),
        ..DeliveryConfig::default()
    };
    delivery.retry.give_up_after = Duration::ZERO;
    let ledger = Ledger::new().backend("jaeger");
    let encoder = Box::new(Pairs::default());
    let address = Address::parse(&target).unwrap();
    let (batcher, worker) = delivery.send_to(address, 16, encoder, Arc::clone(&ledger));
    let mut rig = Rig {
        ledger,
        batcher,
        worker: tokio::spawn(worker.run()),
        next: 1,
    };
    rig.push(4);
    while rig.ledger.dropped.total() == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(dropped(&rig.ledger, Undelivered::GaveUp), 2);
    let ledger = rig.end().await;
    assert_eq!(ledger.dropped.total(), 4);
    assert_eq!(ledger.sent.get(), 0);
}

#[tokio::test]
async fn a_datagram_too_large_for_the_way_is_dropped_alone() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    struct Huge;
    impl Encoder for Huge {
        fn content_type(&self) -> &'static str {
            ""
        }
        fn encode(&mut self, _: &Span, _: &mut Vec<u8>) -> Result<(), Refused> {
            Ok(())
        }
        fn pending(&self) -> usize {
            1
        }
        fn finish(&mut self, batch: &mut Vec<u8>) {
            datagrams::push(batch, 3, &[0; 70_000]);
            datagrams::push(batch, 1, b"12345678");
        }
    }
    let ledger = Ledger::new().backend("jaeger");
    let address = Address::parse(&socket.local_addr().unwrap().to_string()).unwrap();
    let delivery = DeliveryConfig::default();
    let (batcher, worker) = delivery.send_to(address, 100, Box::new(Huge), Arc::clone(&ledger));
    let mut rig = Rig {
        ledger,
        batcher,
        worker: tokio::spawn(worker.run()),
        next: 1,
    };
    rig.push(4);
    assert_eq!(rig.end().await.dropped.get(Undelivered::TooLarge), 3);
    assert_eq!(received(&socket, 1).await.len(), 1);
}

/// Nothing tells that a name means somebody else by now.
#[tokio::test(start_paused = true)]
async fn a_name_is_asked_for_again_after_a_while() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut rig = rig(socket.local_addr().unwrap(), 40, |_| {});
    let mut from = Vec::new();
    for wait in [1, 1, 31] {
        sleep(Duration::from_secs(wait)).await;
        rig.push(1);
        rig.batcher.flush();
        let mut buffer = [0; 100];
        from.push(socket.recv_from(&mut buffer).await.unwrap().1);
    }
    assert_eq!(from[0], from[1]);
    assert_ne!(from[1], from[2]);
    assert_eq!(rig.end().await.sent.get(), 3);
}
