use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::cluster::Options;
use super::super::kind::Kind;
use super::super::testing::{pod, service, settle};
use super::*;

#[test]
fn pauses_grow_and_differ() {
    let timing = Timing::default();
    for (failures, failure, least, most) in [
        (0, Failure::Away, 250, 500),
        (1, Failure::Away, 500, 1000),
        (5, Failure::Refused, 8_000, 16_000),
        (6, Failure::Away, 15_000, 30_000),
        (u32::MAX, Failure::Away, 15_000, 30_000),
        (0, Failure::Absent, 15_000, 30_000),
        (0, Failure::Forbidden, 15_000, 30_000),
        (0, Failure::Expired, 125, 250),
        (3, Failure::Expired, 2_000, 4_000),
    ] {
        let range = Duration::from_millis(least)..=Duration::from_millis(most);
        let pauses: Vec<_> = (0..20).map(|_| pause(timing, failures, failure)).collect();
        assert!(
            pauses.iter().all(|pause| range.contains(pause)),
            "{pauses:?}"
        );
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}

/// An API of which only pods are asked: it lists one, and answers a watch as the
/// test says. Connections stay open until the test ends.
struct FakeApi {
    listener: TcpListener,
    open: Vec<TcpStream>,
}

impl FakeApi {
    async fn new() -> (Self, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = Client::try_from(Config::new(url.parse().unwrap())).unwrap();
        let open = Vec::new();
        (Self { listener, open }, client)
    }

    /// The target of the next request, which is on a connection of its own or on
    /// the last one, and where to answer it.
    async fn asked(&mut self) -> String {
        let mut text = Vec::new();
        if let Some(last) = self.open.last_mut() {
            tokio::select! {
                accepted = self.listener.accept() => self.open.push(accepted.unwrap().0),
                Ok(1..) = last.read_buf(&mut text) => {}
            }
        } else {
            self.open.push(self.listener.accept().await.unwrap().0);
        }
        let stream = self.open.last_mut().unwrap();
        while !text.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0);
        }
        let text = String::from_utf8(text).unwrap();
        text.split(' ').nth(1).unwrap().to_owned()
    }

    async fn say(&mut self, text: &str) {
        let stream = self.open.last_mut().unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn list(&mut self, version: &str, items: Value) {
        let list = json!({
            "apiVersion": "v1", "kind": "PodList",
            "metadata": {"resourceVersion": version}, "items": items,
        });
        let list = list.to_string();
        let length = list.len();
        self.say(&format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{list}"
        ))
        .await;
    }

    async fn begin_watch(&mut self) {
        self.say("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
    }

    async fn event(&mut self, event: Value) {
        let line = format!("{event}\n");
        self.say(&format!("{:x}\r\n{line}\r\n", line.len())).await;
    }
}

fn named(name: &str, version: &str) -> Value {
    let mut pod = pod(name, json!({}));
    pod["metadata"]["resourceVersion"] = json!(version);
    pod
}

/// The metric of this name for pods, with this reason if it has reasons.
fn metric(mirror: &Mirror, name: &str, reason: Option<&str>) -> u64 {
    let families = mirror.families();
    let family = families.iter().find(|family| family.name == name).unwrap();
    let sample = family.samples.iter().find(|sample| {
        let has = |label| sample.labels.contains(&label);
        has(("kind", "pods")) && reason.is_none_or(|reason| has(("reason", reason)))
    });
    sample.map_or(0, |sample| sample.value)
}

#[test]
fn a_pod_that_was_in_one_generation_asks_for_another_without_it() {
    let mirror = Mirror::new(Options {
        node: Some("node-1".into()),
        ..Options::default()
    });
    let mut changes = mirror.changes();
    let short = || serde_json::from_value::<Pod>(pod("short", json!({}))).unwrap();
    let pods = || mirror.generation().directory.pods().count();
    // Before everything is known there is no generation to be in.
    mirror.take(Event::<Pod>::Init);
    mirror.take(Event::<Pod>::InitDone);
    mirror.take(Event::Apply(short()));
    mirror.take(Event::Delete(short()));
    changes.mark_unchanged();
    assert_eq!(pods(), 0);
    assert!(!changes.has_changed().unwrap());
    mirror.change(settle);
    mirror.take(Event::Apply(short()));
    mirror.take(Event::Delete(short()));
    changes.mark_unchanged();
    assert_eq!(pods(), 1);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(pods(), 0);
    assert!(!changes.has_changed().unwrap());
}

