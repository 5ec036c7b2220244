// The threads that share a group, and their sums: a warp, a block, threads of a block that lie across the groups of others, or the whole
// grid. Every sum has a fixed order.
#pragma once

#include "launch.h"
#include "radius.h"

namespace l1 {

enum Sharing { BY_WARP, BY_BLOCK, ACROSS, BY_GRID };

struct Room {
    Pair pairs[L1_THREADS];
    int any;
};

L1_FN Pair add(Pair a, Pair b) { return Pair{a.a + b.a, a.b + b.b}; }

// A NaN is passed over.
L1_FN Pair most(Pair a, Pair b) { return Pair{larger(a.a, b.a), larger(a.b, b.b)}; }

struct Team {
    u32 sharing;
    Room* room;
    // Groups of a tensor lie `run` columns wide beside each other.
    u32 run;
    // Sums of the blocks of a grid, for two turns; and how many blocks have arrived, all turns together.
    volatile Pair* of_blocks;
    u32* arrived;
    mutable u32 turn;

    template <class Join>
    L1_CALL Pair all(Pair mine, Join join) const {
        switch (sharing) {
            case BY_WARP: return of_warp(mine, join);
            case BY_BLOCK: return joined(room->pairs, mine, join);
            case ACROSS: return of_column(mine, join);
            default: return of_grid(mine, join);
        }
    }

    L1_FN Pair sum(Pair mine) const {
        return all(mine, [](Pair a, Pair b) { return add(a, b); });
    }

    L1_FN Pair largest(Pair mine) const {
        return all(mine, [](Pair a, Pair b) { return most(a, b); });
    }

    // Whether it is so of any group that the threads of this block have to wait for. (All threads of a group say the same.)
    L1_FN bool any(bool mine) const {
        if (sharing != ACROSS) return mine;
        if (threadIdx.x == 0) room->any = 0;
        __syncthreads();
        if (mine) room->any = 1;
        __syncthreads();
        const bool result = room->any != 0;
        __syncthreads();
        return result;
    }

    template <class Join>
    L1_FN Pair of_warp(Pair mine, Join join) const {
        const u32 lane = threadIdx.x % L1_WARP;
        room->pairs[threadIdx.x] = mine;
        __syncwarp();
        for (u32 half = L1_WARP / 2; half > 0; half /= 2) {
            if (lane < half) room->pairs[threadIdx.x] = join(room->pairs[threadIdx.x], room->pairs[threadIdx.x + half]);
            __syncwarp();
        }
        const Pair all = room->pairs[threadIdx.x - lane];
        __syncwarp();
        return all;
    }

    // Down each column, then over the columns of each group.
    template <class Join>
    L1_FN Pair of_column(Pair mine, Join join) const {
        room->pairs[threadIdx.x] = mine;
        __syncthreads();
        for (u32 half = L1_THREADS / 2; half >= L1_WARP; half /= 2) {
            if (threadIdx.x < half) room->pairs[threadIdx.x] = join(room->pairs[threadIdx.x], room->pairs[threadIdx.x + half]);
            __syncthreads();
        }
        const u32 column = threadIdx.x % L1_WARP, first = column / run * run;
        // Columns beyond the last whole group belong to none.
        const u32 end = first + run < L1_WARP ? first + run : L1_WARP;
        Pair all = room->pairs[first];
        for (u32 k = first + 1; k < end; ++k) all = join(all, room->pairs[k]);
        __syncthreads();
        return all;
    }

    // The sums of all blocks, which every block adds up for itself. Of two turns, since a block may be one ahead of another.
    template <class Join>
    L1_FN Pair of_grid(Pair mine, Join join) const {
        const Pair of_block = joined(room->pairs, mine, join);
        volatile Pair* sums = of_blocks + (turn++ % 2) * gridDim.x;
        if (threadIdx.x == 0) {
            sums[blockIdx.x].a = of_block.a;
            sums[blockIdx.x].b = of_block.b;
        }
        meet();
        // Of no block yet: what adds nothing, and is not larger than any size.
        Pair all = Pair{0.0, 0.0};
        for (u32 block = threadIdx.x; block < gridDim.x; block += blockDim.x) {
            all = join(all, Pair{sums[block].a, sums[block].b});
        }
        return joined(room->pairs, all, join);
    }

    // All blocks of the grid wait for each other. They are resident together: the launch is a cooperative one.
    L1_FN void meet() const {
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
            const u32 ticket = atomicAdd(arrived, 1u);
            const u32 target = (ticket / gridDim.x + 1) * gridDim.x;
            volatile u32* now = arrived;
            while (*now < target) L1_WAIT();
            __threadfence();
        }
        __syncthreads();
    }
};

}  // namespace l1
