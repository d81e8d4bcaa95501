//! Prints answers and notes. It never panics: after a full disk or a closed pipe, the exit code still says what was
//! done.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::AsFd;
use serde::Serialize;
use tidegate::internals::text::{printable, printable_json};

use crate::Failure;

/// How long to try to print an answer that adds nothing to the exit code.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How answers are printed.
#[derive(Clone, Copy)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// Prints the answer: one line of JSON, or the text. The caller makes every part of the text printable.
    pub fn answer(self, reply: &impl Serialize, text: &str) -> Result<(), Failure> {
        self.answer_while(reply, text, &|| true)
    }

    /// Like [`answer`](Output::answer), as long as `go_on` returns true.
    pub fn answer_while(
        self,
        reply: &impl Serialize,
        text: &str,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        print_while(&self.text(reply, text)?, go_on)
    }

    fn text(self, reply: &impl Serialize, text: &str) -> Result<String, Failure> {
        if !self.json {
            return Ok(format!("{text}\n"));
        }
        let line = serde_json::to_string(reply).map_err(io::Error::from)?;
        Ok(format!("{}\n", printable_json(&line)))
    }

    /// Prints the answer about a change that was made. If that fails, the exit code still reports the change.
    pub fn receipt(self, reply: &impl Serialize, text: &str) {
        let until = Instant::now() + RECEIPT_TIMEOUT;
        if let Err(error) = self.answer_while(reply, text, &|| Instant::now() < until) {
            note(&format!("{error}; the command itself succeeded: {text}"));
        }
    }

    /// Prints the answer about a failure, for programs only. People read the message of the failure.
    pub fn failed(self, reply: &impl Serialize) {
        let until = Instant::now() + RECEIPT_TIMEOUT;
        if self.json
            && let Err(error) = self.answer_while(reply, "", &|| Instant::now() < until)
        {
            note(&error.to_string());
        }
    }
}

/// Prints the whole text, however long that takes.
pub fn print(text: &str) -> Result<(), Failure> {
    print_while(text, &|| true)
}

/// Prints the text as long as `go_on` returns true. A plain write to a full pipe that nobody reads would block for
/// ever: neither the timeout nor a signal would end it.
pub fn print_while(text: &str, go_on: &dyn Fn() -> bool) -> Result<(), Failure> {
    Ok(write(&io::stdout(), text, go_on)?)
}

/// Writes one line for people to stderr. If that fails, the line is dropped.
pub fn note(text: &str) {
    let until = Instant::now() + NOTE_TIMEOUT;
    let line = format!("tidegate: {}\n", printable(text));
    let _ = write(&io::stderr(), &line, &|| Instant::now() < until);
}

/// A note that cannot be written within this time is dropped.
const NOTE_TIMEOUT: Duration = Duration::from_millis(200);

/// How long to wait for room before `go_on` is called again.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A pipe that has any room has room for this many bytes: the least `PIPE_BUF` that POSIX allows.
const CHUNK: usize = 512;

/// Writes in pieces that do not block, and waits for room before each piece.
fn write(file: &impl AsFd, text: &str, go_on: &dyn Fn() -> bool) -> io::Result<()> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let mut ready = [PollFd::new(file, PollFlags::OUT)];
        match rustix::event::poll(&mut ready, Some(&PAUSE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) if go_on() => continue,
            Ok(0) | Err(rustix::io::Errno::INTR) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no program reads it"));
            }
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match rustix::io::write(file, &rest[..rest.len().min(CHUNK)]) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends the library's warnings to stderr.
pub fn show_warnings() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(|| Stderr)
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .log_internal_errors(false)
        .finish();
    // This cannot fail: no subscriber was set before.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Stderr, whose errors are ignored.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        note(String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
