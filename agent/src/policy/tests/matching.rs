//! Which policy wins.

use super::{by_the_book, engine, inbounds, policies, policy};

/// What is shown, policies, inbounds, the winner (`-` for none). The names of
/// tags are short; what they are called decides nothing.
const CASES: &[(&str, &str, &str, &str)] = &[
    // What a selector matches.
    ("no policies", "", "s=web", "-"),
    ("an exact value", "p: s=web", "s=web", "p"),
    ("another value", "p: s=web", "s=api", "-"),
    (
        "values are compared with their case",
        "p: s=web",
        "s=Web",
        "-",
    ),
    (
        "names are compared with their case",
        "p: S=web",
        "s=web",
        "-",
    ),
    ("a value is not a prefix", "p: s=web", "s=web-1", "-"),
    (
        "a value is not a beginning of the wanted one",
        "p: s=web-1",
        "s=web",
        "-",
    ),
    ("* is any value", "p: s=*", "s=web", "p"),
    ("* needs the tag", "p: s=*", "t=web", "-"),
    ("* in a text is no pattern", "p: s=web*", "s=web-1", "-"),
    ("* in a text is a character", "p: s=web*", "s=web*", "p"),
    ("two stars are no pattern", "p: s=**", "s=web", "-"),
    ("an empty value exists", "p: s=*", "s=", "p"),
    (
        "other tags do not matter",
        "p: s=web",
        "s=web,v=1,r=eu",
        "p",
    ),
    (
        "tags before and behind do not matter",
        "p: m=1",
        "a=1,m=1,z=1",
        "p",
    ),
    (
        "any name of a tag will do",
        "p: region=eu",
        "region=eu",
        "p",
    ),
    (
        "the service tag is not needed",
        "p: kuma.io/zone=east",
        "kuma.io/service=web,kuma.io/zone=east",
        "p",
    ),
    (
        "the protocol is a tag",
        "p: kuma.io/protocol=http",
        "kuma.io/protocol=http",
        "p",
    ),
    (
        "the protocol is compared as a text",
        "p: kuma.io/protocol=http",
        "kuma.io/protocol=HTTP",
        "-",
    ),
    (
        "slashes in names",
        "p: kuma.io/service=web",
        "kuma.io/service=web",
        "p",
    ),
    (
        "a name is not a prefix",
        "p: kuma.io/serv=*",
        "kuma.io/service=web",
        "-",
    ),
    // All tags of a selector.
    ("two tags, both there", "p: s=web,v=1", "s=web,v=1", "p"),
    ("two tags, one missing", "p: s=web,v=1", "s=web", "-"),
    ("two tags, one different", "p: s=web,v=1", "s=web,v=2", "-"),
    ("two tags, both different", "p: s=web,v=1", "s=api,v=2", "-"),
    ("exact and *", "p: s=web,v=*", "s=web,v=9", "p"),
    (
        "exact and *, the second missing",
        "p: s=web,v=*",
        "s=web",
        "-",
    ),
    ("three tags", "p: s=web,v=1,r=eu", "r=eu,v=1,s=web", "p"),
    (
        "the missing one is the last by name",
        "p: a=1,z=1",
        "a=1,b=1",
        "-",
    ),
    (
        "the missing one is the first by name",
        "p: a=1,z=1",
        "b=1,z=1",
        "-",
    ),
    // Inbounds.
    ("no inbounds", "p: s=*", "", "-"),
    ("an inbound without tags", "p: s=*", ", ", "-"),
    ("the second inbound", "p: s=api", "s=web / s=api", "p"),
    (
        "tags of two inbounds are not put together",
        "p: s=web,v=2",
        "s=web,v=1 / s=api,v=2",
        "-",
    ),
    ("both inbounds", "p: s=*", "s=web / s=api", "p"),
    (
        "the strongest of all inbounds",
        "a: s=*; b: s=api",
        "s=web / s=api",
        "b",
    ),
    (
        "two inbounds, two policies, later",
        "a@1: s=web; b@2: s=api",
        "s=web / s=api",
        "b",
    ),
    (
        "two inbounds, two policies, by name",
        "b: s=web; a: s=api",
        "s=web / s=api",
        "a",
    ),
    // Selectors.
    ("the second selector", "p: s=api | s=web", "s=web", "p"),
    ("no selector", "p: s=api | s=db", "s=web", "-"),
    (
        "either of two inbounds' selectors",
        "p: s=api,v=9 | v=1",
        "s=web / v=1",
        "p",
    ),
    (
        "the best matching selector counts",
        "a: s=* | s=web,v=1; b: s=web",
        "s=web,v=1",
        "a",
    ),
    (
        "a selector that does not match counts nothing",
        "a: s=* | s=api,v=1,r=eu; b: s=web",
        "s=web,v=1",
        "b",
    ),
    (
        "the order of selectors does not matter",
        "a: s=web,v=1 | s=*; b: s=web",
        "s=web,v=1",
        "a",
    ),
    (
        "more selectors do not make it stronger",
        "a: s=web; b: s=* | v=* | r=*",
        "s=web,v=1,r=eu",
        "a",
    ),
    // More tags win.
    (
        "two tags beat one",
        "a: s=web; b: s=web,v=1",
        "s=web,v=1",
        "b",
    ),
    (
        "three tags beat two",
        "c: s=web,v=1; b: s=web,v=1,r=eu",
        "s=web,v=1,r=eu",
        "b",
    ),
    (
        "two * beat one exact",
        "a: s=web; b: s=*,r=*",
        "s=web,r=eu",
        "b",
    ),
    (
        "three * beat two exact",
        "a: s=web,v=1; b: s=*,v=*,r=*",
        "s=web,v=1,r=eu",
        "b",
    ),
    (
        "more tags beat a later creation",
        "a@9: s=web; b@1: s=web,v=1",
        "s=web,v=1",
        "b",
    ),
    (
        "more tags beat the name",
        "a: s=web; z: s=web,v=1",
        "s=web,v=1",
        "z",
    ),
    (
        "tags of the workload do not count",
        "a: s=web; b: v=1,r=*",
        "s=web,v=1,r=eu,x=1,y=2",
        "b",
    ),
    // Then more exact ones.
    ("exact beats *", "a: s=*; b: s=web", "s=web", "b"),
    (
        "two exact beat one and *",
        "a: s=web,v=*; b: s=web,v=1",
        "s=web,v=1",
        "b",
    ),
    (
        "one exact and * beat two *",
        "a: s=*,v=*; b: s=*,v=1",
        "s=web,v=1",
        "b",
    ),
    (
        "exact beats a later creation",
        "a@9: s=*; b@1: s=web",
        "s=web",
        "b",
    ),
    ("exact of whatever tag", "a: s=*; b: v=1", "s=web,v=1", "b"),
    (
        "the stronger does not match",
        "a: s=*; b: s=api",
        "s=web",
        "a",
    ),
    // Then the later.
    ("later wins", "a@1: s=web; b@2: s=web", "s=web", "b"),
    (
        "later wins, the other way round",
        "a@2: s=web; b@1: s=web",
        "s=web",
        "a",
    ),
    (
        "later wins, other tags",
        "a@1: s=web; b@2: v=1",
        "s=web,v=1",
        "b",
    ),
    ("later wins among *", "a@1: s=*; b@2: v=*", "s=web,v=1", "b"),
    (
        "a nanosecond is later",
        "a@1700000000000000000: s=web; b@1700000000000000001: s=web",
        "s=web",
        "b",
    ),
    (
        "some time is later than none",
        "a: s=web; b@1: s=web",
        "s=web",
        "b",
    ),
    (
        "before the epoch is earlier than none",
        "b: s=web; a@-62135596800000000000: s=web",
        "s=web",
        "b",
    ),
    (
        "the latest of three",
        "a@1: s=web; b@3: s=web; c@2: s=web",
        "s=web",
        "b",
    ),
    (
        "the latest is of another rank",
        "a@1: s=web; b@3: s=*; c@2: s=web",
        "s=web",
        "c",
    ),
    // Then the name.
    ("the first name", "b: s=web; a: s=web", "s=web", "a"),
    (
        "the first name of the same time",
        "b@7: s=web; a@7: s=web",
        "s=web",
        "a",
    ),
    (
        "the first name of three",
        "c: s=web; a: s=web; b: s=web",
        "s=web",
        "a",
    ),
    (
        "names are compared byte by byte",
        "p-2: s=web; p-10: s=web",
        "s=web",
        "p-10",
    ),
    (
        "a shorter name is first",
        "aa: s=web; a: s=web",
        "s=web",
        "a",
    ),
    (
        "the first name with other selectors",
        "b: s=web; a: v=1",
        "s=web,v=1",
        "a",
    ),
    (
        "the first name among the latest",
        "a@1: s=web; c@2: s=web; b@2: s=web",
        "s=web",
        "b",
    ),
    // All of it.
    (
        "mesh-wide and narrow, the narrow one's workload",
        "all: s=*; eu: s=*,r=eu",
        "s=web,r=eu",
        "eu",
    ),
    (
        "mesh-wide and narrow, another workload",
        "all: s=*; eu: s=*,r=eu",
        "s=web,r=us",
        "all",
    ),
    (
        "a region for itself, two services",
        "all: s=*; eu: r=eu; web: s=web",
        "s=web,r=eu",
        "eu",
    ),
    (
        "a region for itself, later",
        "all: s=*; eu@1: r=eu; web@2: s=web",
        "s=web,r=eu",
        "web",
    ),
    (
        "every rule at once",
        "a@9: s=*; b@8: s=*,v=*; c@1: s=web,v=*; d@2: s=*,v=1; e@2: s=web,v=*",
        "s=web,v=1",
        "d",
    ),
];

