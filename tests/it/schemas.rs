//! The published schemas describe the recorded files of the original and the files that this library writes. A field
//! that is written and not described fails, and so does one that is described and never written.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};
use tidegate::home::Home;
use tidegate::machine::ShutdownCause;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Gateway, Origin};

/// Turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(30);

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn json_of(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(name: &str) -> Vec<(String, Value)> {
    let listed = fs::read_dir(path(name)).expect("the vector folder");
    let paths = listed.map(|entry| entry.expect("an entry").path());
    let files: Vec<_> = paths.map(|it| (it.display().to_string(), json_of(&it))).collect();
    assert!(!files.is_empty());
    files
}

struct Schema {
    text: Value,
    compiled: Schemas,
    index: SchemaIndex,
    /// The properties that were found in files, each as the place of its description.
    met: BTreeSet<String>,
}

impl Schema {
    fn named(name: &str) -> Schema {
        let text = json_of(&path(&format!("schemas/{name}.schema.json")));
        let mut compiler = Compiler::new();
        compiler.enable_format_assertions();
        compiler.add_resource("urn:test", text.clone()).expect("a resource");
        let mut compiled = Schemas::new();
        // This also checks the schema against the draft that it names.
        let index =
            compiler.compile("urn:test", &mut compiled).unwrap_or_else(|it| panic!("{it:#}"));
        Schema { text, compiled, index, met: BTreeSet::new() }
    }

    fn is_valid(&self, file: &Value) -> bool {
        self.compiled.validate(file, self.index).is_ok()
    }

    /// The file is valid, and each of its fields is described.
    fn must_describe(&mut self, what: &str, file: &Value) {
        if let Err(error) = self.compiled.validate(file, self.index) {
            panic!("{what}: {error:#}\n{file:#}");
        }
        self.visit(what, &self.text.clone(), "", file);
    }

    fn visit(&mut self, what: &str, schema: &Value, place: &str, value: &Value) {
        let (schema, place) = match schema["$ref"].as_str() {
            Some(target) => (self.pointed_at(target), target.to_owned()),
            None => (schema.clone(), place.to_owned()),
        };
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let described = schema["properties"].get(name);
                    if let Some(described) = described {
                        self.met.insert(format!("{place}/properties/{name}"));
                        let place = format!("{place}/properties/{name}");
                        self.visit(what, described, &place, value);
                    } else if schema["additionalProperties"].is_object() {
                        // The names are free here.
                        self.visit(what, &schema["additionalProperties"], &place, value);
                    } else {
                        panic!("{what}: {place}: the schema does not describe {name}: {value}");
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.visit(what, &schema["items"], &format!("{place}/items"), item);
                }
            }
            _ => {}
        }
    }

    fn pointed_at(&self, target: &str) -> Value {
        let pointer = target.strip_prefix('#').expect("a reference within the file");
        self.text.pointer(pointer).unwrap_or_else(|| panic!("{target} leads nowhere")).clone()
    }

    /// Every described property, by its place. Each must have a description.
    fn described(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let defs = self.text["$defs"].as_object().cloned().unwrap_or_default();
        let objects = defs.iter().map(|(name, it)| (format!("#/$defs/{name}"), it));
        for (place, object) in std::iter::once((String::new(), &self.text)).chain(objects) {
            for key in ["title", "description"] {
                assert!(object[key].is_string(), "{place} has no {key}");
            }
            assert_eq!(object["additionalProperties"], true, "{place}: unknown fields are kept");
            for (name, property) in object["properties"].as_object().expect("properties") {
                let description = property["description"].as_str().unwrap_or_default();
                assert!(description.ends_with('.'), "{place}: {name} is not described");
                all.insert(format!("{place}/properties/{name}"));
            }
        }
        all
    }
}

/// What the schema says about a recorded marker. The schema says what to write, not what drains: a file that breaks it
/// drains too.
enum Expected {
    /// A marker as a writer should write it.
    Valid,
    /// An object with other types or words than a writer should use. It is read nevertheless.
    Broken,
    /// Not a JSON object, so without content: its presence drains.
    NoObject,
    /// No bytes to judge: a missing file, a directory, a link, a FIFO, a file without permission.
    NoBytes,
}

