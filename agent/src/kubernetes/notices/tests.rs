use kube_client::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::kubernetes::{Kind, Options};

fn notice() -> Notice {
    Notice {
        kind: Kind::TrafficTrace,
        name: "eu".into(),
        uid: "1-2-3".into(),
        version: "77".into(),
        generation: 2,
        reason: "UnknownBackend",
        message: "Mesh \"default\" has no tracing backend \"jager\"".to_owned(),
    }
}

fn first(notice: Notice) -> Telling {
    Telling {
        notice,
        round: None,
    }
}

#[test]
fn what_is_still_true_is_told_again_before_the_api_forgets_it() {
    let (queue, mut waiting) = mpsc::channel(WAITING);
    let mirror = Mirror::new(Options::default());
    let (start, late) = (AGAIN * 7 + 100, 200);
    let mut notices = Notices::with(queue, &mirror, late, start);
    let other = Notice {
        name: "us".into(),
        ..notice()
    };
    notices.tell(vec![notice(), other.clone()]);
    let mut told = || std::iter::from_fn(|| waiting.try_recv().ok()).collect::<Vec<_>>();
    let at_first = told();
    assert_eq!(at_first.len(), 2);
    assert!(at_first.iter().all(|telling| telling.round.is_none()));
    // What is told is told, and what is no longer true is not told again.
    notices.tell(vec![notice()]);
    let mut again = Vec::new();
    for now in start..start + 3 * AGAIN {
        notices.again_at(now);
        again.extend(told().into_iter().map(|telling| (now, telling)));
    }
    let times: Vec<u64> = again.iter().map(|(now, _)| *now).collect();
    let due = [8, 9, 10].map(|round| round * AGAIN + late);
    assert_eq!(times, due[..times.len()]);
    assert!(times.len() >= 2);
    assert!(times[0] - start < 3600 && times[1] - times[0] < 3600);
    // Each time it is another Event, of one name for all agents.
    let names = again.iter().map(|(_, telling)| {
        assert_eq!(telling.notice, notice());
        name(telling)
    });
    let mut names: Vec<_> = names.chain([name(&first(notice()))]).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn what_is_beyond_the_most_is_counted_once() {
    let (queue, mut waiting) = mpsc::channel(WAITING);
    let mirror = Mirror::new(Options::default());
    let mut notices = Notices::with(queue, &mirror, 0, 0);
    let many = |first: usize| -> Vec<Notice> {
        let named = |n: usize| Notice {
            name: format!("p{n}").into(),
            ..notice()
        };
        // The same twice is one.
        (first..MOST + 3).chain([first]).map(named).collect()
    };
    let mut told = || std::iter::from_fn(|| waiting.try_recv().ok()).count();
    for _ in 0..3 {
        notices.tell(many(0));
        assert_eq!(mirror.sent.get(Outcome::Dropped), 3);
    }
    assert_eq!(told(), MOST);
    // Some are mended, and there is room.
    notices.tell(many(2));
    assert_eq!((told(), mirror.sent.get(Outcome::Dropped)), (2, 3));
    notices.tell(many(0));
    assert_eq!(mirror.sent.get(Outcome::Dropped), 5);
}

/// Tells one notice to an API that answers so; how many requests came, and
/// what became of it.
async fn told_to(codes: &[u16]) -> (usize, Arc<Mirror>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut config = Config::new(url.parse().unwrap());
    config.default_retry = false;
    let client = Client::try_from(config).unwrap();
    let mirror = Mirror::new(Options::default());
    let (queue, waiting) = mpsc::channel(WAITING);
    queue.try_send(first(notice())).unwrap();
    drop(queue);
    let pace = Pace {
        spread: Duration::ZERO,
        pause: Duration::from_millis(1),
    };
    let sends = send(client, Arc::clone(&mirror), None, waiting, pace);
    let mut asked = 0;
    let answers = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"}") {
                assert!(stream.read_buf(&mut text).await.unwrap() > 0);
            }
            assert!(text.starts_with(b"POST /api/v1/namespaces/default/events"));
            let code = codes[asked.min(codes.len() - 1)];
            asked += 1;
            let body = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {},
                "status": "Failure", "message": "so", "reason": "", "code": code,
            });
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 {code} So\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    tokio::select! {
        () = sends => {}
        () = answers => {}
    }
    (asked, mirror)
}

#[tokio::test]
async fn a_notice_that_failed_is_tried_again() {
    for (codes, times, outcome) in [
        (&[201][..], 1, Outcome::Created),
        (&[503, 500, 429, 201], 4, Outcome::Created),
        (&[503, 409], 2, Outcome::Exists),
        (&[503], 4, Outcome::Failed),
        (&[403], 1, Outcome::Failed),
    ] {
        let (asked, mirror) = told_to(codes).await;
        assert_eq!(asked, times, "{codes:?}");
        for other in Outcome::ALL {
            let count = mirror.sent.get(other);
            assert_eq!(count, u64::from(other == outcome), "{codes:?}: {other:?}");
        }
    }
}

#[test]
fn all_agents_call_an_event_the_same_and_another_generation_has_another() {
    let one = name(&first(notice()));
    assert_eq!(one, "eu.".to_owned() + &one[3..]);
    assert_eq!(one.len(), 19);
    let touched = Notice {
        version: "78".into(),
        ..notice()
    };
    assert_eq!(name(&first(touched)), one);
    for other in [
        Notice {
            generation: 3,
            ..notice()
        },
        Notice {
            uid: "4".into(),
            ..notice()
        },
        Notice {
            message: "other".to_owned(),
            ..notice()
        },
        Notice {
            reason: "NoBackend",
            ..notice()
        },
    ] {
        assert_ne!(name(&first(other)), one);
    }
    let long = Notice {
        name: format!("{}.a", "a".repeat(199)).into(),
        ..notice()
    };
    let long = name(&first(long));
    assert!(long.len() <= 253 && !long.contains(".."), "{long}");
}

#[test]
fn an_event_says_what_it_is_about() {
    let now = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
    let long = Notice {
        message: "é".repeat(2000),
        ..notice()
    };
    let event = event(&first(long), Some("node-1"), now);
    assert_eq!(event["lastTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(event["involvedObject"]["apiVersion"], "kuma.io/v1alpha1");
    assert_eq!(event["involvedObject"]["uid"], "1-2-3");
    assert_eq!(event["type"], "Warning");
    let message = event["message"].as_str().unwrap();
    assert!(message.len() <= MAX_MESSAGE && message.ends_with("..."));
}
