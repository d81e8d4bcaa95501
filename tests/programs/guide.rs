//! The guide's commands work, the files that it names exist, and each code that the repository uses has its entry.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::files::{files_below, is_kind};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(format!("src/guide/{name}.md"))).expect("a page of the guide")
}

fn guide() -> String {
    page("operations")
}

/// The texts that people have written in the repository: no build results, no recorded data.
fn texts() -> Vec<(PathBuf, String)> {
    let paths = files_below(root(), &["target", "vectors", ".git", "proptest-regressions"]);
    let written = |it: &PathBuf| {
        !is_kind(it, "svg") && !it.ends_with("Cargo.lock") && !it.ends_with("pictures.md")
    };
    let texts = paths.into_iter().filter(written).filter_map(|path| {
        let text = fs::read_to_string(&path).ok()?;
        Some((path, text))
    });
    let texts: Vec<_> = texts.collect();
    assert!(texts.len() > 100, "only {} files", texts.len());
    texts
}

/// The texts with this file extension.
fn texts_of(extension: &str) -> impl Iterator<Item = (PathBuf, String)> {
    texts().into_iter().filter(move |(path, _)| is_kind(path, extension))
}

/// The codes in a text: `I-12`, `U12`, `F9`, `R7`, `TG-S4`, each as a whole word.
fn codes(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    let is_number =
        |it: &str| !it.is_empty() && it.len() <= 3 && it.bytes().all(|b| b.is_ascii_digit());
    let words = words.filter(|word| {
        let rest = word.strip_prefix("I-").or_else(|| word.strip_prefix(['U', 'F', 'R']));
        let rest = rest.or_else(|| word.strip_prefix("TG-S")).or_else(|| word.strip_prefix("TG-L"));
        rest.is_some_and(is_number)
    });
    words.map(ToOwned::to_owned).collect()
}

/// The entries of the key, each with its row.
fn key() -> BTreeMap<String, String> {
    let pages = ["requirements", "incidents", "verification"].map(page);
    let rows = pages.iter().flat_map(|it| it.lines()).filter_map(|row| {
        let (id, rest) = row.strip_prefix("| <a id=\"")?.split_once("\"></a>")?;
        let code = rest.split_whitespace().next()?;
        assert_eq!(code.to_lowercase(), id, "an anchor is its code in lower case");
        Some((code.to_owned(), row.to_owned()))
    });
    let rows: Vec<_> = rows.collect();
    let key: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(key.len(), rows.len(), "no code has two entries");
    key
}

