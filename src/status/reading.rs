//! What a reader may conclude from a status file. Nothing is concluded about a gateway that is not seen alive.

use std::fmt;
use std::time::Duration;

use serde_json::value::RawValue;

use super::HolderStatus;
#[cfg(feature = "http")]
use super::{Status, bounded};
use crate::epoch::Epoch;
use crate::faults::fault;
use crate::holder::Holder;
use crate::host;
use crate::json::RawObject;
use crate::machine::Phase;
use crate::recipient::Recipient;
use crate::text::printable;

/// A status as a reader finds it: ours or the original's; whole, broken or missing.
///
/// ```
/// use tidegate::{Gateway, home::Home};
/// let dir = tempfile::tempdir()?;
/// let gateway = Gateway::builder(dir.path()).start()?;
/// let status = Home::at(dir.path()).status()?;
/// assert!(status.is_alive() && status.is_ready());
/// assert_eq!(status.active_agents(), Some(0));
/// drop(gateway);
/// assert!(!Home::at(dir.path()).status()?.is_alive());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    body: RawObject,
    locked: bool,
    alive: bool,
    held_by: Option<u32>,
    /// The content of the lock file, while a gateway holds it.
    owner: Option<RawObject>,
    /// The process that took the lock, if it is visibly gone.
    starter_gone: Option<u32>,
    /// Whether a foreign gateway holds its lock on the home and wrote this.
    is_foreign: bool,
}

impl Reading {
    /// Reads the bytes of a status file. `lock` is the content of the home lock while a gateway holds it.
    /// [`Home::status`](crate::home::Home::status) reads both.
    #[must_use]
    pub fn new(bytes: &[u8], lock: Option<&RawObject>) -> Reading {
        let body = RawObject::parse(bytes).unwrap_or_default();
        // A gateway that has just started holds the lock before it has replaced its predecessor's status. The
        // predecessor's status says nothing about the running gateway.
        let alive = lock
            .is_some_and(|owner| owner.string("incarnation") == body.string("incarnation"))
            || fault!(DeadIsAlive);
        let (locked, owner) = (lock.is_some(), lock.cloned());
        Reading { body, locked, alive, held_by: None, owner, starter_gone: None, is_foreign: false }
    }

    /// The status of a foreign gateway that is running, read as its own readers do.
    pub(crate) fn of_foreign_gateway(bytes: &[u8], pid: Option<u32>) -> Reading {
        let body = RawObject::parse(bytes).unwrap_or_default();
        // A status that a predecessor left is not the status of this gateway, whichever implementation wrote it.
        let is_ours = body.string("incarnation").is_some();
        let alive = !is_ours && (pid.is_none() || body.read("pid") == pid);
        let reading = Reading::new(bytes, None);
        Reading { locked: true, alive, is_foreign: true, ..reading }
    }

    /// The same reading, if nobody holds the lock file and this process holds the directory.
    pub(crate) fn with_holder(self, held_by: Option<u32>) -> Reading {
        Reading { held_by, ..self }
    }

    /// The status of a gateway in this process. It is alive as long as it has not stopped.
    #[cfg(feature = "http")]
    pub(crate) fn of_running(status: &Status) -> Reading {
        let body = RawObject::parse(status.to_json().as_bytes()).unwrap_or_default();
        let alive = status.lifecycle != Phase::Stopped.as_str();
        let owner = alive.then(|| body.clone());
        let reading = Reading::new(b"", None);
        Reading { body, locked: alive, alive, owner, ..reading }
    }

    /// Every field as in the file.
    #[must_use]
    pub fn body(&self) -> &RawObject {
        &self.body
    }

