//! What a drain request says. Whether it counts, [`judge`](crate::judge) decides. This module never touches the file of
//! a request.
//!
//! Presence means drain, so reading a request never fails ([R5]). Whatever the bytes are, the result is a [`Request`],
//! at worst one without content. The format is that of the original contract, with fields added and none renamed. It is
//! read as the original's Python reader reads it, truthiness included.
//!
//! # Invariants
//!
//! * **TG-S10 fail_safe**: [`Request::parse`] is total, and a request without content is a request.
//!
//! [R5]: crate::guide::requirements#r5

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::epoch::{Epoch, Now, millis};
use crate::json::RawObject;
use crate::machine::Terms;
use crate::text::printable_json;

pub use crate::holder::{HOLDER_BYTES_MAX, Holder, HolderName, InvalidHolderName, Slot};

/// The principal of a request whose sender gives none.
///
/// [R2](crate::guide::requirements#r2)
pub const DEFAULT_PRINCIPAL: &str = "drain-control";

/// The shortest lease. A shorter one could end before a watcher looks, and would close nothing.
pub const LEASE_MIN: Duration = Duration::from_secs(1);

/// The longest lease: 366 days. A drain that must last longer is renewed.
pub const LEASE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The lease of a request that does not say otherwise: one hour. A holder that drains for longer renews it.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(3600);

/// The drain that a sender asks for; [`DrainRequest::stamp`] makes a [`Request`] of it.
///
/// ```
/// use tidegate::request::{DrainRequest, Holder};
/// let ask = DrainRequest::new("alice").with_holder(Holder::named("image-updater")?).with_hold_internal(true);
/// # let _ = ask;
/// # Ok::<(), tidegate::request::InvalidHolderName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainRequest {
    holder: Holder,
    principal: String,
    /// Whether it is signed: the principal is not the default.
    is_signed: bool,
    suppress_notification: bool,
    hold_internal: bool,
    lease: Duration,
    /// Whether it ends with the gateway's run.
    this_run: bool,
    /// The fields of the request that this one renews.
    renews: RawObject,
}

impl Default for DrainRequest {
    /// A request without a signer: it names [`DEFAULT_PRINCIPAL`].
    fn default() -> DrainRequest {
        DrainRequest { is_signed: false, ..DrainRequest::new(DEFAULT_PRINCIPAL) }
    }
}

impl DrainRequest {
    /// A request signed by `principal`, in the shared slot, with the default lease.
    pub fn new(principal: impl Into<String>) -> DrainRequest {
        DrainRequest {
            holder: Holder::Shared,
            principal: principal.into(),
            is_signed: true,
            suppress_notification: false,
            hold_internal: false,
            lease: DEFAULT_LEASE,
            this_run: false,
            renews: RawObject::default(),
        }
    }

    /// The same request again, for its holder to renew it. Fields that this library does not know are kept as they are.
    #[must_use]
    pub fn renewal_of(request: &Request, holder: Holder) -> DrainRequest {
        DrainRequest {
            holder,
            principal: request.principal().unwrap_or(DEFAULT_PRINCIPAL).to_owned(),
            is_signed: request.signer().is_some(),
            suppress_notification: request.0.terms.suppress_notification,
            hold_internal: request.0.terms.hold_internal,
            lease: request.0.lease.unwrap_or(DEFAULT_LEASE),
            this_run: request.incarnation().is_some(),
            renews: request.0.body.clone(),
        }
    }

    /// Sets the holder. A named holder has a request of its own. No other holder touches it by a begin, a renewal or a
    /// cancel.
    ///
    /// [F3](crate::guide::requirements#f3),
    /// [I-35](crate::guide::incidents#i-35)
    #[must_use]
    pub fn with_holder(mut self, holder: Holder) -> DrainRequest {
        self.holder = holder;
        self
    }

    /// The holder.
    #[must_use]
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Asks the gateway not to notify users of the drain.
    #[must_use]
    pub fn with_suppress_notification(mut self, suppress: bool) -> DrainRequest {
        self.suppress_notification = suppress;
        self
    }

    /// Asks the gateway to seal the gate at idle, so that it can promise [`Quiesced`](crate::Quiesced).
    #[must_use]
    pub fn with_hold_internal(mut self, hold: bool) -> DrainRequest {
        self.hold_internal = hold;
        self
    }

