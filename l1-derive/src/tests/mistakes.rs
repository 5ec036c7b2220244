//! What is refused, and with which words.

use super::{derive, messages};

/// Checks each type against all its messages, in order.
#[track_caller]
fn refuses(table: &[(&str, &[&str])]) {
    for (source, expected) in table {
        assert_eq!(messages(derive(source)), *expected, "{source}");
    }
}

const FIELD_KEYS: &str = "`lambda`, `curve`, `group`, `unscaled`, `element`, `l2`, `positive`, `decay`, `bias`, `norm`, `scale`, `role`, `skip`, `opaque`, `with`, `rename`, `flatten`";

#[test]
fn an_unknown_key_is_answered_with_the_likely_one_or_with_all() {
    let all = format!("unknown key `x`: expected one of {FIELD_KEYS}");
    refuses(&[
        ("struct A(#[l1(lamda = 0.1)] B);", &["unknown key `lamda`: did you mean `lambda`?"]),
        ("struct A(#[l1(dacay = 0.1)] B);", &["unknown key `dacay`: did you mean `decay`?"]),
        ("struct A(#[l1(wd = 0.1)] B);", &["unknown key `wd`: did you mean `decay`?"]),
        ("struct A(#[l1(weightdecay = 0.1)] B);", &["unknown key `weightdecay`: did you mean `decay`?"]),
        ("struct A(#[l1(skipped)] B);", &["unknown key `skipped`: did you mean `skip`?"]),
        ("struct A(#[l1(x)] B);", &[&all]),
        (
            "struct A(#[l1(transparnt)] B);",
            &["unknown key `transparnt`: did you mean `transparent`, which belongs on a struct with one field?"],
        ),
        (
            "#[l1(x = 1)] struct A(B);",
            &[
                "unknown key `x`: expected one of `lambda`, `curve`, `group`, `unscaled`, `element`, `l2`, `positive`, `decay`, `bias`, `norm`, `transparent`, `crate`, `bound`",
            ],
        ),
    ]);
}

#[test]
fn words_of_other_libraries_are_answered_with_the_key() {
    refuses(&[
        ("struct A(#[l1(lasso = 0.1)] B);", &["unknown key `lasso`: did you mean `lambda`?"]),
        ("struct A(#[l1(mcp = 3)] B);", &["unknown key `mcp`: did you mean `curve`?"]),
        ("struct A(#[l1(groups = output)] B);", &["unknown key `groups`: did you mean `group`?"]),
        ("struct A(#[l1(nuclear = 0.1)] B);", &["unknown key `nuclear`: did you mean `group`?"]),
        ("struct A(#[l1(unscale)] B);", &["unknown key `unscale`: did you mean `unscaled`?"]),
    ]);
}

#[test]
fn a_key_in_the_wrong_place_is_sent_home() {
    refuses(&[
        ("struct A(#[l1(transparent)] B);", &["`transparent` belongs on a struct with one field, not on a field"]),
        (
            "enum A { B(#[l1(crate = a, bound = \"\")] B) }",
            &[
                "`crate` belongs on the struct or enum, not on a field",
                "`bound` belongs on the struct or enum, not on a field",
            ],
        ),
        (
            "#[l1(skip = \"x\", role = bias)] struct A(B);",
            &[
                "`skip` belongs on a field, not on the struct or enum",
                "`role` belongs on a field, not on the struct or enum",
            ],
        ),
    ]);
}

#[test]
fn an_attribute_in_the_wrong_place_is_sent_home() {
    refuses(&[
        (
            "enum A { #[l1(lambda = 1)] B(B) }",
            &["`#[l1(..)]` on a variant: write it on the enum, for all its fields, or on a field"],
        ),
        (
            "struct A<#[l1(bias)] 'a, #[l1(skip)] T, #[l1(lambda = 1)] const N: usize>(&'a [T; N]);",
            &["`#[l1(..)]` on a parameter: write it on the struct or enum, for all its fields, or on a field"; 3],
        ),
        (
            "#[l1(lambda = -1)] union A { a: u8 }",
            &[
                "`lambda = -1` is negative: expected a finite number ≥ 0",
                "a union cannot be `Regularized`: nobody knows which of its fields is active; use an enum",
            ],
        ),
    ]);
}

