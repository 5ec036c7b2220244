// Numbers of whole tensors: what a penalty charges, zeros, norms, and where a gradient is not finite. Every sum is over chunks of fixed
// bounds, then over their sums in a fixed order: the same bits in every run.

#include "arithmetic.h"
#include "launch.h"

namespace l1 {

// What one pass over a tensor collects. The same structure as `Sums` in `sums.rs`.
struct Sums {
    double abs, squares, least, zeros, charge;
};

L1_FN Sums add(Sums a, Sums b) {
    return Sums{a.abs + b.abs, a.squares + b.squares, smaller(a.least, b.least), a.zeros + b.zeros, a.charge + b.charge};
}

// The sums of a chunk, for each job.
template <class T>
L1_FN void sums(const Args& args) {
    typedef typename Element<T>::Real R;
    L1_SHARED(Sums, room, L1_THREADS);
    for (u64 index = blockIdx.x; index < args.count; index += gridDim.x) {
        const Job job = at<Job>(args.jobs)[index];
        const Place& place = at<Place>(args.places)[job.tensor];
        const Charge& line = at<Charge>(args.charges)[at<Turn>(args.turns)[job.tensor].charge];
        const Phi<double> phi = curve_of<double>(line);
        const bool is_curved = (line.flags & CURVED) != 0;
        const T* w = at<T>(place.w);
        Sums mine = {0.0, 0.0, 0.0, 0.0, 0.0};
        const auto one = [&](T stored) {
            const double x = double(R(Element<T>::load(stored))), size = magnitude(x);
            mine.abs += size;
            mine.squares += x * x;
            mine.least = smaller(mine.least, x);
            mine.zeros += x == 0.0 ? 1.0 : 0.0;
            if (is_curved) mine.charge += phi.value(size);
        };
        each(
            place.length, job.part, place.w % sizeof(Pack<T>) == 0, [&](u64 i) { one(w[i]); },
            [&](u64 i) {
                const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(w + i);
#pragma unroll
                for (int j = 0; j < PACK; ++j) one(pack.values[j]);
            });
        const Sums all = joined(room, mine, [](Sums a, Sums b) { return add(a, b); });
        if (threadIdx.x == 0) at<Sums>(args.output)[index] = all;
    }
}

// The sums of the chunks of each tensor; a block for each. `input`: of the chunks; `other`: which chunk is the first of each tensor, and one
// past the last.
L1_FN void gather_sums(const Args& args) {
    L1_SHARED(Sums, room, L1_THREADS);
    for (u64 tensor = blockIdx.x; tensor < args.count; tensor += gridDim.x) {
        const u64 *first = at<u64>(args.other) + tensor;
        Sums mine = {0.0, 0.0, 0.0, 0.0, 0.0};
        for (u64 i = first[0] + threadIdx.x; i < first[1]; i += blockDim.x) mine = add(mine, at<Sums>(args.input)[i]);
        const Sums all = joined(room, mine, [](Sums a, Sums b) { return add(a, b); });
        if (threadIdx.x == 0) at<Sums>(args.output)[tensor] = all;
    }
}

// `Ω(w)` of one tensor from its sums, and where `other` is, from the sums over the norms of its groups: see `Sums::value` in `formula/mod.rs`.
// Mode 1 writes a float, else a double.
L1_FN void omega(const Args& args) {
    const u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= args.count) return;
    const Charge& line = at<Charge>(args.charges)[at<Turn>(args.turns)[i].charge];
    const Sums& sums = at<Sums>(args.input)[i];
    // With a curve or groups λ is charged by them alone.
    const bool is_plain = !(line.flags & CURVED) && args.other == 0;
    const double strength = is_plain ? line.lambda + line.element : line.element;
    const double of_curve = args.other ? at<Sums>(args.other)[i].charge : sums.charge;
    double value = (strength == 0.0 ? 0.0 : strength * sums.abs) + 0.5 * (line.l2 == 0.0 ? 0.0 : line.l2 * sums.squares);
    if (!is_plain) value += line.weight * of_curve;
    if ((line.flags & POSITIVE) && sums.least < 0.0) value = Numbers<double>::infinity();
    if (is_nan(sums.abs)) value = Numbers<double>::nan();
    if (args.mode == 1) {
        at<float>(args.output)[i] = float(value);
    } else {
        at<double>(args.output)[i] = value;
    }
}

