//! Groups that a tensor does not have, and steps that a penalty has no prox for.

use candle_core::DType;
use l1_core::{Curve, Error, Grouping, Penalty, kernel};

use super::{CURVES, tensor};

#[test]
fn groups_that_do_not_fit_are_refused_by_every_operation_with_the_shape_and_what_was_expected() {
    let cases: [(Grouping, &[usize], &str); 9] = [
        (Grouping::Dim(2), &[2, 3], "n < 2, the number of its dimensions"),
        (Grouping::Dim(0), &[], "n < 0, the number of its dimensions"),
        (Grouping::Kernel, &[2, 3], "3 dimensions or more, as the weight of a convolution has"),
        (Grouping::Block(2, 2), &[2, 3], "r > 0 that divides the rows, and c > 0 that divides the columns"),
        (Grouping::Block(0, 1), &[2, 3], "r > 0 that divides the rows, and c > 0 that divides the columns"),
        (Grouping::Block(1, 1), &[2, 3, 4], "a matrix"),
        (Grouping::Singular, &[6], "a matrix, or more dimensions: a vector has no singular values"),
        (Grouping::Output, &[2, 3], "dim(n): a tensor by itself has no input and output"),
        (Grouping::Input, &[2, 3], "dim(n): a tensor by itself has no input and output"),
    ];
    for (group, dims, expected) in cases {
        let w = tensor(&vec![1.0; dims.iter().product()], dims, DType::F32);
        for curve in CURVES {
            let penalty = Penalty::l1(0.1).with_curve(curve).with_group(group);
            let errors = [
                ("z", kernel::prox(&w, &penalty, 1.0).unwrap_err()),
                ("z", kernel::prox(&w, &penalty, &w).unwrap_err()),
                ("w", kernel::value(&w, &penalty).unwrap_err()),
                ("w", kernel::subgradient(&w, &penalty).unwrap_err()),
            ];
            for (argument, error) in errors {
                let said = format!(
                    "{argument}: group = {group} does not fit shape {dims:?} (expected {expected}). Choose other groups for it, \
                     or `lambda = 0`"
                );
                assert_eq!(error.to_string(), said);
                let Error::Grouping { group: by, shape, .. } = error else { panic!("another error: {error:?}") };
                assert_eq!((by, shape.dims()), (group, dims));
            }
            // Without a strength nothing is grouped.
            assert!(kernel::prox(&w, &penalty.with_lambda(0.0), 1.0).is_ok(), "{penalty}");
        }
    }
}

#[test]
fn singular_values_with_a_step_for_each_entry_are_refused() {
    let w = tensor(&[1.0; 6], &[2, 3], DType::F64);
    let penalty = Penalty::l1(0.1).with_group(Grouping::Singular);
    let error = kernel::prox(&w, &penalty, &w).unwrap_err();
    assert!(matches!(error, Error::Grouping { group: Grouping::Singular, .. }));
    assert_eq!(
        error.to_string(),
        "z: group = singular does not fit shape [2, 3] (expected one step for the whole tensor). Choose other groups for it, or \
         `lambda = 0`"
    );
    assert!(kernel::prox(&w, &penalty, 1.0).is_ok());
}

#[test]
fn a_matrix_that_is_not_finite_has_no_singular_values_and_says_where() {
    let penalty = Penalty::l1(0.1).with_group(Grouping::Singular);
    for bad in [f64::NAN, f64::INFINITY] {
        let w = tensor(&[1.0, 2.0, 3.0, bad], &[2, 2], DType::F32);
        let error = kernel::prox(&w, &penalty, 1.0).unwrap_err();
        assert!(matches!(error, Error::SingularValues { .. }), "{error:?}");
        assert!(
            error.to_string().contains(&format!(": it holds {bad} at flat index 3 (expected finite entries")),
            "{error}"
        );
        assert!(kernel::value(&w, &penalty).unwrap().is_nan());
    }
}

#[test]
fn numbers_out_of_their_range_are_refused() {
    let w = tensor(&[1.0; 6], &[2, 3], DType::F64);
    let cases = [
        (Penalty::l1(0.1).with_curve(Curve::Mcp(1.0)), "curve = 1 (expected γ finite and > 1 in mcp(γ))"),
        (Penalty::l1(0.1).with_curve(Curve::Scad(f64::NAN)), "curve = NaN (expected γ finite and > 2 in scad(γ))"),
        (Penalty::l1(0.1).with_curve(Curve::Log(0.0)), "curve = 0 (expected ε finite and > 0 in log(ε))"),
        (Penalty::l1(0.1).with_group(Grouping::Dim(0)).with_element(-1.0), "element = -1 (expected finite and ≥ 0)"),
        (
            Penalty::l1(0.1).with_group(Grouping::Singular).with_element(0.1),
            "element = 0.1 (expected 0 beside group = singular: a matrix is held small in its singular values or in its entries)",
        ),
        (
            Penalty::l1(0.1).with_group(Grouping::Singular).with_positive(true),
            "positive = 1 (expected false beside group = singular: there is no prox of both)",
        ),
    ];
    for (penalty, expected) in cases {
        assert_eq!(kernel::prox(&w, &penalty, 1.0).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_slope_beyond_f32_is_refused_for_f32_alone() {
    let penalty = Penalty::l1(1.0).with_curve(Curve::Log(1e-40));
    let refused = kernel::prox(&tensor(&[1.0], &[1], DType::F32), &penalty, 1.0).unwrap_err();
    assert!(refused.to_string().contains("the largest f32"), "{refused}");
    assert!(kernel::prox(&tensor(&[1.0], &[1], DType::F64), &penalty, 1.0).is_ok());
}
