//! The gateway's own threads. Each makes rounds, at an interval or when it is woken, and survives a panic in a round.
//! This module decides nothing: a round is a closure of the gateway.
//!
//! There are two threads, because a stalled disk can block a system call without limit. The **watcher** looks at the
//! home and writes the status. The **timer** touches no file. It fires deadlines and wakes waiters. So a shutdown ends
//! ([TG-L4]) and a waiter is woken ([TG-L2]), even if the disk hangs ([I-12]).
//!
//! [TG-L4]: crate::guide::verification#tg-l4
//! [TG-L2]: crate::guide::verification#tg-l2
//! [I-12]: crate::guide::incidents#i-12

use std::io;
use std::time::Duration;

use crate::sync::{Arc, AtomicU64, Mutex, Ordering, Parker, Wakeup, contain, mpsc, thread};

/// The time of the next round, as a round returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextRound {
    /// When the thread is woken, or after this time at the latest.
    Within(Duration),
    /// When the thread is woken.
    WhenWoken,
    /// Never: the thread's work is done.
    Never,
}

/// The pause of a thread after a round that panicked, so that a round that always panics does not occupy a processor.
const AFTER_A_PANIC: Duration = Duration::from_secs(1);

/// Counts the beginnings and ends of a thread's rounds, so the count is odd during a round. An odd count that stays the
/// same shows a round that does not end. The thread needs no clock to write it.
#[derive(Debug, Default)]
pub(crate) struct RoundCounter(AtomicU64);

impl RoundCounter {
    /// Counts the beginning or the end of a round.
    fn beat(&self) {
        // Relaxed: the count is only compared with its own earlier values, and publishes nothing.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The count.
    #[cfg(feature = "systemd")]
    pub(crate) fn count(&self) -> u64 {
        // Relaxed: see `beat`.
        self.0.load(Ordering::Relaxed)
    }
}

/// A thread that makes rounds until it is done.
#[derive(Debug)]
pub(crate) struct Worker {
    wakeup: Arc<Wakeup>,
    pulse: Arc<RoundCounter>,
    thread: Option<thread::JoinHandle<()>>,
    /// Disconnected when the thread has ended. Only the last drop reads it. The lock guards no decision: it makes the
    /// handle `Sync`.
    ended: Mutex<mpsc::Receiver<()>>,
    hand_over: Option<mpsc::Sender<Round>>,
}

/// The closure of a round, and the one to call after a round that panicked.
struct Round {
    wakeup: Arc<Wakeup>,
    pulse: Arc<RoundCounter>,
    make: Box<dyn FnMut() -> NextRound + Send>,
    tell: Box<dyn Fn() + Send>,
}

impl Worker {
    /// Starts the thread, which does nothing until [`begin`](Worker::begin). The two steps are separate because the
    /// wakeup must exist before the gateway that it is built into.
    pub(crate) fn prepare(name: &str) -> io::Result<Worker> {
        let (hand_over, handed_over) = mpsc::channel::<Round>();
        let (ending, ended) = mpsc::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ending: mpsc::Sender<()> = ending;
            if let Ok(round) = handed_over.recv() {
                make_rounds(round);
            }
        })?;
        let wakeup = Arc::new(Wakeup::for_listener(Parker::of(thread.thread().clone())));
        Ok(Worker {
            wakeup,
            pulse: Arc::default(),
            thread: Some(thread),
            ended: Mutex::new(ended),
            hand_over: Some(hand_over),
        })
    }

    /// The wakeup that starts the next round early.
    pub(crate) fn wakeup(&self) -> Arc<Wakeup> {
        Arc::clone(&self.wakeup)
    }

    /// The counter of the thread's rounds.
    #[cfg(feature = "systemd")]
    pub(crate) fn pulse(&self) -> Arc<RoundCounter> {
        Arc::clone(&self.pulse)
    }

    /// Makes the first round at once, and calls `tell` after each round that panicked.
    pub(crate) fn begin(
        &mut self,
        round: impl FnMut() -> NextRound + Send + 'static,
        tell: impl Fn() + Send + 'static,
    ) {
        if let Some(hand_over) = self.hand_over.take() {
            let (wakeup, pulse) = (self.wakeup(), Arc::clone(&self.pulse));
            let round = Round { wakeup, pulse, make: Box::new(round), tell: Box::new(tell) };
            // The thread has not ended: it waits for this message.
            let _ = hand_over.send(round);
        }
    }

    /// Waits after a stop for the thread to end, for `patience` at most. It does not wait if the caller *is* that
    /// thread, for example if a waker drops the last handle.
    pub(crate) fn join(&mut self, patience: Duration) {
        // A thread that was never begun ends when its channel closes.
        self.hand_over = None;
        let Some(thread) = self.thread.take() else { return };
        if thread.thread().id() == thread::current().id() {
            return;
        }
        if self.ended.lock().recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Disconnected) {
            let _ = thread.join();
        } else {
            tracing::warn!(
                thread = thread.thread().name(),
                "thread did not stop in time and is left behind (it may be blocked in a system call)"
            );
        }
    }
}

fn make_rounds(mut round: Round) {
    loop {
        round.pulse.beat();
        // No code relies on state that a panic leaves incomplete: see `sync::Mutex`.
        let next = contain(&mut round.make).unwrap_or_else(|_| {
            // The log call is contained too, because the logger may be what panicked.
            let _ = contain(|| {
                tracing::error!(
                    thread = thread::current().name(),
                    "a round panicked; continuing with the next one"
                );
            });
            let _ = contain(|| (round.tell)());
            NextRound::Within(AFTER_A_PANIC)
        });
        round.pulse.beat();
        match next {
            NextRound::Within(patience) => round.wakeup.wait(Some(patience)),
            NextRound::WhenWoken => round.wakeup.wait(None),
            NextRound::Never => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_round_that_panics_is_followed_by_the_next() {
        let (made, rounds) = mpsc::channel();
        let mut count = 0;
        let mut thread = Worker::prepare("panicking").expect("a thread");
        let (told, panics) = mpsc::channel();
        let round = move || {
            count += 1;
            made.send(count).expect("the test listens");
            assert!(count != 1, "the first round panics on purpose");
            NextRound::Never
        };
        thread.begin(round, move || told.send(()).expect("the test listens"));
        assert_eq!(rounds.recv_timeout(LONG), Ok(1));
        assert_eq!(panics.recv_timeout(LONG), Ok(()));
        thread.wakeup().wake();
        assert_eq!(rounds.recv_timeout(LONG), Ok(2));
        thread.join(LONG);
    }

    #[test]
    fn a_wakeup_starts_the_next_round_early_and_is_never_missed() {
        let (made, rounds) = mpsc::channel();
        let mut count = 0;
        let mut thread = Worker::prepare("woken").expect("a thread");
        let round = move || {
            count += 1;
            made.send(()).expect("the test listens");
            if count == 1000 { NextRound::Never } else { NextRound::WhenWoken }
        };
        thread.begin(round, || {});
        for _ in 1..1000 {
            rounds.recv_timeout(LONG).expect("a round for each wake");
            thread.wakeup().wake();
        }
        rounds.recv_timeout(LONG).expect("the last round");
        thread.join(LONG);
    }

    #[test]
    fn a_thread_that_never_began_ends_when_joined() {
        Worker::prepare("idle").expect("a thread").join(LONG);
    }
}
