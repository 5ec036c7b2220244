//! What must not compile, each with its whole message beside it in `ui/`.

/// To accept changed messages, run with `TRYBUILD=overwrite` and read the difference.
#[test]
fn mistakes_do_not_compile() {
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}
