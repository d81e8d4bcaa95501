//! The holder of a drain, and the name of its request's file. It touches no file.
//!
//! A named holder's request is a file of its own, `<holder>.<request_id>.json`, that is never rewritten. A renewal
//! creates another file and then removes the old one. So a request that is dead stays dead, and its removal cannot hit
//! a newer one ([I-35], [I-38]).
//!
//! # Invariants
//!
//! * **TG-S7 owner_release**: [`Slot::is_held_by`] separates one holder's files from all others by their names alone,
//!   whatever they contain.
//!
//! [I-35]: crate::guide::incidents#i-35
//! [I-38]: crate::guide::incidents#i-38

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

use crate::faults::fault;
use crate::text::printable;

/// The greatest length of a holder's name, in bytes.
pub const HOLDER_BYTES_MAX: usize = 64;

/// The holder of a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Holder {
    /// All users of the one shared marker `.drain_request.json` of the original contract. Together they are one holder,
    /// no matter which of them wrote last.
    #[default]
    Shared,
    /// A holder with files of its own.
    Named(HolderName),
}

impl Holder {
    /// The holder with this name.
    ///
    /// # Errors
    ///
    /// [`InvalidHolderName`] if it cannot be the name of a holder.
    ///
    /// ```
    /// use tidegate::request::Holder;
    /// assert!(Holder::named("image-updater").is_ok());
    /// assert!(Holder::named("../../etc/passwd").is_err());
    /// ```
    pub fn named(name: &str) -> Result<Holder, InvalidHolderName> {
        name.parse().map(Holder::Named)
    }

    /// Its name; `None` for the shared marker.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Holder::Shared => None,
            Holder::Named(name) => Some(name.as_str()),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Shared => f.write_str("the shared marker"),
            Holder::Named(name) => name.fmt(f),
        }
    }
}

/// A name that is safe as the first part of a file name. It has 1 to [`HOLDER_BYTES_MAX`] ASCII letters, digits, `-`
/// and `_`, and begins with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HolderName(String);

impl HolderName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HolderName {
    type Err = InvalidHolderName;

    fn from_str(name: &str) -> Result<HolderName, InvalidHolderName> {
        let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if begins_well && name.len() <= HOLDER_BYTES_MAX && name.chars().all(allowed) {
            Ok(HolderName(name.to_owned()))
        } else {
            Err(InvalidHolderName { name: name.chars().take(HOLDER_BYTES_MAX).collect() })
        }
    }
}

/// A text that cannot be a holder's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is not a valid holder name: use 1 to {HOLDER_BYTES_MAX} ASCII letters, digits, '-' or '_', and begin with a letter or digit"
)]
#[non_exhaustive]
pub struct InvalidHolderName {
    /// The text, or its beginning.
    pub name: String,
}

/// The place of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Slot {
    /// The shared marker.
    Shared,
    /// A file of this name among the named requests. Every file counts that ends in `.json` and is not hidden, even one
    /// made by hand.
    File(OsString),
}

impl Slot {
    /// The slot of a named holder's request.
    #[must_use]
    pub fn of(holder: &HolderName, request_id: &str) -> Slot {
        Slot::File(format!("{holder}.{request_id}.json").into())
    }

    /// The slot of a file with this name among the named requests. `None` if the file is not a request, such as a
    /// hidden draft or an editor's backup.
    #[must_use]
    pub fn of_file(name: &OsStr) -> Option<Slot> {
        let bytes = name.as_encoded_bytes();
        (bytes.ends_with(b".json") && !bytes.starts_with(b".")).then(|| Slot::File(name.to_owned()))
    }

    /// The name of its holder: the part of the file name before the first dot. `None` for the shared slot.
    #[must_use]
    pub fn holder_name(&self) -> Option<String> {
        self.parts().map(|(holder, _)| holder)
    }

    /// The id of the request, from the file name. `None` for the shared slot, and for a file made by hand without one.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        self.parts().and_then(|(_, id)| id)
    }

    /// Whether it belongs to this holder.
    #[must_use]
    // Property: TG-S7 owner_release.
    pub fn is_held_by(&self, holder: &Holder) -> bool {
        if fault!(SlotsShared) && !matches!((self, holder), (Slot::Shared, _) | (_, Holder::Shared))
        {
            return true;
        }
        match (self, holder) {
            (Slot::Shared, Holder::Shared) => true,
            // Compares bytes, because every name in a directory passes through here.
            (Slot::File(file), Holder::Named(name)) => {
                let rest = file.as_encoded_bytes().strip_prefix(name.as_str().as_bytes());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
            }
            _ => false,
        }
    }

    fn parts(&self) -> Option<(String, Option<String>)> {
        let Slot::File(name) = self else { return None };
        let name = name.to_string_lossy();
        let stem = name.strip_suffix(".json").unwrap_or(&name);
        Some(match stem.split_once('.') {
            Some((holder, id)) => (holder.to_owned(), Some(id.to_owned())),
            None => (stem.to_owned(), None),
        })
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Shared => f.write_str("the shared marker"),
            Slot::File(name) => f.write_str(&printable(&name.to_string_lossy())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_lead_elsewhere_is_none() {
        let long = "a".repeat(HOLDER_BYTES_MAX + 1);
        for name in
            ["", ".", "..", "../x", "a/b", "a.b", "-x", "_x", "a b", "a\0", "ä", "a\n", &long]
        {
            let error = Holder::named(name).expect_err(name);
            assert!(error.to_string().contains("letters, digits"), "{error}");
        }
        for name in ["a", "9", "image-updater_2", &long[1..]] {
            assert_eq!(Holder::named(name).expect("good").to_string(), name);
        }
    }

    #[test]
    fn a_file_belongs_to_whom_its_name_says() {
        let holder = |name: &str| Holder::named(name).expect("good");
        let Holder::Named(name) = holder("ci") else { unreachable!() };
        let slot = Slot::of(&name, "0af3");
        assert_eq!(slot, Slot::of_file(OsStr::new("ci.0af3.json")).expect("a request"));
        assert_eq!(slot.holder_name().as_deref(), Some("ci"));
        assert_eq!(slot.request_id().as_deref(), Some("0af3"));
        assert!(slot.is_held_by(&holder("ci")));
        for (file, is_ci_s) in [("ci.json", true), ("ci.a.b.json", true), ("ci-2.1.json", false)] {
            let slot = Slot::of_file(OsStr::new(file)).expect("a request");
            assert_eq!(slot.is_held_by(&holder("ci")), is_ci_s, "{file}");
            assert_eq!(slot.holder_name().as_deref() == Some("ci"), is_ci_s, "{file}");
        }
        for other in [holder("c"), holder("ci2"), holder("0af3"), Holder::Shared] {
            assert!(!slot.is_held_by(&other), "{other}");
        }
        assert!(Slot::Shared.is_held_by(&Holder::Shared));
        assert!(!Slot::Shared.is_held_by(&holder("ci")));
    }

    #[test]
    fn what_is_made_by_hand_counts_and_what_is_hidden_does_not() {
        let by_hand = Slot::of_file(OsStr::new("ops.json")).expect("a request");
        assert_eq!((by_hand.holder_name().as_deref(), by_hand.request_id()), (Some("ops"), None));
        for name in [".ci.0af3.json", ".x.tmp", "ci.0af3.json~", "README", ""] {
            assert_eq!(Slot::of_file(OsStr::new(name)), None, "{name}");
        }
    }
}
