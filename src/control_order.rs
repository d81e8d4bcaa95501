//! Reads an order of a control plane from the bytes of a request's body. It carries nothing out. Whatever the bytes
//! are, it never takes one order for another.
//!
//! A request file without readable content is still a drain, because its presence asks for one. A body is not a file:
//! it may be cut off, damaged or meant for another endpoint. The original takes a body that it cannot parse for a
//! drain. So a cancel that was cut short began a drain ([U9], [U40]).
//!
//! # Invariants
//!
//! * **TG-S14 receipt_is_true**: [`ControlOrder::parse`] is total. Bytes that cannot be read are an error, never an
//!   order ([F15]). Only an empty body, or an object without an action, means drain ([R11]).
//!
//! [U9]: crate::guide::incidents#u9
//! [U40]: crate::guide::incidents#u40
//! [F15]: crate::guide::requirements#f15
//! [R11]: crate::guide::requirements#r11

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::faults::fault;
use crate::holder::{Holder, InvalidHolderName};
use crate::json::RawObject;
use crate::request::{DEFAULT_LEASE, DrainRequest, LEASE_MAX, LEASE_MIN};

/// The longest wait for an answer: one hour.
pub const WAIT_MAX: Duration = Duration::from_secs(3600);

/// The number of named requests that one principal may have at once. So no principal can fill the home.
pub const REQUESTS_PER_PRINCIPAL_MAX: usize = 64;

/// An order of a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlOrder {
    /// Begin a drain, or renew it.
    Drain(DrainParams),
    /// Cancel the drain of a holder.
    Cancel {
        /// The holder.
        holder: Holder,
    },
}

/// The parameters of a drain that is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainParams {
    /// The holder of the drain; the shared marker if the order names none.
    pub holder: Holder,
    /// How long the drain lives unless it is renewed.
    pub lease: Duration,
    /// Whether internal work is held too.
    pub hold_internal: bool,
    /// Whether users are not notified.
    pub suppress_notification: bool,
    /// Whether the drain ends with the gateway's run.
    pub this_run: bool,
    /// The wait before the answer; `None` if the answer comes at once.
    pub wait: Option<WaitSpec>,
}

/// What an answer waits for, and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitSpec {
    /// The longest wait.
    pub at_most: Duration,
    /// Whether an idle reading is enough, instead of a promise.
    pub idle_is_enough: bool,
}

impl DrainParams {
    /// The request for these parameters, signed by `principal`.
    #[must_use]
    pub fn request(&self, principal: impl Into<String>) -> DrainRequest {
        DrainRequest::new(principal)
            .with_holder(self.holder.clone())
            .with_lease(self.lease)
            .with_hold_internal(self.hold_internal)
            .with_suppress_notification(self.suppress_notification)
            .with_this_run(self.this_run)
    }
}

/// Why a body is not a valid order. `Display` names the problem and what to send instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlOrderError {
    /// The bytes are not a JSON object.
    #[error(
        "the body is not a JSON object ({reason}); nothing was done: send a JSON object, or no body to begin a drain"
    )]
    Unreadable {
        /// What is wrong with the bytes.
        reason: String,
    },
    /// There is no such action.
    // The words are the original's: callers may compare them.
    #[error("Unknown drain action '{action}'; expected 'drain' or 'cancel'")]
    UnknownAction {
        /// The action that was given, or its beginning.
        action: String,
    },
    /// A field has a value that is not allowed.
    #[error("'{name}' must be {expected}; nothing was done")]
    Field {
        /// The name of the field.
        name: &'static str,
        /// The values that are allowed.
        expected: &'static str,
    },
    /// `holder` is not a valid name of a holder.
    #[error(transparent)]
    Holder(#[from] InvalidHolderName),
    /// Fields that contradict each other.
    #[error("{0}; nothing was done")]
    Contradiction(&'static str),
}

/// An error repeats this many characters of an unknown action.
const ACTION_MAX: usize = 64;

impl ControlOrder {
    /// Reads the order in these bytes. Fields that it does not know are ignored, as in the original. A field that is
    /// `null` counts as absent, except the action.
    ///
    /// ```
    /// use tidegate::internals::control_order::{ControlOrder, ControlOrderError};
    /// assert!(matches!(ControlOrder::parse(b""), Ok(ControlOrder::Drain(_))));
    /// assert!(matches!(ControlOrder::parse(br#"{"action":"cancel"}"#), Ok(ControlOrder::Cancel { .. })));
    /// assert!(matches!(ControlOrder::parse(br#"{"action":"cancel""#), Err(ControlOrderError::Unreadable { .. })));
    /// ```
    ///
    /// # Errors
    ///
    /// [`ControlOrderError`] says what is wrong.
    // Property: TG-S14 receipt_is_true.
    pub fn parse(bytes: &[u8]) -> Result<ControlOrder, ControlOrderError> {
        let body = if bytes.is_empty() { Ok(RawObject::default()) } else { object(bytes) };
        let body = match body {
            Err(_) if fault!(CutOrderIsRead) => RawObject::default(),
            body => body?,
        };
        match action(&body).as_str() {
            "drain" => OrderFields::of(&body)?.terms().map(ControlOrder::Drain),
            // A cancel needs only the holder. An error in another field is still reported.
            "cancel" => {
                OrderFields::of(&body).map(|fields| ControlOrder::Cancel { holder: fields.holder })
            }
            unknown => {
                let action = unknown.chars().take(ACTION_MAX).collect::<String>();
                Err(ControlOrderError::UnknownAction { action: action.escape_debug().to_string() })
            }
        }
    }
}

/// The outcome of a cancel, as it is reported to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelOutcome {
    /// Whether the cancel was carried out.
    pub ok: bool,
    /// Whether there was something to cancel. After a cancel that failed this is `true`: the drain may still be on.
    pub was_draining: bool,
}

