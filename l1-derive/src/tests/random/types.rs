//! Types drawn at random: items, their generics, fields and attributes, most of them as Rust's grammar has them.

use rand::prelude::*;
use rand::rngs::StdRng;

use super::pieces::{attribute, choose, literal, name, soup};

/// Types with places for attributes.
const ANNOTATED: &[&str] = &[
    "@ struct A { @ a: T, @ b: Linear, @ @ c: Option<U> }",
    "@ struct A<T: Net>(@ T::Layer, @ Vec<T>);",
    "@ @ struct A(@ Linear);",
    "@ struct A;",
    "@ enum A<'a, T, const N: usize> { One(@ &'a T), @ Two { @ a: [T; N], b: u8 }, Three, Four(@ T, @ u8) }",
    "@ enum A {}",
    "@ union A { @ a: u8 }",
    "@ struct A<@ T>(PhantomData<T>) where T: Clone;",
];

/// A word of the grammar that `.ci/run` looks for in the code.
const UNSAFE: &str = concat!("un", "safe");

/// A fixed type with random attributes.
pub(super) fn annotated(random: &mut StdRng) -> String {
    let ty = choose(random, ANNOTATED);
    ty.split_inclusive('@').map(|part| part.replace('@', &attribute(random))).collect()
}

/// A whole item in which everything is random.
pub(super) fn item(random: &mut StdRng) -> String {
    let (attributes, visibility, name) = (attributes(random), visibility(random), name(random));
    let (generics, clause) = (generics(random), where_clause(random));
    let body = match random.random_range(0..60) {
        0..18 => format!("struct {name}{generics}{clause} {}", named(random)),
        18..33 => format!("struct {name}{generics} {} {clause};", unnamed(random)),
        33..36 => format!("struct {name}{generics}{clause};"),
        36..56 => format!("enum {name}{generics}{clause} {{ {} }}", several(random, ",", variant)),
        56..59 => format!("union {name}{generics}{clause} {}", named(random)),
        _ => {
            format!("{} {name}{generics} {}", choose(random, &["fn", "trait", "impl", "type", "macro"]), named(random))
        }
    };
    format!("{attributes} {visibility} {body}")
}

/// None to three, with a separator between and perhaps behind them.
fn several(random: &mut StdRng, separator: &str, one: fn(&mut StdRng) -> String) -> String {
    let count = random.random_range(0..=3);
    let mut text = (0..count).map(|_| one(random)).collect::<Vec<_>>().join(separator);
    if count > 0 && random.random_bool(0.3) {
        text += separator;
    }
    text
}

/// Ours and others'.
fn attributes(random: &mut StdRng) -> String {
    let one = |random: &mut StdRng| match random.random_range(0..6) {
        0..3 => attribute(random),
        3 => format!("#[l1({})]", keys(random)),
        4 => choose(random, &["/// words\n", "#[serde(default)]", "#[cfg(a)]", "#[a::l1(bias)]", "#[doc = \"l1\"]"])
            .to_owned(),
        _ => String::new(),
    };
    let count = random.random_range(0..3);
    (0..count).map(|_| one(random)).collect()
}

/// `key = value, ..` with values of any form.
fn keys(random: &mut StdRng) -> String {
    const KEYS: &[&str] = &[
        "lambda",
        "curve",
        "group",
        "unscaled",
        "element",
        "l2",
        "positive",
        "decay",
        "bias",
        "norm",
        "scale",
        "role",
        "skip",
        "opaque",
        "with",
        "rename",
        "flatten",
        "transparent",
        "crate",
        "bound",
    ];
    several(random, ", ", |random| {
        let key = choose(random, KEYS);
        match random.random_range(0..6) {
            0 => key.to_owned(),
            1 => format!("{key} = {}", literal(random)),
            2 => format!("{key} = {}", ty(random, 1)),
            3 => format!("{key} = {}({})", name(random), several(random, ", ", |random| expr(random, 1))),
            _ => format!("{key} = {}", expr(random, 2)),
        }
    })
}

fn visibility(random: &mut StdRng) -> &'static str {
    choose(random, &["", "", "pub", "pub(crate)", "pub(in a::b)"])
}

fn generics(random: &mut StdRng) -> String {
    if random.random_bool(0.4) {
        return String::new();
    }
    let one = |random: &mut StdRng| {
        let attribute = if random.random_bool(0.1) { attribute(random) } else { String::new() };
        let parameter = match random.random_range(0..6) {
            0 => "'a".to_owned(),
            1 => "'b: 'a + 'static".to_owned(),
            2 => format!("const N: usize = {}", literal(random)),
            3 => format!("{}: ?Sized + for<'x> Fn(&'x u8) -> {}", name(random), ty(random, 1)),
            4 => format!("{} = {}", name(random), ty(random, 1)),
            _ => name(random),
        };
        format!("{attribute} {parameter}")
    };
    format!("<{}>", several(random, ", ", one))
}

