//! What the control channel costs: how soon a gate follows its request, what a begin and each of its
//! syncs takes on this disk, what a look takes. Times of the original implementation are taken in the
//! same run where `TIDEGATE_ORIGINAL` names a directory in which its wheel is unpacked.
//!
//! ```text
//! cargo bench --bench control                      # reactions by polling
//! cargo bench --bench control --features notify    # and by file events
//! ```

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tidegate::home::Home;
use tidegate::request::{DrainRequest, Holder, Slot};
use tidegate::{Gateway, Origin};

/// How often a gate is closed and opened again.
const REACTIONS: u32 = 300;
/// How often something is written and synced.
const WRITES: usize = 400;
/// How many looks are timed together, and how often.
const LOOKS: u32 = 1000;
const ROUNDS: usize = 25;
/// How many orders of a kind are timed.
const ORDERS: usize = 51;

/// Sorted samples, in microseconds.
struct Samples(Vec<f64>);

impl Samples {
    fn of(times: impl IntoIterator<Item = Duration>) -> Samples {
        let mut times: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64() * 1e6).collect();
        times.sort_by(f64::total_cmp);
        Samples(times)
    }

    fn at(&self, per_cent: usize) -> f64 {
        self.0[(self.0.len() - 1) * per_cent / 100]
    }
}

fn time(once: impl FnOnce()) -> Duration {
    let began = Instant::now();
    once();
    began.elapsed()
}

fn main() {
    reactions();
    begins();
    looks();
    orders();
}

/// From the rename to the first turn refused, and from the unlink to the first one admitted.
fn reactions() {
    // By polling, a wait of an interval each: a short one shows as well what comes on top of it.
    let interval =
        if cfg!(feature = "notify") { Duration::from_secs(1) } else { Duration::from_millis(50) };
    let how = if cfg!(feature = "notify") { "file events" } else { "polling" };
    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::at(dir.path());
    let gateway = Gateway::builder(dir.path()).interval(interval).start().expect("starts");
    let draft = dir.path().join("draft");
    let (mut closing, mut opening) = (Vec::new(), Vec::new());
    let mut dice = fastrand::Rng::with_seed(7);
    for _ in 0..REACTIONS {
        fs::write(&draft, "{}").expect("writes");
        // At any phase of the watcher's interval.
        std::thread::sleep(interval.min(Duration::from_millis(50)).mul_f64(dice.f64()));
        closing.push(time(|| {
            fs::rename(&draft, home.marker_path()).expect("renames");
            while gateway.admit(Origin::User).is_ok() {
                std::thread::yield_now();
            }
        }));
        std::thread::sleep(interval.min(Duration::from_millis(50)).mul_f64(dice.f64()));
        opening.push(time(|| {
            fs::remove_file(home.marker_path()).expect("removes");
            while gateway.admit(Origin::User).is_err() {
                std::thread::yield_now();
            }
        }));
    }
    println!("\nreaction by {how}, interval {interval:?}, {REACTIONS} each, in ms");
    println!("  {:<52} {:>8} {:>8} {:>8}", "", "median", "p99", "max");
    for (what, times) in [("marker to closed gate", closing), ("removal to open gate", opening)] {
        let times = Samples::of(times);
        let [median, late, latest] = [50, 99, 100].map(|per_cent| times.at(per_cent) / 1e3);
        println!("  {what:<52} {median:>8.2} {late:>8.2} {latest:>8.2}");
    }
    println!("  (the original, interval 1 s, as recorded: {:>17} {:>8})", "633", "977");
}

/// What a begin takes, and what its parts do: each way once, in turn, so that a slow spell of the disk
/// meets everybody.
fn begins() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("temp dir");
    let home = Home::at(dir.path());
    let ask = DrainRequest::new("bench");
    let named = DrainRequest::new("bench").with_holder(Holder::named("bench").expect("a name"));
    home.begin_drain(&named).expect("writes");
    let text = home.begin_drain(&ask).expect("writes").to_json();
    let floor = |sync: bool, sync_directory: bool| {
        let draft = dir.path().join("draft");
        let mut file = File::create(&draft).expect("creates");
        file.write_all(text.as_bytes()).expect("writes");
        let synced = time(|| {
            if sync {
                file.sync_all().expect("syncs");
            }
        });
        fs::rename(&draft, dir.path().join("final")).expect("renames");
        let directory_synced = time(|| {
            if sync_directory {
                File::open(dir.path()).and_then(|it| it.sync_all()).expect("syncs");
            }
        });
        (synced, directory_synced)
    };
    let begin = |ask: &DrainRequest| drop(home.begin_drain(ask).expect("writes"));
    let mut original = Original::start(dir.path());
    let mut times: [Vec<Duration>; 8] = Default::default();
    for _ in 0..WRITES {
        times[0].extend(original.as_mut().map(|it| it.time("begin")));
        times[1].push(time(|| begin(&ask)));
        times[2].push(time(|| begin(&named)));
        times[3].push(time(|| _ = floor(false, false)));
        times[4].push(time(|| _ = floor(true, false)));
        let mut syncs = Default::default();
        times[5].push(time(|| syncs = floor(true, true)));
        times[6].push(syncs.0);
        times[7].push(syncs.1);
    }
    println!("\nbegin, {WRITES} each, in µs");
    println!("  {:<52} {:>8} {:>8} {:>8}", "", "median", "p90", "p99");
    let names = [
        "the original's write_drain_request",
        "tidegate: begin, shared",
        "tidegate: begin again, named (and the old one removed)",
        "floor: write, rename",
        "floor: write, sync the file, rename",
        "floor: write, sync the file, rename, sync the directory",
        "  of which: sync the file",
        "  of which: sync the directory",
    ];
    for (name, times) in names.iter().zip(times) {
        if times.is_empty() {
            println!("  {name:<52} set TIDEGATE_ORIGINAL to measure it (528 as recorded)");
            continue;
        }
        let times = Samples::of(times);
        let [median, p90, p99] = [50, 90, 99].map(|per_cent| times.at(per_cent));
        println!("  {name:<52} {median:>8.0} {p90:>8.0} {p99:>8.0}");
    }
}

