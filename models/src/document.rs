//! A report as documents: Markdown for a design review, JSON for a program. This module judges nothing.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::catalogue::{self, CATALOGUE, ModelName};
use crate::design::Guard;
use crate::matrix;
use crate::registry::Size;
use crate::report::{Report, STORIES, Story, names};

impl Report {
    /// The report as a Markdown document: summary, machine, properties, faults, counterexamples, assumptions,
    /// limits, and how to repeat the run.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "# tidegate {}: what was checked\n\n{}.\n\n",
            env!("CARGO_PKG_VERSION"),
            self.summary()
        );
        if !self.only.is_empty() {
            let _ = writeln!(text, "Only these were run: {}.\n", self.only.join(", "));
        }
        for job in &self.unfinished {
            let _ = writeln!(text, "* not shown: {job}: it was interrupted");
        }
        for failure in self.failures() {
            let _ = writeln!(text, "* **failed**: {failure}");
        }
        let _ = write!(
            text,
            "\n## The machine\n\n```mermaid\n{}\n```\n",
            tidegate::internals::machine::diagram()
        );
        for (title, table) in [
            ("Verdicts", markdown(&self.property_rows())),
            ("Models: two engines, which must agree", markdown(&self.engine_rows())),
            ("Liveness: what must happen in the end", markdown(&self.liveness_rows())),
            ("What the original contract breaks", markdown(&self.original_rows())),
            ("Each guard, and what breaks without it", markdown(&self.ablation_rows())),
        ] {
            let _ = write!(text, "\n## {title}\n\n{table}");
        }
        let _ = write!(
            text,
            "\n## Guard by property\n\nThe steps of the shortest counterexample without the guard. An empty cell: none among the first {} states.\n\n{}",
            matrix::states_max(self.size),
            markdown(&matrix::rows(&self.matrix))
        );
        let _ = write!(text, "\n## Counterexamples\n\n{STORIES}\n");
        for Story { title, about, steps } in self.stories() {
            let _ = write!(text, "\n### {title}\n\n");
            for line in about {
                let _ = writeln!(text, "* {line}");
            }
            text += "\n```text\n";
            for (number, step) in steps.iter().enumerate() {
                let _ = writeln!(text, "{:>2}. {step}", number + 1);
            }
            text += "```\n";
        }
        let _ = write!(
            text,
            "\n## Properties, assumptions, limits\n\n{}\n\n## How to repeat this run\n\n```sh\ncargo verify {}\n```\n",
            catalogue::table(),
            self.command()
        );
        text
    }

    fn command(&self) -> String {
        let size = match self.size {
            Size::Small => "quick",
            Size::Full => "full",
        };
        let only = self.only.iter().map(|name| format!(" --only {name}"));
        std::iter::once(size.to_owned()).chain(only).collect()
    }

    /// The report as JSON. Its schema is in this package's README. The number in `schema` rises when it changes.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let properties = CATALOGUE.iter().map(|entry| {
            let checked_as: Vec<_> = entry.checked_as.iter().map(|it| it.property).collect();
            json!({
                "id": entry.id, "name": entry.name, "statement": entry.statement,
                "checked_as": checked_as, "verdict": self.verdict_on(entry),
                "assumes": entry.assumes, "not_shown": entry.not_shown,
            })
        });
        let engines = self.engines.iter().map(|run| {
            json!({
                "model": run.model.as_str(), "engine": run.engine, "states": run.states, "steps": run.steps,
                "broken": run.broken, "reached": run.reached, "seconds": run.took.as_secs_f64(),
            })
        });
        let promises = self.liveness.iter().map(|run| {
            json!({
                "property": run.property, "states": run.states, "waiting": run.waiting,
                "story": run.counterexample, "seconds": run.took.as_secs_f64(),
            })
        });
        let original = self.original.iter().map(|run| {
            let broken: Vec<_> = run.broken.iter().map(|it| it.0).collect();
            json!({ "model": run.model.as_str(), "states": run.states, "broken": broken })
        });
        let ablations = self.ablations.iter().map(|run| {
            let off: Vec<_> = run.ablation.off.iter().map(ToString::to_string).collect();
            let incidents: Vec<_> =
                run.ablation.incidents.split(", ").filter(|it| !it.is_empty()).collect();
            json!({
                "off": off, "broken": run.broken, "as_expected": run.is_as_expected(),
                "states": run.states, "incidents": incidents, "story": run.counterexample,
                "seconds": run.took.as_secs_f64(),
            })
        });
        let matrix = self.matrix.iter().map(|run| {
            let broken = run.broken.iter();
            let broken =
                broken.map(|(property, steps)| json!({ "property": property, "steps": steps }));
            json!({
                "guard": run.guard.to_string(), "model": run.model.as_str(),
                "broken": broken.collect::<Vec<_>>(),
            })
        });
        let gaps = self.gaps.iter();
        let gaps = gaps.map(|(property, story)| json!({ "property": property, "story": story }));
        json!({
            "schema": 1,
            "version": env!("CARGO_PKG_VERSION"),
            "command": self.command(),
            "ok": self.is_ok(),
            "complete": self.is_complete(),
            "failures": self.failures(),
            "unfinished": self.unfinished,
            "properties": properties.collect::<Vec<_>>(),
            "engines": engines.collect::<Vec<_>>(),
            "promises": promises.collect::<Vec<_>>(),
            "original": original.collect::<Vec<_>>(),
            "ablations": ablations.collect::<Vec<_>>(),
            "matrix": matrix.collect::<Vec<_>>(),
            "gaps": gaps.collect::<Vec<_>>(),
            "seconds": self.took.as_secs_f64(),
        })
    }
}

/// Every name that can be run alone: properties, models, and guards with their incidents.
#[must_use]
pub fn list() -> String {
    let mut text = "properties (models/README.md describes them)\n".to_owned();
    for entry in &CATALOGUE {
        let _ = writeln!(text, "  {:<7} {:<28} {}", entry.id, entry.name, entry.statement);
    }
    let _ = writeln!(text, "models\n  {}", ModelName::ALL.map(ModelName::as_str).join(", "));
    text += "guards, and what happens without each\n";
    for guard in Guard::ALL {
        let _ = writeln!(text, "  {:<24} {}", guard.to_string(), guard.rule());
    }
    text +=
        "guards that are switched off, and the incidents they prevent (src/guide/incidents.md)\n";
    for ablation in &crate::ablations::ABLATIONS {
        let _ = writeln!(text, "  {:<34} {}", names(ablation.off), ablation.incidents);
    }
    text
}

fn markdown<const N: usize>(rows: &[[String; N]]) -> String {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if number == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(N));
        }
    }
    text
}