fn expected(name: &str) -> Expected {
    match name {
        "valid"
        | "valid_suppress"
        | "valid_other_epoch"
        | "empty_obj"
        | "epoch_\"\""
        | "epoch_\"x\""
        | "epoch_missing"
        | "suppress_true"
        | "suppress_missing"
        | "crlf_valid"
        | "dup_keys_epoch_other_then_current"
        | "huge_5MB_valid_current"
        | "deep_obj_100"
        | "noepoch_marker_other"
        | "noepoch_marker_empty" => Expected::Valid,
        "epoch_null" | "epoch_0" | "epoch_1" | "suppress_\"true\"" | "suppress_0"
        | "suppress_null" | "action_\"cancel\"" | "action_null" | "principal_null" => {
            Expected::Broken
        }
        // Python writes NaN, and this library reads it. It is not JSON.
        "empty"
        | "open_brace"
        | "empty_list"
        | "null"
        | "num"
        | "plain_text"
        | "trailing_garbage"
        | "NaN_value"
        | "truncated_at_20"
        | "truncated_at_153"
        | "bom_valid_current"
        | "invalid_utf8_one_byte"
        | "latin1"
        | "utf16le_bom"
        | "zeros_4096"
        | "huge_5MB_garbage"
        | "deep_list_unclosed_2000" => Expected::NoObject,
        "absent"
        | "is_directory"
        | "symlink_dangling"
        | "symlink_to_valid_file"
        | "fifo_no_writer"
        | "mode_000_uid65534_reader" => Expected::NoBytes,
        other => panic!("say what is expected of {other}"),
    }
}

/// The bytes of a vector; `None` if it has none.
fn bytes_of(vector: &Value) -> Option<Vec<u8>> {
    if let Some(content) = vector["content"].as_str() {
        return Some(content.as_bytes().to_vec());
    }
    if let Some(content) = vector["content_b64"].as_str() {
        return Some(BASE64_STANDARD.decode(content).expect("base64"));
    }
    let generated = vector["gen"].as_object()?;
    let text = |name: &str| generated[name].as_str().expect("a text");
    let count = usize::try_from(generated["count"].as_u64().expect("a count")).expect("fits");
    Some(format!("{}{}{}", text("prefix"), text("unit").repeat(count), text("suffix")).into_bytes())
}

#[test]
fn each_recorded_marker_is_to_the_schema_what_is_expected_of_it() {
    let schema = Schema::named("drain_request");
    for line in fs::read_to_string(path("tests/vectors/reader.jsonl")).expect("vectors").lines() {
        let vector: Value = serde_json::from_str(line).expect("a vector a line");
        let name = vector["name"].as_str().expect("a name");
        let bytes = bytes_of(&vector);
        let read = bytes.as_ref().map(|it| serde_json::from_slice::<Value>(it).ok());
        match (expected(name), read) {
            (Expected::NoBytes, None) | (Expected::NoObject, Some(None)) => {}
            (Expected::NoObject, Some(Some(read))) => {
                assert!(!read.is_object() && !schema.is_valid(&read), "{name}");
            }
            (Expected::Valid, Some(Some(read))) => assert!(schema.is_valid(&read), "{name}"),
            (Expected::Broken, Some(Some(read))) => {
                assert!(read.is_object() && !schema.is_valid(&read), "{name}");
            }
            _ => panic!("{name} is not what it is said to be"),
        }
    }
}

/// The schema describes every field that this library or the original writes into a request, and no others.
#[test]
fn the_request_s_schema_describes_what_is_written_and_no_more() {
    let mut schema = Schema::named("drain_request");
    for (name, marker) in files("tests/vectors/markers") {
        schema.must_describe(&name, &marker);
    }
    for example in schema.text["examples"].as_array().expect("examples").clone() {
        schema.must_describe("an example", &example);
    }

    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::at(dir.path());
    let holder = Holder::named("a-Holder_9").expect("a name");
    let full = DrainRequest::new("zoë \u{202e}\n")
        .with_holder(holder.clone())
        .with_suppress_notification(true)
        .with_hold_internal(true)
        .with_lease(Duration::from_millis(1_500));
    for ask in [DrainRequest::default(), DrainRequest::new("drain-control"), full] {
        let request = home.begin_drain(&ask).expect("begins");
        schema.must_describe("the text", &serde_json::from_str(&request.to_json()).expect("JSON"));
    }
    home.renew_drain(&holder, None).expect("renews");
    schema.must_describe("the shared marker", &json_of(&home.marker_path()));
    let named = fs::read_dir(home.requests_path()).expect("the folder");
    let named: Vec<_> = named.map(|it| it.expect("an entry").path()).collect();
    assert_eq!(named.len(), 1, "{named:?}");
    schema.must_describe("a named request", &json_of(&named[0]));

    assert_eq!(schema.met, schema.described());
}