#[test]
fn a_missing_value_is_asked_for() {
    let lambda = "`lambda` needs a number or an expression of type `f64`: write for example `lambda = 0.001`";
    refuses(&[
        ("struct A(#[l1(lambda)] B);", &[lambda]),
        ("struct A(#[l1(lambda =)] B);", &[lambda]),
        ("struct A(#[l1(lambda = , bias)] B);", &[lambda]),
        ("struct A(#[l1(lambda 0.1)] B);", &[lambda]),
        ("struct A(#[l1(lambda(0.1))] B);", &[lambda]),
        ("struct A(#[l1(bias =)] B);", &["`bias` needs `true` or `false`: write for example `bias = true`"]),
        (
            "struct A(#[l1(lambda = 1, curve, group =)] B);",
            &[
                "`curve` needs a curve without quotes: write for example `curve = mcp(3.0)`",
                "`group` needs a group without quotes: write for example `group = output`",
            ],
        ),
        ("struct A(#[l1(role)] B);", &["`role` needs a role without quotes: write for example `role = embedding`"]),
        ("struct A(#[l1(rename)] B);", &["`rename` needs a string: write for example `rename = \"fc1\"`"]),
        ("struct A(#[l1(skip =)] B);", &["`skip` needs a string: write for example `skip = \"a frozen head\"`"]),
        (
            "struct A(#[l1(with)] B);",
            &["`with` needs the path of a function, without quotes: write for example `with = path::to::function`"],
        ),
        (
            "#[l1(crate, bound)] struct A(B);",
            &[
                "`crate` needs a path, without quotes: write for example `crate = path::to::l1_core`",
                "`bound` needs a string of where-predicates: write for example `bound = \"T: Trait\"`",
            ],
        ),
    ]);
}

#[test]
fn an_unknown_word_is_answered_with_the_likely_one_or_with_all() {
    refuses(&[
        ("struct A(#[l1(lambda = 1, curve = mpc(3))] B);", &["unknown curve `mpc`: did you mean `mcp`?"]),
        ("struct A(#[l1(lambda = 1, curve = MCP)] B);", &["unknown curve `MCP`: did you mean `mcp(3.0)`?"]),
        (
            "struct A(#[l1(lambda = 1, curve = twothirds)] B);",
            &["unknown curve `twothirds`: did you mean `two_thirds`?"],
        ),
        ("struct A(#[l1(lambda = 1, curve = lasso)] B);", &["unknown curve `lasso`: did you mean `l1`?"]),
        ("struct A(#[l1(lambda = 1, curve = hard)] B);", &["unknown curve `hard`: did you mean `l0`?"]),
        (
            "struct A(#[l1(lambda = 1, curve = l21)] B);",
            &["unknown curve `l21`: did you mean `group = output`, a key of its own?"],
        ),
        (
            "struct A(#[l1(lambda = 1, curve = tanh)] B);",
            &["unknown curve `tanh`: expected one of `l1`, `mcp(γ)`, `scad(γ)`, `log(ε)`, `half`, `two_thirds`, `l0`"],
        ),
        ("struct A(#[l1(lambda = 1, group = ouptut)] B);", &["unknown group `ouptut`: did you mean `output`?"]),
        ("struct A(#[l1(lambda = 1, group = blocks)] B);", &["unknown group `blocks`: did you mean `block(4, 4)`?"]),
        (
            "struct A(#[l1(lambda = 1, group = row)] B);",
            &["unknown group `row`: did you mean `output`, the rows of a `Linear`, or `dim(0)`?"],
        ),
        (
            "struct A(#[l1(lambda = 1, group = columns)] B);",
            &["unknown group `columns`: did you mean `input`, the columns of a `Linear`, or `dim(1)`?"],
        ),
        ("struct A(#[l1(lambda = 1, group = neuron)] B);", &["unknown group `neuron`: did you mean `output`?"]),
        ("struct A(#[l1(lambda = 1, group = nuclear)] B);", &["unknown group `nuclear`: did you mean `singular`?"]),
        (
            "struct A(#[l1(lambda = 1, group = heads)] B);",
            &[
                "unknown group `heads`: expected one of `element`, `output`, `input`, `dim(n)`, `kernel`, `block(r, c)`, \
                 `whole`, `singular`",
            ],
        ),
    ]);
}

