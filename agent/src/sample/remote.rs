//! Keeps asking a sampling server, for every service that is seen.
//!
//! The sampler and the task that asks share a [`Mailbox`]: services one way,
//! strategies the other. Neither waits for the other, and the sampler only
//! looks at a flag as long as nothing is new.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::fetch::SamplingUrl;
use super::strategy::Strategy;
use crate::ledger::{Event, Ledger};

/// Questions that are on their way at a time.
const AT_ONCE: usize = 8;

/// How often a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollOptions {
    /// From one question about a service to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Default for PollOptions {
    /// Every minute, and 10 seconds: Jaeger's (`jaeger-client-go` 2.30,
    /// `sampler_remote_options.go`). Unlike there, the first question comes at
    /// once.
    fn default() -> Self {
        Self {
            interval: Duration::from_mins(1),
            timeout: Duration::from_secs(10),
        }
    }
}

#[derive(Debug, Default)]
struct Mailbox {
    post: Mutex<Post>,
    /// There are strategies to take.
    news: AtomicBool,
    /// There is something to ask.
    wake: Notify,
}

#[derive(Debug, Default)]
struct Post {
    asks: Vec<Ask>,
    /// The last answer for each service. There are no more services here than
    /// the sampler follows.
    answers: HashMap<Arc<str>, Strategy>,
    /// One end is gone.
    ended: bool,
}

#[derive(Debug)]
enum Ask {
    Follow(Arc<str>),
    Leave(Arc<str>),
}

impl Mailbox {
    fn post(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, ask: Ask) {
        let mut post = self.post();
        if !post.ended {
            post.asks.push(ask);
        }
        drop(post);
        self.wake.notify_one();
    }

    fn end(&self) {
        self.post().ended = true;
        self.wake.notify_one();
    }
}

/// The sampler's end.
#[derive(Debug)]
pub(super) struct Feed(Arc<Mailbox>);

impl Feed {
    /// Has somebody ask about this service from now on.
    pub(super) fn follow(&self, service: &Arc<str>) {
        self.0.ask(Ask::Follow(Arc::clone(service)));
    }

    /// Nobody need ask about this service any more.
    pub(super) fn leave(&self, service: &Arc<str>) {
        self.0.ask(Ask::Leave(Arc::clone(service)));
    }

    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.0.news.load(Ordering::Relaxed)
    }

    /// What is new since the last time.
    pub(super) fn take(&self) -> HashMap<Arc<str>, Strategy> {
        self.0.news.store(false, Ordering::Relaxed);
        std::mem::take(&mut self.0.post().answers)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Asks the server. To be [run](Self::run) in a tokio runtime.
#[derive(Debug)]
pub struct Poller {
    mailbox: Arc<Mailbox>,
    common: Arc<Common>,
}

/// What all questions share.
#[derive(Debug)]
struct Common {
    url: SamplingUrl,
    options: PollOptions,
    ledger: Arc<Ledger>,
    gate: Semaphore,
    troubles: Mutex<HashMap<String, usize>>,
}

impl Poller {
    /// A poller, and the sampler's end of it.
    pub(super) fn new(url: SamplingUrl, options: PollOptions, ledger: Arc<Ledger>) -> (Feed, Self) {
        let mailbox = Arc::<Mailbox>::default();
        let common = Arc::new(Common {
            url,
            options,
            ledger,
            gate: Semaphore::new(AT_ONCE),
            troubles: Mutex::default(),
        });
        (Feed(Arc::clone(&mailbox)), Self { mailbox, common })
    }

    /// Asks at other times than the default.
    #[must_use]
    pub fn with(mut self, options: PollOptions) -> Self {
        if let Some(common) = Arc::get_mut(&mut self.common) {
            common.options = options;
        }
        self
    }

    /// Asks about every service that the sampler meets, at once and then
    /// again and again, until the sampler is dropped.
    pub async fn run(self) {
        let mut questions = JoinSet::new();
        let mut followed: HashMap<Arc<str>, AbortHandle> = HashMap::default();
        loop {
            let (asks, ended) = {
                let mut post = self.mailbox.post();
                (std::mem::take(&mut post.asks), post.ended)
            };
            if ended {
                return;
            }
            for ask in asks {
                match ask {
                    Ask::Follow(service) => {
                        let question = Question {
                            service: Arc::clone(&service),
                            mailbox: Arc::clone(&self.mailbox),
                            common: Arc::clone(&self.common),
                            trouble: None,
                        };
                        let handle = questions.spawn(question.repeat());
                        if let Some(before) = followed.insert(service, handle) {
                            before.abort();
                        }
                    }
                    Ask::Leave(service) => {
                        if let Some(handle) = followed.remove(&service) {
                            handle.abort();
                        }
                        self.mailbox.post().answers.remove(&service);
                    }
                }
            }
            // What was aborted need not be kept.
            while questions.try_join_next().is_some() {}
            self.mailbox.wake.notified().await;
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.mailbox.end();
    }
}

/// The question about one service.
struct Question {
    service: Arc<str>,
    mailbox: Arc<Mailbox>,
    common: Arc<Common>,
    /// What it met last.
    trouble: Option<String>,
}

impl Question {
    async fn repeat(mut self) {
        let PollOptions {
            interval: period, ..
        } = self.common.options;
        let mut ticks = interval(period.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None;
        loop {
            ticks.tick().await;
            match self.ask().await {
                Ok(strategy) => {
                    self.common.ledger.events.add(Event::SamplingPolled, 1);
                    self.recovered();
                    // The same again changes nothing: limits go on as they
                    // are.
                    if last.as_ref() != Some(&strategy) {
                        tracing::debug!("sampling of {}: {strategy:?}", self.service);
                        last = Some(strategy.clone());
                        let mut post = self.mailbox.post();
                        post.answers.insert(Arc::clone(&self.service), strategy);
                        drop(post);
                        self.mailbox.news.store(true, Ordering::Relaxed);
                    }
                }
                Err(trouble) => {
                    self.common.ledger.events.add(Event::SamplingFailed, 1);
                    self.complain(trouble);
                }
            }
        }
    }

    async fn ask(&self) -> Result<Strategy, String> {
        let Common {
            url, options, gate, ..
        } = &*self.common;
        let _turn = gate.acquire().await;
        match timeout(options.timeout, url.fetch(&self.service)).await {
            Ok(Ok(strategy)) => Ok(strategy),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("{url} did not answer within {:?}", options.timeout)),
        }
    }

    /// Says a trouble that no other service has, once.
    fn complain(&mut self, trouble: String) {
        if self.trouble.as_ref() == Some(&trouble) {
            return;
        }
        self.recovered();
        let mut troubles = self.common.troubles();
        let services = troubles.entry(trouble.clone()).or_insert(0);
        *services += 1;
        if *services == 1 {
            tracing::warn!(
                "no sampling strategy for {}: {trouble}; its last one stays",
                self.service
            );
        }
        drop(troubles);
        self.trouble = Some(trouble);
    }

    fn recovered(&mut self) {
        let Some(trouble) = self.trouble.take() else {
            return;
        };
        let mut troubles = self.common.troubles();
        if let Some(services) = troubles.get_mut(&trouble) {
            *services -= 1;
            if *services == 0 {
                troubles.remove(&trouble);
            }
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.recovered();
    }
}

impl Common {
    fn troubles(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
