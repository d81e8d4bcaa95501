//! A secret shared with the callers that may order a drain, instead of an identity provider. It never appears in
//! `Debug`, logs or errors. It is compared in constant time, and erased when it is no longer needed.

use std::collections::BTreeMap;
use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::auth::{Principal, Scope, TokenVerifier, Unverified};
use crate::request::DEFAULT_PRINCIPAL;

/// The number of characters that 32 random bytes have in base64, without padding.
const CHARS_MIN: usize = 43;
const DISTINCT_MIN: usize = 16;
const BITS_MIN: f64 = 128.0;

/// Why a secret is not accepted. It reveals only measures of the secret.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WeakSecret {
    /// The secret is empty.
    #[error("secret is empty")]
    Empty,
    /// The secret has a space or a control character, such as the newline at the end of a file. No token in a header
    /// can match it.
    #[error(
        "secret has a space or control character, so no token can match it; remove the character"
    )]
    Untrimmed,
    /// The secret is too short.
    #[error(
        "secret too short: {chars} chars (need >= {CHARS_MIN}; use 32 random bytes in base64, as `openssl rand -base64 32` prints them)"
    )]
    Short {
        /// The number of characters.
        chars: usize,
    },
    /// The secret has too few different characters.
    #[error(
        "secret has only {distinct} distinct characters (need >= {DISTINCT_MIN}); looks structured/low-entropy"
    )]
    Uniform {
        /// The number of different characters.
        distinct: usize,
    },
    /// The characters of the secret are too unevenly distributed.
    #[error(
        "secret entropy too low: {bits:.0} bits (need >= {BITS_MIN:.0}); looks structured/repeated"
    )]
    Structured {
        /// The Shannon entropy, in bits.
        bits: f64,
    },
}

/// One shared secret and its principal.
///
/// A `Vec` of them is a verifier too. Use one for each principal, or the old and the new secret while a secret is
/// replaced.
///
/// ```
/// use tidegate::http::SharedSecret;
/// let secret = std::env::var("DRAIN_SECRET").unwrap_or_default();
/// let verifier = SharedSecret::new(secret); // an error if it is weak or missing
/// # assert!(verifier.is_err());
/// ```
pub struct SharedSecret {
    secret: Zeroizing<Vec<u8>>,
    principal: Principal,
}

impl SharedSecret {
    /// The secret of the principal `drain-control` with the scope [`Scope::Drain`], as in the original implementation.
    ///
    /// # Errors
    ///
    /// [`WeakSecret`] if the secret could be guessed or could never match. Then there is no verifier, and so no router.
    pub fn new(secret: impl Into<Vec<u8>>) -> Result<SharedSecret, WeakSecret> {
        let secret = Zeroizing::new(secret.into());
        assess(&secret)?;
        if secret.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
            return Err(WeakSecret::Untrimmed);
        }
        Ok(SharedSecret {
            secret,
            principal: Principal::new(DEFAULT_PRINCIPAL).with_scope(Scope::Drain),
        })
    }

    /// The same secret for this principal, with its own scopes.
    #[must_use]
    pub fn with_principal(mut self, principal: Principal) -> SharedSecret {
        self.principal = principal;
        self
    }

    /// Compares in a time that does not depend on where a token of the right length differs. A wrong length is not
    /// hidden.
    fn is(&self, token: &[u8]) -> bool {
        self.secret.ct_eq(token).into()
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSecret").field("principal", &self.principal).finish_non_exhaustive()
    }
}

impl TokenVerifier for SharedSecret {
    async fn verify(&self, token: &[u8]) -> Result<Principal, Unverified> {
        if self.is(token) { Ok(self.principal.clone()) } else { Err(Unverified::Rejected) }
    }
}

impl TokenVerifier for Vec<SharedSecret> {
    async fn verify(&self, token: &[u8]) -> Result<Principal, Unverified> {
        // All are compared, so that the time does not reveal which one matched.
        let mut found = None;
        for secret in self {
            if secret.is(token) {
                found = Some(&secret.principal);
            }
        }
        found.cloned().ok_or(Unverified::Rejected)
    }
}

/// Checks the measures of the original implementation in its order: characters, different characters, Shannon entropy.
fn assess(secret: &[u8]) -> Result<(), WeakSecret> {
    if secret.is_empty() {
        return Err(WeakSecret::Empty);
    }
    // Each byte that is not valid text counts as a character.
    let chars: Zeroizing<Vec<u32>> = Zeroizing::new(match std::str::from_utf8(secret) {
        Ok(text) => text.chars().map(u32::from).collect(),
        Err(_) => secret.iter().copied().map(u32::from).collect(),
    });
    if chars.len() < CHARS_MIN {
        return Err(WeakSecret::Short { chars: chars.len() });
    }
    let mut counts = BTreeMap::new();
    for char in chars.iter() {
        *counts.entry(*char).or_insert(0_u32) += 1;
    }
    if counts.len() < DISTINCT_MIN {
        return Err(WeakSecret::Uniform { distinct: counts.len() });
    }
    let length = f64::from(u32::try_from(chars.len()).unwrap_or(u32::MAX));
    let bits = -counts
        .values()
        .map(|count| f64::from(*count))
        .map(|count| count * (count / length).log2())
        .sum::<f64>();
    if bits < BITS_MIN { Err(WeakSecret::Structured { bits }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shown_form_shows_nothing() {
        let secret = "Bnup1ELh1XNZaC3G4m7iTQi4-UM82W2lNpRooIKCngo";
        let shown = format!("{:?}", SharedSecret::new(secret).expect("strong"));
        assert_eq!(
            shown,
            "SharedSecret { principal: Principal { name: \"drain-control\", scopes: {Drain} }, .. }"
        );
        assert_eq!(SharedSecret::new(format!("{secret}\n")).err(), Some(WeakSecret::Untrimmed));
        let short = SharedSecret::new("hunter2").expect_err("weak");
        assert!(!format!("{short} {short:?}").contains("hunter2"));
    }

    #[test]
    fn only_the_very_token_is_the_secret() {
        let secret = "Bnup1ELh1XNZaC3G4m7iTQi4-UM82W2lNpRooIKCngo";
        let shared = SharedSecret::new(secret).expect("strong");
        assert!(shared.is(secret.as_bytes()));
        for end in 0..secret.len() {
            assert!(!shared.is(&secret.as_bytes()[..end]));
            let mut other = secret.as_bytes().to_vec();
            other[end] ^= 1;
            assert!(!shared.is(&other));
        }
        assert!(!shared.is(format!("{secret}x").as_bytes()));
    }
}
