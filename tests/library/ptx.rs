//! The PTX texts that are checked in belong to the sources beside them.

use std::{fs, path::PathBuf};

use sha2::{Digest, Sha256};

fn cuda() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../l1-core/src/kernel/cuda")
}

/// The texts, by their names.
fn texts() -> Vec<(String, String)> {
    let files = fs::read_dir(cuda().join("ptx")).unwrap().map(|file| file.unwrap().path());
    files
        .map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(file).unwrap()))
        .collect()
}

#[test]
fn the_texts_are_those_of_the_sources() {
    let mut sources: Vec<_> = fs::read_dir(cuda().join("device")).unwrap().map(|file| file.unwrap().path()).collect();
    sources.sort();
    let mut hash = Sha256::new();
    sources.iter().for_each(|source| hash.update(fs::read(source).unwrap()));
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let names = texts().into_iter().map(|(name, text)| {
        let head = text.lines().next().unwrap_or_default();
        assert!(head.ends_with(&hash), "{name} was made of other sources: run scripts/cuda-ptx\n{head}\n{hash}");
        name
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["curves.ptx", "groups.ptx", "steps.ptx", "sums.ptx"]);
}

#[test]
fn ampere_and_drivers_of_cuda_13_0_can_run_them() {
    for (name, text) in texts() {
        assert!(text.lines().any(|line| line == ".target sm_80"), "{name}");
        assert!(text.lines().any(|line| line == ".version 9.0"), "{name}");
    }
}

#[test]
fn the_fused_steps_multiply_and_add_as_the_cpu_does() {
    let (_, steps) = texts().into_iter().find(|(name, _)| name == "steps.ptx").unwrap();
    assert!(
        steps.contains("mul.rn.f32") && !steps.contains("fma."),
        "a fused multiplication rounds once where the CPU rounds twice"
    );
}
