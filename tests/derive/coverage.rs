//! `coverage`: every variable of a `VarMap` is accounted for, or named.

use candle_core::Var;
use candle_nn::{GRU, GRUConfig, LSTM, LSTMConfig, LayerNorm, Linear, VarMap};
use l1_core::{Coverage, Error, Penalty, Regularized, Regularizer, Status, Traced};

use crate::given::{builder, frozen};

/// `name: what becomes of it`.
fn statuses(coverage: &Coverage) -> Vec<String> {
    let by = |by: &Option<l1_core::Origin>| by.as_ref().map_or("nobody".to_owned(), ToString::to_string);
    let line = |row: &l1_core::CoverageRow| match &row.status {
        Status::Penalized { penalty, by: origin, .. } => format!("{}: {penalty} by {}", row.name, by(origin)),
        Status::Unpenalized { reason, .. } => format!("{}: {reason}", row.name),
        Status::Skipped { reason, by: origin, by_name, .. } => {
            format!("{}: skip {} by {}, by name: {by_name}", row.name, reason.unwrap_or("–"), by(origin))
        }
        Status::Unaccounted { why, .. } => format!("{}: unaccounted: {why}", row.name),
        _ => unreachable!("no other status"),
    };
    coverage.variables.iter().map(line).collect()
}

fn strangers(coverage: &Coverage) -> Vec<String> {
    coverage.strangers.iter().map(|stranger| format!("{}: {}", stranger.path, stranger.what)).collect()
}

fn linear(varmap: &VarMap, name: &str) -> Linear {
    candle_nn::linear(3, 2, builder(varmap).pp(name)).unwrap()
}

#[test]
fn each_variable_is_listed_with_the_place_that_decided() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Part {
        fc: Linear,
        #[l1(lambda = 0.5)]
        head: Linear,
    }
    #[derive(Regularized)]
    struct Net {
        part: Part,
        ln: LayerNorm,
        #[l1(lambda = 0.25)]
        lstm: Traced<LSTM>,
        #[l1(skip = "pretrained")]
        embedding: Linear,
        #[l1(skip = "small")]
        gru: GRU,
    }
    let varmap = VarMap::new();
    let vb = builder(&varmap);
    let net = Net {
        part: Part { fc: linear(&varmap, "part.fc"), head: linear(&varmap, "part.head") },
        ln: candle_nn::layer_norm(3, 1e-5, vb.pp("ln")).unwrap(),
        lstm: Traced::new(&varmap, vb.pp("lstm"), |vb| LSTM::new(2, 3, LSTMConfig::default_no_bias(), vb)).unwrap(),
        embedding: linear(&varmap, "embedding"),
        gru: GRU::new(2, 3, GRUConfig::default_no_bias(), vb.pp("gru")).unwrap(),
    };
    let coverage = net.regularizer().unwrap().coverage(&varmap);
    let expected = [
        "embedding.bias: skip pretrained by field `embedding`, by name: false",
        "embedding.weight: skip pretrained by field `embedding`, by name: false",
        "gru.weight_hh_l0: skip small by field `gru`, by name: true",
        "gru.weight_ih_l0: skip small by field `gru`, by name: true",
        "ln.bias: nothing declared",
        "ln.weight: nothing declared",
        "lstm.weight_hh_l0: lambda = 0.25 by field `lstm`",
        "lstm.weight_ih_l0: lambda = 0.25 by field `lstm`",
        "part.fc.bias: bias",
        "part.fc.weight: lambda = 0.1 by the struct at `part`",
        "part.head.bias: bias",
        "part.head.weight: lambda = 0.5 by field `part.head`",
    ];
    assert_eq!(statuses(&coverage), expected);
    assert_eq!(strangers(&coverage), [""; 0]);
    coverage.strict().unwrap();
    assert!(coverage.to_string().ends_with("12 variables: 4 penalized, 4 unpenalized, 4 skipped, 0 unaccounted for"));
}

#[test]
fn strict_names_every_variable_that_is_left_out() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1)]
        fc: Linear,
        #[l1(opaque)]
        #[expect(dead_code, reason = "nothing runs this model")]
        gru: GRU,
    }
    let varmap = VarMap::new();
    let gru = GRU::new(2, 3, GRUConfig::default_no_bias(), builder(&varmap).pp("gru")).unwrap();
    let net = Net { fc: linear(&varmap, "fc"), gru };
    linear(&varmap, "forgotten");
    // Begins with the name of a field, but is not in it.
    linear(&varmap, "fc2");
    let coverage = net.regularizer().unwrap().coverage(&varmap);
    let error = coverage.strict().unwrap_err();
    let hidden = "no field of the model shows it, and no rule matches it";
    let opaque = "in `gru`, which is opaque, and no rule matches it";
    let expected = format!(
        "6 variables of the VarMap are unaccounted for:\n  fc2.bias: {hidden}\n  fc2.weight: {hidden}\n  \
         forgotten.bias: {hidden}\n  forgotten.weight: {hidden}\n  gru.weight_hh_l0: {opaque}\n  gru.weight_ih_l0: {opaque}\n\
         Visit them in the model, or match them by a rule: `.rule(pattern, ..)` or `.skip(pattern, why)` of \
         `Regularizer::builder()`"
    );
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error, Error::Unaccounted { variables } if variables.len() == 6));
    assert!(coverage.to_string().contains("UNACCOUNTED"));
}

