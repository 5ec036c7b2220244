//! The mistakes that regularizers pass over in silence, one by one: what happens in plain candle, and what l1 says.

mod declared;
mod files;
mod gradients;
mod half;
mod left_out;
mod twice;

use std::fmt::Display;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use clap::Parser;
use examples::run::Options;

/// Mistakes that pass unnoticed elsewhere, and what l1 says to each
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut folder = args.options.folder("guards")?;
    let device = args.options.device.device()?;
    println!("Twelve mistakes. What stands behind \"l1:\" is what a user sees, word for word.");
    left_out::forgotten_layer(&device)?;
    left_out::misspelt_rule(&device)?;
    left_out::copied_layer(&device)?;
    declared::penalty_on_a_norm(&device)?;
    declared::tied_layers(&device)?;
    gradients::starved_layer(&device, args.options.quick)?;
    gradients::unused_layer(&device)?;
    gradients::not_a_number(&device)?;
    twice::in_the_loss_and_in_the_step(&device)?;
    twice::no_gradient_in_the_loss(&device)?;
    half::lost_threshold(&device)?;
    files::changed_declaration(&device, &mut folder)?;
    println!("\n{}", folder.summary());
    Ok(())
}

/// What a mistake is called.
fn mistake(number: usize, title: &str) {
    println!("\n== {number}. {title}\n");
}

/// What l1 says, set apart; long lines are broken between words.
fn says(what: impl Display) {
    const WIDTH: usize = 110;
    let mut start = "l1: ";
    for line in what.to_string().lines() {
        let margin = &line[..line.len() - line.trim_start().len()];
        let mut shown = String::new();
        for word in line.split_whitespace().filter(|_| !is_table(line)) {
            if !shown.is_empty() && shown.chars().count() + word.chars().count() >= WIDTH {
                println!("{start}{margin}{shown}");
                (start, shown) = ("    ", String::new());
            }
            shown += if shown.is_empty() { "" } else { " " };
            shown += word;
        }
        println!("{start}{margin}{}", if is_table(line) { line } else { &shown });
        start = "    ";
    }
}

fn is_table(line: &str) -> bool {
    line.starts_with(['┌', '│', '╞', '└'])
}

/// The error of something that must not succeed.
fn refused<T, E: Display>(outcome: Result<T, E>) -> Result<String> {
    match outcome {
        Ok(_) => anyhow::bail!("this was to be refused"),
        Err(error) => Ok(error.to_string()),
    }
}

fn builder(varmap: &VarMap, dtype: DType, device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_varmap(varmap, dtype, device)
}

/// Inputs and targets of which the second follows from the first: 64 rows of `features`, and twice the first of them.
fn data(features: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    // Of squares: sines of equal steps would be columns that follow from each other.
    let numbers = Tensor::arange(0f32, (64 * features) as f32, device)?;
    let x = (numbers.sqr()? * 0.1)?.sin()?.reshape((64, features))?;
    let y = (x.narrow(1, 0, 1)? * 2.0)?;
    Ok((x, y))
}
