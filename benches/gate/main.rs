//! What the gate costs: an admission and its release, a turn that another thread drops, a close and reopen, a
//! wake-up. Each stands beside the peers that an author might use instead, measured in the same run.
//!
//! ```text
//! cargo bench --bench gate                # every section
//! cargo bench --bench gate -- admission   # or elsewhere, close, wake
//! ```

mod admission;
mod close;
mod elsewhere;
mod rounds;
mod samples;
mod threads;
mod wake;

fn main() {
    // Cargo itself passes `--bench`.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let sections: [(&str, fn()); 4] = [
        ("admission", admission::print),
        ("elsewhere", elsewhere::print),
        ("close", close::print),
        ("wake", wake::print),
    ];
    for (name, section) in sections {
        if filter.as_deref().is_none_or(|filter| filter == name) {
            section();
        }
    }
}