#[test]
fn a_copy_a_view_and_a_frozen_tensor_are_said_to_be_so() {
    #[derive(Regularized)]
    struct Net {
        fc: Linear,
        copied: Linear,
        view: Linear,
        fixed: Linear,
        elsewhere: Linear,
    }
    let varmap = VarMap::new();
    let (original, seen) = (linear(&varmap, "copied"), linear(&varmap, "view"));
    let copied = Var::from_tensor(&original.weight().copy().unwrap()).unwrap();
    let net = Net {
        fc: linear(&varmap, "fc"),
        copied: Linear::new(copied.as_tensor().clone(), original.bias().cloned()),
        view: Linear::new(seen.weight().t().unwrap(), seen.bias().cloned()),
        fixed: Linear::new(frozen((2, 3)), None),
        elsewhere: linear(&VarMap::new(), "elsewhere"),
    };
    let coverage = net.regularizer().unwrap().coverage(&varmap);
    let expected = [
        "copied.weight: another tensor than the VarMap's variable of this name (a copy?)",
        "view.weight: a view of the VarMap's `view.weight`",
        "fixed.weight: frozen: not a variable",
        "elsewhere.weight: a variable, but not of this VarMap",
        "elsewhere.bias: a variable, but not of this VarMap",
    ];
    assert_eq!(strangers(&coverage), expected);
    let left_out: Vec<_> = statuses(&coverage).into_iter().filter(|line| line.contains("unaccounted")).collect();
    let expected = [
        "copied.weight: unaccounted: the model holds another tensor there (a copy?): training this one changes nothing",
        "view.weight: unaccounted: the model holds only a view of it, at `view.weight`",
    ];
    assert_eq!(left_out, expected);
    coverage.strict().unwrap_err();
}

#[test]
fn names_may_differ_since_identity_decides() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1)]
        first: Linear,
        second: Linear,
    }
    let varmap = VarMap::new();
    let shared = linear(&varmap, "encoder.shared");
    let net = Net { first: shared.clone(), second: shared };
    let coverage = net.regularizer().unwrap().coverage(&varmap);
    coverage.strict().unwrap();
    let row = coverage.row("encoder.shared.weight").unwrap();
    assert_eq!(row.paths.iter().map(ToString::to_string).collect::<Vec<_>>(), ["first.weight", "second.weight"]);
    assert!(coverage.to_string().contains("encoder.shared.weight = first.weight = second.weight"));
}

#[test]
fn the_global_scale_is_in_the_penalties_of_the_table() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.5)]
        fc: Linear,
    }
    let varmap = VarMap::new();
    let net = Net { fc: linear(&varmap, "fc") };
    let mut regularizer = net.regularizer().unwrap();
    regularizer.set_scale(0.5).unwrap();
    assert_eq!(statuses(&regularizer.coverage(&varmap))[1], "fc.weight: lambda = 0.25 by field `fc`");
    let json = serde_json::to_value(regularizer.coverage(&varmap)).unwrap();
    assert_eq!(json["variables"][1]["status"]["penalized"]["by"]["field"], "fc");
}

#[test]
fn what_is_opaque_below_a_skip_is_skipped() {
    #[derive(Regularized)]
    struct Encoder {
        #[l1(opaque)]
        #[expect(dead_code, reason = "nothing runs this model")]
        gru: GRU,
    }
    #[derive(Regularized)]
    struct Net {
        #[l1(skip = "pretrained")]
        encoder: Encoder,
    }
    let varmap = VarMap::new();
    let gru = GRU::new(2, 3, GRUConfig::default_no_bias(), builder(&varmap).pp("encoder.gru")).unwrap();
    let net = Net { encoder: Encoder { gru } };
    let line = "skip pretrained by field `encoder`, by name: true";
    let expected = [format!("encoder.gru.weight_hh_l0: {line}"), format!("encoder.gru.weight_ih_l0: {line}")];
    assert_eq!(statuses(&net.regularizer().unwrap().coverage(&varmap)), expected);
    let rule = Regularizer::builder().model(&net).vars(&varmap).rule("*", Penalty::l1(0.1)).build();
    assert!(matches!(rule, Err(Error::Unreached { .. })));
}

