// A step of every coordinate with the prox of its group behind it, and the norms of groups.
//
// A first pass takes up the gradients and leaves the optimizer's state as it is after the step. Where the move leads to follows from that
// state and the weights, so that every further pass computes it anew and no scratch memory is needed; the last one writes the weights.

#undef L1_CURVE_FN
#define L1_CURVE_FN L1_CALL

#include "arithmetic.h"
#include "operands.h"
#include "team.h"

namespace l1 {

// Which coordinates of a group a thread has.
struct Entries {
    u64 base, stride, rows, run, row, column, down, along;

    template <class F>
    L1_FN void each(F one) const {
        for (u64 r = row, c = column; r < rows;) {
            one(base + r * stride + c);
            r += down;
            c += along;
            if (c >= run) {
                c -= run;
                ++r;
            }
        }
    }
};

// A thread of a team, with its share of a group.
struct Member {
    Team team;
    Entries entries;
    u64 group;
    // Whether there is such a group.
    bool is_there;
    // Whether this is the one thread that speaks for its team.
    bool is_first;
};

L1_FN Member member(const Args& args, const Place& place, u32 part, Room& room, u32& turn) {
    Member m;
    m.team.sharing = args.mode;
    m.team.room = &room;
    m.team.run = u32(place.run);
    m.team.of_blocks = at<Pair>(args.other);
    m.team.arrived = at<u32>(args.input);
    m.team.turn = turn;
    const u64 stride = place.count * place.run;
    u64 index = threadIdx.x, members = blockDim.x, slab, in_slab;
    if (args.mode == ACROSS) {
        const u32 side_by_side = L1_WARP / u32(place.run), column = threadIdx.x % L1_WARP;
        const u64 tiles = (place.count + side_by_side - 1) / side_by_side, of_tile = column / u32(place.run);
        slab = part / tiles;
        in_slab = part % tiles * side_by_side + of_tile;
        m.is_there = of_tile < side_by_side && in_slab < place.count;
        m.entries.row = threadIdx.x / L1_WARP;
        m.entries.column = column % u32(place.run);
        m.entries.down = blockDim.x / L1_WARP;
        m.entries.along = 0;
        m.is_first = m.entries.row == 0 && m.entries.column == 0;
        m.group = slab * place.count + in_slab;
    } else {
        m.group = part;
        if (args.mode == BY_WARP) {
            members = L1_WARP;
            m.group = u64(part) * (blockDim.x / L1_WARP) + threadIdx.x / L1_WARP;
            index = threadIdx.x % L1_WARP;
        } else if (args.mode == BY_GRID) {
            members = u64(blockDim.x) * gridDim.x;
            index += u64(blockIdx.x) * blockDim.x;
        }
        slab = m.group / place.count;
        in_slab = m.group % place.count;
        m.is_there = m.group < place.slabs * place.count;
        m.entries.row = index / place.run;
        m.entries.column = index % place.run;
        m.entries.down = members / place.run;
        m.entries.along = members % place.run;
        m.is_first = index == 0;
    }
    m.entries.base = slab * place.rows * stride + in_slab * place.run;
    m.entries.stride = stride;
    m.entries.run = place.run;
    m.entries.rows = m.is_there ? place.rows : 0;
    m.is_first = m.is_first && m.is_there;
    return m;
}

// The norm of what `value(i)` gives for every entry, by way of the largest one where squares overflow or vanish.
template <class F>
L1_FN double norm_of(const Member& m, bool is_wanted, F value) {
    const auto squares_of = [&](bool is_wanted, double unit) {
        Pair mine = {0.0, 0.0};
        if (is_wanted) {
            m.entries.each([&](u64 i) {
                const double x = unit == 1.0 ? double(value(i)) : double(value(i)) / unit;
                mine.a += x * x;
            });
        }
        return m.team.sum(mine).a;
    };
    const double squares = squares_of(is_wanted, 1.0);
    const bool is_lost = is_wanted && !is_normal(squares) && !is_nan(squares);
    double norm = root_of(squares);
    if (m.team.any(is_lost)) {
        Pair mine = {0.0, 0.0};
        if (is_lost) m.entries.each([&](u64 i) { mine.a = larger(mine.a, magnitude(double(value(i)))); });
        const double unit = m.team.largest(mine).a;
        const bool is_number = is_lost && unit > 0.0 && is_finite(unit);
        const double scaled = squares_of(is_number, is_number ? unit : 1.0);
        if (is_lost) norm = is_number ? unit * root_of(scaled) : unit;
    }
    return norm;
}

// What one tensor's step needs of its operands.
template <class T>
struct Stepped {
    typedef typename Element<T>::Real R;

    Operands<T, T> on;
    Move<R> move;
    Fold<R> fold;
    u32 optimizer, n;

