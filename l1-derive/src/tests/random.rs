//! Whatever stands in `#[l1(..)]`, the macro answers with an implementation, and with mistakes where it refuses.

use proc_macro2::TokenStream;
use rand::prelude::*;
use rand::rngs::StdRng;
use syn::{File, Item};

/// Pieces of attributes: keys, values, and what belongs in neither.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "lambda", "l2", "positive", "decay", "bias", "norm", "scale", "role", "skip", "opaque", "with", "rename", "flatten",
    "crate", "bound", "transparent", "lamda", "curve", "group", "unscaled", "element", "mcp", "output", "(3.0)", "(2, 2)", "self", "r#type", "=", "=", "=", "=", ",", ",", ",", "0.1", "1", "-1",
    "1e400", "0.1f32", "1u8", "0x10", "99999999999999999999999999999999999999999", "true", "false", "\"a.b\"", "\"\"", "\" \"",
    "\"T: Clone\"", "\"T:\"", "'c'", "b'c'", "c\"c\"", "weight", "buffer", "a::b", "::l1", "f::<A, B>()", "(1 2)", "()", "(, )",
    "{ 1 }", "[0; 3]", "{ let }", "|x, y| x", "'a", "::", "<", ">", "&", "!", "#", "#[l1]", ";", "..", "?", "$", "as", "match", "_",
];

/// Types with places for attributes.
const TYPES: &[&str] = &[
    "@ struct A { @ a: T, @ b: Linear, @ @ c: Option<U> }",
    "@ struct A<T: Net>(@ T::Layer, @ Vec<T>);",
    "@ @ struct A(@ Linear);",
    "@ struct A;",
    "@ enum A<'a, T, const N: usize> { One(@ &'a T), @ Two { @ a: [T; N], b: u8 }, Three, Four(@ T, @ u8) }",
    "@ enum A {}",
    "@ union A { @ a: u8 }",
    "@ struct A<@ T>(PhantomData<T>) where T: Clone;",
];

const WELL_FORMED: &[&str] = &[
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

fn attribute(random: &mut StdRng) -> String {
    let pieces = |random: &mut StdRng, most: usize| -> String {
        let count = random.random_range(0..=most);
        (0..count).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect::<Vec<_>>().join(" ")
    };
    match random.random_range(0..10) {
        0..3 => String::new(),
        3..5 => WELL_FORMED[random.random_range(0..WELL_FORMED.len())].to_owned(),
        5 => ["#[l1]", "#[l1 = 1]", "#[l1[bias]]", "#[l1{}]", "#[l1()]"][random.random_range(0..5)].to_owned(),
        6..8 => {
            // A well-formed one with something put into it.
            let attribute = WELL_FORMED[random.random_range(0..WELL_FORMED.len())];
            let inside: Vec<&str> = attribute["#[l1(".len()..attribute.len() - 2].split(' ').collect();
            let at = random.random_range(0..=inside.len());
            let (before, after) = inside.split_at(at);
            format!("#[l1({} {} {})]", before.join(" "), pieces(random, 2), after.join(" "))
        }
        _ => format!("#[l1({})]", pieces(random, 9)),
    }
}

fn source(random: &mut StdRng) -> String {
    let ty = TYPES[random.random_range(0..TYPES.len())];
    ty.split_inclusive('@').map(|part| part.replace('@', &attribute(random))).collect()
}

/// Fails if `source` makes the macro answer with anything but mistakes and one implementation.
fn check(source: &str, tokens: TokenStream) -> bool {
    let output = crate::expand::derive(tokens);
    let Ok(file) = syn::parse2::<File>(output.clone()) else {
        panic!("{source} became {output}");
    };
    let implementations = file.items.iter().filter(|item| matches!(item, Item::Impl(_))).count();
    let mistakes = file.items.iter().filter(|item| matches!(item, Item::Macro(_))).count();
    assert_eq!(implementations + mistakes, file.items.len(), "{source} became {output}");
    assert!(implementations == 1 || mistakes > 0, "{source} became {output}");
    mistakes > 0
}

#[test]
fn random_attributes_never_panic() {
    let mut random = StdRng::seed_from_u64(0);
    let (mut accepted, mut refused) = (0_u32, 0_u32);
    while accepted + refused < 100_000 {
        let source = source(&mut random);
        let Ok(tokens) = source.parse() else {
            panic!("pieces are tokens: {source}");
        };
        if check(&source, tokens) {
            refused += 1;
        } else {
            accepted += 1;
        }
    }
    // Both ways are walked often, or the generator is worth nothing.
    assert!(accepted > 3_000 && refused > 50_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn random_tokens_in_place_of_a_type_never_panic() {
    let words =
        ["struct", "enum", "union", "A", "{", "}", "(", ")", "a", ":", ",", ";", "T", "<", ">", "#[l1(bias)]", "pub"];
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..10_000 {
        let count = random.random_range(0..10);
        let source: Vec<&str> = (0..count).map(|_| words[random.random_range(0..words.len())]).collect();
        let source = source.join(" ");
        // Unbalanced delimiters are no token stream.
        if let Ok(tokens) = source.parse() {
            check(&source, tokens);
        }
    }
}
