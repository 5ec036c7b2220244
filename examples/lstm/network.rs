//! The LSTM, the rules that make it sparse, and its training.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{LSTM, LSTMConfig, Linear, Optimizer, RNN, VarBuilder, VarMap, linear, loss};
use examples::{measure::largest, run, start};
use l1_core::{
    Fista, Grouping, ParamsFista, ParamsProxAdamW, Penalty, ProxAdamW, Regularized, Regularizer, Rule, Stationarity,
};

use crate::series::{LAGS, Questions};

/// Says by how much the number will change.
#[derive(Regularized)]
pub struct Forecaster {
    /// candle keeps its tensors private; rules for their names reach them.
    #[l1(opaque)]
    lstm: LSTM,
    #[l1(l2 = RIDGE)]
    head: Linear,
}

/// Without a charge of their own the head would grow, and what is charged before it shrink, for nothing; and gates that are open or
/// shut would open or shut for ever, slower and slower.
const RIDGE: f64 = 0.003;

impl Forecaster {
    pub fn new(varmap: &VarMap, cells: usize, seed: u64, device: &Device) -> Result<Self> {
        let vb = VarBuilder::from_varmap(varmap, DType::F64, device);
        let lstm = LSTM::new(LAGS, cells, LSTMConfig::default(), vb.pp("lstm"))?;
        let head = linear(cells, 1, vb.pp("head"))?;
        start::draw(varmap, seed)?;
        Ok(Self { lstm, head })
    }

    /// The last rule that matches a name holds: λ on each weight of the state, on each of the lags and on each lag as a whole, and a
    /// ridge on the biases.
    pub fn rules(&self, varmap: &VarMap, lambda: f64) -> l1_core::Result<Regularizer> {
        Regularizer::builder()
            .model(self)
            .vars(varmap)
            .rule("lstm.weight_*", Penalty::l1(lambda))
            .rule("lstm.weight_ih_*", Penalty::l1(lambda).with_group(Grouping::Input).with_element(lambda))
            .rule("lstm.bias_*", Rule::inherit().l2(RIDGE).bias(true))
            .build()
    }

    /// The numbers that are asked for, in the series' units.
    pub fn answer(&self, questions: &Questions) -> candle_core::Result<Tensor> {
        let states = self.lstm.seq(&questions.windows)?;
        let last = states.last().ok_or_else(|| candle_core::Error::Msg("no window was read".to_owned()))?;
        self.head.forward(last.h())? + &questions.before
    }

    fn loss(&self, questions: &Questions) -> candle_core::Result<Tensor> {
        loss::mse(&self.answer(questions)?, &questions.answers)
    }
}

/// What a training starts from, and how long it may take.
#[derive(Clone, Copy)]
pub struct Effort {
    pub seed: u64,
    pub cells: usize,
    /// Of ProxAdamW.
    pub steps: usize,
    /// Of Fista, at most.
    pub iterations: usize,
}

/// A network that was trained.
pub struct Trained {
    pub model: Forecaster,
    pub varmap: VarMap,
    pub regularizer: Regularizer,
}

/// Relative distance from a stationary point at which training ends.
const NEAR: f64 = 1e-2;

