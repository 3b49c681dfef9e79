//! Ctrl-C and SIGTERM: guests are ended and cleaned up after.

use std::{
    process,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static BUSY: AtomicUsize = AtomicUsize::new(0);
static WATCHED: OnceLock<()> = OnceLock::new();

/// Time for whoever holds a [`Guard`] to notice and clean up.
const GRACE: Duration = Duration::from_secs(5);

/// While one of these lives, a signal asks instead of killing.
#[derive(Debug)]
pub(crate) struct Guard(());

impl Guard {
    /// Begins to watch for signals.
    ///
    /// # Errors
    /// If no handler can be set.
    pub(crate) fn new() -> Result<Self> {
        if WATCHED.set(()).is_ok() {
            let mut signals =
                Signals::new([SIGINT, SIGTERM, SIGHUP]).context("watching signals")?;
            thread::spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    REQUESTED.store(true, Ordering::SeqCst);
                    let mut waited = Duration::ZERO;
                    while BUSY.load(Ordering::SeqCst) > 0 && waited < GRACE {
                        thread::sleep(Duration::from_millis(20));
                        waited += Duration::from_millis(20);
                    }
                    process::exit(128 + signal);
                }
            });
        }
        BUSY.fetch_add(1, Ordering::SeqCst);
        Ok(Self(()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a signal has asked this process to end.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
