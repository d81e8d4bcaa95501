//! Long random histories of a real gateway, with real files and its own clock. A plain oracle is compared with it after
//! every step. Failing histories are kept in `proptest-regressions/`.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use tidegate::epoch::{Epoch, ManualClock, Now};
use tidegate::home::Home;
use tidegate::internals::gate::InFlight;
use tidegate::machine::{Phase, ShutdownCause};
use tidegate::request::{DrainRequest, Holder};
use tidegate::{ControlError, Ended, Gateway, Origin, Turn};

#[derive(Clone, Debug)]
enum Op {
    /// Another writer puts this at the marker's path.
    Lay(Laid),
    /// The gateway's own process begins a drain.
    Begin {
        hold: bool,
        lease_s: u64,
    },
    Cancel,
    Look,
    Admit(Origin),
    Child(prop::sample::Index),
    End(prop::sample::Index),
    Pass {
        seconds: u64,
    },
    ShutDown {
        grace_s: u64,
    },
}

#[derive(Clone, Copy, Debug)]
enum Laid {
    Nothing,
    Request {
        hold: bool,
        lease_s: u64,
    },
    Unleased {
        hold: bool,
    },
    Corrupt,
    OtherEpoch,
    /// Unreadable, since it is not a file.
    Directory,
}

/// The state of the marker, as the oracle knows it.
#[derive(Clone, Copy, Debug)]
enum Lies {
    Nothing,
    /// A request asks for a drain until this second.
    Asks {
        hold: bool,
        until_s: u64,
    },
    /// A ruined request asks for a drain, on its earlier terms, until their end.
    Ruined,
    Stale,
    Unreadable,
}

#[derive(Debug)]
struct Oracle {
    now_s: u64,
    lies: Lies,
    phase: Phase,
    generation: u64,
    hold: bool,
    /// The terms of the last readable request, and the second of their end.
    kept: Option<(bool, u64)>,
    sealed: bool,
    live: InFlight,
    deadline_s: u64,
    ended: Option<Ended>,
}

impl Oracle {
    fn new() -> Oracle {
        Oracle {
            now_s: 1000,
            lies: Lies::Nothing,
            phase: Phase::Running,
            generation: 0,
            hold: false,
            kept: None,
            sealed: false,
            live: InFlight::default(),
            deadline_s: u64::MAX,
            ended: None,
        }
    }

    fn seal_if_empty(&mut self) {
        self.sealed |= self.hold && self.phase != Phase::Running && self.live.total() == 0;
    }

    fn look(&mut self) {
        self.kept = match self.lies {
            Lies::Asks { hold, until_s } => Some((hold, until_s)),
            Lies::Ruined | Lies::Unreadable => self.kept,
            Lies::Nothing | Lies::Stale => None,
        }
        // A request that cannot be read is not judged.
        .filter(|it| matches!(self.lies, Lies::Unreadable) || self.now_s < it.1);
        let asked = match self.lies {
            Lies::Asks { hold, until_s } if self.now_s < until_s => Some(Some(hold)),
            Lies::Nothing | Lies::Stale | Lies::Asks { .. } => Some(None),
            Lies::Ruined => Some(Some(self.kept.is_some_and(|it| it.0))),
            Lies::Unreadable => None,
        };
        match (self.phase, asked) {
            (Phase::Running, Some(Some(hold))) => {
                (self.phase, self.hold) = (Phase::ExternallyDraining, hold);
                self.generation += 1;
            }
            (Phase::ExternallyDraining, Some(Some(hold))) => {
                self.sealed &= hold;
                self.hold = hold;
            }
            (Phase::ExternallyDraining, Some(None)) => {
                (self.phase, self.hold, self.sealed) = (Phase::Running, false, false);
            }
            _ => {}
        }
        self.seal_if_empty();
    }

    fn settle(&mut self) {
        if self.phase == Phase::ShuttingDown {
            if self.live.total() == 0 {
                (self.phase, self.ended) = (Phase::Stopped, Some(Ended::Clean));
            } else if self.now_s >= self.deadline_s {
                self.phase = Phase::Stopped;
                self.sealed = true;
                self.ended = Some(Ended::TimedOut { in_flight: self.live.total() });
            }
        }
    }

