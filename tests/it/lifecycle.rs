//! The gateway's API: waits, changes, shutdowns, the last drop, and a home with faults. Time is a clock that the tests
//! move, or the gateway's own threads decide. Nothing here sleeps.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::DateTime;
use serde_json::Value;
use tidegate::epoch::{ManualClock, Now};
use tidegate::home::Home;
use tidegate::machine::{Phase, ShutdownCause};
use tidegate::request::{DrainRequest, Holder};
use tidegate::{ControlError, Ended, Gateway, NotQuiesced, Origin, StartError};

/// Turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(30);
const NOT_YET: Duration = Duration::ZERO;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("temp dir")
}

fn drain() -> DrainRequest {
    DrainRequest::new("test")
}

fn status_of(home: &Home) -> Value {
    serde_json::from_slice(&fs::read(home.status_path()).expect("a status")).expect("JSON")
}

/// A drain becomes idle or, if it holds internal work, quiesced. The waiters are woken. TG-L2 drains.
#[test]
fn drains() {
    let gateway = Gateway::in_memory().start().expect("starts");
    assert_eq!(gateway.quiesced().wait(), Err(NotQuiesced::NotDraining));
    let turn = gateway.admit(Origin::User).expect("open");
    gateway.begin_drain(&drain()).expect("in memory");
    assert_eq!(gateway.quiesced().wait(), Err(NotQuiesced::NotHeld), "it can only ever be idle");

    let mut idle = gateway.idle();
    assert!(idle.wait_timeout(NOT_YET).is_none());
    drop(turn);
    assert_eq!(idle.wait_timeout(PATIENCE).expect("woken").generation, 1);
    let internal = gateway.admit(Origin::Internal).expect("idle is no promise");
    assert!(!gateway.status().idle);

    // With a request that holds internal work too, the same drain reaches the promise.
    let receipt = gateway.begin_drain(&drain().with_hold_internal(true)).expect("in memory");
    assert_eq!(receipt.generation, 1, "amended, not begun anew");
    let mut quiesced = gateway.quiesced();
    assert!(quiesced.wait_timeout(NOT_YET).is_none());
    drop(internal);
    let quiesced = quiesced.wait_timeout(PATIENCE).expect("woken").expect("sealed");
    assert_eq!(quiesced.request_ids(), [receipt.request.request_id().expect("named").to_owned()]);
    assert!(gateway.admit(Origin::Internal).is_err());
    assert!(gateway.status().quiesced);
}

#[test]
fn a_quiesce_that_is_released_while_waited_for_says_so() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let _turn = gateway.admit(Origin::User).expect("open");
    gateway.begin_drain(&drain().with_hold_internal(true)).expect("in memory");
    let mut quiesced = gateway.quiesced();
    assert!(quiesced.wait_timeout(NOT_YET).is_none());
    gateway.cancel_drain(&Holder::Shared).expect("in memory");
    assert_eq!(quiesced.wait_timeout(PATIENCE), Some(Err(NotQuiesced::NotDraining)));
}

/// A parked turn is woken when the gate reopens, and refused when the gateway shuts down. TG-L2.
#[tokio::test]
async fn parked_turns_wait_for_the_release_and_not_for_a_shutdown() {
    let gateway = Gateway::in_memory().start().expect("starts");
    gateway.begin_drain(&drain()).expect("in memory");
    let parked: Vec<_> =
        (0..10).map(|_| tokio::spawn(gateway.admit_when_open(Origin::User))).collect();
    gateway.cancel_drain(&Holder::Shared).expect("in memory");
    let mut turns = Vec::new();
    for parked in parked {
        turns.push(parked.await.expect("no panic").expect("admitted"));
    }
    assert_eq!(gateway.in_flight().user, 10);

    gateway.begin_drain(&drain()).expect("in memory");
    let parked = tokio::spawn(gateway.admit_when_open(Origin::User));
    let ending = gateway.shut_down(ShutdownCause::Operator, PATIENCE);
    let refused = parked.await.expect("no panic").expect_err("it will not open again");
    assert_eq!(refused.phase, Phase::ShuttingDown);
    drop(turns);
    assert_eq!(ending.await, Ended::Clean);
}