impl CancelOutcome {
    /// The outcome of this cancel. A cancel that failed is never reported as one that found nothing. The drain stays
    /// on, and its holder would believe that the gate is open.
    ///
    /// [U8](crate::guide::incidents#u8),
    /// [U38](crate::guide::incidents#u38)
    #[must_use]
    // Property: TG-S14 receipt_is_true.
    pub fn of<E>(outcome: &Result<bool, E>) -> CancelOutcome {
        match outcome {
            Ok(was_draining) => CancelOutcome { ok: true, was_draining: *was_draining },
            Err(_) if fault!(FailedCancelIsOk) => CancelOutcome { ok: true, was_draining: false },
            Err(_) => CancelOutcome { ok: false, was_draining: true },
        }
    }
}

fn object(bytes: &[u8]) -> Result<RawObject, ControlOrderError> {
    RawObject::parse(bytes).ok_or_else(|| {
        let error = serde_json::from_slice::<RawObject>(bytes).err();
        let reason = error.map_or_else(|| "it is not UTF-8".to_owned(), |error| error.to_string());
        ControlOrderError::Unreadable { reason }
    })
}

/// The action as the original compares it: trimmed and in lower case, whatever its JSON type.
fn action(body: &RawObject) -> String {
    let given = match body.text("action") {
        None => "drain".to_owned(),
        Some(raw) => match body.string("action") {
            Some(text) => text,
            None if raw == "null" => "none".to_owned(),
            None => raw.to_owned(),
        },
    };
    // Python also strips the four separators from U+001C to U+001F.
    let is_space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    given.trim_matches(is_space).to_lowercase()
}

/// The fields, each checked by itself.
struct OrderFields {
    holder: Holder,
    lease: Duration,
    hold_internal: Option<bool>,
    suppress_notification: bool,
    this_run: bool,
    at_most: Option<Duration>,
    idle_is_enough: bool,
}

impl OrderFields {
    fn of(body: &RawObject) -> Result<OrderFields, ControlOrderError> {
        let name: Option<String> = field(body, "holder", "a string with the name of a holder")?;
        let flag = |name| field::<bool>(body, name, "true or false");
        let a_year = "a number of seconds from 1 to 31622400 (366 days)";
        let an_hour = "a number of seconds from 0 to 3600";
        Ok(OrderFields {
            holder: name.map_or(Ok(Holder::Shared), |name| Holder::named(&name))?,
            lease: seconds(body, "lease_s", a_year, LEASE_MIN..=LEASE_MAX)?
                .unwrap_or(DEFAULT_LEASE),
            hold_internal: flag("hold_internal")?,
            suppress_notification: flag("suppress_notification")?.unwrap_or(false),
            this_run: flag("this_run")?.unwrap_or(false),
            at_most: seconds(body, "wait", an_hour, Duration::ZERO..=WAIT_MAX)?,
            idle_is_enough: flag("idle_is_enough")?.unwrap_or(false),
        })
    }

