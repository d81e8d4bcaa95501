//! Scenarios: one process with real threads, small enough to try every schedule up to a number of preemptions. The
//! monitors judge its log. What only the scenario can see, it checks itself.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use tidegate::home::Home;
use tidegate::machine::{Phase, ShutdownCause};
use tidegate::pending::{Goal, PAUSE, PendingDrain, WaitFailed};
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Ended, Gateway, Origin};
use tidegate_world::disk::DiskProperties;
use tidegate_world::log::tell;
use tidegate_world::process::{self, ProcessId, ProcessSpec};
use tidegate_world::sync::mpsc;
use tidegate_world::{disk, host, thread};

use crate::monitors::names;
use crate::script::{PersonAction, RequestedBy};
use crate::setting::Setting;
use crate::world::{
    AWAY, Answer, Call, HOME, MARKER, STATUS, ScriptEvent, Waiting, builder, call, home_is_made,
    shell, stripes,
};

/// A scenario: a small program whose schedules are tried.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What happens in it.
    pub name: &'static str,
    /// The largest number of preemptions that is tried.
    pub preemptions: u32,
    /// Whether its gateway has files.
    pub has_files: bool,
    run: fn(),
}

/// All scenarios.
pub const ALL: [Scenario; 26] = [
    Scenario {
        name: "two last turns end on two stripes while a thread waits for quiesced",
        preemptions: 3,
        has_files: false,
        run: last_turns,
    },
    Scenario {
        name: "the last turn ends while a thread waits for quiesced",
        preemptions: 3,
        has_files: false,
        run: last_turn,
    },
    Scenario {
        name: "two threads reconcile at once",
        preemptions: 2,
        has_files: false,
        run: two_callers,
    },
    Scenario {
        name: "a drain begins while a thread reads the phase",
        preemptions: 2,
        has_files: false,
        run: begin_and_read,
    },
    Scenario {
        name: "a drain begins during a shutdown",
        preemptions: 2,
        has_files: false,
        run: begin_and_shut,
    },
    Scenario {
        name: "the gate reopens while a thread waits for it",
        preemptions: 2,
        has_files: false,
        run: reopening,
    },
    Scenario {
        name: "the last turn ends during a shutdown",
        preemptions: 2,
        has_files: false,
        run: shutdown,
    },
    Scenario {
        name: "the last turn ends at the deadline",
        preemptions: 2,
        has_files: false,
        run: deadline,
    },
    Scenario {
        name: "a turn does not end before the deadline",
        preemptions: 2,
        has_files: false,
        run: wedged,
    },
    Scenario {
        name: "two threads publish the status",
        preemptions: 1,
        has_files: true,
        run: publishers,
    },
    Scenario {
        name: "the last handle is dropped while the watcher runs",
        preemptions: 1,
        has_files: true,
        run: last_handle,
    },
    Scenario {
        name: "a gateway stops, and the next one starts",
        preemptions: 1,
        has_files: true,
        run: restart,
    },
    Scenario {
        name: "the clock is set back before a request",
        preemptions: 0,
        has_files: true,
        run: clock_set_back,
    },
    Scenario {
        name: "a directory whose times never change",
        preemptions: 0,
        has_files: true,
        run: times_do_not_tell,
    },
    Scenario {
        name: "a gateway starts within a promise, unable to read",
        preemptions: 0,
        has_files: true,
        run: blind_start,
    },
    Scenario {
        name: "turns end after the deadline",
        preemptions: 0,
        has_files: true,
        run: late_turns,
    },
    Scenario {
        name: "a wait with a timeout, and a cancel by id",
        preemptions: 0,
        has_files: true,
        run: timeouts_and_ids,
    },
    Scenario {
        name: "the lock file is removed during a wait",
        preemptions: 0,
        has_files: true,
        run: lock_removed,
    },
    Scenario {
        name: "another process takes the lock file",
        preemptions: 0,
        has_files: true,
        run: lock_taken,
    },
    Scenario {
        name: "the home's name leads to another directory",
        preemptions: 0,
        has_files: true,
        run: name_leads_elsewhere,
    },
    Scenario {
        name: "a gateway is killed and restarted during a wait",
        preemptions: 0,
        has_files: true,
        run: successor,
    },
    Scenario {
        name: "a controller runs in another container",
        preemptions: 0,
        has_files: true,
        run: another_container,
    },
    Scenario {
        name: "a controller has another boot clock",
        preemptions: 0,
        has_files: true,
        run: another_clock,
    },
    Scenario {
        name: "a request for one run, and the next start",
        preemptions: 0,
        has_files: true,
        run: this_run,
    },
    Scenario {
        name: "a foreign gateway runs on the same home",
        preemptions: 0,
        has_files: true,
        run: neighbour,
    },
    Scenario {
        name: "a request is written while the gateway is replaced",
        preemptions: 1,
        has_files: true,
        run: replaced,
    },
];

