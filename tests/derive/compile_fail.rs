//! What must not compile, each with its whole message beside it in `ui/`.

use std::process::Command;

/// The compiler whose words the messages hold; another one says some of them differently.
const RECORDED_WITH: &str = "rustc 1.95.";

/// To accept changed messages, run with `TRYBUILD=overwrite` and read the difference.
#[test]
fn mistakes_do_not_compile() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&version);
    if !version.starts_with(RECORDED_WITH) && std::env::var_os("TRYBUILD").is_none() {
        eprintln!("skipped: the messages in ui/ were recorded with {RECORDED_WITH}x, this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}
