//! The identity of this boot ([F1]) and the time since it ([F2]), by which a request is judged. Reading either never
//! fails; a value that cannot be read is unknown.
//!
//! The epoch is `<boot id>:<start time of pid 1>`. The first part changes when the machine boots, and the second when
//! the container is created again. If neither can be read the epoch is unknown. An unknown epoch never makes a request
//! stale: a drain that cannot be dated is still a drain.
//!
//! [F1]: crate::guide::requirements#f1
//! [F2]: crate::guide::requirements#f2

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::host;

/// The identity of a boot and container; may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch(String);

impl Epoch {
    /// The epoch of the machine and container that this process runs in.
    #[must_use]
    pub fn current() -> Epoch {
        let boot_id = host::proc_text("/proc/sys/kernel/random/boot_id");
        Epoch::from_texts(boot_id.as_deref(), host::proc_text("/proc/1/stat").as_deref())
    }

    /// The epoch from two texts: the boot id, and `/proc/1/stat`. `None` means that the file could not be read.
    ///
    /// ```
    /// use tidegate::epoch::Epoch;
    /// assert_eq!(Epoch::from_texts(Some("7dab\n"), None).as_str(), "7dab:");
    /// assert!(Epoch::from_texts(None, None).is_unknown());
    /// ```
    #[must_use]
    pub fn from_texts(boot_id: Option<&str>, pid_1_stat: Option<&str>) -> Epoch {
        let boot_id = boot_id.map(str::trim).unwrap_or_default();
        let started = pid_1_stat.and_then(start_time).unwrap_or_default();
        if boot_id.is_empty() && started.is_empty() {
            return Epoch::default();
        }
        Epoch(format!("{boot_id}:{started}"))
    }

    /// The epoch that a file states.
    pub(crate) fn stated(text: &str) -> Epoch {
        Epoch(text.to_owned())
    }

    /// Whether nothing is known of this boot.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `stated` names another boot or container. A half that is unknown on either side counts as equal. A
    /// gateway that may not read `/proc/1/stat` is not in another container because of that.
    #[must_use]
    pub fn is_other_than(&self, stated: &str) -> bool {
        match (self.0.split_once(':'), stated.split_once(':')) {
            (None, _) => false,
            // No writer that knows an epoch spells it like this. A writer that knows neither half writes an empty text.
            (Some(_), None | Some(("", ""))) => true,
            (Some((boot, container)), Some((stated_boot, stated_container))) => {
                let differ = |a: &str, b: &str| !a.is_empty() && !b.is_empty() && a != b;
                differ(boot, stated_boot) || differ(container, stated_container)
            }
        }
    }

    /// Whether `stated` is certainly of this boot, so that times since boot can be compared.
    #[must_use]
    pub fn is_same_boot_as(&self, stated: &str) -> bool {
        let boot = |epoch: &str| epoch.split_once(':').map(|(boot, _)| boot.to_owned());
        let known = boot(&self.0).filter(|boot| !boot.is_empty());
        known.is_some() && known == boot(stated) && !self.is_other_than(stated)
    }

    /// Whether both are of one boot, as far as is known. Then the clocks of the machine are the same, but their
    /// namespaces may differ. It is also `true` if neither boot is known.
    pub(crate) fn is_same_boot_or_unknown(&self, other: &Epoch) -> bool {
        let boot = |epoch: &Epoch| epoch.0.split_once(':').map(|(boot, _)| boot.to_owned());
        boot(self) == boot(other) && boot(self).is_none_or(|boot| !boot.is_empty())
    }

    /// The epoch as text, as in a marker; empty if it is unknown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The place where a process runs, as far as clocks and process ids are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessContext {
    pub(crate) epoch: Epoch,
    /// The namespace of its process ids; `None` if it cannot be read.
    pub(crate) pid_namespace: Option<String>,
    /// The namespace of its time since boot; `None` if it cannot be read.
    pub(crate) time_namespace: Option<String>,
}

impl ProcessContext {
    /// The place where this process runs.
    pub(crate) fn here() -> ProcessContext {
        let [pid_namespace, time_namespace] = ["pid", "time"].map(host::namespace);
        ProcessContext { epoch: Epoch::current(), pid_namespace, time_namespace }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Field 22 of a `/proc/<pid>/stat` text: when the process started, in clock ticks since boot. The name of the command
/// may contain spaces and parentheses, so fields are counted from the last `)`.
pub(crate) fn start_time(stat: &str) -> Option<&str> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)
}

/// Whole milliseconds, as files have them.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since boot, suspend included: it neither jumps nor stops.
    pub uptime: Duration,
    /// The wall-clock time.
    pub wall: DateTime<Utc>,
}

impl Now {
    /// A reading of the system's clocks.
    #[must_use]
    pub fn from_system_clock() -> Now {
        Clock::System.now()
    }
}

/// The clock that a gateway reads.
#[derive(Clone, Debug, Default)]
pub(crate) enum Clock {
    #[default]
    System,
    #[cfg_attr(not(feature = "test-util"), allow(dead_code))]
    Manual(ManualClock),
}