    /// Sets how long the request lives unless it is renewed. The file has it in whole milliseconds.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> DrainRequest {
        self.lease = lease;
        self
    }

    /// The same request, with a lease of at most this.
    pub(crate) fn lease_at_most(self, most: Duration) -> DrainRequest {
        DrainRequest { lease: self.lease.min(most), ..self }
    }

    /// Ends the request with the current run of the gateway. A service that stops its gateway drains it this way, and
    /// the next start admits again. Promises for the request hold for this run only. The request is refused if no
    /// gateway is running. A gateway that is restored from a checkpoint is the same run: its process never ended.
    ///
    /// [F20](crate::guide::requirements#f20)
    #[must_use]
    pub fn with_this_run(mut self, this_run: bool) -> DrainRequest {
        self.this_run = this_run;
        self
    }

    pub(crate) const fn is_for_this_run(&self) -> bool {
        self.this_run
    }

    /// The request as the file has it, dated `now`. It is for a gateway of this boot and container, and for any run of
    /// it. For the gateway that is running, use [`Recipient::stamp`](crate::recipient::Recipient::stamp).
    #[must_use]
    pub fn stamp(&self, request_id: &str, epoch: &Epoch, now: Now) -> Request {
        self.stamped(request_id, epoch, Some(now.uptime), now.wall, "")
    }

    /// The same, for a gateway of this incarnation. `uptime` is `None` if the gateway does not share this boot clock.
    pub(crate) fn stamped(
        &self,
        request_id: &str,
        epoch: &Epoch,
        uptime: Option<Duration>,
        wall: DateTime<Utc>,
        incarnation: &str,
    ) -> Request {
        #[derive(Serialize)]
        struct OnDisk<'a> {
            action: &'a str,
            requested_at: String,
            principal: &'a str,
            epoch: &'a str,
            suppress_notification: bool,
            request_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            holder: Option<&'a str>,
            lease_s: f64,
            #[serde(skip_serializing_if = "Option::is_none")]
            requested_uptime_ms: Option<u64>,
            hold_internal: bool,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            signed: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            incarnation: Option<&'a str>,
        }
        let on_disk = OnDisk {
            action: "drain",
            requested_at: iso(wall),
            principal: &self.principal,
            epoch: epoch.as_str(),
            suppress_notification: self.suppress_notification,
            request_id,
            holder: self.holder.name(),
            lease_s: whole_milliseconds(self.lease).as_secs_f64(),
            requested_uptime_ms: uptime.map(millis),
            hold_internal: self.hold_internal,
            // Any other principal counts as signed without this field.
            signed: self.is_signed && self.principal == DEFAULT_PRINCIPAL,
            incarnation: Some(incarnation).filter(|it| self.this_run && !it.is_empty()),
        };
        // Strings, numbers and booleans always serialize. An empty text would still mean drain.
        let text = serde_json::to_string(&on_disk).unwrap_or_default();
        // People `cat` the file, so a principal in it is escaped: no terminal obeys it.
        let body = RawObject::parse(printable_json(&text).as_bytes()).unwrap_or_default();
        Request::of_body(body.with_others_of(&self.renews, &KNOWN), false)
    }
}

/// The fields that this library gives a meaning.
const KNOWN: [&str; 12] = [
    "action",
    "requested_at",
    "principal",
    "epoch",
    "suppress_notification",
    "request_id",
    "holder",
    "lease_s",
    "requested_uptime_ms",
    "hold_internal",
    "signed",
    "incarnation",
];

/// A time as the original writes it: in microseconds, with the offset in digits.
pub(crate) fn iso(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, false)
}

fn whole_milliseconds(duration: Duration) -> Duration {
    Duration::from_millis(millis(duration))
}

/// The content of a request file, unknown fields included. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request(Arc<Content>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    body: RawObject,
    /// Whether there was nothing to read, as opposed to content that could not be read.
    is_blank: bool,
    epoch: Option<String>,
    terms: Terms,
    principal: Option<String>,
    is_signed: bool,
    request_id: Option<String>,
    requested_at: Option<DateTime<Utc>>,
    requested_uptime: Option<Duration>,
    lease: Option<Duration>,
    /// The run of the gateway that it is for; `None` if it is for any.
    incarnation: Option<String>,
    /// The time since boot at which it ends, once the judge that keeps it has settled that.
    ends_at: Option<Duration>,
}

