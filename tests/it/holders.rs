//! Several holders, their leases and the files that they leave, with real files and a clock that the tests move. Each
//! test names the incident that it rules out (`incidents.md`).

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use chrono::DateTime;
use tidegate::epoch::{Epoch, ManualClock, Now};
use tidegate::home::Home;
use tidegate::machine::Phase;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{ControlError, Gateway, Origin};

const HOUR: Duration = Duration::from_secs(3600);

/// The time since boot at which each scene starts. A request that is written through the home has the system's time,
/// which must not be in the future of a scene. No machine has run for longer than this.
const START: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
const INSTANT: Duration = Duration::from_millis(1);
const ALMOST_AN_HOUR: Duration = Duration::from_millis(3_599_999);

fn named(name: &str) -> Holder {
    Holder::named(name).expect("a name")
}

fn ask(name: &str) -> DrainRequest {
    DrainRequest::new(name).with_holder(named(name))
}

/// A home, a gateway on it that the test drives, and the gateway's clock.
struct Scene {
    _dir: tempfile::TempDir,
    home: Home,
    clock: ManualClock,
    gateway: Gateway,
}

impl Scene {
    fn new() -> Scene {
        Scene::with(|builder| builder)
    }

    fn with(more: impl FnOnce(tidegate::Builder) -> tidegate::Builder) -> Scene {
        let dir = tempfile::tempdir().expect("temp dir");
        let wall = DateTime::from_timestamp(1_700_000_000, 0).expect("in range");
        let clock = ManualClock::at(Now { uptime: START, wall });
        let builder = Gateway::builder(dir.path()).manual().clock(clock.clone());
        let gateway = more(builder).start().expect("starts");
        Scene { home: Home::at(dir.path()), _dir: dir, clock, gateway }
    }

    fn is_open(&self) -> bool {
        self.gateway.reconcile_now();
        let open = self.gateway.admit(Origin::User).is_ok();
        assert_eq!(open, self.gateway.phase() == Phase::Running);
        open
    }

    /// Whether a request asks for a drain by the system's clock, as a controller sees it.
    fn asks(&self) -> bool {
        self.home.observe().verdict().asks_for_drain()
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.gateway.reconcile_now();
    }

    fn holders(&self) -> Vec<String> {
        let holders = self.gateway.status().holders.into_iter();
        holders.map(|it| it.holder.unwrap_or_else(|| "(shared)".to_owned())).collect()
    }

    fn codes(&self) -> Vec<&'static str> {
        self.gateway.status().degraded.iter().map(|degraded| degraded.code).collect()
    }

    fn requests(&self) -> Vec<PathBuf> {
        let listing = fs::read_dir(self.home.requests_path()).expect("lists");
        let mut paths: Vec<_> = listing.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths
    }

    /// Writes a file among the named requests by hand.
    fn lay(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.requests_path().join(name);
        fs::write(&path, text).expect("writes");
        path
    }
}

/// A holder releases its own request only. A release that read and then removed took another holder's request (I-35).
/// A second begin overwrote the first one's lease (I-38), or its principal and terms (U6, U7). TG-S7 owner_release.
#[test]
fn owner_release() {
    let scene = Scene::new();
    let first = scene.gateway.begin_drain(&ask("deployer").with_lease(HOUR)).expect("writes");
    let second = scene.gateway.begin_drain(&ask("backup").with_lease(2 * HOUR)).expect("writes");
    let shared = scene.gateway.begin_drain(&DrainRequest::new("someone")).expect("writes");
    assert!(first.draining && second.draining && shared.draining);
    assert_eq!((first.generation, shared.generation), (1, 1), "they join one close");
    assert_eq!(scene.holders(), ["(shared)", "backup", "deployer"]);
    let status = scene.gateway.status();
    assert_eq!(status.holders[1].principal.as_deref(), Some("backup"));
    assert_eq!(status.holders[1].lease_left_s, Some(7200.0));
    assert_eq!(status.holders[2].request_id.as_deref(), first.request.request_id());

    assert!(scene.gateway.cancel_drain(&named("deployer")).expect("removes"));
    assert!(!scene.is_open());
    assert_eq!(scene.holders(), ["(shared)", "backup"]);
    assert!(!scene.gateway.cancel_drain(&named("deployer")).expect("is idempotent"));
    assert!(!scene.gateway.cancel_drain(&named("back")).expect("nobody's"), "no prefix of a name");
    assert!(scene.gateway.cancel_drain(&Holder::Shared).expect("removes"));
    assert!(!scene.is_open(), "backup still asks");
    assert!(scene.gateway.cancel_drain(&named("backup")).expect("removes"));
    assert!(scene.is_open());
}

