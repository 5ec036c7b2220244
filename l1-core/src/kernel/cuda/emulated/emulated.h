// A GPU in plain C++, for the tests: blocks of few threads, each thread a fiber that is left where it waits for others. So the kernels
// themselves run, with their tables, chunks, teams and barriers, on a machine without a GPU.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../device/number.h"

// Few, so that small tensors too are spread over blocks, warps and chunks.
#define L1_THREADS 16
#define L1_WARP 4

namespace emulated {

struct Index {
    unsigned x;
};

// Of the thread that runs now.
extern thread_local Index thread, block, threads, blocks;

// Waits for all threads of the block, of the warp; lets others run.
void meet_block();
void meet_warp();
void wait();

// Memory of the block.
void* shared(std::size_t bytes);

}  // namespace emulated

#define threadIdx emulated::thread
#define blockIdx emulated::block
#define blockDim emulated::threads
#define gridDim emulated::blocks
#define __syncthreads emulated::meet_block
#define __syncwarp emulated::meet_warp
#define __threadfence()
#define L1_WAIT emulated::wait
#define L1_SHARED(type, name, count) type* name = static_cast<type*>(emulated::shared(sizeof(type) * (count)))
#define L1_KERNEL(name, ...) static const emulated::Kernel kernel_##name(#name, __VA_ARGS__);

template <class A>
inline A atomicMax(A* at, A value) {
    const A before = *at;
    if (value > before) *at = value;
    return before;
}

template <class A>
inline A atomicAdd(A* at, A value) {
    const A before = *at;
    *at = before + value;
    return before;
}

namespace l1 {
struct Args;
}

namespace emulated {

// A kernel by its name.
struct Kernel {
    Kernel(const char* name, void (*run)(const l1::Args&));
};

}  // namespace emulated
