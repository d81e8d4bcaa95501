//! Waits for a drain to be done. What one look at the gateway amounts to is the library's
//! ([`Asked`]); this paces the looks, tells what is waited for, and ends at a signal.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tidegate::asked::{Asked, Goal, Missed, PAUSE, Reached};
use tidegate::epoch::{Epoch, Now};
use tidegate::home::Home;
use tidegate::request::{Holder, Request};

/// How often what is waited for is told, at most.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Waiting ended without what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error(transparent)]
    Missed(#[from] Missed),
    #[error("interrupted")]
    Interrupted,
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

/// Waits until the goal is reached for this very request.
pub fn wait_until(
    goal: Goal,
    home: &Home,
    holder: &Holder,
    request: &Request,
    timeout: Duration,
    interrupt: &Interrupt,
) -> Result<Reached, Ended> {
    let began = Instant::now();
    let mut asked = Asked::of(holder, request);
    let id = request.request_id().unwrap_or_default();
    let mut told = Told::default();
    loop {
        if interrupt.is_asked() {
            return Err(Ended::Interrupted);
        }
        let reading = home.status().map_err(Missed::Control)?;
        let sighting = home.look_at(holder, id);
        let (epoch, now) = (Epoch::current(), Now::by_system());
        if let Some(reached) = asked.look(goal, &reading, &sighting, &epoch, now)? {
            return Ok(reached);
        }
        let waiting_for = asked.waits_for(&reading);
        if began.elapsed() >= timeout {
            return Err(Missed::TimedOut(waiting_for).into());
        }
        told.tell(waiting_for);
        std::thread::sleep(PAUSE);
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
