//! What is written for each kind of type. One snapshot a test.

use super::{expand, print};

macro_rules! snapshot {
    ($source:expr) => {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("{}\n// becomes\n\n{}", print($source), expand($source)));
        });
    };
}

#[test]
fn a_struct_reads_as_written_by_hand() {
    snapshot!(
        r#"
        struct Mlp {
            #[l1(lambda = 0.001)]
            fc1: Linear,
            fc2: Linear,
            #[l1(l2 = 0.1, bias)]
            fc3: Linear,
            #[l1(skip = "a frozen head")]
            head: Linear,
        }"#
    );
}

#[test]
fn keys_of_the_container_are_defaults() {
    snapshot!(
        r#"
        #[l1(bias, lambda = 0.01)]
        #[l1(l2 = self.ridge())]
        struct Mlp {
            #[l1(lambda = 0.001)]
            fc1: Linear,
            fc2: Linear,
            #[l1(bias = false, positive = true, norm)]
            fc3: Linear,
            #[l1(skip)]
            head: Linear,
        }"#
    );
}

#[test]
fn every_key_of_a_rule_is_a_call_in_one_order() {
    snapshot!(
        "struct A {
            #[l1(
                role = embedding, scale = 2, norm, bias, decay = 0.01, positive, l2 = 1, element = 0.1, unscaled,
                group = output, curve = l1, lambda = 0
            )]
            w: Tensor,
        }"
    );
}

#[test]
fn a_word_is_a_variant_and_its_parameters_are_numbers() {
    snapshot!(
        r#"
        struct A(
            #[l1(lambda = 1, curve = l1, group = element)] Linear,
            #[l1(lambda = 1, curve = mcp(3), group = output)] Linear,
            #[l1(lambda = 1, curve = scad((3.7)), group = input)] Linear,
            #[l1(lambda = 1, curve = log(1e-2), group = dim(0))] Linear,
            #[l1(lambda = 1, curve = two_thirds, group = kernel)] Linear,
            #[l1(lambda = 1, curve = l0, group = whole)] Linear,
            #[l1(lambda = 1, curve = mcp(self.0.gamma()), group = block(2, usize::from(self.1)))] Linear,
            #[l1(lambda = 1, group = singular)] Linear,
        );"#
    );
}

#[test]
fn groups_of_the_container_are_a_default() {
    snapshot!(
        r#"
        #[l1(lambda = 0.01, group = output, curve = mcp(3.0))]
        struct Mlp {
            fc1: Linear,
            #[l1(group = element)]
            fc2: Linear,
            #[l1(lambda = 0.1, unscaled)]
            fc3: Linear,
        }"#
    );
}

#[test]
fn groups_of_a_container_without_lambda_go_to_the_fields_that_have_one() {
    snapshot!(
        r#"
        #[l1(group = output, element = self.inner, l2 = 0.1)]
        enum Net {
            Mlp {
                #[l1(lambda = 0.001)]
                fc1: Linear,
                #[l1(lambda = 0.01, group = input)]
                fc2: Linear,
                fc3: Linear,
            },
            Foreign(#[l1(with = visit_lstm, lambda = 0.1)] Lstm),
        }"#
    );
}

#[test]
fn a_decay_needs_no_lambda() {
    snapshot!(
        r#"
        #[l1(decay = self.decay)]
        struct Mlp {
            fc1: Linear,
            #[l1(decay = 0)]
            fc2: Linear,
        }"#
    );
}

#[test]
fn numbers_keep_the_text_of_a_float_and_turn_integers_into_floats() {
    snapshot!(
        r#"
        struct A(
            #[l1(lambda = 1)] Linear,
            #[l1(lambda = (1e-3))] Linear,
            #[l1(lambda = 0.5f64)] Linear,
            #[l1(lambda = 1_000)] Linear,
            #[l1(lambda = -0.0)] Linear,
            #[l1(lambda = -self.1.strength())] Linear,
            #[l1(lambda = pick::<A, B>(1, 2), l2 = self.1 .0)] Linear,
        );"#
    );
}

#[test]
fn a_tuple_struct_has_numbers_for_names() {
    snapshot!("struct Stack(Linear, #[l1(lambda = 0.1)] Linear, #[l1(opaque)] Lstm);");
}

#[test]
fn a_tuple_struct_of_one_field_is_not_transparent() {
    snapshot!("struct Wrapper(Linear);");
}

#[test]
fn a_unit_struct_visits_nothing() {
    snapshot!("struct Identity;");
}

#[test]
fn an_enum_visits_its_active_variant() {
    snapshot!(
        r#"
        #[l1(lambda = self.strength())]
        enum Head {
            Linear(Linear),
            Named(#[l1(rename = "proj", lambda = 0.1)] Linear),
            Pair(Linear, #[l1(opaque)] Lstm),
            Mlp {
                fc1: Linear,
                r#type: Linear,
                #[l1(opaque)]
                hidden: Lstm,
                #[l1(skip)]
                frozen: Linear,
            },
            Foreign(#[l1(with = visit_lstm)] Lstm),
            Frozen(#[l1(skip = "a frozen head")] Linear),
            Identity,
        }"#
    );
}

#[test]
fn an_enum_without_any_fields_visits_nothing() {
    snapshot!("enum Kind { Small, Large {}, Huge() }");
}

#[test]
fn an_empty_enum_cannot_be_visited() {
    snapshot!("enum Never {}");
}

#[test]
fn a_transparent_struct_adds_no_segment() {
    snapshot!("#[l1(transparent, lambda = 0.1)] struct Wrapper { inner: Linear }");
}

#[test]
fn a_transparent_struct_skips_under_its_own_path() {
    snapshot!("#[l1(transparent)] struct Wrapper(#[l1(skip)] Linear);");
}

#[test]
fn flatten_adds_no_segment() {
    snapshot!("struct A { #[l1(flatten)] base: Base, #[l1(flatten, with = visit_lstm, lambda = 0.1)] rnn: Lstm }");
}

#[test]
fn rename_may_hold_dots() {
    snapshot!(
        r#"struct A {
            #[l1(rename = "encoder.fc1")] first: Linear,
            #[l1(skip, rename = "encoder.fc2")] second: Linear,
            #[l1(opaque, rename = "encoder.rnn")] third: Lstm,
        }"#
    );
}

#[test]
fn raw_identifiers_lose_their_prefix_in_paths() {
    snapshot!("struct A { r#type: Linear }");
}

#[test]
fn with_hands_the_field_to_a_function() {
    snapshot!("struct A { #[l1(with = foreign::visit::<Lstm>, lambda = 0.1)] rnn: Lstm }");
}

#[test]
fn the_path_of_the_library_can_be_given() {
    snapshot!(
        r#"#[l1(crate = ::renamed::l1, bias)]
        struct A<T> { #[l1(role = norm)] a: T, #[l1(lambda = 1, curve = l0, group = dim(1))] c: T, #[l1(skip)] b: Linear }"#
    );
}