/// A look from before a change was applied after it: a cancelled drain came back, or a new one was lost. Here two
/// threads look as often as they can. TG-S11 observations_never_overlap, U5.
#[test]
fn observations_never_overlap() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::builder(dir.path()).interval(INSTANT).start().expect("starts");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                gateway.wake_watcher();
                gateway.reconcile_now();
            }
        });
        for round in 0..200 {
            let begun = gateway.begin_drain(&ask("ci")).expect("writes");
            let refused = gateway.admit(Origin::User).is_err();
            let cancelled = gateway.cancel_drain(&named("ci")).expect("removes");
            let admitted = gateway.admit(Origin::User).is_ok();
            if !(begun.draining && refused && cancelled && admitted) {
                over.store(true, Ordering::Relaxed);
                panic!("round {round}: {begun:?} {refused} {cancelled} {admitted}");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// With two callers, one was answered by a look that had begun before its call. So a user turn was admitted although a
/// marker existed. F23.
#[test]
fn a_caller_is_answered_by_a_look_that_began_after_the_call() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
    let home = Home::at(dir.path());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    gateway.reconcile_now();
                }
            });
        }
        for round in 0..500 {
            home.begin_drain(&ask("ci")).expect("writes");
            gateway.reconcile_now();
            let refused = gateway.admit(Origin::User).is_err();
            home.cancel_drain(&named("ci")).expect("removes");
            gateway.reconcile_now();
            let admitted = gateway.admit(Origin::User).is_ok();
            if !(refused && admitted) {
                over.store(true, Ordering::Relaxed);
                panic!("round {round}: refused {refused}, admitted {admitted}");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// A gateway that could not list the requests at its start admitted internal work. Its predecessor had promised that
/// nothing starts. TG-S4, F22.
#[test]
fn a_blind_start_keeps_what_its_predecessor_promised() {
    let first = Scene::new();
    first
        .gateway
        .begin_drain(&ask("ci").with_hold_internal(true).with_lease(HOUR))
        .expect("writes");
    first.gateway.quiesced().wait().expect("idle and sealed");
    let promise = fs::read(first.home.status_path()).expect("the status");
    let Scene { _dir: dir, clock, gateway, home } = first;
    drop(gateway);
    // The home as kill -9 leaves it. In addition, the requests cannot be listed.
    fs::write(home.status_path(), &promise).expect("writes");
    let (requests, aside) = (home.requests_path(), dir.path().join("aside"));
    fs::rename(&requests, &aside).expect("renames");
    fs::write(&requests, "").expect("writes");
    let start = || Gateway::builder(dir.path()).manual().clock(clock.clone()).start();

    let gateway = start().expect("starts");
    assert!(gateway.admit(Origin::Internal).is_err(), "nothing starts while that may be promised");
    let degraded = gateway.status().degraded;
    assert!(degraded.iter().any(|it| it.code == "promise_unseen"), "{degraded:?}");
    // One more start that is killed as early: the promise is passed on.
    let passed_on = fs::read(home.status_path()).expect("the status");
    drop(gateway);
    fs::write(home.status_path(), &passed_on).expect("writes");
    let gateway = start().expect("starts");
    assert!(gateway.admit(Origin::Internal).is_err(), "also by the next one");

    clock.advance(HOUR);
    gateway.reconcile_now();
    assert!(gateway.admit(Origin::Internal).is_ok(), "the promise is over");
    assert!(gateway.admit(Origin::User).is_err(), "and nothing is seen yet");
    fs::remove_file(&requests).expect("removes");
    gateway.reconcile_now();
    assert!(gateway.admit(Origin::User).is_ok(), "now it is seen that there is none");
}

/// Found by the gateway model: after a restart, a ruined request no longer held internal work.
#[test]
fn a_ruined_request_is_held_for_over_a_respawn() {
    let first = Scene::new();
    let ask = DrainRequest::new("ci").with_hold_internal(true).with_lease(HOUR);
    first.gateway.begin_drain(&ask).expect("writes");
    first.gateway.quiesced().wait().expect("idle and sealed");
    let promise = fs::read(first.home.status_path()).expect("the status");
    let Scene { _dir: dir, clock, gateway, home } = first;
    drop(gateway);
    fs::write(home.status_path(), &promise).expect("writes");
    fs::write(home.marker_path(), "{\"action\":\"dra").expect("writes");
    let gateway = Gateway::builder(dir.path()).manual().clock(clock.clone()).start();
    let gateway = gateway.expect("starts");
    assert!(gateway.admit(Origin::Internal).is_err());
    clock.advance(HOUR);
    gateway.reconcile_now();
    assert!(gateway.admit(Origin::Internal).is_ok());
    assert!(gateway.admit(Origin::User).is_err(), "presence means drain");
}

/// The gate stays closed until the last holder has released it. TG-S15 held_by_each.
#[test]
fn held_by_each() {
    let scene = Scene::new();
    for name in ["a", "b", "c"] {
        scene.gateway.begin_drain(&ask(name)).expect("writes");
    }
    for name in ["b", "a", "c"] {
        assert!(!scene.is_open(), "{name} still asks");
        scene.gateway.cancel_drain(&named(name)).expect("removes");
    }
    assert!(scene.is_open());
}

#[test]
fn asking_again_replaces_one_s_own_request_and_no_other() {
    let scene = Scene::new();
    scene.gateway.begin_drain(&ask("ci")).expect("writes");
    scene.gateway.begin_drain(&ask("ops")).expect("writes");
    let again = scene.gateway.begin_drain(&ask("ci").with_hold_internal(true)).expect("writes");
    assert_eq!(scene.requests().len(), 2, "{:?}", scene.requests());
    let quiesced = scene.gateway.quiesced().wait().expect("idle and sealed");
    assert_eq!(quiesced.request_ids(), [again.request.request_id().expect("named").to_owned()]);
}

#[test]
fn a_renewal_leaves_no_gap_and_a_lost_drain_is_told() {
    let scene = Scene::new();
    // The home uses the system's clock, as a controller on this machine does. The gateway here has another clock.
    let first = scene.home.begin_drain(&ask("ci").with_hold_internal(true)).expect("writes");
    let renewed = scene.home.renew_drain(&named("ci"), Some(2 * HOUR)).expect("live");
    assert_ne!(first.request_id(), renewed.request_id());
    assert_eq!((renewed.terms(), renewed.principal()), (first.terms(), Some("ci")));
    assert_eq!(scene.requests().len(), 1, "the old one is gone");

    scene.home.cancel_drain(&named("ci")).expect("removes");
    let error = scene.home.renew_drain(&named("ci"), None).expect_err("nothing is left");
    assert!(matches!(error, ControlError::NoLiveRequest { .. }), "{error}");
    assert!(error.to_string().contains("begin a new drain"), "{error}");
}

#[test]
fn holding_takes_one_and_silence_takes_all() {
    let scene = Scene::new();
    scene.gateway.begin_drain(&ask("a").with_suppress_notification(true)).expect("writes");
    let internal = scene.gateway.admit(Origin::Internal).expect("passes a drain");
    drop(internal);
    let mut changes = scene.gateway.changes();
    scene.gateway.begin_drain(&ask("b").with_hold_internal(true)).expect("writes");
    assert!(scene.gateway.admit(Origin::Internal).is_err(), "sealed at idle");
    scene.gateway.cancel_drain(&named("b")).expect("removes");
    assert!(scene.gateway.admit(Origin::Internal).is_ok(), "no request holds it any longer");
    scene.gateway.cancel_drain(&named("a")).expect("removes");
    let change = changes.recv().expect("the gateway lives");
    assert!(change.suppress_notification, "the one who is left asked for silence: {change:?}");
}

/// An abandoned request of the same boot kept a gateway closed until an operator noticed. TG-S13 stale_never_closes,
/// I-2.
#[test]
fn stale_never_closes() {
    let scene = Scene::new();
    let receipt = scene.gateway.begin_drain(&ask("ci").with_hold_internal(true)).expect("writes");
    let quiesced = scene.gateway.quiesced().wait().expect("idle and sealed");
    assert_eq!(quiesced.until(), Some(START + HOUR), "an hour by default");

    scene.pass(ALMOST_AN_HOUR);
    assert!(!scene.is_open(), "the gate never reopens before what was promised (F9)");
    scene.pass(INSTANT);
    assert!(scene.is_open());
    assert_eq!(scene.codes(), ["request_expired"]);
    // A slow controller reads that the gateway no longer drains for it (U12).
    let reading = scene.home.status().expect("reads");
    let id = receipt.request.request_id().expect("named");
    let ci = named("ci");
    assert!(!reading.is_draining_for(&ci, id) && !reading.is_quiesced_for(&ci, id));
}

/// The wall clock is set, is wrong, or jumps over a suspend. U11, U13.
#[test]
fn the_boot_clock_judges_whatever_the_wall_clock_says() {
    let scene = Scene::new();
    scene.gateway.begin_drain(&ask("ci")).expect("writes");
    for year in [1971, 2099] {
        let wall = format!("{year}-01-01T00:00:00Z").parse().expect("a date");
        scene.clock.set_wall(wall);
        assert!(!scene.is_open(), "{year}");
    }
    // A suspend of two hours: the boot clock counts it, and the lease with it.
    scene.pass(2 * HOUR);
    assert!(scene.is_open());
    scene.clock.set_wall("1971-01-01T00:00:00Z".parse().expect("a date"));
    assert!(scene.is_open(), "dead once, dead for good");
}

/// For a request without an epoch, the wall clock gives the rest of the lease at the first look. The boot clock counts
/// that rest down. A stamp in the future does not lengthen the lease, and a clock that is set changes nothing. F20.
#[test]
fn without_an_epoch_the_wall_clock_is_asked_once() {
    let scene = Scene::new();
    let made = "2023-11-14T22:23:20+00:00"; // ten minutes after the gateway's now
    scene.lay(
        "far.1.json",
        &format!(r#"{{"requested_at":"{made}","lease_s":3600,"hold_internal":true}}"#),
    );
    assert!(!scene.is_open());
    let quiesced = scene.gateway.quiesced().wait().expect("idle and sealed");
    let until = quiesced.until().expect("its lease ends");
    assert_eq!(until.saturating_sub(scene.clock.now().uptime), HOUR);
    scene.clock.set_wall("1971-01-01T00:00:00Z".parse().expect("a date"));
    scene.pass(HOUR.saturating_sub(Duration::from_secs(1)));
    assert!(!scene.is_open());
    scene.pass(Duration::from_secs(1));
    assert!(scene.is_open());
}

/// A controller in another container stamped another epoch, and the gateway ignored it without a word (U10). A marker
/// outlived its machine (I-1).
#[test]
fn a_request_of_another_epoch_is_ignored_and_told() {
    let scene = Scene::new();
    scene.lay("dash.1.json", r#"{"principal":"dashboard","epoch":"other-boot:7","lease_s":3600}"#);
    assert!(scene.is_open());
    let status = scene.gateway.status();
    assert_eq!(scene.codes(), ["request_of_other_epoch"]);
    let detail = &status.degraded[0].detail;
    assert!(
        detail.contains("dash.1.json by dashboard") && detail.contains(Epoch::current().as_str()),
        "{detail}"
    );
}

/// A request without a lease lives until it is removed, unless its gateway bounds its age. I-1, I-2.
#[test]
fn what_has_no_lease_lives_until_removed_or_for_as_long_as_the_author_allows() {
    for text in [r#"{"principal":"by hand"}"#, "", "{\"acti"] {
        let scene = Scene::new();
        let path = scene.lay("ops.json", text);
        scene.pass(1000 * HOUR);
        assert!(!scene.is_open(), "{text:?}");
        scene.pass(HOUR);
        let status = scene.gateway.status();
        assert_eq!(status.holders[0].age_s, Some(3600.0), "{text:?}");
        let code = if text == "{\"acti" { "request_corrupt" } else { "request_unleased" };
        assert_eq!(scene.codes(), [code]);
        fs::remove_file(path).expect("removes");
        assert!(scene.is_open());

        let scene = Scene::with(|builder| builder.unleased_max_age(HOUR));
        scene.lay("ops.json", text);
        assert!(!scene.is_open());
        scene.pass(ALMOST_AN_HOUR);
        assert!(!scene.is_open(), "{text:?}");
        scene.pass(INSTANT);
        assert!(scene.is_open(), "{text:?}");
        assert_eq!(scene.codes(), ["request_outlived"]);
    }
}

/// The promise to all holders is the shortest promise to any of them. TG-S4 quiesced_means_idle.
#[test]
fn quiesced_means_idle() {
    let scene = Scene::new();
    scene
        .gateway
        .begin_drain(&ask("long").with_lease(9 * HOUR).with_hold_internal(true))
        .expect("writes");
    scene
        .gateway
        .begin_drain(&ask("short").with_lease(2 * HOUR).with_hold_internal(true))
        .expect("writes");
    scene.gateway.begin_drain(&ask("plain").with_lease(HOUR)).expect("writes");
    let quiesced = scene.gateway.quiesced().wait().expect("idle and sealed");
    assert_eq!(quiesced.until(), Some(START + 2 * HOUR));
    assert_eq!(quiesced.request_ids().len(), 2, "the third one did not ask for a promise");
    scene.pass(2 * HOUR);
    let quiesced = scene.gateway.quiesced().wait().expect("still sealed for the other");
    assert_eq!(quiesced.until(), Some(START + 9 * HOUR));
}

/// Found in review: a request that was ruined in place lost its lease. With a bound on requests without a lease, the
/// gate reopened an hour before the end of the promise. TG-S4, F9.
#[test]
fn a_ruined_request_is_kept_for_as_long_as_was_promised() {
    let scene = Scene::with(|builder| builder.unleased_max_age(Duration::from_secs(60)));
    scene.gateway.begin_drain(&ask("ci").with_hold_internal(true)).expect("writes");
    let promised = scene.gateway.quiesced().wait().expect("idle and sealed").until();
    assert_eq!(promised, Some(START + HOUR));
    fs::write(&scene.requests()[0], [0, 0]).expect("ruins it");
    scene.gateway.reconcile_now();
    assert_eq!(scene.codes(), ["request_corrupt"]);
    let after = scene.gateway.quiesced().wait().expect("still sealed");
    assert_eq!((after.until(), after.request_ids().len()), (promised, 1));
    scene.pass(ALMOST_AN_HOUR);
    assert!(scene.gateway.admit(Origin::Internal).is_err());
    scene.pass(INSTANT);
    assert!(scene.is_open());
    assert_eq!(scene.codes(), ["request_outlived"]);
}

/// In the shared slot one holder follows another. A controller that gives up cancels its own request, and not its
/// successor. TG-S7.
#[test]
fn giving_up_one_s_own_request_spares_the_one_that_replaced_it() {
    let scene = Scene::new();
    let ours = scene.home.begin_drain(&DrainRequest::new("us")).expect("writes");
    let theirs = scene.home.begin_drain(&DrainRequest::new("them")).expect("writes");
    let cancel = |request: &tidegate::request::Request| {
        scene.home.cancel_request(&Holder::Shared, request.request_id().expect("named"))
    };
    assert!(!cancel(&ours).expect("it is gone"));
    assert!(scene.asks());
    assert!(cancel(&theirs).expect("removes"));
    assert!(!scene.asks());
}

/// Found in review: of two renewals at once, one removed the new request of the other. Both reported success, and no
/// request was left. A cancel in between found nothing. TG-S7, TG-S14.
#[test]
fn one_holder_s_own_processes_do_not_undo_each_other() {
    let scene = Scene::new();
    for round in 0..100 {
        scene.home.begin_drain(&ask("ci")).expect("writes");
        let cancels = round % 2 == 0;
        let (renewed, other) = std::thread::scope(|scope| {
            let renewed = scope.spawn(|| scene.home.renew_drain(&named("ci"), None));
            let other = scope.spawn(|| {
                if cancels {
                    scene.home.cancel_drain(&named("ci"))
                } else {
                    scene.home.renew_drain(&named("ci"), None).map(|_| true)
                }
            });
            (renewed.join().expect("no panic"), other.join().expect("no panic"))
        });
        if cancels {
            assert!(other.expect("removes"), "round {round}: it existed, and was not found");
            assert!(!scene.asks(), "round {round}: a cancel was undone by {renewed:?}");
        } else {
            assert!(renewed.is_ok() && other.is_ok(), "round {round}: {renewed:?} {other:?}");
            assert!(scene.asks(), "round {round}: both renewed, and nobody asks");
        }
        scene.home.cancel_drain(&named("ci")).expect("removes");
    }
}

/// Found in review: a start that was refused changed the mode of the live gateway's lock file, and readers lost it.
/// F17.
#[test]
fn a_second_start_leaves_the_lock_as_it_is() {
    use std::os::unix::fs::PermissionsExt;

    let scene = Scene::with(|builder| builder.mode(0o644));
    let refused = Gateway::builder(scene.home.path()).start().expect_err("it is in use");
    assert!(matches!(refused, tidegate::StartError::HomeInUse { .. }), "{refused}");
    let lock = fs::metadata(scene.home.lock_path()).expect("exists");
    assert_eq!(lock.permissions().mode() & 0o777, 0o644);
}

/// Found in review: a request that could not be read was taken to be gone. TG-S14.
#[test]
fn a_renewal_that_cannot_see_its_request_does_not_call_it_lost() {
    let scene = Scene::new();
    fs::create_dir(scene.home.requests_path().join("ci.1.json")).expect("mkdir");
    let error = scene.home.renew_drain(&named("ci"), None).expect_err("it cannot be read");
    assert!(matches!(error, ControlError::Indeterminate { .. }), "{error}");
    assert!(error.to_string().contains("found a directory instead"), "{error}");
    let error = scene.home.renew_drain(&named("ops"), None).expect_err("that is another's");
    assert!(matches!(error, ControlError::NoLiveRequest { .. }), "{error}");

    fs::create_dir(scene.home.marker_path()).expect("mkdir");
    let error = scene.home.cancel_request(&Holder::Shared, "x").expect_err("its owner is unknown");
    assert!(matches!(error, ControlError::Indeterminate { .. }), "{error}");
}

/// Found in review: a file that a person writes to again is not a new file. It was swept although it was live again.
#[test]
fn what_was_written_to_since_it_was_dead_is_not_swept() {
    let scene = Scene::with(|builder| builder.unleased_max_age(HOUR));
    let path = scene.lay("ops.json", "{}");
    scene.gateway.reconcile_now();
    scene.pass(HOUR);
    assert!(scene.is_open());
    fs::write(&path, r#"{"principal":"again"}"#).expect("writes");
    scene.pass(2 * HOUR);
    assert!(path.exists());
    assert!(!scene.is_open());
}

/// Operators request a drain with `touch`, and that is not a fault. Emptying a request that holds internal work is a
/// fault, and breaks no promise (F9).
#[test]
fn an_empty_marker_is_an_unleased_request_and_over_a_live_one_it_is_ruined() {
    let scene = Scene::new();
    fs::write(scene.home.marker_path(), "").expect("touches");
    assert!(!scene.is_open());
    assert_eq!(scene.codes(), ["request_unleased"]);
    assert!(scene.gateway.cancel_drain(&Holder::Shared).expect("removes"));

    let ask = DrainRequest::new("ops").with_hold_internal(true);
    scene.gateway.begin_drain(&ask).expect("writes");
    let until = scene.gateway.quiesced().wait().expect("sealed").until();
    fs::write(scene.home.marker_path(), "").expect("truncates");
    scene.gateway.reconcile_now();
    assert_eq!(scene.codes(), ["request_corrupt"]);
    assert_eq!(scene.gateway.quiesced().wait().expect("still sealed").until(), until);
}

/// The id of a named request is in the name of its file. An id that another request states does not count (TG-S5,
/// TG-S14).
#[test]
fn nobody_can_claim_another_s_request_id() {
    let scene = Scene::new();
    let receipt = scene.gateway.begin_drain(&ask("ci").with_hold_internal(true)).expect("writes");
    let id = receipt.request.request_id().expect("named").to_owned();
    let claim = format!(r#"{{"request_id":"{id}"}}"#);
    for name in ["aa.1.json", "zz.1.json", "by-hand.json"] {
        scene.lay(name, &claim);
    }
    fs::write(scene.home.marker_path(), &claim).expect("writes");
    scene.gateway.reconcile_now();
    let ci = named("ci");
    let reading = scene.home.status().expect("reads");
    assert!(reading.is_draining_for(&ci, &id) && reading.is_quiesced_for(&ci, &id));
    assert!(!reading.is_draining_for(&named("aa"), &id), "a claim is no request of that name");
    assert_eq!(
        scene.gateway.quiesced().wait().expect("sealed").request_ids(),
        std::slice::from_ref(&id)
    );

    scene.gateway.cancel_drain(&ci).expect("removes");
    let reading = scene.home.status().expect("reads");
    assert!(!reading.is_draining_for(&ci, &id), "it is gone, whatever others state");
}

/// Expired requests are swept within minutes, and those of another epoch after an hour.
#[test]
fn what_has_run_out_is_swept_soon() {
    let scene = Scene::new();
    for number in 0..700 {
        let holder = named(&format!("brief{number}"));
        let ask = DrainRequest::new("ci").with_holder(holder).with_lease(Duration::from_secs(1));
        scene.home.begin_drain(&ask).expect("writes");
    }
    // One with a lease, which the gateway counts down on its own clock, and one without.
    let leased = r#"{"epoch":"other-boot:7","lease_s":60,"requested_at":"2023-11-14T22:13:20Z"}"#;
    scene.lay("cash.1.json", leased);
    scene.lay("dash.1.json", r#"{"epoch":"other-boot:7"}"#);
    // The requests have the time of the system's clock, which moved while they were written.
    scene.pass(Duration::from_secs(30));
    assert!(scene.is_open());
    assert_eq!(scene.requests().len(), 702, "they are reported first");
    for _ in 0..3 {
        scene.pass(Duration::from_secs(61));
    }
    assert_eq!(scene.requests().len(), 2, "{:?}", scene.requests());
    assert_eq!(scene.codes(), ["request_of_other_epoch"; 2]);
    for _ in 0..2 {
        scene.pass(HOUR);
        scene.gateway.reconcile_now();
    }
    assert!(scene.requests().is_empty(), "{:?}", scene.requests());
}

/// 348 drafts of killed writers were never swept. A dead request is reported before it is swept. U36.
#[test]
fn what_is_dead_is_swept_after_it_was_told_of_and_what_lives_is_not() {
    let scene = Scene::new();
    scene.gateway.begin_drain(&ask("dead").with_lease(HOUR)).expect("writes");
    scene.gateway.begin_drain(&ask("live").with_lease(99 * HOUR)).expect("writes");
    let shared = scene.home.marker_path();
    fs::write(&shared, r#"{"epoch":"other-boot:7"}"#).expect("writes");
    let old = SystemTime::now() - 2 * HOUR;
    let draft = scene.lay(".dead.1.json.abc123.tmp", "{");
    fs::File::options().write(true).open(&draft).expect("opens").set_modified(old).expect("dates");
    let young = scene.lay(".live.1.json.abc124.tmp", "{");
    scene.pass(HOUR + Duration::from_secs(1));
    assert_eq!(scene.codes(), ["request_of_other_epoch", "request_expired"]);
    assert_eq!(scene.requests().len(), 3, "the old draft is gone: {:?}", scene.requests());
    scene.pass(HOUR + Duration::from_secs(1));
    scene.gateway.reconcile_now();
    assert!(young.exists());
    assert!(shared.exists(), "the shared slot is never swept");
    assert_eq!(scene.requests().len(), 2, "{:?}", scene.requests());
    assert_eq!(scene.codes(), ["request_of_other_epoch"]);
    assert_eq!(scene.holders(), ["live"]);
}

/// A cancel that could not remove the file reported success. U8, U38.
#[test]
fn a_cancel_that_fails_says_so_and_takes_the_rest() {
    let scene = Scene::new();
    scene.home.begin_drain(&ask("ci")).expect("writes");
    fs::create_dir(scene.home.requests_path().join("ci.stuck.json")).expect("mkdir");
    let error = scene.home.cancel_drain(&named("ci")).expect_err("a directory is no request");
    assert!(matches!(error, ControlError::NotRemoved { .. }), "{error}");
    assert!(error.to_string().contains("ci.stuck.json"), "{error}");
    assert_eq!(scene.requests().len(), 1);
}

#[test]
fn modes_are_as_asked_whatever_the_umask() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let mode =
        |path: &std::path::Path| fs::metadata(path).expect("exists").permissions().mode() & 0o777;
    let scene = Scene::new();
    scene.home.begin_drain(&ask("ci")).expect("writes");
    assert_eq!(mode(&scene.requests()[0]), 0o600);
    assert_eq!(mode(&scene.home.status_path()), 0o600);

    assert_eq!(mode(&scene.home.lock_path()), 0o600);

    let scene = Scene::with(|builder| builder.mode(0o640));
    scene.home.clone().with_mode(0o644).begin_drain(&ask("ci")).expect("writes");
    assert_eq!(mode(&scene.requests()[0]), 0o644);
    assert_eq!(mode(&scene.home.status_path()), 0o640);
    assert_eq!(
        mode(&scene.home.lock_path()),
        0o640,
        "a reader of the status must see whether a gateway lives"
    );

    // A user who may create the shared marker may create named requests, in any order.
    let dir = tempfile::tempdir().expect("temp dir");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o2770)).expect("permits");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).expect("gives away");
    }
    let home = Home::at(dir.path());
    home.begin_drain(&ask("ci")).expect("writes");
    let [around, within] =
        [dir.path(), &home.requests_path()].map(|it| fs::metadata(it).expect("exists"));
    assert_eq!(within.permissions(), around.permissions());
    assert_eq!((within.uid(), within.gid()), (around.uid(), around.gid()));
}
