//! One storage in several places: the same rule counts once, two different rules are refused with both paths.

use candle_core::Tensor;
use candle_nn::Linear;
use l1_core::{Error, Penalty, Regularized, Regularizer};

use crate::given::{linear_no_bias, var};

#[derive(Regularized)]
struct Critic {
    #[l1(lambda = 0.5)]
    encoder: Linear,
    value: Linear,
}

#[derive(Regularized)]
struct Actor {
    #[l1(lambda = 0.25)]
    encoder: Linear,
    #[l1(lambda = 0.25)]
    action: Linear,
}

fn models(encoder: &Linear) -> (Actor, Critic) {
    let actor = Actor { encoder: encoder.clone(), action: linear_no_bias() };
    (actor, Critic { encoder: encoder.clone(), value: linear_no_bias() })
}

#[test]
fn two_models_that_share_a_layer_under_two_rules_are_refused_with_both_paths() {
    let encoder = linear_no_bias();
    let (actor, critic) = models(&encoder);
    let message = |error: Error| error.to_string();
    let of_a_tuple = Regularizer::new(&(&actor, &critic)).map_err(message).unwrap_err();
    assert_eq!(
        of_a_tuple,
        "0.encoder.weight and 1.encoder.weight are one tensor under two rules: 0.encoder.weight is penalized \
         (lambda = 0.25), 1.encoder.weight is penalized (lambda = 0.5). Declare the same rule on both, or a rule on one of \
         them only"
    );
    let named = Regularizer::builder().model_at("actor", &actor).model_at("critic", &critic).build();
    let of_a_builder = named.map_err(message).unwrap_err();
    let both = "actor.encoder.weight and critic.encoder.weight are one tensor under two rules";
    assert!(of_a_builder.starts_with(both), "{of_a_builder}");
}

#[test]
fn two_models_that_share_a_layer_under_the_same_rule_charge_it_once() {
    #[derive(Regularized)]
    struct Target {
        encoder: Linear,
        #[l1(lambda = 0.25)]
        action: Linear,
    }
    let encoder = linear_no_bias();
    let (actor, _) = models(&encoder);
    let twin = Actor { encoder: encoder.clone(), action: actor.action.clone() };
    let target = Target { encoder, action: actor.action.clone() };
    let entries = 12.0; // two layers of 2 × 3 ones
    for regularizer in [
        Regularizer::new(&(&actor, &twin)).unwrap(),
        Regularizer::builder().model(&actor).model_at("twin", &twin).build().unwrap(),
        // Nothing declared at one place yields to the declaration at the other, in either order.
        Regularizer::builder().model_at("target", &target).model(&actor).build().unwrap(),
        Regularizer::builder().model(&actor).model_at("target", &target).build().unwrap(),
    ] {
        assert_eq!(regularizer.params().len(), 2);
        assert_eq!(regularizer.value().unwrap(), 0.25 * entries);
    }
}

#[test]
fn two_models_with_the_same_paths_need_places_of_their_own() {
    let (actor, _) = models(&linear_no_bias());
    let (other, _) = models(&linear_no_bias());
    let error = Regularizer::builder().model(&actor).model(&other).build().unwrap_err();
    assert!(matches!(error, Error::DuplicatePath { path } if path == "encoder.weight"));
}

#[test]
fn rules_are_compared_after_scales_and_dimensions_are_settled() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.5, group = output, scale = 0.5)]
        first: Linear,
        #[l1(lambda = 0.25, group = dim(0))]
        second: Linear,
        #[l1(lambda = 0.25, group = dim(1))]
        third: Option<Linear>,
    }
    let weight = var((2, 3));
    let linear = |weight: &Tensor| Linear::new(weight.clone(), None);
    let net = Net { first: linear(&weight), second: linear(&weight), third: None };
    assert_eq!(net.regularizer().unwrap().penalized().count(), 1);
    let net = Net { third: Some(linear(&weight)), ..net };
    assert!(matches!(net.regularizer(), Err(Error::ConflictingRules { .. })));
}

#[test]
fn a_skip_and_a_penalty_on_one_storage_are_a_conflict() {
    #[derive(Regularized)]
    struct Net {
        #[l1(skip)]
        first: Linear,
        #[l1(lambda = 0.25)]
        second: Linear,
    }
    let shared = linear_no_bias();
    let net = Net { first: shared.clone(), second: shared };
    assert!(matches!(net.regularizer(), Err(Error::ConflictingRules { .. })));
    let forced = Regularizer::builder().model(&net).rule("first.*", Penalty::l1(1.0)).force().build().unwrap();
    assert_eq!(forced.value().unwrap(), 6.0);
}
