use super::*;
use crate::machine::ShutdownCause;
use crate::status::Condition;

const PERIOD: Duration = Duration::from_secs(30);

fn state_snapshot(phase: Phase, user: u32, internal: u32) -> StateSnapshot {
    let is_running = phase == Phase::Running;
    let in_flight = InFlight { user, internal };
    let idle = !is_running && in_flight.total() == 0;
    let condition =
        Condition { phase, idle, quiesced: false, ready: is_running, in_flight, generation: 1 };
    let cause = phase.is_shut().then_some(ShutdownCause::Sigterm);
    StateSnapshot { condition, cause, holders: Vec::new(), grace_left: None, ended: None }
}

/// The lines of the report, which counts as sent.
fn say(
    reporter: &mut Reporter,
    state_snapshot: &StateSnapshot,
    round_counts: &[u64],
    now: Instant,
) -> Vec<String> {
    let report = reporter.report(state_snapshot, round_counts, now);
    let lines = report.message().lines().map(str::to_owned).collect();
    reporter.sent(report);
    lines
}

fn started(watchdog: Option<Duration>, now: Instant) -> Reporter {
    let mut reporter = Reporter::new(watchdog);
    say(&mut reporter, &state_snapshot(Phase::Running, 0, 0), &[0, 0], now);
    reporter
}

/// For an idle gateway there is no round without a watchdog, and one for each ping with a watchdog.
#[test]
fn a_gateway_that_runs_wakes_the_thread_for_pings_only() {
    let began = Instant::now();
    let running = state_snapshot(Phase::Running, 7, 7);
    assert_eq!(started(None, began).next(&running, true, began), NextRound::WhenWoken);
    let mut reporter = started(Some(PERIOD), began);
    assert_eq!(reporter.next(&running, true, began), NextRound::Within(PERIOD / 2));
    for round in 1..100 {
        let now = began + round * PERIOD / 2;
        assert_eq!(say(&mut reporter, &running, &[2, 4], now), ["WATCHDOG=1"]);
        assert_eq!(reporter.next(&running, true, now), NextRound::Within(PERIOD / 2));
    }
    for none in [Some(Duration::ZERO), None] {
        assert_eq!(Reporter::new(none).ping_every, None);
    }
    let shortest = Reporter::new(Some(Duration::from_nanos(1)));
    assert_eq!(shortest.ping_every, Some(Duration::from_millis(1)));
}

/// Rounds that end are healthy, however many there are. A round that lasts for half of the period is not.
#[test]
fn a_round_that_does_not_end_ends_the_pings() {
    let began = Instant::now();
    let half = PERIOD / 2;
    let mut reporter = started(Some(PERIOD), began);
    let running = state_snapshot(Phase::Running, 0, 0);
    let pinged = ["WATCHDOG=1"];
    assert_eq!(
        say(&mut reporter, &running, &[5, 0], began + half),
        pinged,
        "it may have just begun"
    );
    assert_eq!(say(&mut reporter, &running, &[7, 0], began + 2 * half), pinged, "another round");
    assert_eq!(say(&mut reporter, &running, &[7, 0], began + 3 * half), [""; 0]);
    let next = reporter.next(&running, true, began + 3 * half);
    assert_eq!(next, NextRound::Within(TICK), "the next check is soon");
    assert_eq!(say(&mut reporter, &running, &[7, 1], began + 4 * half), [""; 0]);
    assert_eq!(say(&mut reporter, &running, &[8, 1], began + 4 * half + TICK), pinged);
}

/// systemd stops its watchdog when a service stops. A ping after that would start it again, and it would kill a process
/// that is about to end.
#[test]
fn a_gateway_that_stops_sends_no_pings() {
    let began = Instant::now();
    let mut reporter = started(Some(PERIOD), began);
    let grace_left = Some(Duration::from_secs(600));
    let shutting = StateSnapshot { grace_left, ..state_snapshot(Phase::ShuttingDown, 1, 0) };
    let said = say(&mut reporter, &shutting, &[0, 0], began + PERIOD / 2);
    assert_eq!(said[..2], ["STOPPING=1", "EXTEND_TIMEOUT_USEC=10000000"]);
    for round in 1..100 {
        let now = began + PERIOD / 2 * round;
        assert_eq!(reporter.next(&shutting, true, now), NextRound::Within(TICK));
        assert!(!say(&mut reporter, &shutting, &[0, 0], now).contains(&"WATCHDOG=1".to_owned()));
    }
}