#[test]
fn an_api_that_says_nothing_has_no_last_word() {
    let last = |mirror: &Mirror| metric(mirror, "kubernetes_last_event_timestamp_seconds", None);
    let mirror = Mirror::new(Options::default());
    for _ in 0..3 {
        mirror.take(Event::<Pod>::Init);
        mirror.failed::<Pod>(Failure::Away, "nobody is there");
        assert_eq!(last(&mirror), 0);
    }
    // An empty list is a word.
    mirror.take(Event::<Pod>::Init);
    mirror.take(Event::<Pod>::InitDone);
    assert!(last(&mirror) > 1_700_000_000);
}

/// Each once, with the kind, why, and what that means.
#[test]
fn an_api_that_is_away_and_back_is_told_of() {
    let mirror = Mirror::new(Options::default());
    let once = |said: &str, words: &[&str]| {
        let is_told = words.iter().all(|word| said.contains(word));
        assert!(is_told && said.lines().count() == 1, "{said}");
    };
    let away = |why: &str| logged(|| mirror.failed::<Pod>(Failure::Away, why));
    let back = || logged(|| mirror.heard(Kind::Pod));
    once(
        &away("connection refused"),
        &[
            "ERROR",
            "pods cannot be watched, nothing is known of them: connection refused",
        ],
    );
    // Nobody wants to read it every half a minute, nor that it goes on well.
    assert_eq!(away("connection refused"), "");
    let back_again = ["INFO", "pods are watched again, after 0 s"];
    once(&back(), &back_again);
    assert_eq!(back(), "");
    mirror.take(Event::<Pod>::Init);
    mirror.take(Event::<Pod>::InitDone);
    let stays = "pods cannot be watched, what was known stays: no route";
    once(&away("no route"), &["ERROR", stays]);
    // Another reason is news.
    let said = logged(|| mirror.failed::<Pod>(Failure::Forbidden, "no"));
    once(&said, &["ERROR", "does not let pods be listed and watched"]);
    once(&back(), &back_again);
}

#[test]
fn there_are_too_many_pods() {
    let mirror = Mirror::new(Options {
        most: 2,
        ..Options::default()
    });
    let read = |name: &str| serde_json::from_value::<Pod>(pod(name, json!({}))).unwrap();
    let left_out = |mirror: &Mirror| metric(mirror, "kubernetes_left_out", None);
    mirror.take(Event::<Pod>::Init);
    for name in ["a", "b"] {
        mirror.take(Event::InitApply(read(name)));
    }
    mirror.take(Event::<Pod>::InitDone);
    assert_eq!(left_out(&mirror), 0);
    assert!(mirror.status()["kinds"]["pods"].get("left_out").is_none());
    let said = logged(|| {
        for name in ["c", "d"] {
            mirror.take(Event::Apply(read(name)));
        }
    });
    assert_eq!(left_out(&mirror), 2);
    assert_eq!(metric(&mirror, "kubernetes_objects", None), 2);
    assert_eq!(mirror.status()["kinds"]["pods"]["left_out"], 2);
    // Once, with the kind and the bound.
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("ERROR") && said.contains("more than 2 pods"),
        "{said}"
    );
    // What comes before the level is padded.
    let (_, words) = said.split_once("the cluster").unwrap();
    assert!(!words.contains("  "), "{said}");
    let said = logged(|| {
        mirror.take(Event::<Pod>::Init);
        mirror.take(Event::InitApply(read("a")));
        mirror.take(Event::<Pod>::InitDone);
        mirror.take(Event::Delete(read("a")));
    });
    assert_eq!(left_out(&mirror), 0);
    assert!(
        said.contains("all pods") && said.lines().count() == 1,
        "{said}"
    );
}

