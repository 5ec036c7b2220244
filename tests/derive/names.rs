//! Rules for names: what a pattern matches, what wins, and that none is missed in silence.

use candle_nn::{Activation, GRU, GRUConfig, LayerNorm, Linear, VarMap};
use l1_core::{Builder, Error, Grouping, Penalty, Regularized, Regularizer, RoleName, Rule};

use crate::given::{builder, frozen, layer_norm, linear, linear_no_bias, var};

/// `path: decision` of all parameters.
fn decisions(regularizer: &Regularizer) -> Vec<String> {
    regularizer.params().iter().map(|param| format!("{}: {}", param.path(), param.decision())).collect()
}

fn refusal(builder: Builder<'_>) -> String {
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
    let rule = Rule::l1(0.1).decay(0.25);
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
    let net = Net { gru, fc: linear_no_bias() };
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
    // An embedding's rows are no output features.
    let error = refusal(Regularizer::builder().vars(&varmap).rule("table", rule.role(RoleName::Bias)));
    assert_eq!(
        error,
        "rule `table`: lambda = 0.1, group = output reaches no parameter: `table` is a bias. A rule that is to reach them \
         says so: `Rule::l1(..).bias(true)`"
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
    assert!(matches!(error, Error::NothingMatches { pattern, nearest } if pattern == "gur.*" && nearest.len() == 3));
    let skip = refusal(Regularizer::builder().model(&net).skip("hed.*", "no"));
    assert!(skip.contains("head.bias") || skip.contains("head.weight"), "{skip}");
    // Without the VarMap an opaque field shows no names.
    let hidden = refusal(Regularizer::builder().model(&net).rule("gru.*", Penalty::l1(0.1)));
    assert!(hidden.starts_with("rule `gru.*` matches no parameter"), "{hidden}");
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
            + "`fc.bias` is a bias; `ln.bias` is a norm parameter. A rule that is to reach them says so: \
               `Rule::l1(..).bias(true)`. A rule that is to reach them says so: `Rule::l1(..).norm(true)`"
    );
    assert_eq!(
        refused("fixed.*"),
        start("fixed.*")
            + "`fixed.weight` is under an attribute of its own. Remove the rule, or add `.force()` to it to overrule the model"
    );
    assert_eq!(refused("ice"), start("ice") + "`ice` is frozen. Nothing can be declared for it");
    let shadowed = Regularizer::builder().model(&net).rule("fc.*", Penalty::l1(0.1)).rule("fc*", Penalty::l1(0.2));
    assert_eq!(
        refusal(shadowed),
        start("fc.*")
            + "`fc.weight`, `fc.bias` are under the rule `fc*`, which wins. Of several rules the last one holds, and a \
               forced one above all"
    );
    // A λ of 0 takes something away and need not reach anything.
    Regularizer::builder().model(&net).rule("*.bias", Penalty::l1(0.0)).build().unwrap();
}

#[test]
fn numbers_out_of_their_range_and_patterns_that_are_none_are_refused() {
    let net = (linear(), linear());
    let rule = |pattern: &str, rule: Rule| refusal(Regularizer::builder().model(&net).rule(pattern, rule));
    assert_eq!(rule("0.*", Rule::l1(-1.0)), "0.*: lambda = -1 (expected finite and ≥ 0)");
    assert_eq!(rule("0.*", Rule::l1(1.0).scale(f64::NAN)), "0.*: scale = NaN (expected finite and ≥ 0)");
    assert_eq!(rule("0.*", Rule::inherit().decay(-1.0)), "0.*: decay = -1 (expected finite and ≥ 0)");
    assert!(
        rule("0.[a", Rule::l1(1.0)).starts_with("rule `0.[a`: unclosed character class"),
        "{}",
        rule("0.[a", Rule::l1(1.0))
    );
    assert!(rule("", Rule::l1(1.0)).contains("it is empty"));
    let force = refusal(Regularizer::builder().model(&net).force());
    assert!(force.contains("`force()` stands before any rule"), "{force}");
    assert!(matches!(Regularizer::builder().build(), Err(Error::EmptyModel)));
    assert!(matches!(Regularizer::builder().vars(&VarMap::new()).build(), Err(Error::EmptyModel)));
}

#[test]
fn a_rule_for_one_place_of_a_tied_tensor_yields_to_an_attribute_at_another() {
    #[derive(Regularized)]
    struct Net {
        first: Linear,
        #[l1(lambda = 0.5)]
        second: Linear,
    }
    let weight = var((2, 3));
    let linear = || Linear::new(weight.clone(), None);
    let net = Net { first: linear(), second: linear() };
    let regularizer = Regularizer::builder().model(&net).rule("*", Penalty::l1(0.0)).build().unwrap();
    assert_eq!(decisions(&regularizer), ["first.weight: penalized (lambda = 0.5)"]);
    let regularizer = Regularizer::builder().model(&net).rule("first.*", Penalty::l1(0.1)).force().build().unwrap();
    assert_eq!(decisions(&regularizer), ["first.weight: penalized (lambda = 0.1)"]);
}
