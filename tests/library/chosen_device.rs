//! What `L1_TEST_DEVICE` does, seen from outside: this program is started once more for a single test.

use std::{
    env,
    process::{Command, Output},
};

use candle_core::DType;
use tests::{cuda, device, rounded};

fn run(test: &str, device: Option<&str>) -> Output {
    let mut program = Command::new(env::current_exe().unwrap());
    program.args(["--exact", test]);
    match device {
        Some(device) => program.env("L1_TEST_DEVICE", device),
        None => program.env_remove("L1_TEST_DEVICE"),
    };
    program.output().unwrap()
}

/// The test that is run.
const ASKING: &str = "chosen_device::tensors_are_made_where_they_are_asked_for";

#[test]
fn tensors_are_made_where_they_are_asked_for() {
    assert!(rounded(&[1.0, 2.0], DType::BF16).device().same_device(&device()));
}

#[track_caller]
fn assert_refused(choice: &str, why: &str) {
    let Output { status, stdout, .. } = run(ASKING, Some(choice));
    let said = String::from_utf8(stdout).unwrap();
    assert!(!status.success() && said.contains(why), "{choice}: {status}, {said}");
}

#[test]
fn without_a_choice_on_the_cpu_and_on_the_emulated_gpu_tests_pass() {
    for choice in [None, Some("cpu"), Some("emulated")] {
        let Output { status, stdout, .. } = run(ASKING, choice);
        // A name that no test has would be a success too.
        assert!(status.success() && String::from_utf8(stdout).unwrap().contains("1 passed"), "{choice:?}: {status}");
    }
}

#[test]
fn a_choice_that_is_none_fails_a_test_and_the_choices_are_named() {
    for choice in ["nonsense", "", "CUDA"] {
        assert_refused(choice, "it is `cpu` (as if unset), `cuda` or `emulated`");
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_is_refused_by_tests_that_were_built_without() {
    assert_refused("cuda", "build them with `--features cuda`");
}

#[test]
fn where_no_gpu_is_its_tests_say_that_they_are_skipped() {
    let output = run("cuda_device::a_cuda_device_is_there_or_its_tests_are_skipped", None);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().contains("1 passed"), "{said}");
    assert_eq!(said.contains("skipped: no CUDA device"), cuda().is_none(), "{said}");
}

#[cfg(feature = "cuda")]
#[test]
fn where_no_gpu_is_but_asked_for_the_whole_program_is_skipped_and_does_not_pass() {
    let output = run(ASKING, Some("cuda"));
    let said = String::from_utf8(output.stderr).unwrap();
    if cuda().is_some() {
        assert!(output.status.success(), "{said}");
    } else {
        assert!(output.status.code() == Some(77) && said.contains("skipped: no CUDA device"), "{said}");
    }
}