impl Request {
    /// Reads a request from these bytes. Never fails: bytes that are not a JSON object are a request without content,
    /// which still drains.
    ///
    /// Costs time and memory linear in the bytes, and no stack, however deep they nest.
    ///
    /// [R4](crate::guide::requirements#r4),
    /// [R5](crate::guide::requirements#r5)
    #[must_use]
    // Property: TG-S10 fail_safe.
    pub fn parse(bytes: &[u8]) -> Request {
        let read = RawObject::parse(bytes);
        let is_blank = match &read {
            Some(body) => body.is_empty(),
            None => bytes.iter().all(u8::is_ascii_whitespace),
        };
        Request::of_body(read.unwrap_or_default(), is_blank)
    }

    fn of_body(body: RawObject, is_blank: bool) -> Request {
        Request(Arc::new(Content {
            is_blank,
            epoch: body.truthy_text("epoch"),
            terms: Terms {
                hold_internal: body.is_truthy("hold_internal"),
                suppress_notification: body.is_truthy("suppress_notification"),
            },
            principal: body.string("principal"),
            is_signed: body.read("signed").unwrap_or(false),
            request_id: body.string("request_id"),
            requested_at: body.string("requested_at").and_then(|text| time_of(&text)),
            requested_uptime: body.read("requested_uptime_ms").map(Duration::from_millis),
            lease: lease_of(&body),
            incarnation: body.truthy_text("incarnation"),
            ends_at: None,
            body,
        }))
    }

    /// Whether the bytes had no readable content. Such a request still drains.
    #[must_use]
    pub fn is_contentless(&self) -> bool {
        self.0.body.is_empty()
    }

    /// Whether there was nothing to read: an empty file, as `touch` makes it, or an object without fields. Content that
    /// cannot be read is not blank.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.0.is_blank
    }

    /// Every field as in the file, in the file's order. A field that occurs twice counts as in Python.
    #[must_use]
    pub fn body(&self) -> &RawObject {
        &self.0.body
    }

    /// The principal that it names. A request without a signer names [`DEFAULT_PRINCIPAL`]: see
    /// [`signer`](Request::signer).
    #[must_use]
    pub fn principal(&self) -> Option<&str> {
        self.0.principal.as_deref()
    }

    /// The principal that has signed it; `None` if it is not signed. A request that names [`DEFAULT_PRINCIPAL`] is
    /// signed only if its field `signed` says so.
    #[must_use]
    pub fn signer(&self) -> Option<&str> {
        self.principal().filter(|name| *name != DEFAULT_PRINCIPAL || self.0.is_signed)
    }

    /// The id of the request; `None` if its writer gave it none.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// When it was made, by its writer's wall clock.
    #[must_use]
    pub fn requested_at(&self) -> Option<DateTime<Utc>> {
        self.0.requested_at
    }

    /// The terms that it asks for.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.0.terms
    }

    /// The incarnation of the gateway that it is for; `None` if it is for any.
    ///
    /// [F20](crate::guide::requirements#f20)
    #[must_use]
    pub fn incarnation(&self) -> Option<&str> {
        self.0.incarnation.as_deref()
    }

    /// Whether both have the same content. When each ends is not compared.
    pub(crate) fn has_same_content(&self, other: &Request) -> bool {
        (&self.0.body, self.0.is_blank) == (&other.0.body, other.0.is_blank)
    }

    /// The time since boot at which it ends; `None` if that was not settled when it was first seen.
    pub(crate) fn ends_at(&self) -> Option<Duration> {
        self.0.ends_at
    }

    /// The same request, which ends at this time since boot whatever the clocks say later.
    pub(crate) fn ending_at(self, end: Duration) -> Request {
        Request(Arc::new(Content { ends_at: Some(end), ..(*self.0).clone() }))
    }

    /// The epoch that it states; `None` if it states none.
    pub(crate) fn stated_epoch(&self) -> Option<&str> {
        self.0.epoch.as_deref()
    }

    /// The time since boot at which it was made, as it states.
    pub(crate) fn requested_uptime(&self) -> Option<Duration> {
        self.0.requested_uptime
    }

    /// How long it lives from when it was made; `None` if it does not say.
    pub(crate) fn lease(&self) -> Option<Duration> {
        self.0.lease
    }

    /// The text of the file, as the original writes it: with an indent of two spaces.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.0.body).unwrap_or_default()
    }
}