#[test]
fn every_code_has_its_entry() {
    let key = key();
    // Not a code: a test asks for a property that the catalogue does not have.
    let no_code = ["TG-S99"];
    let mut seen = 0;
    for (path, text) in texts() {
        for code in codes(&text) {
            assert!(
                key.contains_key(&code) || no_code.contains(&code.as_str()),
                "{}: {code} has no entry in src/guide/{{requirements,incidents,verification}}.md",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} were found");
}

/// In the published docs, a code is at the end of an item, as a link to its entry.
#[test]
fn codes_in_public_docs_are_links_at_the_end() {
    let mut linked = 0;
    for (path, text) in texts_of("rs") {
        let source = root().join("src");
        if !path.starts_with(&source) || path.starts_with(source.join("bin")) {
            continue;
        }
        let mut docs = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(doc) = line.strip_prefix("///") {
                docs.push(doc);
                continue;
            }
            if line.starts_with("pub ") {
                let is_link = |it: &&str| it.contains("](crate::guide::");
                let prose = docs.iter().rposition(|it| !it.is_empty() && !is_link(it));
                for (at, doc) in docs.iter().enumerate().filter(|(_, it)| !codes(it).is_empty()) {
                    let ends = is_link(doc) && prose.is_none_or(|prose| prose < at);
                    assert!(ends, "{}: {doc} ({line})", path.display());
                    linked += 1;
                }
            }
            if !line.starts_with("#[") && !line.starts_with("//") {
                docs.clear();
            }
        }
    }
    assert!(linked > 20, "only {linked}");
}

/// Checks the links within the repository, and those to pages of the guide. rustdoc checks those between items.
#[test]
fn links_lead_somewhere() {
    let mut checked = 0;
    for (path, text) in texts_of("md") {
        let inline = text.split("](").skip(1).filter_map(|it| it.split(')').next());
        let defined = text.lines().filter_map(|it| it.strip_prefix('[')?.split_once("]: "));
        for target in inline.chain(defined.map(|(_, it)| it)) {
            let file = target.split('#').next().unwrap_or_default();
            let page = target.strip_prefix("https://docs.rs/tidegate/latest/tidegate/guide/");
            let ours = "https://github.com/tidegate/tidegate/";
            let leads = if let Some(page) = page {
                root().join(format!("src/guide/{}.md", page.trim_end_matches('/'))).exists()
            } else if let Some(rest) = target.strip_prefix(ours) {
                let name = rest.split_once("/main/").map_or("", |(_, it)| it);
                root().join(name).exists()
            } else if target.starts_with("http") || target.starts_with("crate::") || file.is_empty()
            {
                continue;
            } else {
                path.with_file_name(file).exists()
            };
            assert!(leads, "{}: {target} leads nowhere", path.display());
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked}");
}

/// A renamed test leaves no dead reference in the key. The tests of the model suite compare the guards.
#[test]
fn what_an_incident_is_shown_by_exists() {
    let code: String = texts_of("rs").map(|(_, text)| text).collect();
    let mut checked = 0;
    for (incident, row) in key().into_iter().filter(|(it, _)| it.starts_with(['I', 'U'])) {
        let cells: Vec<_> = row.trim_matches(['|', ' ']).split(" | ").collect();
        let [_, what, why, prevented, shown] = cells[..] else { panic!("{incident}: {row}") };
        assert!([what, why, prevented, shown].iter().all(|it| !it.is_empty()), "{incident}: {row}");
        let tests: Vec<_> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty() || shown == "no test", "{incident} names no test");
        for test in tests {
            assert!(code.contains(&format!("fn {test}(")), "{incident}: there is no test {test}");
            checked += 1;
        }
    }
    assert!(checked > 60, "only {checked}");
}

/// The code blocks in this language, with continued lines joined.
fn blocks(guide: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let blocks = guide.split(&opening).skip(1);
    let blocks = blocks.map(|it| it.split("\n```").next().unwrap_or_default());
    blocks.map(|it| it.replace("\\\n", " ")).collect()
}

#[test]
fn what_the_guide_names_is_here() {
    let guide = guide();
    for name in ["deploy/systemd/", "deploy/kubernetes", "deploy/docker/", "schemas/"] {
        assert!(guide.contains(name), "the guide does not name {name}");
    }
    for name in [
        "deploy/systemd/gateway.service",
        "deploy/kubernetes/kustomization.yaml",
        "deploy/docker/Dockerfile",
        "schemas",
    ] {
        assert!(root().join(name).exists(), "{name} does not exist");
    }
    for (page, text) in texts_of("md").filter(|(it, _)| it.starts_with(root().join("src/guide"))) {
        for (at, line) in text.lines().enumerate().filter(|(_, it)| !it.starts_with('|')) {
            let is_short = line.chars().count() <= 110;
            assert!(is_short, "{}, line {} is too long: {line}", page.display(), at + 1);
        }
    }
}

#[cfg(unix)]
#[test]
fn a_shell_reads_the_guide_s_commands() {
    let scripts = blocks(&guide(), "sh");
    assert!(!scripts.is_empty());
    for script in scripts {
        let read = std::process::Command::new("sh").args(["-n", "-c", &script]).output();
        let read = read.expect("a shell");
        assert!(read.status.success(), "{script}: {read:?}");
    }
}

/// Each `tidegate` command in the code blocks succeeds, in their order, with a live gateway.
#[cfg(feature = "cli")]
#[test]
fn the_guide_s_orders_are_carried_out() {
    use std::process::Command;

    use tidegate::Gateway;

    let home = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::builder(home.path()).start().expect("starts");
    let guide = guide();
    let mut run = 0;
    for line in blocks(&guide, "sh").iter().chain(&blocks(&guide, "ini")).flat_map(|it| it.lines())
    {
        let mut words = line.split_whitespace().skip_while(|it| !it.ends_with("tidegate"));
        // `docker exec gateway tidegate drain`, `ExecStop=-/usr/local/bin/tidegate drain`, and not a path.
        if words.next().is_none() {
            continue;
        }
        let arguments = words.take_while(|it| *it != "&&");
        let arguments = arguments.map(|it| match it {
            "/srv/gateway" => home.path().as_os_str(),
            other => other.as_ref(),
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let output = command.args(arguments).env("TIDEGATE_HOME", home.path()).output();
        let output = output.expect("runs");
        assert!(output.status.success(), "{line}: {output:?}");
        run += 1;
    }
    assert!(run >= 8, "only {run} were found");
    drop(gateway);
}