#[test]
fn a_field_that_hides_its_tensors_is_found_beside_its_neighbours() {
    #[derive(Regularized)]
    struct Net {
        fc: Linear,
        #[l1(skip = "frozen")]
        gru: GRU,
    }
    let varmap = VarMap::new();
    let gru = || GRU::new(2, 3, GRUConfig::default_no_bias(), builder(&varmap).pp("net.gru")).unwrap();
    let net = Net { fc: linear(&varmap, "net.fc"), gru: gru() };
    let build = || Regularizer::builder().vars(&varmap).rule("*", Penalty::l1(0.1));
    for regularizer in [build().model(&net).build().unwrap(), build().model_at("net", &net).build().unwrap()] {
        assert_eq!(regularizer.penalized().count(), 1);
        let coverage = regularizer.coverage(&varmap);
        coverage.strict().unwrap();
        assert!(matches!(coverage.row("net.gru.weight_hh_l0").unwrap().status, Status::Skipped { by_name: true, .. }));
    }
}

#[test]
fn a_skipped_field_without_a_name_of_its_own_accounts_for_nothing_beside_it() {
    #[derive(Regularized)]
    enum Recurrent {
        Gru(#[l1(skip = "recurrent")] GRU),
    }
    #[derive(Regularized)]
    struct Net {
        #[l1(flatten)]
        recurrent: Recurrent,
        fc: Linear,
    }
    let varmap = VarMap::new();
    let gru = GRU::new(2, 3, GRUConfig::default_no_bias(), builder(&varmap).pp("gru")).unwrap();
    let net = Net { recurrent: Recurrent::Gru(gru), fc: linear(&varmap, "fc") };
    linear(&varmap, "forgotten");
    let coverage = net.regularizer().unwrap().coverage(&varmap);
    let left_out: Vec<_> = coverage.unaccounted().map(|row| row.name.as_str()).collect();
    assert_eq!(left_out, ["forgotten.bias", "forgotten.weight", "gru.weight_hh_l0", "gru.weight_ih_l0"]);
}

#[test]
fn an_empty_varmap_proves_nothing() {
    #[derive(Regularized)]
    struct Net {
        fc: Linear,
    }
    let net = Net { fc: linear(&VarMap::new(), "fc") };
    let coverage = net.regularizer().unwrap().coverage(&VarMap::new());
    assert!(matches!(coverage.strict(), Err(Error::EmptyVarMap)));
}

#[test]
fn a_decay_and_a_strength_of_0_are_told_apart_from_nothing() {
    #[derive(Regularized)]
    struct Net {
        #[l1(decay = 0.25)]
        first: Linear,
        #[l1(lambda = 0)]
        second: Linear,
    }
    let varmap = VarMap::new();
    let net = Net { first: linear(&varmap, "first"), second: linear(&varmap, "second") };
    let coverage = net.regularizer().unwrap().coverage(&varmap);
    assert_eq!(coverage.row("first.weight").unwrap().decay, Some(0.25));
    assert_eq!(statuses(&coverage)[3], "second.weight: λ = 0");
    let table = coverage.to_string();
    assert!(table.contains("– no penalty, decay = 0.25") && table.contains("0 penalized, 4 unpenalized"), "{table}");
}

#[test]
fn rules_by_name_cover_what_no_model_shows() {
    let varmap = VarMap::new();
    GRU::new(2, 3, GRUConfig::default(), builder(&varmap).pp("gru")).unwrap();
    linear(&varmap, "head");
    let by_rules = |rest: &str| {
        let builder = Regularizer::builder().vars(&varmap).rule("gru.*", Penalty::l1(0.5));
        builder.skip(rest, "three weights").build().unwrap().coverage(&varmap)
    };
    let coverage = by_rules("head.*");
    coverage.strict().unwrap();
    let expected = [
        "gru.bias_hh_l0: bias",
        "gru.bias_ih_l0: bias",
        "gru.weight_hh_l0: lambda = 0.5 by rule `gru.*`",
        "gru.weight_ih_l0: lambda = 0.5 by rule `gru.*`",
        "head.bias: skip three weights by rule `head.*`, by name: false",
        "head.weight: skip three weights by rule `head.*`, by name: false",
    ];
    assert_eq!(statuses(&coverage), expected);
    let error = by_rules("head.w*").strict().unwrap_err();
    assert!(matches!(error, Error::Unaccounted { variables } if variables.len() == 1));
}
