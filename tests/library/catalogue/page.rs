//! The part of `docs/troubleshooting.md` that is written from the errors: contents and a section for each.

use std::fmt::Write;

use super::{
    anchor,
    samples::{STAGES, Sample, Stage},
    variants::{Variant, variants},
};

/// The widest line of a message.
const WIDTH: usize = 110;

/// A table of contents, then the sections.
pub fn errors() -> String {
    let variants = variants();
    let stages: Vec<(&Stage, Vec<Sample>)> = STAGES.iter().map(|stage| (stage, stage.samples().collect())).collect();
    let mut page = String::from("| when | errors |\n|---|---|\n");
    for (stage, samples) in &stages {
        let links: Vec<_> = samples
            .iter()
            .map(|sample| format!("[`{0}`](#{1})", sample.variant, sample.variant.to_lowercase()))
            .collect();
        writeln!(page, "| [{}](#{}) | {} |", stage.when, anchor(stage.when), links.join(", ")).unwrap();
    }
    for (stage, samples) in &stages {
        writeln!(page, "\n## {}", stage.when).unwrap();
        for sample in samples {
            let variant =
                variants.iter().find(|variant| variant.name == sample.variant).expect("a sample has a variant");
            page.push_str(&section(variant, sample));
        }
    }
    page
}

fn section(variant: &Variant, sample: &Sample) -> String {
    let Variant { name, .. } = variant;
    let [cause, cure] = [variant.cause(), variant.cure()].map(|text| capitalized(text.unwrap_or_default()));
    let what = variant.what();
    let message = wrapped(&sample.error.to_string());
    let mut section =
        format!("\n### `{name}`\n\n{what}\n\n```text\n{message}\n```\n\n**Cause.** {cause}\n\n**Cure.** {cure}\n");
    if let Some(mended) = &sample.mended {
        write!(section, "\n```rust,ignore\n{mended}\n```\n").unwrap();
    }
    section
}

fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

/// Long lines go on in the next one.
fn wrapped(message: &str) -> String {
    let mut lines = Vec::new();
    for line in message.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut current = indent.to_owned();
        for word in line.split_whitespace() {
            let is_first = current.len() == indent.len();
            if !is_first && current.chars().count() + 1 + word.chars().count() > WIDTH {
                lines.push(std::mem::replace(&mut current, indent.to_owned() + word));
            } else {
                current.push_str(if is_first { "" } else { " " });
                current.push_str(word);
            }
        }
        lines.push(current);
    }
    lines.join("\n")
}