/// The schema describes every field that this library, in each phase, or the original writes into a status, and no
/// others.
#[test]
fn the_status_s_schema_describes_what_is_written_and_no_more() {
    let mut schema = Schema::named("gateway_state");
    for (name, status) in files("tests/vectors/status") {
        schema.must_describe(&name, &status);
    }

    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::at(dir.path());
    let gateway = Gateway::builder(dir.path()).kind("test").manual().start().expect("starts");
    let mut look = |gateway: &Gateway, lifecycle: &str| {
        gateway.reconcile_now();
        let status = json_of(&home.status_path());
        assert_eq!(status["lifecycle"], lifecycle);
        schema.must_describe(lifecycle, &status);
        let meant = serde_json::from_str(&gateway.status().to_json()).expect("JSON");
        schema.must_describe(lifecycle, &meant);
        status
    };
    assert_eq!(look(&gateway, "running")["ready"], true);

    let user = gateway.admit_labelled(Origin::User, "POST /chat").expect("open");
    let internal = gateway.admit_labelled(Origin::Internal, "timer").expect("open");
    // One request with all fields, one without any, and one that is ruined.
    let holder = Holder::named("updater").expect("a name");
    let ask = DrainRequest::new("alice").with_holder(holder).with_hold_internal(true);
    gateway.begin_drain(&ask).expect("begins");
    fs::write(home.marker_path(), "").expect("writes");
    fs::write(home.requests_path().join("ruined.json"), "{").expect("writes");
    let status = look(&gateway, "externally_draining");
    assert_eq!(status["in_flight"], json!({ "user": 1, "internal": 1 }));
    for (list, length) in [("holders", 3), ("active_work", 2), ("degraded", 2)] {
        assert_eq!(status[list].as_array().map(Vec::len), Some(length), "{list}: {status:#}");
    }

    drop((user, internal));
    assert!(look(&gateway, "externally_draining")["quiesced"] == true);
    gateway.cancel_drain(&Holder::Shared).expect("cancels");
    fs::remove_file(home.requests_path().join("ruined.json")).expect("removes");
    assert!(look(&gateway, "externally_draining")["quiesced_until"].is_u64(), "a promise of time");

    let _ending = gateway.shut_down(ShutdownCause::Sigterm, PATIENCE);
    assert_eq!(look(&gateway, "stopped")["exit_reason"], "SIGTERM");
    drop(gateway);

    let gateway = Gateway::builder(dir.path()).kind("test").manual().start().expect("starts");
    home.cancel_all("test").1.expect("cancels");
    look(&gateway, "running");
    let turn = gateway.admit(Origin::User).expect("open");
    let _ending = gateway.shut_down(ShutdownCause::Operator, PATIENCE);
    assert_eq!(look(&gateway, "shutting_down")["desired_state"], "stopped");
    drop(turn);
    look(&gateway, "stopped");

    assert_eq!(schema.met, schema.described());
}

/// The schemas reject files that contradict themselves, and accept unknown fields.
#[test]
fn the_schemas_tell_right_from_wrong() {
    let schema = Schema::named("gateway_state");
    let gateway = Gateway::in_memory().start().expect("starts");
    let status: Value = serde_json::from_str(&gateway.status().to_json()).expect("JSON");
    let with = |field: &str, value: Value| {
        let mut status = status.clone();
        status[field] = value;
        status
    };
    assert!(schema.is_valid(&with("of_a_later_version", json!([1]))));
    for (field, value) in [
        ("quiesced", json!(true)),
        ("idle", json!("no")),
        ("active_agents", json!(-1)),
        ("lifecycle", json!("draining")),
        ("lifecycle", json!("stopped")),
        ("quiesced_until", json!(5)),
        ("updated_at", json!("yesterday")),
        ("holders", json!([{ "holder": "ci" }])),
        ("in_flight", json!({})),
    ] {
        assert!(!schema.is_valid(&with(field, value.clone())), "{field}: {value}");
    }
    let mut without = status.clone();
    without.as_object_mut().expect("an object").remove("idle");
    assert!(!schema.is_valid(&without), "unknown is never idle");

    let schema = Schema::named("drain_request");
    assert!(schema.is_valid(&json!({ "x-team": "ops" })));
    for wrong in [
        json!({ "holder": "../x" }),
        json!({ "holder": "x".repeat(65) }),
        json!({ "lease_s": -1 }),
        json!({ "lease_s": "60" }),
        json!({ "lease_s": 60 }),
        json!({ "requested_uptime_ms": 1 }),
    ] {
        assert!(!schema.is_valid(&wrong), "{wrong}");
    }
}
