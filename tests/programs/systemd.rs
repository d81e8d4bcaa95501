//! The reports of a gateway to a service manager, on a socket of the test.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tempfile::TempDir;
use tidegate::machine::{Phase, ShutdownCause};
use tidegate::request::{DrainRequest, Holder};
use tidegate::systemd::{NotifyError, notify, notify_at};
use tidegate::{Ended, Gateway, Origin};

/// Turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _dir: TempDir,
}

impl Manager {
    fn new() -> Manager {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("binds");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Manager { socket, path, _dir: dir }
    }

    /// The lines of the next datagram.
    fn hear(&self) -> Vec<String> {
        self.hear_or_timeout().expect("a message")
    }

    fn hear_or_timeout(&self) -> Option<Vec<String>> {
        let mut bytes = [0; 8192];
        match self.socket.recv(&mut bytes) {
            Ok(length) => {
                let text = std::str::from_utf8(&bytes[..length]).expect("UTF-8");
                assert!(text.ends_with('\n'), "{text:?}");
                Some(text.lines().map(str::to_owned).collect())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The lines of all datagrams up to the one with this line.
    fn hear_until(&self, line: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.iter().any(|it| it == line) {
            heard.extend(self.hear());
        }
        heard
    }

    /// The lines that have already arrived.
    fn heard(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).expect("an option");
        std::iter::from_fn(|| self.hear_or_timeout()).flatten().collect()
    }
}

fn in_memory() -> Gateway {
    Gateway::in_memory().start().expect("starts")
}

fn holder(name: &str) -> Holder {
    Holder::named(name).expect("a name")
}

#[test]
fn the_start_is_reported_at_once_and_a_drain_by_who_and_what_it_waits_for() {
    let (manager, gateway) = (Manager::new(), in_memory());
    let notifying = notify_at(&gateway, &manager.path, None).expect("reports");
    assert!(notifying.is_on());
    // Before anything else, and before `notify_at` returns.
    assert_eq!(manager.hear(), ["READY=1", "STATUS=running"]);

    let user = gateway.admit(Origin::User).expect("open");
    let internal = gateway.admit(Origin::Internal).expect("open");
    let ask = DrainRequest::new("ci").with_holder(holder("ci")).with_hold_internal(true);
    gateway.begin_drain(&ask).expect("in memory");
    let drained = manager.hear();
    assert_eq!(drained, ["STATUS=draining for ci; in flight: 1 user, 1 internal"]);

    // No phase changes here, so the periodic look finds it.
    gateway.begin_drain(&DrainRequest::new("ops").with_holder(holder("ops"))).expect("in memory");
    drop(user);
    manager.hear_until("STATUS=draining for ci, ops; in flight: 0 user, 1 internal");
    drop(internal);
    manager.hear_until("STATUS=quiesced for ci, ops; nothing in flight");

    gateway.cancel_drain(&holder("ops")).expect("in memory");
    gateway.cancel_drain(&holder("ci")).expect("in memory");
    manager.hear_until("STATUS=running");
    drop(notifying);
    assert_eq!(gateway.phase(), Phase::Running, "the gateway goes on");
    assert_eq!(manager.heard(), [""; 0]);
}

/// The time that a process gets to exit once its gateway has stopped.
const LEAVING: Duration = Duration::from_secs(5);

fn extensions(heard: &[String]) -> impl Iterator<Item = Duration> {
    let micros = heard.iter().filter_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC="));
    micros.map(|micros| Duration::from_micros(micros.parse().expect("a number")))
}

/// With a clock that the test moves, so that the extensions are exact.
#[test]
fn a_wedged_turn_has_its_grace_and_the_extensions_follow_it() {
    use tidegate::epoch::{ManualClock, Now};

    let clock = ManualClock::at(Now::from_system_clock());
    let manager = Manager::new();
    let gateway = Gateway::in_memory().manual().clock(clock.clone()).start().expect("starts");
    let notifying = notify_at(&gateway, &manager.path, None).expect("reports");
    let wedged = gateway.admit(Origin::User).expect("open");
    let _ending = gateway.shut_down(ShutdownCause::Sigterm, Duration::from_secs(60));
    assert_eq!(manager.hear(), ["READY=1", "STATUS=running"]);
    let shutting = "STATUS=shutting down (SIGTERM); in flight: 1 user, 0 internal";
    let said = manager.hear();
    let left = format!("{shutting}; 60 s left at most");
    assert_eq!(said, ["STOPPING=1", "EXTEND_TIMEOUT_USEC=10000000", left.as_str()]);

    clock.advance(Duration::from_secs(58));
    let heard = manager.hear_until(&format!("{shutting}; 2 s left at most"));
    assert_eq!(extensions(&heard).last(), Some(Duration::from_secs(2) + LEAVING));
    clock.advance(Duration::from_secs(2));
    gateway.reconcile_now();
    let heard = manager.hear_until("STATUS=stopped with 1 turn still in flight");
    assert!(extensions(&heard).all(|it| it <= Duration::from_secs(2) + LEAVING), "{heard:?}");
    drop(notifying);
    assert_eq!(manager.heard(), [""; 0], "nothing follows the last status");
    drop(wedged);
}

/// With the system's clock: the deadline ends the shutdown.
#[test]
fn a_shutdown_asks_for_its_grace_and_no_more() {
    const GRACE: Duration = Duration::from_millis(200);
    let (manager, gateway) = (Manager::new(), in_memory());
    let notifying = notify_at(&gateway, &manager.path, None).expect("reports");
    let wedged = gateway.admit(Origin::User).expect("open");
    let ended = gateway.shut_down(ShutdownCause::Sigterm, GRACE).wait();
    assert_eq!(ended, Ended::TimedOut { in_flight: 1 });
    drop(notifying);
    let heard = manager.heard();
    assert_eq!(heard[..3], ["READY=1", "STATUS=running", "STOPPING=1"]);
    assert!(extensions(&heard).all(|it| it <= GRACE + LEAVING), "{heard:?}");
    assert_eq!(heard.last().expect("a message"), "STATUS=stopped with 1 turn still in flight");
    drop(wedged);
}

/// With a long grace, the first extension is ten seconds at most, and the shutdown ends with the last turn.
#[test]
fn a_shutdown_whose_turns_end_is_over_at_once() {
    let (manager, gateway) = (Manager::new(), in_memory());
    let notifying = notify_at(&gateway, &manager.path, None).expect("reports");
    let turn = gateway.admit(Origin::User).expect("open");
    let ending = gateway.shut_down(ShutdownCause::Operator, Duration::from_secs(3600));
    let heard = manager.hear_until("STOPPING=1");
    assert_eq!(extensions(&heard).collect::<Vec<_>>(), [Duration::from_secs(10)]);
    drop(turn);
    assert_eq!(ending.wait(), Ended::Clean);
    // The drop sends the reports that are still missing.
    drop(notifying);
    let heard = manager.heard();
    assert_eq!(heard.last().expect("a message"), "STATUS=stopped with nothing in flight");
}

/// A waker that does not return keeps the gateway's thread in its round.
struct Stuck(std::sync::Mutex<mpsc::Receiver<()>>);

impl Wake for Stuck {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().expect("no panic").recv();
    }
}

#[test]
fn the_watchdog_is_pinged_while_the_gateway_is_sound_and_only_then() {
    const PERIOD: Duration = Duration::from_millis(40);
    const SILENCE: Duration = Duration::from_millis(400);
    let (manager, gateway) = (Manager::new(), in_memory());
    let _notifying = notify_at(&gateway, &manager.path, Some(PERIOD)).expect("reports");
    assert_eq!(manager.hear(), ["READY=1", "WATCHDOG=1", "STATUS=running"]);
    for _ in 0..5 {
        assert_eq!(manager.hear(), ["WATCHDOG=1"]);
    }

    let (release, released) = mpsc::channel();
    let waker = Waker::from(Arc::new(Stuck(std::sync::Mutex::new(released))));
    let turn = gateway.admit(Origin::User).expect("open");
    let mut idle = Box::pin(gateway.idle());
    assert!(idle.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    manager.socket.set_read_timeout(Some(SILENCE)).expect("a timeout");
    let mut messages = 0;
    // After some time no pings come. Only the status is looked at once a second, and it does not change.
    while manager.hear_or_timeout().is_some() {
        messages += 1;
        assert!(messages < 1000, "pings for a thread that is stuck");
    }
    release.send(()).expect("somebody waits");
    manager.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    manager.hear_until("WATCHDOG=1");
    drop(turn);
}

#[test]
fn a_socket_that_nobody_reads_blocks_nothing_and_loses_no_start() {
    let (manager, gateway) = (Manager::new(), in_memory());
    let flood = UnixDatagram::unbound().expect("a socket");
    flood.set_nonblocking(true).expect("an option");
    while flood.send_to(b"X=1\n", &manager.path).is_ok() {}

    // In another thread, so that a call that blocks is a failure and not a hang.
    let (done, ended) = mpsc::channel();
    let (same, path) = (gateway.clone(), manager.path.clone());
    std::thread::spawn(move || {
        let notifying = notify_at(&same, path, None).expect("a full socket is no error");
        same.begin_drain(&DrainRequest::default()).expect("in memory");
        assert!(same.cancel_drain(&Holder::Shared).expect("in memory"));
        drop(notifying);
        done.send(()).expect("the test listens");
    });
    ended.recv_timeout(PATIENCE).expect("nothing blocks");

    let _again = notify_at(&gateway, &manager.path, None).expect("a full socket is no error");
    // By then the reporting thread has also tried, without success.
    std::thread::sleep(Duration::from_millis(1500));
    manager.hear_until("READY=1");
    let ending = gateway.shut_down(ShutdownCause::Operator, Duration::ZERO);
    assert_eq!(ending.wait(), Ended::Clean);
    manager.hear_until("STATUS=stopped with nothing in flight");
}

#[test]
fn the_last_drop_ends_the_gateway_and_its_reports() {
    let (manager, home) = (Manager::new(), tempfile::tempdir().expect("temp dir"));
    let start = || Gateway::builder(home.path()).start();
    let gateway = start().expect("starts");
    let notifying = notify_at(&gateway, &manager.path, None).expect("reports");
    let turn = gateway.admit(Origin::User).expect("open");
    drop(gateway);
    assert_eq!(turn.child().expect_err("sealed").phase, Phase::ShuttingDown);
    let again = start().expect("the home is free");
    let heard = manager.hear_until("STATUS=stopped with 1 turn still in flight");
    assert!(heard.contains(&"STOPPING=1".to_owned()), "{heard:?}");
    drop((notifying, again));
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_socket_is_reached() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let name = format!("tidegate-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let socket = UnixDatagram::bind_addr(&address).expect("binds");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let _notifying = notify_at(&in_memory(), format!("@{name}"), None).expect("reports");
    let mut bytes = [0; 64];
    let length = socket.recv(&mut bytes).expect("a message");
    assert!(bytes[..length].starts_with(b"READY=1\n"));
}

#[test]
fn what_is_no_socket_is_an_error_that_names_it() {
    let gateway = in_memory();
    let too_long = format!("/{}", "x".repeat(200));
    for address in ["notify", "vsock:2:1234", "", too_long.as_str()] {
        let error = notify_at(&gateway, address, None).expect_err("no address");
        assert!(matches!(error, NotifyError::Address { .. }), "{error}");
        assert!(error.to_string().contains(&format!("{address:?}")), "{error}");
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let missing = dir.path().join("no\nsuch");
    let error = notify_at(&gateway, &missing, None).expect_err("nobody listens").to_string();
    assert!(error.contains("no\\nsuch: ") && error.contains("unset NOTIFY_SOCKET"), "{error}");
}

/// Set for the child process, which runs only [`by_the_environment`].
const IN_CHILD: &str = "TIDEGATE_TEST_IS_ON";

/// The child's part of the next test. The environment of a process must not change while other threads read it, so a
/// child has its own.
#[test]
fn by_the_environment() {
    let Ok(is_on) = std::env::var(IN_CHILD) else { return };
    let gateway = in_memory();
    let notifying = notify(&gateway).expect("reports");
    assert_eq!(notifying.is_on(), is_on == "true");
    let is_reporting = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
        tasks.flatten().any(|task| {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            name.starts_with("tidegate-system")
        })
    };
    // A thread gets its name when it runs, and leaves the list a moment after it was joined.
    let began = std::time::Instant::now();
    let wait_until_reporting = |expected: bool| {
        while cfg!(target_os = "linux") && is_reporting() != expected {
            assert!(began.elapsed() < PATIENCE, "a thread reports: {}", !expected);
            std::thread::yield_now();
        }
    };
    wait_until_reporting(notifying.is_on());
    drop(notifying);
    wait_until_reporting(false);
}

#[test]
fn the_environment_says_where_and_whether() {
    let manager = Manager::new();
    let run = |is_on: bool, variables: &[(&str, &str)]| {
        let output = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "systemd::by_the_environment"])
            .env(IN_CHILD, is_on.to_string())
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .envs(variables.iter().copied())
            .output()
            .expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        manager.heard()
    };
    let socket = ("NOTIFY_SOCKET", manager.path.to_str().expect("UTF-8"));
    let watchdog = ("WATCHDOG_USEC", "60000000");
    let (with, without) =
        (["READY=1", "WATCHDOG=1", "STATUS=running"], ["READY=1", "STATUS=running"]);
    assert_eq!(run(false, &[]), [""; 0]);
    assert_eq!(run(false, &[watchdog, ("NOTIFY_SOCKET", "")]), [""; 0]);
    assert_eq!(run(true, &[socket]), without);
    assert_eq!(run(true, &[socket, watchdog]), with);
    assert_eq!(run(true, &[socket, watchdog, ("WATCHDOG_PID", "1")]), without);
    assert_eq!(run(true, &[socket, ("WATCHDOG_USEC", "0")]), without);
    assert_eq!(run(true, &[socket, ("WATCHDOG_USEC", "soon")]), without);
}
