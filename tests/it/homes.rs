//! How a gateway and a controller treat a home. Directories are removed or swapped, and others change lock files.
//! Files have any size, and a failure leaves no files behind.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use tidegate::control::Verdict;
use tidegate::home::Home;
use tidegate::request::{DrainRequest, Holder, Slot};
use tidegate::{ControlError, Gateway, Origin};

fn ci() -> Holder {
    Holder::named("ci").expect("a name")
}

fn ask() -> DrainRequest {
    DrainRequest::new("ci").with_holder(ci())
}

struct Scene {
    dir: tempfile::TempDir,
    home: Home,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().expect("temp dir");
        Scene { home: Home::at(dir.path()), dir }
    }

    fn start(&self) -> Gateway {
        start(self.dir.path())
    }
}

fn start(path: &Path) -> Gateway {
    Gateway::builder(path).manual().start().expect("starts")
}

fn is_open(gateway: &Gateway) -> bool {
    gateway.reconcile_now();
    gateway.admit(Origin::User).is_ok()
}

fn details(gateway: &Gateway) -> Vec<String> {
    gateway.reconcile_now();
    gateway.status().degraded.into_iter().map(|it| it.detail).collect()
}

/// A directory that does not exist holds no requests. TG-L3.
#[test]
fn a_directory_of_requests_that_is_removed_takes_its_requests_along() {
    let scene = Scene::new();
    let gateway = scene.start();
    gateway.begin_drain(&ask()).expect("writes");
    fs::remove_dir_all(scene.home.requests_path()).expect("rm");
    assert!(is_open(&gateway));
    let error = scene.home.renew_drain(&ci(), None).expect_err("there is none");
    assert!(matches!(error, ControlError::NoLiveRequest { .. }), "{error}");
    assert!(!scene.home.cancel_drain(&ci()).expect("there is none"));
}

/// While the home's path leads to another directory, no request counts as gone, and a file that is not a request adds
/// no complaint. TG-S10.
#[test]
fn a_home_that_is_elsewhere_releases_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let [home, first, second] = ["home", "first", "second"].map(|name| dir.path().join(name));
    fs::create_dir(&first).expect("mkdir");
    fs::create_dir(&second).expect("mkdir");
    symlink(&first, &home).expect("links");
    let gateway = start(&home);
    gateway.begin_drain(&DrainRequest::new("ops")).expect("writes");
    fs::remove_file(&home).expect("unlinks");
    symlink(&second, &home).expect("links");
    fs::create_dir(Home::at(&first).requests_path().join("junk.json")).expect("mkdir");
    let said = details(&gateway);
    assert!(said.len() == 1 && said[0].contains("leads to another directory"), "{said:?}");
    fs::remove_file(Home::at(&first).marker_path()).expect("removes");
    assert!(!is_open(&gateway));
}

/// Removing the requests releases them, and the lock file is created again. F18.
#[test]
fn a_home_that_was_emptied_is_taken_again() {
    let scene = Scene::new();
    let gateway = scene.start();
    gateway.begin_drain(&DrainRequest::new("ops")).expect("writes");
    fs::remove_dir_all(scene.home.requests_path()).expect("rm");
    fs::remove_file(scene.home.lock_path()).expect("removes");
    fs::remove_file(scene.home.marker_path()).expect("removes");
    assert!(is_open(&gateway));
    assert_eq!(details(&gateway), [""; 0]);
    assert!(scene.home.status().expect("reads").is_alive());
    scene.home.begin_drain(&DrainRequest::new("ops")).expect("writes");
    assert!(!is_open(&gateway));
}