#[tokio::test]
async fn changes_come_in_order_and_end() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let mut changes = gateway.changes();
    gateway.begin_drain(&drain().with_suppress_notification(true)).expect("in memory");
    gateway.cancel_drain(&Holder::Shared).expect("in memory");
    let ended = gateway.shut_down(ShutdownCause::Operator, PATIENCE).await;
    assert_eq!(ended, Ended::Clean);
    let mut seen = Vec::new();
    while let Some(change) = changes.next().await {
        seen.push((
            change.to,
            change.generation,
            change.suppress_notification,
            change.holders.len(),
        ));
    }
    let expected = [
        (Phase::ExternallyDraining, 1, true, 1),
        (Phase::Running, 1, true, 0),
        (Phase::ShuttingDown, 2, false, 0),
        (Phase::Stopped, 2, false, 0),
    ];
    assert_eq!(seen, expected);
    assert!(changes.recv().is_none());
}

/// Whatever happens to the drain, the turn goes on. The drain waits until the turn is dropped, which is when its reply
/// is delivered (I-14). TG-S6 in_flight_untouched.
#[test]
fn in_flight_untouched() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let turn = gateway.admit(Origin::User).expect("open");
    for hold in [false, true, false, true] {
        gateway.begin_drain(&drain().with_hold_internal(hold)).expect("in memory");
        assert_eq!(gateway.in_flight().user, 1);
        assert!(gateway.idle().wait_timeout(NOT_YET).is_none());
    }
    gateway.cancel_drain(&Holder::Shared).expect("in memory");
    gateway.begin_drain(&drain().with_hold_internal(true)).expect("in memory");
    assert_eq!((turn.origin(), gateway.in_flight().user), (Origin::User, 1));
    assert!(turn.child().is_ok(), "it can still do what it needs");
    assert!(!gateway.status().quiesced);
    drop(turn);
    assert!(gateway.status().quiesced);
}

/// Work that a turn in flight needs in order to end was refused. TG-L5 bypass_progress, I-43, I-57.
#[test]
fn bypass_progress() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let turn = gateway.admit(Origin::User).expect("open");
    gateway.begin_drain(&drain().with_hold_internal(true)).expect("in memory");
    let child = turn.child().expect("a live turn gets what it needs");
    let grandchild = child.child().expect("and so does that");
    let mut quiesced = gateway.quiesced();
    assert!(quiesced.wait_timeout(NOT_YET).is_none());
    drop((turn, child));
    assert!(grandchild.child().is_ok(), "as long as any of it lives");
    drop(grandchild);
    assert!(quiesced.wait_timeout(PATIENCE).expect("woken").is_ok());
}

/// A forced shutdown is immediate and overrides a drain (R12). It ends although a turn is wedged, and admits nothing
/// afterwards (F14).
#[test]
fn force_ends_a_drain_with_a_wedged_turn_at_once() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let wedged = gateway.admit(Origin::User).expect("open");
    gateway.begin_drain(&drain()).expect("in memory");
    let mut patient = gateway.shut_down(ShutdownCause::Sigterm, Duration::from_secs(3600));
    assert!(patient.wait_timeout(NOT_YET).is_none());
    assert!(wedged.child().is_ok(), "a live turn still gets what it needs");

    let forced = gateway.shut_down(ShutdownCause::Operator, Duration::ZERO).wait();
    assert_eq!(forced, Ended::TimedOut { in_flight: 1 });
    assert_eq!(patient.wait_timeout(PATIENCE), Some(forced), "both learn the same");
    assert!(wedged.child().is_err() && gateway.admit(Origin::Internal).is_err());
    assert_eq!(gateway.status().exit_reason.as_deref(), Some("SIGTERM"), "the first cause stays");
    assert!(matches!(gateway.begin_drain(&drain()), Err(ControlError::ShuttingDown { .. })));
}