#[test]
fn a_word_has_the_parameters_that_it_needs() {
    let mcp = "`mcp` needs its γ: write for example `mcp(3.0)`";
    let block = "`block` needs its r and c: write for example `block(4, 4)`";
    refuses(&[
        ("struct A(#[l1(lambda = 1, curve = mcp)] B);", &[mcp]),
        ("struct A(#[l1(lambda = 1, curve = mcp())] B);", &[mcp]),
        ("struct A(#[l1(lambda = 1, curve = scad)] B);", &["`scad` needs its γ: write for example `scad(3.7)`"]),
        ("struct A(#[l1(lambda = 1, curve = log)] B);", &["`log` needs its ε: write for example `log(0.1)`"]),
        ("struct A(#[l1(lambda = 1, group = dim)] B);", &["`dim` needs its n: write for example `dim(0)`"]),
        ("struct A(#[l1(lambda = 1, group = block)] B);", &[block]),
        (
            "struct A(#[l1(lambda = 1, group = block(2))] B);",
            &["`block` takes r and c, found 1 parameter: write for example `block(4, 4)`"],
        ),
        (
            "struct A(#[l1(lambda = 1, group = dim(0, 1))] B);",
            &["`dim` takes n, found 2 parameters: write for example `dim(0)`"],
        ),
        (
            "struct A(#[l1(lambda = 1, curve = mcp(0.1, 3))] B);",
            &["`mcp` takes γ, found 2 parameters: write for example `mcp(3.0)`; λ is a key of its own, \
               `lambda = ..`"],
        ),
        (
            "struct A(#[l1(curve = l0(0.1), lambda = 1)] B);",
            &["`l0` takes no parameter: write just `l0`; λ is a key of its own, `lambda = ..`"],
        ),
        ("struct A(#[l1(lambda = 1, group = output())] B);", &["`output` takes no parameter: write just `output`"]),
        (
            "struct A(#[l1(lambda = 1, curve = mcp(gamma = 3))] B);",
            &["`mcp` takes its γ without a name: write for example `mcp(3.0)`"],
        ),
    ]);
}

#[test]
fn a_parameter_is_in_its_range() {
    refuses(&[
        (
            "struct A(#[l1(lambda = 1, curve = mcp(1))] B);",
            &["γ = 1 in `mcp(γ)` is too small: expected a finite number > 1"],
        ),
        (
            "struct A(#[l1(lambda = 1, curve = scad(2.0))] B);",
            &["γ = 2.0 in `scad(γ)` is too small: expected a finite number > 2"],
        ),
        (
            "struct A(#[l1(lambda = 1, curve = log(0))] B);",
            &["ε = 0 in `log(ε)` is too small: expected a finite number > 0"],
        ),
        (
            "struct A(#[l1(lambda = 1, curve = log(-0.1))] B);",
            &["ε = -0.1 in `log(ε)` is negative: expected a finite number > 0"],
        ),
        (
            "struct A(#[l1(lambda = 1, curve = mcp(1e400))] B);",
            &["γ = 1e400 in `mcp(γ)` is not finite: expected a finite number > 1"],
        ),
        (
            "struct A(#[l1(lambda = 1, curve = mcp(\"3\"))] B);",
            &["γ = \"3\" in `mcp(γ)` is not a number: expected a finite number > 1, without quotes"],
        ),
        (
            "struct A(#[l1(lambda = 1, curve = mcp(3f32))] B);",
            &["γ = 3f32 in `mcp(γ)` has the suffix `f32`: it is read as `f64`; write the number without a suffix"],
        ),
        (
            "struct A(#[l1(lambda = 1, group = block(0, -2))] B);",
            &[
                "r = 0 in `block(r, c)` is too small: expected an integer ≥ 1",
                "c = -2 in `block(r, c)` is negative: expected an integer ≥ 1",
            ],
        ),
        (
            "struct A(#[l1(lambda = 1, group = dim(1.0))] B);",
            &["n = 1.0 in `dim(n)` is not an integer: expected an integer ≥ 0"],
        ),
        (
            "struct A(#[l1(lambda = 1, group = dim(99999999999999999999))] B);",
            &["n = 99999999999999999999 in `dim(n)` is too large: expected an integer ≥ 0"],
        ),
        (
            "struct A(#[l1(lambda = 1, group = dim(1u32))] B);",
            &["n = 1u32 in `dim(n)` has the suffix `u32`: it is read as `usize`; write the number without a suffix"],
        ),
    ]);
}

/// What a key about λ is told where there is none.
fn without_lambda(key: &str, does: &str, add: &str) -> String {
    format!(
        "`{key}` without `lambda`: {does}; add `lambda = ..` {add} (a λ from outside `A` does not combine with \
         it), or remove `{key}`"
    )
}