    /// Whether the gateway that wrote it is running: it holds the home lock.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.alive
    }

    /// Whether a gateway holds the home lock. While a gateway starts, the status may still be its predecessor's. Then
    /// this is true, and [`is_alive`](Reading::is_alive) is false.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// The process that holds the home's directory while nobody holds its lock file, if it is visible. It is a gateway
    /// whose lock file was removed, until its next look, or a program that keeps gateways out.
    ///
    /// [F18](crate::guide::requirements#f18)
    #[must_use]
    pub fn held_by(&self) -> Option<u32> {
        self.held_by
    }

    /// The recipient of a request: the gateway that holds the home, or else the one that starts there next.
    ///
    /// [F20](crate::guide::requirements#f20)
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        self.owner.as_ref().map_or_else(Recipient::next_local, Recipient::stated)
    }

    /// The recipient by the status, if a process holds the home but the lock does not name its owner.
    pub(crate) fn stated_recipient(&self) -> Recipient {
        Recipient::stated(&self.body)
    }

    /// How long the promise lasted when the status was written. It is for readers on another boot clock that know the
    /// greatest age of the status.
    #[must_use]
    pub fn quiesced_for(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.body.read("quiesced_for_s")?).ok()
    }

    /// The same reading, after a check of the process that took the lock. A process of another pid namespace cannot be
    /// seen.
    pub(crate) fn with_starter(self) -> Reading {
        let Some(owner) = &self.owner else { return self };
        // The initial namespace has the same name on every machine.
        let epoch = owner.string("epoch").unwrap_or_default();
        let is_here = Epoch::current().is_same_boot_or_unknown(&Epoch::stated(&epoch));
        let is_visible =
            is_here && owner.string("pid_ns").is_some_and(|it| Some(it) == host::namespace("pid"));
        let pid: Option<u32> = owner.read("pid").filter(|_| is_visible);
        Reading { starter_gone: pid.filter(|pid| !host::has_process(*pid)), ..self }
    }

    /// The process that started the gateway, if it is visibly gone while its lock is still held. It forked after the
    /// start: the child keeps the lock, but has none of the threads. Nothing observes the home then.
    #[must_use]
    pub fn starter_gone(&self) -> Option<u32> {
        self.starter_gone
    }

    /// The problem of a gateway whose process is gone, for people.
    pub(crate) fn starter_complaint(&self) -> Option<String> {
        self.starter_gone.map(|pid| {
            format!(
                "process {pid}, which started the gateway, is gone, but its lock is still held: start the gateway after the fork"
            )
        })
    }

    /// The incarnation of the gateway that wrote it.
    pub(crate) fn incarnation(&self) -> Option<String> {
        self.body.string("incarnation")
    }

    /// The state in the original's words; `None` if it does not say.
    #[must_use]
    pub fn gateway_state(&self) -> Option<String> {
        self.body.string("gateway_state")
    }

    /// The number of turns in flight; `None` if it does not say.
    #[must_use]
    pub fn active_agents(&self) -> Option<u64> {
        self.body.read("active_agents")
    }

    /// Whether a drain can be requested from it. It is running, and its state is `running` or the original's
    /// `degraded`, in which it serves too.
    #[must_use]
    pub fn is_drainable(&self) -> bool {
        self.alive && matches!(self.gateway_state().as_deref(), Some("running" | "degraded"))
    }

    /// Whether it admits a new user turn: alive, and in the state `running`.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let is_running = self.gateway_state().as_deref() == Some("running");
        self.alive && is_running && self.body.read("ready") != Some(false)
    }

    /// Whether the running gateway says that its gate is closed and nothing is in flight. This is a reading, not a
    /// promise.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        if self.is_foreign {
            return self.says_draining() && self.active_agents() == Some(0);
        }
        self.alive && self.body.read("idle") == Some(true)
    }

    /// Whether a foreign gateway that is running wrote it: the original implementation. It names no holders and
    /// promises nothing.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// Whether the running foreign gateway says that it drains.
    fn says_draining(&self) -> bool {
        self.alive
            && self.gateway_state().as_deref() == Some("draining")
            && !self.is_shutting_down()
    }

    /// Whether the gateway says that it is shutting down or has stopped.
    pub(crate) fn is_shutting_down(&self) -> bool {
        if self.is_foreign {
            // The original has one word for a drain and for a shutdown.
            return self.gateway_state().as_deref() == Some("stopped")
                || self.body.read("restart_requested") == Some(true)
                || self.body.string("exit_reason").is_some();
        }
        let lifecycle = self.body.string("lifecycle");
        let is = |phase: Phase| lifecycle.as_deref() == Some(phase.as_str());
        is(Phase::ShuttingDown) || is(Phase::Stopped)
    }

    /// When it was written, by the gateway's wall clock.
    #[must_use]
    pub fn updated_at(&self) -> Option<chrono::DateTime<chrono::Utc>> {
        let text = self.body.string("updated_at")?;
        Some(chrono::DateTime::parse_from_rfc3339(&text).ok()?.to_utc())
    }

    /// Whether the running gateway promises that nothing is in flight, and that nothing is admitted before its drain is
    /// released.
    #[must_use]
    pub fn is_quiesced(&self) -> bool {
        self.alive && !self.is_foreign && self.body.read("quiesced") == Some(true)
    }

    /// Whether it is drainable and has work in flight. `false` while draining, as in the original. To learn whether a
    /// draining gateway still has work, use [`is_idle`](Reading::is_idle). A missing count counts as work.
    ///
    /// [U25](crate::guide::incidents#u25)
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.is_drainable() && self.active_agents() != Some(0)
    }

    /// Whether the running gateway says that its gate is closed for this very request.
    ///
    /// [TG-S5](crate::guide::verification#tg-s5)
    #[must_use]
    pub fn is_draining_for(&self, holder: &Holder, request_id: &str) -> bool {
        if self.is_foreign {
            // The original knows one holder, and no ids of requests.
            return self.says_draining() && *holder == Holder::Shared;
        }
        let closed =
            self.body.string("lifecycle").as_deref() == Some(Phase::ExternallyDraining.as_str());
        self.alive && closed && (self.named(holder, request_id).is_some() || fault!(AckByAnyone))
    }

    /// Whether the running gateway promises the holder of this very request that nothing is in flight. Nothing is
    /// admitted before the holder releases it or [`quiesced_until`](Reading::quiesced_until) has passed.
    ///
    /// [F9](crate::guide::requirements#f9)
    #[must_use]
    // Property: TG-S14 receipt_is_true.
    pub fn is_quiesced_for(&self, holder: &Holder, request_id: &str) -> bool {
        self.is_quiesced() && self.named(holder, request_id).is_some_and(|it| it.hold_internal)
    }

    /// The time since boot before which a quiesced gate does not reopen by itself. `None` promises no time.
    #[must_use]
    pub fn quiesced_until(&self) -> Option<Duration> {
        self.body.read("quiesced_until").map(Duration::from_millis)
    }

    /// The labelled work in flight, oldest first. Empty if the status has no valid list.
    #[must_use]
    pub fn active_work(&self) -> Vec<WorkReading> {
        let work = self.objects("active_work");
        let either = |it: &RawObject, one: &str, other: &str| it.string(one).or(it.string(other));
        let work = work.iter().map(|it| WorkReading {
            label: either(it, "label", "session"),
            origin: either(it, "origin", "kind"),
            age_s: it.read("age_s").or(it.read("elapsed_s")),
        });
        work.collect()
    }

    /// The holders of the current drain.
    #[must_use]
    pub fn holders(&self) -> Vec<HolderStatus> {
        let holders = self.objects("holders");
        let holders = holders.iter().map(|it| HolderStatus {
            holder: it.string("holder"),
            request_id: it.string("request_id"),
            principal: it.string("principal"),
            age_s: it.read("age_s"),
            lease_left_s: it.read("lease_left_s"),
            hold_internal: it.read("hold_internal").unwrap_or(false),
        });
        holders.collect()
    }

    /// The current problems, as texts: those that the gateway reports, and those of its process that can be seen.
    #[must_use]
    pub fn degraded(&self) -> Vec<String> {
        let said = self.objects("degraded");
        let said = said.iter().filter_map(|it| it.string("detail"));
        self.starter_complaint().into_iter().chain(said).collect()
    }

    /// The objects in a list. Elements that are not objects are skipped.
    fn objects(&self, name: &str) -> Vec<RawObject> {
        let all: Vec<Box<RawValue>> = self.body.read(name).unwrap_or_default();
        all.iter().filter_map(|it| RawObject::parse(it.get().as_bytes())).collect()
    }

    /// Whether it lists this very request as a current one.
    #[cfg(feature = "http")]
    pub(crate) fn names(&self, holder: &Holder, request_id: &str) -> bool {
        self.named(holder, request_id).is_some()
    }

    fn named(&self, holder: &Holder, request_id: &str) -> Option<HolderStatus> {
        self.holders().into_iter().find(|it| {
            it.holder.as_deref() == holder.name() && it.request_id.as_deref() == Some(request_id)
        })
    }

    /// The number of live requests that this principal has signed, except those of `holder`.
    #[cfg(feature = "http")]
    pub(crate) fn signed_by(&self, principal: &str, holder: &Holder) -> usize {
        let signed = bounded(principal);
        let is_counted = |it: &&HolderStatus| {
            let is_others = it.holder.is_some() && it.holder.as_deref() != holder.name();
            is_others && it.principal.as_deref() == Some(&signed)
        };
        self.holders().iter().filter(is_counted).count()
    }
}

/// Work in flight as a reader finds it, written by this library or by newer versions of the original.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WorkReading {
    /// Its label.
    pub label: Option<String>,
    /// Its origin: `user` or `internal` if this library wrote it.
    pub origin: Option<String>,
    /// Seconds since it began.
    pub age_s: Option<f64>,
}

impl WorkReading {
    /// The same work, this many seconds later.
    #[must_use]
    pub fn later_by(self, seconds: f64) -> WorkReading {
        WorkReading { age_s: self.age_s.map(|age| age + seconds), ..self }
    }
}

impl fmt::Display for WorkReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = self.label.as_deref().unwrap_or("unnamed");
        let origin = self.origin.as_deref().unwrap_or("unknown");
        write!(f, "{} ({}", printable(label), printable(origin))?;
        match self.age_s {
            Some(age) => write!(f, ", {age:.0} s)"),
            None => f.write_str(")"),
        }
    }
}
