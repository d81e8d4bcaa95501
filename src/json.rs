//! A JSON object kept as it was written: markers and status files are read into it. It gives no field a meaning.
//!
//! Values stay raw text. So unknown fields survive unchanged, numbers keep their spelling, and nesting costs no stack,
//! however deep. Python's `NaN` and `Infinity` are read too: the original implementation shares these files, and reads
//! and writes those values.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The fields of a file in their order. Each is kept as its raw text, so nothing is lost or changed.
///
/// ```
/// use tidegate::RawObject;
/// let object = RawObject::parse(br#"{"lease_s": 60, "unknown": [1, 2]}"#).expect("an object");
/// assert_eq!(object.read::<u64>("lease_s"), Some(60));
/// assert_eq!(object.read::<u64>("unknown"), None, "not a number");
/// ```
#[derive(Clone, Debug, Default)]
pub struct RawObject {
    fields: Vec<(String, Box<RawValue>)>,
}

impl RawObject {
    /// The object in these bytes; `None` if they are not a JSON object.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<RawObject> {
        let text = std::str::from_utf8(bytes).ok()?;
        serde_json::from_str(text).or_else(|_| serde_json::from_str(&quote_non_finite(text))).ok()
    }

    /// Whether it has no field at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The same object with this field set to `value`, if it has the field.
    #[must_use]
    pub fn with_flag(mut self, name: &str, value: bool) -> RawObject {
        let text = if value { "true" } else { "false" };
        if let Some((_, raw)) = self.fields.iter_mut().find(|(key, _)| key == name)
            && let Ok(flag) = RawValue::from_string(text.to_owned())
        {
            *raw = flag;
        }
        self
    }

    /// Whether Python takes the field for true.
    pub(crate) fn is_truthy(&self, name: &str) -> bool {
        self.get(name).is_some_and(is_truthy)
    }

    /// A field that Python takes for true: the content of a string, or the raw text of another value.
    pub(crate) fn truthy_text(&self, name: &str) -> Option<String> {
        self.get(name).filter(|raw| is_truthy(raw)).map(as_text)
    }

    fn spelled(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(key, raw)| (key.as_str(), raw.get()))
    }

    fn get(&self, name: &str) -> Option<&RawValue> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, raw)| &**raw)
    }

    /// The field's raw text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(RawValue::get)
    }

    pub(crate) fn string(&self, name: &str) -> Option<String> {
        self.read(name)
    }

    /// The field as a `T`; `None` if it is missing or not a `T`.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }
}

impl RawObject {
    /// The same object, followed by the fields of `other` that it does not have and that are not in `known`.
    #[must_use]
    pub(crate) fn with_others_of(mut self, other: &RawObject, known: &[&str]) -> RawObject {
        let others = other.fields.iter().filter(|(key, _)| !known.contains(&key.as_str()));
        let others: Vec<_> = others.filter(|(key, _)| self.get(key).is_none()).cloned().collect();
        self.fields.extend(others);
        self
    }
}

impl Eq for RawObject {}

impl PartialEq for RawObject {
    /// Two objects are equal if they have the same fields in the same order and spelling.
    fn eq(&self, other: &RawObject) -> bool {
        self.spelled().eq(other.spelled())
    }
}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for (key, raw) in &self.fields {
            map.serialize_entry(key, raw)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawObject, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = RawObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
                let mut seen = HashMap::new();
                let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some((key, raw)) = map.next_entry::<String, Box<RawValue>>()? {
                    // As in Python, the last of several values wins, at the place of the first.
                    match seen.get(&key) {
                        Some(&at) => {
                            let (_, kept): &mut (String, Box<RawValue>) = &mut fields[at];
                            *kept = raw;
                        }
                        None => {
                            seen.insert(key.clone(), fields.len());
                            fields.push((key, raw));
                        }
                    }
                }
                Ok(RawObject { fields })
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// Python's truth of a JSON value: the result of `if body.get("epoch")`.
fn is_truthy(raw: &RawValue) -> bool {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => text != "\"\"",
        Some(b'{' | b'[') => {
            text[1..text.len() - 1].bytes().any(|byte| !byte.is_ascii_whitespace())
        }
        Some(b't') => true,
        Some(b'f' | b'n') | None => false,
        Some(_) => text.parse::<f64>().is_ok_and(|number| number != 0.0),
    }
}

/// The content of a string; for another value its JSON text, which never equals an epoch.
fn as_text(raw: &RawValue) -> String {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
}

/// Quotes `NaN`, `Infinity` and `-Infinity`, which Python's JSON knows and strict JSON does not. A marker that holds
/// one still has content. So outside strings they are read as strings of the same spelling.
fn quote_non_finite(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_string = false;
    while let Some(next) = rest.chars().next() {
        let word = ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| rest.starts_with(word));
        let taken = match (in_string, next, word) {
            (false, _, Some(word)) => {
                quoted.push('"');
                quoted.push_str(word);
                quoted.push('"');
                rest = &rest[word.len()..];
                continue;
            }
            (true, '\\', _) => rest.chars().take(2).map(char::len_utf8).sum(),
            (_, '"', _) => {
                in_string = !in_string;
                1
            }
            _ => next.len_utf8(),
        };
        quoted.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    quoted
}