/// The gateway's own thread ends a shutdown at its deadline: nothing else drives it here. TG-L4 stops.
#[test]
fn stops() {
    let gateway = Gateway::in_memory().manual().start().expect("starts");
    let _wedged = gateway.admit(Origin::User).expect("open");
    let mut ending = gateway.shut_down(ShutdownCause::Operator, Duration::from_millis(1));
    assert_eq!(ending.wait_timeout(PATIENCE), Some(Ended::TimedOut { in_flight: 1 }));
}

/// A status is one reading, so it lists no work that it does not count. TG-S8.
#[test]
fn a_status_lists_no_more_than_it_counts() {
    let gateway = Gateway::in_memory().start().expect("starts");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    drop(gateway.admit_labelled(Origin::User, "chat").expect("open"));
                }
            });
        }
        for _ in 0..20_000 {
            let status = gateway.status();
            let (listed, counted) = (status.active_work.len(), status.active_agents);
            if listed as u64 > counted {
                over.store(true, Ordering::Relaxed);
                panic!("{listed} listed, {counted} counted");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(gateway.in_flight().total(), 0);
}

/// A turn may end after a shutdown has stopped waiting for it. The last status then no longer counts it, unless another
/// gateway has taken the home since. TG-S8.
#[test]
fn the_last_status_counts_no_turn_that_has_ended_since() {
    let dir = dir();
    let home = Home::at(dir.path());
    let start = || Gateway::builder(dir.path()).manual().start().expect("starts");
    let counted = || {
        let reading = home.status().expect("reads");
        (reading.is_alive(), reading.body().read::<u64>("active_agents"))
    };
    let gateway = start();
    let turns = [(); 2].map(|()| gateway.admit_labelled(Origin::User, "chat").expect("open"));
    drop(gateway.shut_down(ShutdownCause::Operator, Duration::ZERO));
    gateway.reconcile_now();
    assert_eq!(counted(), (false, Some(2)));
    let [first, second] = turns;
    drop(first);
    gateway.reconcile_now();
    assert_eq!(counted(), (false, Some(1)));

    let next = start();
    let incarnation = || home.status().expect("reads").body().read::<String>("incarnation");
    let its = incarnation();
    drop(second);
    gateway.reconcile_now();
    assert_eq!(
        (incarnation(), counted()),
        (its, (true, Some(0))),
        "it is another gateway's by now"
    );
    drop(next);
}

/// A corrected status has a new sequence number, and is written once. The status of a later gateway is left as it is,
/// even if that gateway has ended too.
#[test]
fn the_last_status_is_corrected_once_and_only_if_it_is_one_s_own() {
    let dir = dir();
    let home = Home::at(dir.path());
    let start = || Gateway::builder(dir.path()).manual().start().expect("starts");
    let read = |name: &str| home.status().expect("reads").body().read::<serde_json::Value>(name);
    let gateway = start();
    let [first, second] = [(); 2].map(|()| gateway.admit(Origin::User).expect("open"));
    drop(gateway.shut_down(ShutdownCause::Operator, Duration::ZERO));
    gateway.reconcile_now();
    let sequence = || read("sequence").and_then(|it| it.as_u64()).expect("a number");
    let last = sequence();
    drop(first);
    gateway.reconcile_now();
    assert_eq!(sequence(), last + 1);
    gateway.reconcile_now();
    assert_eq!(sequence(), last + 1);

    let next = start();
    drop(next.shut_down(ShutdownCause::Sigterm, Duration::ZERO));
    next.reconcile_now();
    drop(next);
    let its = (read("incarnation"), read("sequence"));
    drop(second);
    gateway.reconcile_now();
    assert_eq!((read("incarnation"), read("sequence")), its);
}

/// The shorter of two graces counts at once, whichever was requested first.
#[test]
fn the_earlier_of_two_graces_holds() {
    const SOON: Duration = Duration::from_millis(100);
    for graces in [[SOON, 100 * PATIENCE], [100 * PATIENCE, SOON]] {
        let gateway = Gateway::in_memory().start().expect("starts");
        let _wedged = gateway.admit(Origin::User).expect("open");
        let mut endings = graces.map(|grace| gateway.shut_down(ShutdownCause::Operator, grace));
        for ending in &mut endings {
            assert_eq!(ending.wait_timeout(PATIENCE), Some(Ended::TimedOut { in_flight: 1 }));
        }
    }
}

/// The watcher corrects the last status, and so does the last drop.
#[test]
fn nobody_need_ask_for_the_last_status_to_be_corrected() {
    let dir = dir();
    let home = Home::at(dir.path());
    let gateway = Gateway::builder(dir.path()).start().expect("starts");
    let turn = gateway.admit(Origin::User).expect("open");
    let ended = gateway.shut_down(ShutdownCause::Operator, Duration::ZERO).wait();
    assert_eq!(ended, Ended::TimedOut { in_flight: 1 });
    drop(turn);
    drop(gateway);
    let reading = home.status().expect("reads");
    assert_eq!(reading.body().read::<u64>("active_agents"), Some(0));
    assert_eq!(reading.body().read::<String>("gateway_state").as_deref(), Some("stopped"));
}

#[test]
fn the_last_drop_stops_the_gateway_and_gives_the_home_back() {
    let dir = dir();
    let home = Home::at(dir.path());
    let gateway = Gateway::builder(dir.path()).start().expect("starts");
    let turn = gateway.admit(Origin::User).expect("open");
    let clone = gateway.clone();
    drop(gateway);
    assert!(home.status().expect("reads").is_alive(), "a clone is the same gateway");
    drop(clone);

    assert!(!home.status().expect("reads").is_alive());
    let last = status_of(&home);
    assert_eq!(
        (&last["lifecycle"], &last["exit_reason"]),
        (&"stopped".into(), &"loop_ended".into())
    );
    assert_eq!(last["active_agents"], 1, "it was not waited for, and it is said");
    assert!(turn.child().is_err());
    drop(turn);
    Gateway::builder(dir.path()).start().expect("the home is free");
}

/// The second start fails and names the process of the first gateway. F17.
#[test]
fn a_second_gateway_on_the_same_home_is_told_the_pid() {
    let dir = dir();
    let first = Gateway::builder(dir.path()).start().expect("starts");
    match Gateway::builder(dir.path()).start() {
        Err(StartError::HomeInUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        status_of(&Home::at(dir.path()))["incarnation"],
        first.status().incarnation.as_str()
    );
}

/// A look that cannot read a request changes nothing, and the status says so. At the start it counts as a drain.
/// TG-S10, F4.
#[test]
fn what_cannot_be_read_keeps_the_gate_and_shows_in_degraded() {
    let dir = dir();
    let home = Home::at(dir.path());
    fs::create_dir(home.marker_path()).expect("mkdir");
    let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
    assert_eq!(gateway.phase(), Phase::ExternallyDraining, "unreadable at start is closed");
    assert_eq!(status_of(&home)["degraded"][0]["code"], "request_unreadable");

    fs::remove_dir(home.marker_path()).expect("rmdir");
    gateway.reconcile_now();
    assert_eq!(gateway.phase(), Phase::Running);
    assert_eq!(status_of(&home)["degraded"], Value::Array(Vec::new()));

    fs::create_dir(home.marker_path()).expect("mkdir");
    gateway.reconcile_now();
    assert_eq!(gateway.phase(), Phase::Running, "and an open gate stays open");
}

/// A home that is gone (unmounted, moved away) begins no drain and cancels none.
#[test]
fn a_home_that_is_gone_keeps_the_gate() {
    let dir = dir();
    let (home, aside) = (dir.path().join("home"), dir.path().join("aside"));
    fs::create_dir(&home).expect("mkdir");
    let gateway = Gateway::builder(&home).manual().start().expect("starts");
    gateway.begin_drain(&drain()).expect("written");
    fs::rename(&home, &aside).expect("moved away");
    gateway.reconcile_now();
    assert_eq!(gateway.phase(), Phase::ExternallyDraining);
    let codes = |gateway: &Gateway| -> Vec<_> {
        gateway.status().degraded.into_iter().map(|it| it.code).collect()
    };
    assert_eq!(codes(&gateway), ["home_elsewhere"]);
    let state = fs::read_to_string(aside.join("gateway_state.json")).expect("the status");
    assert!(state.contains("leads to no directory"), "it is written where the lock is: {state}");

    // After an unmount, the mount point exists and is empty.
    fs::create_dir(&home).expect("mkdir");
    gateway.reconcile_now();
    assert_eq!(gateway.phase(), Phase::ExternallyDraining);
    assert_eq!(codes(&gateway), ["home_elsewhere"]);
    assert_eq!(fs::read_dir(&home).expect("lists").count(), 0, "nothing is written there");
    fs::remove_dir_all(&home).expect("rm");
    fs::rename(&aside, &home).expect("moved back");
    gateway.reconcile_now();
    assert!(gateway.status().degraded.is_empty());
}

/// A marker that is ruined in place does not break the promise of a seal. F9.
#[test]
fn a_ruined_marker_keeps_the_seal() {
    let dir = dir();
    let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
    gateway.begin_drain(&drain().with_hold_internal(true)).expect("written");
    gateway.quiesced().wait().expect("nothing is in flight");
    fs::write(Home::at(dir.path()).marker_path(), "{\"action\": \"dra").expect("writes");
    gateway.reconcile_now();
    assert!(gateway.admit(Origin::Internal).is_err());
    assert_eq!(gateway.status().degraded[0].code, "request_corrupt");
}

/// If a receipt says draining, the gate is closed, and the receipt names its own request. TG-S5.
#[test]
fn ack_means_closed() {
    let dir = dir();
    let home = Home::at(dir.path());
    let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
    let receipt = gateway.begin_drain(&drain()).expect("written");
    assert!(receipt.draining && gateway.admit(Origin::User).is_err());
    let ours = receipt.request.request_id().expect("stamped").to_owned();
    assert!(home.status().expect("reads").is_draining_for(&Holder::Shared, &ours));

    // Another controller's request replaces ours in the shared slot. The drain goes on, and is no longer ours.
    let theirs = home.begin_drain(&drain()).expect("written");
    gateway.reconcile_now();
    let reading = home.status().expect("reads");
    assert!(
        !reading.is_draining_for(&Holder::Shared, &ours)
            && reading.is_draining_for(&Holder::Shared, theirs.request_id().expect("stamped"))
    );
    assert!(gateway.admit(Origin::User).is_err());
}

/// A count may change and change back between two readings. The published count is still right. TG-S8.
#[test]
fn the_status_follows_a_flapping_count() {
    let dir = dir();
    let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
    gateway.begin_drain(&drain()).expect("written");
    for _ in 0..50 {
        std::thread::scope(|scope| {
            let flapping = scope.spawn(|| {
                for _ in 0..20_000 {
                    drop(gateway.admit(Origin::Internal));
                }
                gateway.admit(Origin::Internal)
            });
            while !flapping.is_finished() {
                gateway.reconcile_now();
            }
            let _turn = flapping.join().expect("no panic");
            gateway.reconcile_now();
            let (disk, meant) = (status_of(&Home::at(dir.path())), gateway.status());
            assert_eq!(
                (&disk["idle"], &disk["active_agents"]),
                (&Value::from(meant.idle), &Value::from(meant.active_agents))
            );
        });
    }
}

/// A supervisor took the last state of a gateway for the desired state. It left the gateway down after a signal, or
/// after a kill during a drain. TG-S9 intent_is_separate, I-7, I-8.
#[test]
fn intent_is_separate() {
    let ends_as = |cause| {
        let dir = dir();
        let home = Home::at(dir.path());
        let gateway = Gateway::builder(dir.path()).start().expect("starts");
        gateway.begin_drain(&drain()).expect("writes");
        let draining = status_of(&home);
        assert_eq!(
            (&draining["gateway_state"], &draining["desired_state"]),
            (&Value::from("draining"), &Value::from("draining"))
        );
        gateway.cancel_drain(&Holder::Shared).expect("removes");
        assert_eq!(gateway.shut_down(cause, PATIENCE).wait(), Ended::Clean);
        let last = status_of(&home);
        assert_eq!(last["gateway_state"], "stopped");
        last["desired_state"].clone()
    };
    assert_eq!(ends_as(ShutdownCause::Sigterm), "running");
    assert_eq!(ends_as(ShutdownCause::Operator), "stopped");
}

/// Two parts of the original wrote its status at once, and one update was lost. Here each thread that publishes writes
/// the whole status. A reader never sees it go back, and the last one is right. TG-S8 status_is_faithful, U39.
#[test]
fn status_is_faithful() {
    let dir = dir();
    let home = Home::at(dir.path());
    let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = 0;
            while !over.load(Ordering::Relaxed) {
                let sequence = status_of(&home)["sequence"].as_u64().expect("a number");
                assert!(sequence >= last, "from {last} to {sequence}");
                last = sequence;
            }
        });
        let changing: Vec<_> = ["a", "b", "c"]
            .map(|name| {
                let (gateway, holder) = (&gateway, Holder::named(name).expect("a name"));
                scope.spawn(move || {
                    for _ in 0..60 {
                        let ask = drain().with_holder(holder.clone());
                        assert!(gateway.begin_drain(&ask).expect("writes").draining);
                        assert!(gateway.cancel_drain(&holder).expect("removes"));
                    }
                })
            })
            .into();
        let ended: Vec<_> = changing.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    let (disk, meant) = (status_of(&home), gateway.status());
    assert_eq!(disk["lifecycle"], "running");
    assert_eq!(
        (disk["generation"].as_u64(), disk["sequence"].as_u64()),
        (Some(meant.generation), Some(meant.sequence))
    );
}

