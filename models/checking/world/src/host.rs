//! What a process reads from its machine, and what can happen to the machine.

use std::time::Duration;

use crate::disk;
use crate::entry::{EventKind, ProcessId};
use crate::kernel;

/// Containers with this number or a higher one have their own boot clock, one hour ahead of the machine's.
pub const OWN_CLOCK: u64 = 4;

/// The time since boot, suspend included.
#[must_use]
pub fn uptime() -> Duration {
    const MORE: Duration = Duration::from_secs(3600);
    let uptime = kernel::with(|it| {
        let more = if it.process().container < OWN_CLOCK { Duration::ZERO } else { MORE };
        it.uptime() + more
    });
    uptime.unwrap_or_default()
}

/// The wall clock, in milliseconds since 1970.
#[must_use]
pub fn wall_ms() -> i64 {
    kernel::with(|it| it.wall_ms()).unwrap_or_default()
}

/// A fresh random number.
#[must_use]
pub fn random() -> u64 {
    kernel::with(|it| it.chooser.fresh()).unwrap_or_default()
}

/// A number less than `below`, chosen by the world's policy.
#[must_use]
pub fn choose(below: usize) -> usize {
    kernel::with(|it| it.chooser.below(below)).unwrap_or_default()
}

/// The number of the calling process.
#[must_use]
pub fn pid() -> u32 {
    pid_of(kernel::with(|it| it.process_id()).unwrap_or(ProcessId(0)))
}

/// The number of a process, as other processes see it.
#[must_use]
pub fn pid_of(process: ProcessId) -> u32 {
    u32::try_from(process.0 + 100).unwrap_or(u32::MAX)
}

/// The machine's id for the boot with this number.
#[must_use]
pub fn boot_id(boot: u64) -> String {
    format!("boot-{boot}\n")
}

/// The `stat` text in `/proc` of a process that started at this time.
#[must_use]
pub fn stat(started: u64) -> String {
    format!("1 (process) S{} {started}", " 0".repeat(18))
}

/// Whether a process with this number is alive.
#[must_use]
pub fn has_process(pid: u32) -> bool {
    let number = usize::try_from(pid).ok().and_then(|pid| pid.checked_sub(100));
    let lives =
        |number: usize| kernel::with(|it| it.processes.get(number).is_some_and(|it| !it.is_dead));
    number.and_then(lives).unwrap_or_default()
}

/// The namespace of this kind that the calling process is in. Each container has its own namespace for process
/// numbers. Some also have their own for the clock: see [`OWN_CLOCK`].
#[must_use]
pub fn namespace(kind: &str) -> Option<String> {
    let container = kernel::with(|it| it.process().container)?;
    let has_own = kind == "pid" || container >= OWN_CLOCK;
    let number = if has_own { container } else { 0 };
    Some(format!("{kind}:[{number}]"))
}

/// The text of a file below `/proc`.
#[must_use]
pub fn proc_text(path: &str) -> Option<String> {
    kernel::with(|it| match path {
        "/proc/sys/kernel/random/boot_id" => Some(boot_id(it.boots)),
        "/proc/1/stat" => Some(stat(it.process().container)),
        "/proc/self/stat" => Some(stat(it.process_id().0 as u64)),
        _ => None,
    })?
}

/// Suspends the machine for this long. The clock that measures waits does not count it.
pub fn suspend(how_long: Duration) {
    kernel::switch();
    kernel::with(|it| {
        it.fault("suspend");
        it.suspended += how_long;
        it.slept += how_long;
    });
}

/// Sets the wall clock forward, or back if `by_ms` is negative.
pub fn step_wall(by_ms: i64) {
    kernel::switch();
    kernel::with(|it| {
        it.fault("clock step");
        it.set_ms += by_ms;
    });
}

/// Kills all processes except the world's own, and reboots the machine. With `loses_power`, any part of what was not
/// synced is lost.
pub fn reboot(loses_power: bool) {
    kernel::switch();
    kernel::with(|it| {
        it.fault(if loses_power { "power loss" } else { "reboot" });
        for process in 1..it.processes.len() {
            it.kill(ProcessId(process));
        }
        it.boots += 1;
        it.booted_at = it.now;
        it.suspended = Duration::ZERO;
        if loses_power {
            disk::lose_power(it);
        } else {
            it.log(EventKind::Booted { lost: false });
        }
    });
}
