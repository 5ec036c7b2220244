//! A sample of every error, in the order of the page: a program that gets it, and then, where a few lines do, one that is mended.
//!
//! The page shows what stands between `// ANCHOR: Variant` and `// ANCHOR_END: Variant` (mdbook's words). It runs here, so it
//! does mend what it says it mends. A new variant needs a function in one of these files and its name in `STAGES`.

use anyhow::{Context, bail};
use candle_core::{DType, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, VarMap};
use l1_core::{Error, Regularized};
use tests::device;

mod budgets;
mod by_hand;
mod certificates;
mod checkpoints;
mod collecting;
mod fista;
mod in_the_loss;
mod linear_paths;
mod names;
mod operations;
mod optimizers;
mod paths;
mod schedules;
mod steps;

/// Errors that come at one time.
pub struct Stage {
    pub when: &'static str,
    /// Where the code that mends them stands.
    source: &'static str,
    samples: &'static [fn() -> anyhow::Result<Error>],
}

/// From the first line of a program to its last.
pub const STAGES: [Stage; 13] = [
    Stage {
        when: "While a model is collected",
        source: include_str!("collecting.rs"),
        samples: &[
            collecting::invalid_value,
            collecting::unreached,
            collecting::unused_role,
            collecting::duplicate_path,
            collecting::conflicting_rules,
            collecting::grouping,
            by_hand::two_devices,
            collecting::empty_model,
            collecting::nothing_traced,
        ],
    },
    Stage {
        when: "Rules for names, and coverage",
        source: include_str!("names.rs"),
        samples: &[names::invalid_pattern, names::nothing_matches, names::unaccounted, names::empty_var_map],
    },
    Stage {
        when: "The penalty in the loss",
        source: include_str!("in_the_loss.rs"),
        samples: &[in_the_loss::nothing_penalized, in_the_loss::not_in_loss, in_the_loss::decay_unused],
    },
    Stage {
        when: "While an optimizer is made",
        source: include_str!("optimizers.rs"),
        samples: &[
            optimizers::foreign_variables,
            optimizers::unknown_field,
            optimizers::invalid_parameter,
            optimizers::unsupported_dtype,
            optimizers::half_precision,
        ],
    },
    Stage {
        when: "In a training step",
        source: include_str!("steps.rs"),
        samples: &[
            steps::missing_gradient,
            steps::norm_without_backward,
            steps::charged_twice,
            steps::non_finite_gradient,
            steps::non_finite_norm,
            steps::gradient_shape,
            steps::gradient_dtype,
            by_hand::gradient_device,
            steps::not_recorded,
        ],
    },
    Stage {
        when: "λ that changes while training",
        source: include_str!("schedules.rs"),
        samples: &[
            schedules::invalid_schedule,
            schedules::two_schedules,
            schedules::follows_schedule,
            schedules::schedule_unused,
            schedules::support_of_singular_values,
        ],
    },
    Stage {
        when: "In `Fista`",
        source: include_str!("fista.rs"),
        samples: &[fista::loss_shape, fista::non_finite_loss, fista::no_step],
    },
    Stage {
        when: "Certificates",
        source: include_str!("certificates.rs"),
        samples: &[
            certificates::nothing_to_certify,
            certificates::not_stationary,
            certificates::zeros_leave,
            certificates::no_duality_gap,
        ],
    },
    Stage {
        when: "Paths, cross-validation, stability selection",
        source: include_str!("paths.rs"),
        samples: &[
            paths::invalid_grid,
            paths::invalid_path,
            paths::no_descent,
            paths::never_empty,
            paths::non_finite_point,
            paths::path,
            paths::no_such_point,
            paths::invalid_folds,
            paths::in_fold,
            paths::invalid_stability,
            paths::in_subsample,
            paths::no_bound,
        ],
    },
    Stage { when: "Linear paths", source: include_str!("linear_paths.rs"), samples: &[linear_paths::no_linear_path] },
    Stage {
        when: "Budgets",
        source: include_str!("budgets.rs"),
        samples: &[budgets::invalid_budget, budgets::budget_unreached, budgets::invalid_note],
    },
    Stage {
        when: "Checkpoints",
        source: include_str!("checkpoints.rs"),
        samples: &[
            checkpoints::checkpoint_io,
            checkpoints::not_a_checkpoint,
            checkpoints::checkpoint_mismatch,
            checkpoints::changed_declarations,
            checkpoints::not_in_var_map,
            checkpoints::reserved_name,
        ],
    },
    Stage {
        when: "Single operations, and candle's own",
        source: include_str!("operations.rs"),
        samples: &[operations::shape_mismatch, operations::singular_values, operations::picture, operations::candle],
    },
];

/// One error, as a program has got it.
pub struct Sample {
    pub variant: String,
    pub error: Error,
    /// Lines that mend it.
    pub mended: Option<String>,
}

impl Stage {
    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        self.samples.iter().map(|sample| {
            let error = sample().expect("a sample runs");
            let variant = variant(&error);
            let mended = anchored(self.source, &variant);
            Sample { variant, error, mended }
        })
    }

    /// The variants that code mends.
    pub fn anchors(&self) -> impl Iterator<Item = &str> {
        self.source.lines().filter_map(|line| line.trim().strip_prefix("// ANCHOR: "))
    }
}

/// What `Debug` begins with.
fn variant(error: &Error) -> String {
    format!("{error:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// The lines of an anchor, moved to the left as far as the first of them goes.
fn anchored(source: &str, name: &str) -> Option<String> {
    let (begin, end) = (format!("// ANCHOR: {name}"), format!("// ANCHOR_END: {name}"));
    let mut lines = source.lines().skip_while(|line| line.trim() != begin).skip(1).peekable();
    let margin = lines.peek()?.len() - lines.peek()?.trim_start().len();
    let mut shown = Vec::new();
    for line in lines {
        if line.trim() == end {
            return Some(shown.join("\n"));
        }
        shown.push(line.get(margin..).unwrap_or_default());
    }
    panic!("`{begin}` has no `{end}`")
}

/// The error of what is to be refused.
fn refused<T, E>(outcome: std::result::Result<T, E>) -> anyhow::Result<Error>
where
    Error: From<E>,
{
    match outcome {
        Ok(_) => bail!("this was not refused"),
        Err(error) => Ok(error.into()),
    }
}

/// The model of samples that need no other.
#[derive(Regularized)]
struct Net {
    #[l1(lambda = 0.01)]
    fc: Linear,
}

impl Net {
    fn new(varmap: &VarMap) -> Result<Self> {
        Ok(Self { fc: candle_nn::linear(3, 2, builder(varmap).pp("fc"))? })
    }

    /// At two examples of three features.
    fn loss(&self) -> Result<Tensor> {
        self.fc.forward(&inputs()?)?.sqr()?.mean_all()
    }
}

fn inputs() -> Result<Tensor> {
    Tensor::new(&[[1f32, -2.0, 3.0], [0.5, 1.0, -1.0]], &device())
}

fn builder(varmap: &VarMap) -> VarBuilder<'static> {
    VarBuilder::from_varmap(varmap, DType::F32, &device())
}

/// A variable by its name.
fn var(varmap: &VarMap, name: &str) -> anyhow::Result<candle_core::Var> {
    varmap.data().lock().unwrap().get(name).cloned().context("no variable of this name")
}