#[test]
fn the_winner() {
    assert!(CASES.len() >= 60, "{}", CASES.len());
    for &(what, of, to, expected) in CASES {
        let (policies, inbounds) = (policies(of), inbounds(to));
        let expected = Some(expected).filter(|name| *name != "-");
        let reference = by_the_book(&policies, &inbounds);
        assert_eq!(reference.as_deref(), expected, "by the book: {what}");
        // In whatever order they come.
        for turned in 0..policies.len().max(1) {
            let mut policies = policies.clone();
            policies.rotate_left(turned);
            let decision = engine(policies).decide("default", &inbounds);
            assert_eq!(decision.policy.as_deref(), expected, "{what}");
        }
    }
}

#[test]
fn no_two_cases_are_the_same() {
    for (n, case) in CASES.iter().enumerate() {
        for other in CASES.iter().skip(n + 1) {
            assert_ne!(case.0, other.0);
            assert_ne!((case.1, case.2), (other.1, other.2), "{}", case.0);
        }
    }
}

#[test]
fn explain_ranks_as_the_engine_does() {
    for &(what, of, to, expected) in CASES {
        let engine = engine(policies(of));
        let explanation = engine.explain("default", &inbounds(to));
        let first = explanation.matched.first();
        let won = first.filter(|candidate| candidate.fate == crate::policy::Fate::Won);
        assert_eq!(
            won.map_or("-", |won| won.policy.as_str()),
            expected,
            "{what}"
        );
        assert_eq!(
            explanation.policy.as_deref().unwrap_or("-"),
            expected,
            "{what}"
        );
        let losers = explanation.matched.iter().skip(1);
        assert!(
            losers
                .clone()
                .all(|loser| loser.fate != crate::policy::Fate::Won),
            "{what}"
        );
    }
}

#[test]
fn ranks() {
    let rank = |text| policy(&format!("p: {text}")).selectors[0].rank();
    assert!(rank("a=*,b=*") > rank("a=1"));
    assert!(rank("a=1,b=*") > rank("a=*,b=*"));
    assert!(rank("a=1") > rank("a=*"));
    assert_eq!(rank("a=1,b=*"), rank("a=*,b=1"));
    assert_eq!((rank("a=1,b=*").exact(), rank("a=1,b=*").total()), (1, 2));
}
