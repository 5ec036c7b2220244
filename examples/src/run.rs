//! What every program is told, and where it writes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use candle_nn::VarMap;
use indicatif::{ProgressBar, ProgressStyle};
use l1_core::Report;

use crate::device::On;

/// Options of every program.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// A smoke run: fewer steps, rougher numbers
    #[arg(long)]
    pub quick: bool,
    /// Folder for the results [default: target/l1/NAME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    pub device: On,
}

impl Options {
    /// Makes the folder for the results of the program `name`.
    pub fn folder(&self, name: &str) -> Result<Folder> {
        Folder::new(self.out.clone().unwrap_or_else(|| Path::new("target/l1").join(name)))
    }
}

/// A folder for results that remembers what was written to it.
pub struct Folder {
    path: PathBuf,
    written: Vec<String>,
}

impl Folder {
    /// Makes the folder, if there is none.
    pub fn new(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self { path, written: Vec::new() })
    }

    pub fn text(&mut self, name: &str, text: &str) -> Result<()> {
        let path = self.place(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    pub fn report(&mut self, name: &str, report: &Report) -> Result<()> {
        self.text(name, &serde_json::to_string_pretty(report)?)
    }

    /// All variables, as safetensors.
    pub fn model(&mut self, name: &str, varmap: &VarMap) -> Result<()> {
        let path = self.place(name);
        varmap.save(&path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The path of a file that somebody else writes.
    pub fn place(&mut self, name: &str) -> PathBuf {
        self.written.push(name.to_owned());
        self.path.join(name)
    }

    /// One line that says what lies where.
    pub fn summary(&self) -> String {
        format!("Written to {}: {}", self.path.display(), self.written.join(", "))
    }
}

/// A progress bar on standard error; nothing at all where that is not a terminal.
pub fn progress(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} steps, {eta} left");
    ProgressBar::new(steps as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A learning rate that falls from `lr` to 0 along half a cosine; `done` runs from 0 to 1.
pub fn falling(lr: f64, done: f64) -> f64 {
    lr * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
}

/// For clap: a whole number > 0.
pub fn count(text: &str) -> Result<usize, String> {
    let value = text.parse().ok().filter(|&value| value > 0);
    value.ok_or_else(|| "expected a whole number > 0".to_owned())
}

/// For clap: a finite number > 0.
pub fn positive(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite() && *value > 0.0);
    value.ok_or_else(|| "expected a finite number > 0".to_owned())
}