impl Trained {
    /// By ProxAdamW on all questions at once, with a learning rate that falls to 0.
    pub fn roughly(effort: Effort, lambda: f64, questions: &Questions) -> Result<Self> {
        const RATE: f64 = 0.02;
        let varmap = VarMap::new();
        let model = Forecaster::new(&varmap, effort.cells, effort.seed, questions.windows.device())?;
        let regularizer = model.rules(&varmap, lambda)?;
        let params = ParamsProxAdamW { lr: RATE, ..ParamsProxAdamW::new(regularizer.clone()) };
        let mut opt = ProxAdamW::new(varmap.all_vars(), params)?;
        let bar = run::progress(effort.steps);
        for step in 0..effort.steps {
            opt.set_learning_rate(run::falling(RATE, step as f64 / effort.steps as f64));
            opt.backward_step(&model.loss(questions)?)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(Self { model, varmap, regularizer })
    }

    /// Then by Fista until the certificate says that this is near enough, or iterations run out.
    pub fn to_the_end(effort: Effort, lambda: f64, questions: &Questions) -> Result<(Self, Stationarity)> {
        // Fista's step only gets shorter: each round begins with a long one again.
        const ROUND: usize = 500;
        let trained = Self::roughly(effort, lambda, questions)?;
        let Self { model, varmap, regularizer } = &trained;
        let bar = run::progress(effort.iterations);
        let loss = || {
            bar.inc(1);
            model.loss(questions)
        };
        let mut left = effort.iterations;
        loop {
            let stationarity = regularizer.stationarity(&loss()?.backward()?)?;
            if left == 0 || stationarity.largest() <= NEAR {
                bar.finish_and_clear();
                return Ok((trained, stationarity));
            }
            let round = left.min(ROUND);
            left -= round;
            // It would say how far it came; the certificate is asked instead.
            let _ = Fista::new(varmap.all_vars(), ParamsFista::new(regularizer.clone(), loss))?.minimize(0.0, round)?;
        }
    }

    /// How many lags are looked at.
    pub fn lags_kept(&self) -> Result<usize> {
        Ok(alive(&self.lag_norms()?))
    }

    /// How many weights the gates keep for the state.
    pub fn state_kept(&self) -> Result<usize> {
        Ok(alive(&self.weights("lstm.weight_hh_l0")?.concat()))
    }

    /// How many weights the LSTM keeps, and how many it has.
    pub fn kept(&self) -> Result<(usize, usize)> {
        let weights =
            [self.weights("lstm.weight_ih_l0")?.concat(), self.weights("lstm.weight_hh_l0")?.concat()].concat();
        Ok((alive(&weights), weights.len()))
    }

    /// What each lag weighs: the norm of its weights.
    fn lag_norms(&self) -> Result<Vec<f64>> {
        let weights = self.weights("lstm.weight_ih_l0")?;
        let norm = |lag: usize| weights.iter().map(|row| row[lag].powi(2)).sum::<f64>().sqrt();
        Ok((0..LAGS).map(norm).collect())
    }

    fn weights(&self, path: &str) -> Result<Vec<Vec<f64>>> {
        Ok(self.regularizer.param(path).context("a rule reaches it")?.tensor().to_vec2()?)
    }

    /// A line for each lag.
    pub fn lags(&self) -> Result<String> {
        let norms = self.lag_norms()?;
        let most = largest(norms.iter().copied());
        let bar = |norm: f64| match norm {
            0.0 => "·".to_owned(),
            norm => format!("{:<20} {norm:.4}", "█".repeat((20.0 * norm / most).ceil() as usize)),
        };
        let line = |(lag, &norm): (usize, &f64)| format!("  {:>2} {}\n", lag + 1, bar(norm));
        Ok(norms.iter().enumerate().map(line).collect())
    }

    /// How many weights each gate keeps: candle has the four of them, one below the other, in one matrix.
    pub fn gates(&self) -> Result<String> {
        let (lags, state) = (self.weights("lstm.weight_ih_l0")?, self.weights("lstm.weight_hh_l0")?);
        let mut table = format!("  {:<12}{:>16}{:>16}\n", "gate", "from the lags", "from the state");
        let cells = state.len() / 4;
        for (gate, name) in ["input", "forget", "cell", "output"].iter().enumerate() {
            let count = |weights: &[Vec<f64>]| {
                let weights = weights[gate * cells..][..cells].concat();
                format!("{} of {}", alive(&weights), weights.len())
            };
            table += &format!("  {name:<12}{:>16}{:>16}\n", count(&lags), count(&state));
        }
        Ok(table)
    }
}

fn alive(numbers: &[f64]) -> usize {
    numbers.iter().filter(|&&number| number != 0.0).count()
}