/// The gate reopens when the lease of the last request has run out. TG-L3 reopens.
#[test]
fn reopens() {
    let dir = dir();
    let wall = DateTime::from_timestamp(1_700_000_000, 0).expect("in range");
    let clock = ManualClock::at(Now { uptime: Duration::from_secs(5000), wall });
    let gateway =
        Gateway::builder(dir.path()).manual().clock(clock.clone()).start().expect("starts");
    let ask = drain().with_hold_internal(true).with_lease(Duration::from_secs(60));
    gateway.begin_drain(&ask).expect("written");
    let quiesced = gateway.quiesced().wait().expect("nothing is in flight");
    assert_eq!(quiesced.until(), Some(Duration::from_secs(5060)));
    assert_eq!(gateway.status().quiesced_until, Some(5_060_000));

    // The wall clock is set, and the lease does not change.
    clock.set_wall(DateTime::from_timestamp(1_900_000_000, 0).expect("in range"));
    clock.advance(Duration::from_secs(59));
    gateway.reconcile_now();
    assert_eq!(gateway.phase(), Phase::ExternallyDraining);
    clock.advance(Duration::from_secs(1));
    gateway.reconcile_now();
    assert_eq!(gateway.phase(), Phase::Running);
    assert_eq!(gateway.status().degraded[0].code, "request_expired");
}