    /// The parameters, if the fields do not contradict each other.
    fn terms(self) -> Result<DrainParams, ControlOrderError> {
        let OrderFields { holder, lease, hold_internal, suppress_notification, this_run, .. } =
            self;
        let OrderFields { at_most, idle_is_enough, .. } = self;
        if idle_is_enough && at_most.is_none() {
            return Err(ControlOrderError::Contradiction(
                "'idle_is_enough' needs 'wait'; give both",
            ));
        }
        if idle_is_enough && hold_internal == Some(true) {
            return Err(ControlOrderError::Contradiction(
                "'hold_internal' and 'idle_is_enough' exclude each other; give only one",
            ));
        }
        if at_most.is_some() && !idle_is_enough && hold_internal == Some(false) {
            return Err(ControlOrderError::Contradiction(
                "'wait' needs 'hold_internal'; do not set it to false, or set 'idle_is_enough' to true",
            ));
        }
        if at_most.is_some_and(|wait| wait >= lease) {
            return Err(ControlOrderError::Contradiction(
                "'lease_s' must be greater than 'wait'; give a longer lease or a shorter wait",
            ));
        }
        let wait = at_most.map(|at_most| WaitSpec { at_most, idle_is_enough });
        let hold_internal = hold_internal.unwrap_or(wait.is_some() && !idle_is_enough);
        Ok(DrainParams { holder, lease, hold_internal, suppress_notification, this_run, wait })
    }
}

fn seconds(
    body: &RawObject,
    name: &'static str,
    expected: &'static str,
    range: RangeInclusive<Duration>,
) -> Result<Option<Duration>, ControlOrderError> {
    let Some(seconds) = field::<f64>(body, name, expected)? else { return Ok(None) };
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|it| range.contains(it));
    duration.map(Some).ok_or(ControlOrderError::Field { name, expected })
}

