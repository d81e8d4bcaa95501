//! What the documents print of the code is what the code says. To accept a change on purpose, run with
//! `TIDEGATE_BLESS=1` and read the diff.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate::machine;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn must_be(path: &Path, expected: &str) {
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        fs::write(path, expected).expect("writes");
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "{} is not what the code renders:\n{expected}", path.display());
}

fn rendered_machine() -> String {
    format!("```mermaid\n{}\n```\n\n{}\n", machine::diagram(), machine::table())
}

#[test]
fn the_machine_s_table_and_diagram_are_rendered_from_its_code() {
    must_be(&file("src/machine.md"), &rendered_machine());
}

#[test]
fn the_readme_prints_the_machine_s_diagram() {
    const BEGIN: &str = "<!-- rendered: machine -->\n";
    const END: &str = "<!-- /rendered -->";
    let path = file("README.md");
    let readme = fs::read_to_string(&path).expect("the README");
    let (before, rest) = readme.split_once(BEGIN).expect("a place for the diagram");
    let (_, after) = rest.split_once(END).expect("the end of that place");
    must_be(&path, &format!("{before}{BEGIN}{}{END}{after}", rendered_machine()));
}
