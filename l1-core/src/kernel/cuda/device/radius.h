// The norm r of a group after its prox, as in `proximal/radius.rs` and `proximal/group.rs`, in double throughout.
//
// In a diagonal metric with steps tᵢ, `min Σ(uᵢ − zᵢ)²/(2tᵢ) + κ‖u‖` has `uᵢ = zᵢ·r/(r + κtᵢ)`, where r is the root of the secular
// equation `h(r) = Σ zᵢ²/(r + κtᵢ)² = 1`, or u = 0 where `Σ(zᵢ/(κtᵢ))² ≤ 1`. h^(−1/2) is concave and increases, so that Newton's
// method on it climbs to the root from any point below (Moré & Sorensen 1983; Conn, Gould & Toint 2000, ch. 7).
//
// A `Team` is the threads that share a group. Teams of one block may work on different groups, but have to meet in each sum: so every
// sum says whether this group wants it, and loops go on until no group of the block wants another turn.
#pragma once

#include "curve.h"

namespace l1 {

struct Pair {
    double a, b;
};

// The penalty of one group after the fold.
struct OnGroup {
    Phi<double> phi;
    // c_g, times how often φ is charged.
    double weight;
    // κ = c·φ'(‖w_g‖) at the weights before the step, if the curve is met by its tangent.
    bool has_tangent;
    double tangent;

    // Whether the problem is convex: with κ, which else depends on the result.
    L1_FN bool is_convex(double& slope) const {
        slope = has_tangent ? tangent : weight * phi.slope(1.0);
        return has_tangent || phi.curve == L1;
    }

    // What a group of this norm is multiplied by, in a metric that is one step; from an infinite entry the others are not told apart, and
    // all stay.
    L1_FN double factor(double norm, double step) const {
        if (norm == 0.0 || is_infinite(norm)) return 1.0;
        return is_nan(norm) ? norm : phi.prox(norm, weight * step) / norm;
    }
};

// Radius and slope of a solution. A radius of 0 stands for a group of zeros.
struct Found {
    double radius, slope;
};

// `entry` of the result.
L1_FN double shrunk(double z, double step, Found found) {
    if (found.radius == 0.0) return 0.0;
    return found.slope == 0.0 ? z : z * (found.radius / (found.radius + found.slope * step));
}

// Newton's method on `h^(−1/2) = 1`, kept within a bracket.
struct Climb {
    double low, high, radius;

    // Takes the next step, from `h(r)` and `h₃(r) = Σ z²/(r + κt)³`. Returns whether it was the last one.
    L1_FN bool next(Pair sums) {
        const double h = sums.a, error = h - 1.0;
        if (magnitude(error) <= 4.0 * Numbers<double>::epsilon()) return true;
        (error > 0.0 ? low : high) = radius;
        const double newton = radius + h * (root_of(h) - 1.0) / sums.b;
        const bool is_inside = low <= newton && newton <= high;
        const double next = is_inside ? newton : 0.5 * (low + high);
        // A step of relative length δ leaves an error of at most 1.5·δ², since h₄/h₃ ≤ 1/r: after this one only rounding is left.
        const bool is_last = next == radius || (is_inside && magnitude(next - radius) <= 1e-8 * next);
        radius = next;
        return is_last || is_nan(next);
    }
};

// One group in its metric, in units of a power of 2 near its largest entry where squares would overflow or vanish.
template <class Team, class Entries>
struct Problem {
    const Team& team;
    // `entries(term)`: the sums of `term(z, step)` over what this thread has of the group.
    const Entries& entries;
    double unit;
    // Σz² and Σz²t.
    Pair start;

    template <class F>
    L1_FN Pair sum(bool is_wanted, F term) const {
        Pair mine = {0.0, 0.0};
        const double unit = this->unit;
        if (is_wanted) {
            mine = entries([&](double z, double step) { return term(unit == 1.0 ? z : z / unit, step); });
        }
        return team.sum(mine);
    }

    // The larger of both, each by itself.
    template <class F>
    L1_FN Pair largest(bool is_wanted, F term) const {
        Pair mine = {0.0, 0.0};
        if (is_wanted) mine = entries.template largest<F>(term);
        return team.largest(mine);
    }

