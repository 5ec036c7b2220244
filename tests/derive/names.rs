//! Rules for names: what a pattern matches, what wins, and that none is missed in silence.

use candle_core::Tensor;
use candle_nn::{Activation, GRU, GRUConfig, LayerNorm, Linear, VarMap};
use l1_core::{Error, Grouping, Penalty, Regularized, Regularizer, RegularizerBuilder, RoleName, Rule, Status};

use crate::given::{builder, frozen, layer_norm, linear, linear_no_bias, var};

/// `path: decision` of all parameters.
fn decisions(regularizer: &Regularizer) -> Vec<String> {
    regularizer.params().iter().map(|param| format!("{}: {}", param.path(), param.decision())).collect()
}

fn refusal(builder: RegularizerBuilder<'_>) -> String {
    builder.build().unwrap_err().to_string()
}

#[derive(Regularized)]
struct Net {
    fc1: Linear,
    #[l1(lambda = 0.5)]
    fc2: Linear,
    #[l1(skip = "head")]
    head: Linear,
    #[l1(opaque)]
    #[expect(dead_code, reason = "nothing runs this model")]
    gru: GRU,
}

fn net(varmap: &VarMap) -> Net {
    let vb = builder(varmap);
    let linear = |name: &str| candle_nn::linear(3, 2, vb.pp(name)).unwrap();
    let gru = GRU::new(2, 3, GRUConfig::default(), vb.pp("gru")).unwrap();
    Net { fc1: linear("fc1"), fc2: linear("fc2"), head: linear("head"), gru }
}

#[test]
fn attributes_beat_rules_skip_beats_both_and_rules_beat_opaque_and_nothing() {
    let varmap = VarMap::new();
    let net = net(&varmap);
    let regularizer = Regularizer::builder().model(&net).vars(&varmap).rule("*", Penalty::l1(0.1)).build().unwrap();
    let expected = [
        "fc1.weight: penalized (lambda = 0.1)",
        "fc1.bias: not penalized (bias)",
        "fc2.weight: penalized (lambda = 0.5)",
        "fc2.bias: not penalized (bias)",
        "head.weight: not penalized (skipped: head)",
        "head.bias: not penalized (skipped: head)",
        "gru.bias_hh_l0: not penalized (bias)",
        "gru.bias_ih_l0: not penalized (bias)",
        "gru.weight_hh_l0: penalized (lambda = 0.1)",
        "gru.weight_ih_l0: penalized (lambda = 0.1)",
    ];
    assert_eq!(decisions(&regularizer), expected);
    assert_eq!(regularizer.unvisited().count(), 0);
    regularizer.coverage(&varmap).strict().unwrap();
}

#[test]
fn without_a_varmap_rules_reach_what_the_model_shows() {
    let net = net(&VarMap::new());
    let regularizer = Regularizer::builder().model(&net).rule("fc1.*", Penalty::l1(0.1)).build().unwrap();
    assert_eq!(regularizer.penalized().count(), 2);
    assert_eq!(regularizer.unvisited().count(), 1);
}

#[test]
fn of_several_rules_the_last_one_that_matches_holds_as_a_whole() {
    let varmap = VarMap::new();
    let net = net(&varmap);
    let regularizer = Regularizer::builder()
        .model(&net)
        .vars(&varmap)
        .rule("gru.*", Rule::l1(0.1).bias(true).decay(0.2))
        .rule("gru.weight_?h_*", Penalty::l1(0.2))
        .rule("{gru,fc1}.*ih*", Penalty::ridge(0.3))
        .build()
        .unwrap();
    let of = |path| regularizer.param(path).unwrap();
    assert_eq!(of("gru.bias_hh_l0").decision().to_string(), "penalized (lambda = 0.1)");
    assert_eq!(of("gru.bias_hh_l0").decay(), Some(0.2));
    assert_eq!(of("gru.weight_hh_l0").decision().to_string(), "penalized (lambda = 0.2)");
    assert_eq!(of("gru.weight_hh_l0").decay(), None);
    assert_eq!(of("gru.weight_ih_l0").decision().to_string(), "penalized (l2 = 0.3)");
    assert_eq!(of("gru.bias_ih_l0").decision().to_string(), "not penalized (bias)");
    assert_eq!(of("gru.weight_ih_l0").origin().unwrap().to_string(), "rule `{gru,fc1}.*ih*`");
}

