//! The guide's commands are ones that the command takes, and what it names is in the repository.

use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn guide() -> String {
    fs::read_to_string(root().join("src/guide/operations.md")).expect("the guide")
}

/// The code blocks in this language, each on its own, continued lines joined.
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
    for (at, line) in guide.lines().enumerate() {
        assert!(line.chars().count() <= 110, "line {} is too long: {line}", at + 1);
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

/// Each `tidegate` in a block does what it is there for, in their order, beside a living gateway.
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