/// The status on disk becomes the right one, and is then not written again. TG-S8.
#[test]
fn the_status_is_repeated_until_written_and_not_once_more() {
    let dir = dir();
    let home = Home::at(dir.path());
    let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
    let first = status_of(&home)["sequence"].as_u64().expect("a number");
    for _ in 0..10 {
        gateway.reconcile_now();
    }
    assert_eq!(status_of(&home)["sequence"], first, "nothing changed, nothing written");

    fs::remove_file(home.status_path()).expect("rm");
    fs::create_dir(home.status_path()).expect("a file cannot replace a directory");
    gateway.begin_drain(&drain()).expect("the request can be written");
    assert_eq!(gateway.status().degraded[0].code, "status_unwritten");
    fs::remove_dir(home.status_path()).expect("rmdir");
    gateway.reconcile_now();
    let status = status_of(&home);
    assert_eq!(status["lifecycle"], "externally_draining");
    assert!(status["sequence"].as_u64() > Some(first), "a sequence never goes back");
    assert!(gateway.status().degraded.is_empty());
}

/// The watcher's own thread sees a new marker and closes the gate. It sees the removal too. TG-L1 closes.
#[test]
fn closes() {
    let dir = dir();
    let home = Home::at(dir.path());
    let interval = Duration::from_millis(1);
    let gateway = Gateway::builder(dir.path()).interval(interval).start().expect("starts");
    let mut changes = gateway.changes();
    let request = home.begin_drain(&drain()).expect("written");
    let change = changes.recv().expect("a change");
    assert_eq!(change.to, Phase::ExternallyDraining);
    assert_eq!(change.holders[0].request_id.as_deref(), request.request_id());
    assert!(home.cancel_drain(&Holder::Shared).expect("removed"));
    assert_eq!(changes.recv().expect("a change").to, Phase::Running);
}

