// l1 on single entries with sign and ridge, fused into every move, and what can be folded away before any other curve: the formulas of
// `formula/mod.rs` and `proximal/fold.rs`.
#pragma once

#include "curve.h"
#include "table.h"

namespace l1 {

// A penalty of single entries by l1, in the type of the arithmetic.
template <class R>
struct Plain {
    R lambda, l2;
    bool positive;

    L1_FN explicit Plain(const Charge& charge)
        // On single entries both strengths do the same.
        : lambda(R(charge.lambda + charge.element)), l2(R(charge.l2)), positive((charge.flags & POSITIVE) != 0) {}

    // The element of ∂Ω(w) of smallest norm; NaN at NaN.
    L1_FN R subgradient(R w) const {
        const R sign = w > R(0) ? R(1) : w < R(0) ? R(-1) : w;
        const R ridge = l2 == R(0) ? R(0) : l2 * w;
        return lambda * sign + ridge;
    }

    L1_FN R prox(R z, R step) const { return shrink(z, step * lambda, step); }

    // A step of a user's own may be infinite, and ∞·0 is no threshold.
    L1_FN R prox_in_metric(R z, R step) const { return shrink(z, lambda == R(0) ? R(0) : step * lambda, step); }

    L1_FN R shrink(R z, R threshold, R step) const {
        const R distance = positive ? z : magnitude(z);
        // Written so that NaN fails the comparison and stays NaN.
        const R shrunk = distance <= threshold ? R(0) : z - with_sign(threshold, z);
        return l2 == R(0) ? shrunk : shrunk / (R(1) + step * l2);
    }
};

// Element λ, sign and ridge, in this order, before the prox of a curve.
template <class R>
struct Fold {
    R element, ridge;
    bool positive;

    L1_FN explicit Fold(const Charge& charge)
        : element(R(charge.element)), ridge(R(charge.l2)), positive((charge.flags & POSITIVE) != 0) {}

    // The argument and the step of the prox that is left.
    L1_FN void at(R& z, R& step) const {
        const R threshold = element == R(0) ? R(0) : step * element;
        const R distance = positive ? z : magnitude(z);
        const R shrunk = distance <= threshold ? R(0) : z - with_sign(threshold, z);
        if (ridge == R(0)) {
            z = shrunk;
        } else {
            z = shrunk / (R(1) + step * ridge);
            step = this->step(step);
        }
    }

    // Of this form, for an infinite step leaves 1/ridge.
    L1_FN R step(R step) const { return ridge == R(0) ? step : R(1) / (R(1) / step + ridge); }

    L1_FN R subgradient(R w) const {
        const R sign = w == R(0) ? w : with_sign(R(1), w);
        return element * sign + (ridge == R(0) ? R(0) : ridge * w);
    }
};

template <class R>
L1_FN Phi<R> curve_of(const Charge& charge) {
    Phi<R> phi;
    phi.curve = int(charge.curve);
    phi.lambda = R(charge.lambda);
    phi.parameter = R(charge.parameter);
    return phi;
}

// The subgradient of smallest norm at an entry of a group with this norm, as in `proximal/groups.rs`.
template <class R>
L1_FN R subgradient_of_group(const Charge& line, double norm, R w) {
    const double slope = norm > 0.0 ? line.weight * curve_of<double>(line).slope(norm) : 0.0;
    const R factor = R(norm > 0.0 ? slope / norm : 0.0);
    // Of subnormal numbers c·φ'(r)/r may be too large for a number; c·φ'(r) and w/r are none the less.
    const R of_curve = is_finite(factor) ? factor * w : R(slope * (double(w) / norm));
    return of_curve + Fold<R>(line).subgradient(w);
}

// Any curve on single entries: the formulas of `proximal/elements.rs`.
template <class R>
struct OnEntries {
    Phi<R> phi;
    Fold<R> fold;
    R times, left, threshold;
    bool is_linearized;

    L1_FN explicit OnEntries(const Charge& charge)
        : phi(curve_of<R>(charge)),
          fold(charge),
          times(R(charge.weight)),
          left(R(charge.left)),
          threshold(R(charge.threshold)),
          is_linearized((charge.flags & LINEARIZED) != 0) {}

    // With one step for all entries.
    L1_FN R prox(R z, R step) const {
        fold.at(z, step);
        const R size = magnitude(z);
        if (size <= threshold) return R(0);
        // NaN is not below the threshold, and a step of 0 leaves everything.
        return left == R(0) || is_nan(size) ? z : with_sign(phi.above(size, left), z);
    }

    // With a step of its own, from the weight before it.
    L1_FN R prox_in_metric(R w, R z, R step) const {
        fold.at(z, step);
        if (is_linearized) {
            // Soft-thresholding with the slope of the curve at the weight before the step (one-step LLA: Zou & Li 2008).
            const R by = step * (times * phi.slope(magnitude(w)));
            return magnitude(z) <= by ? R(0) : z - with_sign(by, z);
        }
        const R left = step * times;
        return left == R(0) || is_nan(z) ? z : with_sign(phi.prox(magnitude(z), left), z);
    }

    L1_FN R subgradient(R w) const {
        if (is_nan(w)) return w;
        const R of_curve = w == R(0) ? R(0) : with_sign(times * phi.slope(magnitude(w)), w);
        return of_curve + fold.subgradient(w);
    }
};

}  // namespace l1