/// Added up as systemd does it, the extensions reach the deadline without a gap. They end at most [`LEAVING`] after it.
#[test]
fn extensions_cover_the_grace_and_end_with_it() {
    for grace in [0, 1, 4, 5, 6, 60, 7200].map(Duration::from_secs) {
        let began = Instant::now();
        let deadline = began + grace;
        let mut reporter = started(None, began);
        let mut killed_at = began + TICK;
        let mut now = began;
        while now <= deadline {
            assert!(now < killed_at, "{grace:?}: killed within the grace");
            let shutting = StateSnapshot {
                grace_left: Some(deadline - now),
                ..state_snapshot(Phase::ShuttingDown, 1, 0)
            };
            for line in say(&mut reporter, &shutting, &[0, 0], now) {
                if let Some(micros) = line.strip_prefix("EXTEND_TIMEOUT_USEC=") {
                    let extension = Duration::from_micros(micros.parse().expect("a number"));
                    assert!(extension <= EXTENSION_MAX && now + extension <= deadline + LEAVING);
                    killed_at = killed_at.max(now + extension);
                }
            }
            let NextRound::Within(patience) = reporter.next(&shutting, true, now) else {
                panic!("{grace:?}: sleeps through the grace");
            };
            now += patience;
        }
        assert!(killed_at > deadline, "{grace:?}");
        // A gateway whose thread is stuck does not stop at the deadline. It gets no more time.
        let late = StateSnapshot {
            grace_left: Some(Duration::ZERO),
            ..state_snapshot(Phase::ShuttingDown, 1, 0)
        };
        for tick in 0..10 {
            let said = say(&mut reporter, &late, &[0, 1], now + TICK * tick);
            assert!(!said.iter().any(|line| line.starts_with("EXTEND")), "{said:?}");
        }
        let stopped = StateSnapshot {
            ended: Some(Ended::TimedOut { in_flight: 1 }),
            ..state_snapshot(Phase::Stopped, 1, 0)
        };
        let last = say(&mut reporter, &stopped, &[0, 0], now);
        assert_eq!(last, ["STATUS=stopped with 1 turn still in flight"]);
        assert_eq!(reporter.next(&stopped, true, now), NextRound::Never);
    }
}

/// systemd obeys only one of READY=1 and STOPPING=1 in a datagram, so each has its own datagram.
#[test]
fn a_gateway_that_is_shut_already_is_first_ready_and_then_stopping() {
    let now = Instant::now();
    let mut reporter = Reporter::new(None);
    let stopped =
        StateSnapshot { ended: Some(Ended::Clean), ..state_snapshot(Phase::Stopped, 0, 0) };
    let lines = say(&mut reporter, &stopped, &[], now);
    assert_eq!(lines, ["READY=1", "STATUS=stopped with nothing in flight"]);
    assert_eq!(reporter.next(&stopped, true, now), NextRound::Within(Duration::ZERO));
    assert_eq!(say(&mut reporter, &stopped, &[], now), ["STOPPING=1"]);
    assert_eq!(reporter.next(&stopped, true, now), NextRound::Never);
    assert_eq!(
        reporter.next(&stopped, false, now),
        NextRound::Never,
        "a last message is not repeated"
    );
}

#[test]
fn a_report_that_was_not_sent_is_repeated() {
    let now = Instant::now();
    let mut reporter = Reporter::new(Some(PERIOD));
    let running = state_snapshot(Phase::Running, 0, 0);
    let lost = reporter.report(&running, &[0, 0], now).message().to_owned();
    assert_eq!(lost, "READY=1\nWATCHDOG=1\nSTATUS=running\n");
    assert_eq!(reporter.next(&running, false, now), NextRound::Within(TICK));
    assert_eq!(reporter.report(&running, &[0, 0], now + TICK).message(), lost);
}

/// Turns may begin and end a thousand times a second. Then systemd gets one report.
#[test]
fn counts_are_reported_once_a_tick_and_phases_at_once() {
    let began = Instant::now();
    let mut reporter = started(None, began);
    let said: usize = (0..1000)
        .map(|turns| {
            let now = began + TICK * turns / 1000;
            say(&mut reporter, &state_snapshot(Phase::ExternallyDraining, 0, turns), &[], now).len()
        })
        .sum();
    assert_eq!(said, 1);
    let now = began + TICK;
    let draining = state_snapshot(Phase::ExternallyDraining, 0, 1);
    assert_eq!(reporter.next(&draining, true, now), NextRound::Within(TICK));
    let lines = say(&mut reporter, &draining, &[], now);
    assert_eq!(lines, ["STATUS=draining; in flight: 0 user, 1 internal"]);
    let mut quiesced = state_snapshot(Phase::ExternallyDraining, 0, 0);
    quiesced.condition.quiesced = true;
    quiesced.holders = vec![None, Some("ci".to_owned()), Some("ci".to_owned())];
    let lines = say(&mut reporter, &quiesced, &[], now);
    assert_eq!(lines, ["STATUS=quiesced for ci, the shared marker; nothing in flight"]);
    assert_eq!(
        say(&mut reporter, &state_snapshot(Phase::Running, 0, 0), &[], now),
        ["STATUS=running"]
    );
}

/// Anybody who may write the home chooses a name. No name can forge a message or make one too long for systemd.
#[test]
fn names_forge_no_message_and_make_none_too_long() {
    const READ_BY_SYSTEMD: usize = 4096;
    let forged = "x\nWATCHDOG=1\nREADY=1\u{202e}";
    let long = "\u{1f6aa}".repeat(300);
    let mut draining = state_snapshot(Phase::ExternallyDraining, u32::MAX, u32::MAX);
    draining.holders = vec![Some(forged.to_owned())];
    draining.holders.extend((0..4096).map(|n| Some(format!("{long}{n}"))));
    draining.holders.extend((0..64).map(|n| Some(format!("{n}{}", "\u{202e}".repeat(255)))));
    for holders in [draining.holders.clone(), draining.holders.split_off(4097)] {
        let draining = StateSnapshot { holders, ..draining.clone() };
        let mut reporter = Reporter::new(Some(PERIOD));
        let report = reporter.report(&draining, &[], Instant::now());
        assert!(report.message().len() < READ_BY_SYSTEMD, "{}", report.message().len());
        let lines: Vec<&str> = report.message().lines().collect();
        assert_eq!(lines[..2], ["READY=1", "WATCHDOG=1"]);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[2].contains(" and ") && !lines[2].contains('\u{202e}'), "{}", lines[2]);
    }
}