/// A shutdown writes its last status before it wakes the waiters for its end.
#[test]
fn the_last_status_is_written_before_the_ending_is_told() {
    let dir = dir();
    let home = Home::at(dir.path());
    let gateway = Gateway::builder(dir.path()).start().expect("starts");
    let ended = gateway.shut_down(ShutdownCause::Sigterm, PATIENCE).wait();
    assert_eq!(ended, Ended::Clean);
    assert_eq!(status_of(&home)["lifecycle"], "stopped");
    assert!(!home.status().expect("reads").is_alive(), "the lock is given back with it");
}

/// The original released its lock and then wrote its last status, over that of its successor. Here no successor can
/// start before the last status is written. U18.
#[test]
fn the_lock_is_held_until_the_last_status_is_written() {
    let dir = dir();
    let home = Home::at(dir.path());
    let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
    fs::remove_file(home.status_path()).expect("rm");
    fs::create_dir(home.status_path()).expect("a file cannot replace a directory");
    let _ending = gateway.shut_down(ShutdownCause::Sigterm, NOT_YET);
    gateway.reconcile_now();
    assert_eq!(gateway.phase(), Phase::Stopped);
    let successor = Gateway::builder(dir.path()).manual().start();
    assert!(matches!(successor, Err(StartError::HomeInUse { .. })), "{successor:?}");

    fs::remove_dir(home.status_path()).expect("rmdir");
    gateway.reconcile_now();
    assert_eq!(status_of(&home)["lifecycle"], "stopped");
    Gateway::builder(dir.path()).manual().start().expect("the home is free");
}

