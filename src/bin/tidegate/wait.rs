//! Waits for a drain to be done, and tells the ways in which it may not be apart. It only reads what
//! the gateway says; whether to act is decided by [`look`], from one reading.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidegate::ControlError;
use tidegate::epoch::{Epoch, Now};
use tidegate::home::Home;
use tidegate::machine::Phase;
use tidegate::request::{LeaseLeft, Request};
use tidegate::status::Reading;

const PAUSE: Duration = Duration::from_millis(20);

/// How often what is waited for is told, at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

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
    /// How long from now acting on it is safe; `None` where nothing bounds it but a release.
    pub safe_for: Option<Duration>,
    /// The same as a time since boot.
    pub safe_until: Option<Duration>,
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

/// Waits until the goal is reached for this very request.
pub fn until(
    goal: Goal,
    home: &Home,
    request: &Request,
    timeout: Duration,
) -> Result<Reached, Missed> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Failing that, the signal ends this process as it would any other; the lease ends the drain.
        let _ = signal_hook::flag::register(signal, Arc::clone(&interrupted));
    }
    let began = Instant::now();
    let mut acknowledged = false;
    let mut told = Told::default();
    loop {
        // Whether the gateway has closed is for the gateway to say: never inferred from the file (U4).
        let reading = home.status()?;
        if let Some(reached) = look(goal, home, request, &reading, &mut acknowledged)? {
            return Ok(reached);
        }
        // Relaxed: it says nothing of any other memory.
        if interrupted.load(Ordering::Relaxed) {
            return Err(Missed::Interrupted);
        }
        let waiting_for = what_it_waits_for(&reading);
        if began.elapsed() >= timeout {
            return Err(Missed::TimedOut(waiting_for));
        }
        told.tell(waiting_for);
        std::thread::sleep(PAUSE);
    }
}

/// What one reading amounts to for one request.
fn look(
    goal: Goal,
    home: &Home,
    request: &Request,
    reading: &Reading,
    acknowledged: &mut bool,
) -> Result<Option<Reached>, Missed> {
    let id = request.request_id().unwrap_or_default();
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
    let now = Now::by_system();
    let lease_left = match request.lease_left(&Epoch::current(), now) {
        LeaseLeft::For(Duration::ZERO) => return Err(Missed::Lost("its lease has run out")),
        LeaseLeft::For(left) => Some(left),
        LeaseLeft::Unleased => None,
    };
    let draining = reading.is_draining_for(id);
    if *acknowledged && !draining {
        return Err(Missed::Lost("the gateway no longer drains for it"));
    }
    *acknowledged |= draining;
    let stands = |(_, _, it): (_, _, &Request)| it.request_id() == Some(id);
    let observation = home.observe();
    if !observation.requests().any(stands) && observation.complaint().is_none() {
        return Err(Missed::Lost("somebody cancelled or replaced it"));
    }
    let reached = match goal {
        Goal::Draining => draining,
        Goal::Idle => draining && reading.is_idle(),
        Goal::Quiesced => reading.is_quiesced_for(id),
    };
    if !reached {
        return Ok(None);
    }
    // What was promised ends with the earliest lease; what is merely so, with one's own.
    let promised = reading.quiesced_until().filter(|_| goal == Goal::Quiesced);
    let promised = promised.map(|until| until.saturating_sub(now.uptime));
    let safe_for = promised.into_iter().chain(lease_left).min();
    if safe_for == Some(Duration::ZERO) {
        return Err(Missed::Lost("what was promised has run out"));
    }
    let safe_until = safe_for.map(|safe| now.uptime.saturating_add(safe));
    Ok(Some(Reached { safe_for, safe_until }))
}

fn what_it_waits_for(reading: &Reading) -> String {
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
    let Some(count) = reading.active_agents() else {
        return "the gateway does not say what is in flight".to_owned();
    };
    let work: Vec<Work> = reading.body().read("active_work").unwrap_or_default();
    // A request that the gateway ignores, of another container say, would be waited for in vain (U10).
    let degraded: Vec<Complaint> = reading.body().read("degraded").unwrap_or_default();
    let degraded: String = degraded.iter().map(|it| format!("; {}", it.detail)).collect();
    let named: Vec<String> = work
        .iter()
        .map(|work| format!("{} ({}, {:.0} s)", work.label, work.origin, work.age_s))
        .collect();
    let named = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
    format!("{count} in flight{named}{degraded}")
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