/// Whatever happens to the lock file of a live gateway, the next look repairs it. F18.
#[test]
fn a_lock_file_is_made_again_whatever_became_of_it() {
    let scene = Scene::new();
    let gateway = scene.start();
    let (lock, aside) = (scene.home.lock_path(), scene.dir.path().join("aside"));
    let changes: [(&str, &dyn Fn()); 7] = [
        ("removed", &|| fs::remove_file(&lock).expect("removes")),
        ("moved", &|| fs::rename(&lock, &aside).expect("moves")),
        ("replaced by an empty file", &|| {
            fs::remove_file(&lock).expect("removes");
            fs::write(&lock, "").expect("writes");
        }),
        ("replaced by a file with another's name in it", &|| {
            fs::write(&aside, r#"{"pid":1,"incarnation":"another"}"#).expect("writes");
            fs::rename(&aside, &lock).expect("moves");
        }),
        ("emptied", &|| fs::write(&lock, "").expect("empties")),
        ("filled", &|| fs::write(&lock, "x".repeat(5000)).expect("writes")),
        ("made unreadable", &|| {
            fs::set_permissions(&lock, fs::Permissions::from_mode(0o000)).expect("chmod");
        }),
    ];
    for (what, change) in changes {
        change();
        gateway.reconcile_now();
        let reading = scene.home.status().expect("reads");
        assert!(reading.is_alive(), "{what}");
        assert_ne!(fs::metadata(&lock).expect("exists").mode() & 0o400, 0, "{what}");
        assert_eq!(details(&gateway), [""; 0], "{what}");
        assert!(is_open(&gateway), "{what}");
    }
    // A backup by hard links changes nothing.
    fs::hard_link(&lock, &aside).expect("links");
    assert!(is_open(&gateway) && scene.home.status().expect("reads").is_alive());
    // A directory cannot be a lock file: the status names it.
    fs::remove_file(&lock).expect("removes");
    fs::create_dir(&lock).expect("mkdir");
    assert!(is_open(&gateway));
    let said = details(&gateway);
    assert!(said.len() == 1 && said[0].contains("found a directory instead"), "{said:?}");
    fs::remove_dir(&lock).expect("rmdir");
    assert_eq!(details(&gateway), [""; 0]);
    assert!(scene.home.status().expect("reads").is_alive());
}

/// After a fork, a child holds the lock and has none of the gateway's threads.
#[test]
fn a_gateway_whose_process_is_gone_is_told() {
    let scene = Scene::new();
    let _gateway = scene.start();
    let reading = scene.home.status().expect("reads");
    assert_eq!((reading.starter_gone(), reading.degraded()), (None, Vec::new()));
    let pid_max = fs::read_to_string("/proc/sys/kernel/pid_max").expect("Linux");
    let gone = pid_max.trim().parse::<u32>().expect("a number") + 1; // No process has it.
    let text = fs::read_to_string(scene.home.lock_path()).expect("reads");
    let own = std::process::id().to_string();
    let of_the_child = text.replace(&own, &gone.to_string());
    fs::write(scene.home.lock_path(), &of_the_child).expect("writes");
    let reading = scene.home.status().expect("reads");
    assert!(reading.is_alive(), "its lock is held");
    assert_eq!(reading.starter_gone(), Some(gone));
    assert!(reading.degraded()[0].contains("after the fork"), "{:?}", reading.degraded());
    // For a process of another namespace, nothing is known.
    fs::write(scene.home.lock_path(), of_the_child.replace("pid:[", "pid:[9")).expect("writes");
    assert_eq!(scene.home.status().expect("reads").starter_gone(), None);
}

/// Found in review: all files, with the lock file, were moved into a new directory of the same name. The lock file was
/// the same, and so the gateway took its own, now empty directory for a home without requests.
#[test]
fn a_home_whose_files_were_moved_to_another_directory_is_elsewhere() {
    let dir = tempfile::tempdir().expect("temp dir");
    let [home, old] = ["home", "old"].map(|name| dir.path().join(name));
    fs::create_dir(&home).expect("mkdir");
    let gateway = start(&home);
    gateway.begin_drain(&DrainRequest::new("ops")).expect("writes");
    fs::rename(&home, &old).expect("moves");
    fs::create_dir(&home).expect("mkdir");
    for entry in fs::read_dir(&old).expect("lists") {
        let entry = entry.expect("an entry");
        fs::rename(entry.path(), home.join(entry.file_name())).expect("moves");
    }
    assert!(!is_open(&gateway));
    assert_eq!(gateway.status().degraded[0].code, "home_elsewhere");
    assert!(!Home::at(&home).status().expect("reads").is_alive(), "it is not that directory's");
}

/// Found in review: a request is for the running gateway even if its lock file was emptied or removed since its last
/// look.
#[test]
fn a_gateway_without_a_lock_file_is_still_who_is_addressed() {
    let scene = Scene::new();
    let gateway = scene.start();
    let incarnation = gateway.status().incarnation;
    fs::write(scene.home.lock_path(), "").expect("empties");
    let recipient = || scene.home.recipient().expect("reads");
    assert_eq!(recipient().incarnation(), Some(&*incarnation));
    fs::remove_file(scene.home.lock_path()).expect("removes");
    if scene.home.status().expect("reads").held_by().is_some() {
        assert_eq!(recipient().incarnation(), Some(&*incarnation));
    }
    drop(gateway);
    assert!(!recipient().is_running());
}

/// A deployment flips the link that the home's path is. Each gateway has its own directory. F18.
#[test]
fn a_link_that_is_flipped_leads_to_the_next_gateway() {
    let dir = tempfile::tempdir().expect("temp dir");
    let [current, first, second] = ["current", "1", "2"].map(|name| dir.path().join(name));
    fs::create_dir(&first).expect("mkdir");
    fs::create_dir(&second).expect("mkdir");
    symlink(&first, &current).expect("links");
    let old = start(&current);
    fs::remove_file(&current).expect("unlinks");
    symlink(&second, &current).expect("links");
    assert!(!Home::at(&current).status().expect("reads").is_alive(), "none of that directory");
    let new = start(&current);
    let named = Home::at(&current);
    named.begin_drain(&DrainRequest::new("ops")).expect("writes");
    assert!(is_open(&old), "the request is not for it");
    assert!(!is_open(&new));
    let incarnation = |home: &Home| {
        let reading = home.status().expect("reads");
        assert!(reading.is_alive());
        reading.body().read::<String>("incarnation")
    };
    assert_ne!(incarnation(&named), incarnation(&Home::at(&first)));
    let said = old.status().degraded;
    assert_eq!(said.iter().map(|it| it.code).collect::<Vec<_>>(), ["home_elsewhere"]);
    // A controller that knows the directory by another path can still drain the old gateway.
    Home::at(&first).begin_drain(&DrainRequest::new("ops")).expect("writes");
    assert!(!is_open(&old));
}

#[test]
fn a_lock_file_that_says_nothing_is_a_gateway_s_all_the_same() {
    let scene = Scene::new();
    let _gateway = scene.start();
    fs::write(scene.home.lock_path(), "").expect("empties");
    let reading = scene.home.status().expect("reads");
    assert!(
        reading.is_locked() && !reading.is_alive(),
        "it is not known which gateway wrote the status"
    );
}

#[test]
fn what_is_no_directory_of_requests_is_named() {
    let scene = Scene::new();
    let path = scene.home.requests_path();
    fs::write(&path, "").expect("writes");
    assert_eq!(scene.home.observe().verdict(), Verdict::Unreadable);
    let error = scene.home.cancel_drain(&ci()).expect_err("it is a file").to_string();
    assert!(error.contains("found a file instead of a directory"), "{error}");
    fs::remove_file(&path).expect("removes");
    symlink("nowhere", &path).expect("links");
    let error = scene.home.cancel_drain(&ci()).expect_err("it is a link").to_string();
    assert!(error.contains("found a symbolic link instead"), "{error}");
}

/// A file that is replaced stays closed to the users that it was closed to. F19.
#[test]
fn a_replaced_file_lets_in_nobody_new() {
    let scene = Scene::new();
    let _gateway = Gateway::builder(scene.dir.path()).mode(0o640).manual().start().expect("starts");
    let mode = || fs::metadata(scene.home.marker_path()).expect("exists").mode() & 0o777;
    let begin = || drop(scene.home.begin_drain(&DrainRequest::new("ops")).expect("writes"));
    begin();
    assert_eq!(mode(), 0o640, "the group reads what it may read of the gateway's");
    fs::set_permissions(scene.home.marker_path(), fs::Permissions::from_mode(0o600))
        .expect("permits");
    begin();
    assert_eq!(mode(), 0o600);
}

/// The size limit of a named request, to the byte. Up to the limit the file is read, and a larger file is a drain
/// without content.
#[test]
fn a_request_is_read_up_to_its_bound() {
    for (length, is_dead) in [(16 * 1024, true), (16 * 1024 + 1, false)] {
        let scene = Scene::new();
        let gateway = scene.start();
        let mut text = r#"{"epoch":"another-boot:1"}"#.to_owned();
        text.extend(std::iter::repeat_n(' ', length - text.len()));
        fs::write(scene.home.requests_path().join("a.json"), text).expect("writes");
        assert_eq!(is_open(&gateway), is_dead, "{length}");
    }
}

#[test]
fn a_write_that_fails_leaves_no_draft() {
    let scene = Scene::new();
    fs::create_dir(scene.home.marker_path()).expect("mkdir");
    scene.home.begin_drain(&DrainRequest::new("ops")).expect_err("a directory is there");
    assert_eq!(fs::read_dir(scene.dir.path()).expect("lists").count(), 1);
}

#[test]
fn a_cancel_by_force_says_what_stays_and_removes_the_rest() {
    let scene = Scene::new();
    scene.home.begin_drain(&ask()).expect("writes");
    fs::create_dir(scene.home.marker_path()).expect("mkdir");
    let (removed, result) = scene.home.cancel_all("root");
    assert_eq!(removed.len(), 1);
    result.expect_err("the marker is a directory");
}

/// A renewal removes all earlier requests of its holder.
#[test]
fn a_renewal_leaves_one_request() {
    let scene = Scene::new();
    scene.home.begin_drain(&ask().with_suppress_notification(true)).expect("writes");
    fs::write(scene.home.requests_path().join("ci.0.json"), "{}").expect("writes");
    scene.home.renew_drain(&ci(), None).expect("renews");
    assert_eq!(fs::read_dir(scene.home.requests_path()).expect("lists").count(), 1);

    scene
        .home
        .begin_drain(&DrainRequest::new("ops").with_suppress_notification(true))
        .expect("writes");
    let renewed = scene.home.renew_drain(&Holder::Shared, None).expect("renews");
    assert!(renewed.terms().suppress_notification, "on the same terms");
}

/// Only a holder whose request holds internal work gets the promise of quiesced. TG-S5.
#[test]
fn a_holder_that_holds_nothing_is_promised_nothing() {
    let scene = Scene::new();
    let gateway = scene.start();
    let plain = gateway.begin_drain(&ask()).expect("writes").request;
    gateway.begin_drain(&DrainRequest::new("ops").with_hold_internal(true)).expect("writes");
    gateway.reconcile_now();
    let reading = scene.home.status().expect("reads");
    let id = plain.request_id().expect("named");
    assert!(reading.is_quiesced() && !reading.is_quiesced_for(&ci(), id));
    assert!(reading.is_draining_for(&ci(), id));
}

/// Text from other writers is one line in the log, and is cut to a limit in the status.
#[test]
fn what_others_wrote_is_said_on_one_line_and_bounded() {
    let scene = Scene::new();
    let gateway = scene.start();
    let requests = scene.home.requests_path();
    let stale = r#"{"epoch":"another-boot:1","principal":"x\ny"}"#;
    fs::write(requests.join("stale\n.json"), stale).expect("writes");
    let said = details(&gateway);
    assert!(!said.iter().any(|it| it.contains('\n')), "{said:?}");
    let long = format!(r#"{{"principal":"{}"}}"#, "x".repeat(300));
    fs::write(requests.join("long.1.json"), long).expect("writes");
    gateway.reconcile_now();
    let principal = gateway.status().holders[0].principal.clone().expect("signed");
    assert_eq!(principal.chars().count(), 257, "256, and a mark that there is more");
}

/// A home that is kept open is one directory, whatever its path leads to later.
#[test]
fn a_held_home_stays_where_it_is() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (at, aside) = (dir.path().join("home"), dir.path().join("aside"));
    fs::create_dir(&at).expect("mkdir");
    let held = Home::at(&at).keep_open().expect("opens");
    assert_eq!(held, Home::at(&at));
    assert_ne!(held, Home::at(&at).with_mode(0o640));
    fs::rename(&at, &aside).expect("moves");
    held.begin_drain(&DrainRequest::new("ops")).expect("writes");
    assert!(Home::at(&aside).observe().verdict().asks_for_drain());
    assert!(held.cancel_drain(&Holder::Shared).expect("removes"));
    assert!(matches!(Home::at(&at).keep_open(), Err(ControlError::NoHome { .. })));
    assert!(matches!(held.find_in(&Slot::Shared), tidegate::control::Sighting::Absent));
}