#[test]
fn a_key_about_lambda_needs_one_on_the_field_or_its_type() {
    let on_field = "here or on `A`";
    let [curve, group, unscaled, element] = [
        ("curve", "it bends what λ charges"),
        ("group", "it says which entries λ charges together"),
        ("unscaled", "it weighs the groups that λ charges"),
        (
            "element",
            "it charges single entries beside the groups that λ charges (without groups, that is `lambda` itself)",
        ),
    ]
    .map(|(key, does)| without_lambda(key, does, on_field));
    let on_type = without_lambda("group", "it says which entries λ charges together", "here or on a field");
    refuses(&[
        ("struct A(#[l1(curve = l0)] B);", &[&curve]),
        ("struct A(#[l1(group = element, l2 = 1)] B);", &[&group]),
        ("#[l1(group = output, l2 = 1)] struct A(#[l1(unscaled)] B, #[l1(lambda = 1)] C);", &[&unscaled]),
        ("#[l1(bias)] enum A { X(#[l1(element = 1, group = output)] B) }", &[&group, &element]),
        ("struct A(#[l1(lambda = 1)] B, #[l1(curve = mcp(3))] C);", &[&curve]),
        ("#[l1(group = output)] struct A(B, #[l1(positive)] C);", &[&on_type]),
        ("#[l1(group = output)] struct A(B, #[l1(lambda = 1)] C);", &[]),
        ("#[l1(lambda = 1)] struct A(#[l1(group = output)] B);", &[]),
        ("#[l1(lambda = 0)] struct A(#[l1(group = output, curve = l0)] B);", &[]),
        // A λ may be meant by what is not understood.
        ("struct A(#[l1(lamda = 1, group = output)] B);", &["unknown key `lamda`: did you mean `lambda`?"]),
        ("#[l1(lamda = 1)] struct A(#[l1(group = output)] B);", &["unknown key `lamda`: did you mean `lambda`?"]),
        ("struct A(#[l1(group = output lambda = 1)] B);", &["expected `,` or the end of `#[l1(..)]`, found `lambda`"]),
        (
            "struct A(#[l1(lambda = -1, group = output)] B);",
            &["`lambda = -1` is negative: expected a finite number ≥ 0"],
        ),
    ]);
}

#[test]
fn keys_about_groups_need_groups() {
    let unscaled =
        "`unscaled` without groups: a single entry has weight 1 anyway; add `group = ..`, or remove `unscaled`";
    let singular = "`unscaled` beside `group = singular`: a singular value has weight 1 anyway; remove `unscaled`";
    let element = "`element` without groups: it charges single entries beside groups, and here λ charges single entries \
                   already; add `group = ..`, or remove `element`";
    refuses(&[
        ("struct A(#[l1(lambda = 1, unscaled)] B);", &[unscaled]),
        ("struct A(#[l1(lambda = 1, unscaled, group = element)] B);", &[unscaled]),
        ("struct A(#[l1(lambda = 1, unscaled, group = singular)] B);", &[singular]),
        ("#[l1(lambda = 1, group = singular)] struct A(#[l1(unscaled)] B);", &[singular]),
        ("#[l1(lambda = 1, unscaled)] struct A(B, C);", &[unscaled]),
        ("#[l1(lambda = 1, unscaled, group = singular)] struct A(B, C);", &[singular]),
        ("#[l1(lambda = 1, unscaled)] struct A(B, #[l1(group = output)] C);", &[]),
        ("#[l1(lambda = 1, unscaled, group = output)] struct A(#[l1(group = singular)] B, C);", &[]),
        ("struct A(#[l1(lambda = 1, unscaled = false, element = 0)] B);", &[]),
        ("struct A(#[l1(lambda = 1, element = 1)] B);", &[element]),
        ("struct A(#[l1(lambda = 1, element = 1, group = element)] B);", &[element]),
        ("#[l1(lambda = 1, group = output)] struct A(#[l1(group = element, element = self.x)] B);", &[element]),
        (
            "#[l1(lambda = 1, group = output, element = 1)] struct A(#[l1(group = element)] B, C);",
            &["`group = element` beside `element` of `A`: λ and `element` would both charge single entries; add \
               `element = 0`, or choose groups"],
        ),
        ("#[l1(lambda = 1, group = output, element = 1)] struct A(#[l1(group = element, element = 0)] B, C);", &[]),
        (
            "#[l1(lambda = 1, element = 1)] struct A { #[l1(group = output)] a: B, b: C, c: C }",
            &[
                "`element` without groups on field `b`: it charges single entries beside groups, and here λ charges single \
               entries already; add `group = ..` here or there, or `element = 0` there",
            ],
        ),
        ("#[l1(lambda = 1, element = 1)] struct A(#[l1(group = output)] B, #[l1(lambda = 0)] C);", &[]),
        ("struct A(#[l1(lambda = 1, gruop = output, unscaled)] B);", &["unknown key `gruop`: did you mean `group`?"]),
        (
            "struct A(#[l1(lambda = 1, group = ouptut, element = 1)] B);",
            &["unknown group `ouptut`: did you mean `output`?"],
        ),
    ]);
}

