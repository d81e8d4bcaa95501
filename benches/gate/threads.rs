//! Where the threads of a measurement run, and where they meet before it.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this program may use.
#[cfg(target_os = "linux")]
static ALLOWED: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let allowed = sched_getaffinity(None).expect("this thread lives");
    (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect()
});

pub fn cores() -> u32 {
    static CORES: LazyLock<usize> =
        LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    u32::try_from(*CORES).expect("few")
}

/// Keeps this thread on the core of this number. Other systems than Linux place it as they like.
#[cfg(target_os = "linux")]
pub fn pin(thread: u32) {
    let mut core = CpuSet::new();
    core.set(ALLOWED[thread as usize % ALLOWED.len()]);
    sched_setaffinity(None, &core).expect("an allowed core");
}

#[cfg(not(target_os = "linux"))]
pub fn pin(_: u32) {}

/// Where the threads of a round meet before the clock starts.
pub struct Start {
    threads: u32,
    arrived: AtomicU32,
}

impl Start {
    pub fn new(threads: u32) -> Start {
        Start { threads, arrived: AtomicU32::new(0) }
    }

    pub fn meet(&self, thread: u32) {
        if self.threads > 1 {
            // Without this, the scheduler may put both on one core while other programs use the other one.
            pin(thread);
        }
        self.arrived.fetch_add(1, Ordering::AcqRel);
        while self.arrived.load(Ordering::Acquire) < self.threads {
            // A thread that spins keeps another from arriving where there is no core for each of them.
            if self.threads > cores() { thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}