#[test]
fn a_forced_rule_overrules_attributes_and_skip() {
    let varmap = VarMap::new();
    let net = net(&varmap);
    let build = || Regularizer::builder().model(&net).vars(&varmap);
    let regularizer = build().rule("{fc2,head}.*", Penalty::l1(0.1)).force().build().unwrap();
    assert_eq!(regularizer.param("fc2.weight").unwrap().decision().to_string(), "penalized (lambda = 0.1)");
    assert_eq!(regularizer.param("head.weight").unwrap().decision().to_string(), "penalized (lambda = 0.1)");
    assert_eq!(regularizer.param("head.bias").unwrap().decision().to_string(), "not penalized (bias)");

    let regularizer = build().skip("fc2.*", "all of it").force().rule("fc*", Penalty::l1(0.1)).build().unwrap();
    assert_eq!(regularizer.param("fc2.weight").unwrap().decision().to_string(), "not penalized (skipped: all of it)");
    assert_eq!(regularizer.param("fc1.weight").unwrap().decision().to_string(), "penalized (lambda = 0.1)");
}

#[test]
fn a_forced_rule_replaces_what_it_speaks_of_and_no_more() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.5, decay = 0.25)]
        fc: Linear,
    }
    let net = Net { fc: linear_no_bias() };
    let regularizer = Regularizer::builder().model(&net).rule("*", Penalty::l1(0.1)).force().build().unwrap();
    let weight = regularizer.param("fc.weight").unwrap();
    assert_eq!((weight.decision().to_string().as_str(), weight.decay()), ("penalized (lambda = 0.1)", Some(0.25)));
}

#[test]
fn a_rule_may_add_a_decay_where_an_attribute_has_a_penalty() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.5)]
        fc: Linear,
    }
    let net = Net { fc: linear_no_bias() };
    let rule = Rule::inherit().decay(0.25);
    let regularizer = Regularizer::builder().model(&net).rule("fc.*", rule).build().unwrap();
    let weight = regularizer.param("fc.weight").unwrap();
    assert_eq!((weight.decision().to_string().as_str(), weight.decay()), ("penalized (lambda = 0.5)", Some(0.25)));
}

#[test]
fn a_skip_of_a_foreign_type_holds_against_rules_by_its_name() {
    #[derive(Regularized)]
    struct Net {
        #[l1(skip = "frozen")]
        gru: GRU,
        fc: Linear,
    }
    let varmap = VarMap::new();
    let gru = GRU::new(2, 3, GRUConfig::default(), builder(&varmap).pp("gru")).unwrap();
    let fc = candle_nn::linear_no_bias(3, 2, builder(&varmap).pp("fc")).unwrap();
    let net = Net { gru, fc };
    let build = || Regularizer::builder().model(&net).vars(&varmap);
    let regularizer = build().rule("*", Penalty::l1(0.1)).build().unwrap();
    assert_eq!(decisions(&regularizer), ["fc.weight: penalized (lambda = 0.1)"]);
    let error = refusal(build().rule("gru.*", Penalty::l1(0.1)));
    let expected = "rule `gru.*`: lambda = 0.1 reaches no parameter: `gru.bias_hh_l0`, `gru.bias_ih_l0`, \
                    `gru.weight_hh_l0` and 1 more are skipped: frozen. Remove the rule, or add `.force()` to it to overrule \
                    the model";
    assert_eq!(error, expected);
    assert_eq!(build().rule("gru.*", Penalty::l1(0.1)).force().build().unwrap().penalized().count(), 2);
}

