//! This library matches the recorded behaviour of the original implementation (`tests/vectors/`): what it writes and
//! how it reads. The tests also say where this library differs on purpose.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Map, Value, json};
use tidegate::Gateway;
use tidegate::control::{Sighting, Verdict};
use tidegate::epoch::Epoch;
use tidegate::home::Home;
use tidegate::judge::Judge;
use tidegate::machine::Phase;
use tidegate::request::{DrainRequest, Request, Slot};

fn vectors(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

fn lines(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(vectors(name)).expect("the vector file");
    text.lines().map(|line| serde_json::from_str(line).expect("a vector a line")).collect()
}

fn files(name: &str) -> Vec<(String, Value)> {
    let listed = fs::read_dir(vectors(name)).expect("the vector folder");
    let mut files: Vec<_> = listed
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a vector file");
            (path.display().to_string(), serde_json::from_str(&text).expect("JSON"))
        })
        .collect();
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(!files.is_empty());
    files
}

#[test]
fn epochs_are_spelled_as_the_original_spells_them() {
    for vector in lines("epoch.jsonl") {
        let epoch =
            Epoch::from_texts(vector["boot_id_text"].as_str(), vector["stat_text"].as_str());
        assert_eq!(
            epoch.as_str(),
            vector["epoch"].as_str().expect("a string"),
            "{}",
            vector["name"]
        );
    }
}

#[test]
fn markers_are_written_with_the_original_s_fields_in_its_order() {
    for (name, recorded) in files("markers") {
        let recorded: &Map<String, Value> = recorded.as_object().expect("an object");
        let home = tempfile::tempdir().expect("temp dir");
        let ask = DrainRequest::new(recorded["principal"].as_str().expect("a principal"))
            .with_suppress_notification(recorded["suppress_notification"] == json!(true));
        Home::at(home.path()).begin_drain(&ask).expect("begins");

        let text = fs::read_to_string(home.path().join(".drain_request.json")).expect("the marker");
        let written: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
        // The same order, and the same values except the time and the epoch.
        let ours: Vec<_> = written.keys().cloned().collect();
        for (field, value) in recorded {
            assert!(ours.contains(field), "{name}: {field} is missing");
            if field != "requested_at" && field != "epoch" {
                assert_eq!(&written[field], value, "{name}: {field}");
            }
        }
        let order = ["action", "requested_at", "principal", "epoch", "suppress_notification"];
        let places: Vec<_> = order.map(|field| text.find(&format!("\n  \"{field}\": "))).into();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{name}: {text}");
        let at = written["requested_at"].as_str().expect("a time");
        assert!(
            at.ends_with("+00:00") && at.len() == "2026-11-23T17:14:59.432715+00:00".len(),
            "{at}"
        );
        assert_eq!(written["epoch"], json!(Epoch::current().as_str()));
    }
}

#[test]
fn the_original_s_status_files_are_understood() {
    for (name, recorded) in files("status") {
        let home = tempfile::tempdir().expect("temp dir");
        let home = Home::at(home.path());
        fs::write(home.status_path(), recorded.to_string()).expect("writes");
        let reading = home.status().expect("reads");
        assert_eq!(
            reading.gateway_state().as_deref(),
            recorded["gateway_state"].as_str(),
            "{name}"
        );
        assert_eq!(reading.active_agents(), recorded["active_agents"].as_u64(), "{name}");
        assert!(
            !reading.is_alive() && !reading.is_drainable() && !reading.is_busy(),
            "{name}: nobody holds the lock"
        );

        // With the lock held, our readers conclude the same as the original's.
        let lock = fs::File::create(home.lock_path()).expect("creates");
        assert!(crate::write_lock::take(&lock, nix::libc::F_WRLCK), "nobody has it");
        let reading = home.status().expect("reads");
        let running = recorded["gateway_state"] == "running";
        assert_eq!(reading.is_drainable(), running, "{name}");
        assert_eq!(reading.is_busy(), running && recorded["active_agents"] != 0, "{name}");
    }
}