#[test]
fn singular_values_go_with_nothing_that_is_about_entries() {
    let positive = "no optimizer can charge singular values and hold single entries ≥ 0 at once";
    let element = "no optimizer can charge singular values and single entries at once";
    let one_of_two = |key, reason| format!("`{key}` beside `group = singular`: {reason}; remove one of the two");
    let (both, and_element) = (one_of_two("positive", positive), one_of_two("element", element));
    refuses(&[
        ("struct A(#[l1(lambda = 1, group = singular, positive)] B);", &[&both]),
        ("struct A(#[l1(lambda = 1, group = singular, element = 1, positive)] B);", &[&and_element, &both]),
        ("#[l1(lambda = 1, group = singular, positive)] struct A(B, C);", &[&both]),
        ("#[l1(positive, group = singular)] struct A(#[l1(lambda = 1)] B, C);", &[&both]),
        (
            "#[l1(lambda = 1, positive)] struct A(B, #[l1(group = singular)] C);",
            &[&format!(
                "`group = singular` beside `positive` of `A`: {positive}; add `positive = false`, or choose other groups"
            )],
        ),
        (
            "#[l1(lambda = 1, group = singular)] struct A(B, #[l1(positive)] C);",
            &[&format!(
                "`positive` beside `group = singular` of `A`: {positive}; choose other groups for this field, or remove \
                 `positive`"
            )],
        ),
        (
            "#[l1(group = output, element = 1)] struct A(#[l1(lambda = 1, group = singular)] C);",
            &[&format!(
                "`group = singular` beside `element` of `A`: {element}; add `element = 0`, or choose other groups"
            )],
        ),
        ("#[l1(lambda = 1, positive)] struct A(B, #[l1(group = singular, positive = false)] C);", &[]),
        ("#[l1(lambda = 1, group = singular)] struct A(B, #[l1(positive, lambda = 0)] C);", &[]),
        ("#[l1(group = singular)] struct A(#[l1(lambda = 1)] B, #[l1(positive)] C);", &[]),
        ("struct A(#[l1(lambda = 1, group = singular, curve = l0, l2 = 1, positive = false)] B);", &[]),
    ]);
}

#[test]
fn a_value_where_none_belongs_is_refused() {
    refuses(&[
        ("struct A(#[l1(opaque = true)] B);", &["`opaque` takes no value: write just `opaque`"]),
        ("struct A(#[l1(flatten = \"x\")] B);", &["`flatten` takes no value: write just `flatten`"]),
        ("#[l1(transparent = false)] struct A(B);", &["`transparent` takes no value: write just `transparent`"]),
    ]);
}

#[test]
fn a_value_of_the_wrong_kind_is_refused() {
    let curve = without_lambda("curve", "it bends what λ charges", "here or on `A`");
    refuses(&[
        (
            "struct A(#[l1(lambda = \"0.1\")] B);",
            &["`lambda = \"0.1\"` is not a number: expected a finite number ≥ 0, without quotes"],
        ),
        (
            "struct A(#[l1(l2 = true)] B);",
            &["`l2 = true` is not a number: expected a finite number ≥ 0, without quotes"],
        ),
        (
            "struct A(#[l1(lambda = 'c')] B);",
            &["`lambda = 'c'` is not a number: expected a finite number ≥ 0, without quotes"],
        ),
        ("struct A(#[l1(lambda = ;)] B);", &["`lambda` expects a number or an expression of type `f64`, found `;`"]),
        ("struct A(#[l1(positive = 1)] B);", &["`positive` expects `true` or `false`, found `1`"]),
        ("struct A(#[l1(role = \"bias\")] B);", &["`role` expects a role without quotes, found `\"bias\"`"]),
        ("struct A(#[l1(curve = \"l1\")] B);", &["`curve` expects a curve without quotes, found `\"l1\"`", &curve]),
        ("struct A(#[l1(lambda = 1, group = 0)] B);", &["`group` expects a group without quotes, found `0`"]),
        ("struct A(#[l1(lambda = 1, curve = mcp(3 4))] B);", &["`mcp` expects parameters: expected `,`"]),
        ("struct A(#[l1(lambda = 1, curve = mcp[3])] B);", &["`mcp` needs its γ: write for example `mcp(3.0)`"]),
        (
            "struct A(#[l1(lambda = 1, curve = self.curve)] B);",
            &["`curve` expects a curve without quotes, found `self`"],
        ),
        ("struct A(#[l1(skip = 1)] B);", &["`skip` expects a string, found `1`"]),
        ("struct A(#[l1(with = \"f\")] B);", &["`with` expects the path of a function, without quotes, found `\"f\"`"]),
        ("struct A(#[l1(rename = fc1)] B);", &["`rename` expects a string, found `fc1`"]),
        ("#[l1(crate = \"a\")] struct A(B);", &["`crate` expects a path, without quotes, found `\"a\"`"]),
        ("#[l1(bound = T)] struct A(B);", &["`bound` expects a string of where-predicates, found `T`"]),
    ]);
}

