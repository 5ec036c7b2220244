//! The report, as a person and as a program read it.

use candle_core::{DType, Var};
use candle_nn::{LSTM, LayerNorm, Linear, VarBuilder, VarMap, layer_norm, linear};
use l1_core::{Regularized, Rule};
use tests::device;

use crate::models::Single;

#[derive(Regularized)]
#[l1(lambda = 0.1)]
struct Model {
    fc1: Linear,
    #[l1(l2 = 0.25, positive)]
    fc2: Linear,
    norm: LayerNorm,
    tied: Linear,
    #[l1(decay = 0.5)]
    decayed: Linear,
    #[l1(skip = "pretrained")]
    head: Linear,
    #[l1(opaque)]
    #[allow(dead_code)]
    lstm: LSTM,
}

fn model() -> Model {
    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F32, &device());
    let fc1 = linear(3, 3, vb.pp("fc1")).unwrap();
    let tied = Linear::new(fc1.weight().clone(), None);
    let model = Model {
        fc1,
        fc2: linear(3, 2, vb.pp("fc2")).unwrap(),
        norm: layer_norm(2, 1e-5, vb.pp("norm")).unwrap(),
        tied,
        decayed: linear(1, 2, vb.pp("decayed")).unwrap(),
        head: linear(2, 1, vb.pp("head")).unwrap(),
        lstm: candle_nn::lstm(1, 1, Default::default(), vb.pp("lstm")).unwrap(),
    };
    let data = varmap.data().lock().unwrap();
    for (name, var) in data.iter() {
        let count = var.elem_count();
        // fc1.weight gets zeros at every third place.
        let values: Vec<f32> = (0..count).map(|i| if name == "fc1.weight" && i % 3 == 0 { 0.0 } else { 0.5 }).collect();
        var.set(&candle_core::Tensor::from_vec(values, var.shape(), &device()).unwrap()).unwrap();
    }
    drop(data);
    model
}

#[test]
fn every_parameter_has_its_row_with_the_decision_and_its_reason() {
    let mut regularizer = model().regularizer().unwrap();
    regularizer.set_scale(3.0).unwrap();
    let table = regularizer.report().unwrap().to_string();
    for line in [
        "fc1.weight = tied.weight 3×3 weight penalized 0.3 3 33.3 % 3.0000",
        "fc1.bias 3 bias – bias 0 0.0 % 1.5000",
        "fc2.weight 2×3 weight penalized, l2 = 0.75, ≥ 0 0.3 0 0.0 % 3.0000",
        "norm.weight 2 norm – norm 0 0.0 % 1.0000",
        "decayed.weight 2×1 weight penalized, decay = 0.5 0.3 0 0.0 % 1.0000",
        "decayed.bias 2 bias – bias 0 0.0 % 1.0000",
        "head.weight 1×2 weight – skipped: pretrained 0 0.0 % 1.0000",
        "lstm – opaque: not looked into",
        "17 of 31 entries penalized, 3 of them exactly zero (17.6 %); penalty 2.662500; scale 3",
    ] {
        assert!(has_line(&table, line), "{line}\nis not in\n{table}");
    }
}

fn has_line(table: &str, line: &str) -> bool {
    let squeezed =
        |text: &str| text.split([' ', '│', '┆']).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" ");
    table.lines().any(|found| squeezed(found) == line)
}

#[test]
fn a_decay_stands_beside_the_decision_whatever_that_is() {
    #[derive(Regularized)]
    struct Decayed {
        #[l1(decay = 0.01)]
        alone: Linear,
        #[l1(lambda = 0, decay = 0.01)]
        free: Linear,
        #[l1(lambda = 0.1, l2 = 0.25, decay = 0)]
        penalized: Linear,
    }
    let layer = || Linear::new(Var::ones((2, 2), DType::F32, &device()).unwrap().into_inner(), None);
    let report = Decayed { alone: layer(), free: layer(), penalized: layer() }.regularizer().unwrap().report().unwrap();
    let table = report.to_string();
    for line in [
        "alone.weight 2×2 weight – no penalty, decay = 0.01 0 0.0 % 4.0000",
        "free.weight 2×2 weight – λ = 0, decay = 0.01 0 0.0 % 4.0000",
        "penalized.weight 2×2 weight penalized, l2 = 0.25, decay = 0 0.1 0 0.0 % 4.0000",
    ] {
        assert!(has_line(&table, line), "{line}\nis not in\n{table}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["totals"]["decayed_entries"], 8);
    assert_eq!(json["parameters"][0]["decay"], 0.01);
    assert_eq!(json["parameters"][2]["decay"], 0.0);
}

#[test]
fn a_model_that_is_only_decayed_says_how_much_of_it() {
    let model = Single::new(&[1.0, 0.0], DType::F32, Rule::inherit().decay(0.1));
    let report = model.regularizer().unwrap().report().unwrap().to_string();
    assert!(report.ends_with("2 of 2 entries decayed, none penalized; 1 of all are exactly zero"), "{report}");
}

#[test]
fn through_serde_it_is_json() {
    let report = model().regularizer().unwrap().report().unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        json["parameters"][0],
        serde_json::json!({
            "path": "fc1.weight",
            "aliases": ["tied.weight"],
            "shape": [3, 3],
            "dtype": "f32",
            "role": {"weight": {"output": 0, "input": 1}},
            "decision": {"penalized": {
                "lambda": 0.1, "curve": "l1", "group": "element", "unscaled": false, "l2": 0.0, "element": 0.0, "positive": false,
            }},
            "support_is_frozen": false,
            "decay": null,
            "entries": 9,
            "zeros": 3,
            "share_of_zeros": 1.0 / 3.0,
            "groups": null,
            "l1_norm": 3.0,
        })
    );
    assert_eq!(json["parameters"][1]["decision"], serde_json::json!({"unpenalized": "bias"}));
    assert_eq!(json["unvisited"], serde_json::json!([{"path": "lstm", "reason": "opaque: not looked into"}]));
    assert_eq!(json["totals"]["penalized_zeros"], 3);
    assert_eq!(json["scale"], 1.0);
}

#[test]
fn a_row_is_found_by_its_path() {
    let report = model().regularizer().unwrap().report().unwrap();
    assert_eq!(report.row("fc2.weight").unwrap().entries, 6);
    assert!(report.row("fc3.weight").is_none());
}
