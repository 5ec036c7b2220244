// Curves φ_λ(r): what a penalty charges for a group of norm r ≥ 0. The same formulas as in `penalty/curve.rs`, whose sources it names.
#pragma once

#include "number.h"

// A kernel that asks a curve in many places calls it; one that asks it for every coordinate has it inlined.
#if !defined(L1_CURVE_FN)
#define L1_CURVE_FN L1_FN
#endif

namespace l1 {

enum Curve { L1, MCP, SCAD, LOG, HALF, TWO_THIRDS, L0 };

// A curve with its numbers, in the type of the arithmetic.
template <class R>
struct Phi {
    int curve;
    R lambda;
    // γ or ε.
    R parameter;

    L1_CURVE_FN R value(R r) const;
    L1_CURVE_FN R slope(R r) const;
    L1_FN R slope_at_zero() const;
    L1_FN R threshold(R s) const;
    L1_FN R above(R a, R s) const;
    L1_CURVE_FN R prox(R a, R s) const;

    // `(above(a) − a)²/2 + s·φ(above(a))` less its value at r = 0, of the log curve.
    L1_FN R gain(R a, R s) const;
    L1_FN bool jumps(R s) const { return root_of(s * lambda) > parameter; }
};

template <class R>
L1_CURVE_FN R Phi<R>::value(R r) const {
    switch (curve) {
        case MCP: {
            const R at = smaller(r, parameter * lambda);
            return at * (lambda - at / (parameter + parameter));
        }
        case SCAD: {
            const R at = smaller(r, parameter * lambda);
            const R beyond = larger(at - lambda, R(0));
            return lambda * at - beyond * beyond / (R(2) * (parameter - R(1)));
        }
        case LOG: return lambda * ln_1p(r / parameter);
        case HALF: return lambda * root_of(r);
        case TWO_THIRDS: {
            const R root = cube_root(r);
            return lambda * root * root;
        }
        case L0: return r > R(0) ? lambda : R(0);
        default: return lambda * r;
    }
}

template <class R>
L1_CURVE_FN R Phi<R>::slope(R r) const {
    switch (curve) {
        case MCP: return larger(lambda - r / parameter, R(0));
        case SCAD: return larger(smaller((parameter * lambda - r) / (parameter - R(1)), lambda), R(0));
        case LOG: return lambda / (parameter + r);
        case HALF: return R(0.5) * lambda / root_of(r);
        case TWO_THIRDS: return R(2.0 / 3.0) * lambda / cube_root(r);
        case L0: return R(0);
        default: return lambda;
    }
}

template <class R>
L1_FN R Phi<R>::slope_at_zero() const {
    if (curve == L0) return lambda > R(0) ? Numbers<R>::infinity() : R(0);
    return slope(R(0));
}

template <class R>
L1_FN R Phi<R>::gain(R a, R s) const {
    const R r = above(a, s);
    // r/ε has to be a number: −∞ + ∞ would be none.
    const R bounded = smaller(r, Numbers<R>::largest() * smaller(parameter, R(1)));
    return r * (R(0.5) * r - a) + s * value(bounded);
}

template <class R>
L1_FN R Phi<R>::threshold(R s) const {
    switch (curve) {
        case MCP: return s < parameter ? s * lambda : lambda * root_of(parameter * s);
        case SCAD: return s <= parameter + R(1) ? s * lambda : lambda * root_of(s * (parameter + R(1)));
        case LOG: {
            const R l = s * lambda, soft = l / parameter;
            if (!jumps(s)) return soft;
            // The jump is where both minima are equally low: between the first a with two, and the last with 0 as one.
            R low = R(2) * root_of(l) - parameter, high = soft;
            for (int i = 0; i < 200; ++i) {
                const R middle = R(0.5) * (low + high);
                if (middle <= low || middle >= high) break;
                if (gain(middle, s) < R(0)) {
                    high = middle;
                } else {
                    low = middle;
                }
            }
            return low;
        }
        case HALF: return R(1.5) * power(s * lambda, R(2.0 / 3.0));
        case TWO_THIRDS: return R(2) * power(R(2.0 / 3.0) * s * lambda, R(0.75));
        case L0: return root_of(R(2) * s * lambda);
        default: return s * lambda;
    }
}

// The largest root x of `x³ − x + β = 0` gives `a·x²`.
template <class R>
L1_FN R root_of_half(R a, R beta) {
    R x = R(-5.211004);
    x = x * beta + R(1.026725);
    x = x * beta + R(-0.5595302);
    x = x * beta + R(-0.4926039);
    x = x * beta + R(0.9999532);
#pragma unroll
    for (int i = 0; i < Numbers<R>::NEWTON; ++i) {
        const R square = x * x;
        x = x - (x * square - x + beta) / (R(3) * square - R(1));
    }
    return a < Numbers<R>::vast() ? a * x * x : a;
}

template <class R>
L1_FN R beta_of_half(R a, R s, R lambda) {
    const R root = inverse_sqrt(a);
    return R(0.5) * (s * lambda) * root * root * root;
}

// The largest root x of `x⁴ − x + β = 0` gives `a·x³`.
template <class R>
L1_FN R root_of_two_thirds(R a, R beta) {
    R x = R(-13.13647);
    x = x * beta + R(9.1661);
    x = x * beta + R(-2.881592);
    x = x * beta + R(0.08240962);
    x = x * beta + R(-0.3457794);
    x = x * beta + R(1.000082);
#pragma unroll
    for (int i = 0; i < Numbers<R>::NEWTON; ++i) {
        const R cube = x * x * x;
        x = x - (x * cube - x + beta) / (R(4) * cube - R(1));
    }
    return a < Numbers<R>::vast() ? a * x * x * x : a;
}

template <class R>
L1_FN R beta_of_two_thirds(R a, R s, R lambda) {
    const R root = inverse_cbrt(a);
    return R(2.0 / 3.0) * (s * lambda) * root * root * root * root;
}

template <class R>
L1_FN R Phi<R>::above(R a, R s) const {
    switch (curve) {
        case MCP: {
            const R firm = smaller((a - s * lambda) / (R(1) - s / parameter), a);
            return s < parameter && a <= parameter * lambda ? firm : a;
        }
        case SCAD: {
            const R below_gamma = parameter - R(1);
            const R soft = a - s * lambda;
            // ((γ − 1)a − sγλ)/(γ − 1 − s), of a form that does not cancel.
            const R clipped = larger(a - s * (parameter * lambda - a) / (below_gamma - s), soft);
            const bool is_smooth = s < below_gamma;
            // Where the middle piece is not convex the prox jumps over it.
            const R end_of_soft = is_smooth ? lambda * (R(1) + s) : lambda * R(0.5) * (parameter + R(1) + s);
            if (s <= parameter + R(1) && a <= end_of_soft) return soft;
            return is_smooth && a <= parameter * lambda ? smaller(clipped, a) : a;
        }
        case LOG: {
            const R l = s * lambda, half = R(0.5);
            const R double_root = R(2) * root_of(l);
            // A product of two roots, since that of the numbers may overflow.
            const R root = root_of(larger(a + parameter - double_root, R(0))) * root_of(a + parameter + double_root);
            // Two forms of one root, each where it does not cancel.
            if (a >= parameter) return half * (a - parameter) + half * root;
            return larger(R(2) * (a * parameter - l) / (parameter - a + root), R(0));
        }
        case HALF: return root_of_half(a, beta_of_half(a, s, lambda));
        case TWO_THIRDS: return root_of_two_thirds(a, beta_of_two_thirds(a, s, lambda));
        case L0: return a;
        default: return a - s * lambda;
    }
}

// `argmin_{r ≥ 0} (r − a)²/2 + s·φ(r)` for a ≥ 0 and s ≥ 0; at a tie 0.
template <class R>
L1_CURVE_FN R Phi<R>::prox(R a, R s) const {
    switch (curve) {
        case LOG: {
            const R r = above(a, s);
            const R double_root = R(2) * root_of(s * lambda);
            const bool has_root = a + parameter >= double_root && r > R(0);
            if (s * lambda == R(0) || a >= Numbers<R>::vast()) return a;
            return has_root && (!jumps(s) || gain(a, s) < R(0)) ? r : R(0);
        }
        case HALF: {
            // At the threshold r = (2/3)·a, and β = (2/3)^1.5/2.
            const R beta = beta_of_half(a, s, lambda);
            if (s * lambda == R(0)) return a;
            return beta < R(0.2721655269759087) || a >= Numbers<R>::vast() ? root_of_half(a, beta) : R(0);
        }
        case TWO_THIRDS: {
            // At the threshold r = a/2, and β = 2^(−4/3).
            const R beta = beta_of_two_thirds(a, s, lambda);
            if (s * lambda == R(0)) return a;
            return beta < R(0.3968502629920499) || a >= Numbers<R>::vast() ? root_of_two_thirds(a, beta) : R(0);
        }
        default: return a <= threshold(s) ? R(0) : above(a, s);
    }
}

}  // namespace l1
