//! From one plan to the next.

use super::*;

#[test]
fn who_is_ignored_stays_so_until_something_else_is_true_of_it() {
    let mut cluster = Cluster::new(|_| {});
    let ignored = |cluster: &mut Cluster| -> Vec<&str> {
        let names = PODS.iter().map(|(name, ..)| *name);
        let pods: Vec<_> = names.map(|name| (name, cluster.pod(name))).collect();
        let decider = &mut cluster.decider;
        let all = pods.into_iter().filter(|(_, known)| decider.ignores(known));
        all.map(|(name, _)| name).collect()
    };
    assert_eq!(ignored(&mut cluster), ["nobody-1", "far-1", "ignored-1"]);
    // What is said forever of an exchange is what is said of the pod.
    for (name, ip, _) in PODS {
        for (side, peer) in [(Side::Server, STRANGER), (Side::Client, "10.96.0.1:80")] {
            let known = cluster.pod(name);
            let forever = cluster
                .choose(name, side, &format!("{ip}:80"), peer)
                .is_err_and(|(_, forever)| forever);
            assert_eq!(cluster.decider.ignores(&known), forever, "{name}");
        }
    }
    // Another label, and so another Dataplane.
    let labelled: Arc<Resources> = {
        let text = RESOURCES.replace("nobody_shop_svc_80, ", "nobody_shop_svc_80, team: shop, ");
        let parsed = resources::parse("resources", &text);
        Arc::new(parsed.resources.into_iter().collect())
    };
    let pods = pods(&labelled);
    let plan = Plan {
        destinations: Destinations::Policies(policies(&labelled)),
        directory: Some(Arc::new(directory(&pods))),
        ..Plan::default()
    };
    cluster.decider.replace(Arc::new(plan));
    let known = pods.iter().enumerate();
    cluster.pods = known.map(|(n, pod)| of_pod(n as u64, pod)).collect();
    assert_eq!(ignored(&mut cluster), ["far-1", "ignored-1"]);
    // Without policies who wants it still is.
    cluster.decider.replace(Arc::new(Plan::default()));
    assert_eq!(ignored(&mut cluster), ["ignored-1"]);
}

#[test]
fn where_a_process_listens_is_remembered_from_plan_to_plan() {
    let resources = resources();
    let plan = || {
        let engine = Arc::new(Engine::new(Arc::clone(&resources)));
        let policies = Policies::new(engine, Default::default(), |_| None);
        Arc::new(Plan {
            destinations: Destinations::Policies(policies),
            ..Plan::default()
        })
    };
    let process = known(1, Origin::Command("server".into()));
    let second = |n: u64| MonoNanos(n * 1_000_000_000);
    let mut decider = Decider::new(plan());
    let listens: [SocketAddr; 1] = ["10.0.1.2:80".parse().unwrap()];
    decider.learn(process.key, &listens, second(1));
    let other = known(2, Origin::Command("other".into()));
    let service = |decider: &mut Decider, now| {
        let standing = decider.standing(&process, second(now));
        standing
            .selected
            .map(|selected| selected.dataplane.name.to_string())
    };
    for n in 2..60 {
        decider.replace(plan());
        assert!(!decider.asks(&process, second(n)), "{n}");
        assert_eq!(service(&mut decider, n).as_deref(), Some("api-1.shop"));
        // Somebody else is asked, so that time goes on.
        decider.learn(other.key, &[], second(n));
    }
    decider.learn(other.key, &[], second(70));
    decider.replace(plan());
    assert!(decider.asks(&process, second(70)));
    let ip: IpAddr = at("10.0.1.2:80").ip;
    assert_eq!(ip, listens[0].ip());
}

#[test]
fn plans_with_the_same_rules_know_each_other() {
    let of = |cluster: Cluster| Arc::clone(cluster.decider.plan());
    let base = || of(Cluster::new(|_| {}));
    assert!(base().has_rules_of(&base()));
    let fewer = of(Cluster::new(|plan| plan.directory = None));
    assert!(base().has_rules_of(&fewer));
    let assumed = of(Cluster::new(|plan| plan.assume_http = true));
    assert!(!base().has_rules_of(&assumed));
    let one = Arc::new(Plan::default());
    assert!(!base().has_rules_of(&one) && one.has_rules_of(&Plan::default()));
    let text = RESOURCES.replace("name: off, selectors", "name: on, selectors");
    let parsed = resources::parse("resources", &text);
    let resources = Arc::new(parsed.resources.into_iter().collect());
    let renamed = Plan {
        destinations: Destinations::Policies(policies(&resources)),
        ..Plan::default()
    };
    assert!(!base().has_rules_of(&renamed));
}
