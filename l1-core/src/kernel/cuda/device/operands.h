// The numbers of one tensor in a step: where they are read from and written to.
#pragma once

#include "launch.h"
#include "move.h"

namespace l1 {

template <class T, class G>
struct Operands {
    typedef typename Element<T>::Real R;

    T* w;
    const G* g;
    R* copy;
    R* state[3];
    u32 hold;

    L1_FN Operands(const Place& place, const Turn& turn)
        : w(at<T>(place.w)), g(at<G>(turn.g)), copy(at<R>(place.copy)), hold(turn.hold) {
        for (int k = 0; k < 3; ++k) state[k] = at<R>(place.state[k]);
    }

    // Whether packs of all of them begin where packs may begin.
    L1_FN bool is_aligned(int states) const {
        const u64 of_t = sizeof(Pack<T>) < 16 ? sizeof(Pack<T>) : 16, of_g = sizeof(Pack<G>) < 16 ? sizeof(Pack<G>) : 16;
        u64 wide = u64(copy);
        for (int k = 0; k < states; ++k) wide |= u64(state[k]);
        return u64(w) % of_t == 0 && u64(g) % of_g == 0 && wide % 16 == 0;
    }

    // The weight that is stepped: the f32 copy where it is the source of what is stored, else what is stored.
    L1_FN R weight(T stored, R copy) const {
        const R of_w = Element<T>::load(stored);
        return Element<T>::load(Element<T>::store(copy)) == of_w ? copy : of_w;
    }

    // What a frozen support takes away before the step: the gradient of a zero, if it is finite, and all it has gathered.
    L1_FN void held(T stored, R& w, R& g, R& gathered) const {
        if (hold == ZEROS_ANEW) gathered = R(0);
        if (Element<T>::load(stored) == R(0)) {
            w = R(0);
            gathered = R(0);
            if (is_finite(g)) g = R(0);
        }
    }
};

}  // namespace l1
