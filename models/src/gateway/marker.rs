//! The marker file, and how the shipped reader reads it.

use std::time::Duration;

use tidegate::epoch::{Epoch, Now};
use tidegate::internals::reconcile::{Demand, Sighting};
use tidegate::judge::{Judge, Validity};
use tidegate::machine::Terms;
use tidegate::request::Request;

use crate::design::{Design, Guard};
use crate::faults::Answers;
use crate::shell::Instant;

/// The content of the marker file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Marker {
    /// There is no file.
    Absent,
    /// A request of this boot.
    Live,
    /// A request of this boot that holds internal work.
    LiveHold,
    /// Bytes that say nothing.
    Corrupt,
    /// A request of another boot.
    Stale,
    /// A request of a caller in the process itself.
    Called,
}

/// The result of reading the marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadOutcome {
    /// The marker that was read.
    Marker(Marker),
    /// The read failed.
    Error,
}

/// A marker as the shipped reader reads it.
#[derive(Clone, Copy)]
struct ParsedMarker {
    asks: Option<Terms>,
    /// Whether it is live for a gateway that knows its epoch; and, below, for one that does not.
    stands: bool,
    stands_where_epoch_is_unknown: bool,
}

fn read(marker: Marker) -> ParsedMarker {
    static TABLE: Answers<[ParsedMarker; 6]> = Answers::new(|| {
        let epoch = Epoch::from_texts(Some("this-boot"), None);
        let now = Now { uptime: Duration::from_secs(60), wall: std::time::UNIX_EPOCH.into() };
        [
            "",
            r#"{"action":"drain","epoch":"this-boot:"}"#,
            r#"{"action":"drain","epoch":"this-boot:","hold_internal":true}"#,
            "{\"action\":\"dra",
            r#"{"action":"drain","epoch":"another-boot:"}"#,
            r#"{"action":"drain","epoch":"this-boot:"}"#,
        ]
        .map(|text| {
            let request = Request::parse(text.as_bytes());
            let stands =
                |epoch: &Epoch| Judge::new(epoch, now).validity(&request) == Validity::Live;
            ParsedMarker {
                asks: Demand::terms(&request),
                stands: stands(&epoch),
                stands_where_epoch_is_unknown: stands(&Epoch::default()),
            }
        })
    });
    TABLE.get()[marker as usize]
}

impl Demand for Marker {
    fn terms(&self) -> Option<Terms> {
        read(*self).asks
    }
}

pub(super) fn is_live(design: Design) -> impl Fn(&Marker, Instant) -> bool {
    let knows_its_epoch = design.has(Guard::Epoch);
    move |marker, _first_seen| {
        let read = read(*marker);
        if knows_its_epoch { read.stands } else { read.stands_where_epoch_is_unknown }
    }
}

pub(super) fn sighting_of(design: Design, seen: ReadOutcome) -> Sighting<Marker, ()> {
    match seen {
        ReadOutcome::Marker(Marker::Absent) => Sighting::Absent,
        ReadOutcome::Marker(Marker::Corrupt) if !design.has(Guard::TotalReader) => {
            Sighting::Unreadable(())
        }
        ReadOutcome::Marker(marker) => Sighting::Present(marker),
        ReadOutcome::Error => Sighting::Unreadable(()),
    }
}
