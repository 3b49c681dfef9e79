//! Decisions, remembered.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::engine::{Decision, Engine};
use super::resource::{Dataplane, Inbound};
use super::tags::Tags;

/// All that policies ask of a workload. Workloads that are alike in it share
/// a decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Its mesh.
    pub mesh: Arc<str>,
    /// Its inbounds, or its gateway.
    pub inbounds: Arc<[Inbound]>,
}

impl Subject {
    /// A workload whose inbounds have these tags.
    #[must_use]
    pub fn new(mesh: impl Into<Arc<str>>, inbounds: impl IntoIterator<Item = Tags>) -> Self {
        Self {
            mesh: mesh.into(),
            inbounds: inbounds.into_iter().map(Inbound::from).collect(),
        }
    }
}

impl From<&Dataplane> for Subject {
    fn from(dataplane: &Dataplane) -> Self {
        Self {
            mesh: Arc::clone(&dataplane.mesh),
            inbounds: Arc::clone(&dataplane.inbounds),
        }
    }
}

/// A subject that [`Decisions`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubjectId {
    slot: usize,
    /// Tells it from those who had the slot before.
    turn: u64,
}

/// The decision of every subject that is in use, under one engine.
///
/// Looking one up is an index into an array, however many there are. They are
/// made when a subject is first seen, and all anew when the engine changes, so
/// an exchange is decided by the old or the new resources, never by both.
#[derive(Debug)]
pub struct Decisions {
    engine: Arc<Engine>,
    ids: HashMap<Subject, SubjectId>,
    slots: Vec<Slot>,
    /// Who has the slot of the same place.
    tenants: Vec<Option<Tenant>>,
    free: Vec<usize>,
    turn: u64,
    texts: Texts,
}

/// What a look-up reads, and no more.
#[derive(Debug)]
struct Slot {
    turn: u64,
    /// None if the slot is free.
    decision: Option<Arc<Decision>>,
}

#[derive(Debug)]
struct Tenant {
    subject: Subject,
    users: usize,
}

impl Decisions {
    /// No subjects yet.
    #[must_use]
    pub fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            ids: HashMap::new(),
            slots: Vec::new(),
            tenants: Vec::new(),
            free: Vec::new(),
            turn: 0,
            texts: Texts::default(),
        }
    }

    /// The engine that decides.
    #[must_use]
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The id of a subject, deciding it if it is new. Each call is a use that
    /// [`Decisions::release`] takes back.
    pub fn intern(&mut self, subject: &Subject) -> SubjectId {
        if let Some(id) = self.ids.get(subject).copied() {
            if let Some(tenant) = self.tenant(id) {
                tenant.users += 1;
            }
            return id;
        }
        let subject = self.texts.share(subject);
        self.turn += 1;
        let slot = Slot {
            turn: self.turn,
            decision: Some(self.engine.decide(&subject.mesh, &subject.inbounds)),
        };
        let tenant = Some(Tenant {
            subject: subject.clone(),
            users: 1,
        });
        let place = self.free.pop().unwrap_or(self.slots.len());
        match (self.slots.get_mut(place), self.tenants.get_mut(place)) {
            (Some(free), Some(nobody)) => {
                *free = slot;
                *nobody = tenant;
            }
            _ => {
                self.slots.push(slot);
                self.tenants.push(tenant);
            }
        }
        let id = SubjectId {
            slot: place,
            turn: self.turn,
        };
        self.ids.insert(subject, id);
        id
    }

    /// Takes back one use; a subject without uses is forgotten.
    pub fn release(&mut self, id: SubjectId) {
        let Some(tenant) = self.tenant(id) else {
            return;
        };
        tenant.users -= 1;
        if tenant.users > 0 {
            return;
        }
        if let Some(tenant) = self.tenants.get_mut(id.slot).and_then(Option::take) {
            self.ids.remove(&tenant.subject);
        }
        if let Some(slot) = self.slots.get_mut(id.slot) {
            slot.decision = None;
            self.free.push(id.slot);
        }
    }

    /// The decision about a subject; none if it was forgotten.
    #[inline]
    #[must_use]
    pub fn get(&self, id: SubjectId) -> Option<&Arc<Decision>> {
        let slot = self
            .slots
            .get(id.slot)
            .filter(|slot| slot.turn == id.turn)?;
        slot.decision.as_ref()
    }

    /// Decides all subjects anew, by another engine, and returns those about
    /// which it decides otherwise.
    pub fn replace(&mut self, engine: Arc<Engine>) -> Vec<SubjectId> {
        let mut changed = Vec::new();
        for (place, (slot, tenant)) in self.slots.iter_mut().zip(&self.tenants).enumerate() {
            let Some(Tenant { subject, .. }) = tenant else {
                continue;
            };
            let decision = Some(engine.decide(&subject.mesh, &subject.inbounds));
            if slot.decision != decision {
                changed.push(SubjectId {
                    slot: place,
                    turn: slot.turn,
                });
            }
            slot.decision = decision;
        }
        self.engine = engine;
        changed
    }

    /// Subjects in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    #[cfg(test)]
    pub(super) fn texts(&self) -> usize {
        self.texts.all.len()
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    fn tenant(&mut self, id: SubjectId) -> Option<&mut Tenant> {
        self.get(id)?;
        self.tenants.get_mut(id.slot)?.as_mut()
    }
}

/// Names and values of tags, each once. Most of what workloads say is what
/// others say too, and deciding them all anew goes through all of it: what is
/// shared stays in the processor's caches.
#[derive(Debug, Default)]
struct Texts {
    all: HashSet<Arc<str>>,
    /// How many were left when those that nobody uses were last removed.
    left: usize,
}

impl Texts {
    /// Texts that are kept without looking whether anybody uses them.
    const FEW: usize = 1024;

    /// The same subject, of shared texts.
    fn share(&mut self, subject: &Subject) -> Subject {
        if self.all.len() > Self::FEW + 2 * self.left {
            self.all.retain(|text| Arc::strong_count(text) > 1);
            self.left = self.all.len();
        }
        let mut text = |text: &Arc<str>| Arc::clone(self.all.get_or_insert_with(text, Arc::clone));
        let inbounds = subject.inbounds.iter().map(|inbound| {
            let tags = inbound.tags.iter();
            Inbound {
                tags: tags
                    .map(|(name, value)| (text(name), text(value)))
                    .collect(),
                protocol: inbound.protocol,
            }
        });
        let inbounds = inbounds.collect();
        Subject {
            mesh: text(&subject.mesh),
            inbounds,
        }
    }
}
