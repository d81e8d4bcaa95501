//! The pictures of the documents, as SVG. The caller gives the content, and the layout is fixed here.

use std::fmt::Write;

use base64::prelude::{BASE64_STANDARD, Engine};

/// A line of the map in `src/lib.rs`.
pub struct Module {
    pub layer: usize,
    pub name: String,
    pub what: String,
}

const INK: &str = "#1f2933";
const QUIET: &str = "#52606d";
const FONT: &str = "font-family=\"ui-sans-serif, system-ui, Helvetica, Arial, sans-serif\"";

fn canvas(title: &str, width: u32, height: u32, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" {FONT}>\n<title>{title}</title>\n<defs><marker id=\"tip\" \
         viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"{QUIET}\"/></marker></defs>\n<rect \
         width=\"{width}\" height=\"{height}\" rx=\"10\" fill=\"#fbfcfd\" stroke=\"#d9e2ec\"/>\n{body}</svg>\n"
    )
}

fn words(x: i32, y: i32, size: u32, ink: &str, anchor: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{ink}\" text-anchor=\"{anchor}\">{text}</text>\n"
    )
}

fn arrow(x1: i32, y1: i32, x2: i32, y2: i32) -> String {
    format!(
        "<path d=\"M{x1} {y1}L{x2} {y2}\" stroke=\"{QUIET}\" stroke-width=\"1.6\" marker-end=\"url(#tip)\"/>\n"
    )
}

/// The machine, from its own Mermaid diagram: each line is an edge, `from --> to: events`.
pub fn machine(diagram: &str) -> String {
    // Centres of the phases, and what each means.
    let place = |phase: &str| match phase {
        "running" => (180, 90, "the gate is open", "#e3f9e5"),
        "externally_draining" => (640, 90, "closed to users; reversible", "#fff3c4"),
        "shutting_down" => (410, 250, "shut for good", "#ffe3e3"),
        "stopped" => (410, 400, "sealed; nothing is admitted", "#e4e7eb"),
        other => panic!("no place for {other}: give it one"),
    };
    let mut body = String::new();
    let mut phases = Vec::new();
    for line in diagram.lines() {
        let Some((from, rest)) = line.trim().split_once(" --> ") else { continue };
        let (to, label) = rest.split_once(": ").unwrap_or((rest, ""));
        for phase in [from, to] {
            if phase != "[*]" && !phases.contains(&phase) {
                phases.push(phase);
            }
        }
        if from == "[*]" || to == "[*]" {
            continue;
        }
        let ((x1, y1, ..), (x2, y2, ..)) = (place(from), place(to));
        // An arrow goes from border to border. Two edges between the same phases are side by side.
        let (dx, dy): (i32, i32) = (x2 - x1, y2 - y1);
        let (x1, y1, x2, y2) = if dy == 0 {
            let side = if dx > 0 { -14 } else { 14 };
            let edge = 108 * dx.signum();
            (x1 + edge, y1 + side, x2 - edge, y2 + side)
        } else {
            (x1 + dx.signum() * 30, y1 + 32, x2 - dx.signum() * 60, y2 - 32)
        };
        body += &arrow(x1, y1, x2, y2);
        let (mx, my) = (i32::midpoint(x1, x2), i32::midpoint(y1, y2));
        let (x, y, anchor) = if dy == 0 {
            (mx, my + if dx > 0 { -8 } else { 18 }, "middle")
        } else if dx == 0 {
            (mx + 12, my - 10, "start")
        } else {
            (mx - dx.signum() * 12, my + 10, if dx > 0 { "end" } else { "start" })
        };
        for (at, event) in (0i32..).zip(label.split(", ")) {
            body += &words(x, y + at * 15, 12, INK, anchor, event);
        }
    }
    for phase in phases {
        let (x, y, meaning, fill) = place(phase);
        let _ = writeln!(
            body,
            "<rect x=\"{}\" y=\"{}\" width=\"216\" height=\"64\" rx=\"8\" fill=\"{fill}\" stroke=\"{QUIET}\"/>",
            x - 108,
            y - 32
        );
        body += &words(x, y - 4, 15, INK, "middle", phase);
        body += &words(x, y + 17, 12, QUIET, "middle", meaning);
    }
    body += &words(
        410,
        30,
        12,
        QUIET,
        "middle",
        "the first look of a process leads to one of these two",
    );
    canvas("The machine's phases and the events that lead from one to the next", 820, 450, &body)
}

/// The modules, with a band for each layer, the highest first.
pub fn layers(layers: &[&str], modules: &[Module]) -> String {
    // What each layer does, and its colour.
    let about = |layer: &str| match layer {
        "edges" => ("face outwards", "#e6f6ff"),
        "shell" => ("does: files, clocks, threads", "#fff3c4"),
        "core" => ("decides: functions and values", "#e3f9e5"),
        "ground" => ("what all the others use", "#eceff3"),
        other => panic!("no words for {other}: give it some"),
    };
    let mut body = String::new();
    let mut y = 20;
    for (at, layer) in layers.iter().enumerate() {
        let of_layer = modules.iter().filter(|it| it.layer == at);
        let (mut x, mut row) = (230, y + 14);
        let mut chips = String::new();
        for Module { name, what, .. } in of_layer {
            let width = 18 + i32::try_from(name.len()).unwrap_or(0) * 8;
            if x + width > 800 {
                (x, row) = (230, row + 36);
            }
            let _ = writeln!(
                chips,
                "<rect x=\"{x}\" y=\"{row}\" width=\"{width}\" height=\"28\" rx=\"6\" fill=\"#ffffff\" \
                 stroke=\"#9fb3c8\"><title>{what}</title></rect>"
            );
            chips += &words(x + width / 2, row + 18, 13, INK, "middle", name);
            x += width + 8;
        }
        let height = (row + 42 - y).max(56);
        let (does, fill) = about(layer);
        let _ = writeln!(
            body,
            "<rect x=\"16\" y=\"{y}\" width=\"796\" height=\"{height}\" rx=\"8\" fill=\"{fill}\"/>"
        );
        body += &words(32, y + 26, 16, INK, "start", layer);
        body += &words(32, y + 45, 12, QUIET, "start", does);
        body += &chips;
        y += height + 26;
        if at + 1 < layers.len() {
            body += &arrow(120, y - 24, 120, y - 2);
            body += &words(134, y - 9, 11, QUIET, "start", "imports");
        }
    }
    let height = u32::try_from(y).unwrap_or_default();
    canvas("The modules, by layer; each imports its own layer or a lower one", 830, height, &body)
}

/// A Markdown link definition with the picture in it.
pub fn link(name: &str, svg: &str) -> String {
    format!("[{name}]: data:image/svg+xml;base64,{}\n", BASE64_STANDARD.encode(svg))
}