/// What a look takes, by who looks.
fn looks() {
    let dir = tempfile::tempdir().expect("temp dir");
    let idle = tempfile::tempdir().expect("temp dir");
    let home = Home::at(dir.path());
    home.begin_drain(&DrainRequest::new("bench")).expect("writes");
    let (path, absent) = (home.marker_path(), Home::at(idle.path()));
    let start = |path: &Path| Gateway::builder(path).manual().start().expect("starts");
    let (draining, running) = (start(dir.path()), start(idle.path()));
    // Until the directory of named requests is old enough for conclusive times.
    std::thread::sleep(Duration::from_secs(4));
    draining.reconcile_now();
    running.reconcile_now();
    let mut original = Original::start(dir.path());
    let contenders: [(&str, &dyn Fn()); 5] = [
        ("tidegate: observe a present marker", &|| drop(black_box(home.find_in(&Slot::Shared)))),
        ("tidegate: observe an absent marker", &|| drop(black_box(absent.find_in(&Slot::Shared)))),
        ("tidegate: a tick of an idle gateway", &|| running.reconcile_now()),
        ("tidegate: a tick of a draining gateway", &|| draining.reconcile_now()),
        ("std: read the same file, and nothing else", &|| drop(black_box(fs::read(&path)))),
    ];
    let mut times = vec![Vec::new(); contenders.len()];
    let mut originals = Vec::new();
    for _ in 0..ROUNDS {
        for ((_, once), times) in contenders.iter().zip(&mut times) {
            times.push(time(|| (0..LOOKS).for_each(|_| once())) / LOOKS);
        }
        originals.extend(original.as_mut().map(|it| it.time("observe")));
    }
    println!("\nlook, median of {ROUNDS} rounds of {LOOKS}, in µs");
    for ((name, _), times) in contenders.iter().zip(times) {
        println!("  {name:<52} {:>8.2}", Samples::of(times).at(50));
    }
    let name = "the original's drain_requested, marker present";
    if originals.is_empty() {
        println!("  {name:<52} set TIDEGATE_ORIGINAL to measure it (15 as recorded)");
    } else {
        println!("  {name:<52} {:>8.2}", Samples::of(originals).at(50));
    }
}

/// The original implementation, in a Python of its own, which times itself: starting it is not measured.
struct Original {
    child: std::process::Child,
    answers: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Original {
    const SCRIPT: &str = r#"
import pathlib, sys, time
from gateway import drain_control
home = pathlib.Path(sys.argv[1])
ways = {
    "begin": lambda: drain_control.write_drain_request(home=home),
    "observe": lambda: drain_control.drain_requested(home=home),
}
for line in sys.stdin:
    way, calls = line.split()
    began = time.perf_counter()
    for _ in range(int(calls)):
        ways[way]()
    print((time.perf_counter() - began) / int(calls), flush=True)
"#;

    fn start(home: &Path) -> Option<Original> {
        use std::io::BufRead;

        let directory = std::env::var_os("TIDEGATE_ORIGINAL")?;
        let mut child = Command::new("python3")
            .args(["-c", Original::SCRIPT])
            .arg(home)
            .current_dir(directory)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let answers = std::io::BufReader::new(child.stdout.take().expect("piped")).lines();
        Some(Original { child, answers })
    }

    fn time(&mut self, way: &str) -> Duration {
        let calls = if way == "observe" { LOOKS } else { 1 };
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{way} {calls}").expect("it listens");
        let answer = self.answers.next().expect("it answers").expect("reads");
        Duration::from_secs_f64(answer.parse().expect("seconds"))
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What an order takes where many others ask. A begin and a cancel of one's own, through a gateway whose
/// others' requests are old enough to be known.
fn orders() {
    println!(
        "\norder beside others' requests, median of {ORDERS}, in ms (no disk under it where there is /dev/shm)"
    );
    println!("  {:<52} {:>8} {:>8} {:>8}", "", "begin", "again", "cancel");
    for others in [0, 75, 1000] {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = dir.expect("temp dir");
        let home = Home::at(dir.path());
        let ask = |name: &str| {
            let holder = Holder::named(name).expect("a name");
            DrainRequest::new("bench").with_holder(holder)
        };
        for number in 0..others {
            home.begin_drain(&ask(&format!("other{number}"))).expect("writes");
        }
        let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
        // Until what was written is old enough for its times to tell.
        std::thread::sleep(Duration::from_secs(4));
        gateway.reconcile_now();
        gateway.begin_drain(&ask("warm")).expect("writes");
        let mut times: [Vec<Duration>; 3] = Default::default();
        for _ in 0..ORDERS {
            times[0].push(time(|| drop(gateway.begin_drain(&ask("mine")).expect("writes"))));
            times[1].push(time(|| drop(gateway.begin_drain(&ask("mine")).expect("writes"))));
            let mine = Holder::named("mine").expect("a name");
            times[2].push(time(|| _ = gateway.cancel_drain(&mine).expect("removes")));
        }
        let [begin, again, cancel] = times.map(|times| Samples::of(times).at(50) / 1e3);
        let name = format!("beside {others} others");
        println!("  {name:<52} {begin:>8.3} {again:>8.3} {cancel:>8.3}");
    }
}