#[test]
fn a_number_is_finite_and_not_negative_and_has_no_suffix() {
    refuses(&[
        ("struct A(#[l1(lambda = -1)] B);", &["`lambda = -1` is negative: expected a finite number ≥ 0"]),
        ("struct A(#[l1(l2 = (-0.5))] B);", &["`l2 = -0.5` is negative: expected a finite number ≥ 0"]),
        ("struct A(#[l1(decay = -0.01)] B);", &["`decay = -0.01` is negative: expected a finite number ≥ 0"]),
        ("struct A(#[l1(scale = 1e400)] B);", &["`scale = 1e400` is not finite: expected a finite number ≥ 0"]),
        (
            "struct A(#[l1(lambda = 0.1f32)] B);",
            &["`lambda = 0.1f32` has the suffix `f32`: it is read as `f64`; write the number without a suffix"],
        ),
        (
            "struct A(#[l1(lambda = 1u8)] B);",
            &["`lambda = 1u8` has the suffix `u8`: it is read as `f64`; write the number without a suffix"],
        ),
    ]);
}

#[test]
fn a_key_twice_is_refused_over_all_attributes_of_one_item() {
    let twice = "`lambda` is given twice: keep one of the two";
    refuses(&[
        ("struct A(#[l1(lambda = 1, lambda = 1)] B);", &[twice]),
        ("struct A(#[l1(lambda = 1)] #[l1(bias)] #[l1(lambda = 1)] B);", &[twice]),
        (
            "struct A(#[l1(lambda = -1, lambda)] B);",
            &[
                "`lambda = -1` is negative: expected a finite number ≥ 0",
                twice,
                "`lambda` needs a number or an expression of type `f64`: write for example `lambda = 0.001`",
            ],
        ),
    ]);
}

#[test]
fn an_unvisited_field_takes_no_key_but_rename() {
    refuses(&[
        ("struct A(#[l1(skip, rename = \"a\")] B, #[l1(opaque, rename = \"b\")] B);", &[]),
        (
            "struct A(#[l1(lambda = 1, skip, bias)] B);",
            &[
                "`lambda` beside `skip`: a skipped field takes no key but `rename`; remove one of the two",
                "`bias` beside `skip`: a skipped field takes no key but `rename`; remove one of the two",
            ],
        ),
        (
            "struct A(#[l1(group = output, skip)] B, #[l1(opaque, curve = l0)] C);",
            &[
                "`group` beside `skip`: a skipped field takes no key but `rename`; remove one of the two",
                "`curve` beside `opaque`: an opaque field is not visited; remove one of the two",
            ],
        ),
        (
            "struct A(#[l1(opaque, skip)] B);",
            &["`opaque` beside `skip`: a skipped field takes no key but `rename`; remove one of the two"],
        ),
        (
            "struct A(#[l1(opaque, decay = 1)] B);",
            &["`decay` beside `opaque`: an opaque field is not visited; remove one of the two"],
        ),
        (
            "struct A(#[l1(opaque, with = f)] B);",
            &["`with` beside `opaque`: an opaque field is not visited; remove one of the two"],
        ),
        (
            "struct A(#[l1(flatten, skip)] B);",
            &["`flatten` beside `skip`: a skipped field takes no key but `rename`; remove one of the two"],
        ),
        (
            "struct A(#[l1(flatten, opaque)] B);",
            &["`flatten` beside `opaque`: an opaque field is not visited; remove one of the two"],
        ),
    ]);
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    refuses(&[
        (
            "struct A(#[l1(with = f, role = bias)] B);",
            &["`role` beside `with`: the function gives each tensor its role; remove one of the two"],
        ),
        (
            "struct A(#[l1(rename = \"a\", flatten)] B);",
            &[
                "`rename` beside `flatten`: a flattened field adds no path segment that could be renamed; remove one of the two",
            ],
        ),
        (
            "#[l1(transparent)] struct A(#[l1(rename = \"a\")] B);",
            &[
                "`rename` beside `transparent`: the field of a transparent struct adds no path segment; remove one of the two",
            ],
        ),
        (
            "#[l1(transparent)] struct A(#[l1(flatten)] B);",
            &[
                "`flatten` beside `transparent`: the field of a transparent struct adds no path segment; remove one of the two",
            ],
        ),
    ]);
}

