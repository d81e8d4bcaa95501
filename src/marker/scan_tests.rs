//! Tests of a look at a disk whose times and file numbers the test sets. They cover what a look reads again, what it
//! concludes from equal times, and what it reports if it could not see all.

use super::*;
use crate::disk::FileKind;
use crate::disk::memory::{Dir, MemoryDisk, stat};
use crate::home::Home;

const NOW: i64 = 1_000;

fn opened(disk: MemoryDisk) -> OpenHome<MemoryDisk> {
    OpenHome::open(disk, &Home::at("/home")).expect("it is there")
}

/// A reader for which every request counts.
fn reader() -> Reader<'static> {
    Reader { counts: &|_| true, first_seen: &|request| request, home_check: &HomeCheck::default }
}

fn look(observer: &Observer, home: &OpenHome<MemoryDisk>) -> RawObservation {
    observer.look(home, &ObserveMode::first(), &[], &reader())
}

/// The principal of each request that was seen.
fn signers(raw: &RawObservation) -> Vec<String> {
    let signer = |(_, sighting): &(Slot, Sighting)| match sighting {
        Sighting::Present(request) => request.principal().map(str::to_owned),
        Sighting::Absent | Sighting::Unreadable(_) => None,
    };
    raw.named.iter().filter_map(signer).collect()
}

