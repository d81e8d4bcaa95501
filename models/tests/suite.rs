//! The suite as a user's own test calls it, and its documents.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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

/// One name, spelled the same in catalogue, code, model and test: none missing, none extra.
#[test]
fn every_property_is_traced() {
    use stateright::Model;
    use tidegate_models::channel::ChannelModel;
    use tidegate_models::design::Design;
    use tidegate_models::gateway::GatewayModel;
    use tidegate_models::gateway::progress::promises;

    let gateway = GatewayModel::small(Design::tidegate()).properties();
    let channel = ChannelModel::small(Design::tidegate()).properties();
    let gateway = gateway.into_iter().map(|it| it.name);
    let promised = promises();
    let in_model: BTreeSet<_> = gateway
        .chain(channel.into_iter().map(|it| it.name))
        .chain(promised.iter().map(|it| it.name))
        .collect();
    let in_catalogue: BTreeSet<_> =
        catalogue::CATALOGUE.iter().flat_map(|entry| entry.checked_as).copied().collect();
    assert_eq!(in_model, in_catalogue);

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (code, tests) = (text_below(&root.join("src")), text_below(&root.join("tests")));
    let models = text_below(&root.join("models/src"));
    for promise in &promised {
        let entry = catalogue::entry_of(promise.name).expect("it is in the catalogue");
        for fair in &promise.fair {
            let assumed = entry.assumes.contains(fair.name);
            assert!(assumed, "{} does not say that it assumes: {}", entry.id, fair.name);
        }
    }
    for entry in &catalogue::CATALOGUE {
        let name = format!("{} {}", entry.id, entry.name);
        assert!(code.contains(&name), "no code says that it keeps {name}");
        assert!(models.contains(&format!("// Property: {name}")), "no model checks {name}");
        assert!(tests.contains(&format!("fn {}()", entry.name)), "no test is named for {name}");
    }
}

fn text_below(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text += &text_below(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(&path).expect("a source file");
        }
    }
    text
}