// ---- norms

enum Norming { LARGEST, ABSOLUTE, SQUARES, POWERS };

// NaN is larger than any number.
struct Largest {
    L1_FN double operator()(double a, double b) const { return a > b || is_nan(a) ? a : b; }
};

L1_FN double join(u32 norming, double a, double b) { return norming == LARGEST ? Largest()(a, b) : a + b; }

L1_FN double term(u32 norming, double p, double unit, double x) {
    const double size = magnitude(x);
    if (norming == LARGEST || norming == ABSOLUTE) return size;
    const double scaled = unit > 0.0 && is_finite(unit) ? size / unit : size;
    return norming == SQUARES ? scaled * scaled : power(scaled, p);
}

// `Σ|x|ᵖ`, or the largest size, of every chunk. `input`: p; `other`: a unit for each tensor that its entries are divided by, or null.
template <class T>
L1_FN void powers(const Args& args) {
    L1_SHARED(double, room, L1_THREADS);
    const double p = from_bits(args.input);
    const u32 norming = args.mode;
    for (u64 index = blockIdx.x; index < args.count; index += gridDim.x) {
        const Job job = at<Job>(args.jobs)[index];
        const Place& place = at<Place>(args.places)[job.tensor];
        const double unit = args.other ? at<double>(args.other)[job.tensor] : 1.0;
        const T* g = at<T>(at<Turn>(args.turns)[job.tensor].g);
        double mine = 0.0;
        const auto one = [&](T stored) { mine = join(norming, mine, term(norming, p, unit, double(Element<T>::load(stored)))); };
        each(
            place.length, job.part, u64(g) % sizeof(Pack<T>) == 0, [&](u64 i) { one(g[i]); },
            [&](u64 i) {
                const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(g + i);
#pragma unroll
                for (int j = 0; j < PACK; ++j) one(pack.values[j]);
            });
        const double all = joined(room, mine, [=](double a, double b) { return join(norming, a, b); });
        if (threadIdx.x == 0) at<double>(args.output)[index] = all;
    }
}

L1_FN double root_for(u32 norming, double p, double sum) {
    return norming == SQUARES ? root_of(sum) : norming == POWERS ? power(sum, 1.0 / p) : sum;
}

// The norm of each tensor from those of its chunks; a block for each. `charges`: p; `turns`: the units.
L1_FN void gather_powers(const Args& args) {
    L1_SHARED(double, room, L1_THREADS);
    const double p = from_bits(args.charges);
    const u32 norming = args.mode;
    for (u64 tensor = blockIdx.x; tensor < args.count; tensor += gridDim.x) {
        const u64* first = at<u64>(args.other) + tensor;
        double mine = 0.0;
        for (u64 i = first[0] + threadIdx.x; i < first[1]; i += blockDim.x) mine = join(norming, mine, at<double>(args.input)[i]);
        const double all = joined(room, mine, [=](double a, double b) { return join(norming, a, b); });
        const double unit = args.turns ? at<double>(args.turns)[tensor] : 1.0;
        // All entries are 0, or one is no finite number.
        const bool is_unit = unit > 0.0 && is_finite(unit);
        if (threadIdx.x == 0) at<double>(args.output)[tensor] = is_unit ? unit * root_for(norming, p, all) : unit;
    }
}

// Norms sorted by size, for tensors come in another order in every run. `input`: the norms; `output`: room for as many.
L1_FN void rank(const Args& args) {
    const double* norms = at<double>(args.input);
    for (u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x; i < args.count; i += u64(gridDim.x) * blockDim.x) {
        const double mine = norms[i];
        u64 rank = 0;
        for (u64 j = 0; j < args.count; ++j) rank += norms[j] < mine || (norms[j] == mine && j < i) ? 1 : 0;
        // A NaN has no rank, and is seen by the largest.
        if (!is_nan(mine)) at<double>(args.output)[rank] = mine;
    }
}