/// What is logged meanwhile.
fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Text(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Text {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let text = Text::default();
    let of_writer = text.clone();
    let logs = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || of_writer.clone())
        .finish();
    tracing::subscriber::with_default(logs, work);
    let bytes = text.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn what_had_no_room_is_listed_when_there_is_some() {
    let (mut api, client) = FakeApi::new().await;
    let mirror = Mirror::new(Options {
        most: 2,
        ..Options::default()
    });
    let timing = Timing {
        again: Duration::ZERO,
        needed: Duration::ZERO,
        ..Timing::default()
    };
    let watch = tokio::spawn(follow::<Pod>(client, Arc::clone(&mirror), timing));
    let counts = || {
        let of = |name| metric(&mirror, name, None);
        (of("kubernetes_objects"), of("kubernetes_left_out"))
    };
    let talk = async {
        api.asked().await;
        let all = json!([named("a", "1"), named("b", "2"), named("c", "3")]);
        api.list("5", all).await;
        let target = api.asked().await;
        assert!(target.contains("watch=true"), "{target}");
        assert_eq!(counts(), (2, 1));
        api.begin_watch().await;
        // There is no room yet, whatever changes.
        api.event(json!({"type": "MODIFIED", "object": named("b", "6")}))
            .await;
        api.event(json!({"type": "DELETED", "object": named("a", "7")}))
            .await;
        let target = api.asked().await;
        assert!(!target.contains("watch=true"), "{target}");
        assert_eq!(counts(), (1, 1));
        api.list("8", json!([named("b", "6"), named("c", "3")]))
            .await;
        let target = api.asked().await;
        assert!(target.contains("resourceVersion=8"), "{target}");
        assert_eq!(counts(), (2, 0));
    };
    timeout(Duration::from_secs(20), talk).await.unwrap();
    assert_eq!(metric(&mirror, "kubernetes_lists_total", None), 2);
    watch.abort();
}

/// While a list comes nobody knows yet which of the old are gone.
#[test]
fn that_a_list_replaces_is_not_too_many() {
    let mirror = Mirror::new(Options {
        most: 2,
        ..Options::default()
    });
    let read = |name: &str| serde_json::from_value::<Pod>(pod(name, json!({}))).unwrap();
    let list = |names: &[&str]| {
        mirror.take(Event::<Pod>::Init);
        for name in names {
            mirror.take(Event::InitApply(read(name)));
        }
        mirror.take(Event::<Pod>::InitDone);
    };
    list(&["a", "b"]);
    let said = logged(|| {
        list(&["c", "d"]);
        assert!(mirror.should_list_at_once(Kind::Pod));
        list(&["c", "d"]);
    });
    assert_eq!(said, "");
    assert!(!mirror.should_list_at_once(Kind::Pod));
    assert_eq!(metric(&mirror, "kubernetes_left_out", None), 0);
    // And a first list that is too long is.
    let said = logged(|| list(&["c", "d", "e"]));
    assert!(said.contains("more than 2 pods"), "{said}");
}

#[tokio::test]
async fn what_had_no_room_beside_the_old_is_listed_at_once() {
    let (mut api, client) = FakeApi::new().await;
    let mirror = Mirror::new(Options {
        most: 2,
        ..Options::default()
    });
    let watch = tokio::spawn(follow::<Pod>(
        client,
        Arc::clone(&mirror),
        Timing::default(),
    ));
    let talk = async {
        api.asked().await;
        api.list("5", json!([named("a", "1"), named("b", "2")]))
            .await;
        api.asked().await;
        api.begin_watch().await;
        let gone = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure",
            "message": "too old", "reason": "Expired", "code": 410, "metadata": {},
        });
        api.event(json!({"type": "ERROR", "object": gone})).await;
        // All are others, and before they are all there, so are the old ones.
        let all = || json!([named("c", "8"), named("d", "8")]);
        for version in ["9", "10"] {
            let target = api.asked().await;
            assert!(!target.contains("watch=true"), "{target}");
            api.list(version, all()).await;
        }
        let target = api.asked().await;
        assert!(target.contains("resourceVersion=10"), "{target}");
    };
    timeout(Duration::from_secs(20), talk).await.unwrap();
    assert_eq!(metric(&mirror, "kubernetes_objects", None), 2);
    assert_eq!(metric(&mirror, "kubernetes_left_out", None), 0);
    watch.abort();
}