#[test]
fn a_pattern_matches_paths_aliases_and_names_in_the_varmap() {
    #[derive(Regularized)]
    struct Net {
        first: Linear,
        second: Linear,
    }
    let varmap = VarMap::new();
    let shared = candle_nn::linear_no_bias(3, 2, builder(&varmap).pp("shared")).unwrap();
    let net = Net { first: shared.clone(), second: shared };
    for pattern in ["first.*", "second.weight", "shared.*", "*"] {
        let regularizer = Regularizer::builder().model(&net).vars(&varmap).rule(pattern, Penalty::l1(0.1)).build();
        assert_eq!(decisions(&regularizer.unwrap()), ["first.weight: penalized (lambda = 0.1)"], "{pattern}");
    }
}

#[test]
fn groups_scales_and_roles_of_a_rule_are_those_of_an_attribute() {
    let varmap = VarMap::new();
    builder(&varmap).get((6, 4), "table").unwrap();
    let rule = Rule::l1(0.1).group(Grouping::Output).scale(3.0);
    let regularizer = Regularizer::builder().vars(&varmap).rule("table", rule).build().unwrap();
    let (_, penalty) = regularizer.penalized().next().unwrap();
    assert_eq!(penalty.group(), Grouping::Dim(0));
    assert!((penalty.lambda() - 0.3).abs() < 1e-15); // a product of two roundings
    let error = refusal(Regularizer::builder().vars(&varmap).rule("table", rule.role(RoleName::Bias)));
    assert_eq!(
        error,
        "rule `table`: lambda = 0.1, group = output reaches no parameter: `table` is a bias. Add `.bias(true)` to the rule \
         (`Rule::l1(..).bias(true)`) to reach biases, or remove the rule"
    );
}

#[test]
fn a_pattern_that_matches_nothing_is_refused_with_the_nearest_names() {
    let varmap = VarMap::new();
    let net = net(&varmap);
    let error = Regularizer::builder().model(&net).vars(&varmap).rule("gur.*", Penalty::l1(0.1)).build().unwrap_err();
    let expected = "rule `gur.*` matches no parameter; the nearest names: `gru.bias_hh_l0`, `gru.bias_ih_l0`, \
                    `gru.weight_hh_l0`";
    assert_eq!(error.to_string(), expected);
    assert!(
        matches!(error, Error::NothingMatches { pattern, nearest, .. } if pattern == "gur.*" && nearest.len() == 3)
    );
    let skip = refusal(Regularizer::builder().model(&net).skip("hed.*", "no"));
    assert!(skip.contains("head.bias") || skip.contains("head.weight"), "{skip}");
    // Without the VarMap an opaque field shows no names.
    let hidden = refusal(Regularizer::builder().model(&net).rule("gru.*", Penalty::l1(0.1)));
    let hint = ". `gru` is not looked into: show the builder its variables, `.vars(&varmap)`";
    assert!(hidden.starts_with("rule `gru.*` matches no parameter") && hidden.ends_with(hint), "{hidden}");
}

