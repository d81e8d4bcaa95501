//! Packing that makes a state small: cheap to copy, to compare and to hash. It gives fields no meaning. Two states
//! with different fields must differ in packed form, too.

#![expect(clippy::inline_always, reason = "each field's place is then known at compile time")]

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Mutex;

use rustc_hash::{FxBuildHasher, FxHashMap};
use tidegate::internals::gate::PlainGate;

/// The fields of a state as one number, each in as many bits as it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bits {
    bits: u128,
    used: u32,
}

impl Bits {
    /// Adds a field. A value that needs more than `width` bits panics: its state would look like another one.
    #[inline(always)]
    pub(crate) fn put(self, field: impl Into<u64>, width: u32) -> Bits {
        let field = field.into();
        assert!(field >> width == 0 && self.used + width <= 128, "{field} in {width} bits");
        Bits { bits: self.bits | u128::from(field) << self.used, used: self.used + width }
    }

    /// Adds a gate with at most fifteen turns of each origin: nineteen bits.
    #[inline(always)]
    pub(crate) fn put_gate(self, gate: PlainGate) -> Bits {
        let PlainGate { center, stripes: [stripe] } = gate;
        self.put(center.bits() & 0xf, 4)
            .put(center.shares(), 3)
            .put(center.internal(), 4)
            .put(stripe.bits(), 8)
    }

    /// Hashes the number.
    #[inline]
    pub(crate) fn finish<H: Hasher>(self, hasher: &mut H) {
        hasher.write_u128(self.bits);
    }
}

/// A value of a type with few values, as a state holds it: by its number. Two values with the same number are
/// equal. No value is ever dropped.
pub(crate) struct Interned<T: 'static>(&'static Numbered<T>);

struct Numbered<T> {
    number: u32,
    value: T,
}

/// Every value of a type that any state has held.
pub(crate) struct Interner<T: 'static> {
    /// Guards the numbering.
    numbers: Mutex<FxHashMap<T, Interned<T>>>,
}

impl<T> Interner<T> {
    pub(crate) const fn new() -> Interner<T> {
        Interner { numbers: Mutex::new(FxHashMap::with_hasher(FxBuildHasher)) }
    }
}

/// A type with a pool.
pub(crate) trait Intern: Clone + Eq + Hash + Send + Sized + Sync + 'static {
    /// The pool that all models in this process share.
    fn pool() -> &'static Interner<Self>;

    /// This value, by its number.
    fn intern(self) -> Interned<Self> {
        let mut numbers = Self::pool().numbers.lock().expect("nobody panics while numbering");
        if let Some(known) = numbers.get(&self) {
            return *known;
        }
        let number = u32::try_from(numbers.len()).expect("a pool is for few values");
        let intern = Interned(Box::leak(Box::new(Numbered { number, value: self.clone() })));
        numbers.insert(self, intern);
        intern
    }
}

impl<T> Deref for Interned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Interned<T> {
    #[inline]
    pub(crate) fn number(self) -> u32 {
        self.0.number
    }
}

impl<T> Clone for Interned<T> {
    fn clone(&self) -> Interned<T> {
        *self
    }
}

impl<T> Copy for Interned<T> {}

impl<T> PartialEq for Interned<T> {
    fn eq(&self, other: &Interned<T>) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl<T> Eq for Interned<T> {}

impl<T> Hash for Interned<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u32(self.0.number);
    }
}

impl<T: fmt::Debug> fmt::Debug for Interned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Intern for String {
        fn pool() -> &'static Interner<String> {
            static POOL: Interner<String> = Interner::new();
            &POOL
        }
    }

    #[test]
    fn what_is_equal_has_one_number_and_what_is_not_has_two() {
        let [one, again, other] = ["one", "one", "other"].map(|text| text.to_owned().intern());
        assert_eq!((one, one.number()), (again, again.number()));
        assert_ne!(one, other);
        assert_eq!((&*one, &*other), (&"one".to_owned(), &"other".to_owned()));
    }

    #[test]
    fn fields_do_not_overlap() {
        let of = |one: u8, other: u8| Bits::default().put(one, 3).put(other, 2);
        let all: std::collections::HashSet<_> =
            (0..8).flat_map(|one| (0..4).map(move |other| of(one, other))).collect();
        assert_eq!(all.len(), 32);
    }

    #[test]
    #[should_panic(expected = "4 in 2 bits")]
    fn what_does_not_fit_is_refused() {
        let _ = Bits::default().put(4_u8, 2);
    }
}
