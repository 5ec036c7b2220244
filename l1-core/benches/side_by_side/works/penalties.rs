//! The penalty of 16.8 M parameters: its value, and its gradient.

use std::{cell::RefCell, hint::black_box, rc::Rc};

use candle_core::Result;
use l1_core::Regularized;

use super::{Group, LARGE, Model};
use crate::{Against, Work, limits::Arrays, rounds::Contender};

pub(crate) const GROUP: Group =
    Group { keys: &["value", "value_and_gradient_backward", "add_subgradient"], make: works };

fn works() -> Result<Vec<Work>> {
    let model = Rc::new(Model::new(LARGE)?);
    let regularizer = Rc::new(model.regularizer()?);
    let arrays = Rc::new(RefCell::new(Arrays::new(LARGE.0, LARGE.1)));
    let gradients = Rc::new(model.gradients()?);

    let value = {
        let (regularizer, model, arrays) = (regularizer.clone(), model.clone(), arrays.clone());
        Work {
            key: "value",
            title: "penalty value",
            l1: Contender::new(move || {
                black_box(regularizer.value()?);
                Ok(())
            }),
            candle: Some(Contender::new(move || {
                black_box(model.abs()?.to_scalar::<f32>()?);
                Ok(())
            })),
            limit: Some(Contender::new(move || {
                black_box(arrays.borrow().read_w());
                Ok(())
            })),
            against: Against::Limit,
        }
    };
    let backward = {
        let (regularizer, model) = (regularizer.clone(), model.clone());
        Work {
            key: "value_and_gradient_backward",
            title: "value + gradient, penalty() and backward",
            l1: Contender::new(move || {
                black_box(regularizer.penalty()?.backward()?);
                Ok(())
            }),
            candle: Some(Contender::new(move || {
                black_box(model.abs()?.backward()?);
                Ok(())
            })),
            limit: None,
            against: Against::Limit,
        }
    };
    let in_place = Work {
        key: "add_subgradient",
        title: "value + gradient, add_subgradient after backward",
        l1: {
            let model = model.clone();
            Contender::prepared(
                move || model.store(&gradients),
                move |grads| {
                    black_box(regularizer.add_subgradient(grads)?);
                    Ok(())
                },
            )
        },
        candle: Some(Contender::new(move || {
            black_box(model.abs()?.backward()?);
            Ok(())
        })),
        limit: Some(Contender::new(move || {
            arrays.borrow_mut().update_g_from_w();
            Ok(())
        })),
        against: Against::Limit,
    };
    Ok(vec![value, backward, in_place])
}