impl Clock {
    pub(crate) fn now(&self) -> Now {
        match self {
            Clock::System => Now { uptime: host::uptime(), wall: host::wall() },
            Clock::Manual(clock) => clock.now(),
        }
    }

    /// Whether waiting in real time brings this clock forward.
    pub(crate) fn runs_by_itself(&self) -> bool {
        matches!(self, Clock::System)
    }
}

/// A clock that only [`advance`](ManualClock::advance) moves, for tests of code that embeds a gateway
/// (feature `test-util`). Clones are the same clock.
///
/// Advancing it fires nothing by itself: call
/// [`Gateway::reconcile_now`](crate::Gateway::reconcile_now) to have leases and deadlines judged by
/// the new time.
///
/// ```
/// # #[cfg(feature = "test-util")] {
/// use std::time::Duration;
/// use tidegate::{Gateway, epoch::{ManualClock, Now}, machine::Phase, request::DrainRequest};
/// let clock = ManualClock::at(Now::from_system_clock());
/// let gateway = Gateway::in_memory().manual().clock(clock.clone()).start()?;
/// gateway.begin_drain(&DrainRequest::new("test").with_lease(Duration::from_secs(60)))?;
/// assert_eq!(gateway.phase(), Phase::ExternallyDraining);
/// clock.advance(Duration::from_secs(61));
/// gateway.reconcile_now();
/// assert_eq!(gateway.phase(), Phase::Running, "the lease is over");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "test-util"), allow(unreachable_pub))]
pub struct ManualClock {
    uptime_ms: Arc<AtomicU64>,
    /// Guards the wall clock, which tests set independently of the uptime.
    wall: Arc<Mutex<DateTime<Utc>>>,
}

#[cfg_attr(not(feature = "test-util"), allow(dead_code))]
impl ManualClock {
    /// A clock that shows this uptime and wall time.
    #[must_use]
    pub fn at(now: Now) -> ManualClock {
        ManualClock {
            uptime_ms: Arc::new(AtomicU64::new(millis(now.uptime))),
            wall: Arc::new(Mutex::new(now.wall)),
        }
    }

    /// Moves both clocks forward, to the millisecond. Each stops at the last time that it can show.
    pub fn advance(&self, by: Duration) {
        // Relaxed: a test advances the clock and then calls the gateway, on one thread.
        let later = |uptime: u64| Some(uptime.saturating_add(millis(by)));
        let _ = self.uptime_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        let mut wall = self.wall.lock().unwrap_or_else(PoisonError::into_inner);
        let by = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
        *wall = wall.checked_add_signed(by).unwrap_or(DateTime::<Utc>::MAX_UTC);
    }

    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn set_wall(&self, to: DateTime<Utc>) {
        *self.wall.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// A reading of both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        // Relaxed: see `advance`.
        let uptime = Duration::from_millis(self.uptime_ms.load(Ordering::Relaxed));
        Now { uptime, wall: *self.wall.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// An epoch, and times in it, for tests.
#[cfg(test)]
pub(crate) mod examples {
    use super::{DateTime, Duration, Epoch, Now, Utc};

    pub(crate) fn epoch() -> Epoch {
        Epoch::from_texts(Some("boot"), None)
    }

    /// This many seconds after boot, by both clocks.
    pub(crate) fn now_at(seconds: u64) -> Now {
        let wall = DateTime::<Utc>::from_timestamp(1_700_000_000, 0).expect("in range");
        let uptime = Duration::from_secs(seconds);
        Now { uptime, wall: wall + uptime }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_moved_too_far_stops_at_its_last_time() {
        let clock = ManualClock::at(Now::from_system_clock());
        clock.advance(Duration::MAX);
        clock.advance(Duration::MAX);
        assert_eq!(clock.now().wall, DateTime::<Utc>::MAX_UTC);
        assert!(clock.now().uptime > Duration::from_secs(u64::from(u32::MAX)));
    }

    #[test]
    fn an_unknown_half_is_no_difference() {
        let half = Epoch::from_texts(Some("boot"), None);
        assert!(!half.is_other_than("boot:22") && half.is_same_boot_as("boot:22"));
        assert!(half.is_other_than("reboot:22") && half.is_other_than("boot"));
        let other_half =
            Epoch::from_texts(None, Some(&format!("1 (init) S{} 22", " 0".repeat(18))));
        assert_eq!(other_half.as_str(), ":22");
        assert!(!other_half.is_other_than("boot:22") && !other_half.is_same_boot_as("boot:22"));
        assert!(other_half.is_other_than("boot:23"));
        let whole =
            Epoch::from_texts(Some("boot"), Some(&format!("1 (init) S{} 22", " 0".repeat(18))));
        assert!(whole.is_same_boot_as("boot:22") && !whole.is_same_boot_as("boot:23"));
        assert!(half.is_other_than(":") && other_half.is_other_than(":"));
        assert!(!Epoch::default().is_other_than(":"));
        assert!(!Epoch::default().is_other_than("boot:22"));
    }

    #[test]
    fn this_process_has_a_start_time() {
        let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
        assert!(start_time(&stat).expect("field 22").parse::<u64>().is_ok());
    }
}
