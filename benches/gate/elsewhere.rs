//! A turn that another thread drops: the usual case on a runtime that moves tasks.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc::{TrySendError, sync_channel};
use std::thread;

use crossbeam_utils::Backoff;
use tidegate::{Gateway, Origin};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::rounds::{Contender, Kind, ROUNDS, Round, Span, measure, print_ratios};
use crate::threads::Start;

/// How many turns may wait for the thread that drops them.
const QUEUE: usize = 256;

/// A contender whose value is made on one thread, sent through a channel and dropped on another thread.
fn hand_over<'a, Message: Send>(
    kind: Kind,
    name: &'static str,
    make: impl Fn() -> Message + Sync + 'a,
) -> Contender<'a> {
    let round = move |_, messages: u32| {
        let (sender, receiver) = sync_channel(QUEUE);
        let start = &Start::new(2);
        // Neither side blocks in the channel: a futex call would hide what is measured.
        let receive = move || {
            for _ in 0..messages {
                let backoff = Backoff::new();
                let message: Message = loop {
                    match receiver.try_recv() {
                        Ok(message) => break message,
                        Err(_) => backoff.snooze(),
                    }
                };
                drop(black_box(message));
            }
        };
        let send = || {
            for _ in 0..messages {
                let backoff = Backoff::new();
                let mut message = make();
                while let Err(TrySendError::Full(back)) = sender.try_send(message) {
                    message = back;
                    backoff.snooze();
                }
            }
        };
        let spans = thread::scope(|scope| {
            let producer = scope.spawn(|| {
                start.meet(0);
                Span::of(send)
            });
            let consumer = scope.spawn(|| {
                start.meet(1);
                Span::of(receive)
            });
            [producer, consumer].map(|thread| thread.join().expect("no panic"))
        });
        // A message is two calls, one on each thread.
        Round::new(&spans, 2 * messages)
    };
    Contender { kind, name, round: Box::new(round) }
}

/// The two threads work at the same time, so the time of a message is that of the slower one.
pub fn print() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let tracker = TaskTracker::new();
    let lock = Arc::new(parking_lot::RwLock::new(()));
    let semaphore = Arc::new(Semaphore::new(1 << 20));
    let arc = Arc::new(());
    let contenders = [
        hand_over(Kind::Limit, "floor: the channel with a u64", || 4711_u64),
        hand_over(Kind::Tidegate("admit"), "tidegate: admit, owned", || {
            gateway.admit(Origin::User).expect("open")
        }),
        hand_over(Kind::Peer, "tokio-util TaskTracker token", || tracker.token()),
        hand_over(Kind::Peer, "parking_lot RwLock try_read_arc, owned", || {
            lock.try_read_arc().expect("no writer")
        }),
        hand_over(Kind::Peer, "tokio Semaphore try_acquire_owned", || {
            Arc::clone(&semaphore).try_acquire_owned().expect("enough permits")
        }),
        hand_over(Kind::Peer, "Arc clone and drop", || Arc::clone(&arc)),
    ];
    let samples = measure(&contenders, &[2]);
    let title = format!(
        "elsewhere: dropped on another thread, {ROUNDS} rounds (limits: multiples of the floor)"
    );
    print_ratios(&title, &contenders, &samples[0], samples[0][0][0].median());
}