// The norm of all tensors together from the norm of each, by one block. `input`: the norms; `other`: the same, sorted; `charges`: p;
// `turns`: the largest norm that is let pass, as a double.
// Writes the norm to `places` as a double or, with mode's bit 8, as a float, and to `output` the factor of the gradients as a double.
L1_FN void total(const Args& args) {
    L1_SHARED(double, room, L1_THREADS);
    const double p = from_bits(args.charges), most = from_bits(args.turns);
    const u32 norming = args.mode & 7;
    const bool is_narrow = (args.mode & 8) != 0;
    const double* sorted = at<double>(args.other);
    double largest = 0.0;
    for (u64 i = threadIdx.x; i < args.count; i += blockDim.x) largest = Largest()(largest, at<double>(args.input)[i]);
    largest = joined(room, largest, Largest());
    const bool is_unit = largest > 0.0 && is_finite(largest);
    const double unit = norming == SQUARES || norming == POWERS ? largest : 1.0;
    double sum = 0.0;
    if (is_unit) {
        for (u64 i = threadIdx.x; i < args.count; i += blockDim.x) sum = join(norming, sum, term(norming, p, unit, sorted[i]));
    }
    sum = joined(room, sum, [=](double a, double b) { return join(norming, a, b); });
    if (threadIdx.x != 0) return;
    const double norm = is_unit ? unit * root_for(norming, p, sum) : largest;
    double factor;
    if (is_narrow) {
        const float narrow = float(norm), by = 1.0f / (narrow + 1e-6f) * float(most);
        at<float>(args.places)[0] = narrow;
        factor = double(narrow) + 1e-6 <= most || by >= 1.0f ? 1.0 : by;
    } else {
        const double by = 1.0 / (norm + 1e-6) * most;
        at<double>(args.places)[0] = norm;
        factor = norm + 1e-6 <= most || by >= 1.0 ? 1.0 : by;
    }
    at<double>(args.output)[0] = factor;
}

// `g ← factor·g`, the factor being a double at `input`. Where it is 1 nothing is written.
template <class T>
L1_FN void scale(const Args& args) {
    typedef typename Element<T>::Real R;
    const double wide = *at<double>(args.input);
    if (wide == 1.0) return;
    const R factor = R(wide);
    for (u64 index = blockIdx.x; index < args.count; index += gridDim.x) {
        const Job job = at<Job>(args.jobs)[index];
        T* g = at<T>(at<Turn>(args.turns)[job.tensor].g);
        each(
            at<Place>(args.places)[job.tensor].length, job.part, u64(g) % sizeof(Pack<T>) == 0,
            [&](u64 i) { g[i] = Element<T>::store(factor * Element<T>::load(g[i])); },
            [&](u64 i) {
                Pack<T> pack = *reinterpret_cast<const Pack<T>*>(g + i);
#pragma unroll
                for (int j = 0; j < PACK; ++j) pack.values[j] = Element<T>::store(factor * Element<T>::load(pack.values[j]));
                *reinterpret_cast<Pack<T>*>(g + i) = pack;
            });
    }
}

// Where the gradient of each tensor is first not finite.
template <class T>
L1_FN void find(const Args& args) {
    for (u64 index = blockIdx.x; index < args.count; index += gridDim.x) {
        const Job job = at<Job>(args.jobs)[index];
        const T* g = at<T>(at<Turn>(args.turns)[job.tensor].g);
        if (g == 0) continue;
        u64 bad = 0;
        const auto one = [&](u64 i, T stored) {
            const auto x = Element<T>::load(stored);
            if (is_finite(x)) return;
            const u64 here = ~found_at(i, x);
            bad = here > bad ? here : bad;
        };
        each(
            at<Place>(args.places)[job.tensor].length, job.part, u64(g) % sizeof(Pack<T>) == 0, [&](u64 i) { one(i, g[i]); },
            [&](u64 i) {
                const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(g + i);
#pragma unroll
                for (int j = 0; j < PACK; ++j) one(i + j, pack.values[j]);
            });
        if (bad != 0) atomicMax(at<u64>(args.output) + job.tensor, bad);
    }
}

}  // namespace l1

L1_KERNELS(sums, l1::sums)
L1_KERNELS(powers, l1::powers)
L1_KERNELS(scale, l1::scale)
L1_KERNELS(find, l1::find)
L1_KERNEL(gather_sums, l1::gather_sums)
L1_KERNEL(omega, l1::omega)
L1_KERNEL(gather_powers, l1::gather_powers)
L1_KERNEL(rank, l1::rank)
L1_KERNEL(total, l1::total)