/// The original changed some fields of the status and kept the others. So a new process reported the state, turns and
/// platforms of a dead one. I-16, I-17, U28.
#[test]
fn a_start_replaces_what_its_predecessor_left_in_the_status() {
    let dir = dir();
    let home = Home::at(dir.path());
    let left = r#"{"pid":1,"kind":"old","argv":["old"],"start_time":7,"gateway_state":"stopped","exit_reason":"old",
        "restart_requested":true,"active_agents":3,"platforms":{"chat":{}},"updated_at":"2026-01-01T00:00:00+00:00",
        "of_the_old":true}"#;
    fs::write(home.status_path(), left).expect("writes");
    let gateway = Gateway::builder(dir.path()).kind("new").manual().start().expect("starts");
    let status = status_of(&home);
    let left: Value = serde_json::from_str(left).expect("JSON");
    for (field, old) in left.as_object().expect("an object") {
        assert_ne!(status.get(field), Some(old), "{field} is the old one's");
    }
    assert_eq!(
        (&status["gateway_state"], &status["active_agents"]),
        (&"running".into(), &0.into())
    );
    drop(gateway);
}

/// After a change that no file event reports, `wake_watcher` makes the watcher look at once.
#[test]
fn a_poke_is_a_look() {
    let home = dir();
    let hour = Duration::from_secs(3600);
    let gateway = Gateway::builder(home.path()).interval(hour).start().expect("starts");
    let mut changes = gateway.changes();
    Home::at(home.path()).begin_drain(&drain()).expect("writes");
    gateway.wake_watcher();
    assert_eq!(changes.recv().expect("the gateway lives").to, Phase::ExternallyDraining);
}
