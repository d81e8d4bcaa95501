//! Homes that several users share: who owns the files, who is refused, and what happens if a directory is swapped.
//! The tests use real users and processes. Only root can run most of them, and other users see what is skipped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate::Gateway;
use tidegate::home::Home;
use tidegate::request::{DrainRequest, Holder};

const OWNER: u32 = 65534;
const STRANGER: u32 = 4321;

/// Whether the test can run. It prints a line if it cannot.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("only root can be several users; not tried");
    }
    is_root
}

/// A home of another user, and programs that every user may run.
struct Scene {
    dir: tempfile::TempDir,
    home: Home,
}

impl Scene {
    fn new(owner: u32, mode: u32) -> Scene {
        let dir = tempfile::tempdir().expect("temp dir");
        permit(dir.path(), 0o755);
        let path = dir.path().join("home");
        fs::create_dir(&path).expect("mkdir");
        chown(&path, Some(owner), Some(owner)).expect("chown");
        permit(&path, mode);
        let scene = Scene { home: Home::at(path), dir };
        let built = Path::new(env!("CARGO_BIN_EXE_tidegate"));
        let example = built.parent().expect("a folder").join("examples/gateway");
        for (program, name) in [(built, "tidegate"), (&example, "gateway")] {
            // Another process copies it. A child that was forked while this process had the file open to write would
            // keep the file busy.
            let copied = Command::new("cp").arg(program).arg(scene.program(name)).status();
            assert!(copied.expect("cp runs").success(), "{}", program.display());
        }
        scene
    }

    fn program(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run_as(&self, user: u32, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.program("tidegate"));
        command.args(arguments).arg("--home").arg(self.home.path());
        command.uid(user).gid(user).stdin(Stdio::null()).output().expect("the command runs")
    }

    fn gateway_as(&self, user: u32) -> Child {
        let mut command = Command::new(self.program("gateway"));
        command.arg("--home").arg(self.home.path()).uid(user).gid(user);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the gateway starts")
    }

    /// A gateway that has started.
    fn running_as(&self, user: u32) -> Process {
        let mut child = self.gateway_as(user);
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("reads");
        assert!(line.contains("address"), "{line}");
        Process(child)
    }

    fn owners(&self) -> Vec<(String, u32)> {
        let paths = [self.home.path().to_owned(), self.home.requests_path()];
        let listed = paths.iter().filter_map(|path| fs::read_dir(path).ok()).flatten();
        let owner = |path: PathBuf| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::symlink_metadata(path).expect("exists").uid())
        };
        listed.map(|entry| owner(entry.expect("an entry").path())).collect()
    }
}

/// Killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permits");
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Found in use: `sudo tidegate drain` wrote a request that the gateway could not read, and replaced the marker with
/// it. F19.
#[test]
fn what_root_asks_for_is_the_home_s_and_its_gateway_drains() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(OWNER, 0o755);
    let _gateway = scene.running_as(OWNER);
    for arguments in [
        &["drain", "--holder", "ci", "--wait"][..],
        &["renew", "--holder", "ci"],
        &["drain"],
        &["drain", "--wait"],
        &["renew"],
    ] {
        let output = scene.run_as(0, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", told(&output));
        let owners = scene.owners();
        assert!(owners.iter().all(|(_, uid)| *uid == OWNER), "{arguments:?}: {owners:?}");
    }
    let modes = [scene.home.marker_path(), scene.home.lock_path(), scene.home.status_path()];
    let mode = |path: PathBuf| fs::metadata(path).expect("exists").mode() & 0o777;
    assert_eq!(modes.map(mode), [0o600; 3]);
    // Now as the owner: its own files are its own.
    let output = scene.run_as(OWNER, &["cancel"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

/// Found in use: a gateway that ran once as root left a lock that its own user could not open. F19.
#[test]
fn what_a_root_gateway_leaves_its_own_user_can_use() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(OWNER, 0o755);
    drop(scene.running_as(0));
    let owners = scene.owners();
    assert!(owners.len() >= 3 && owners.iter().all(|(_, uid)| *uid == OWNER), "{owners:?}");
    let _gateway = scene.running_as(OWNER);
    let output = scene.run_as(OWNER, &["drain", "--holder", "ci", "--wait"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

/// An error names the path that cannot be opened, its owner, and the user who tried.
#[test]
fn an_error_names_the_path_its_owner_and_who_tried() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(OWNER, 0o755);
    File::create(scene.home.lock_path()).expect("creates");
    permit(&scene.home.lock_path(), 0o600);
    let output = scene.gateway_as(OWNER).wait_with_output().expect("it ends");
    for part in [".tidegate.lock", "mode 0600", "owner 0", "user 65534"] {
        assert!(told(&output).contains(part), "{part}: {}", told(&output));
    }
    let status = scene.run_as(OWNER, &["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(told(&status).contains("owner 0 keep user 65534 from reading"), "{}", told(&status));

    let drained = scene.run_as(STRANGER, &["drain"]);
    assert_eq!(drained.status.code(), Some(1));
    let text = told(&drained);
    assert!(text.contains("owner 65534 keep user 4321") && text.contains("0755"), "{text}");
    assert!(text.contains("nothing was changed"), "{text}");

    // A renewal that cannot be written does not say that there was no drain.
    fs::remove_file(scene.home.lock_path()).expect("removes");
    let ci = Holder::named("ci").expect("a name");
    let ask = DrainRequest::new("root").with_holder(ci);
    scene.home.clone().with_mode(0o644).begin_drain(&ask).expect("writes");
    let renewed = scene.run_as(STRANGER, &["renew", "--holder", "ci"]);
    assert_eq!(renewed.status.code(), Some(1));
    let text = told(&renewed);
    assert!(text.contains("nothing was changed") && !text.contains("no drain was"), "{text}");
}

/// A directory or a lock file of an untrusted other user is refused, and its owner is named. F18.
#[test]
fn what_is_a_stranger_s_is_refused_and_named() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(OWNER, 0o755);
    fs::create_dir(scene.home.requests_path()).expect("mkdir");
    fs::write(scene.home.requests_path().join("x.1.json"), "{}").expect("writes");
    chown(scene.home.requests_path(), Some(STRANGER), Some(STRANGER)).expect("chown");
    for arguments in [
        &["drain", "--holder", "ci"][..],
        &["cancel", "--holder", "x"],
        &["cancel", "--all", "--force"],
        &["renew", "--holder", "x"],
    ] {
        for user in [0, OWNER] {
            let output = scene.run_as(user, arguments);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", told(&output));
            assert!(told(&output).contains("belongs to user 4321"), "{}", told(&output));
        }
    }
    assert_eq!(fs::read_dir(scene.home.requests_path()).expect("lists").count(), 1);
    let gateway = scene.running_as(OWNER);
    let shown = scene.run_as(0, &["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("degraded") && shown.contains("belongs to user 4321"), "{shown}");
    drop(gateway);

    chown(scene.home.lock_path(), Some(STRANGER), None).expect("chown");
    let output = scene.gateway_as(OWNER).wait_with_output().expect("it ends");
    assert!(told(&output).contains("the lock file belongs to user 4321"), "{}", told(&output));
    let status = scene.run_as(0, &["status"]);
    assert!(told(&status).contains("the lock file belongs to user 4321"), "{}", told(&status));

    let others = Scene::new(STRANGER, 0o1777);
    let output = others.gateway_as(OWNER).wait_with_output().expect("it ends");
    assert!(told(&output).contains("the home belongs to user 4321"), "{}", told(&output));
    let shared = Scene::new(STRANGER, 0o777);
    drop(shared.running_as(OWNER));
}

/// In a home where every user may create a file, no file of root's gets another owner. F19.
#[test]
fn nothing_is_given_away_in_a_shared_home() {
    if !is_root() {
        return;
    }
    for mode in [0o1777, 0o777] {
        let scene = Scene::new(OWNER, mode);
        let output = scene.run_as(0, &["drain", "--holder", "ci"]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let owners = scene.owners();
        assert!(owners.iter().all(|(_, uid)| *uid == 0), "{mode:o}: {owners:?}");
    }
}

/// Found in review: root creates the directory of requests, then opens it by name. In between, the name could come to
/// mean another directory of root's, which then got another owner. The number of rounds is bounded. F19.
#[test]
fn a_directory_of_root_s_is_not_given_away_in_a_race() {
    const ROUNDS: u32 = 200;

    if !is_root() {
        return;
    }
    let scene = Scene::new(OWNER, 0o755);
    let mine = scene.home.path().join("mine");
    fs::create_dir(&mine).expect("mkdir");
    permit(&mine, 0o700);
    fs::write(mine.join("secret"), "precious").expect("writes");
    let inode = fs::metadata(&mine).expect("exists").ino();
    let done = AtomicBool::new(false);
    let all = || {
        let listed = fs::read_dir(scene.home.path()).expect("lists");
        listed.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir())
    };
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            let mut swaps = 0;
            // Relaxed: the flag publishes no other memory.
            while !done.load(Ordering::Relaxed) {
                // Swaps the precious directory, under its current name, with the one that is being created.
                let drafts =
                    all().filter(|path| path.to_string_lossy().contains(".drain_requests"));
                for draft in drafts {
                    let exchange = RenameFlags::EXCHANGE;
                    swaps += u32::from(renameat_with(CWD, &draft, CWD, &mine, exchange).is_ok());
                }
            }
            swaps
        });
        let ask = DrainRequest::new("root").with_holder(Holder::named("ci").expect("a name"));
        for _ in 0..ROUNDS {
            let _ = scene.home.begin_drain(&ask);
            // Removes only what was made here: by now the name may mean the other directory, which is not empty.
            for path in all() {
                let entries = fs::read_dir(&path).into_iter().flatten();
                let entries = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
                for request in entries.filter(|name| name.to_string_lossy().ends_with(".json")) {
                    let _ = fs::remove_file(path.join(request));
                }
                let _ = fs::remove_dir(path);
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(swapping.join().expect("swaps") > 0);
    });
    let found: Vec<_> = all().filter_map(|path| fs::metadata(path).ok()).collect();
    let mine: Vec<_> = found.iter().filter(|it| it.ino() == inode).collect();
    assert_eq!(mine.len(), 1, "it is still there");
    assert_eq!((mine[0].uid(), mine[0].mode() & 0o777), (0, 0o700));
}

/// Two commands are the first ever, at once. Neither takes the other's directory for a stranger's.
#[test]
fn the_first_requests_of_two_at_once_are_both_made() {
    for _ in 0..50 {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::at(dir.path());
        std::thread::scope(|scope| {
            for name in ["a", "b", "c"] {
                let home = &home;
                scope.spawn(move || {
                    let ask =
                        DrainRequest::new(name).with_holder(Holder::named(name).expect("a name"));
                    home.begin_drain(&ask).expect("writes");
                });
            }
        });
        assert_eq!(home.observe().requests().count(), 3);
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1, "no draft is left");
    }
}

/// A user who may only read the home cannot be a gateway, whatever lock they take on the directory. F18.
#[test]
fn a_reader_of_the_directory_stops_no_gateway() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(OWNER, 0o755);
    let locked = |user: u32| {
        let mut command = Command::new("flock");
        command.arg("-x").arg(scene.home.path()).args(["-c", "echo locked; exec cat"]);
        command.uid(user).gid(user).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("flock runs");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("reads");
        assert_eq!(line, "locked\n");
        Process(child)
    };
    let reader = locked(STRANGER);
    let gateway = scene.running_as(OWNER);
    assert_eq!(scene.run_as(OWNER, &["status", "--check", "alive"]).status.code(), Some(0));
    let second = scene.gateway_as(OWNER).wait_with_output().expect("it ends");
    assert!(told(&second).contains("in use"), "{}", told(&second));
    drop((gateway, reader));

    // A process that may write the home may be a gateway whose lock file was removed. So the error names it.
    let writer = locked(OWNER);
    let refused = scene.gateway_as(OWNER).wait_with_output().expect("it ends");
    assert!(told(&refused).contains("is locked by process"), "{}", told(&refused));
    drop(writer);
}

/// A change of owner that fails is reported, and the command succeeds. F19.
#[test]
fn an_owner_that_cannot_be_changed_is_reported() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(OWNER, 0o755);
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-chown"]).arg(scene.program("tidegate"));
    let output = command.args(["drain", "--home"]).arg(scene.home.path()).output();
    let output = output.expect("setpriv runs");
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(told(&output).contains("owner of a file cannot be changed"), "{}", told(&output));
    assert!(scene.home.observe().verdict().asks_for_drain());
}

/// A user who may only read the lock file cannot stop a gateway from starting, and cannot make a dead one look alive.
/// F18.
#[test]
fn a_reader_of_the_lock_fakes_no_gateway_and_stops_none() {
    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::at(dir.path());
    let start = || Gateway::builder(dir.path()).mode(0o640).manual().start();
    drop(start().expect("starts"));
    let reader = File::open(home.lock_path()).expect("opens");
    rustix::fs::flock(&reader, rustix::fs::FlockOperation::LockExclusive).expect("flock");
    // A child that another test has just forked holds every descriptor until it runs its program. So this waits.
    let began = std::time::Instant::now();
    while home.status().expect("reads").is_locked() {
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "nobody holds it");
        std::thread::yield_now();
    }
    drop(start().expect("starts all the same"));

    // A read lock of the same kind as the gateway's lock.
    let reader = File::open(home.lock_path()).expect("opens");
    while !crate::write_lock::take(&reader, nix::libc::F_RDLCK) {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "nobody holds it");
        std::thread::yield_now();
    }
    assert!(!home.status().expect("reads").is_locked());
    let gateway = start().expect("it makes a lock file of its own");
    assert!(home.status().expect("reads").is_alive());
    drop(gateway);
}

