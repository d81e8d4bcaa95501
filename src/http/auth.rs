//! Who may order a drain: the interface that verifies an author's own tokens, and what each principal may do. It
//! knows nothing about drains, and grants no access itself.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use axum::http::{HeaderMap, header};

/// What a principal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scope {
    /// Begin and cancel drains on the shared marker, and of holders that are free or the principal's own.
    Drain,
    /// Also begin and cancel drains of holders whose request another principal has signed, or nobody. Includes
    /// [`Scope::Drain`].
    DrainAny,
}

impl Scope {
    /// The name in tokens and in `WWW-Authenticate`: `drain` or `drain:any`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::Drain => "drain",
            Scope::DrainAny => "drain:any",
        }
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    /// Returns the scope with this [name](Scope::as_str).
    fn from_str(name: &str) -> Result<Scope, UnknownScope> {
        let scopes = [Scope::Drain, Scope::DrainAny];
        scopes.into_iter().find(|scope| scope.as_str() == name).ok_or(UnknownScope(()))
    }
}

/// The error for a text that is not the name of a [`Scope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope: use `drain` or `drain:any`")]
pub struct UnknownScope(());

/// The most characters that a principal's name may have: as many as a subject of OpenID Connect. The status shows
/// the whole name, and whole names are compared.
pub(super) const NAME_CHARS_MAX: usize = 255;

/// A caller whose token was verified. Its name signs its requests and appears in the audit log.
///
/// ```
/// use tidegate::http::{Principal, Scope};
/// let principal = Principal::new("deployer").with_scope(Scope::Drain);
/// assert!(principal.has(Scope::Drain) && !principal.has(Scope::DrainAny));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    name: String,
    scopes: BTreeSet<Scope>,
}

impl Principal {
    /// A principal that may do nothing yet. If the name is empty or has more than 255 characters, every request with
    /// its token is answered with 403. Use a digest instead of a longer name.
    pub fn new(name: impl Into<String>) -> Principal {
        Principal { name: name.into(), scopes: BTreeSet::new() }
    }

    /// Whether the name can sign a request.
    pub(super) fn has_usable_name(&self) -> bool {
        !self.name.is_empty() && self.name.chars().count() <= NAME_CHARS_MAX
    }

    /// The same principal with this scope too.
    #[must_use]
    pub fn with_scope(mut self, scope: Scope) -> Principal {
        self.scopes.insert(scope);
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has this scope.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
            || (scope == Scope::Drain && self.scopes.contains(&Scope::DrainAny))
    }
}

/// Why a token has no principal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unverified {
    /// The token belongs to no principal: 401.
    #[error("the token is not known to this gateway")]
    Rejected,
    /// The principal cannot be determined now: 503. The reason is logged and not sent to the caller.
    #[error("tokens cannot be verified: {reason}")]
    Unavailable {
        /// The reason.
        reason: String,
    },
}

/// Finds the principal of a bearer token. [`SharedSecret`](super::SharedSecret) is one verifier. An author with an
/// identity provider implements another.
///
/// A verifier must not log tokens, and should take as long for a wrong token as for a right one. If it takes longer
/// than ten seconds, it counts as unavailable. If it panics, the caller gets no access.
///
/// ```
/// use tidegate::http::{Principal, Scope, TokenVerifier, Unverified};
///
/// struct MyProvider;
///
/// impl TokenVerifier for MyProvider {
///     async fn verify(&self, token: &[u8]) -> Result<Principal, Unverified> {
///         // … ask it about `token` …
/// #       let _ = token;
///         Ok(Principal::new("deployer").with_scope(Scope::Drain))
///     }
/// }
/// ```
pub trait TokenVerifier: Send + Sync + 'static {
    /// Returns the principal of this token. `token` is the text after `Bearer` in the request, and is never empty.
    fn verify(&self, token: &[u8]) -> impl Future<Output = Result<Principal, Unverified>> + Send;
}

/// The only bearer token of a request. `None` if it has none, or if it is ambiguous.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    // With two headers, it is unknown which one a proxy in front of the server has checked.
    let (Some(credentials), None) = (given.next(), given.next()) else { return None };
    let credentials = credentials.as_bytes();
    let (scheme, token) = credentials.split_at(credentials.iter().position(|byte| *byte == b' ')?);
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty()).then_some(token)
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_bearer_token_is_one_and_clear() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).map(<[u8]>::to_vec)
        };
        for right in ["Bearer abc", "bearer abc", "BEARER   abc "] {
            assert_eq!(of(&[right]).as_deref(), Some(&b"abc"[..]), "{right}");
        }
        for wrong in ["", "Bearer", "Bearer ", "Basic abc", "Bearerabc", "abc", " Bearer abc"] {
            assert_eq!(of(&[wrong]), None, "{wrong}");
        }
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["Bearer abc", "Bearer abc"]), None);
    }

    #[test]
    fn any_includes_one_s_own() {
        let any = Principal::new("ops").with_scope(Scope::DrainAny);
        assert!(any.has(Scope::Drain) && any.has(Scope::DrainAny));
        let own = Principal::new("ci").with_scope(Scope::Drain);
        assert!(own.has(Scope::Drain) && !own.has(Scope::DrainAny));
        assert!(!Principal::new("nobody").has(Scope::Drain));
        assert!(Principal::new("é".repeat(NAME_CHARS_MAX)).has_usable_name());
        for unusable in [String::new(), "é".repeat(NAME_CHARS_MAX + 1)] {
            assert!(!Principal::new(unusable).has_usable_name());
        }
        for scope in [Scope::Drain, Scope::DrainAny] {
            assert_eq!(scope.as_str().parse(), Ok(scope));
        }
    }
}