#[test]
fn transparent_needs_a_struct_with_one_field() {
    refuses(&[
        (
            "#[l1(transparent)] struct A;",
            &["`transparent` needs a struct with exactly one field, and `A` has none: remove `transparent`"],
        ),
        (
            "#[l1(transparent)] struct A(B, C);",
            &["`transparent` needs a struct with exactly one field, and `A` has 2: write `flatten` on a field instead"],
        ),
        (
            "#[l1(transparent)] enum A { B(B) }",
            &["`transparent` belongs on a struct with one field: in an enum, variants add no path segment anyway; \
             write `flatten` on a field that should add none"],
        ),
    ]);
}

#[test]
fn an_unknown_role_is_answered_with_the_likely_one_or_with_all() {
    refuses(&[
        ("struct A(#[l1(role = weights)] B);", &["unknown role `weights`: did you mean `weight`?"]),
        (
            "struct A(#[l1(role = x)] B);",
            &["unknown role `x`: expected one of `weight`, `bias`, `norm`, `embedding`, `buffer`"],
        ),
    ]);
}

#[test]
fn a_name_is_segments_without_whitespace() {
    let segment = "an empty path segment: a name is segments with single dots between them, such as `encoder.fc1`";
    refuses(&[
        ("struct A(#[l1(rename = \"\")] B);", &["an empty name: write a path segment, or `flatten` for none"]),
        ("struct A(#[l1(rename = \"a..b\")] B);", &[segment]),
        ("struct A(#[l1(rename = \".a\")] B);", &[segment]),
        ("struct A(#[l1(rename = \"a b\")] B);", &["whitespace in a path segment: remove it"]),
    ]);
}

#[test]
fn fields_side_by_side_have_different_names() {
    let twice = "two fields have the path segment `b`: rename one of them";
    refuses(&[
        ("struct A { #[l1(rename = \"b\")] a: B, b: B }", &[twice]),
        ("struct A { b: B, #[l1(rename = \"b\", skip)] a: B }", &[twice]),
        ("enum A { X { b: B, #[l1(rename = \"b\")] a: B }, Y { b: B } }", &[twice]),
        ("struct A(#[l1(rename = \"1\")] B, B);", &["two fields have the path segment `1`: rename one of them"]),
        ("enum A { X { b: B }, Y { b: B }, Z(#[l1(rename = \"b\")] B) }", &[]),
    ]);
}

#[test]
fn an_empty_reason_is_refused() {
    let empty = "an empty reason: say why the field is skipped, or write just `skip`";
    refuses(&[("struct A(#[l1(skip = \"\")] B);", &[empty]), ("struct A(#[l1(skip = \" \")] B);", &[empty])]);
}

#[test]
fn a_rule_on_the_type_reaches_a_field() {
    refuses(&[
        ("#[l1(lambda = 1)] struct A;", &["`lambda` reaches no field: `A` has no fields; remove it"]),
        (
            "#[l1(lambda = 1, decay = 1, bias)] enum A { B(#[l1(skip)] B), C(#[l1(opaque)] C) }",
            &[
                "`lambda` reaches no field: all fields of `A` are skipped or opaque; remove it",
                "`decay` reaches no field: all fields of `A` are skipped or opaque; remove it",
                "`bias` reaches no field: all fields of `A` are skipped or opaque; remove it",
            ],
        ),
        ("#[l1(lambda = 1)] struct A(#[l1(skip)] B, #[l1(with = f)] C);", &[]),
    ]);
}

