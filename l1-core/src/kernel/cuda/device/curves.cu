// A step of every coordinate with the prox of any other curve behind it, and subgradients of whole tensors.

#include "arithmetic.h"
#include "operands.h"

namespace l1 {

// The gradient of a coordinate, or the step that comes in its place: that is of the type of the arithmetic.
template <class T>
L1_FN typename Element<T>::Real source(u32 optimizer, u64 g, u64 i) {
    typedef typename Element<T>::Real R;
    return optimizer == STAY_IN_METRIC ? at<R>(g)[i] : Element<T>::load(at<T>(g)[i]);
}

template <class T>
L1_FN void curve(const Args& args) {
    typedef typename Element<T>::Real R;
    for (u64 index = blockIdx.x; index < args.count; index += gridDim.x) {
        const Job job = at<Job>(args.jobs)[index];
        const Turn turn = at<Turn>(args.turns)[job.tensor];
        if (turn.g == 0) continue;
        const Place& place = at<Place>(args.places)[job.tensor];
        const Charge& line = at<Charge>(args.charges)[turn.charge];
        const Operands<T, T> on(place, turn);
        const OnEntries<R> entries(line);
        const Move<R> move(line);
        const u32 optimizer = line.optimizer, n = states(optimizer);
        u64 bad = 0;
        each(
            place.length, job.part, [&](u64 i) {
                const T stored = on.w[i];
                R w = on.copy ? on.weight(stored, on.copy[i]) : Element<T>::load(stored);
                R g = source<T>(optimizer, turn.g, i), state[3] = {}, next = w;
                for (u32 k = 0; k < n; ++k) state[k] = on.state[k][i];
                if (on.hold != NOTHING) on.held(stored, w, g, state[0]);
                if (args.output != 0 && !is_finite(g)) {
                    const u64 here = ~found_at(i, g);
                    bad = here > bad ? here : bad;
                    move.pass_over(optimizer, w, entries.subgradient(w), state);
                    next = w;
                } else {
                    R z, by;
                    move.gather(optimizer, w, g, state);
                    move.to(optimizer, w, g, state, z, by);
                    next = is_adaptive(optimizer) ? entries.prox_in_metric(w, z, by) : entries.prox(z, by);
                }
                for (u32 k = 0; k < n; ++k) on.state[k][i] = state[k];
                if (on.copy) on.copy[i] = next;
                on.w[i] = Element<T>::store(next);
            });
        if (bad != 0) atomicMax(at<u64>(args.output) + job.tensor, bad);
    }
}

// Whether single entries are charged by l1, or by something else.
enum Charging { PLAIN, ENTRIES, GROUPS };

// The subgradient of smallest norm at an entry. `norms`: of the groups.
template <class R>
L1_FN R subgradient_at(const Charge& line, Charging charging, const Place& place, const double* norms, u64 i, R w) {
    if (charging == PLAIN) return Plain<R>(line).subgradient(w);
    if (charging == ENTRIES) return OnEntries<R>(line).subgradient(w);
    const u64 width = place.count * place.run, slab = i / (place.rows * width);
    const double norm = norms[slab * place.count + i % width / place.run];
    return subgradient_of_group(line, norm, w);
}

// `g ← g + ∂Ω(w)`, or where `other` is a factor `state[1] ← factor·∂Ω(w)`. `state[0]`: the norms of the groups.
template <class T>
L1_FN void subgradient(const Args& args) {
    typedef typename Element<T>::Real R;
    const double* factor = at<double>(args.other);
    for (u64 index = blockIdx.x; index < args.count; index += gridDim.x) {
        const Job job = at<Job>(args.jobs)[index];
        const Turn turn = at<Turn>(args.turns)[job.tensor];
        const Place& place = at<Place>(args.places)[job.tensor];
        const Charge& line = at<Charge>(args.charges)[turn.charge];
        const Charging charging = place.count != 0 ? GROUPS : line.flags & CURVED ? ENTRIES : PLAIN;
        const T* w = at<T>(place.w);
        T* to = factor ? at<T>(place.state[1]) : at<T>(turn.g);
        each(
            place.length, job.part, [&](u64 i) {
                const R sum = subgradient_at(line, charging, place, at<double>(place.state[0]), i, Element<T>::load(w[i]));
                to[i] = Element<T>::store(factor ? R(*factor) * sum : Element<T>::load(to[i]) + sum);
            });
    }
}

}  // namespace l1

L1_KERNELS(curve, l1::curve)
L1_KERNELS(subgradient, l1::subgradient)