    fn may_enter(&self, origin: Origin, is_child: bool) -> bool {
        !self.sealed && (self.phase == Phase::Running || is_child || origin == Origin::Internal)
    }

    fn count(&mut self, origin: Origin) -> &mut u32 {
        if origin == Origin::User { &mut self.live.user } else { &mut self.live.internal }
    }
}

struct Bench {
    home: Home,
    clock: ManualClock,
    gateway: Gateway,
    turns: Vec<Turn>,
    oracle: Oracle,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().expect("temp dir");
        let wall = DateTime::<Utc>::from_timestamp(1_700_000_000, 0).expect("in range");
        let clock = ManualClock::at(Now { uptime: Duration::from_secs(1000), wall });
        let gateway =
            Gateway::builder(dir.path()).manual().clock(clock.clone()).start().expect("starts");
        Bench {
            home: Home::at(dir.path()),
            clock,
            gateway,
            turns: Vec::new(),
            oracle: Oracle::new(),
            _dir: dir,
        }
    }

    fn lay(&mut self, laid: Laid) {
        let marker = self.home.marker_path();
        let _ = fs::remove_file(&marker);
        let _ = fs::remove_dir(&marker);
        let epoch = Epoch::current();
        let uptime_ms = self.oracle.now_s * 1000;
        let text = match laid {
            Laid::Nothing | Laid::Directory => None,
            Laid::Request { hold, lease_s } => Some(format!(
                r#"{{"epoch":"{epoch}","hold_internal":{hold},"lease_s":{lease_s},"requested_uptime_ms":{uptime_ms}}}"#
            )),
            Laid::Unleased { hold } => {
                Some(format!(r#"{{"epoch":"{epoch}","hold_internal":{hold}}}"#))
            }
            Laid::Corrupt => Some("{\"action\": \"dra".to_owned()),
            Laid::OtherEpoch => Some(r#"{"epoch":"another:1"}"#.to_owned()),
        };
        if let Some(text) = text {
            fs::write(&marker, text).expect("writes");
        } else if matches!(laid, Laid::Directory) {
            fs::create_dir(&marker).expect("mkdir");
        }
        self.oracle.lies = match laid {
            Laid::Nothing => Lies::Nothing,
            Laid::Request { hold, lease_s } => {
                Lies::Asks { hold, until_s: self.oracle.now_s + lease_s }
            }
            Laid::Unleased { hold } => Lies::Asks { hold, until_s: u64::MAX },
            Laid::Corrupt => Lies::Ruined,
            Laid::OtherEpoch => Lies::Stale,
            Laid::Directory => Lies::Unreadable,
        };
    }

    fn enter(&mut self, answer: Result<Turn, tidegate::Refused>, origin: Origin, is_child: bool) {
        let oracle = &mut self.oracle;
        assert_eq!(
            answer.is_ok(),
            oracle.may_enter(origin, is_child),
            "{origin:?} child {is_child}"
        );
        match answer {
            Ok(turn) => {
                *oracle.count(origin) += 1;
                self.turns.push(turn);
            }
            Err(refused) => {
                assert_eq!(refused.generation, oracle.generation);
                assert_eq!(refused.phase.is_shut(), oracle.phase.is_shut());
            }
        }
    }

    fn perform(&mut self, op: &Op) {
        match op {
            Op::Lay(laid) => self.lay(*laid),
            Op::Begin { hold, lease_s } => {
                let ask = DrainRequest::new("prop")
                    .with_hold_internal(*hold)
                    .with_lease(Duration::from_secs(*lease_s));
                let answer = self.gateway.begin_drain(&ask);
                if self.oracle.phase.is_shut() {
                    assert!(matches!(answer, Err(ControlError::ShuttingDown { .. })));
                    return;
                }
                if matches!(self.oracle.lies, Lies::Unreadable) {
                    assert!(
                        matches!(answer, Err(ControlError::NotWritten { .. })),
                        "over a directory"
                    );
                    self.oracle.look();
                    return;
                }
                self.oracle.lies = Lies::Asks { hold: *hold, until_s: self.oracle.now_s + lease_s };
                self.oracle.look();
                // Property: TG-S5 ack_means_closed.
                let receipt = answer.expect("written");
                assert_eq!(receipt.draining, self.oracle.phase == Phase::ExternallyDraining);
                assert_eq!(receipt.generation, self.oracle.generation);
            }
            Op::Cancel => {
                let answer = self.gateway.cancel_drain(&Holder::Shared);
                match self.oracle.lies {
                    Lies::Unreadable => {
                        assert!(matches!(answer, Err(ControlError::NotRemoved { .. })));
                    }
                    lies => {
                        assert_eq!(answer.expect("removed"), !matches!(lies, Lies::Nothing));
                        self.oracle.lies = Lies::Nothing;
                    }
                }
                self.oracle.look();
            }
            Op::Look => {
                self.gateway.reconcile_now();
                self.oracle.look();
            }
            Op::Admit(origin) => {
                let answer = self.gateway.admit(*origin);
                self.enter(answer, *origin, false);
            }
            Op::Child(parent) => {
                if !self.turns.is_empty() {
                    let parent = parent.get(&self.turns);
                    let (answer, origin) = (parent.child(), parent.origin());
                    self.enter(answer, origin, true);
                }
            }
            Op::End(turn) => {
                if !self.turns.is_empty() {
                    let turn = self.turns.swap_remove(turn.index(self.turns.len()));
                    *self.oracle.count(turn.origin()) -= 1;
                    self.oracle.seal_if_empty();
                }
            }
            Op::Pass { seconds } => {
                self.clock.advance(Duration::from_secs(*seconds));
                self.oracle.now_s += seconds;
            }
            Op::ShutDown { grace_s } => {
                drop(
                    self.gateway.shut_down(ShutdownCause::Operator, Duration::from_secs(*grace_s)),
                );
                let oracle = &mut self.oracle;
                if !oracle.phase.is_shut() {
                    oracle.generation += u64::from(oracle.phase == Phase::Running);
                    (oracle.phase, oracle.hold) = (Phase::ShuttingDown, true);
                    oracle.seal_if_empty();
                }
                oracle.deadline_s = oracle.deadline_s.min(oracle.now_s + grace_s);
            }
        }
    }

    /// The timer thread advances a shutdown at any time. Here that happens now, so that the comparison is exact.
    fn settle(&mut self) {
        if self.oracle.phase.is_shut() {
            self.gateway.reconcile_now();
            self.oracle.settle();
        }
    }

    fn compare(&self) {
        let (status, oracle) = (self.gateway.status(), &self.oracle);
        let idle = oracle.phase != Phase::Running && oracle.live.total() == 0;
        assert_eq!(self.gateway.phase(), oracle.phase);
        assert_eq!(self.gateway.in_flight(), oracle.live, "TG-S6: no drain ends a turn");
        assert_eq!((status.lifecycle, status.idle), (oracle.phase.as_str(), idle));
        assert_eq!(status.generation, oracle.generation);
        assert_eq!(status.ready, oracle.phase == Phase::Running);
        let quiesced = oracle.phase == Phase::ExternallyDraining && oracle.sealed;
        assert_eq!(status.quiesced, quiesced);
        if let Some(ended) = oracle.ended {
            let again = self.gateway.shut_down(ShutdownCause::Operator, Duration::ZERO).wait();
            assert_eq!(again, ended, "TG-S14: the end is reported as it was");
        }
    }
}

fn laid() -> impl Strategy<Value = Laid> {
    prop_oneof![
        2 => Just(Laid::Nothing),
        3 => (any::<bool>(), 0..40u64).prop_map(|(hold, lease_s)| Laid::Request { hold, lease_s }),
        1 => any::<bool>().prop_map(|hold| Laid::Unleased { hold }),
        1 => Just(Laid::Corrupt),
        1 => Just(Laid::OtherEpoch),
        1 => Just(Laid::Directory),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let origin = prop_oneof![2 => Just(Origin::User), 1 => Just(Origin::Internal)];
    prop_oneof![
        4 => laid().prop_map(Op::Lay),
        2 => (any::<bool>(), 1..40u64).prop_map(|(hold, lease_s)| Op::Begin { hold, lease_s }),
        2 => Just(Op::Cancel),
        6 => Just(Op::Look),
        8 => origin.prop_map(Op::Admit),
        2 => any::<prop::sample::Index>().prop_map(Op::Child),
        8 => any::<prop::sample::Index>().prop_map(Op::End),
        2 => (1..30u64).prop_map(|seconds| Op::Pass { seconds }),
        1 => (0..30u64).prop_map(|grace_s| Op::ShutDown { grace_s }),
    ]
}

fn config(cases: u32, regressions: &'static str) -> ProptestConfig {
    let persistence = FileFailurePersistence::Direct(regressions);
    ProptestConfig {
        failure_persistence: Some(Box::new(persistence)),
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(config(
        192,
        concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/prop_histories.txt"),
    ))]

    /// The gateway agrees with the oracle after every step. TG-S1, TG-S2, TG-S3, TG-S6, TG-S10, TG-S13, TG-S14.
    #[test]
    fn histories_follow_the_oracle(ops in prop::collection::vec(op(), 1..80)) {
        let mut bench = Bench::new();
        for op in &ops {
            bench.perform(op);
            bench.settle();
            bench.compare();
        }
    }
}

/// A sealed gate admits nothing. A closed gate admits only children and internal work.
#[test]
fn bypass_is_bounded() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let turn = gateway.admit(Origin::User).expect("open");
    let hold = DrainRequest::default().with_hold_internal(true);
    assert!(gateway.begin_drain(&hold).expect("in memory").draining);

    let child = turn.child().expect("a live turn's child passes");
    let internal = gateway.admit(Origin::Internal).expect("internal work passes a closed gate");
    assert_eq!(gateway.in_flight(), InFlight::new(2, 1), "and is counted");
    drop((turn, child));
    assert!(gateway.quiesced().wait_timeout(Duration::ZERO).is_none(), "internal work is work");
    drop(internal);
    let quiesced = gateway.quiesced().wait().expect("sealed by the last one out");
    assert_eq!(quiesced.generation(), 1);
    assert!(gateway.admit(Origin::Internal).is_err() && gateway.admit(Origin::User).is_err());
    gateway.cancel_drain(&Holder::Shared).expect("in memory");
    assert!(gateway.admit(Origin::Internal).is_ok() && gateway.admit(Origin::User).is_ok());
}

/// Real threads at a real gate: a thread that knows that the drain was acknowledged is refused.
#[test]
fn no_new_turn_while_draining() {
    const ROUNDS: u64 = 100;
    let gateway = Gateway::in_memory().start().expect("starts");
    // Odd while a drain is acknowledged and its cancel has not begun.
    let acknowledged = AtomicU64::new(0);
    let (admitted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let before = acknowledged.load(Ordering::SeqCst);
                    let answer = gateway.admit(Origin::User);
                    let after = acknowledged.load(Ordering::SeqCst);
                    let throughout = before == after && before % 2 == 1;
                    assert!(!(throughout && answer.is_ok()), "a turn started while draining");
                    let counter = if answer.is_ok() { &admitted } else { &refused };
                    counter.fetch_add(1, Ordering::Relaxed);
                    if before >= 2 * ROUNDS {
                        break;
                    }
                }
            });
        }
        for _ in 0..ROUNDS {
            assert!(gateway.begin_drain(&DrainRequest::default()).expect("in memory").draining);
            acknowledged.fetch_add(1, Ordering::SeqCst);
            let seen = refused.load(Ordering::Relaxed);
            while refused.load(Ordering::Relaxed) == seen {
                std::thread::yield_now();
            }
            acknowledged.fetch_add(1, Ordering::SeqCst);
            gateway.cancel_drain(&Holder::Shared).expect("in memory");
        }
    });
    println!("{admitted:?} admitted, {refused:?} refused in {ROUNDS} drains");
    assert!(admitted.into_inner() > 0 && refused.into_inner() >= ROUNDS);
}