#[test]
fn our_status_file_has_the_original_s_fields_first_and_in_its_order() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::builder(dir.path()).kind("hermes-gateway").start().expect("starts");
    let text = fs::read_to_string(dir.path().join("gateway_state.json")).expect("the status");
    let ours: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
    for (name, recorded) in files("status") {
        for (field, value) in recorded.as_object().expect("an object") {
            let same_kind = std::mem::discriminant(value) == std::mem::discriminant(&ours[field]);
            assert!(same_kind || value.is_null() || ours[field].is_null(), "{name}: {field}");
        }
    }
    let order = [
        "pid",
        "kind",
        "argv",
        "start_time",
        "gateway_state",
        "exit_reason",
        "restart_requested",
        "active_agents",
        "platforms",
        "updated_at",
        "lifecycle",
    ];
    let places: Vec<_> = order.map(|field| text.find(&format!("\"{field}\":"))).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
    assert!(!text.contains('\n'), "one line, as the original writes it");
    drop(gateway);
}

/// Creates a vector's marker: a file, or another kind of thing.
fn lay(vector: &Value, at: &Path, epoch: &str) {
    let with_epoch = |text: &str| text.replace("<CURRENT>", epoch);
    let valid =
        with_epoch(r#"{"action":"drain","epoch":"<CURRENT>","suppress_notification":true}"#);
    if let Some(text) = vector["content"].as_str() {
        fs::write(at, with_epoch(text)).expect("writes");
    } else if let Some(text) = vector["content_b64"].as_str() {
        let decoded = BASE64_STANDARD.decode(text).expect("base64");
        let bytes = match String::from_utf8(decoded) {
            Ok(text) => with_epoch(&text).into_bytes(),
            Err(not_text) => not_text.into_bytes(),
        };
        fs::write(at, bytes).expect("writes");
    } else if let Some(parts) = vector["gen"].as_object() {
        let part = |name: &str| parts[name].as_str().expect("a string");
        let count = usize::try_from(parts["count"].as_u64().expect("a number")).expect("fits");
        let text = with_epoch(part("prefix")) + &part("unit").repeat(count) + part("suffix");
        fs::write(at, text).expect("writes");
    } else {
        match vector["name"].as_str().expect("a name") {
            "absent" => {}
            "is_directory" => fs::create_dir(at).expect("mkdir"),
            "symlink_dangling" => symlink("nowhere", at).expect("symlink"),
            "symlink_to_valid_file" => {
                let target = at.with_extension("target");
                fs::write(&target, valid).expect("writes");
                symlink(target, at).expect("symlink");
            }
            "fifo_no_writer" => {
                mknodat(CWD, at, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("mkfifo");
            }
            "mode_000_uid65534_reader" => {
                fs::write(at, valid).expect("writes");
                fs::set_permissions(at, fs::Permissions::from_mode(0o000)).expect("chmod");
            }
            other => panic!("a setup this test does not know: {other}"),
        }
    }
}

/// The verdict of this library if it differs from the original on purpose (see `tests/vectors/README.md`).
fn on_purpose(name: &str, marker: &Path) -> Option<&'static str> {
    // The mode does not stop a user who may read every file.
    let can_read = name.starts_with("mode_000") && fs::read(marker).is_ok();
    HashMap::from([
        // The original raises an exception, and its state does not change.
        ("invalid_utf8_one_byte", "active"),
        ("latin1", "active"),
        ("utf16le_bom", "active"),
        ("deep_list_unclosed_2000", "active"),
        // The original reads "no drain" because it cannot read the file.
        ("is_directory", "unreadable"),
        ("mode_000_uid65534_reader", if can_read { "active" } else { "unreadable" }),
        // The original follows a symbolic link.
        ("symlink_dangling", "unreadable"),
        ("symlink_to_valid_file", "unreadable"),
        // The original hangs.
        ("fifo_no_writer", "unreadable"),
    ])
    .get(name)
    .copied()
}

/// A value that is not JSON is recorded as an object. This library reads it as a string.
fn as_ours(recorded: &Value) -> Value {
    match recorded {
        Value::Object(fields) => match fields.get("$float") {
            Some(float) => float.clone(),
            None => fields.iter().map(|(key, value)| (key.clone(), as_ours(value))).collect(),
        },
        other => other.clone(),
    }
}

#[test]
fn markers_are_read_as_the_original_reads_them() {
    const EPOCH: &str = "7dabe567-13b2-4d0b-9b4d-66bb48451690:22";
    let now = tidegate::epoch::Now {
        uptime: std::time::Duration::from_secs(1),
        wall: chrono::Utc::now(),
    };
    let vectors = lines("reader.jsonl");
    assert_eq!(vectors.len(), 47);
    for vector in vectors {
        let name = vector["name"].as_str().expect("a name");
        let dir = tempfile::tempdir().expect("temp dir");
        let path = Home::at(dir.path()).marker_path();
        lay(&vector, &path, EPOCH);
        let current = if name.starts_with("noepoch") {
            Epoch::from_texts(None, None)
        } else {
            let (boot_id, started) = EPOCH.split_once(':').expect("two parts");
            let stat = format!("1 (init) S{} {started}", " 0".repeat(18));
            Epoch::from_texts(Some(boot_id), Some(&stat))
        };
        let sighting = Home::at(dir.path()).find_in(&Slot::Shared);
        let verdict = Verdict::of(&sighting, &Judge::new(&current, now));
        if let Some(ours) = on_purpose(name, &path) {
            assert_eq!(verdict.as_str(), ours, "{name}");
            continue;
        }
        let suppressed = matches!(verdict, Verdict::Active(terms) if terms.suppress_notification);
        assert_eq!(
            json!(verdict.asks_for_drain()),
            vector["requested"]["value"],
            "{name}: requested"
        );
        assert_eq!(json!(suppressed), vector["suppressed"]["value"], "{name}: suppressed");
        let Some(recorded) = vector["read"].get("value") else {
            assert!(vector["read"]["value_abbrev"].is_string(), "{name}");
            continue;
        };
        let read = match &sighting {
            Sighting::Absent => Value::Null,
            Sighting::Present(request) => serde_json::to_value(request.body()).expect("JSON"),
            Sighting::Unreadable(reason) => panic!("{name}: {reason}"),
        };
        let recorded = recorded.to_string().replace("<CURRENT>", EPOCH);
        assert_eq!(read, as_ours(&serde_json::from_str(&recorded).expect("JSON")), "{name}: read");
    }
}

#[test]
fn a_gateway_does_what_the_original_s_watcher_did() {
    let epoch = Epoch::current();
    for vector in lines("reader.jsonl") {
        let name = vector["name"].as_str().expect("a name");
        if name.starts_with("noepoch") && !epoch.is_unknown() {
            continue;
        }
        for (from, column) in [
            (Phase::Running, "watcher_from_idle"),
            (Phase::ExternallyDraining, "watcher_from_draining"),
        ] {
            let dir = tempfile::tempdir().expect("temp dir");
            let home = Home::at(dir.path());
            if from == Phase::ExternallyDraining {
                home.begin_drain(&DrainRequest::default()).expect("begins");
            }
            let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
            assert_eq!(gateway.phase(), from);
            let _ = fs::remove_file(home.marker_path());
            lay(&vector, &home.marker_path(), epoch.as_str());
            gateway.reconcile_now();

            let drains = gateway.phase() == Phase::ExternallyDraining;
            let expected = match on_purpose(name, &home.marker_path()) {
                Some("active") => true,
                Some(_) => from == Phase::ExternallyDraining,
                None => vector[column]["value"].as_bool().expect("a recorded answer"),
            };
            assert_eq!(drains, expected, "{name} {column}");
        }
    }
}

#[test]
fn a_marker_by_the_original_is_a_request_without_a_lease() {
    let text = fs::read_to_string(vectors("markers/begin.json")).expect("the vector");
    let request = Request::parse(text.as_bytes());
    assert_eq!(request.principal(), Some("drain-control"));
    assert!(request.request_id().is_none());
}
