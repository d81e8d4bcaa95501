//! Things that are where a request should be: at the marker's name, and among the named requests. For each, an open
//! gate does what the table says, a closed one stays closed unless the request is dead, and every look returns. Run
//! with `--nocapture` to see the table.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tidegate::control::Verdict;
use tidegate::home::Home;
use tidegate::internals::marker::{MARKER_BYTES_MAX, REQUESTS_MAX};
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Gateway, Origin};

/// What a gateway with an open gate does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// The presence of a file means drain.
    Closes,
    /// A thing that cannot be read changes nothing, and the status complains.
    Complains,
    /// A dead request changes nothing.
    Ignores,
}

use Answer::{Closes, Complains, Ignores};

/// Creates the thing at a path.
type Lay = fn(&Path);

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("writes");
}

/// Each row: the thing, what the original does with it at the marker's name (0.19.0, as measured), how to create it,
/// and what a gateway does here.
const TABLE: &[(&str, &str, Lay, Answer)] = &[
    (
        "FIFO",
        "hangs, and SIGTERM with it",
        |path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).expect("mkfifo"),
        Complains,
    ),
    // Dropping the listener leaves the socket's name.
    ("socket", "no drain", |path| drop(UnixListener::bind(path).expect("binds")), Complains),
    ("directory", "no drain", |path| fs::create_dir(path).expect("mkdir"), Complains),
    (
        "symbolic link to a valid request",
        "follows it",
        |path| {
            let target = path.with_file_name("target");
            write(&target, b"{}");
            symlink(target, path).expect("links");
        },
        Complains,
    ),
    (
        "dangling symbolic link",
        "no drain",
        |path| symlink("nowhere", path).expect("links"),
        Complains,
    ),
    (
        "symbolic link to itself",
        "no drain",
        |path| symlink(path.file_name().expect("a name"), path).expect("links"),
        Complains,
    ),
    (
        "symbolic link to a device",
        "reads until memory is gone",
        |path| symlink("/dev/zero", path).expect("links"),
        Complains,
    ),
    ("empty", "drain", |path| write(path, b""), Closes),
    ("truncated JSON", "drain", |path| write(path, b"{\"action\":\"dra"), Closes),
    ("no object", "drain", |path| write(path, b"[1,2,3]"), Closes),
    (
        "invalid UTF-8",
        "raises; its state freezes",
        |path| write(path, b"{\"principal\":\"\xff\xfe\"}"),
        Closes,
    ),
    ("zeros", "drain", |path| write(path, &[0; 5000]), Closes),
    (
        "nested a million deep",
        "raises; its state freezes",
        |path| write(path, &vec![b'['; 1_000_000]),
        Closes,
    ),
    (
        "nested deep within an object",
        "raises; its state freezes",
        |path| {
            let (open, close) = ("[".repeat(5000), "]".repeat(5000));
            write(path, format!("{{\"deep\":{open}{close}}}").as_bytes());
        },
        Closes,
    ),
    (
        "huge",
        "reads all of it; drain",
        |path| {
            File::create(path).and_then(|it| it.set_len(100 * MARKER_BYTES_MAX)).expect("sparse");
        },
        Closes,
    ),
    (
        "absurd numbers",
        "drain",
        |path| {
            write(path, br#"{"lease_s":1e308,"requested_uptime_ms":18446744073709551615,"requested_at":"9999-12-31T23:59:59Z"}"#);
        },
        Closes,
    ),
    (
        "a lease of zero",
        "drain; it knows no leases",
        |path| write(path, br#"{"lease_s":0,"requested_at":"2020-01-01T00:00:00Z"}"#),
        Ignores,
    ),
    ("another boot's", "no drain", |path| write(path, br#"{"epoch":"another:1"}"#), Ignores),
];

struct Scene {
    dir: tempfile::TempDir,
    home: Home,
    gateway: Gateway,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
    Scene { home: Home::at(dir.path()), gateway, dir }
}

impl Scene {
    fn is_open(&self) -> bool {
        self.gateway.reconcile_now();
        self.gateway.admit(Origin::User).is_ok()
    }

    fn complains(&self) -> bool {
        self.gateway.status().degraded.iter().any(|it| it.code == "request_unreadable")
    }
}

fn each(mut check: impl FnMut(&Scene, &Path, &str, Lay, Answer)) {
    for (what, _, lay, answer) in TABLE {
        for place in ["the marker", "a named request"] {
            let scene = scene();
            let path = match place {
                "the marker" => scene.home.marker_path(),
                _ => scene.home.requests_path().join("evil.1.json"),
            };
            check(&scene, &path, &format!("{what}, at {place}"), *lay, *answer);
        }
    }
}

/// An open gate does what the table says. A FIFO hung the original (U33), and it ignored invalid UTF-8 and deep nesting
/// (U34). TG-S10 fail_safe.
#[test]
fn fail_safe() {
    println!("{:35} {:28} an open gate, here", "at the marker's name", "the original");
    for (what, original, _, answer) in TABLE {
        println!("{what:35} {original:28} {answer:?}");
    }
    each(|scene, path, what, lay, answer| {
        lay(path);
        let open = scene.is_open();
        assert_eq!(open, answer != Closes, "{what}");
        assert_eq!(scene.complains(), answer == Complains, "{what}");
        let verdict = scene.home.observe().verdict();
        let expected = match answer {
            Closes => verdict.asks_for_drain(),
            Complains => verdict == Verdict::Unreadable,
            Ignores => matches!(verdict, Verdict::StaleEpoch | Verdict::Expired),
        };
        assert!(expected, "{what}: {verdict:?}");
    });
}

/// In the original, a read error counted as a cancel. TG-S10, U3.
#[test]
fn a_closed_gate_stays_closed_where_its_request_turns_into_it() {
    each(|scene, path, what, lay, answer| {
        fs::write(path, b"{}").expect("writes");
        assert!(!scene.is_open(), "{what}");
        fs::remove_file(path).expect("removes");
        lay(path);
        assert_eq!(scene.is_open(), answer == Ignores, "{what}");
        assert_eq!(scene.complains(), answer == Complains, "{what}");
    });
}

/// At the start there is no earlier state to keep, so a thing that cannot be read counts as a drain. TG-S10.
#[test]
fn a_gateway_that_starts_on_it_is_closed_unless_it_can_be_judged_dead() {
    each(|scene, path, what, lay, answer| {
        lay(path);
        let again = Home::at(scene.dir.path().join("again"));
        fs::create_dir_all(again.requests_path()).expect("mkdir");
        let name = path.strip_prefix(scene.dir.path()).expect("within");
        lay(&again.path().join(name));
        let gateway = Gateway::builder(again.path()).manual().start().expect("starts");
        assert_eq!(gateway.admit(Origin::User).is_ok(), answer == Ignores, "{what}");
    });
}

/// A thing that cannot be read in one place does not affect requests in another.
#[test]
fn junk_neither_keeps_a_gate_closed_nor_hides_a_request() {
    each(|scene, path, what, lay, answer| {
        if answer == Closes {
            return;
        }
        lay(path);
        let holder = Holder::named("ci").expect("a name");
        let ask = DrainRequest::new("ci").with_holder(holder.clone());
        scene.home.begin_drain(&ask).expect("writes");
        assert!(!scene.is_open(), "{what}");
        scene.home.cancel_drain(&holder).expect("removes");
        assert!(scene.is_open(), "{what}");
    });
}

/// The original's writer followed a symbolic link and overwrote its target. U37.
#[test]
fn a_writer_never_writes_through_what_stands_there() {
    let scene = scene();
    let precious = scene.dir.path().join("precious");
    fs::write(&precious, "untouched").expect("writes");
    symlink(&precious, scene.home.marker_path()).expect("links");
    scene.home.begin_drain(&DrainRequest::default()).expect("replaces the link");
    assert_eq!(fs::read_to_string(&precious).expect("reads"), "untouched");
    assert!(!scene.is_open());

    // It also does not write into a directory that is linked to at the requests' path.
    let elsewhere = scene.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("mkdir");
    fs::write(elsewhere.join("x.1.json"), "{}").expect("writes");
    scene.home.cancel_drain(&Holder::Shared).expect("removes");
    fs::remove_dir(scene.home.requests_path()).expect("rmdir");
    symlink(&elsewhere, scene.home.requests_path()).expect("links");
    assert!(scene.is_open(), "its requests cannot be listed; there were none");
    let degraded = scene.gateway.status().degraded;
    assert_eq!(degraded.first().map(|it| it.code), Some("requests_unlisted"), "{degraded:?}");
    let ask = DrainRequest::new("ci").with_holder(Holder::named("ci").expect("a name"));
    assert!(scene.home.begin_drain(&ask).is_err(), "{:?}", fs::read_dir(&elsewhere));
    assert_eq!(fs::read_dir(&elsewhere).expect("lists").count(), 1);
}

/// The number of entries is bounded. Beyond the bound no request counts as gone, and the status says so.
#[test]
fn thousands_of_files_are_looked_at_within_bounds() {
    let scene = scene();
    let requests = scene.home.requests_path();
    for number in 0..REQUESTS_MAX {
        fs::write(requests.join(format!("dead.{number}.json")), r#"{"epoch":"a:1"}"#)
            .expect("writes");
    }
    fs::write(requests.join("README"), "not a request").expect("writes");
    assert!(scene.is_open(), "all are dead");
    fs::write(requests.join("live.json"), "{}").expect("writes");
    assert!(!scene.is_open(), "the dead do not count, and hide nobody");
    let degraded = scene.gateway.status().degraded;
    assert!(degraded.len() < 20 && degraded.iter().any(|it| it.code == "more"), "{degraded:?}");
    let unlisted = |scene: &Scene| {
        scene.gateway.reconcile_now();
        scene.gateway.status().degraded.iter().any(|it| it.code == "requests_unlisted")
    };
    assert!(!unlisted(&scene));
    let again = Gateway::builder(copy_of(&scene).path()).manual().start().expect("starts");
    assert_eq!(again.status().holders.len(), 1, "also one that starts here sees them all");

    // Found in review: among thousands, a holder's own request was not found, and the answer was that there was none.
    for number in 0..20 {
        let holder = Holder::named(&format!("ci{number}")).expect("a name");
        scene
            .home
            .begin_drain(&DrainRequest::new("ci").with_holder(holder.clone()))
            .expect("writes");
        scene.home.renew_drain(&holder, None).expect("it is found by its name");
        assert!(scene.home.cancel_drain(&holder).expect("removes"));
    }
    fs::remove_file(requests.join("live.json")).expect("removes");
    assert!(scene.is_open());
    for number in 0..=REQUESTS_MAX {
        fs::write(requests.join(format!("more.{number}.json")), "{}").expect("writes");
    }
    assert!(unlisted(&scene), "more than {REQUESTS_MAX} are live");
    let ci = Holder::named("ci").expect("a name");
    scene.home.begin_drain(&DrainRequest::new("ci").with_holder(ci.clone())).expect("writes");
    scene.home.renew_drain(&ci, None).expect("it is found by its name");
    assert!(scene.home.cancel_drain(&ci).expect("removes"), "and so is what it cancels");
    fs::create_dir(requests.join("stuck.json")).expect("mkdir");
    let (removed, result) = scene.home.cancel_all("root");
    let error = result.expect_err("a directory is no request");
    assert!(error.to_string().contains("stuck.json"), "{error}");
    assert_eq!(removed.len(), 2 * REQUESTS_MAX + 1, "all requests that can be removed are removed");
    assert_eq!(fs::read_dir(&requests).expect("lists").count(), 2);
}

/// Another home with the same requests.
fn copy_of(scene: &Scene) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    let copy = Home::at(dir.path()).requests_path();
    fs::create_dir(&copy).expect("mkdir");
    for entry in fs::read_dir(scene.home.requests_path()).expect("lists") {
        let entry = entry.expect("an entry");
        fs::hard_link(entry.path(), copy.join(entry.file_name())).expect("links");
    }
    dir
}

/// Found in review: a request of the largest size made the status too big to read, so a live gateway was taken for
/// dead.
#[test]
fn what_others_write_does_not_make_the_status_unreadable() {
    let scene = scene();
    let ci = Holder::named("ci").expect("a name");
    let ask = DrainRequest::new("ci").with_holder(ci.clone()).with_hold_internal(true);
    let request = scene.gateway.begin_drain(&ask).expect("writes").request;
    let huge = "\\u0001".repeat(usize::try_from(MARKER_BYTES_MAX).expect("fits") / 7);
    write(
        &scene.home.marker_path(),
        format!(r#"{{"principal":"{huge}","request_id":"{huge}"}}"#).as_bytes(),
    );
    let _work = scene.gateway.admit_labelled(Origin::Internal, "x".repeat(1 << 20));
    assert!(!scene.is_open());
    let reading = scene.home.status().expect("reads");
    assert!(reading.is_quiesced_for(&ci, request.request_id().expect("named")));
    let size = fs::metadata(scene.home.status_path()).expect("exists").len();
    assert!(size < 16 * 1024, "{size} bytes");
}

/// A start neither follows nor waits for a thing at the lock file's name.
#[test]
fn a_lock_that_is_no_file_starts_nothing_and_holds_nobody_up() {
    let laid: [Lay; 3] = [
        |path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).expect("mkfifo"),
        |path| symlink("precious", path).expect("links"),
        |path| fs::create_dir(path).expect("mkdir"),
    ];
    for lay in laid {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::at(dir.path());
        write(&dir.path().join("precious"), b"untouched");
        lay(&home.lock_path());
        let error = Gateway::builder(dir.path()).start().expect_err("there is no lock to take");
        assert!(matches!(error, tidegate::StartError::Home { .. }), "{error}");
        let alive = home.status().is_ok_and(|reading| reading.is_alive());
        assert!(!alive);
        assert_eq!(fs::read(dir.path().join("precious")).expect("reads"), b"untouched");
    }
}

/// Found in review: a FIFO where the directory of named requests should be. U33.
#[test]
fn a_fifo_in_place_of_the_directory_holds_nobody_up() {
    let scene = scene();
    let ci = Holder::named("ci").expect("a name");
    let ask = DrainRequest::new("ci").with_holder(ci.clone());
    let request = scene.home.begin_drain(&ask).expect("writes");
    assert!(!scene.is_open());
    fs::rename(scene.home.requests_path(), scene.dir.path().join("aside")).expect("renames");
    mknodat(CWD, scene.home.requests_path(), FileType::Fifo, Mode::RUSR, 0).expect("mkfifo");
    assert!(!scene.is_open(), "its request cannot be seen, and is not taken to be gone");
    let id = request.request_id().expect("named");
    for error in [
        scene.home.cancel_request(&ci, id).map(drop),
        scene.home.cancel_drain(&ci).map(drop),
        scene.home.begin_drain(&ask).map(drop),
        scene.home.cancel_all("root").1,
    ] {
        let error = error.expect_err("no directory is there");
        assert!(error.to_string().contains(".drain_requests"), "{error}");
    }
}

#[test]
fn a_home_that_is_not_there_is_not_an_empty_one() {
    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::at(dir.path().join("gone"));
    let observation = home.observe();
    assert_eq!(observation.verdict(), Verdict::Unreadable);
    assert!(observation.complaint().expect("says why").contains("home"), "{observation:?}");
    assert!(home.begin_drain(&DrainRequest::default()).is_err());
    let ask = DrainRequest::new("ci").with_holder(Holder::named("ci").expect("a name"));
    assert!(home.begin_drain(&ask).is_err());
    assert!(!dir.path().join("gone").exists(), "nobody makes a home by asking for a drain");
}

/// A scan of a directory is not a snapshot. A holder that renews all the time must be seen by every look (F9).
#[test]
fn a_request_that_is_always_being_renewed_is_never_missed() {
    const RENEWALS: u32 = 400;

    let scene = scene();
    let ask = DrainRequest::new("ci").with_holder(Holder::named("ci").expect("a name"));
    scene.home.begin_drain(&ask).expect("writes");
    assert!(!scene.is_open());
    std::thread::scope(|scope| {
        let renewing = scope.spawn(|| {
            for _ in 0..RENEWALS {
                scene.home.begin_drain(&ask).expect("renews");
            }
        });
        let mut looks = 0;
        while !renewing.is_finished() {
            assert!(!scene.is_open(), "after {looks} looks");
            looks += 1;
        }
        assert!(looks > 0);
    });
    scene.home.cancel_drain(ask.holder()).expect("removes");
    assert!(scene.is_open());
    assert_eq!(scene.gateway.status().generation, 1, "closed once, for all of it");
}
