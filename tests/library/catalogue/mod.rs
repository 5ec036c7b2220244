//! Errors as a catalogue: each says its cause and its cure, a program really gets it, and `docs/troubleshooting.md` shows that.
//!
//! | file | what |
//! |---|---|
//! | `variants.rs` | what `error.rs` says of its variants |
//! | `samples/` | a program for each, and lines that mend it |
//! | `page.rs` | the page's part that is made of both; the rest of it is written by hand |

mod page;
mod samples;
mod variants;

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use samples::{STAGES, Sample};
use variants::{Variant, variants};

/// Between these lines the page is written by `TROUBLESHOOTING=overwrite`.
const BEGIN: &str = "<!-- errors: do not edit, see CONTRIBUTING.md -->\n";
const END: &str = "<!-- end of errors -->\n";

fn samples() -> impl Iterator<Item = Sample> {
    STAGES.iter().flat_map(|stage| stage.samples())
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/troubleshooting.md")
}

#[test]
fn every_variant_says_what_it_is_then_its_cause_then_its_cure() {
    for variant in variants() {
        let Variant { name, docs, .. } = &variant;
        let kinds: Vec<_> = docs
            .iter()
            .map(|docs| match docs {
                docs if docs.starts_with("Cause: ") => "cause",
                docs if docs.starts_with("Cure: ") => "cure",
                _ => "what",
            })
            .collect();
        assert_eq!(
            kinds,
            ["what", "cause", "cure"],
            "{name} is to have three paragraphs: what, `Cause: ..`, `Cure: ..`"
        );
        for docs in docs {
            assert!(docs.ends_with(['.', '?', ')']), "{name}: a paragraph ends in no sentence: {docs}");
        }
    }
}

#[test]
fn every_variant_has_one_sample() {
    let names = |names: &mut dyn Iterator<Item = String>| names.collect::<BTreeSet<_>>();
    let declared = names(&mut variants().into_iter().map(|variant| variant.name));
    let mut sampled: Vec<_> = samples().map(|sample| sample.variant).collect();
    sampled.sort_unstable();
    assert_eq!(declared.into_iter().collect::<Vec<_>>(), sampled, "see `samples/mod.rs`");
}

#[test]
fn code_that_mends_an_error_stands_beside_its_sample() {
    for stage in STAGES {
        let sampled: Vec<_> = stage.samples().map(|sample| sample.variant).collect();
        for anchor in stage.anchors() {
            assert!(sampled.iter().any(|variant| variant == anchor), "{anchor} is no sample of `{}`", stage.when);
        }
    }
}

#[test]
fn every_field_of_a_variant_is_told_in_its_message() {
    // It stands in `why`.
    let told_elsewhere = [("NotACheckpoint", "cause")];
    for variant in variants() {
        for field in &variant.fields {
            let is_told = variant.tells(field) || told_elsewhere.contains(&(&variant.name, field));
            assert!(is_told, "{}: its message does not tell `{field}`", variant.name);
        }
    }
}

#[test]
fn a_message_with_a_path_names_it_and_none_is_untidy() {
    for Sample { variant, error, .. } in samples() {
        let message = error.to_string();
        if let Some(path) = path(&format!("{error:?}")) {
            assert!(message.contains(&path), "{variant}: `{path}` is not in: {message}");
        }
        for line in message.lines() {
            assert!(!line.trim_start().contains("  "), "{variant}: two spaces: {line}");
            assert!(!line.ends_with(' '), "{variant}: a space at the end: {line}");
        }
        let end = message.chars().last();
        assert!(end.is_some_and(|end| !",;:. ".contains(end)), "{variant}: something hangs at its end: {message}");
        assert!(message.matches('`').count().is_multiple_of(2), "{variant}: a ` is open: {message}");
        // Between backquotes is code or a text of the user's, between quotes a sign that is spoken of.
        let prose = message.split('`').step_by(2).collect::<Vec<_>>().join("code");
        let prose = prose.replace("']'", "").replace("'}'", "");
        for (open, close) in [('(', ')'), ('[', ']'), ('{', '}')] {
            assert_eq!(
                prose.matches(open).count(),
                prose.matches(close).count(),
                "{variant}: {open}{close}: {message}"
            );
        }
        for nothing in ["()", "{}", "Some(", "None"] {
            assert!(!prose.contains(nothing), "{variant}: {nothing} in: {message}");
        }
        assert!(!message.contains("``"), "{variant}: nothing between backquotes: {message}");
    }
}

/// What `Debug` shows of a field `path`, if there is one and it is not `None`.
fn path(debug: &str) -> Option<String> {
    let (_, value) = debug.split_once(" path: ")?;
    let (before, value) = value.split_once('"')?;
    let is_text = before.chars().all(|c| c.is_alphanumeric() || c == '(');
    is_text.then(|| value.split('"').next().unwrap_or_default().to_owned())
}

/// The page as it is, and as it should be.
fn page() -> [String; 2] {
    let page = fs::read_to_string(file()).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page says where the errors begin");
    let (_, after) = rest.split_once(END).expect("the page says where the errors end");
    let expected = [before, BEGIN, "\n", &page::errors(), "\n", END, after].concat();
    [page, expected]
}

#[test]
fn the_page_shows_the_errors_as_they_are() {
    let [page, expected] = page();
    if env::var("TROUBLESHOOTING").is_ok_and(|wish| wish == "overwrite") {
        fs::write(file(), expected).unwrap();
        return;
    }
    let difference = page.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(
        page == expected,
        "docs/troubleshooting.md is not what error.rs and the samples say, from here on:\n{difference:#?}\n\
         TROUBLESHOOTING=overwrite cargo test -p tests --test library catalogue"
    );
}

#[test]
fn every_link_on_the_page_leads_to_a_heading_and_every_heading_is_linked() {
    let [_, page] = page();
    let targets = page.split("](").skip(1).filter_map(|link| link.split([')', '#']).next());
    for target in targets.filter(|target| !target.is_empty() && !target.starts_with("http")) {
        assert!(file().with_file_name(target).exists(), "{target} is no file");
    }
    let mut in_code = false;
    let mut headings = BTreeSet::new();
    for line in page.lines() {
        in_code ^= line.starts_with("```");
        if !in_code && (line.starts_with("### ") || line.starts_with("## ")) {
            headings.insert(anchor(line.trim_start_matches('#').trim()));
        }
    }
    let links: BTreeSet<_> =
        page.split("](#").skip(1).map(|link| link.split(')').next().unwrap_or_default().to_owned()).collect();
    assert_eq!(links.difference(&headings).collect::<Vec<_>>(), [""; 0], "links that lead nowhere");
    let unlinked: Vec<_> = headings.difference(&links).collect();
    assert_eq!(unlinked, [""; 0], "headings that no link leads to");
}

/// As GitHub makes them.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}
