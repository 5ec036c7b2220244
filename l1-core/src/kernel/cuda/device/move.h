// What an optimizer does with a coordinate before the prox: the formulas of `formula/{sgd,adamw,ftrl}.rs`.
#pragma once

#include "table.h"

namespace l1 {

enum Optimizer { SGD, MOMENTUM, ADAMW, AMSGRAD, FTRL, STAY, STAY_IN_METRIC };

// Numbers of state.
L1_FN constexpr int states(int optimizer) {
    return optimizer == MOMENTUM ? 1 : optimizer == ADAMW || optimizer == FTRL ? 2 : optimizer == AMSGRAD ? 3 : 0;
}

// Whether each coordinate has a step of its own.
L1_FN constexpr bool is_adaptive(int optimizer) {
    return optimizer == ADAMW || optimizer == AMSGRAD || optimizer == FTRL || optimizer == STAY_IN_METRIC;
}

// Whether a move asks for the gradient after it has been gathered.
L1_FN constexpr bool needs_gradient(int optimizer) {
    return optimizer == SGD || optimizer == MOMENTUM || optimizer == STAY_IN_METRIC;
}

// A large gradient as the nearest number that has a square.
template <class R>
L1_FN R with_square(R g) {
    const R most = Numbers<R>::largest_with_square();
    return larger(smaller(g, most), -most);
}

// The numbers of a step, in the type of the arithmetic.
//
// optimizer         | numbers
// SGD, STAY         | lr, keep, step of the prox
// MOMENTUM          | the same, μ, weight of the gradient, Nesterov's μ
// ADAMW, AMSGRAD    | 1 − β₁, β₂, 1 − β₂, m_correction, v_correction, lr, ε, keep
// FTRL              | lr, β, drift
template <class R>
struct Move {
    R numbers[8];
    bool has_lookahead;

    L1_FN explicit Move(const Charge& charge) : has_lookahead((charge.flags & LOOKAHEAD) != 0) {
#pragma unroll
        for (int k = 0; k < 8; ++k) numbers[k] = R(charge.numbers[k]);
    }

    // The state after a gradient.
    L1_FN void gather(int optimizer, R w, R g, R state[3]) const {
        switch (optimizer) {
            case MOMENTUM: state[0] = numbers[3] * state[0] + numbers[4] * g; break;
            case ADAMW:
            case AMSGRAD:
                g = with_square(g);
                // As an interpolation: in f32 the rounded β₁ and 1 − β₁ need not sum to 1.
                state[0] = state[0] + numbers[0] * (g - state[0]);
                state[1] = numbers[1] * state[1] + numbers[2] * g * g;
                if (optimizer == AMSGRAD) state[2] = larger(state[2], state[1]);
                break;
            case FTRL: {
                g = with_square(g);
                const R root = root_of(state[1]);
                // An infinite n would stop the weight for good.
                state[1] = smaller(state[1] + g * g, Numbers<R>::largest());
                const R next_root = root_of(state[1]);
                // The rounded roots themselves are subtracted: summed up they have to give 1/τ.
                const R sigma = (next_root - root) / numbers[0] + (numbers[1] + root) * numbers[2];
                state[0] = state[0] + (g - sigma * w);
                break;
            }
            default: break;
        }
    }

    // Where the gradient takes `w`, and the step of the prox that follows there; `state` as `gather` has left it.
    L1_FN void to(int optimizer, R w, R g, const R state[3], R& z, R& step) const {
        switch (optimizer) {
            case ADAMW:
            case AMSGRAD: {
                const R v = optimizer == AMSGRAD ? state[2] : state[1];
                step = numbers[5] / (root_of(v * numbers[4]) + numbers[6]);
                z = numbers[7] * w - step * (state[0] * numbers[3]);
                break;
            }
            case FTRL:
                step = numbers[0] / (numbers[1] + root_of(state[1]));
                z = -(step * state[0]);
                break;
            case STAY:
                step = numbers[2];
                z = w;
                break;
            case STAY_IN_METRIC:
                step = g;
                z = w;
                break;
            default: {
                const R direction = optimizer == SGD ? g : has_lookahead ? g + numbers[5] * state[0] : state[0];
                step = numbers[2];
                z = numbers[1] * w - numbers[0] * direction;
            }
        }
    }

    // What becomes of the state where `w` stays because `g` is not finite.
    L1_FN void pass_over(int optimizer, R w, R subgradient, R state[3]) const {
        if (optimizer != FTRL || w == R(0)) return;
        // The rate and the penalty charged so far change all the same: z becomes the one from which they give this w.
        state[0] = -(w * ((numbers[1] + root_of(state[1])) / numbers[0]) + subgradient);
    }
};

}  // namespace l1
