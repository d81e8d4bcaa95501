//! The values that the process reads from its machine besides files: clocks, its process id, `/proc`, and unique
//! numbers. This module decides nothing. A checking build reads a simulated machine instead, which a seed controls.

#[cfg(not(tidegate_checking))]
mod imp {
    use std::time::Duration;

    use chrono::{DateTime, Utc};

    /// The time since boot, suspend included.
    pub(crate) fn uptime() -> Duration {
        // CLOCK_BOOTTIME counts suspend; macOS' CLOCK_MONOTONIC does too.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        const BOOT_CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        const BOOT_CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

        let now = rustix::time::clock_gettime(BOOT_CLOCK);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
    }

    /// The wall clock.
    pub(crate) fn wall() -> DateTime<Utc> {
        Utc::now()
    }

    /// The process id.
    pub(crate) fn pid() -> u32 {
        std::process::id()
    }

    /// The text of a file below `/proc`; `None` if it cannot be read.
    pub(crate) fn proc_text(path: &str) -> Option<String> {
        std::fs::read_to_string(path).ok()
    }

    /// Whether there is a process with this id, in this process's namespace.
    pub(crate) fn has_process(pid: u32) -> bool {
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        let found = pid.map(rustix::process::test_kill_process);
        // A process of another user exists, even if it may not be signalled.
        matches!(found, Some(Ok(()) | Err(rustix::io::Errno::PERM)))
    }

    /// The namespace of this kind that the process is in; `None` if that cannot be read.
    pub(crate) fn namespace(kind: &str) -> Option<String> {
        let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
        Some(link.to_string_lossy().into_owned())
    }

    /// A unique number, from the operating system's seed, this process and this instant.
    pub(crate) fn fresh_number() -> u64 {
        use std::hash::{BuildHasher, RandomState};

        let here_and_now = (std::process::id(), std::time::SystemTime::now());
        RandomState::new().hash_one(here_and_now)
    }
}

#[cfg(tidegate_checking)]
mod imp {
    use chrono::{DateTime, Utc};

    pub(crate) use tidegate_world::host::{
        has_process, namespace, pid, proc_text, random as fresh_number, uptime,
    };

    pub(crate) fn wall() -> DateTime<Utc> {
        DateTime::from_timestamp_millis(tidegate_world::host::wall_ms()).unwrap_or_default()
    }
}

pub(crate) use imp::{fresh_number, has_process, namespace, pid, proc_text, uptime, wall};

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_boot_clock_runs() {
        let first = uptime();
        assert!(first > Duration::ZERO && uptime() >= first);
    }
}