#[test]
fn a_bound_is_where_predicates() {
    let messages = messages(derive("#[l1(bound = \"T: 1\")] struct A<T>(T);"));
    let [message] = messages.as_slice() else {
        panic!("{messages:?}");
    };
    // What follows is syn's.
    assert!(message.starts_with("`bound` expects where-predicates such as `T: Trait, U: Trait`: "), "{message}");
}

#[test]
fn an_attribute_without_parentheses_is_refused() {
    let parentheses = "expected keys in parentheses: write `#[l1(..)]`, for example `#[l1(lambda = 0.001)]`";
    refuses(&[
        ("#[l1] struct A(#[l1 = 1] B, #[l1[bias]] B, #[l1{ bias }] B);", &[parentheses; 4]),
        ("#[l1()] struct A(#[l1(bias,)] B);", &[]),
    ]);
}

#[test]
fn garbage_is_reported_and_what_follows_is_still_read() {
    let lamda = "unknown key `lamda`: did you mean `lambda`?";
    refuses(&[
        ("struct A(#[l1(0.1, lamda = 1)] B);", &["expected a key such as `lambda = 0.001`, found `0.1`", lamda]),
        ("struct A(#[l1(, lamda)] B);", &["expected a key such as `lambda = 0.001`, found `,`", lamda]),
        ("struct A(#[l1((a, b) c, lamda)] B);", &["expected a key such as `lambda = 0.001`, found `(`", lamda]),
        (
            "struct A(#[l1(lambda = 0.1 l2 = 1, lamda)] B);",
            &["expected `,` or the end of `#[l1(..)]`, found `l2`", lamda],
        ),
        (
            "struct A(#[l1(lambda = (1 2), lamda)] B);",
            &["`lambda` expects a number or an expression of type `f64`: expected `,`", lamda],
        ),
        (
            "struct A(#[l1(lambda = f::<A, B>(1, 2) 3, lamda)] B);",
            &["expected `,` or the end of `#[l1(..)]`, found `3`", lamda],
        ),
        ("struct A(#[l1(lamda = f::<A, B>(), bias)] B);", &[lamda]),
    ]);
}

#[test]
fn a_value_that_begins_well_is_answered_where_it_goes_wrong() {
    refuses(&[
        (
            "struct A(#[l1(lambda = 0.1 +, lamda)] B);",
            &[
                "`lambda` expects a number or an expression of type `f64`: expected an expression",
                "unknown key `lamda`: did you mean `lambda`?",
            ],
        ),
        (
            "struct A(#[l1(lambda = 0.1 +)] B);",
            &["`lambda` expects a number or an expression of type `f64`: \
               unexpected end of input, expected an expression"],
        ),
        (
            "struct A(#[l1(with = a::)] B);",
            &["`with` expects the path of a function, without quotes: unexpected end of input, expected identifier"],
        ),
    ]);
}

#[test]
fn the_commas_of_a_refused_value_separate_no_keys() {
    refuses(&[
        (
            "struct A(#[l1(with = |a, b| f(a, b), lamda)] B);",
            &[
                "`with` expects the path of a function, without quotes, found `|`",
                "unknown key `lamda`: did you mean `lambda`?",
            ],
        ),
        ("struct A(#[l1(rename = f::<A, B>(), bias)] B);", &["`rename` expects a string, found `f`"]),
    ]);
}

#[test]
fn all_mistakes_of_a_type_are_reported_at_once() {
    refuses(&[(
        "#[l1(lamda = 1, l2 = -1)]
         struct A {
             #[l1(skip, bias)] a: B,
             #[l1(role = wieght, rename = \"a\")] b: B,
             #[l1] c: B,
         }",
        &[
            "unknown key `lamda`: did you mean `lambda`?",
            "`l2 = -1` is negative: expected a finite number ≥ 0",
            "`bias` beside `skip`: a skipped field takes no key but `rename`; remove one of the two",
            "unknown role `wieght`: did you mean `weight`?",
            "expected keys in parentheses: write `#[l1(..)]`, for example `#[l1(lambda = 0.001)]`",
            "two fields have the path segment `a`: rename one of them",
        ],
    )]);
}

#[test]
fn mistakes_leave_an_empty_implementation_beside_them() {
    let tokens = derive("#[l1(crate = a, lamda)] struct A<T: Clone = u8>(T) where T: Copy;").to_string();
    let expected = "impl < T : Clone > a :: Regularized for A < T > where T : Copy \
                    { fn visit (& self , _ : & mut a :: Visitor < '_ >) -> a :: Result < () > \
                    { :: core :: result :: Result :: Ok (()) } }";
    assert!(tokens.ends_with(expected), "{tokens}");
}