#[test]
fn a_rule_that_reaches_nothing_is_refused_with_the_way_out() {
    #[derive(Regularized)]
    struct Net {
        fc: Linear,
        #[l1(lambda = 0.5)]
        fixed: Linear,
        ln: LayerNorm,
        ice: candle_core::Tensor,
        activation: Activation,
    }
    let net =
        Net { fc: linear(), fixed: linear_no_bias(), ln: layer_norm(), ice: frozen(3), activation: Activation::Relu };
    let refused = |pattern: &str| refusal(Regularizer::builder().model(&net).rule(pattern, Penalty::l1(0.1)));
    let start = |pattern| format!("rule `{pattern}`: lambda = 0.1 reaches no parameter: ");
    assert_eq!(
        refused("*.bias"),
        start("*.bias")
            + "`fc.bias` is a bias; `ln.bias` is a norm parameter. Add `.bias(true)` to the rule \
               (`Rule::l1(..).bias(true)`) to reach biases, or remove the rule. Add `.norm(true)` to the rule \
               (`Rule::l1(..).norm(true)`) to reach norm parameters, or remove the rule"
    );
    assert_eq!(
        refused("fixed.*"),
        start("fixed.*")
            + "`fixed.weight` is under an attribute of its own. Remove the rule, or add `.force()` to it to overrule the model"
    );
    assert_eq!(
        refused("ice"),
        start("ice")
            + "`ice` is frozen (not a variable). Build it from a VarBuilder over a VarMap (`VarBuilder::from_varmap`) to \
               train it, or remove the rule"
    );
    let shadowed = Regularizer::builder().model(&net).rule("fc.*", Penalty::l1(0.1)).rule("fc*", Penalty::l1(0.2));
    assert_eq!(
        refusal(shadowed),
        start("fc.*")
            + "`fc.weight`, `fc.bias` are under the rule `fc*`, which wins. Of several rules the last one holds, and a \
               forced one above all"
    );
    // A λ of 0 takes something away, and need not reach what nothing can be given to.
    let zero = |pattern: &str| Regularizer::builder().model(&net).rule(pattern, Penalty::l1(0.0)).build();
    zero("*.bias").unwrap();
    // But where an attribute has a penalty, it would be left as it is.
    assert!(matches!(zero("fixed.*"), Err(Error::Unreached { .. })));
}

#[test]
fn numbers_out_of_their_range_and_patterns_that_are_none_are_refused() {
    let net = (linear(), linear());
    let rule = |pattern: &str, rule: Rule| refusal(Regularizer::builder().model(&net).rule(pattern, rule));
    assert_eq!(rule("0.*", Rule::l1(-1.0)), "rule `0.*`: lambda = -1 (expected finite and ≥ 0)");
    assert_eq!(rule("0.*", Rule::l1(1.0).scale(f64::NAN)), "rule `0.*`: scale = NaN (expected finite and ≥ 0)");
    assert_eq!(rule("0.*", Rule::inherit().decay(-1.0)), "rule `0.*`: decay = -1 (expected finite and ≥ 0)");
    assert!(
        rule("0.[a", Rule::l1(1.0)).starts_with("rule `0.[a`: unclosed character class"),
        "{}",
        rule("0.[a", Rule::l1(1.0))
    );
    assert!(rule("", Rule::l1(1.0)).contains("it is empty"));
    for nothing in [Rule::inherit(), Rule::inherit().bias(true), Rule::inherit().scale(0.5)] {
        assert!(rule("*", nothing).starts_with("rule `*`: it declares neither a penalty nor a decay"));
    }
    let force = refusal(Regularizer::builder().model(&net).force());
    assert!(force.contains("`force()` stands before any rule"), "{force}");
    assert!(matches!(Regularizer::builder().build(), Err(Error::EmptyModel)));
    assert!(matches!(Regularizer::builder().vars(&VarMap::new()).build(), Err(Error::EmptyModel)));
}

/// Two layers with one weight.
#[derive(Regularized)]
struct Tied {
    first: Linear,
    #[l1(lambda = 0.5)]
    second: Linear,
}

#[derive(Regularized)]
struct TiedWithoutAttribute {
    embedding: candle_nn::Embedding,
    head: Linear,
}

fn tied() -> (Tied, TiedWithoutAttribute) {
    let (weight, table) = (var((2, 3)), var((2, 3)));
    let linear = |weight: &Tensor| Linear::new(weight.clone(), None);
    let without = TiedWithoutAttribute { embedding: candle_nn::Embedding::new(table.clone(), 3), head: linear(&table) };
    (Tied { first: linear(&weight), second: linear(&weight) }, without)
}

#[test]
fn a_rule_for_one_place_of_a_tied_tensor_yields_to_an_attribute_at_another() {
    let (net, _) = tied();
    let rule = |rule: Penalty| Regularizer::builder().model(&net).rule("first.*", rule);
    assert!(refusal(rule(Penalty::l1(0.1))).contains("`first.weight` is under an attribute of its own"));
    let regularizer = rule(Penalty::l1(0.1)).force().build().unwrap();
    assert_eq!(decisions(&regularizer), ["first.weight: penalized (lambda = 0.1)"]);
}

