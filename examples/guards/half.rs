//! Half precision: steps that are rounded away.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use candle_core::{DType, Device, Module};
use candle_nn::{Linear, Optimizer, VarMap, linear_no_bias, loss};
use examples::start;
use l1_core::{ParamsProxSgd, ProxSgd, Regularized};

use crate::{builder, data, mistake, says};

#[derive(Regularized)]
struct Net {
    #[l1(lambda = 0.01)]
    fc: Linear,
}

pub(crate) fn lost_threshold(device: &Device) -> Result<()> {
    mistake(11, "A λ that is too small for bf16");
    let (x, y) = data(6, device)?;
    let (x, y) = (x.to_dtype(DType::BF16)?, y.to_dtype(DType::BF16)?);
    println!(
        "lr·λ is less than half of the last digit of every weight: what the penalty takes off is rounded back on."
    );
    for master_weights in [false, true] {
        let varmap = VarMap::new();
        let net = Net { fc: linear_no_bias(6, 1, builder(&varmap, DType::BF16, device).pp("fc"))? };
        start::draw(&varmap, 0)?;
        let params = ParamsProxSgd { lr: 0.005, master_weights, ..ParamsProxSgd::new(net.regularizer()?) };
        let warnings = Arc::new(Lines::default());
        let zeros = tracing::subscriber::with_default(subscriber(warnings.clone()), || -> Result<usize> {
            let mut opt = ProxSgd::new(varmap.all_vars(), params)?;
            for _ in 0..4000 {
                opt.backward_step(&loss::mse(&net.fc.forward(&x)?, &y)?)?;
            }
            Ok(opt.regularizer().report()?.totals.penalized_zeros)
        })?;
        warnings.take().iter().for_each(says);
        println!("master_weights: {master_weights:<5}  {zeros} of 6 weights are zero after 4000 steps");
    }
    Ok(())
}

/// Writes warnings as a program's log would.
fn subscriber(lines: Arc<Lines>) -> impl tracing::Subscriber {
    tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(lines).finish()
}

/// Lines of a log, kept.
#[derive(Default)]
struct Lines(Mutex<Vec<u8>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&bytes).lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl std::io::Write for &Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
