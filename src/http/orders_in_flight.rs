//! The orders that are under way: how many each principal has, and the cancelling of requests that nobody waits
//! for any more. It reads no order, and decides nothing about drains.

use std::collections::BTreeMap;
use std::sync::mpsc;

use axum::http::StatusCode;

use super::audit::AUDIT;
use super::auth::Principal;
use super::reply::Failure;
use crate::sync::{Arc, Mutex};

/// Cancels the requests that nobody waits for any more: one after the other, however many there are, on one
/// thread of its own. The runtime's would not do: it may be coming down, and drops what it is given then.
pub(super) struct Canceller {
    /// Guards the start of the thread, which ends when the routes are dropped and its work is done.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

pub(super) type Job = Box<dyn FnOnce() + Send>;

impl Canceller {
    pub(super) fn new() -> Arc<Canceller> {
        Arc::new(Canceller { jobs: Mutex::new(None) })
    }

    pub(super) fn run(&self, job: Job) {
        let mut jobs = self.jobs.lock();
        // Where there is no thread, or its last job has panicked, there is a new one.
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

/// How many orders one principal may have under way at once: each is a request and a place in memory.
const ORDERS_AT_ONCE_MAX: usize = 32;

/// Orders under way, by principal.
#[derive(Debug)]
pub(super) struct OrdersInFlight {
    /// Guards the counts; held for a look-up.
    counts: Mutex<BTreeMap<String, usize>>,
}

impl OrdersInFlight {
    pub(super) fn new() -> Arc<OrdersInFlight> {
        Arc::new(OrdersInFlight { counts: Mutex::new(BTreeMap::new()) })
    }

    pub(super) fn total(&self) -> usize {
        self.counts.lock().values().sum()
    }

    /// A place for one more order, until it is dropped.
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
