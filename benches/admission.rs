//! What one admission and its release cost, beside the peers an author might reach for instead, in one
//! run. Ratios are to two uncontended atomic read-modify-writes, measured in the same run.
//!
//! `cargo bench --bench admission`

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidegate::{Gateway, Origin};

const ROUNDS: usize = 15;
const PER_ROUND: u32 = 400_000;

/// Runs `once` on this many threads at once and gives the time per call and thread, in nanoseconds.
fn time(threads: usize, once: &(dyn Fn() + Sync)) -> f64 {
    let go = AtomicBool::new(false);
    let total: Duration = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    while !go.load(Ordering::Acquire) {
                        std::hint::spin_loop();
                    }
                    let began = Instant::now();
                    for _ in 0..PER_ROUND {
                        once();
                    }
                    began.elapsed()
                })
            })
            .collect();
        go.store(true, Ordering::Release);
        runs.into_iter().map(|run| run.join().expect("no panic")).sum()
    });
    let calls = f64::from(PER_ROUND) * f64::from(u32::try_from(threads).expect("few"));
    total.as_secs_f64() * 1e9 / calls
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let word = AtomicU64::new(0);
    let two_rmw = || {
        word.fetch_add(1, Ordering::AcqRel);
        word.fetch_sub(1, Ordering::AcqRel);
    };

    let gateway = Gateway::in_memory().start().expect("starts");
    let admit = || drop(black_box(gateway.admit(Origin::User)));

    let closed = Gateway::in_memory().start().expect("starts");
    closed.begin_drain(&tidegate::request::DrainRequest::default()).expect("in memory");
    let refuse = || drop(black_box(closed.admit(Origin::User)));

    let tracker = tokio_util::task::TaskTracker::new();
    let track = || drop(black_box(tracker.token()));

    let lock = Arc::new(parking_lot::RwLock::new(()));
    let read = || drop(black_box(lock.try_read()));
    let read_owned = || drop(black_box(parking_lot::RwLock::try_read_arc(&lock)));

    let semaphore = Arc::new(tokio::sync::Semaphore::new(1 << 20));
    let acquire = || drop(black_box(Arc::clone(&semaphore).try_acquire_owned()));

    let (_signal, watch) = drain::channel();
    let watched = || drop(black_box(watch.clone().ignore_signaled()));

    let contenders: [(&str, &(dyn Fn() + Sync)); 8] = [
        ("two atomic read-modify-writes", &two_rmw),
        ("tidegate: admit a Turn and drop it", &admit),
        ("tidegate: refuse", &refuse),
        ("tokio-util TaskTracker token (refuses nothing)", &track),
        ("parking_lot RwLock try_read (borrowed)", &read),
        ("parking_lot RwLock try_read_arc (owned)", &read_owned),
        ("tokio Semaphore try_acquire_owned", &acquire),
        ("drain Watch clone and drop (refuses nothing)", &watched),
    ];
    for threads in [1, 2] {
        // Round by round in turn, so that a slow spell of the machine meets everybody.
        let mut times = vec![Vec::new(); contenders.len()];
        for _ in 0..ROUNDS {
            for ((_, once), times) in contenders.iter().zip(&mut times) {
                times.push(time(threads, once));
            }
        }
        let medians: Vec<f64> = times.into_iter().map(median).collect();
        println!("\n{threads} thread(s): median of {ROUNDS} rounds of {PER_ROUND} calls");
        for ((name, _), nanoseconds) in contenders.iter().zip(&medians) {
            println!("  {name:<50} {nanoseconds:>7.1} ns  {:>5.2} x", nanoseconds / medians[0]);
        }
    }
}
