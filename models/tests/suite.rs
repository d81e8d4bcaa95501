//! The suite, as a test of yours calls it, and its documents.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tidegate_models::ablations::ABLATIONS;
use tidegate_models::design::Guard;
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

/// The rows of the incidents in the guide of `tidegate`. `None` in a published package, which has no guide.
fn incidents() -> Option<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/guide/incidents.md");
    let page = fs::read_to_string(page).ok()?;
    Some(page.lines().filter(|it| it.starts_with("| <a id=")).map(ToOwned::to_owned).collect())
}

/// If the suite says that a guard prevents an incident, the incident's row in the guide names it, too.
#[test]
fn an_incident_s_guards_are_those_of_the_suite() {
    let Some(rows) = incidents() else { return };
    let mut checked = 0;
    for fault in &ABLATIONS {
        let codes = fault.incidents.split(", ").filter(|it| it.starts_with(['I', 'U']));
        for code in codes {
            let row = rows.iter().find(|it| it.contains(&format!("</a>{code} |")));
            let row = row.unwrap_or_else(|| panic!("{code} has no entry"));
            let named = fault.off.iter().any(|guard| row.contains(&format!("`{guard}`")));
            assert!(named, "{code}: its entry names none of {:?}", fault.off);
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked}");
}

/// A renamed guard leaves no dead reference in the guide. In the column of guards, each name with an underscore is a
/// guard.
#[test]
fn what_an_incident_is_prevented_by_exists() {
    let guards: BTreeSet<_> = Guard::ALL.iter().map(ToString::to_string).collect();
    for row in incidents().into_iter().flatten() {
        let prevented = row.split(" | ").nth(3).unwrap_or_default();
        for name in prevented.split('`').skip(1).step_by(2).filter(|it| it.contains('_')) {
            assert!(guards.contains(name), "there is no guard {name}: {row}");
        }
    }
}

/// Each property has one name, spelled the same in catalogue, code, model and test. None is missing, and none is extra.
#[test]
fn every_property_is_traced() {
    use tidegate_models::channel::ChannelModel;
    use tidegate_models::controllers::ControllersModel;
    use tidegate_models::design::Design;
    use tidegate_models::directory::DirectoryModel;
    use tidegate_models::endpoint::EndpointModel;
    use tidegate_models::gate::GateModel;
    use tidegate_models::gateway::GatewayModel;
    use tidegate_models::gateway::any_number::AnyNumberModel;
    use tidegate_models::marker::MarkerModel;
    use tidegate_models::registry::VerifiedModel;
    use tidegate_models::status::StatusModel;
    use tidegate_models::work::WorkModel;

    /// A property's name, and its fairness assumptions.
    type Named = (&'static str, Vec<&'static str>);

    fn named<M: VerifiedModel>(model: &M) -> Vec<Named> {
        let checked = model.properties().into_iter().map(|it| (it.name, Vec::new()));
        let promised = model
            .liveness_properties()
            .into_iter()
            .map(|it| (it.name, it.fair.iter().map(|fair| fair.name).collect()));
        checked.chain(promised).collect()
    }

    let design = Design::tidegate();
    let in_models = [
        named(&GatewayModel::small(design)),
        named(&ChannelModel::small(design)),
        named(&ControllersModel::small(design)),
        named(&GateModel::small(design)),
        named(&AnyNumberModel::any(design)),
        named(&MarkerModel::small(design)),
        named(&StatusModel::small(design)),
        named(&DirectoryModel::small(design)),
        named(&EndpointModel::small(design)),
        named(&WorkModel::small(design)),
    ]
    .concat();
    let names: BTreeSet<_> = in_models.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), in_models.len(), "no two models have a property of the same name");
    let checks = catalogue::CATALOGUE.iter().flat_map(|entry| entry.checked_as);
    assert_eq!(names, checks.map(|check| check.property).collect());
    for (name, fair) in &in_models {
        let (entry, _) = catalogue::entry_of(name).expect("it is in the catalogue");
        for fair in fair {
            assert!(
                entry.assumes.contains(fair),
                "{} does not say that it assumes: {fair}",
                entry.id
            );
        }
    }

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (code, tests) = (text_below(&root.join("src")), text_below(&root.join("tests")));
    let models = text_below(&root.join("models/src"));
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
