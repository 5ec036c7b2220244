//! With the feature `emulated-cuda` the kernels for GPUs are compiled as plain C++, for the tests; without it nothing is done.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "emulated-cuda")]
    {
        println!("cargo::rerun-if-changed=src/kernel/cuda");
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            .file("src/kernel/cuda/emulated/emulated.cpp")
            // The same bits as on the GPU and as of the kernels in Rust: no multiplication is fused with an addition.
            .flag("-ffp-contract=off")
            .flag("-Wno-unknown-pragmas")
            // Its check of `longjmp` takes a jump from one fiber to another for an error.
            .flag("-U_FORTIFY_SOURCE")
            // Also in a development build: the tests run through it.
            .opt_level(2)
            .compile("l1_emulated");
    }
}
