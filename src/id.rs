//! Names that nobody else has. It gives them no meaning.

/// A fresh name: 128 bits from the operating system's seed, this process and this instant.
pub(crate) fn fresh_id() -> String {
    use std::hash::{BuildHasher, RandomState};

    let here_and_now = (std::process::id(), std::time::SystemTime::now());
    let half = || RandomState::new().hash_one(here_and_now);
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| fresh_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 32));
    }
}
