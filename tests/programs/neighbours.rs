//! A foreign gateway on the same home. A thread plays the original implementation, as recorded in `tests/vectors`: it
//! holds the original's lock, reads the marker by its rules and writes its status.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use tidegate::epoch::Epoch;
use tidegate::home::Home;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{ControlError, Gateway, StartError};

/// Turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// The original's gateway, as its readers and its marker see it.
struct Original {
    home: PathBuf,
    agents: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
    _lock: File,
}

/// Whether the marker is a drain for the original: it exists, has no other epoch, and is no older than an hour by its
/// stamp.
fn original_drains(home: &Path) -> bool {
    let Ok(bytes) = fs::read(home.join(".drain_request.json")) else { return false };
    let marker: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let (own, stated) = (Epoch::current(), marker["epoch"].as_str().unwrap_or_default().to_owned());
    let is_stale = !own.is_unknown() && !stated.is_empty() && stated != own.as_str();
    let stamp = marker["requested_at"].as_str().unwrap_or_default().to_owned();
    let age = chrono::DateTime::parse_from_rfc3339(&stamp)
        .map(|made| (chrono::Utc::now() - made.to_utc()).num_seconds());
    !is_stale && !age.is_ok_and(|age| age > 3600)
}

impl Original {
    fn start(home: &Path) -> Original {
        let lock = File::create(home.join("gateway.lock")).expect("makes");
        flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("free");
        let record = json!({"pid": std::process::id(), "kind": "hermes-gateway"});
        fs::write(home.join("gateway.lock"), record.to_string()).expect("writes");
        let (agents, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (path, counts, stops) = (home.to_owned(), Arc::clone(&agents), Arc::clone(&ends));
        let mut said = None;
        let mut tick = move || {
            let state = if original_drains(&path) { "draining" } else { "running" };
            let says = (state, counts.load(Ordering::SeqCst));
            if said == Some(says) {
                return;
            }
            let status = json!({
                "pid": std::process::id(), "kind": "hermes-gateway", "argv": [], "start_time": 1,
                "gateway_state": state, "exit_reason": null, "restart_requested": false,
                "active_agents": says.1, "platforms": {},
                "updated_at": chrono::Utc::now().to_rfc3339(),
            });
            let draft = path.join("draft");
            fs::write(&draft, status.to_string()).expect("writes");
            fs::rename(&draft, path.join("gateway_state.json")).expect("renames");
            said = Some(says);
        };
        tick();
        let watcher = std::thread::spawn(move || {
            while !stops.load(Ordering::SeqCst) {
                tick();
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        let (home, watcher) = (home.to_owned(), Some(watcher));
        Original { home, agents, ends, watcher, _lock: lock }
    }

    fn says(&self) -> String {
        let bytes = fs::read(self.home.join("gateway_state.json")).expect("reads");
        let status: Value = serde_json::from_slice(&bytes).expect("whole");
        status["gateway_state"].as_str().expect("a word").to_owned()
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = self.watcher.take().map(JoinHandle::join);
    }
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what} never came");
        std::thread::yield_now();
    }
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).arg("--json").arg("--home").arg(home);
    command.output().expect("the command runs")
}

#[track_caller]
fn answer(output: &Output, code: i32) -> Value {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

#[test]
fn ours_does_not_start_beside_it_and_says_which_it_is() {
    let dir = tempfile::tempdir().expect("temp dir");
    let original = Original::start(dir.path());
    let before = fs::read(dir.path().join("gateway_state.json")).expect("reads");
    let error = Gateway::builder(dir.path()).start().expect_err("one lives");
    let StartError::HomeInUseByForeignGateway { pid, .. } = &error else { panic!("{error}") };
    assert_eq!(*pid, Some(std::process::id()));
    assert!(error.to_string().contains("gateway.lock"), "{error}");
    assert_eq!(fs::read(dir.path().join("gateway_state.json")).expect("reads"), before);
    drop(original);
    Gateway::builder(dir.path()).start().expect("it is gone, though its lock file is there");
}

/// Found in review: a process that only shares the lock is not a foreign gateway. A live gateway of ours is not one
/// either.
#[test]
fn what_is_no_gateway_of_another_make_is_not_taken_for_one() {
    let dir = tempfile::tempdir().expect("temp dir");
    let lock = File::create(dir.path().join("gateway.lock")).expect("makes");
    flock(&lock, FlockOperation::NonBlockingLockShared).expect("free");
    let gateway = Gateway::builder(dir.path()).start();
    if gateway.is_err() {
        println!("the list of locks is not whole in this pid namespace; not tried");
        return;
    }
    let gateway = gateway.expect("starts");
    flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("taken");
    let home = Home::at(dir.path());
    let named = DrainRequest::new("ci").with_holder(Holder::named("ci").expect("a name"));
    home.begin_drain(&named.with_this_run(true)).expect("ours lives");
    let reading = home.status().expect("reads");
    assert!(reading.is_alive() && !reading.is_foreign());
    drop(gateway);
    // The status that ours left behind is not taken for the other gateway's.
    let reading = home.status().expect("reads");
    assert!(reading.is_foreign() && !reading.is_alive() && !reading.is_quiesced());
}

#[test]
fn the_command_goes_by_its_rules() {
    let dir = tempfile::tempdir().expect("temp dir");
    let original = Original::start(dir.path());
    original.agents.store(1, Ordering::SeqCst);
    until("its count", || answer(&run(dir.path(), &["status"]), 0)["active_agents"] == 1);
    let status = answer(&run(dir.path(), &["status"]), 0);
    for said in ["alive", "busy", "drainable", "other_make"] {
        assert_eq!(status[said], true, "{said}: {status}");
    }

    // The original knows no holders, runs or promises. So the command refuses these before it writes anything.
    for arguments in [
        &["drain", "--holder", "ci"][..],
        &["drain", "--this-run"],
        &["drain", "--wait"],
        &["drain", "--holder", "ci", "--wait", "--idle-is-enough"],
    ] {
        let refused = run(dir.path(), arguments);
        answer(&refused, 4);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(told.contains("another implementation"), "{arguments:?}: {told}");
    }
    let left = fs::read_dir(dir.path()).expect("lists").map(|it| it.expect("an entry").file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().contains("drain")));

    // The lease is at most the original's hour, and the answer says when it ends.
    let drained = answer(&run(dir.path(), &["drain", "--lease", "10h"]), 0);
    assert_eq!(drained["draining"], true, "{drained}");
    let ends =
        drained["lease_ends_at"].as_str().expect("a time").parse::<chrono::DateTime<chrono::Utc>>();
    let left = ends.expect("a time") - chrono::Utc::now();
    assert!((3500..=3600).contains(&left.num_seconds()), "{drained}");
    assert_eq!(original.says(), "draining");

    // For the original, idle means draining with no agents.
    let arguments = ["drain", "--wait", "--idle-is-enough", "--timeout", "1ms"];
    answer(&run(dir.path(), &arguments), 3);
    original.agents.store(0, Ordering::SeqCst);
    let arguments = ["drain", "--wait", "--idle-is-enough", "--timeout", "30s"];
    let waited = answer(&run(dir.path(), &arguments), 0);
    assert_eq!((&waited["draining"], &waited["quiesced"]), (&true.into(), &false.into()));
    let renewed = answer(&run(dir.path(), &["renew"]), 0);
    assert!(renewed["request_id"].is_string());
    assert_eq!(answer(&run(dir.path(), &["cancel"]), 0)["was_draining"], true);
    until("its end", || original.says() == "running");
}

/// A mixed fleet: gateways of both implementations. Drains begin and end at random from both sides, and each round
/// waits until the gateway agrees. `TIDEGATE_SEED` repeats a run.
#[test]
fn a_mixed_fleet_agrees_and_nothing_is_stuck_or_left() {
    const ROUNDS: u32 = 500;
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("TIDEGATE_SEED={seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().expect("temp dir")).collect();
    let originals: Vec<Original> =
        dirs[..2].iter().map(|dir| Original::start(dir.path())).collect();
    let start = |dir: &tempfile::TempDir| {
        let interval = Duration::from_millis(1);
        Gateway::builder(dir.path()).interval(interval).start().expect("starts")
    };
    let ours: Vec<Gateway> = dirs[2..].iter().map(start).collect();
    let drains = |at: usize| match at {
        0 | 1 => originals[at].says() == "draining",
        _ => !ours[at - 2].is_ready(),
    };
    let named = Holder::named("ci").expect("a name");
    for round in 0..ROUNDS {
        let at = dice.usize(..dirs.len());
        let (path, home) = (dirs[at].path(), Home::at(dirs[at].path()));
        let marker = home.marker_path();
        match dice.u32(..6) {
            // Our side begins, the original's side begins, and each side cancels.
            0 => drop(home.begin_drain(&DrainRequest::new("ours")).expect("writes")),
            1 => {
                let marker_text = json!({
                    "action": "drain", "requested_at": chrono::Utc::now().to_rfc3339(),
                    "principal": "drain-control", "epoch": Epoch::current().as_str(),
                    "suppress_notification": false,
                });
                fs::write(path.join("draft"), marker_text.to_string()).expect("writes");
                fs::rename(path.join("draft"), &marker).expect("renames");
            }
            2 => drop(home.cancel_drain(&Holder::Shared).expect("removes")),
            3 => drop(fs::remove_file(&marker)),
            4 => match home.begin_drain(&DrainRequest::new("ours").with_holder(named.clone())) {
                Ok(_) => assert!(at >= 2, "round {round}"),
                Err(ControlError::ForeignGateway { .. }) => assert!(at < 2, "round {round}"),
                Err(error) => panic!("round {round}: {error}"),
            },
            _ => drop(home.cancel_drain(&named).expect("removes")),
        }
        // Our reader of the home and its gateway agree, for both implementations.
        let asked = home.observe().verdict().asks_for_drain();
        until(&format!("round {round}: agreement"), || drains(at) == asked);
        if at < 2 {
            assert_eq!(original_drains(path), asked, "round {round}");
        }
    }
    for (at, dir) in dirs.iter().enumerate() {
        let home = Home::at(dir.path());
        let (_, result) = home.cancel_all("the end");
        result.expect("removes");
        until("the end", || !drains(at));
        assert!(!home.marker_path().exists());
        let left = fs::read_dir(home.requests_path()).map(Iterator::count).unwrap_or_default();
        assert_eq!(left, 0);
    }
}

/// For the original's readers, a status that was not written for minutes is stale.
#[test]
fn a_status_is_written_again_each_minute() {
    let dir = tempfile::tempdir().expect("temp dir");
    let now = tidegate::epoch::Now::from_system_clock();
    let clock = tidegate::epoch::ManualClock::at(now);
    let interval = Duration::from_millis(1);
    let gateway = Gateway::builder(dir.path()).interval(interval).clock(clock.clone()).start();
    let gateway = gateway.expect("starts");
    let sequence = || {
        let reading = Home::at(dir.path()).status().expect("reads");
        reading.body().read::<u64>("sequence").expect("a number")
    };
    let first = sequence();
    clock.advance(Duration::from_secs(59));
    gateway.reconcile_now();
    assert_eq!(sequence(), first, "nothing has changed");
    for minute in 1..4 {
        clock.advance(Duration::from_secs(60));
        until("a heartbeat", || sequence() == first + minute);
    }
}
