//! Waits for a drain to be done, and tells the ways in which it may not be apart. It only reads what
//! the gateway says; whether to act is decided by [`Asked::look`], from one reading.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tidegate::ControlError;
use tidegate::epoch::{Epoch, Now};
use tidegate::home::Home;
use tidegate::machine::Phase;
use tidegate::reconcile::Sighting;
use tidegate::request::{Holder, Request};
use tidegate::status::Reading;

const PAUSE: Duration = Duration::from_millis(20);

/// A promise that ends sooner than this is nothing to act on, unless it ends with one's own lease.
const TOO_SOON: Duration = Duration::from_secs(1);

/// How often what is waited for is told, at most.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A live gateway says that its gate is closed for the request.
    Draining,
    /// And that nothing is in flight: a reading, which internal work may undo.
    Idle,
    /// And that nothing at all will be admitted: a promise.
    Quiesced,
}

/// The goal is reached.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    /// What the gateway promises to one whose goal it was that it is quiesced, if it does.
    pub safe: Option<Safe>,
}

/// How long acting is safe, as of one reading of the clocks.
#[derive(Clone, Copy, Debug)]
pub struct Safe {
    pub until_uptime: Duration,
    pub left: Duration,
    /// By the wall clock, for people; `None` beyond its years.
    pub until: Option<DateTime<Utc>>,
}

/// The goal is not reached, and why.
#[derive(Debug, thiserror::Error)]
pub enum Missed {
    #[error("timed out: {0}")]
    TimedOut(String),
    #[error("the drain is lost: {0}")]
    Lost(&'static str),
    #[error("refused: the gateway is going down, and a shutdown wins")]
    Refused,
    #[error("no gateway is alive on this home")]
    Gone,
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Whether somebody asked this program to end, who else would be killed with its request in place.
#[derive(Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub fn listen() -> io::Result<Interrupt> {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.0))?;
        }
        Ok(interrupt)
    }

    fn is_asked(&self) -> bool {
        // Relaxed: it says nothing of any other memory.
        self.0.load(Ordering::Relaxed)
    }
}

/// A request that has been made.
pub struct Asked<'a> {
    pub holder: Holder,
    pub request: &'a Request,
}

impl Asked<'_> {
    /// Waits until the goal is reached for this very request.
    pub fn wait_until(
        &self,
        goal: Goal,
        home: &Home,
        timeout: Duration,
        interrupt: &Interrupt,
    ) -> Result<Reached, Missed> {
        let began = Instant::now();
        let mut acknowledged = false;
        let mut told = Told::default();
        loop {
            if interrupt.is_asked() {
                return Err(Missed::Interrupted);
            }
            // Whether the gateway has closed is for the gateway to say: never inferred from the file
            // (U4).
            let reading = home.status()?;
            if let Some(reached) = self.look(goal, home, &reading, &mut acknowledged)? {
                return Ok(reached);
            }
            let waiting_for = what_it_waits_for(&reading, acknowledged);
            if began.elapsed() >= timeout {
                return Err(Missed::TimedOut(waiting_for));
            }
            told.tell(waiting_for);
            std::thread::sleep(PAUSE);
        }
    }

    /// What one reading amounts to.
    fn look(
        &self,
        goal: Goal,
        home: &Home,
        reading: &Reading,
        acknowledged: &mut bool,
    ) -> Result<Option<Reached>, Missed> {
        let id = self.request.request_id().unwrap_or_default();
        if !reading.is_alive() {
            return Err(Missed::Gone);
        }
        let lifecycle = reading.body().read::<String>("lifecycle");
        if [Phase::ShuttingDown, Phase::Stopped]
            .iter()
            .any(|it| lifecycle.as_deref() == Some(it.word()))
        {
            return Err(Missed::Refused);
        }
        let draining = reading.is_draining_for(id);
        if *acknowledged && !draining {
            return Err(Missed::Lost("the gateway no longer drains for it"));
        }
        *acknowledged |= draining;
        // Also where the gateway has not seen yet that it is gone.
        if home.look_at(&self.holder, id) == Sighting::Absent {
            return Err(Missed::Lost("somebody cancelled or replaced it"));
        }
        // After all that was read, which is then of an earlier time and not of a later one.
        let now = Now::by_system();
        let (reached, promised) = match goal {
            Goal::Draining => (draining, None),
            Goal::Idle => (draining && reading.is_idle(), None),
            Goal::Quiesced => (reading.is_quiesced_for(id), reading.quiesced_until()),
        };
        if !reached {
            return Ok(None);
        }
        let safe = promised.map(|until_uptime| {
            let left = until_uptime.saturating_sub(now.uptime);
            let until = TimeDelta::from_std(left).ok();
            let until = until.and_then(|left| now.wall.checked_add_signed(left));
            Safe { until_uptime, left, until }
        });
        // What is promised to all ends with the first of their leases. Where that is another's and about
        // to run out, more will be promised in a moment.
        let ends_soon = safe.is_some_and(|safe| safe.left < TOO_SOON);
        let own_end = self.request.lease_ends_at_uptime(&Epoch::current());
        let ends_with_own =
            safe.map(|safe| safe.until_uptime.as_millis()) == own_end.map(|end| end.as_millis());
        if ends_soon && !ends_with_own {
            return Ok(None);
        }
        Ok(Some(Reached { safe }).filter(|_| safe.is_none_or(|safe| !safe.left.is_zero())))
    }
}

fn what_it_waits_for(reading: &Reading, acknowledged: bool) -> String {
    #[derive(serde::Deserialize)]
    struct Work {
        label: String,
        origin: String,
        age_s: f64,
    }
    #[derive(serde::Deserialize)]
    struct Complaint {
        detail: String,
    }
    let work: Vec<Work> = reading.body().read("active_work").unwrap_or_default();
    // A request that the gateway ignores, of another container say, would be waited for in vain (U10).
    let degraded: Vec<Complaint> = reading.body().read("degraded").unwrap_or_default();
    let degraded: Vec<String> = degraded.into_iter().map(|it| format!("; {}", it.detail)).collect();
    let degraded = degraded.concat();
    let named: Vec<String> = work
        .iter()
        .map(|work| format!("{} ({}, {:.0} s)", work.label, work.origin, work.age_s))
        .collect();
    let named = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
    match reading.active_agents() {
        // What it said before it closed is of some time ago.
        _ if !acknowledged => format!("the gateway has not closed its gate for it yet{degraded}"),
        Some(0) if reading.is_quiesced() => {
            format!("another's promise to run out, which is about to{degraded}")
        }
        Some(count) => format!("{count} in flight{named}{degraded}"),
        None => format!("the gateway does not say what is in flight{degraded}"),
    }
}

#[derive(Default)]
struct Told {
    last: Option<(Instant, String)>,
}

impl Told {
    /// Tells what is waited for, where it is news.
    fn tell(&mut self, waiting_for: String) {
        let is_news = self
            .last
            .as_ref()
            .is_none_or(|(at, text)| at.elapsed() >= TELL_EVERY && *text != waiting_for);
        if is_news {
            // Nobody may be there to read it; the waiting goes on.
            let _ = writeln!(io::stderr(), "tidegate: waiting: {waiting_for}");
            self.last = Some((Instant::now(), waiting_for));
        }
    }
}
