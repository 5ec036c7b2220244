//! Marks among gradients: they say whose penalty the gradients hold already.
//!
//! A mark is a scalar variable that stands in the penalty's graph beside the weights, so that `backward` leaves an entry for it. It
//! lives among the gradients themselves because nothing else goes with them from a loss to an optimizer. All Regularizers of a
//! model find the same mark by the identity of the parameter.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, DType, Layout, MetalStorage, Shape, Tensor, TensorId, Var,
    backend::BackendStorage, backprop::GradStore,
};

use crate::{Error, Param, Result};

/// The mark of one parameter.
pub(crate) struct Mark {
    parameter: TensorId,
    /// Made when the parameter is charged for the first time: without one in a loss there is nothing to be found.
    variable: OnceLock<Var>,
}

/// The marks in use. An entry goes when the last holder of its mark is gone: Regularizers, graphs, and gradients with the mark in
/// them.
fn marks() -> MutexGuard<'static, HashMap<TensorId, Weak<Mark>>> {
    static MARKS: OnceLock<Mutex<HashMap<TensorId, Weak<Mark>>>> = OnceLock::new();
    MARKS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mark {
    /// The one mark of a parameter.
    pub(crate) fn of(parameter: &Tensor) -> Arc<Self> {
        let mut marks = marks();
        if let Some(mark) = marks.get(&parameter.id()).and_then(Weak::upgrade) {
            return mark;
        }
        let mark = Arc::new(Self { parameter: parameter.id(), variable: OnceLock::new() });
        marks.insert(mark.parameter, Arc::downgrade(&mark));
        mark
    }

    /// The variable, in the dtype of the parameter's penalty and on its device.
    pub(crate) fn variable(&self, parameter: &Tensor) -> Result<&Var> {
        if let Some(variable) = self.variable.get() {
            return Ok(variable);
        }
        let dtype = if parameter.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        // −0: what it is added to keeps its bits, those of ±0 too.
        let variable = Var::from_tensor(&Tensor::new(-0f32, parameter.device())?.to_dtype(dtype)?)?;
        Ok(self.variable.get_or_init(|| variable))
    }

    /// The mark as a part of a graph that keeps it in use.
    pub(crate) fn node(self: &Arc<Self>, variable: &Tensor) -> candle_core::Result<Tensor> {
        variable.apply_op1(Node(self.clone()))
    }

    /// Whether gradients hold the penalty of the mark's parameter. Allocates nothing.
    pub(crate) fn is_in(&self, grads: &GradStore) -> bool {
        self.variable.get().is_some_and(|variable| grads.get(variable).is_some())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut marks = marks();
        // Another thread may have made a new mark since the last holder of this one let go.
        if marks.get(&self.parameter).is_some_and(|mark| mark.strong_count() == 0) {
            marks.remove(&self.parameter);
        }
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mark").field("used", &self.variable.get().is_some()).finish_non_exhaustive()
    }
}

/// Hands the mark's number on. As an operation of a tensor, be it a gradient, it holds the mark.
struct Node(Arc<Mark>);

impl CustomOp1 for Node {
    fn name(&self) -> &'static str {
        "l1-mark"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    fn metal_fwd(&self, storage: &MetalStorage, layout: &Layout) -> candle_core::Result<(MetalStorage, Shape)> {
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(&self, variable: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        self.0.node(variable).map(Some)
    }
}

impl Param {
    /// Refuses gradients that hold this parameter's penalty already.
    pub(crate) fn refuse_charged(&self, grads: &GradStore) -> Result<()> {
        match &self.mark {
            Some(mark) if mark.is_in(grads) => Err(Error::ChargedTwice { path: self.path.clone() }),
            _ => Ok(()),
        }
    }

