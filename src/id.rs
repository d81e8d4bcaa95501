//! Unique ids. It gives them no meaning.

use crate::host::fresh_number;

/// A new id of 128 bits, unique in practice.
pub(crate) fn fresh_id() -> String {
    format!("{:016x}{:016x}", fresh_number(), fresh_number())
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
