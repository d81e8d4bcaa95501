//! How slow a client may be when it sends and when it reads. This module is pure: its caller passes how long the server
//! waited and how many bytes were sent or read. It reads no clock.
//!
//! A client may make no progress for a limited time. While the gateway drains, that is not enough: one byte now and
//! then would hold the drain for ever. Then the server waits only while the client keeps to a least rate, and never
//! beyond a total limit.

use std::time::Duration;

/// The time limits for a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientLimits {
    /// How long a client may take to make progress.
    pub(super) client_timeout: Duration,
    /// How many bytes a second a client must send or read while the gateway drains; 0 asks for none.
    pub(super) drain_rate: u32,
    /// How long one drain waits for a client in total.
    pub(super) drain_limit: Duration,
}

/// The longest timeout: 366 days, which is practically no limit.
pub(super) const CLIENT_TIMEOUT_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The part of a wait that fell into a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DrainOverlap {
    /// When the drain began, which identifies it.
    pub(super) began: u64,
    pub(super) waited: Duration,
}

/// Why the server no longer waits for a client. `Display` is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooSlow {
    #[error("the client makes no progress")]
    Stalled,
    #[error("the client is slower than a drain allows")]
    BelowRate,
    #[error("the client takes longer than a drain waits")]
    OverLimit,
}

/// How often a wait is checked at least: a drain may have begun, and the task may no longer wait.
const CHECK_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// The signal that shows that a client has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProgressSignal {
    /// A new window over HTTP/2. A client grants one after it has read about half of the last.
    Window,
    /// Room in the send buffer. An operating system reports it after it has sent a third of the buffer, which is
    /// megabytes at worst.
    Socket,
}

/// The account of one client's progress with one body or reply.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// How long the client may make no progress.
    at_most: Duration,
    /// How long the client may seem to make no progress while the gateway drains. It covers the largest step in which
    /// progress shows.
    credit_max: Duration,
    /// The wait since the last progress.
    waited: Duration,
    drain: Option<DrainAccount>,
}

#[derive(Clone, Debug)]
struct DrainAccount {
    began: u64,
    /// How much longer the server waits if the client makes no progress.
    credit: Duration,
    /// The total wait.
    total: Duration,
}

impl Pace {
    /// The account of a client that sends.
    pub(super) fn of_sender(limits: &ClientLimits) -> Pace {
        Pace::new(limits.client_timeout, limits.client_timeout)
    }

    /// The account of a client that reads. It has ten times as long, and more credit in a drain, since its progress
    /// shows only in large steps.
    pub(super) fn of_reader(limits: &ClientLimits, lumps: ProgressSignal) -> Pace {
        let credit = match lumps {
            ProgressSignal::Window => 2,
            ProgressSignal::Socket => 3,
        };
        Pace::new(
            limits.client_timeout.saturating_mul(10),
            limits.client_timeout.saturating_mul(credit),
        )
    }

    fn new(at_most: Duration, credit_max: Duration) -> Pace {
        let (at_most, credit_max) =
            (at_most.min(CLIENT_TIMEOUT_MAX), credit_max.min(CLIENT_TIMEOUT_MAX));
        Pace { at_most, credit_max, waited: Duration::ZERO, drain: None }
    }

    /// The server has waited, and the client made no progress. Returns the time after which to check again.
    // Property: TG-L2 drains.
    pub(super) fn on_waited(
        &mut self,
        limits: &ClientLimits,
        waited: Duration,
        in_drain: Option<DrainOverlap>,
    ) -> Result<Duration, TooSlow> {
        self.waited = self.waited.saturating_add(waited);
        let left = self.at_most.saturating_sub(self.waited);
        if left.is_zero() {
            return Err(TooSlow::Stalled);
        }
        let look = CHECK_INTERVAL_MAX.min(limits.client_timeout / 4);
        let Some(DrainOverlap { began, waited }) = in_drain else {
            self.drain = None;
            return Ok(left.min(look).max(SOON));
        };
        let account = match &mut self.drain {
            Some(account) if account.began == began => account,
            other => {
                let credit = self.credit_max;
                other.insert(DrainAccount { began, credit, total: Duration::ZERO })
            }
        };
        account.credit = account.credit.saturating_sub(waited);
        account.total = account.total.saturating_add(waited);
        let until_limit = limits.drain_limit.saturating_sub(account.total);
        if until_limit.is_zero() {
            return Err(TooSlow::OverLimit);
        }
        if account.credit.is_zero() {
            return Err(TooSlow::BelowRate);
        }
        Ok(left.min(until_limit).min(account.credit).min(look).max(SOON))
    }

