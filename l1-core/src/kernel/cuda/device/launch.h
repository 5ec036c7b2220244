// What every kernel is launched with, and how the threads of a block see each other. All kernels take one structure, so that one function
// launches them all.
#pragma once

#include "table.h"

#if defined(__CUDACC__)
#define L1_THREADS 256
#define L1_WARP 32
#define L1_SHARED(type, name, count) __shared__ type name[count]
#define L1_WAIT()
#define L1_KERNEL(name, ...) \
    extern "C" __global__ void __launch_bounds__(L1_THREADS) name(const l1::Args args) { __VA_ARGS__(args); }
#else
#include "../emulated/emulated.h"
#endif

namespace l1 {

// The same structure as `Args` in `table.rs`.
struct Args {
    u64 places, turns, charges, jobs;
    // Where numbers come from, and where they go.
    u64 input, other, output;
    // How many jobs there are.
    u64 count;
    u32 mode;
    u32 padding;
};

// Coordinates that a block works on at a time, where groups do not say otherwise.
const u64 CHUNK = L1_THREADS * 32;

// Numbers that a thread reads and writes at once.
const int PACK = 4;

template <class T>
struct alignas(PACK * sizeof(T) < 16 ? PACK * sizeof(T) : 16) Pack {
    T values[PACK];
};

// A chunk's bounds.
struct Bounds {
    u64 from, to;

    L1_FN Bounds(u64 length, u32 chunk) : from(u64(chunk) * CHUNK) {
        const u64 rest = length - from;
        to = from + (rest < CHUNK ? rest : CHUNK);
    }
};

// The coordinates of a chunk. `one(i)` works on a coordinate.
template <class One>
L1_FN void each(u64 length, u32 chunk, One one) {
    const Bounds bounds(length, chunk);
    for (u64 i = bounds.from + threadIdx.x; i < bounds.to; i += blockDim.x) one(i);
}

// The same by packs, where all operands allow it: `pack(i)` works on a pack that begins there. Whether they do changes nothing about which
// thread has which coordinates, so that sums have the same bits wherever a tensor lies.
template <class One, class Four>
L1_FN void each(u64 length, u32 chunk, bool is_aligned, One one, Four pack) {
    const Bounds bounds(length, chunk);
    const u64 end = bounds.from + (bounds.to - bounds.from) / PACK * PACK;
    for (u64 i = bounds.from + u64(threadIdx.x) * PACK; i < end; i += u64(blockDim.x) * PACK) {
        if (is_aligned) {
            pack(i);
        } else {
            for (int k = 0; k < PACK; ++k) one(i + k);
        }
    }
    for (u64 i = end + threadIdx.x; i < bounds.to; i += blockDim.x) one(i);
}

// Joins a value of every thread of a block, in an order that is always the same. All threads get the result.
template <class V, class Join>
L1_FN V joined(V* room, V mine, Join join) {
    room[threadIdx.x] = mine;
    __syncthreads();
    for (u32 half = L1_THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) room[threadIdx.x] = join(room[threadIdx.x], room[threadIdx.x + half]);
        __syncthreads();
    }
    const V all = room[0];
    __syncthreads();
    return all;
}

}  // namespace l1

// A kernel for each type that tensors store.
#define L1_KERNELS(name, function)                \
    L1_KERNEL(name##_f32, function<float>)        \
    L1_KERNEL(name##_f64, function<double>)       \
    L1_KERNEL(name##_bf16, function<l1::bf16>)    \
    L1_KERNEL(name##_f16, function<l1::f16>)
