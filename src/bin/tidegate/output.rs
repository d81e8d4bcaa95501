//! What is printed, and what becomes of it where nobody can read it. It never panics: a full disk or a
//! closed pipe is no reason to forget what was done.

use std::io::{self, Write};

use serde::Serialize;
use tidegate::text::{printable, printable_json};

use crate::Failure;

/// How answers are printed.
#[derive(Clone, Copy)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// Prints the answer: one line of JSON, or the text, of which every part is printable.
    pub fn answer(self, reply: &impl Serialize, text: &str) -> Result<(), Failure> {
        if self.json {
            let line = serde_json::to_string(reply).map_err(io::Error::from)?;
            print(&format!("{}\n", printable_json(&line)))
        } else {
            print(&format!("{text}\n"))
        }
    }

    /// Prints the answer about a change that is made, whoever reads it: the exit code says that it is.
    pub fn receipt(self, reply: &impl Serialize, text: &str) {
        if let Err(error) = self.answer(reply, text) {
            note(&format!("{error}; what was asked is done: {text}"));
        }
    }

    /// Prints the answer about something that failed, for programs. The failure says the rest.
    pub fn failed(self, reply: &impl Serialize) {
        if self.json
            && let Err(error) = self.answer(reply, "")
        {
            note(&error.to_string());
        }
    }
}

/// Prints this, whole.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
}

/// Tells people something, on one line. Nobody may be there to read it, which changes nothing.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "tidegate: {}", printable(text));
}

/// Where the library's warnings go.
pub fn show_warnings() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(|| Stderr)
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .log_internal_errors(false)
        .finish();
    // There is none before.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// A stderr that swallows its errors.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
