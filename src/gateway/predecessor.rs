//! What a start takes from the gateway before it: nothing but the time until which that one may have promised that
//! nothing starts.

use std::io;
use std::time::Duration;

use crate::disk::RealDisk;
use crate::epoch::{Epoch, Now};
use crate::home::{Name, OpenHome};
use crate::json::RawObject;
use crate::marker::{self, Durability};
use crate::request::DEFAULT_LEASE;
use crate::status::{ProcessIdentity, STATUS_BYTES_MAX, Status};

/// Reads the predecessor's promise, and puts the status `starting` in the place of its status. Where that fails, the
/// gateway starts all the same.
pub(super) fn replace_status(
    home: &OpenHome<RealDisk>,
    identity: &ProcessIdentity,
    now: Now,
) -> Option<Duration> {
    let name = Name::Status.as_os_str();
    let read = marker::read(home, home.dir(), name, STATUS_BYTES_MAX);
    let promised = promised_until(read, &identity.epoch, now.uptime);
    // A start that is killed at once leaves the promise to its successor.
    let starting = Status::starting(identity, promised, now).to_json();
    let bytes = starting.as_bytes();
    if let Err(error) = marker::replace(home, home.dir(), name, bytes, Durability::Volatile) {
        tracing::warn!(%error, "cannot write the status `starting`; the gateway starts all the same");
    }
    promised
}

/// The time since boot until which a status with these bytes may promise that nothing starts. One that cannot be
/// read, or is of another boot, may promise as much as the default lease from now.
// Property: TG-S4 quiesced_means_idle.
fn promised_until(read: io::Result<Vec<u8>>, epoch: &str, now: Duration) -> Option<Duration> {
    let at_most = now.saturating_add(DEFAULT_LEASE);
    let body = match read {
        Ok(bytes) => RawObject::parse(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => None,
    };
    let Some(body) = body else { return Some(at_most) };
    let until = Duration::from_millis(body.read("quiesced_until")?);
    let own = Epoch::stated(epoch);
    let is_same_boot = body.string("epoch").is_some_and(|stated| own.is_same_boot_as(&stated));
    let until = if is_same_boot { until } else { at_most };
    Some(until).filter(|until| *until > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_read_and_what_cannot_be_read_may_be_one() {
        let (now, hour) = (Duration::from_secs(100), DEFAULT_LEASE);
        let of = |text: &str| promised_until(Ok(text.as_bytes().to_vec()), "boot:1", now);
        let promise = |epoch: &str, until: u64| {
            of(&format!(r#"{{"epoch":"{epoch}","quiesced":true,"quiesced_until":{until}}}"#))
        };
        assert_eq!(promise("boot:1", 150_000), Some(Duration::from_secs(150)));
        assert_eq!(promise("boot:1", 99_000), None, "it is over");
        assert_eq!(promise("other:1", 5), Some(now + hour));
        assert_eq!(of("{"), Some(now + hour));
        assert_eq!(of(r#"{"quiesced_until":null}"#), None);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(promised_until(Err(denied), "boot:1", now), Some(now + hour));
        assert_eq!(promised_until(Err(io::ErrorKind::NotFound.into()), "boot:1", now), None);
    }
}