#[tokio::test]
async fn what_is_needed_is_not_listed_all_the_time() {
    let (mut api, client) = FakeApi::new().await;
    let mirror = Mirror::new(Options {
        node: Some("node-1".into()),
        most: 1,
        ..Options::default()
    });
    let timing = Timing {
        needed: Duration::from_secs(2),
        ..Timing::default()
    };
    let watch = tokio::spawn(follow::<Service>(client, Arc::clone(&mirror), timing));
    let other = |version: &str| {
        let mut other = service("other", json!([]));
        other["metadata"]["namespace"] = json!("elsewhere");
        other["metadata"]["resourceVersion"] = json!(version);
        other
    };
    let talk = async {
        let all = || json!([other("1"), service("web", json!([{"port": 80}]))]);
        api.asked().await;
        api.list("5", all()).await;
        let listed = std::time::Instant::now();
        api.asked().await;
        api.begin_watch().await;
        let own = serde_json::from_value::<Pod>(pod("web-1", json!({}))).unwrap();
        mirror.take(Event::Apply(own));
        assert!(mirror.should_list(Kind::Service, false));
        api.event(json!({"type": "MODIFIED", "object": other("6")}))
            .await;
        let early = timeout(timing.needed / 4, api.asked()).await;
        assert!(early.is_err(), "{early:?} {:?} later", listed.elapsed());
        sleep(timing.needed).await;
        api.event(json!({"type": "MODIFIED", "object": other("7")}))
            .await;
        let target = api.asked().await;
        assert!(!target.contains("watch=true"), "{target}");
        api.list("8", all()).await;
        api.asked().await;
    };
    timeout(Duration::from_secs(20), talk).await.unwrap();
    assert!(!mirror.should_list(Kind::Service, true));
    watch.abort();
}

#[tokio::test]
async fn a_watch_that_falls_silent_is_begun_again_where_it_was() {
    let (mut api, client) = FakeApi::new().await;
    let mirror = Mirror::new(Options::default());
    let timing = Timing {
        silence: Duration::from_millis(900),
        ..Timing::default()
    };
    let watch = tokio::spawn(follow::<Pod>(client, Arc::clone(&mirror), timing));
    let talk = async {
        let target = api.asked().await;
        assert!(!target.contains("watch=true"), "{target}");
        api.list("5", json!([named("a", "4")])).await;
        // Something comes, and then nothing more; the connection stays open.
        let target = api.asked().await;
        assert!(
            target.contains("watch=true") && target.contains("resourceVersion=5"),
            "{target}"
        );
        api.begin_watch().await;
        api.event(json!({"type": "ADDED", "object": named("b", "7")}))
            .await;
        // What happened meanwhile is told behind what was heard last, on another
        // connection, and nothing is listed.
        let connections = api.open.len();
        let target = api.asked().await;
        assert!(
            target.contains("watch=true") && target.contains("resourceVersion=7"),
            "{target}"
        );
        assert_eq!(api.open.len(), connections + 1);
        assert_eq!(metric(&mirror, "kubernetes_objects", None), 2);
        assert_eq!(
            metric(&mirror, "kubernetes_errors_total", Some("silent")),
            1
        );
        api.begin_watch().await;
        api.event(json!({"type": "ADDED", "object": named("c", "8")}))
            .await;
        api.event(json!({"type": "DELETED", "object": named("a", "9")}))
            .await;
        // A bookmark is a word, too.
        for version in ["10", "11", "12"] {
            sleep(timing.silence * 2 / 3).await;
            let metadata = json!({"resourceVersion": version, "creationTimestamp": null});
            let bookmark = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata});
            api.event(json!({"type": "BOOKMARK", "object": bookmark}))
                .await;
        }
        assert_eq!(
            metric(&mirror, "kubernetes_errors_total", Some("silent")),
            1
        );
        // And silent once more.
        let target = api.asked().await;
        assert!(target.contains("resourceVersion=12"), "{target}");
    };
    timeout(Duration::from_secs(20), talk).await.unwrap();
    assert_eq!(
        metric(&mirror, "kubernetes_errors_total", Some("silent")),
        2
    );
    assert_eq!(metric(&mirror, "kubernetes_lists_total", None), 1);
    assert_eq!(metric(&mirror, "kubernetes_failing", None), 0);
    let status = mirror.status();
    assert_eq!(status["kinds"]["pods"]["objects"], 2, "{status}");
    watch.abort();
}