impl Scenario {
    /// What is known of this scenario besides its log.
    pub fn setting(self) -> Setting {
        let (interval, has_files) = (Duration::from_secs(1), self.has_files);
        Setting { interval, is_calm: true, reads_all: true, has_files }
    }

    /// Runs it, in the process of a gateway.
    pub fn play(self) {
        home_is_made();
        let process = process::spawn(a_gateway(), self.run);
        let has_ended = process::wait_for(process, Duration::from_secs(600));
        must(has_ended, names::GOES_ON, "the scenario does not end: a thread waits for ever");
    }
}

fn a_gateway() -> ProcessSpec {
    ProcessSpec {
        name: "gateway".to_owned(),
        container: 1,
        kill_after_steps: None,
        is_exposed: false,
    }
}

/// A gateway that lives until it is killed, in this container.
fn living(container: u64) -> ProcessId {
    process::spawn(ProcessSpec { container, ..a_gateway() }, || {
        let Ok(_gateway) = builder().start() else { return };
        thread::sleep(Duration::from_secs(3600));
    })
}

/// Runs this as a controller in this container, and waits for its end.
fn in_container(container: u64, run: impl FnOnce() + Send + 'static) {
    let name = "controller".to_owned();
    let spec = ProcessSpec { name, container, kill_after_steps: None, is_exposed: false };
    process::wait_for(process::spawn(spec, run), Duration::from_secs(600));
}

fn kill(gateway: ProcessId) {
    process::kill(gateway);
    process::wait_for(gateway, Duration::from_secs(1));
}