#[test]
fn a_rule_holds_at_the_place_that_its_pattern_names() {
    let (_, net) = tied();
    let rule = |pattern: &str| {
        let rule = Penalty::l1(0.1).with_group(Grouping::Output);
        let regularizer = Regularizer::builder().model(&net).rule(pattern, rule).build().unwrap();
        regularizer.penalized().next().unwrap().1.group()
    };
    // The rows of the head make its outputs; the columns of a table are what an embedding gives.
    assert_eq!(rule("head.*"), Grouping::Dim(0));
    assert_eq!(rule("embedding.*"), Grouping::Dim(1));
}

#[test]
fn two_rules_for_two_places_of_a_tied_tensor_have_to_agree() {
    let (_, net) = tied();
    let two = |lambda: f64| {
        Regularizer::builder()
            .model(&net)
            .rule("embedding.*", Penalty::l1(0.1))
            .rule("head.*", Penalty::l1(lambda))
            .build()
    };
    assert_eq!(two(0.1).unwrap().penalized().count(), 1);
    let error = two(0.2).unwrap_err();
    assert!(
        matches!(error, Error::ConflictingRules { first, second, .. } if first == "embedding.weight" && second == "head.weight")
    );
}

#[test]
fn bias_and_norm_of_attributes_are_not_for_a_rule_to_change() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.5, bias)]
        with: Linear,
        #[l1(lambda = 0.5, group = output)]
        without: Linear,
        #[l1(bias = false)]
        refused: Linear,
    }
    let net = Net { with: linear(), without: linear(), refused: linear() };
    let rule = |pattern: &str, rule: Rule| Regularizer::builder().model(&net).rule(pattern, rule).build();
    let closing = rule("with.*", Rule::inherit().decay(0.1).bias(false)).unwrap();
    assert_eq!(closing.param("with.bias").unwrap().decision().to_string(), "penalized (lambda = 0.5)");
    let opening = rule("without.*", Rule::inherit().decay(0.1).bias(true)).unwrap();
    assert_eq!(opening.param("without.bias").unwrap().decision().to_string(), "not penalized (bias)");
    assert_eq!(opening.param("without.bias").unwrap().decay(), None);
    opening.value().unwrap();
    let said = rule("refused.*", Rule::l1(0.1).bias(true)).unwrap();
    assert_eq!(said.param("refused.bias").unwrap().decision().to_string(), "not penalized (bias)");
    let role = rule("with.*", Rule::inherit().decay(0.1).role(RoleName::Buffer)).unwrap_err().to_string();
    assert!(role.contains("are under attributes of their own"), "{role}");
}

#[test]
fn a_scale_around_a_field_multiplies_rules_too() {
    #[derive(Regularized)]
    struct Encoder {
        fc: Linear,
        #[l1(opaque)]
        #[expect(dead_code, reason = "nothing runs this model")]
        gru: GRU,
    }
    #[derive(Regularized)]
    struct Net {
        #[l1(scale = 0.5)]
        encoder: Encoder,
    }
    let varmap = VarMap::new();
    let gru = GRU::new(2, 3, GRUConfig::default_no_bias(), builder(&varmap).pp("encoder.gru")).unwrap();
    let fc = candle_nn::linear_no_bias(3, 2, builder(&varmap).pp("encoder.fc")).unwrap();
    let net = Net { encoder: Encoder { fc, gru } };
    let regularizer = Regularizer::builder().model(&net).vars(&varmap).rule("*", Penalty::l1(0.5)).build().unwrap();
    assert_eq!(regularizer.penalized().count(), 3);
    assert!(regularizer.penalized().all(|(_, penalty)| penalty.lambda() == 0.25));
}

