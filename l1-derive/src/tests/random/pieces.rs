//! Pieces of attributes drawn at random: keys, values, and what belongs in neither.

use rand::prelude::*;
use rand::rngs::StdRng;

#[rustfmt::skip]
const PIECES: &[&str] = &[
    "lambda", "l2", "positive", "decay", "bias", "norm", "scale", "role", "skip", "opaque", "with", "rename", "flatten",
    "crate", "bound", "transparent", "lamda", "curve", "group", "unscaled", "element", "mcp", "output", "(3.0)", "(2, 2)", "self", "r#type", "=", "=", "=", "=", ",", ",", ",", "0.1", "1", "-1",
    "1e400", "0.1f32", "1u8", "0x10", "99999999999999999999999999999999999999999", "true", "false", "\"a.b\"", "\"\"", "\" \"",
    "\"T: Clone\"", "\"T:\"", "'c'", "b'c'", "c\"c\"", "weight", "buffer", "a::b", "::l1", "f::<A, B>()", "(1 2)", "()", "(, )",
    "{ 1 }", "[0; 3]", "{ let }", "|x, y| x", "'a", "::", "<", ">", "&", "!", "#", "#[l1]", ";", "..", "?", "$", "as", "match", "_",
];

/// Literals of every kind, with and without a suffix.
#[rustfmt::skip]
const LITERALS: &[&str] = &[
    "0", "1", "3", "0.5", "1.", "1e3", "1E-400", "1e400", "0.0f64", "1f32", "2usize", "1_000", "0xFFi8", "0b1", "0o17", "0x1.0", "1abc", "1.0abc",
    "340282366920938463463374607431768211456", "true", "false", "\"\"", "\"a.b\"", "\"T: Clone\"", "\"T: Clone, U:\"", "\"(\"", "\"\\u{1F600}\\n\"", "\"ß\"",
    "\"a\"suffix", "r\"raw\"", "r#\"a \" b\"#", "b\"bytes\\x00\"", "br#\"raw\"#", "c\"nul\"", "cr#\"raw\"#", "'c'", "'\\''", "'\\u{0}'", "'ß'", "b'c'",
    "'c'suffix", "\"'a: 'b\"", "\"for<'x> T: Fn(&'x u8)\"", "\"T: #[l1]\"",
];

/// Names, plain, raw, in other alphabets, and words of the language where names belong.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "a", "b", "fc1", "A", "T", "U", "Linear", "PhantomData", "Traced", "r#type", "r#fn", "r#lambda", "naïve", "變數", "Ωmega", "_x", "__visitor",
    "visitor", "defaults", "union", "auto", "self", "Self", "crate", "super", "dyn", "fn", "_", "async", "l1",
];

pub(super) const WELL_FORMED: &[&str] = &[
    "#[l1(lambda = 0.1, bias)]",
    "#[l1(lambda = f::<A, B>(1, 2), l2 = self.x, positive = false)]",
    "#[l1(skip = \"frozen\", rename = \"a.b\")]",
    "#[l1(with = a::b, scale = 2)]",
    "#[l1(flatten, norm)]",
    "#[l1(lambda = 0.1, group = output, unscaled, element = 0.01)]",
    "#[l1(lambda = self.x, curve = mcp(3), group = block(2, 2))]",
    "#[l1(curve = scad(self.gamma), group = dim(N))]",
    "#[l1(crate = a::b, bound = \"T: Clone\", transparent)]",
];

/// One of these.
pub(super) fn choose<'a>(random: &mut StdRng, from: &[&'a str]) -> &'a str {
    from[random.random_range(0..from.len())]
}

/// None to `most` pieces.
pub(super) fn pieces(random: &mut StdRng, most: usize) -> String {
    let count = random.random_range(0..=most);
    (0..count).map(|_| choose(random, PIECES)).collect::<Vec<_>>().join(" ")
}

pub(super) fn literal(random: &mut StdRng) -> String {
    choose(random, LITERALS).to_owned()
}

pub(super) fn name(random: &mut StdRng) -> String {
    // Mostly such as can stand anywhere.
    if random.random_bool(0.95) { choose(random, &NAMES[..15]).to_owned() } else { choose(random, NAMES).to_owned() }
}

/// Well-formed, well-formed with something put into it, or anything.
pub(super) fn attribute(random: &mut StdRng) -> String {
    match random.random_range(0..10) {
        0..3 => String::new(),
        3..5 => choose(random, WELL_FORMED).to_owned(),
        5 => choose(random, &["#[l1]", "#[l1 = 1]", "#[l1[bias]]", "#[l1{}]", "#[l1()]"]).to_owned(),
        6..8 => {
            let attribute = choose(random, WELL_FORMED);
            let inside: Vec<&str> = attribute["#[l1(".len()..attribute.len() - 2].split(' ').collect();
            let at = random.random_range(0..=inside.len());
            let (before, after) = inside.split_at(at);
            format!("#[l1({} {} {})]", before.join(" "), pieces(random, 2), after.join(" "))
        }
        _ => format!("#[l1({})]", pieces(random, 9)),
    }
}

/// Tokens in any order, with groups in groups down to `depth`.
pub(super) fn soup(random: &mut StdRng, depth: usize) -> String {
    let count = random.random_range(0..8);
    let token = |random: &mut StdRng| match random.random_range(0..10) {
        0..4 => choose(random, PIECES).to_owned(),
        4..6 => literal(random),
        6..8 => name(random),
        _ if depth == 0 => String::new(),
        _ => {
            let (open, close) = [("(", ")"), ("[", "]"), ("{", "}")][random.random_range(0..3)];
            format!("{open}{}{close}", soup(random, depth - 1))
        }
    };
    (0..count).map(|_| token(random)).collect::<Vec<_>>().join(" ")
}
