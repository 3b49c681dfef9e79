//! Pods of clusters in which nobody has said anything to Kuma.

use super::*;

#[test]
fn http_is_assumed_where_nobody_has_tagged_anything() {
    use NotSelected::{NoPolicy, NotHttp};
    let web = ok("web_shop_svc_80", MAIN, false);
    let mut cluster = Cluster::new(|plan| plan.assume_http = true);
    for (pod, side, local, peer, expected) in [
        (
            "web-1",
            Side::Server,
            "10.0.0.1:9091",
            STRANGER,
            web.clone(),
        ),
        // Its caller assumes the same.
        (
            "web-1",
            Side::Server,
            "10.0.0.1:9091",
            "10.0.1.2:4000",
            ok("web_shop_svc_80", MAIN, true),
        ),
        (
            "web-1",
            Side::Server,
            "10.0.0.1:7777",
            STRANGER,
            web.clone(),
        ),
        // Somebody has tagged it as something else, or as tcp.
        (
            "web-1",
            Side::Server,
            "10.0.0.1:9090",
            STRANGER,
            Err((NotHttp, false)),
        ),
        (
            "web-1",
            Side::Client,
            "10.0.0.1:4000",
            "10.96.0.2:80",
            Err((NotHttp, false)),
        ),
        (
            "web-1",
            Side::Server,
            "10.0.0.1:9092",
            STRANGER,
            Err((NotHttp, false)),
        ),
        (
            "web-1",
            Side::Client,
            "10.0.0.1:4000",
            "10.96.0.4:80",
            Err((NotHttp, false)),
        ),
        (
            "web-1",
            Side::Client,
            "10.0.0.1:4000",
            "10.96.0.5:80",
            web.clone(),
        ),
        (
            "web-1",
            Side::Client,
            "10.0.0.1:4000",
            "203.0.113.1:81",
            Err((NotHttp, false)),
        ),
        (
            "web-1",
            Side::Client,
            "10.0.0.1:4000",
            "203.0.113.1:83",
            web.clone(),
        ),
        ("web-1", Side::Client, "10.0.0.1:4000", STRANGER, web),
        // It is not assumed that anybody is selected.
        (
            "nobody-1",
            Side::Server,
            "10.0.1.4:80",
            STRANGER,
            Err((NoPolicy, true)),
        ),
    ] {
        let got = cluster.choose(pod, side, local, peer);
        assert_eq!(got, expected, "{pod} at {local} with {peer}");
    }
}

#[test]
fn without_policies_other_pods_are_observed() {
    for (names_some, peer, observed) in [
        (false, "10.0.1.2:4000", true),
        (false, STRANGER, false),
        (false, "192.0.2.10:4000", false),
        (false, "127.0.0.1:4000", true),
        // One that is ignored reports nothing.
        (false, "10.0.1.7:4000", false),
        // Which pods other nodes' agents leave out is not known here.
        (true, "10.0.1.2:4000", false),
    ] {
        let mut cluster = Cluster::new(|plan| {
            plan.destinations = Destinations::One(Route::default());
            if names_some {
                plan.selection = Selection {
                    exclude: vec!["batch*".parse().unwrap()],
                    ..Selection::default()
                };
            }
        });
        let got = cluster.choose("web-1", Side::Server, "10.0.0.1:1234", peer);
        assert_eq!(got, ok("web_shop_svc_80", Backend(0), observed), "{peer}");
    }
}

#[test]
fn without_policies_who_wants_to_be_ignored_is() {
    let mut cluster = Cluster::new(|plan| plan.destinations = Destinations::One(Route::default()));
    for (side, peer) in [(Side::Server, STRANGER), (Side::Client, "10.96.0.1:80")] {
        let got = cluster.choose("ignored-1", side, "10.0.1.7:80", peer);
        assert_eq!(got, Err((NotSelected::NoDataplane, true)));
        // One that no policy selects is traced where there are none.
        let got = cluster.choose("nobody-1", side, "10.0.1.4:80", peer);
        assert_eq!(got, ok("nobody_shop_svc_80", Backend(0), false));
    }
    let (ignored, nobody) = (cluster.pod("ignored-1"), cluster.pod("nobody-1"));
    assert!(cluster.decider.ignores(&ignored) && !cluster.decider.ignores(&nobody));
    // What has been noted of it is no longer true once it wants that no more.
    let Origin::Pod { pod, .. } = &ignored.origin else {
        panic!("{ignored:?}");
    };
    let member = of_pod(
        ignored.key.0,
        &Arc::new(Pod {
            dataplane: dataplane(&resources(), "nobody-1"),
            ..Pod::clone(pod)
        }),
    );
    let mut standing = |known: &Known| {
        let mut standing = cluster.decider.standing(known, MonoNanos(0));
        standing.service = "same".into();
        standing
    };
    let (before, now) = (standing(&ignored), standing(&member));
    assert!(before.is(&standing(&ignored)) && !now.is(&before));
}
