//! Decisions that are remembered.

use std::sync::Arc;

use super::{engine, policies, tags};
use crate::policy::*;

fn subject(text: &str) -> Subject {
    Subject::new("default", [tags(text)])
}

fn policy_of(decisions: &Decisions, id: SubjectId) -> Option<String> {
    let decision = decisions.get(id).unwrap();
    decision.policy.as_deref().map(str::to_owned)
}

#[test]
fn equal_subjects_share_a_decision_until_none_uses_it() {
    let mut decisions = Decisions::new(Arc::new(engine(policies("p: s=*"))));
    let one = decisions.intern(&subject("s=web"));
    let two = decisions.intern(&subject("s=web"));
    let other = decisions.intern(&subject("t=web"));
    assert_eq!(one, two);
    assert_eq!(decisions.len(), 2);
    assert_eq!(policy_of(&decisions, one).as_deref(), Some("p"));
    assert_eq!(policy_of(&decisions, other), None);
    decisions.release(one);
    assert!(decisions.get(one).is_some());
    decisions.release(two);
    assert!(decisions.get(one).is_none());
    assert_eq!(decisions.len(), 1);

    // Its place is used again, but not under its id.
    let new = decisions.intern(&subject("u=web"));
    assert_ne!(new, one);
    assert!(decisions.get(one).is_none());
    decisions.release(one);
    assert!(decisions.get(new).is_some());
    assert_eq!(decisions.slots(), 2);
}

#[test]
fn other_resources_decide_anew_and_say_what_changed() {
    let mut decisions = Decisions::new(Arc::new(engine(policies("p: s=*"))));
    let web = decisions.intern(&subject("s=web"));
    let api = decisions.intern(&subject("s=api"));
    let gone = decisions.intern(&subject("s=gone"));
    decisions.release(gone);
    let same = decisions.replace(Arc::new(engine(policies("p: s=*"))));
    assert_eq!(same, []);
    let changed = decisions.replace(Arc::new(engine(policies("p: s=*; q: s=web"))));
    assert_eq!(changed, [web]);
    assert_eq!(policy_of(&decisions, web).as_deref(), Some("q"));
    assert_eq!(policy_of(&decisions, api).as_deref(), Some("p"));
    let changed = decisions.replace(Arc::new(engine(policies(""))));
    assert_eq!(changed, [web, api]);
    assert_eq!(decisions.get(web).unwrap().outcome, Outcome::NoPolicy);
    // A subject that comes later is decided by the new ones.
    let late = decisions.intern(&subject("s=late"));
    assert_eq!(policy_of(&decisions, late), None);
}

#[test]
fn the_same_tags_in_another_mesh_are_another_subject() {
    let mut decisions = Decisions::new(Arc::new(engine(policies("p: s=*"))));
    let here = decisions.intern(&subject("s=web"));
    let there = decisions.intern(&Subject::new("other", [tags("s=web")]));
    assert_ne!(here, there);
    assert_eq!(decisions.get(there).unwrap().outcome, Outcome::NoMesh);
}

/// Pods come and go, each with a name of its own.
#[test]
fn nothing_is_kept_of_those_who_went() {
    let mut decisions = Decisions::new(Arc::new(engine(policies("p: s=*"))));
    let stays = decisions.intern(&subject("s=web,pod=stays"));
    for n in 0..20_000 {
        let id = decisions.intern(&subject(&format!("s=web,pod=p{n}")));
        assert_eq!(decisions.get(id), decisions.get(stays));
        decisions.release(id);
    }
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions.slots(), 2);
    assert!(decisions.texts() < 5000, "{}", decisions.texts());
    // What is used was not forgotten.
    assert_eq!(decisions.intern(&subject("s=web,pod=stays")), stays);
}