    // r and κ of the solution with `κ‖u‖`.
    L1_CALL Found root(bool is_wanted, double slope) const {
        const double norm = root_of(start.a), rounding = 64.0 * Numbers<double>::epsilon();
        Found found = {0.0, 0.0};
        bool is_climbing = is_wanted && slope != 0.0 && !is_infinite(slope);
        if (is_wanted && slope == 0.0) found.radius = norm;
        // Jensen's inequality, with the mean of the steps that z² weighs. The sums are rounded: a little less is no more than the root.
        const double below = norm * (1.0 - rounding) - slope * (start.b / start.a) * (1.0 + rounding);
        Climb climb = {below, norm * (1.0 + rounding), below};
        const bool is_near = is_climbing && !(below > 1e-3 * norm && is_finite(below));
        if (team.any(is_near)) {
            const Pair ratios = sum(is_near, [](double z, double step) {
                // 0/0 counts 0.
                const double ratio = z == 0.0 ? 0.0 : z / step;
                return Pair{ratio * ratio, 0.0};
            });
            const double unit = this->unit;
            const Pair edge = largest(is_near, [=](double z, double step) {
                return Pair{magnitude(unit == 1.0 ? z : z / unit) - slope * step, 0.0};
            });
            if (is_near && ratios.a <= slope * slope) {
                is_climbing = false;
            } else if (is_near) {
                climb.low = smaller(larger(below, edge.a), norm);
                climb.radius = climb.low;
            }
        }
        if (is_climbing) found.slope = slope;
        for (int i = 0; i < 100 && team.any(is_climbing); ++i) {
            const double radius = climb.radius;
            const Pair sums = sum(is_climbing, [=](double z, double step) {
                const double inverse = 1.0 / (radius + slope * step), quotient = z == 0.0 ? 0.0 : z * inverse;
                const double square = quotient * quotient;
                return Pair{square, square == 0.0 ? 0.0 : square * inverse};
            });
            if (is_climbing) is_climbing = !climb.next(sums);
        }
        if (found.slope != 0.0) found.radius = climb.radius;
        return found;
    }

    // Where majorization leads from a radius.
    L1_CALL Found settle(bool is_wanted, const OnGroup& on, double epsilon, double radius, double slope) const {
        Found found = {0.0, 0.0};
        double last = 0.0;
        for (int pass = 0; pass < 1000 && team.any(is_wanted); ++pass) {
            const Found next = root(is_wanted, slope);
            if (!is_wanted) continue;
            found = next;
            if (next.radius == 0.0) {
                is_wanted = false;
                continue;
            }
            const double change = next.radius - radius;
            radius = next.radius;
            if (magnitude(change) <= 4.0 * epsilon * radius) {
                is_wanted = false;
                continue;
            }
            // Near the end the changes are a geometric sequence, a slow one where the problem is hardly convex: to its limit.
            const double ratio = change / last, limit = radius + change * ratio / (1.0 - ratio);
            const bool is_near = magnitude(change) < 1e-3 * radius && ratio >= 0.0 && ratio < 1.0;
            if (pass % 4 == 3 && is_near && limit >= 0.5 * radius && limit < 2.0 * radius) radius = limit;
            last = change;
            slope = on.weight * on.phi.slope(radius * unit) / unit;
        }
        return found;
    }

    // `Σ(u − z)²/(2t) + c·φ(‖u‖)`, in squared units.
    L1_CALL double objective(bool is_wanted, const OnGroup& on, Found found) const {
        const double charge =
            on.weight * on.phi.value(smaller(found.radius * unit, Numbers<double>::vast())) / unit / unit;
        // u − z = −z·κt/(r + κt).
        const Pair distance = sum(is_wanted && found.slope != 0.0, [=](double z, double step) {
            const double quotient = z == 0.0 ? 0.0 : z / (found.radius + found.slope * step);
            const double square = 0.5 * found.slope * found.slope * step * quotient * quotient;
            return Pair{step == 0.0 || quotient == 0.0 ? 0.0 : square, 0.0};
        });
        return distance.a + charge;
    }

    // The lower of the minima that majorization leads to, from the largest radius downwards and from 0 upwards; 0 at a tie.
    L1_FN Found lowest(bool is_wanted, const OnGroup& on, double epsilon) const {
        const double norm = root_of(start.a), at_zero = on.weight * on.phi.slope_at_zero() / unit;
        const Found above =
            settle(is_wanted, on, epsilon, norm, on.weight * on.phi.slope(norm * unit) / unit);
        const Found below = settle(is_wanted && is_finite(at_zero), on, epsilon, 0.0, at_zero);
        const Pair of_zero = sum(is_wanted, [](double z, double step) {
            return Pair{z == 0.0 ? 0.0 : 0.5 * z * z / step, 0.0};
        });
        const double of_below = objective(is_wanted && below.radius != 0.0, on, below);
        const double of_above = objective(is_wanted && above.radius != 0.0, on, above);
        Found best = {0.0, 0.0};
        double objective = of_zero.a;
        if (below.radius != 0.0 && of_below < objective) {
            best = below;
            objective = of_below;
        }
        if (above.radius != 0.0 && of_above < objective) best = above;
        return best;
    }
};

}  // namespace l1
