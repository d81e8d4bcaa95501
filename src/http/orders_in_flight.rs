//! The orders in progress: how many each principal has, and the cancelling of requests whose client no longer waits.
//! It reads no order, and decides nothing about drains.

use std::collections::BTreeMap;
use std::sync::mpsc;

use axum::http::StatusCode;

use super::audit::AUDIT;
use super::auth::Principal;
use super::reply::Failure;
use crate::sync::{Arc, Mutex};

/// Cancels the requests whose client no longer waits, one after the other, on its own thread. The runtime's threads
/// would not do: a runtime that is shutting down drops new work.
pub(super) struct Canceller {
    /// Guards the start of the thread. The thread ends when the routes are dropped and its work is done.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

pub(super) type Job = Box<dyn FnOnce() + Send>;

impl Canceller {
    pub(super) fn new() -> Arc<Canceller> {
        Arc::new(Canceller { jobs: Mutex::new(None) })
    }

    pub(super) fn run(&self, job: Job) {
        let mut jobs = self.jobs.lock();
        // If there is no thread, or its last job has panicked, a new one starts.
        let unsent = match &*jobs {
            Some(jobs) => jobs.send(job).err().map(|unsent| unsent.0),
            None => Some(job),
        };
        let Some(job) = unsent else { return };
        let (sender, receiver) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name("tidegate-cancel".to_owned());
        let started = thread.spawn(move || receiver.into_iter().for_each(|job| job()));
        match started {
            Ok(_) => {
                let _ = sender.send(job);
                *jobs = Some(sender);
            }
            Err(error) => {
                tracing::warn!(target: AUDIT, %error, "cannot start a thread that cancels an abandoned request; the request stays until its lease ends");
            }
        }
    }
}

/// The most orders that one principal may have in progress at once: each takes a request and some memory.
const ORDERS_AT_ONCE_MAX: usize = 32;

/// The orders in progress, by principal.
#[derive(Debug)]
pub(super) struct OrdersInFlight {
    /// Guards the counts. It is held only for a look-up.
    counts: Mutex<BTreeMap<String, usize>>,
}

impl OrdersInFlight {
    pub(super) fn new() -> Arc<OrdersInFlight> {
        Arc::new(OrdersInFlight { counts: Mutex::new(BTreeMap::new()) })
    }

    pub(super) fn total(&self) -> usize {
        self.counts.lock().values().sum()
    }

    /// A place for one more order, which is free again when it is dropped.
    pub(super) fn take(
        at_once: &Arc<OrdersInFlight>,
        principal: &Principal,
    ) -> Result<OrderSlot, Failure> {
        let mut counts = at_once.counts.lock();
        let count = counts.entry(principal.name().to_owned()).or_default();
        if *count >= ORDERS_AT_ONCE_MAX {
            let detail = format!(
                "you already have {ORDERS_AT_ONCE_MAX} orders in progress, which is the limit; nothing was done: wait until one of them ends"
            );
            return Err(Failure::new(StatusCode::TOO_MANY_REQUESTS, "too_many_orders", detail));
        }
        *count += 1;
        Ok(OrderSlot { at_once: Arc::clone(at_once), principal: principal.name().to_owned() })
    }
}

pub(super) struct OrderSlot {
    at_once: Arc<OrdersInFlight>,
    principal: String,
}

impl Drop for OrderSlot {
    fn drop(&mut self) {
        let mut counts = self.at_once.counts.lock();
        if let Some(count) = counts.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.principal);
            }
        }
    }
}