    L1_FN Stepped(const Place& place, const Turn& turn, const Charge& line)
        : on(place, turn), move(line), fold(line), optimizer(line.optimizer), n(states(line.optimizer)) {}

    // Weight, gradient and state of a coordinate, a frozen support seen to.
    L1_FN void read(u64 i, R& w, R& g, R state[3]) const {
        const T stored = on.w[i];
        w = on.copy ? on.weight(stored, on.copy[i]) : Element<T>::load(stored);
        g = optimizer == STAY_IN_METRIC ? reinterpret_cast<const R*>(on.g)[i] : Element<T>::load(on.g[i]);
        for (u32 k = 0; k < n; ++k) state[k] = on.state[k][i];
        if (on.hold != NOTHING) on.held(stored, w, g, state[0]);
    }

    L1_FN void gather(u64 i) const {
        R w, g, state[3] = {};
        read(i, w, g, state);
        move.gather(optimizer, w, g, state);
        for (u32 k = 0; k < n; ++k) on.state[k][i] = state[k];
    }

    // Where a coordinate comes to and its step, folded; the gradients have been gathered.
    L1_FN void moved(u64 i, R& z, R& step) const {
        R w, g = R(0), state[3] = {};
        const T stored = on.w[i];
        w = on.copy ? on.weight(stored, on.copy[i]) : Element<T>::load(stored);
        if (needs_gradient(optimizer)) {
            g = optimizer == STAY_IN_METRIC ? reinterpret_cast<const R*>(on.g)[i] : Element<T>::load(on.g[i]);
        }
        for (u32 k = 0; k < n; ++k) state[k] = on.state[k][i];
        // What it has gathered is cleared already, and may be something again.
        R gathered = state[0];
        if (on.hold == ZEROS) on.held(stored, w, g, gathered);
        if (on.hold == ZEROS_ANEW && Element<T>::load(stored) == R(0)) on.held(stored, w, g, gathered);
        move.to(optimizer, w, g, state, z, step);
        fold.at(z, step);
    }

    L1_FN void write(u64 i, R next) const {
        if (on.copy) on.copy[i] = next;
        on.w[i] = Element<T>::store(next);
    }

    L1_FN R weight(u64 i) const {
        R w, g, state[3] = {};
        read(i, w, g, state);
        return w;
    }
};

// The entries of a group as the sums of a `Problem` see them.
template <class T>
struct InMetric {
    typedef typename Element<T>::Real R;

    const Stepped<T>& stepped;
    const Entries& entries;

    template <class F>
    L1_FN Pair operator()(F term) const {
        Pair sums = {0.0, 0.0};
        entries.each([&](u64 i) {
            R z, step;
            stepped.moved(i, z, step);
            const Pair terms = term(double(z), double(step));
            sums.a += terms.a;
            sums.b += terms.b;
        });
        return sums;
    }