/// Found in use: the directory of requests was listed by its handle and then used by its path. Its owner swapped in a
/// link, and root removed and created files elsewhere. The number of rounds is bounded. F18.
#[test]
fn a_directory_that_is_swapped_leads_nobody_elsewhere() {
    const ROUNDS: u32 = 300;

    let dir = tempfile::tempdir().expect("temp dir");
    let [at, aside, victim] = ["home", "aside", "victim"].map(|name| dir.path().join(name));
    fs::create_dir(&at).expect("mkdir");
    fs::create_dir(&victim).expect("mkdir");
    let home = Home::at(&at);
    let requests = home.requests_path();
    fs::create_dir(&requests).expect("mkdir");
    let link = dir.path().join("link");
    symlink(&victim, &link).expect("links");
    let names = ["a.1.json", "b.2.json", "c.3.json"];
    for name in names {
        fs::write(victim.join(name), "precious").expect("writes");
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let mut swaps = 0;
            // Relaxed: the flag publishes no other memory.
            while !done.load(Ordering::Relaxed) {
                for name in names {
                    let _ = fs::write(requests.join(name), "{}");
                }
                let _ = fs::rename(&requests, &aside);
                let _ = fs::rename(&link, &requests);
                let _ = fs::rename(&requests, &link);
                let _ = fs::rename(&aside, &requests);
                swaps += 1;
            }
            swaps
        });
        let ask = DrainRequest::new("root").with_holder(Holder::named("ci").expect("a name"));
        for _ in 0..ROUNDS {
            let _ = home.cancel_all("root");
            let _ = home.begin_drain(&ask);
            let _ = home.renew_drain(ask.holder(), None);
            let _ = home.cancel_drain(ask.holder());
            let _ = home.observe();
        }
        done.store(true, Ordering::Relaxed);
        assert!(swapping.join().expect("swaps") > 0);
    });
    // A late swapper writes through its own link. So a file may contain `{}`, and only the names are compared.
    let mut left: Vec<_> =
        fs::read_dir(&victim).expect("lists").map(|it| it.expect("an entry").file_name()).collect();
    left.sort();
    assert_eq!(left, names, "nothing was removed or created there");
}