#[test]
fn a_penalty_and_a_decay_of_one_rule_have_to_reach_something_each() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.5)]
        fc: Linear,
    }
    let net = Net { fc: linear_no_bias() };
    let error = refusal(Regularizer::builder().model(&net).rule("fc.*", Rule::l1(0.1).decay(0.25)));
    assert!(
        error.starts_with("rule `fc.*`: lambda = 0.1 reaches no parameter: `fc.weight` is under an attribute"),
        "{error}"
    );
}

#[test]
fn a_skip_that_attributes_hold_against_is_refused() {
    #[derive(Regularized)]
    struct Net {
        first: Linear,
        #[l1(lambda = 0.5)]
        second: Linear,
    }
    let net = Net { first: linear_no_bias(), second: linear_no_bias() };
    let build = || Regularizer::builder().model(&net).skip("*", "pretrained");
    let error = refusal(build());
    assert!(error.starts_with("rule `*`: skip reaches no parameter: `second.weight` is under an attribute"), "{error}");
    assert_eq!(build().force().build().unwrap().penalized().count(), 0);
}

#[test]
fn a_forced_rule_excuses_only_the_declaration_that_it_overrules() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.5)]
        ln: LayerNorm,
        fc: Linear,
    }
    let net = Net { ln: layer_norm(), fc: linear_no_bias() };
    let forced = |rule: Rule| Regularizer::builder().model(&net).rule("*", rule).force().build();
    let error = forced(Rule::inherit().decay(0.1)).unwrap_err().to_string();
    assert!(error.starts_with("ln: lambda = 0.5 reaches no parameter"), "{error}");
    // The rule has not reached the norm either.
    assert!(matches!(forced(Rule::l1(0.1)), Err(Error::Unreached { path, .. }) if path == "ln"));
    forced(Rule::l1(0.1).norm(true)).unwrap();
}

#[test]
fn a_forced_rule_brings_its_own_bias_norm_and_role() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.5, bias)]
        with: Linear,
        #[l1(lambda = 0.5, decay = 0.25, bias = false)]
        without: Linear,
        #[l1(lambda = 0.5, decay = 0.25)]
        table: Tensor,
    }
    let net = Net { with: linear(), without: linear(), table: var((4, 2)) };
    let forced =
        |pattern: &str, rule: Rule| Regularizer::builder().model(&net).rule(pattern, rule).force().build().unwrap();
    let of = |regularizer: &Regularizer, path: &str| regularizer.param(path).unwrap().decision().to_string();
    assert_eq!(of(&forced("with.*", Rule::l1(0.1).bias(false)), "with.bias"), "not penalized (bias)");
    assert_eq!(of(&forced("without.*", Rule::l1(0.1).bias(true)), "without.bias"), "penalized (lambda = 0.1)");
    let table = forced("table", Rule::l1(0.1).group(Grouping::Output).role(RoleName::Embedding));
    assert_eq!(of(&table, "table"), "penalized (lambda = 0.1, group = dim(1))");
}

#[test]
fn a_prefix_without_a_star_is_told_what_it_lacks() {
    let varmap = VarMap::new();
    let net = net(&varmap);
    let error = refusal(Regularizer::builder().model(&net).vars(&varmap).rule("gru", Penalty::l1(0.1)));
    assert!(error.ends_with("A pattern matches whole names: `gru.*`?"), "{error}");
}

#[test]
fn variables_of_two_varmaps_are_told_apart() {
    let (one, other) = (VarMap::new(), VarMap::new());
    for varmap in [&one, &other] {
        candle_nn::linear(3, 2, builder(varmap).pp("fc")).unwrap();
    }
    let build = || Regularizer::builder().vars(&one).vars(&other).rule("fc.*", Penalty::l1(0.1));
    let regularizer = build().build().unwrap();
    assert_eq!(regularizer.penalized().count(), 2);
    for varmap in [&one, &other] {
        let coverage = regularizer.coverage(varmap);
        coverage.strict().unwrap();
        assert!(coverage.strangers.is_empty() && coverage.variables.iter().all(|row| row.paths.is_empty()));
    }
}

