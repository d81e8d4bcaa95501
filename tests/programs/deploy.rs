//! The recipes in `deploy/` agree with themselves and with the programs that they deploy. Each recipe has its own
//! test. No test needs a cluster or a container engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(name: &str) -> String {
    let path = repository().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn documents(yaml: &str) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(yaml);
    documents.map(|it| Value::deserialize(it).expect("YAML")).collect()
}

/// The strings of a list.
fn words(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap_or_else(|| panic!("not a list: {list}"));
    list.iter().map(|it| it.as_str().unwrap_or_else(|| panic!("not a string: {it}"))).collect()
}

/// The value after `name` on a command line.
fn value_of<'a>(command: &[&'a str], name: &str) -> &'a str {
    let at = command.iter().position(|it| *it == name);
    let at = at.unwrap_or_else(|| panic!("no {name} in {command:?}"));
    command.get(at + 1).unwrap_or_else(|| panic!("{name} has no value in {command:?}"))
}

/// The seconds in `110s`, `2m` or `30`.
fn seconds(text: &str) -> u64 {
    let (number, unit) = match text.strip_suffix('m') {
        Some(number) => (number, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    number.parse::<u64>().unwrap_or_else(|_| panic!("not a time: {text}")) * unit
}

/// Runs a recipe's command beside a live gateway that already drains for another holder. Returns its exit code, and
/// whether the gate stays closed once the other holder has cancelled.
#[cfg(feature = "cli")]
fn outcome_of(command: &[&str], is_busy: bool) -> (Option<i32>, bool) {
    use tidegate::request::{DrainRequest, Holder};
    use tidegate::{Gateway, Origin};

    let home = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::builder(home.path()).start().expect("starts");
    let turn = is_busy.then(|| gateway.admit(Origin::User).expect("open"));
    let other = Holder::named("other").expect("a name");
    gateway.begin_drain(&DrainRequest::new("test").with_holder(other.clone())).expect("begins");

    let mut arguments = command.iter().map(|it| match *it {
        "/srv/gateway" => home.path().as_os_str(),
        // The turn never ends, so a short wait is enough.
        "60s" if is_busy => "100ms".as_ref(),
        other => other.as_ref(),
    });
    assert_eq!(arguments.next().expect("a command"), "tidegate");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = command.args(arguments).output().expect("runs");
    assert!(gateway.cancel_drain(&other).expect("cancels"));
    let is_closed = gateway.admit(Origin::User).is_err();
    drop(turn);
    (output.status.code(), is_closed)
}

/// The Kubernetes base as kubectl builds it. Without kubectl, its files as they are: the difference is small.
fn kubernetes_base() -> Vec<Value> {
    let folder = repository().join("deploy/kubernetes");
    let built = Command::new("kubectl").arg("kustomize").arg(&folder).output();
    let yaml = match built {
        Ok(output) => {
            assert!(output.status.success(), "kubectl kustomize: {output:?}");
            String::from_utf8(output.stdout).expect("UTF-8")
        }
        Err(error) => {
            println!(
                "skipped: kubectl kustomize cannot be run ({error}); the files are read instead"
            );
            let kustomization = &documents(&text_of("deploy/kubernetes/kustomization.yaml"))[0];
            let files = words(&kustomization["resources"]);
            let texts: Vec<_> =
                files.iter().map(|it| text_of(&format!("deploy/kubernetes/{it}"))).collect();
            texts.join("\n---\n")
        }
    };
    documents(&yaml)
}

fn named<'a>(base: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = base.iter().find(|it| it["kind"] == kind && it["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().expect("a selector");
    !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// A stop in Kubernetes leaves time for the drain and for the grace, and the gate stays closed to the end.
#[test]
fn kubernetes_stops_a_gateway_in_order() {
    let base = kubernetes_base();
    let pod = &named(&base, "StatefulSet", "gateway")["spec"]["template"]["spec"];
    let gateway = &pod["containers"][0];
    let arguments = words(&gateway["args"]);
    let hook = words(&gateway["lifecycle"]["preStop"]["exec"]["command"]);

    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a number");
    let (drain, own) =
        (seconds(value_of(&hook, "--timeout")), seconds(value_of(&arguments, "--grace-s")));
    assert!(grace >= drain + own + 5, "{grace} s for {drain} s and {own} s, and a margin");
    assert!(seconds(value_of(&hook, "--lease")) > grace, "the gate opens before the end: {hook:?}");
    for word in ["drain", "--wait", "--keep", "--holder"] {
        assert!(hook.contains(&word), "no {word} in {hook:?}");
    }

    let home = value_of(&arguments, "--home");
    assert_eq!(value_of(&hook, "--home"), home);
    let mounted = gateway["volumeMounts"].as_array().expect("mounts");
    assert!(mounted.iter().any(|it| it["mountPath"] == home), "{home} is no volume");
    // With a PID namespace that is shared with a sidecar, a kept request would outlive the container.
    assert_eq!(pod.get("shareProcessNamespace"), None);

    #[cfg(feature = "cli")]
    {
        assert_eq!(outcome_of(&hook, false), (Some(0), true));
        assert_eq!(outcome_of(&hook, true), (Some(3), true), "a drain that times out stays");
    }
}

/// The readiness probe takes a draining gateway out of service, and the liveness probe does not restart it.
#[test]
fn kubernetes_probes_what_each_probe_is_for() {
    let base = kubernetes_base();
    let gateway =
        &named(&base, "StatefulSet", "gateway")["spec"]["template"]["spec"]["containers"][0];
    let ports = gateway["ports"].as_array().expect("ports");
    for (probe, path) in
        [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz"), ("startupProbe", "/healthz")]
    {
        let asked = &gateway[probe]["httpGet"];
        assert_eq!(asked["path"], path, "{probe}");
        assert!(ports.iter().any(|it| it["name"] == asked["port"]), "{probe} asks no port");
    }
    let port = ports[0]["containerPort"].as_u64().expect("a number");
    let listen = value_of(&words(&gateway["args"]), "--listen").to_owned();
    assert!(listen.ends_with(&format!(":{port}")), "{listen} is not on {port}");

    let environment = gateway["env"].as_array().expect("an environment");
    let secret = environment.iter().find(|it| it["valueFrom"]["secretKeyRef"].is_object());
    let variable = secret.expect("a secret")["name"].as_str().expect("a name");
    assert!(text_of("examples/http_gateway.rs").contains(variable), "nobody reads {variable}");
    assert!(base.iter().all(|it| it["kind"] != "Secret"), "a secret is in the repository");
}

/// The services and the budget select these pods. A drained pod is still reachable and can still be evicted.
#[test]
fn kubernetes_reaches_and_evicts_the_pods_that_it_makes() {
    let base = kubernetes_base();
    let set = &named(&base, "StatefulSet", "gateway")["spec"];
    let labels = &set["template"]["metadata"]["labels"];
    assert!(selects(&set["selector"]["matchLabels"], labels));

    let budget = &named(&base, "PodDisruptionBudget", "gateway")["spec"];
    assert!(selects(&budget["selector"]["matchLabels"], labels));
    assert_eq!(budget["unhealthyPodEvictionPolicy"], "AlwaysAllow");
    assert_eq!(budget.get("minAvailable"), None, "with one replica it blocks the node's drain");

    let ports = &set["template"]["spec"]["containers"][0]["ports"];
    for service in base.iter().filter(|it| it["kind"] == "Service") {
        assert!(selects(&service["spec"]["selector"], labels), "{service}");
        let target = &service["spec"]["ports"][0]["targetPort"];
        assert!(ports.as_array().expect("ports").iter().any(|it| it["name"] == *target));
    }
    let governing = set["serviceName"].as_str().expect("a name");
    let governing = &named(&base, "Service", governing)["spec"];
    assert_eq!(governing["publishNotReadyAddresses"], true);
    assert_eq!(governing["clusterIP"], "None");
}

/// The instructions of a Dockerfile, each with its arguments on one line.
fn instructions(dockerfile: &str) -> Vec<(String, String)> {
    let lines = dockerfile.lines().filter(|line| !line.trim_start().starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let split = |line: &str| {
        let (instruction, rest) = line.trim().split_once(' ')?;
        Some((instruction.to_owned(), rest.trim().to_owned()))
    };
    text.lines().filter_map(split).collect()
}

fn one<'a>(all: &'a [(String, String)], instruction: &str) -> &'a str {
    let mut found = all.iter().filter(|(it, _)| it == instruction);
    let (_, rest) = found.next().unwrap_or_else(|| panic!("no {instruction}"));
    assert!(found.next().is_none(), "more than one {instruction}");
    rest
}

/// The arguments in exec form: no shell runs between the engine and the program.
fn exec_form(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("no exec form ({error}): {text}"))
}

/// The Dockerfile names files that the repository has, and runs the gateway so that a signal reaches it.
#[test]
fn the_dockerfile_builds_and_runs_what_is_here() {
    let all = instructions(&text_of("deploy/docker/Dockerfile"));
    let copies: Vec<_> = all.iter().filter(|(it, _)| it == "COPY").map(|(_, rest)| rest).collect();
    let (stages, sources): (Vec<_>, Vec<_>) =
        copies.into_iter().partition(|it| it.starts_with("--from"));

    // Each copied file exists, and the build reads no others.
    let mut copied: Vec<PathBuf> = Vec::new();
    for source in sources {
        let mut names: Vec<_> = source.split_whitespace().collect();
        names.pop();
        copied.extend(names.into_iter().map(|name| repository().join(name)));
    }
    for path in &copied {
        assert!(path.exists(), "{} is copied and does not exist", path.display());
    }
    // The manifest, the files that `include_str!` reads, and the targets and the member that the manifest names.
    for needed in ["Cargo.toml", "Cargo.lock", "README.md", "src", "examples", "benches", "models"]
    {
        assert!(copied.contains(&repository().join(needed)), "{needed} is not copied");
    }
    let manifest = text_of("Cargo.toml");
    let rust = manifest.split("rust-version = \"").nth(1).and_then(|it| it.split('"').next());
    let image = format!("rust:{}-", rust.expect("a version"));
    assert!(all.iter().any(|(it, rest)| it == "FROM" && rest.starts_with(&image)), "no {image}");

    let (_, build) = all
        .iter()
        .find(|(it, rest)| it == "RUN" && rest.starts_with("cargo build"))
        .expect("a build");
    let build: Vec<_> = build.split_whitespace().collect();
    let (binary, example) = (value_of(&build, "--bin"), value_of(&build, "--example"));
    for (kind, name) in [("bin", binary), ("example", example)] {
        assert!(manifest.contains(&format!("[[{kind}]]\nname = \"{name}\"\n")), "no {kind} {name}");
    }
    for feature in value_of(&build, "--features").split(',') {
        assert!(manifest.contains(&format!("\n{feature} = [")), "no feature {feature}");
    }
    for file in [format!("/release/{binary} "), format!("/release/examples/{example} ")] {
        assert!(stages[0].contains(&file), "{file} is not copied out of the build");
    }

    let entrypoint = exec_form(one(&all, "ENTRYPOINT"));
    assert_eq!(entrypoint[0], example);
    let home = &entrypoint[2];
    assert_eq!(one(&all, "VOLUME"), home);
    assert_eq!(one(&all, "STOPSIGNAL"), "SIGTERM");
    assert!(!one(&all, "USER").starts_with('0') && !one(&all, "USER").starts_with("root"));
    exec_form(one(&all, "CMD"));
    let (_, check) = one(&all, "HEALTHCHECK").split_once("CMD ").expect("a command");
    let check = exec_form(check);
    assert_eq!(check[1..3], ["--home", home]);
    #[cfg(feature = "cli")]
    {
        let check: Vec<_> = check.iter().map(String::as_str).collect();
        assert_eq!(outcome_of(&check, true).0, Some(0), "a gateway that drains is alive");
    }
}

/// Compose waits for the whole grace, and a drain that fails leaves the gateway open.
#[test]
fn compose_waits_for_the_gateway_s_grace() {
    let compose = &documents(&text_of("deploy/docker/compose.yaml"))[0];
    let gateway = &compose["services"]["gateway"];
    let folder = repository()
        .join("deploy/docker")
        .join(gateway["build"]["context"].as_str().expect("a path"));
    let dockerfile = gateway["build"]["dockerfile"].as_str().expect("a path");
    assert_eq!(
        fs::canonicalize(folder.join(dockerfile)).expect("the Dockerfile"),
        fs::canonicalize(repository().join("deploy/docker/Dockerfile")).expect("the Dockerfile"),
    );

    let all = instructions(&text_of("deploy/docker/Dockerfile"));
    let arguments = exec_form(one(&all, "CMD"));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let grace = seconds(value_of(&arguments, "--grace-s"));
    let stop = seconds(gateway["stop_grace_period"].as_str().expect("a time"));
    assert!(stop >= grace + 5, "{stop} s for {grace} s and a margin");
    assert_eq!(gateway["stop_signal"], "SIGTERM");

    let home = one(&all, "VOLUME");
    assert!(words(&gateway["volumes"]).contains(&&*format!("home:{home}")));
    assert!(compose["volumes"].get("home").is_some());
    let hook = words(&gateway["pre_stop"][0]["command"]);
    assert_eq!(value_of(&hook, "--home"), home);
    assert!(!hook.contains(&"--keep"), "a stop that is given up leaves the gate closed: {hook:?}");
    let lease = seconds(value_of(&hook, "--lease"));
    assert!(lease > seconds(value_of(&hook, "--timeout")) + stop, "{hook:?}");

    #[cfg(feature = "cli")]
    {
        assert_eq!(outcome_of(&hook, false), (Some(0), true));
        assert_eq!(
            outcome_of(&hook, true),
            (Some(3), false),
            "a stop that is given up leaves no drain"
        );
    }
}

const UNIT: &str = "deploy/systemd/gateway.service";
const PROGRAM: &str = "/usr/local/bin/gateway";

/// The output of `systemd-analyze verify` for this text as a unit; `None` if the program is not installed.
fn complaints(text: &str) -> Option<String> {
    let dir = tempfile::tempdir().expect("temp dir");
    let unit = dir.path().join("gateway.service");
    fs::write(&unit, text).expect("writes");
    let output =
        match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output() {
            Ok(output) => output,
            Err(error) => {
                println!("skipped: systemd-analyze cannot be run: {error}");
                return None;
            }
        };
    // It also reads the units that this one names. Their faults do not count here.
    let said = String::from_utf8_lossy(&output.stderr);
    let ours = said.lines().filter(|line| line.contains("gateway.service"));
    Some(ours.collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_unit_is_understood_by_systemd() {
    let text = text_of(UNIT);
    assert!(text.contains(&format!("\nExecStart={PROGRAM} ")), "{UNIT} starts {PROGRAM}");
    let text = text.replace(PROGRAM, "/bin/sh");
    let Some(said) = complaints(&text) else { return };
    assert_eq!(said, "", "{UNIT}");

    // The check finds a fault.
    for (right, wrong) in [("WatchdogSec=", "WatchdogSeconds="), ("Type=notify", "Type=notifies")] {
        assert!(text.contains(right), "{right}");
        assert_ne!(complaints(&text.replace(right, wrong)).as_deref(), Some(""), "{wrong}");
    }
}
