//! Waits until a drain is done, or until a gateway is ready or gone. The library judges each look at a drain
//! ([`PendingDrain`]). This module paces the looks, prints what it waits for, and stops at a signal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU,
};
use tidegate::ControlError;
use tidegate::home::Home;
use tidegate::internals::text::printable;
use tidegate::pending::{Goal, PAUSE, PendingDrain, Reached, WaitFailed};
use tidegate::request::{Holder, Request};

use crate::Failure;
use crate::arguments::WaitGoal;
use crate::ignored_signals::ignored_signals;
use crate::output::{Output, note};

/// The least time between two notes of what is waited for.
const NOTE_INTERVAL: Duration = Duration::from_millis(200);

/// The reason why a wait ended without its goal.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error(transparent)]
    WaitFailed(#[from] WaitFailed),
    #[error("interrupted")]
    Interrupted,
}

/// The signals that end a program, except those that report a fault in it.
const ENDING: [i32; 9] =
    [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2, SIGXCPU, SIGVTALRM];

/// Whether a signal asked this program to end. Without this, the signal would kill it, and its request would stay.
#[derive(Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for the signals that end a program. A signal that was ignored at the start stays ignored: under
    /// `nohup`, or in the background of a script.
    pub fn listen() -> io::Result<Interrupt> {
        let interrupt = Interrupt::default();
        let ignored = ignored_signals();
        for signal in ENDING {
            if ignored & 1 << (signal - 1) == 0 {
                signal_hook::flag::register(signal, Arc::clone(&interrupt.0))?;
            }
        }
        Ok(interrupt)
    }

    pub fn is_asked(&self) -> bool {
        // Relaxed: the flag publishes no other memory.
        self.0.load(Ordering::Relaxed)
    }
}

/// Waits until the goal is reached for exactly this request.
pub fn wait_until(
    goal: Goal,
    home: &Home,
    holder: &Holder,
    request: &Request,
    timeout: Duration,
    interrupt: &Interrupt,
) -> Result<Reached, Ended> {
    let began = Instant::now();
    let mut drain = PendingDrain::new(holder, request);
    let mut news = News::default();
    loop {
        if interrupt.is_asked() {
            return Err(Ended::Interrupted);
        }
        let (reached, reading) = home.check_drain(&mut drain, goal)?;
        if let Some(reached) = reached {
            return Ok(reached);
        }
        let waiting_for = drain.unmet_condition(&reading);
        if began.elapsed() >= timeout {
            return Err(WaitFailed::TimedOut(waiting_for).into());
        }
        news.tell(waiting_for);
        std::thread::sleep(PAUSE);
    }
}

/// The last note of what is waited for, and its time.
#[derive(Default)]
struct News {
    last: Option<(Instant, String)>,
}

impl News {
    /// Prints what is waited for, if it has changed.
    fn tell(&mut self, waiting_for: String) {
        let is_news = self
            .last
            .as_ref()
            .is_none_or(|(at, text)| at.elapsed() >= NOTE_INTERVAL && *text != waiting_for);
        if is_news {
            note(&format!("waiting: {waiting_for}"));
            self.last = Some((Instant::now(), waiting_for));
        }
    }
}

#[derive(Serialize)]
struct Reply {
    ok: bool,
    action: &'static str,
    until: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Waits until a gateway is ready, or until none is running.
pub fn wait_for(
    home: &Home,
    until: WaitGoal,
    timeout: Duration,
    output: Output,
) -> Result<(), Failure> {
    let interrupt = Interrupt::listen().map_err(Failure::Signals)?;
    let began = Instant::now();
    let (word, text) = match until {
        WaitGoal::Ready => ("ready", "ready: new user turns are admitted"),
        WaitGoal::Stopped => ("stopped", "stopped: no gateway is running"),
    };
    let reply =
        |error: Option<String>| Reply { ok: error.is_none(), action: "wait", until: word, error };
    let mut news = News::default();
    let ended = loop {
        if interrupt.is_asked() {
            break Ended::Interrupted;
        }
        let waiting_for = match (until, home.status()) {
            (WaitGoal::Ready, Ok(reading)) if reading.is_ready() => {
                output.receipt(&reply(None), text);
                return Ok(());
            }
            (WaitGoal::Stopped, Ok(reading))
                if !reading.is_locked() && reading.held_by().is_none() =>
            {
                output.receipt(&reply(None), text);
                return Ok(());
            }
            (_, Ok(reading)) if !reading.is_locked() => {
                let path = home.path().display().to_string();
                let held_by = reading.held_by();
                let held_by = held_by.map(|pid| format!("; process {pid} holds its directory"));
                let held_by = held_by.unwrap_or_default();
                let path = printable(&path);
                format!("no gateway is running in {path} (lock file not held){held_by}")
            }
            (_, Ok(reading)) => {
                let state = reading.gateway_state().unwrap_or_else(|| "not reported".to_owned());
                format!("the gateway is running, and its state is {}", printable(&state))
            }
            // A gateway's start may create the home. So a missing home does not prove that the gateway has stopped.
            (WaitGoal::Stopped, Err(error @ ControlError::NoHome { .. })) => {
                output.failed(&reply(Some(error.to_string())));
                return Err(error.into());
            }
            (_, Err(error)) => error.to_string(),
        };
        if began.elapsed() >= timeout {
            break WaitFailed::TimedOut(waiting_for).into();
        }
        news.tell(waiting_for);
        std::thread::sleep(PAUSE);
    };
    output.failed(&reply(Some(ended.to_string())));
    Err(Failure::Waiting { ended, request_state: "nothing was changed".to_owned() })
}