#[test]
fn an_opaque_field_stays_in_the_report_until_every_variable_in_it_is_reached() {
    let varmap = VarMap::new();
    let net = net(&varmap);
    let unvisited = |pattern: &str| {
        let build = Regularizer::builder().model(&net).vars(&varmap).rule(pattern, Penalty::l1(0.1));
        build.build().unwrap().unvisited().count()
    };
    assert_eq!(unvisited("gru.weight_*"), 1);
    assert_eq!(unvisited("gru.*"), 0);
}

#[test]
fn a_skip_does_not_claim_a_namesake_elsewhere() {
    #[derive(Regularized)]
    struct Net {
        embed: Linear,
        #[l1(skip = "pretrained")]
        gru: GRU,
        #[l1(opaque)]
        #[expect(dead_code, reason = "nothing runs this model")]
        decoder_gru: GRU,
        out: Linear,
    }
    let varmap = VarMap::new();
    let vb = builder(&varmap);
    let gru = |name: &str| GRU::new(2, 3, GRUConfig::default_no_bias(), vb.pp(name)).unwrap();
    let linear = |name: &str| candle_nn::linear_no_bias(3, 2, vb.pp(name)).unwrap();
    let (embed, out) = (linear("embed"), linear("decoder.out"));
    let net = Net { embed, gru: gru("gru"), decoder_gru: gru("decoder.gru"), out };
    let regularizer = Regularizer::builder().model(&net).vars(&varmap).rule("*", Penalty::l1(0.1)).build().unwrap();
    let coverage = regularizer.coverage(&varmap);
    coverage.strict().unwrap();
    let is_penalized = |name: &str| matches!(coverage.row(name).unwrap().status, Status::Penalized { .. });
    assert!(is_penalized("decoder.gru.weight_hh_l0") && !is_penalized("gru.weight_hh_l0"));
}

#[test]
fn a_name_that_means_two_tensors_is_refused() {
    #[derive(Regularized)]
    struct Net {
        a: Linear,
        b: Linear,
    }
    let varmap = VarMap::new();
    let linear = |name: &str| candle_nn::linear_no_bias(3, 2, builder(&varmap).pp(name)).unwrap();
    let net = Net { a: linear("b"), b: linear("a") };
    let build = |pattern: &str| Regularizer::builder().model(&net).vars(&varmap).rule(pattern, Penalty::l1(0.1));
    let error = refusal(build("a.*"));
    assert!(
        error.starts_with("rule `a.*`: `a.weight` means one tensor in the model and another one in the VarMap"),
        "{error}"
    );
}

#[test]
fn a_variable_of_which_the_model_holds_a_view_is_in_reach_of_rules() {
    #[derive(Regularized)]
    struct Net {
        view: Linear,
    }
    let varmap = VarMap::new();
    let weight = builder(&varmap).pp("view").get((3, 2), "weight").unwrap();
    let net = Net { view: Linear::new(weight.t().unwrap(), None) };
    let regularizer =
        Regularizer::builder().model(&net).vars(&varmap).rule("view.*", Penalty::l1(0.1)).build().unwrap();
    let expected = [
        "view.weight: not penalized (a view of view.weight (VarMap 1))",
        "view.weight (VarMap 1): penalized (lambda = 0.1)",
    ];
    assert_eq!(decisions(&regularizer), expected);
    regularizer.coverage(&varmap).strict().unwrap();
}

#[test]
fn errors_that_a_rule_leads_to_name_it_beside_the_parameter() {
    let varmap = VarMap::new();
    builder(&varmap).get(6, "table").unwrap();
    let error =
        refusal(Regularizer::builder().vars(&varmap).rule("t*", Penalty::l1(0.1).with_group(Grouping::Singular)));
    assert!(error.starts_with("table, by rule `t*`: group = singular does not fit shape [6]"), "{error}");
}