fn signed(by: &str) -> String {
    format!(r#"{{"principal":"{by}"}}"#)
}

fn slot(name: &str) -> Slot {
    Slot::File(name.into())
}

#[test]
fn an_unchanged_request_is_not_read_again() {
    let home = opened(MemoryDisk::at(NOW));
    let observer = Observer::default();
    home.disk().lay("a.json", &signed("ann"), 1);
    for opened in [1, 1] {
        assert_eq!(signers(&look(&observer, &home)), ["ann"]);
        assert_eq!(home.disk().count("open"), opened);
    }
    home.disk().remove("a.json", 2);
    look(&observer, &home);
    assert!(observer.known.lock().is_empty(), "a removed request is forgotten");
}

#[test]
fn a_changed_request_is_read_again() {
    type Alter = fn(&mut Stat);
    let alters: [Alter; 6] = [
        |it| it.id.inode += 100,
        |it| it.size += 1,
        |it| it.modified.1 += 1,
        |it| it.changed.1 += 1,
        |it| it.mode ^= 0o040,
        |it| it.uid += 1,
    ];
    for alter in alters {
        let home = opened(MemoryDisk::at(NOW));
        let observer = Observer::default();
        home.disk().lay("a.json", &signed("ann"), 1);
        look(&observer, &home);
        home.disk().alter("a.json", |it| {
            alter(&mut it.stat);
            it.bytes = signed("bob").into();
        });
        assert_eq!(signers(&look(&observer, &home)), ["bob"]);
    }
}

/// Within one tick of the clock that stamps files, a second change leaves no trace.
#[test]
fn a_request_that_was_changed_just_now_is_read_again() {
    for (changed, is_read_again) in [(NOW, true), (NOW - 2, true), (NOW - 3, false)] {
        let home = opened(MemoryDisk::at(NOW));
        let observer = Observer::default();
        home.disk().lay("a.json", &signed("ann"), 1);
        // Its modification time is long ago, but its change time is just now.
        home.disk().alter("a.json", |it| it.stat.changed = (changed, 0));
        look(&observer, &home);
        home.disk().alter("a.json", |it| it.bytes = signed("bob").into());
        let expected = if is_read_again { "bob" } else { "ann" };
        assert_eq!(signers(&look(&observer, &home)), [expected], "{changed}");
    }
}

/// Found by the simulation: if the clock was set back, a later change can get the same time as an earlier one.
#[test]
fn times_prove_nothing_after_the_clock_was_set() {
    for (set_by, is_seen) in [(-5, true), (5, true), (-1, false), (0, false)] {
        let home = opened(MemoryDisk::at(NOW));
        let observer = Observer::default();
        home.disk().lay("a.json", &signed("ann"), 1);
        let since = look(&observer, &home).stamp;
        let before = home.disk().directory.get();
        home.disk().lay("b.json", &signed("late"), 1);
        home.disk().directory.set(before);
        home.disk().second.set(NOW + set_by);
        let raw = observer.look(&home, &ObserveMode::since_stamp(since), &[], &reader());
        assert_eq!(signers(&raw).contains(&"late".to_owned()), is_seen, "{set_by}");

        // A file that was written in place.
        home.disk().second.set(NOW);
        look(&observer, &home);
        home.disk().alter("a.json", |it| it.bytes = signed("bob").into());
        home.disk().second.set(NOW + set_by);
        let is_read = signers(&look(&observer, &home)).contains(&"bob".to_owned());
        assert_eq!(is_read, is_seen, "{set_by}");
    }
}

/// The remembered metadata is that of the file that was read, not of the one that had its name just before.
#[test]
fn a_request_that_is_replaced_before_it_is_opened_is_remembered_as_it_was_read() {
    let home = opened(MemoryDisk::at(NOW));
    let observer = Observer::default();
    home.disk().lay("a.json", &signed("ann"), 1);
    let mut before = None;
    home.disk().before_each(move |call, disk| {
        if call == "open" && before.is_none() {
            before = Some(());
            disk.lay("a.json", &signed("bob"), 1);
        }
    });
    assert_eq!(signers(&look(&observer, &home)), ["bob"]);
    let known = observer.known.lock();
    let known = known.get(std::ffi::OsStr::new("a.json")).expect("it is old enough");
    let found = home.disk().requests.borrow()[std::ffi::OsStr::new("a.json")].stat;
    assert_eq!(known.found, found);
}

#[test]
fn an_entry_that_is_no_longer_a_file_once_it_is_open_is_not_read() {
    let home = opened(MemoryDisk::at(NOW));
    home.disk().lay("a.json", &signed("ann"), 1);
    home.disk().before_each(|call, disk| {
        if call == "open" {
            disk.alter("a.json", |it| it.stat.kind = FileKind::Fifo);
        }
    });
    let raw = look(&Observer::default(), &home);
    assert!(
        matches!(&raw.named[0].1, Sighting::Unreadable(reason) if reason.contains("found a FIFO")),
        "{raw:?}"
    );
}

/// A request is kept as it was first seen, until another request replaces it (F20).
#[test]
fn a_request_is_kept_as_it_was_first_seen() {
    let home = opened(MemoryDisk::at(NOW));
    let observer = Observer::default();
    let ends = |raw: &RawObservation| match &raw.named[0].1 {
        Sighting::Present(request) => request.ends_at().map(|it| it.as_secs()),
        sighting => panic!("{sighting:?}"),
    };
    let look = |end: Option<u64>| {
        let first_seen = |request: Request| match end {
            Some(end) => request.ending_at(std::time::Duration::from_secs(end)),
            None => request,
        };
        let reader = Reader { first_seen: &first_seen, ..reader() };
        ends(&observer.look(&home, &ObserveMode::first(), &[slot("a.json")], &reader))
    };
    home.disk().lay("a.json", &signed("ann"), 1);
    assert_eq!([look(Some(60)), look(Some(90)), look(None)], [Some(60); 3]);
    home.disk().lay("a.json", &signed("bob"), 2);
    assert_eq!([look(Some(70)), look(Some(90))], [Some(70); 2]);
    // Removed, and written again.
    home.disk().remove("a.json", 3);
    observer.look(&home, &ObserveMode::first(), &[slot("a.json")], &reader());
    home.disk().lay("a.json", &signed("bob"), 4);
    assert_eq!(look(Some(80)), Some(80));
    home.disk().lay("a.json", &signed("ann"), 5);
    assert_eq!([look(None), look(Some(90))], [None, Some(90)]);
}

/// An idle look costs two calls and the check of the lock. The check comes last, so that no marker of a home that was
/// replaced before is believed.
#[test]
fn an_idle_look_is_three_calls_in_this_order() {
    let home = opened(MemoryDisk::at(NOW));
    let observer = Observer::default();
    let since = look(&observer, &home).stamp;
    assert!(since.is_some_and(|it| it.is_conclusive && it.is_always_conclusive));
    home.disk().calls.borrow_mut().clear();
    let check = || {
        home.disk().calls.borrow_mut().push("check");
        HomeCheck::Own
    };
    let raw = observer.look(
        &home,
        &ObserveMode::since_stamp(since),
        &[],
        &Reader { home_check: &check, ..reader() },
    );
    assert_eq!(raw.listing, Listing::Unchanged);
    assert_eq!(*home.disk().calls.borrow(), ["stat", "stat requests", "check"]);
}

/// If the home is no longer the gateway's own, the requests that exist count, and no request counts as gone (TG-S10).
#[test]
fn a_home_that_is_not_the_gateway_s_own_shows_only_existing_requests() {
    let (why, known) = ("why".to_owned(), [slot("gone.json")]);
    for home_check in [HomeCheck::Elsewhere(why.clone()), HomeCheck::Taken(why.clone())] {
        let home = opened(MemoryDisk::at(NOW));
        home.disk().lay("a.json", &signed("ann"), 1);
        let finds = || home_check.clone();
        let reader = Reader { home_check: &finds, ..reader() };
        let raw = Observer::default().look(&home, &ObserveMode::first(), &known, &reader);
        assert_eq!(signers(&raw), ["ann"]);
        assert_eq!((raw.named.len(), raw.stamp), (1, None));
        assert_eq!(raw.shared, Sighting::Unreadable(why.clone()));
        let is_taken = matches!(home_check, HomeCheck::Taken(_));
        let listing = if is_taken { Listing::Taken } else { Listing::Partial };
        assert_eq!(raw.listing, listing(why.clone()));
    }
}

/// Equal times prove nothing if they were too recent when the look began, however long the look took.
#[test]
fn a_stamp_is_conclusive_only_if_its_times_were_old_when_the_look_began() {
    for (listed, is_conclusive) in [(NOW - 3, true), (NOW - 2, false), (NOW, false)] {
        let home = opened(MemoryDisk::at(NOW));
        home.disk().lay("a.json", &signed("ann"), listed);
        // A slow look.
        home.disk().before_each(|call, disk| {
            if call == "open" {
                disk.second.set(NOW + 60);
            }
        });
        let stamp = look(&Observer::default(), &home).stamp.expect("it is whole");
        assert_eq!(stamp.is_conclusive, is_conclusive, "{listed}");
    }
}

/// On a file system without reliable times, a stamp is never always conclusive.
#[test]
fn a_stamp_knows_whether_its_file_system_has_reliable_times() {
    let found = stat(FileKind::Directory, 2, 0, 1);
    let now = Clocks { wall: NOW, since_boot: NOW };
    for tells in [true, false] {
        assert_eq!(DirectoryStamp::is_always_conclusive(&Stamp::of(&found, now, tells)), tells);
    }
}

/// The bounds that the guide states.
#[test]
fn the_bounds_are_these() {
    assert_eq!((REQUEST_BYTES_MAX, REQUESTS_MAX), (16_384, 4096));
    assert_eq!((READ_MAX, READ_BYTES_MAX, NAMES_MAX), (65_536, 67_108_864, 262_144));
}

/// A request that is written after the last listing is found by the next look.
#[test]
fn a_stamp_is_from_before_the_listing() {
    let home = opened(MemoryDisk::at(NOW));
    let observer = Observer::default();
    let since = look(&observer, &home).stamp;
    home.disk().lay("late.json", &signed("late"), 3);
    let raw = observer.look(&home, &ObserveMode::since_stamp(since), &[], &reader());
    assert_eq!(signers(&raw), ["late"]);
    assert_ne!(raw.stamp, since);
}

#[test]
fn an_unreadable_entry_leaves_no_stamp() {
    let home = opened(MemoryDisk::at(NOW));
    home.disk().lay("a.json", &signed("ann"), 1);
    home.disk().alter("a.json", |it| it.stat.kind = FileKind::Directory);
    let raw = look(&Observer::default(), &home);
    assert_eq!((raw.listing, raw.stamp), (Listing::Whole, None));
}

/// A known request that is not found while the directory keeps changing may have been renewed unseen.
#[test]
fn a_look_that_never_settles_reports_no_request_as_gone() {
    let home = opened(MemoryDisk::at(NOW));
    home.disk().before_each(|call, disk| {
        if call == "list" {
            disk.touch(5);
        }
    });
    let known = [slot("gone.json")];
    let raw = Observer::default().look(&home, &ObserveMode::first(), &known, &reader());
    assert!(matches!(&raw.listing, Listing::Partial(reason) if reason == TOO_FAST), "{raw:?}");
    assert!(raw.named.is_empty() && raw.stamp.is_none(), "{raw:?}");
}

#[test]
fn a_look_that_settles_late_is_whole() {
    let home = opened(MemoryDisk::at(NOW));
    let mut listings = 0;
    home.disk().before_each(move |call, disk| {
        listings += u32::from(call == "list");
        if call == "list" && listings <= 5 {
            disk.lay(&format!("{listings}.json"), "{}", 5);
        }
    });
    let raw = look(&Observer::default(), &home);
    assert_eq!((raw.listing, raw.named.len()), (Listing::Whole, 5));
}

/// Two listings agree only if no entry was added or removed since before the first of them.
#[test]
fn times_move_for_two_listings() {
    let home = opened(MemoryDisk::at(NOW));
    let mut times = DirectoryTimes::of(&home, &Dir::Requests).expect("it is there");
    let mut moved = || times.moved(&home, &Dir::Requests).expect("it is there");
    assert!(!moved());
    home.disk().touch(5);
    assert_eq!([moved(), moved(), moved()], [true, true, false]);
}

#[test]
fn a_home_without_a_directory_of_requests_has_none() {
    let home = opened(MemoryDisk::at(NOW));
    home.disk().directory.set(None);
    let known = [slot("ci.1.json")];
    let raw = Observer::default().look(&home, &ObserveMode::first(), &known, &reader());
    assert_eq!(raw.listing, Listing::Whole);
    assert_eq!(raw.named, [(known[0].clone(), Sighting::Absent)]);
    let ci = Holder::named("ci").expect("a name");
    assert_eq!(observe_own(&home, &ci).listing, Listing::Whole);
    // A directory that cannot be seen may contain any request.
    home.disk().missing.set(io::ErrorKind::PermissionDenied);
    let raw = Observer::default().look(&home, &ObserveMode::first(), &known, &reader());
    assert!(matches!(&raw.listing, Listing::Partial(_)), "{raw:?}");
    assert!(raw.named.is_empty() && raw.stamp.is_none(), "{raw:?}");
}

#[test]
fn a_look_reads_and_lists_within_bounds() {
    let home = opened(MemoryDisk::at(NOW));
    let dead = format!(r#"{{"epoch":"a:1"}}{}"#, " ".repeat(16 * 1024 - 15));
    assert_eq!(dead.len() as u64, REQUEST_BYTES_MAX);
    for number in 0..=REQUESTS_MAX {
        home.disk().lay(&format!("{number}.json"), &dead, 1);
    }
    let raw = observer_that_counts_none(&home);
    assert!(
        matches!(&raw.listing, Listing::Partial(reason) if reason.contains("bytes in total")),
        "{:?}",
        raw.listing
    );
    // Exactly the bound is read.
    home.disk().remove("0.json", 1);
    assert_eq!(observer_that_counts_none(&home).listing, Listing::Whole);
    home.disk().lay("0.json", &dead, 1);

    let home = opened(MemoryDisk::at(NOW));
    for number in 0..=NAMES_MAX {
        home.disk().requests.borrow_mut().insert(
            format!("junk{number}").into(),
            crate::disk::memory::Node { stat: stat(FileKind::File, 3, 0, 0), bytes: Vec::new() },
        );
    }
    let raw = observer_that_counts_none(&home);
    assert!(matches!(&raw.listing, Listing::Partial(_)), "{:?}", raw.listing);
    let ci = Holder::named("ci").expect("a name");
    assert!(
        super::super::slots_of(&home, &ci).is_err(),
        "the holder's own may be among the unlisted ones"
    );
    home.disk().requests.borrow_mut().pop_last();
    assert_eq!(observer_that_counts_none(&home).listing, Listing::Whole);
    assert!(super::super::slots_of(&home, &ci).is_ok());
}

fn observer_that_counts_none(home: &OpenHome<MemoryDisk>) -> RawObservation {
    Observer::default().look(
        home,
        &ObserveMode::first(),
        &[],
        &Reader { counts: &|_| false, ..reader() },
    )
}

#[test]
fn live_requests_up_to_the_bound_are_all_known_and_one_more_is_reported() {
    let home = opened(MemoryDisk::at(NOW));
    for number in 0..REQUESTS_MAX {
        home.disk().lay(&format!("{number}.json"), "{}", 1);
    }
    assert_eq!(look(&Observer::default(), &home).listing, Listing::Whole);
    home.disk().lay("more.json", "{}", 1);
    let raw = look(&Observer::default(), &home);
    assert!(matches!(&raw.listing, Listing::Partial(reason) if reason.contains("live")));
    assert_eq!(
        observer_that_counts_none(&home).listing,
        Listing::Whole,
        "dead requests do not count"
    );
}
