//! An admission and its release, on the same thread.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;

use crossbeam_utils::CachePadded;
use crossbeam_utils::sync::ShardedLock;
use tidegate::request::DrainRequest;
use tidegate::{Gateway, Origin};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::rounds::{Contender, Kind, ROUNDS, Round, Span, measure, print_ratios};
use crate::threads::{Start, cores};

/// More than the machine has cores, in the last one.
const THREADS: [u32; 3] = [1, 2, 4];

/// A contender that calls `prepare(thread)` on each thread, and then times what that returned. The call says whether
/// it did its work, and must always have.
fn call<'a, Once: FnMut() -> bool>(
    kind: Kind,
    name: &'static str,
    prepare: impl Fn(u32) -> Once + Sync + 'a,
) -> Contender<'a> {
    let on_thread = move |thread: u32, calls: u32, start: &Start| {
        let mut once = prepare(thread);
        let mut worked = true;
        start.meet(thread);
        let span = Span::of(|| {
            for _ in 0..calls {
                worked &= once();
            }
        });
        assert!(worked, "{name}: a call did not do its work");
        span
    };
    let round = move |threads: u32, calls: u32| {
        let start = Start::new(threads);
        let spans: Vec<Span> = thread::scope(|scope| {
            let (on_thread, start) = (&on_thread, &start);
            let spawn = |thread| scope.spawn(move || on_thread(thread, calls, start));
            let running: Vec<_> = (0..threads).map(spawn).collect();
            running.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        Round::new(&spans, calls * threads)
    };
    Contender { kind, name, round: Box::new(round) }
}

fn drained() -> Gateway {
    let gateway = Gateway::in_memory().start().expect("starts");
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    gateway
}

/// The limit is two atomic read-modify-writes on a word that no
/// other thread uses: an owned count cannot cost less.
pub fn print() {
    let own_words: &[CachePadded<AtomicU64>; 4] = &Default::default();
    let shared_word = &CachePadded::new(AtomicU64::new(0));
    let pair = |word: &AtomicU64| {
        word.fetch_add(1, Ordering::AcqRel);
        word.fetch_sub(1, Ordering::AcqRel) > 0
    };
    let gateway = &Gateway::in_memory().start().expect("starts");
    let closed = &drained();
    let tracker = &TaskTracker::new();
    let parking_lot = &Arc::new(parking_lot::RwLock::new(()));
    let std_lock = &RwLock::new(());
    let sharded_lock = &ShardedLock::new(());
    let semaphore = &Arc::new(Semaphore::new(1 << 20));
    let arc = &Arc::new(());
    let (_signal, watch) = &drain::channel();

    // The result of each call passes through `black_box`, so that a turn is a value that exists and then ends.
    let contenders = [
        call(Kind::Limit, "limit: two RMWs, a word for each thread", |thread| {
            move || pair(&own_words[thread as usize])
        }),
        call(Kind::Limit, "two RMWs, one word for all", |_| move || pair(shared_word)),
        call(Kind::Tidegate("admit"), "tidegate: admit, owned", |_| {
            move || black_box(gateway.admit(Origin::User)).is_ok()
        }),
        call(Kind::Tidegate("internal"), "tidegate: admit, internal", |_| {
            move || black_box(gateway.admit(Origin::Internal)).is_ok()
        }),
        call(Kind::Tidegate("child"), "tidegate: child of the thread's turn", |_| {
            let turn = gateway.admit(Origin::User).expect("open");
            move || black_box(turn.child()).is_ok()
        }),
        call(Kind::Tidegate("labelled"), "tidegate: admit_labelled", |_| {
            move || black_box(gateway.admit_labelled(Origin::User, "chat 4711")).is_ok()
        }),
        call(Kind::Tidegate("refuse"), "tidegate: refuse while draining", |_| {
            move || black_box(closed.admit(Origin::User)).is_err()
        }),
        call(Kind::Peer, "tokio-util TaskTracker token", |_| {
            move || {
                drop(black_box(tracker.token()));
                true
            }
        }),
        call(Kind::Peer, "parking_lot RwLock try_read", |_| {
            move || black_box(parking_lot.try_read()).is_some()
        }),
        call(Kind::Peer, "parking_lot RwLock try_read_arc, owned", |_| {
            move || black_box(parking_lot.try_read_arc()).is_some()
        }),
        call(Kind::Peer, "std RwLock try_read", |_| move || black_box(std_lock.try_read()).is_ok()),
        call(Kind::Peer, "crossbeam ShardedLock try_read", |_| {
            move || black_box(sharded_lock.try_read()).is_ok()
        }),
        call(Kind::Peer, "tokio Semaphore try_acquire", |_| {
            move || black_box(semaphore.try_acquire()).is_ok()
        }),
        call(Kind::Peer, "tokio Semaphore try_acquire_owned", |_| {
            move || black_box(Arc::clone(semaphore).try_acquire_owned()).is_ok()
        }),
        call(Kind::Peer, "Arc clone and drop", |_| {
            move || {
                drop(black_box(Arc::clone(arc)));
                true
            }
        }),
        call(Kind::Peer, "drain Watch clone and drop", |_| {
            move || {
                drop(black_box(watch.clone().ignore_signaled()));
                true
            }
        }),
    ];
    let samples = measure(&contenders, &THREADS);
    let limit = samples[0][0][0].median();
    println!(
        "\ncpu: the part of their processor time that the threads had; far below 1, do not trust the row."
    );
    println!(
        "limits: multiples of the limit on one thread. Right: tidegate's rows as multiples of each peer."
    );
    for (threads, samples) in THREADS.iter().zip(&samples) {
        let title = format!("admission, {threads} thread(s) on {} cores, {ROUNDS} rounds", cores());
        print_ratios(&title, &contenders, samples, limit);
    }
}