fn where_clause(random: &mut StdRng) -> String {
    if random.random_bool(0.8) {
        return String::new();
    }
    let one = |random: &mut StdRng| match random.random_range(0..3) {
        0 => "'a: 'b".to_owned(),
        1 => format!("for<'x> {}: {}", ty(random, 1), name(random)),
        _ => format!("{}: Iterator<Item = {}>", ty(random, 1), ty(random, 1)),
    };
    format!(" where {}", several(random, ", ", one))
}

fn named(random: &mut StdRng) -> String {
    let one = |random: &mut StdRng| {
        let (attributes, visibility) = (attributes(random), visibility(random));
        format!("{attributes} {visibility} {}: {}", name(random), ty(random, 3))
    };
    format!("{{ {} }}", several(random, ", ", one))
}

fn unnamed(random: &mut StdRng) -> String {
    let one = |random: &mut StdRng| format!("{} {} {}", attributes(random), visibility(random), ty(random, 3));
    format!("({})", several(random, ", ", one))
}

fn variant(random: &mut StdRng) -> String {
    let (attributes, name) = (attributes(random), name(random));
    let fields = match random.random_range(0..6) {
        0 => String::new(),
        1 => format!(" = {}", expr(random, 1)),
        2..4 => named(random),
        _ => unnamed(random),
    };
    format!("{attributes} {name}{fields}")
}

/// The type of a field.
fn ty(random: &mut StdRng, depth: usize) -> String {
    if depth == 0 {
        let leaf = choose(
            random,
            &["T", "U", "Self", "Linear", "u8", "f64", "!", "_", "T::Layer", "::a::B", "PhantomData<T>", "dyn A", "()"],
        );
        return if random.random_bool(0.8) { leaf.to_owned() } else { name(random) };
    }
    let (one, two) = (ty(random, depth - 1), ty(random, depth - 1));
    match random.random_range(0..20) {
        0..3 => format!("Vec<{one}>"),
        3 => format!("&'a mut {one}"),
        4 => format!("[{one}; {}]", expr(random, 1)),
        5 => format!("[{one}]"),
        6 => format!("({one}, {two})"),
        7 => format!("({one})"),
        8 => format!("for<'x> {UNSAFE} extern \"C\" fn(&'x {one}, ...) -> {two}"),
        9 => format!("dyn Fn({one}) -> {two} + Send + 'a"),
        10 => format!("impl A<{one}>"),
        11 => format!("<{one} as a::B<{two}>>::C"),
        12 => format!("<{one}>::C"),
        13 => format!("*const {one}"),
        14 => format!("a::m!({})", soup(random, 1)),
        15 => format!("A<{{ {} }}, {one}>", expr(random, 1)),
        16 => format!("A<'a, B = {one}, C: {}>", name(random)),
        17 => format!("::a::HashMap<String, {one}>"),
        18 => format!("Traced<{one}>"),
        _ => one,
    }
}

/// The value of a key, or the length of an array.
fn expr(random: &mut StdRng, depth: usize) -> String {
    if depth == 0 {
        return match random.random_range(0..6) {
            0..3 => literal(random),
            3 => {
                choose(random, &["self.x", "self.0.1", "N", "Self::A", "self", "weight", "singular", "mcp", "f64::MAX"])
                    .to_owned()
            }
            4 => soup(random, 0),
            _ => name(random),
        };
    }
    let (one, two) = (expr(random, depth - 1), expr(random, depth - 1));
    match random.random_range(0..24) {
        0..3 => format!("-{one}"),
        3 => format!("({one})"),
        4 => format!("{one} + {two}"),
        5 => format!("f::<{}>({one}, {two})", ty(random, 1)),
        6 => format!("{one}.g({two})?"),
        7 => format!("if {one} {{ {two} }} else {{ {one} }}"),
        8 => format!("match {one} {{ {two} => {one}, _ if {two} => {{}} }}"),
        9 => format!("move |x: {}, y| {one}", ty(random, 1)),
        10 => format!("[{one}; {two}]"),
        11 => format!("({one}, {two})"),
        12 => format!("{one} as {}", ty(random, 1)),
        13 => format!("{one}..={two}"),
        14 => format!("'a: loop {{ break 'a {one} }}"),
        15 => format!("{UNSAFE} {{ let x = {one}; {two} }}"),
        16 => format!("m!{{ {} }}", soup(random, 2)),
        17 => format!("A {{ b: {one}, ..{two} }}"),
        18 => format!("&raw mut {one}[{two}]"),
        19 => format!("{one} = {two}"),
        20 => format!("async move {{ {one}.await }}"),
        21 => format!("{}({one})", choose(random, &["mcp", "scad", "log", "dim", "block", "half", "output"])),
        22 => format!("#[a] {one}"),
        _ => one,
    }
}