    template <class F>
    L1_FN Pair largest(F term) const {
        Pair all = {0.0, 0.0};
        entries.each([&](u64 i) {
            R z, step;
            stepped.moved(i, z, step);
            all.a = larger(all.a, term(double(z), double(step)).a);
        });
        return all;
    }
};

// A whole group stays as it is, with what becomes of its state then.
template <class T>
L1_FN void stays(const Member& m, const Stepped<T>& stepped, const Charge& line) {
    typedef typename Element<T>::Real R;
    if (stepped.optimizer != FTRL) {
        // A frozen support has been seen to all the same.
        if (stepped.on.hold != NOTHING) {
            m.entries.each([&](u64 i) {
                R w, g, state[3] = {};
                stepped.read(i, w, g, state);
                for (u32 k = 0; k < stepped.n; ++k) stepped.on.state[k][i] = state[k];
                stepped.write(i, w);
            });
        }
        return;
    }
    const double norm = norm_of(m, m.is_there, [&](u64 i) { return stepped.weight(i); });
    m.entries.each([&](u64 i) {
        R w, g, state[3] = {};
        stepped.read(i, w, g, state);
        stepped.move.pass_over(FTRL, w, subgradient_of_group(line, norm, w), state);
        for (u32 k = 0; k < stepped.n; ++k) stepped.on.state[k][i] = state[k];
        stepped.write(i, w);
    });
}

// The prox of groups in a metric that is one step.
template <class T>
L1_FN void shrink(const Member& m, const Stepped<T>& stepped, const OnGroup& group, double step) {
    typedef typename Element<T>::Real R;
    const double norm = norm_of(m, m.is_there, [&](u64 i) {
        R z, step;
        stepped.moved(i, z, step);
        return z;
    });
    const double factor = group.factor(norm, step);
    m.entries.each([&](u64 i) {
        R z, step;
        stepped.moved(i, z, step);
        stepped.write(i, factor == 0.0 ? R(0) : factor == 1.0 ? z : z * R(factor));
    });
}

// The prox of groups with a step of its own for each entry.
template <class T>
L1_FN void shrink_in_metric(const Member& m, const Stepped<T>& stepped, const OnGroup& group) {
    typedef typename Element<T>::Real R;
    const InMetric<T> entries = {stepped, m.entries};
    Problem<Team, InMetric<T>> problem = {m.team, entries, 1.0, {0.0, 0.0}};
    const auto begin = [](double z, double step) {
        const double square = z * z;
        // 0·∞ counts 0.
        return Pair{square, square == 0.0 ? 0.0 : square * step};
    };
    problem.start = problem.sum(m.is_there, begin);
    const auto is_safe = [](Pair start) { return start.a >= 1e-280 && start.a < 1e280 && start.b > 1e-282; };
    const bool is_unsafe = m.is_there && !is_safe(problem.start);
    bool is_solved = !m.is_there, is_nan_now = m.is_there && is_nan(problem.start.a);
    if (m.team.any(is_unsafe)) {
        const double size = problem.largest(is_unsafe, [](double z, double) { return Pair{magnitude(z), 0.0}; }).a;
        // A power of 2, so that division is exact. Zeros stay, and so does what is not told apart beside an infinite entry.
        const bool is_scaled = is_unsafe && size > 0.0 && is_finite(size) && !is_nan_now;
        if (is_scaled) problem.unit = exp2(floor(log2(size)));
        const Pair scaled = problem.sum(is_scaled, begin);
        if (is_scaled) problem.start = scaled;
        is_solved = is_solved || (is_unsafe && !is_scaled);
    }
    const bool is_wanted = !is_solved;
    double slope;
    const Found found = group.is_convex(slope) ? problem.root(is_wanted, slope / problem.unit)
                                               : problem.lowest(is_wanted, group, Numbers<R>::epsilon());
    m.entries.each([&](u64 i) {
        R z, step;
        stepped.moved(i, z, step);
        const R next = is_wanted ? R(shrunk(double(z), double(step), found)) : z;
        stepped.write(i, is_nan_now ? Numbers<R>::nan() : next);
    });
}

template <class T>
L1_FN void groups(const Args& args) {
    L1_SHARED(Room, room, 1);
    u32 turn = 0;
    // With the whole grid at one group, every block has every job.
    const bool is_by_grid = args.mode == BY_GRID;
    for (u64 index = is_by_grid ? 0 : blockIdx.x; index < args.count; index += is_by_grid ? 1 : gridDim.x) {
        const Job job = at<Job>(args.jobs)[index];
        const Turn line_of = at<Turn>(args.turns)[job.tensor];
        if (line_of.g == 0) continue;
        const Place& place = at<Place>(args.places)[job.tensor];
        const Charge& line = at<Charge>(args.charges)[line_of.charge];
        const Member m = member(args, place, job.part, room[0], turn);
        const Stepped<T> stepped(place, line_of, line);
        if (args.output != 0 && at<u64>(args.output)[job.tensor] != 0) {
            stays(m, stepped, line);
            turn = m.team.turn;
            continue;
        }
        OnGroup group = {curve_of<double>(line), line.weight, (line.flags & LINEARIZED) != 0, 0.0};
        if (group.has_tangent) {
            const double norm = norm_of(m, m.is_there, [&](u64 i) { return stepped.weight(i); });
            group.tangent = line.weight * group.phi.slope(norm);
        }
        m.entries.each([&](u64 i) { stepped.gather(i); });
        if (is_adaptive(stepped.optimizer)) {
            shrink_in_metric(m, stepped, group);
        } else {
            shrink(m, stepped, group, double(stepped.fold.step(stepped.move.numbers[2])));
        }
        turn = m.team.turn;
    }
}

// The norm of every group of `w`, into `state[0]`.
template <class T>
L1_FN void norms(const Args& args) {
    L1_SHARED(Room, room, 1);
    u32 turn = 0;
    const bool is_by_grid = args.mode == BY_GRID;
    for (u64 index = is_by_grid ? 0 : blockIdx.x; index < args.count; index += is_by_grid ? 1 : gridDim.x) {
        const Job job = at<Job>(args.jobs)[index];
        const Place& place = at<Place>(args.places)[job.tensor];
        const Member m = member(args, place, job.part, room[0], turn);
        const T* w = at<T>(place.w);
        const double norm = norm_of(m, m.is_there, [&](u64 i) { return Element<T>::load(w[i]); });
        if (m.is_first) at<double>(place.state[0])[m.group] = norm;
        turn = m.team.turn;
    }
}

}  // namespace l1

L1_KERNELS(groups, l1::groups)
L1_KERNELS(norms, l1::norms)
