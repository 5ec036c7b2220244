//! Which optimizer solves which problem? One problem by every optimizer, every penalty by four, and what weight decay and minibatches do
//! to the ends.

mod disturbed;
mod ends;
mod penalties;

use anyhow::Result;
use clap::Parser;
use examples::run::{self, Options};

/// One problem by every optimizer, every penalty by four, and where each ends
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Of the initial weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps of each on the first problem; half as many on the others [default: 4000, quick: 500]
    #[arg(long, value_parser = run::count)]
    steps: Option<usize>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut folder = args.options.folder("optimizers")?;
    let steps = args.steps.unwrap_or(if args.options.quick { 500 } else { 4000 });
    let device = args.options.device.device()?;
    ends::show(&mut folder, &device, args.seed, steps)?;
    penalties::show(&mut folder, &device, args.seed, steps / 2)?;
    disturbed::show(&mut folder, &device, args.seed, steps / 2)?;
    println!("{}", folder.summary());
    Ok(())
}
