// A step of every coordinate with the prox of l1 on single entries behind it, fused: each tensor is read and written once.

#include "arithmetic.h"
#include "operands.h"

namespace l1 {

// What a coordinate's gradient comes in: that of a metric is of the type of the arithmetic.
template <class T, int OPTIMIZER>
struct Source {
    typedef T G;
};
template <class T>
struct Source<T, STAY_IN_METRIC> {
    typedef typename Element<T>::Real G;
};

template <class T, int OPTIMIZER>
L1_FN void step(const Args& args) {
    typedef typename Element<T>::Real R;
    typedef typename Source<T, OPTIMIZER>::G G;
    const int N = states(OPTIMIZER);
    const bool is_guarded = args.output != 0;
    for (u64 index = blockIdx.x; index < args.count; index += gridDim.x) {
        const Job job = at<Job>(args.jobs)[index];
        const Turn turn = at<Turn>(args.turns)[job.tensor];
        if (turn.g == 0) continue;
        const Place& place = at<Place>(args.places)[job.tensor];
        const Charge& line = at<Charge>(args.charges)[turn.charge];
        const Operands<T, G> on(place, turn);
        const Plain<R> charge(line);
        const Move<R> move(line);
        u64 bad = 0;
        const auto one = [&](u64 i, T stored, G gradient, R copy, R state[3]) {
            R w = on.copy ? on.weight(stored, copy) : Element<T>::load(stored);
            R g = Element<G>::load(gradient);
            if (on.hold != NOTHING) on.held(stored, w, g, state[0]);
            if (is_guarded && !is_finite(g)) {
                const u64 here = ~found_at(i, g);
                bad = here > bad ? here : bad;
                move.pass_over(OPTIMIZER, w, charge.subgradient(w), state);
                return w;
            }
            R z, by;
            move.gather(OPTIMIZER, w, g, state);
            move.to(OPTIMIZER, w, g, state, z, by);
            return OPTIMIZER == STAY_IN_METRIC ? charge.prox_in_metric(z, by) : charge.prox(z, by);
        };
        each(
            place.length, job.part, on.is_aligned(N),
            [&](u64 i) {
                R state[3] = {};
                for (int k = 0; k < N; ++k) state[k] = on.state[k][i];
                const R next = one(i, on.w[i], on.g[i], on.copy ? on.copy[i] : R(0), state);
                for (int k = 0; k < N; ++k) on.state[k][i] = state[k];
                if (on.copy) on.copy[i] = next;
                on.w[i] = Element<T>::store(next);
            },
            [&](u64 i) {
                Pack<T> w = *reinterpret_cast<const Pack<T>*>(on.w + i);
                const Pack<G> g = *reinterpret_cast<const Pack<G>*>(on.g + i);
                Pack<R> copy = {}, state[3] = {};
                if (on.copy) copy = *reinterpret_cast<const Pack<R>*>(on.copy + i);
#pragma unroll
                for (int k = 0; k < N; ++k) state[k] = *reinterpret_cast<const Pack<R>*>(on.state[k] + i);
#pragma unroll
                for (int j = 0; j < PACK; ++j) {
                    R of_j[3] = {};
                    for (int k = 0; k < N; ++k) of_j[k] = state[k].values[j];
                    const R next = one(i + j, w.values[j], g.values[j], copy.values[j], of_j);
                    for (int k = 0; k < N; ++k) state[k].values[j] = of_j[k];
                    copy.values[j] = next;
                    w.values[j] = Element<T>::store(next);
                }
#pragma unroll
                for (int k = 0; k < N; ++k) *reinterpret_cast<Pack<R>*>(on.state[k] + i) = state[k];
                if (on.copy) *reinterpret_cast<Pack<R>*>(on.copy + i) = copy;
                *reinterpret_cast<Pack<T>*>(on.w + i) = w;
            });
        if (bad != 0) atomicMax(at<u64>(args.output) + job.tensor, bad);
    }
}

}  // namespace l1

// A kernel for each optimizer and type.
#define L1_STEPS(name, OPTIMIZER)                                   \
    L1_KERNEL(name##_f32, l1::step<float, l1::OPTIMIZER>)           \
    L1_KERNEL(name##_f64, l1::step<double, l1::OPTIMIZER>)          \
    L1_KERNEL(name##_bf16, l1::step<l1::bf16, l1::OPTIMIZER>)       \
    L1_KERNEL(name##_f16, l1::step<l1::f16, l1::OPTIMIZER>)

L1_STEPS(sgd, SGD)
L1_STEPS(momentum, MOMENTUM)
L1_STEPS(adamw, ADAMW)
L1_STEPS(amsgrad, AMSGRAD)
L1_STEPS(ftrl, FTRL)
L1_STEPS(stay, STAY)
L1_STEPS(stay_in_metric, STAY_IN_METRIC)
