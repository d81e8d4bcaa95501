//! How slow a client may be: with what it sends, and with what it reads. Pure: it is given how long a client
//! was waited for and how many bytes came of it, and reads no clock.
//!
//! At any time a client may make no progress for as long as it is given. While the gateway drains that is
//! not enough, since one byte now and then would hold the drain for ever: there a client is waited for as
//! long as it keeps to a least rate, and not beyond a limit.

use std::time::Duration;

/// What a client is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientLimits {
    /// How long it may take over its next move.
    pub(super) client_timeout: Duration,
    /// How many bytes a second it must send or read while the gateway drains; 0 asks for none.
    pub(super) drain_rate: u32,
    /// How long one drain waits for it in all.
    pub(super) drain_limit: Duration,
}

/// A year: as good as without end.
pub(super) const CLIENT_TIMEOUT_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The part of a wait that fell into a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DrainOverlap {
    /// Which drain: one that began at another time is another.
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

/// A wait is looked at this often: a drain may have begun, and nobody may be waiting any longer.
const CHECK_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// What tells that a client has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProgressSignal {
    /// A client grants a new window over HTTP/2 when it has read half of one, or so.
    Window,
    /// An operating system tells of room in its send buffer when it has sent a third of it: of megabytes, at
    /// the worst.
    Socket,
}

/// The account of one client's progress with one thing.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// How long it may make no progress.
    at_most: Duration,
    /// How far below the least rate it may fall while the gateway drains: as long as what is seen of its progress
    /// comes in lumps.
    credit_max: Duration,
    /// Waited for since its last progress.
    waited: Duration,
    drain: Option<DrainAccount>,
}

#[derive(Clone, Debug)]
struct DrainAccount {
    began: u64,
    /// How much longer it is waited for unless it makes progress.
    credit: Duration,
    /// Waited for in all.
    total: Duration,
}

impl Pace {
    /// The account of a client that sends.
    pub(super) fn of_sender(limits: &ClientLimits) -> Pace {
        Pace::new(limits.client_timeout, limits.client_timeout)
    }

    /// The account of a client that reads. It has ten times as long, and more credit in a drain, since what is seen of its
    /// progress comes in lumps.
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

    /// The client was waited for, and made no progress. Returns within what time to look again.
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

    /// The client has sent or read so many bytes.
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

/// No wait is looked at more often.
const SOON: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ClientLimits = ClientLimits {
        client_timeout: Duration::from_secs(30),
        drain_rate: 1024,
        drain_limit: Duration::from_secs(300),
    };

    /// How long a client lasts that sends so many bytes at once, so often, in a drain from the beginning or not.
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

    /// What is seen of a reader's progress comes in lumps, which are no drips.
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
