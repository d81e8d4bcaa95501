//! A periodic look at an unchanged home allocates no memory. The test has its own binary, since an allocator belongs
//! to the process. `strace` counts the system calls: see the head of `benches/control.rs`.

use std::time::{Duration, Instant};

use tidegate::Gateway;
use tidegate::request::{DrainRequest, Holder};

/// Turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(30);

fn allocations_of(ticks: u32, gateway: &Gateway) -> u64 {
    let counted = allocation_counter::measure(|| {
        for _ in 0..ticks {
            gateway.reconcile_now();
        }
    });
    counted.count_total
}

#[test]
fn an_idle_tick_allocates_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
    // The clock of the file system is coarse. While the directory is younger than one tick of that clock, each look
    // lists it, and only time ends that.
    let began = Instant::now();
    while allocations_of(1, &gateway) > 0 {
        assert!(began.elapsed() < PATIENCE, "no look is idle");
        std::thread::yield_now();
    }
    assert_eq!(allocations_of(200, &gateway), 0);

    // The counter works: a look at a request allocates.
    gateway.begin_drain(&DrainRequest::default()).expect("writes");
    assert!(allocations_of(1, &gateway) > 0);
    gateway.cancel_drain(&Holder::Shared).expect("removes");
    gateway.reconcile_now();
    assert_eq!(allocations_of(200, &gateway), 0);
}