fn field<T: serde::de::DeserializeOwned>(
    body: &RawObject,
    name: &'static str,
    expected: &'static str,
) -> Result<Option<T>, ControlOrderError> {
    match body.text(name) {
        None | Some("null") => Ok(None),
        Some(_) => body.read(name).map(Some).ok_or(ControlOrderError::Field { name, expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<ControlOrder, ControlOrderError> {
        ControlOrder::parse(text.as_bytes())
    }

    fn terms_of(text: &str) -> DrainParams {
        match parsed(text) {
            Ok(ControlOrder::Drain(terms)) => terms,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// However a body is cut off, the rest of it is not another order (F15, U9, U40).
    #[test]
    fn a_body_that_was_cut_off_is_no_order() {
        for whole in [
            r#"{"action":"cancel"}"#,
            r#"{"action":"cancel","holder":"ci"}"#,
            r#"{"action":"drain","holder":"ci","lease_s":60,"hold_internal":true}"#,
        ] {
            assert!(parsed(whole).is_ok(), "{whole}");
            for end in 1..whole.len() {
                let cut = &whole[..end];
                assert!(matches!(parsed(cut), Err(ControlOrderError::Unreadable { .. })), "{cut}");
            }
        }
    }

    #[test]
    fn what_is_no_object_is_no_order() {
        let deep = "[".repeat(1_000_000);
        let nested = format!("{{\"action\":{deep}");
        for text in ["[]", "[1]", "\"x\"", "null", "0", "false", " ", "drain", &deep, &nested] {
            assert!(
                matches!(parsed(text), Err(ControlOrderError::Unreadable { .. })),
                "{}",
                text.len()
            );
        }
        for bytes in [&b"\xff\xfe{\0}\0"[..], b"{\"action\":\"\xff\"}", b"\x1f\x8b\x08"] {
            assert!(
                matches!(ControlOrder::parse(bytes), Err(ControlOrderError::Unreadable { .. })),
                "{bytes:?}"
            );
        }
        let told = parsed("{\"action\":\"cancel\"").expect_err("cut off").to_string();
        assert!(told.contains("EOF while parsing"), "{told}");
    }

    #[test]
    fn fields_are_checked_and_not_guessed() {
        for (text, name) in [
            (r#"{"suppress_notification":"false"}"#, "suppress_notification"),
            (r#"{"this_run":1}"#, "this_run"),
            (r#"{"hold_internal":1}"#, "hold_internal"),
            (r#"{"lease_s":0}"#, "lease_s"),
            (r#"{"lease_s":-1}"#, "lease_s"),
            (r#"{"lease_s":0.999}"#, "lease_s"),
            (r#"{"lease_s":31622401}"#, "lease_s"),
            (r#"{"lease_s":"60"}"#, "lease_s"),
            (r#"{"lease_s":1e300}"#, "lease_s"),
            (r#"{"lease_s":NaN}"#, "lease_s"),
            (r#"{"wait":-1}"#, "wait"),
            (r#"{"wait":3601,"lease_s":9999}"#, "wait"),
            (r#"{"wait":true}"#, "wait"),
            (r#"{"holder":5}"#, "holder"),
            (r#"{"action":"cancel","holder":[]}"#, "holder"),
            (r#"{"action":"cancel","wait":""}"#, "wait"),
        ] {
            let told = parsed(text).expect_err(text).to_string();
            assert!(told.contains(&format!("'{name}' must be")), "{text}: {told}");
        }
        assert!(matches!(parsed(r#"{"holder":"../x"}"#), Err(ControlOrderError::Holder(_))));
        for contradiction in [
            r#"{"wait":60,"lease_s":60}"#,
            r#"{"wait":1,"hold_internal":false}"#,
            r#"{"wait":1,"hold_internal":true,"idle_is_enough":true}"#,
            r#"{"idle_is_enough":true}"#,
        ] {
            let told = parsed(contradiction);
            assert!(
                matches!(told, Err(ControlOrderError::Contradiction(_))),
                "{contradiction}: {told:?}"
            );
        }
    }

    #[test]
    fn waiting_asks_for_a_promise_unless_idle_is_enough() {
        assert!(terms_of(r#"{"wait":5}"#).hold_internal);
        assert!(!terms_of(r#"{"wait":5,"idle_is_enough":true}"#).hold_internal);
        assert!(!terms_of("{}").hold_internal);
        assert_eq!(terms_of("{}").lease, DEFAULT_LEASE);
        assert!(terms_of(r#"{"this_run":true}"#).this_run && !terms_of("{}").this_run);
        // The longest lease, the shortest, and the longest wait.
        assert_eq!(terms_of(r#"{"lease_s":31622400}"#).lease, LEASE_MAX);
        assert_eq!(terms_of(r#"{"lease_s":1}"#).lease, LEASE_MIN);
        let longest = terms_of(r#"{"wait":3600,"lease_s":3601}"#).wait.expect("waits");
        assert_eq!(longest.at_most, Duration::from_secs(3600));
        let said = terms_of(r#"{"holder":"ci","lease_s":1.5,"suppress_notification":null}"#);
        assert_eq!((said.lease, said.suppress_notification), (Duration::from_millis(1500), false));
        assert_eq!(said.holder, Holder::named("ci").expect("a name"));
    }

    /// The last of two actions wins, as in Python.
    #[test]
    fn the_action_is_read_as_the_original_reads_it() {
        assert!(matches!(parsed(r#"{"action":" Cancel\n"}"#), Ok(ControlOrder::Cancel { .. })));
        let spaced = r#"{"action":"\u001c\u001f\u0085\u00a0\u2028CANCEL\u001d\u001e\u3000"}"#;
        assert!(matches!(parsed(spaced), Ok(ControlOrder::Cancel { .. })));
        let held = r#"{"action":"\u200bcancel"}"#;
        assert!(
            matches!(parsed(held), Err(ControlOrderError::UnknownAction { .. })),
            "no space to Python"
        );
        let twice = r#"{"action":"drain","action":"cancel"}"#;
        assert!(matches!(parsed(twice), Ok(ControlOrder::Cancel { .. })));
        for (text, action) in
            [("null", "none"), ("5", "5"), ("true", "true"), ("\"\"", ""), ("\"stop\"", "stop")]
        {
            let told = parsed(&format!("{{\"action\":{text}}}")).expect_err(text).to_string();
            let expected = format!("Unknown drain action '{action}'; expected 'drain' or 'cancel'");
            assert_eq!(told, expected);
        }
        let long = parsed(&format!("{{\"action\":\"{}\"}}", "x".repeat(1 << 20)));
        assert!(long.expect_err("unknown").to_string().len() < 200);
    }
}
