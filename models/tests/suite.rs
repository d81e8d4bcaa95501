//! The suite as a user's own test calls it, and its documents.

use tidegate_models::{Options, catalogue, verify};

#[test]
fn everything_holds_and_every_seeded_fault_is_found() {
    let report = verify(&Options::default());
    assert!(report.is_ok(), "{report}");
}

#[test]
fn the_readme_prints_the_catalogue() {
    let readme = include_str!("../README.md");
    let table = catalogue::table();
    assert!(readme.contains(&table), "models/README.md must contain this table:\n\n{table}\n");
}
