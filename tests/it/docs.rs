//! The tables and pictures in the documents are the ones that the code renders. To accept a change, run with
//! `TIDEGATE_BLESS=1` and read the diff.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::{files_below, is_kind};
use crate::pictures::{self, Module};
use tidegate::internals::machine;

const LAYERS: [&str; 4] = ["edges", "shell", "core", "ground"];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn must_be(path: &Path, expected: &str) {
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        fs::write(path, expected).expect("writes");
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "{} is not what the code renders:\n{expected}", path.display());
}

/// The modules in the table of `src/lib.rs`.
fn modules() -> Vec<Module> {
    let lib = text("src/lib.rs");
    let rows = lib.lines().filter_map(|line| line.split_once("| ").map(|(_, row)| row));
    let rows = rows.filter_map(|row| {
        let mut cells = row.split(" | ").map(|it| it.trim_matches(['[', ']', '`', ' ']));
        let (layer, name, what) = (cells.next()?, cells.next()?, cells.next()?);
        let layer = LAYERS.iter().position(|it| *it == layer)?;
        let what = what.split(" |").next().unwrap_or(what).to_owned();
        Some(Module { layer, name: name.to_owned(), what })
    });
    rows.collect()
}

/// The Rust files of a module, as text.
fn sources(name: &str) -> Vec<String> {
    let own = file(&format!("src/{name}.rs"));
    let below = files_below(&file(&format!("src/{name}")), &[]);
    let paths = own.exists().then_some(own).into_iter().chain(below);
    let texts =
        paths.filter(|it| is_kind(it, "rs")).map(|it| fs::read_to_string(it).expect("text"));
    let texts: Vec<_> = texts.collect();
    assert!(!texts.is_empty(), "{name} has no file");
    texts
}

#[test]
fn the_map_lists_every_module_once() {
    let lib = text("src/lib.rs");
    let declared = lib.lines().filter_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    let mut declared: Vec<_> = declared.filter(|it| *it != "guide").collect();
    declared.sort_unstable();
    declared.dedup(); // `meters` is declared twice, with its feature and without
    let modules = modules();
    let mut listed: Vec<_> = modules.iter().map(|it| it.name.as_str()).collect();
    listed.sort_unstable();
    assert_eq!(listed, declared);
}

/// The names after `crate::` in code, not in comments: one, or each name of a group.
fn imports(source: &str) -> Vec<&str> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let paths = code.filter_map(|line| line.split_once("crate::")).map(|(_, path)| path);
    let names = paths.flat_map(|path| match path.strip_prefix('{') {
        Some(group) => {
            let (group, _) = group.split_once("};").expect("a group in one line");
            group.split(", ").collect()
        }
        None => vec![path],
    });
    let end = |c: char| !(c.is_alphanumeric() || c == '_');
    names.filter_map(|name| name.split(end).next()).collect()
}

#[test]
fn modules_import_their_own_layer_or_a_lower_one() {
    let modules = modules();
    for module in &modules {
        for source in sources(&module.name) {
            for name in imports(&source) {
                let Some(imported) = modules.iter().find(|it| it.name == name) else { continue };
                assert!(
                    imported.layer >= module.layer,
                    "{} ({}) imports {} ({})",
                    module.name,
                    LAYERS[module.layer],
                    imported.name,
                    LAYERS[imported.layer],
                );
            }
        }
    }
}

fn rendered_machine() -> String {
    format!("```mermaid\n{}\n```\n\n{}\n", machine::diagram(), machine::table())
}

#[test]
fn the_machine_s_table_and_diagram_are_rendered_from_its_code() {
    must_be(&file("src/machine.md"), &rendered_machine());
}

#[test]
fn the_pictures_are_rendered_from_the_code() {
    let machine = pictures::machine(&machine::diagram());
    let layers = pictures::layers(&LAYERS, &modules());
    must_be(&file("src/guide/machine.svg"), &machine);
    must_be(&file("src/guide/layers.svg"), &layers);
    // docs.rs serves no other files than the pages, so there the pictures are part of the page.
    let recording = text("src/guide/drain.svg");
    let links = [("machine", &machine), ("layers", &layers), ("recording", &recording)];
    let links = links.map(|(name, svg)| pictures::link(name, svg)).concat();
    must_be(&file("src/guide/pictures.md"), &links);
}