    /// The client has sent or read this many bytes.
    pub(super) fn on_progress(&mut self, limits: &ClientLimits, bytes: u64) {
        self.waited = Duration::ZERO;
        let Some(account) = &mut self.drain else { return };
        let earned = match limits.drain_rate {
            0 => self.credit_max,
            rate => Duration::from_nanos(
                bytes.saturating_mul(1_000_000_000 / u64::from(rate).min(1_000_000_000)),
            ),
        };
        account.credit = account.credit.saturating_add(earned).min(self.credit_max);
    }
}

/// The shortest interval between two checks of a wait.
const SOON: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ClientLimits = ClientLimits {
        client_timeout: Duration::from_secs(30),
        drain_rate: 1024,
        drain_limit: Duration::from_secs(300),
    };

    /// How long a client lasts that sends `bytes` at once, each time after `every`, with or without a drain.
    fn lasts(
        bytes: u64,
        every: Duration,
        is_draining: bool,
    ) -> Result<Duration, (Duration, TooSlow)> {
        let mut pace = Pace::of_sender(&LIMITS);
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(3600) {
            let mut left = every;
            while !left.is_zero() {
                let step = left.min(Duration::from_secs(1));
                let drain = is_draining.then_some(DrainOverlap { began: 1, waited: step });
                if let Err(too_slow) = pace.on_waited(&LIMITS, step, drain) {
                    return Err((now, too_slow));
                }
                now += step;
                left -= step;
            }
            pace.on_progress(&LIMITS, bytes);
        }
        Ok(now)
    }

    #[test]
    fn a_drip_holds_no_drain() {
        let every = Duration::from_secs(18);
        assert!(lasts(1, every, false).is_ok(), "at any other time it is progress");
        let (lasted, too_slow) = lasts(1, every, true).expect_err("too slow");
        assert_eq!(too_slow, TooSlow::BelowRate);
        assert!(lasted <= LIMITS.client_timeout, "{lasted:?}");
        // Just below the rate, and just at it.
        let (lasted, too_slow) = lasts(900, Duration::from_secs(1), true).expect_err("too slow");
        assert_eq!(too_slow, TooSlow::BelowRate);
        assert!(lasted > LIMITS.client_timeout && lasted < LIMITS.drain_limit, "{lasted:?}");
        let (lasted, too_slow) = lasts(1024, Duration::from_secs(1), true).expect_err("too long");
        assert_eq!((lasted, too_slow), (Duration::from_secs(299), TooSlow::OverLimit));
    }

    #[test]
    fn a_client_that_makes_no_progress_is_waited_for_no_longer_than_it_is_given() {
        let (lasted, too_slow) = lasts(1, Duration::from_secs(31), false).expect_err("stalled");
        assert_eq!((lasted, too_slow), (Duration::from_secs(29), TooSlow::Stalled));
        let mut pace = Pace::of_reader(&LIMITS, ProgressSignal::Socket);
        let draining = |began| Some(DrainOverlap { began, waited: Duration::from_secs(29) });
        for began in 1..10 {
            let waited = pace.on_waited(&LIMITS, Duration::from_secs(29), draining(began));
            assert!(waited.is_ok(), "each drain waits anew");
            pace.on_progress(&LIMITS, 0);
        }
    }

    /// A reader's progress shows in large steps. A step is not a drip.
    #[test]
    fn a_reader_that_keeps_to_the_rate_in_lumps_is_waited_for() {
        for (lumps, bytes, every, is_kept) in [
            (ProgressSignal::Window, 32 * 1024, 32, true),
            (ProgressSignal::Socket, 80 * 1024, 80, true),
            (ProgressSignal::Window, 1, 18, false),
            (ProgressSignal::Socket, 1, 18, false),
        ] {
            let mut pace = Pace::of_reader(&LIMITS, lumps);
            let waited = Duration::from_secs(every);
            // Two minutes of a drain.
            let lasted = (0..120 / every).take_while(|_| {
                let drain = Some(DrainOverlap { began: 1, waited });
                let is_waited_for = pace.on_waited(&LIMITS, waited, drain).is_ok();
                pace.on_progress(&LIMITS, bytes);
                is_waited_for
            });
            assert_eq!(lasted.count() as u64 == 120 / every, is_kept, "{lumps:?} {bytes}");
        }
    }

    #[test]
    fn a_rate_of_zero_asks_for_progress_only() {
        let limits = ClientLimits { drain_rate: 0, ..LIMITS };
        let mut pace = Pace::of_sender(&limits);
        let mut waited = Duration::ZERO;
        loop {
            let step = Duration::from_secs(18);
            let drain = Some(DrainOverlap { began: 1, waited: step });
            match pace.on_waited(&limits, step, drain) {
                Ok(_) => waited += step,
                Err(too_slow) => break assert_eq!(too_slow, TooSlow::OverLimit),
            }
            pace.on_progress(&limits, 1);
        }
        assert!(waited >= Duration::from_secs(280));
    }
}