    /// Marks gradients that hold this parameter's penalty from now on.
    pub(crate) fn mark_charged(&self, grads: &mut GradStore) -> Result<()> {
        if let Some(mark) = &self.mark {
            let variable = mark.variable(&self.tensor)?;
            grads.insert(variable, mark.node(variable)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{Penalty, Regularized, Rule, Visitor, kernel::composed};

    /// Two penalized weights and one that is not.
    struct Model(Var, Var, Var);

    impl Model {
        fn new() -> candle_core::Result<Self> {
            let var = |value: f64| Var::new(&[value, -value], &Device::Cpu);
            Ok(Self(var(1.0)?, var(2.0)?, var(3.0)?))
        }
    }

    impl Regularized for Model {
        fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
            visitor.field("a", Rule::l1(0.5), &self.0)?;
            visitor.field("b", Rule::l1(0.5), &self.1)?;
            visitor.field("c", Rule::inherit(), &self.2)
        }
    }

    fn is_known(parameter: &Tensor) -> bool {
        marks().contains_key(&parameter.id())
    }

    #[test]
    fn regularizers_of_one_model_share_its_marks_and_take_them_with_them() -> Result<()> {
        let model = Model::new()?;
        let (first, second) = (model.regularizer()?, model.regularizer()?.clone());
        for (one, other) in first.params().iter().zip(second.params()) {
            assert_eq!(one.mark.as_ref().map(Arc::as_ptr), other.mark.as_ref().map(Arc::as_ptr));
        }
        drop(first);
        assert!(is_known(&model.0) && !is_known(&model.2), "what nothing is charged for needs no mark");
        drop(second);
        assert!(!is_known(&model.0));
        Ok(())
    }

    #[test]
    fn a_graph_keeps_the_marks_of_its_penalty_and_so_do_its_gradients_and_nothing_else() -> Result<()> {
        let model = Model::new()?;
        let penalty = model.penalty()?;
        assert!(is_known(&model.0) && is_known(&model.1) && !is_known(&model.2));
        let grads = penalty.backward()?;
        drop(penalty);
        assert!(is_known(&model.0) && is_known(&model.1));
        let regularizer = model.regularizer()?;
        let param = &regularizer.params()[0];
        assert!(matches!(param.refuse_charged(&grads), Err(Error::ChargedTwice { path }) if path == "a"));
        drop((grads, regularizer));
        assert!(!is_known(&model.0) && !is_known(&model.1));
        Ok(())
    }

    #[test]
    fn gradients_with_an_added_subgradient_keep_the_marks_too() -> Result<()> {
        let model = Model::new()?;
        let grads = (model.0.sqr()?.sum_all()? + model.1.sum_all()?)?.backward()?;
        let grads = model.regularizer()?.add_subgradient(grads)?;
        assert!(is_known(&model.0) && !is_known(&model.2));
        assert!(model.regularizer()?.params()[1].refuse_charged(&grads).is_err());
        drop(grads);
        assert!(!is_known(&model.0));
        Ok(())
    }

    #[test]
    fn a_penalty_that_fails_or_is_never_differentiated_leaves_no_mark() -> Result<()> {
        let model = Model::new()?;
        drop(model.penalty()?);
        assert!(!is_known(&model.0));
        let mut regularizer = model.regularizer()?;
        regularizer.set_scale(0.0)?;
        let grads = regularizer.penalty()?.backward()?;
        assert!(regularizer.params()[0].refuse_charged(&grads).is_ok());
        Ok(())
    }

    #[test]
    fn threads_that_come_and_go_find_one_mark_and_leave_none() -> Result<()> {
        let parameter = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let (one, other) = (Mark::of(&parameter), Mark::of(&parameter));
                        assert!(Arc::ptr_eq(&one, &other));
                    }
                });
            }
        });
        assert!(!is_known(&parameter));
        Ok(())
    }

    #[test]
    fn a_mark_that_goes_late_leaves_its_successor() -> Result<()> {
        let parameter = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
        // As if another thread had come between the last holder and the lock.
        let late = Mark::of(&parameter);
        marks().remove(&parameter.id());
        let successor = Mark::of(&parameter);
        drop(late);
        assert!(Arc::ptr_eq(&successor, &Mark::of(&parameter)));
        Ok(())
    }

    #[test]
    fn in_candles_operations_a_mark_changes_no_bit_of_value_and_gradient() -> Result<()> {
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            for values in [[1.5, -2.0], [0.0, -0.0], [f64::NAN, 1.0], [f64::INFINITY, -1e-300]] {
                let w = Var::from_tensor(&Tensor::new(&values, &Device::Cpu)?.to_dtype(dtype)?)?;
                let mark = Mark::of(&w);
                for sum_dtype in [DType::F32, DType::F64] {
                    let term = composed::penalty(&w, &Penalty::l1(0.5).with_l2(0.1), sum_dtype)?;
                    let negative = (&term * -1.0)?; // −0 where the term is 0
                    for term in [term, negative] {
                        let marked = composed::marked(&term, &mark, &w)?;
                        let numbers = |tensor: &Tensor| -> Result<Vec<u64>> {
                            Ok(crate::kernel::distance::wide(tensor)?.into_iter().map(f64::to_bits).collect())
                        };
                        assert_eq!(numbers(&marked)?, numbers(&term)?);
                        let (with, without) = (marked.backward()?, term.backward()?);
                        let gradient = |grads: &GradStore| grads.get(&w).map(numbers).transpose();
                        assert_eq!(gradient(&with)?, gradient(&without)?);
                        assert!(mark.is_in(&with) && !mark.is_in(&without));
                    }
                }
            }
        }
        Ok(())
    }
}
