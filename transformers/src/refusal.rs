//! What l1 says against something.

use std::fmt::Display;

use anyhow::{Result, bail};

/// The text of an error, which has to be one, in lines that fit a terminal.
pub fn refused<T, E: Display>(outcome: std::result::Result<T, E>) -> Result<String> {
    match outcome {
        Ok(_) => bail!("this was expected to be refused"),
        Err(error) => Ok(wrapped(&error.to_string())),
    }
}

fn wrapped(text: &str) -> String {
    const WIDTH: usize = 110;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!(" {word}")),
        }
    }
    lines.iter().map(|line| format!(" {line}\n")).collect()
}
