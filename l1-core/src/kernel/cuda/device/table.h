// What the kernels are told: tables with a line for each tensor. The same structures, field by field, as in `table.rs`.
#pragma once

#include "number.h"

namespace l1 {

// What stays from step to step.
struct Place {
    // Of the dtype that the tensor stores.
    u64 w;
    // The f32 copy that is stepped in the place of half weights, or null.
    u64 copy;
    // Of the type of the arithmetic.
    u64 state[3];
    u64 length;
    // Groups: `slabs × rows × count × run`, group j of slab s being what has s and j as its first and third index.
    u64 slabs, rows, count, run;
};

// What is new in each step.
struct Turn {
    // The gradient, or what comes in its place; null: leave the tensor alone.
    u64 g;
    // Which line of the charges is its own.
    u32 charge;
    // What is done about its zeros: a `Hold`.
    u32 hold;
};

enum Hold { NOTHING, ZEROS, ZEROS_ANEW };

// A penalty and the numbers of a step: one line for all tensors that share them.
struct Charge {
    double lambda;
    double element;
    double l2;
    // γ or ε of the curve.
    double parameter;
    // Factor of φ: the weight of a group, times how often it is charged.
    double weight;
    // With one step for all: what the fold leaves of it times the curve's factor, and the curve's threshold for that.
    double left, threshold;
    // The optimizer's; see `move.h`.
    double numbers[8];
    u32 curve;
    u32 optimizer;
    u32 flags;
    u32 padding;
};

enum Flag {
    // w ≥ 0.
    POSITIVE = 1,
    // The curve is met by its tangent at the weights before the step.
    LINEARIZED = 2,
    // Nesterov's momentum.
    LOOKAHEAD = 4,
    // Single entries are charged by a curve other than l1.
    CURVED = 8,
};

// What one block of threads works on: a chunk of a tensor, or some of its groups.
struct Job {
    u32 tensor;
    u32 part;
};

// Where a gradient was first not finite: its flat index times 4, plus what it was. Kept with all bits turned, so that 0 is nowhere and
// the largest is the first.
enum NonFinite { WAS_NAN, WAS_INFINITE, WAS_MINUS_INFINITE };

template <class R>
L1_FN u64 found_at(u64 index, R value) {
    const u64 what = is_nan(value) ? WAS_NAN : value > R(0) ? WAS_INFINITE : WAS_MINUS_INFINITE;
    return 4 * index + what;
}

template <class A>
L1_FN A* at(u64 address) {
    return reinterpret_cast<A*>(address);
}

}  // namespace l1