/// A time as the original or a person writes it. A time without an offset is UTC.
fn time_of(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.with_timezone(&Utc));
    }
    let (day, time) = (text.get(..10)?, text.get(11..)?);
    // Between day and time Python writes any character that its caller chooses.
    let text = format!("{day}T{time}");
    let with_offset = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"];
    let found = with_offset.iter().find_map(|form| DateTime::parse_from_str(&text, form).ok());
    let without = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
    found.map(|time| time.with_timezone(&Utc)).or_else(|| {
        without
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(&text, form).ok())
            .map(|it| it.and_utc())
    })
}

/// Seconds, whole or not. A value that is not a number of seconds counts as no lease. The request then lives until it
/// is removed, which is what presence means.
fn lease_of(body: &RawObject) -> Option<Duration> {
    let seconds = body.read::<f64>("lease_s").filter(|seconds| *seconds >= 0.0)?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::examples::{epoch, now_at};
    use crate::judge::{Judge, Validity};

    #[test]
    fn a_renewal_keeps_the_fields_that_it_does_not_know() {
        let text = br#"{"note":[1, 2.50],"action":"drain","holder":"ci","x-team":"ops","lease_s":9,"lease_s":5}"#;
        let request = Request::parse(text);
        let again =
            DrainRequest::renewal_of(&request, Holder::Shared).stamp("2", &epoch(), now_at(0));
        assert_eq!(again.body().text("note"), Some("[1, 2.50]"));
        assert_eq!(again.body().text("x-team"), Some("\"ops\""));
        assert_eq!(again.body().text("holder"), None, "a known field, set anew");
        assert_eq!((again.request_id(), again.body().text("lease_s")), (Some("2"), Some("5.0")));
    }

    #[test]
    fn a_blank_request_differs_from_a_corrupt_one() {
        for blank in ["", "\n", " \t\r\n", "{}", " { } "] {
            let request = Request::parse(blank.as_bytes());
            assert!(request.is_blank() && request.is_contentless(), "{blank:?}");
        }
        for ruined in ["{", "[]", "null", "drain", "\u{feff}", "\0"] {
            let request = Request::parse(ruined.as_bytes());
            assert!(!request.is_blank() && request.is_contentless(), "{ruined:?}");
        }
        assert!(!Request::default().is_blank());
    }

    #[test]
    fn what_is_stamped_is_what_is_read() {
        let ask = DrainRequest::new("zoë\n\u{0}")
            .with_suppress_notification(true)
            .with_hold_internal(true);
        let stamped = ask.stamp("id-1", &epoch(), now_at(5));
        let read = Request::parse(stamped.to_json().as_bytes());
        assert_eq!(read.principal(), Some("zoë\n\u{0}"));
        assert_eq!(read.request_id(), Some("id-1"));
        assert_eq!(read.terms(), Terms { hold_internal: true, suppress_notification: true });
        assert_eq!(read.requested_at(), Some(now_at(5).wall));
        assert_eq!(read.to_json(), stamped.to_json());
    }

    #[test]
    fn unknown_fields_are_kept_as_they_are() {
        let text = format!(
            "{{\"x\":1e999,\"deep\":{}1{},\"lone\":\"\\ud800\"}}",
            "[".repeat(5000),
            "]".repeat(5000)
        );
        let request = Request::parse(text.as_bytes());
        assert!(!request.is_contentless());
        assert_eq!(serde_json::to_string(request.body()).expect("serializes"), text);
    }

    #[test]
    fn python_s_other_numbers_do_not_empty_a_marker() {
        let request = Request::parse(
            b"{\"epoch\": \"other\", \"a\": [NaN, -Infinity], \"b\": \"NaN \\\" Infinity\"}",
        );
        assert_eq!(Judge::new(&epoch(), now_at(0)).validity(&request), Validity::StaleEpoch);
        assert_eq!(request.body().string("b").as_deref(), Some("NaN \" Infinity"));
    }
}
