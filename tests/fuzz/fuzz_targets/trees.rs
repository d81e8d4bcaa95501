//! Any names and contents in a home: a look ends, and sees a drain wherever bytes say nothing.

#![no_main]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use tidegate::home::Home;
use tidegate::control::Verdict;
use tidegate::request::Slot;

fuzz_target!(|tree: Vec<(Vec<u8>, Vec<u8>)>| {
    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::at(dir.path());
    fs::create_dir(home.requests_path()).expect("mkdir");
    for (name, bytes) in tree.iter().take(32) {
        let name = OsStr::from_bytes(name);
        // What no file can be called is not there.
        if !name.as_bytes().contains(&b'/') {
            let _ = fs::write(home.requests_path().join(name), bytes);
        }
    }
    let entries = fs::read_dir(home.requests_path()).expect("lists").map(|it| it.expect("an entry"));
    let says_nothing = |entry: fs::DirEntry| {
        let bytes = fs::read(entry.path()).expect("reads");
        Slot::of_file(&entry.file_name()).is_some() && bytes.first() == Some(&b'!')
    };
    let ruined = entries.map(says_nothing).fold(false, |any, one| any | one);
    let observation = home.observe();
    assert_ne!(observation.verdict(), Verdict::Unreadable, "{observation:?}");
    assert!(!ruined || observation.verdict().asks_for_drain(), "{observation:?}");
    home.cancel_all("fuzz").1.expect("removes");
    assert_eq!(home.observe().verdict(), Verdict::Absent);
});