fn must(holds: bool, property: &'static str, saw: &str) {
    if !holds {
        tell(ScriptEvent::Broken(property, saw.to_owned()));
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(run)
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in threads {
        let _ = thread.join();
    }
}

/// A gateway without files that is driven by hand: no thread of its own helps.
fn by_hand() -> Option<Gateway> {
    Gateway::in_memory().stripes(stripes()).manual().start().ok()
}

fn begin(gateway: &Gateway, hold: bool) {
    let _ = gateway.begin_drain(&DrainRequest::default().with_hold_internal(hold));
}

fn last_turn() {
    let Some(gateway) = by_hand() else { return };
    let turn = gateway.admit(Origin::User);
    begin(&gateway, true);
    let waits = gateway.clone();
    let waiter = spawn(move || drop(waits.quiesced().wait()));
    let worker = spawn(move || drop(turn));
    join([waiter, worker]);
}

fn last_turns() {
    let Some(gateway) = by_hand() else { return };
    let first = gateway.admit(Origin::User);
    // Another thread has another stripe.
    let (send, receive) = mpsc::channel();
    let admits = gateway.clone();
    join([spawn(move || drop(send.send(admits.admit(Origin::User))))]);
    let second = receive.recv();
    begin(&gateway, true);
    let waits = gateway.clone();
    let waiter = spawn(move || drop(waits.quiesced().wait()));
    let workers = [spawn(move || drop(first)), spawn(move || drop(second))];
    join(workers.into_iter().chain([waiter]));
}

fn two_callers() {
    let Some(gateway) = by_hand() else { return };
    let callers = [gateway.clone(), gateway.clone()].map(|gateway| {
        spawn(move || call(Call::Reconcile, || gateway.reconcile_now(), |()| Answer::Done))
    });
    join(callers);
}

fn begin_and_read() {
    let Some(gateway) = by_hand() else { return };
    let (begins, reads) = (gateway.clone(), gateway.clone());
    let begins = spawn(move || begin(&begins, false));
    let reads = spawn(move || {
        let says = reads.phase();
        let is_let_in = reads.admit(Origin::User).is_ok();
        let is_true = says != Phase::ExternallyDraining || !is_let_in;
        must(
            is_true,
            names::ACK_MEANS_CLOSED,
            "the phase is draining, but a user turn is admitted",
        );
    });
    join([begins, reads]);
}

fn begin_and_shut() {
    let Some(gateway) = by_hand() else { return };
    let mut changes = gateway.changes();
    let (begins, shuts) = (gateway.clone(), gateway.clone());
    let begins = spawn(move || begin(&begins, false));
    let shuts = spawn(move || {
        let ended = shuts.shut_down(ShutdownCause::Operator, Duration::ZERO).wait();
        must(
            ended == Ended::Clean,
            names::RECEIPT_IS_TRUE,
            "a shutdown without turns did not end clean",
        );
    });
    join([begins, shuts]);
    must(!gateway.is_ready(), names::SHUTDOWN_WINS, "the gateway is ready after a shutdown");
    let mut at = Phase::Running;
    while let Some(change) = changes.recv() {
        must(
            change.from == at,
            names::RECEIPT_IS_TRUE,
            "a change does not begin with the phase before it",
        );
        at = change.to;
    }
}

fn reopening() {
    let Some(gateway) = by_hand() else { return };
    begin(&gateway, false);
    let (waits, cancels) = (gateway.clone(), gateway.clone());
    let waits = spawn(move || {
        let admit = || gateway_admits(&waits);
        call(Call::Wait(Waiting::Open), admit, |()| Answer::Done);
    });
    let cancels = spawn(move || drop(cancels.cancel_drain(&Holder::Shared)));
    join([waits, cancels]);
}

fn gateway_admits(gateway: &Gateway) {
    drop(gateway.admit_when_open(Origin::User).wait());
}

fn shutdown() {
    let Some(gateway) = by_hand() else { return };
    let turn = gateway.admit(Origin::User);
    let shuts = gateway.clone();
    let shuts = spawn(move || {
        let grace = Duration::from_secs(3600);
        let ended = shuts.shut_down(ShutdownCause::Operator, grace).wait();
        must(
            ended == Ended::Clean,
            names::RECEIPT_IS_TRUE,
            "the shutdown did not wait for the turn",
        );
    });
    let worker = spawn(move || drop(turn));
    join([shuts, worker]);
}

fn deadline() {
    let Some(gateway) = by_hand() else { return };
    let turn = gateway.admit(Origin::User);
    let grace = Duration::from_secs(2);
    let shut = || gateway.shut_down(ShutdownCause::Operator, grace).wait();
    let worker = spawn(move || {
        thread::sleep(Duration::from_secs(2));
        drop(turn);
    });
    let _ = call(Call::ShutDown(grace), shut, |ended| Answer::Ended(*ended));
    join([worker]);
}

fn wedged() {
    let Some(gateway) = by_hand() else { return };
    let turn = gateway.admit(Origin::User);
    let grace = Duration::from_secs(2);
    let shut = || gateway.shut_down(ShutdownCause::Operator, grace).wait();
    let _ = call(Call::ShutDown(grace), shut, |ended| Answer::Ended(*ended));
    drop(turn);
}

fn publishers() {
    let started = builder().manual().start();
    let Ok(gateway) = started else { return };
    let turn = gateway.admit(Origin::User);
    let home = Home::at(HOME);
    let _ = home.begin_drain(&DrainRequest::default());
    let callers = [gateway.clone(), gateway.clone()].map(|gateway| {
        spawn(move || call(Call::Reconcile, || gateway.reconcile_now(), |()| Answer::Done))
    });
    let worker = spawn(move || drop(turn));
    join(callers.into_iter().chain([worker]));
    gateway.reconcile_now();
    tell(ScriptEvent::Settled);
}

fn last_handle() {
    let Ok(gateway) = builder().start() else { return };
    let turn = gateway.admit(Origin::User);
    let worker = spawn(move || drop(turn));
    call(Call::Drop, || drop(gateway), |()| Answer::Done);
    join([worker]);
    let says = disk::bytes_at(Path::new(HOME), STATUS);
    let is_stopped = says.is_some_and(|it| String::from_utf8_lossy(&it).contains("\"stopped\""));
    must(
        is_stopped,
        names::FAITHFUL,
        "the last handle is dropped, but the last status is not written",
    );
}

fn restart() {
    let Ok(gateway) = builder().start() else { return };
    let shuts = gateway.clone();
    let ended = shuts.shut_down(ShutdownCause::Operator, Duration::ZERO).wait();
    must(
        ended == Ended::Clean,
        names::RECEIPT_IS_TRUE,
        "a shutdown without turns did not end clean",
    );
    drop((shuts, gateway));
    let again = process::spawn(a_gateway(), || {
        let again = builder().manual().start();
        must(again.is_ok(), names::STOPS, "the next gateway cannot start on the home");
    });
    process::wait_for(again, Duration::from_secs(600));
}

/// The directory gets the same time from the request that it had before.
fn clock_set_back() {
    disk::set_properties(DiskProperties { tick_ns: 2_000_000_000, ..DiskProperties::LOCAL });
    sees_in_two_ticks(|| host::step_wall(-4500));
}

fn times_do_not_tell() {
    disk::set_properties(DiskProperties {
        is_known: false,
        times_move: false,
        ..DiskProperties::LOCAL
    });
    sees_in_two_ticks(|| {});
}

fn sees_in_two_ticks(first: impl FnOnce()) {
    let Ok(gateway) = builder().start() else { return };
    thread::sleep(Duration::from_secs(5));
    first();
    let holder = RequestedBy::Named(0).holder();
    let _ = Home::at(HOME).begin_drain(&DrainRequest::default().with_holder(holder));
    thread::sleep(Duration::from_secs(2));
    must(
        !gateway.is_ready(),
        names::CLOSES,
        "a request exists for two ticks, but the gateway is ready",
    );
}

/// A promise to a controller also holds if the next gateway cannot read the request.
fn blind_start() {
    let first = process::spawn(a_gateway(), || {
        let Ok(gateway) = builder().start() else { return };
        begin(&gateway, true);
        thread::sleep(Duration::from_secs(3600));
    });
    thread::sleep(Duration::from_secs(3));
    process::kill(first);
    process::wait_for(first, Duration::from_secs(1));
    shell(PersonAction::RemovesMarker);
    shell(PersonAction::LaysFifo);
    let Ok(gateway) = builder().start() else { return };
    let is_let_in = gateway.admit(Origin::Internal).is_ok();
    must(!is_let_in, names::QUIESCED_MEANS_IDLE, "internal work is admitted within a promise");
}

/// The last status counts the turns still in flight. As they end, it is corrected.
fn late_turns() {
    let Ok(gateway) = builder().start() else { return };
    let turns = [gateway.admit(Origin::User), gateway.admit(Origin::Internal)];
    let ended = gateway.shut_down(ShutdownCause::Operator, Duration::from_secs(1)).wait();
    must(
        ended == Ended::TimedOut { in_flight: 2 },
        names::RECEIPT_IS_TRUE,
        "two turns are in flight, but the shutdown does not report them",
    );
    for (turn, left) in turns.into_iter().zip([1, 0]) {
        drop(turn);
        thread::sleep(Duration::from_secs(3));
        let says = disk::bytes_at(Path::new(HOME), STATUS);
        let said = says.and_then(|it| serde_json::from_slice::<serde_json::Value>(&it).ok());
        let counts = said.and_then(|it| it["active_agents"].as_u64());
        must(
            counts == Some(left),
            names::FAITHFUL,
            "the last status miscounts the turns in flight",
        );
    }
}

/// A wait that times out can be continued, and the cancel of another request does not cancel this one.
fn timeouts_and_ids() {
    let Ok(gateway) = builder().start() else { return };
    let turn = gateway.admit(Origin::User);
    let holder = RequestedBy::Named(0).holder();
    let begun = gateway.begin_drain(&DrainRequest::default().with_holder(holder.clone()));
    let Ok(receipt) = begun else { return };
    let mut idle = gateway.idle();
    let began = host::uptime();
    must(
        idle.wait_timeout(Duration::from_secs(2)).is_none(),
        names::DRAINS,
        "a wait for idle ended while a turn was in flight",
    );
    let waited = host::uptime().saturating_sub(began);
    must(
        waited == Duration::from_secs(2),
        names::DRAINS,
        "a wait did not last as long as its timeout",
    );
    drop(turn);
    must(
        idle.wait_timeout(Duration::from_secs(2)).is_some(),
        names::DRAINS,
        "a wait for idle timed out, but the gateway is idle",
    );
    let cancel = |id: &str| gateway.cancel_request(&holder, id).ok();
    must(
        cancel("another") == Some(false),
        names::RECEIPT_IS_TRUE,
        "the cancel of an unknown id did not answer false",
    );
    must(!gateway.is_ready(), names::HELD_BY_EACH, "the request exists, but the gateway is ready");
    let id = receipt.request.request_id().unwrap_or_default();
    let cancels = || cancel(id);
    let cancelled = call(Call::Cancel(RequestedBy::Named(0)), cancels, |_| Answer::Done);
    must(
        cancelled == Some(true),
        names::RECEIPT_IS_TRUE,
        "the cancel of an existing request did not answer true",
    );
    must(gateway.is_ready(), names::REOPENS, "no request is left, but the gateway is not ready");
}

/// One look of a waiter, and then the pause until the next.
fn look(drain: &mut PendingDrain<'_>, goal: Goal) -> Result<bool, WaitFailed> {
    let looked = Home::at(HOME).check_drain(drain, goal)?;
    thread::sleep(PAUSE);
    Ok(looked.0.is_some())
}

/// The gateway stays alive and keeps others out. A waiter goes on waiting.
fn lock_removed() {
    let Ok(gateway) = builder().start() else { return };
    let turn = gateway.admit(Origin::User);
    let (home, holder) = (Home::at(HOME), RequestedBy::Named(0).holder());
    let ask = DrainRequest::default().with_holder(holder.clone()).with_hold_internal(true);
    let Ok(request) = home.begin_drain(&ask) else { return };
    let mut drain = PendingDrain::new(&holder, &request);
    for after in 0..150 {
        if after == 70 {
            shell(PersonAction::RemovesLock);
            let other = builder().start();
            must(
                other.is_err(),
                names::FAITHFUL,
                "a second gateway starts while the first is alive",
            );
        }
        let looked = look(&mut drain, Goal::Quiesced);
        must(looked.is_ok(), names::FAITHFUL, "a wait fails, but the gateway is alive");
        must(
            !matches!(looked, Ok(true)),
            names::QUIESCED_MEANS_IDLE,
            "a wait for quiesced ended while a turn was in flight",
        );
    }
    let says = home.status();
    let is_alive = says.is_ok_and(|it| it.is_alive());
    must(
        is_alive,
        names::FAITHFUL,
        "the gateway is alive, but is reported dead after its lock file was removed",
    );
    drop(turn);
}

/// A gateway that has lost its lock is closed, and holds internal work, until it has the lock again.
fn lock_taken() {
    let Ok(gateway) = builder().start() else { return };
    let before = disk::bytes_at(Path::new(HOME), STATUS);
    process::actor("person", || shell(PersonAction::TakesLock(Duration::from_secs(4))));
    thread::sleep(Duration::from_secs(3));
    let is_let_in = [Origin::User, Origin::Internal].map(|it| gateway.admit(it).is_ok());
    must(
        is_let_in == [false; 2],
        names::FAIL_SAFE,
        "work is admitted while another process holds the home",
    );
    let after = disk::bytes_at(Path::new(HOME), STATUS);
    must(
        before == after,
        names::FAIL_SAFE,
        "the gateway writes a status while another process holds the home",
    );
    thread::sleep(Duration::from_secs(4));
    must(gateway.is_ready(), names::REOPENS, "the gateway has its lock again, but is not ready");
}

/// The home is the directory that was locked. Nothing elsewhere is read or written, and no request counts as gone.
fn name_leads_elsewhere() {
    let Ok(gateway) = builder().start() else { return };
    begin(&gateway, false);
    let (home, away) = (Path::new(HOME), Path::new(AWAY));
    disk::move_home(home, away);
    disk::make_home(home, 0o700);
    let remove_marker = |path: &Path| {
        let dir = disk::open_home(path).ok()?;
        dir.unlink(OsStr::new(MARKER)).ok()
    };
    let removed = || remove_marker(away);
    let _ = call(Call::Person(PersonAction::RemovesMarker), removed, |_| Answer::Done);
    thread::sleep(Duration::from_secs(3));
    must(
        !gateway.is_ready(),
        names::FAIL_SAFE,
        "the home's name leads elsewhere, and the gate reopens",
    );
    let says = disk::bytes_at(home, STATUS);
    must(says.is_none(), names::FAITHFUL, "the gateway writes into another directory");
    let is_alive = Home::at(HOME).status().is_ok_and(|it| it.is_alive());
    must(!is_alive, names::FAITHFUL, "a gateway is reported alive in another directory");
    let is_alive = Home::at(AWAY).status().is_ok_and(|it| it.is_alive());
    must(is_alive, names::FAITHFUL, "the gateway is alive, but is reported dead in its directory");
    disk::move_home(home, Path::new("/emptied"));
    disk::move_home(away, home);
    thread::sleep(Duration::from_secs(3));
    must(
        gateway.is_ready(),
        names::REOPENS,
        "no request is in the home, but the gateway is not ready",
    );
}

/// The next gateway honours the request, so the waiter loses nothing.
fn successor() {
    let first = living(1);
    thread::sleep(Duration::from_secs(3));
    let (home, holder) = (Home::at(HOME), RequestedBy::Named(0).holder());
    let Ok(request) = home.begin_drain(&DrainRequest::default().with_holder(holder.clone())) else {
        return;
    };
    let mut drain = PendingDrain::new(&holder, &request);
    thread::sleep(Duration::from_secs(2));
    let looked = look(&mut drain, Goal::Draining);
    must(
        matches!(looked, Ok(true)),
        names::CLOSES,
        "a request exists for two ticks, but the gateway is not draining",
    );
    kill(first);
    let second = living(1);
    let mut last = Ok(false);
    for _ in 0..200 {
        // Between the two no gateway is alive, and the wait may say so.
        match look(&mut drain, Goal::Draining) {
            Err(WaitFailed::Gone) => thread::sleep(PAUSE),
            looked => last = looked,
        }
        must(
            !matches!(last, Err(WaitFailed::Lost(_))),
            names::RECEIPT_IS_TRUE,
            "a wait reports its request lost, but it exists",
        );
    }
    must(
        matches!(last, Ok(true)),
        names::CLOSES,
        "the next gateway does not drain for the request",
    );
    process::kill(second);
}

/// A request is for the living gateway, whatever container it is written in.
fn another_container() {
    let Ok(gateway) = builder().start() else { return };
    thread::sleep(Duration::from_secs(3));
    in_container(3, || {
        let (home, holder) = (Home::at(HOME), RequestedBy::Named(0).holder());
        let ask = DrainRequest::default().with_holder(holder.clone()).with_hold_internal(true);
        let Ok(request) = home.begin_drain(&ask) else { return };
        let mut drain = PendingDrain::new(&holder, &request);
        let mut looked = Ok(false);
        for _ in 0..100 {
            looked = look(&mut drain, Goal::Quiesced);
        }
        must(
            matches!(looked, Ok(true)),
            names::CLOSES,
            "a request from another container does not quiesce the gateway",
        );
        must(
            home.observe().verdict().asks_for_drain(),
            names::RECEIPT_IS_TRUE,
            "a reader in another container sees no drain",
        );
    });
    must(
        !gateway.is_ready(),
        names::CLOSES,
        "a request exists for two ticks, but the gateway is ready",
    );
}

/// A time of another boot clock does not count. The wall clock is read once instead.
fn another_clock() {
    let Ok(gateway) = builder().start() else { return };
    thread::sleep(Duration::from_secs(3));
    in_container(host::OWN_CLOCK, || {
        let ask = DrainRequest::default().with_holder(RequestedBy::Named(0).holder());
        let begun = Home::at(HOME).begin_drain(&ask.with_lease(Duration::from_secs(10)));
        must(begun.is_ok(), names::RECEIPT_IS_TRUE, "the request cannot be written");
        thread::sleep(Duration::from_secs(3));
        let is_heard = Home::at(HOME).observe().verdict().asks_for_drain();
        must(is_heard, names::RECEIPT_IS_TRUE, "a reader with another boot clock sees no drain");
    });
    must(
        !gateway.is_ready(),
        names::CLOSES,
        "a request exists for two ticks, but the gateway is ready",
    );
    host::step_wall(-3_600_000);
    thread::sleep(Duration::from_secs(6));
    must(
        !gateway.is_ready(),
        names::HELD_BY_EACH,
        "the lease has not run out, but the gateway is ready",
    );
    thread::sleep(Duration::from_secs(4));
    must(gateway.is_ready(), names::REOPENS, "the lease has run out, but the gateway is not ready");
}

/// A request that ends with the gateway's run does not count for the next one.
fn this_run() {
    let first = living(1);
    thread::sleep(Duration::from_secs(3));
    let ask =
        DrainRequest::default().with_holder(RequestedBy::Named(0).holder()).with_this_run(true);
    let begun = Home::at(HOME).begin_drain(&ask);
    must(begun.is_ok(), names::RECEIPT_IS_TRUE, "the request cannot be written");
    thread::sleep(Duration::from_secs(3));
    let is_ready = || Home::at(HOME).status().is_ok_and(|it| it.is_ready());
    must(!is_ready(), names::CLOSES, "a request exists for two ticks, but the gateway is ready");
    kill(first);
    let is_refused = Home::at(HOME).begin_drain(&ask).is_err();
    must(
        is_refused,
        names::RECEIPT_IS_TRUE,
        "a request for this run is written, but no gateway runs",
    );
    let second = living(1);
    thread::sleep(Duration::from_secs(3));
    must(is_ready(), names::STALE_NEVER_CLOSES, "a request for another run closes the gate");
    process::kill(second);
}

/// While a foreign gateway is alive, no gateway starts, and no named request is written.
fn neighbour() {
    let held = || -> Option<disk::File> {
        let file =
            disk::open_home(Path::new(HOME)).ok()?.create(OsStr::new("gateway.lock")).ok()?;
        file.lock().ok()?.then_some(file)
    };
    let Some(other) = held() else { return };
    in_container(1, || {
        let is_refused = builder().start().is_err();
        must(is_refused, names::FAITHFUL, "a gateway starts while a foreign gateway is alive");
        let named = DrainRequest::default().with_holder(RequestedBy::Named(0).holder());
        let is_refused = Home::at(HOME).begin_drain(&named).is_err();
        must(
            is_refused,
            names::RECEIPT_IS_TRUE,
            "a named request is written, but a foreign gateway does not read it",
        );
    });
    drop(other);
    in_container(1, || {
        must(
            builder().start().is_ok(),
            names::STOPS,
            "the home is free again, but no gateway starts",
        );
    });
}

/// If a caller learns that its request is written, the request is for a gateway that was alive at the write.
fn replaced() {
    let first = living(1);
    thread::sleep(Duration::from_secs(3));
    let name = "controller".to_owned();
    let spec = ProcessSpec { name, container: 1, kill_after_steps: None, is_exposed: false };
    let (tells, told) = mpsc::channel();
    let begins = process::spawn(spec, move || {
        let begin = || Home::at(HOME).begin_drain(&DrainRequest::default());
        let begun = call(Call::Begin(RequestedBy::Shared), begin, |_| Answer::Done);
        let _ = tells.send(begun.is_ok());
    });
    process::kill(first);
    let (starts, started) = mpsc::channel();
    // No time passes while the controller could go on, so nothing here waits for time.
    let second = process::spawn(ProcessSpec { container: 2, ..a_gateway() }, move || {
        let Ok(_gateway) = builder().start() else { return };
        let _ = starts.send(());
        thread::sleep(Duration::from_secs(3600));
    });
    let _ = started.recv();
    let is_late = disk::bytes_at(Path::new(HOME), MARKER).is_none();
    process::wait_for(begins, Duration::from_secs(60));
    thread::sleep(Duration::from_secs(3));
    let is_ok = told.recv().unwrap_or(false);
    let is_ready = Home::at(HOME).status().is_ok_and(|it| it.is_ready());
    let is_heard = !is_late || !is_ok || !is_ready;
    must(
        is_heard,
        names::RECEIPT_IS_TRUE,
        "a request is reported written, but the running gateway does not read it",
    );
    process::kill(second);
}
