// The emulated GPU, and with it every kernel.

#include "emulated.h"

#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace emulated {

typedef void (*Run)(const l1::Args&);

static std::map<std::string, Run>& kernels() {
    static std::map<std::string, Run> all;
    return all;
}

Kernel::Kernel(const char* name, Run run) { kernels()[name] = run; }

// A place where some threads wait for each other.
struct Barrier {
    unsigned expected = 0, arrived = 0;
    unsigned long generation = 0;
};

struct Block {
    Barrier barrier;
    std::vector<Barrier> of_warps;
    std::vector<std::max_align_t> memory;
};

// A fiber runs one thread after the other and is never given up. It begins as a context; after that jumps lead to it and back, for they ask
// nothing of the system.
struct Fiber {
    ucontext_t context;
    jmp_buf jump;
    std::unique_ptr<char[]> stack;
    unsigned thread = 0, block = 0;
    bool has_begun = false, is_done = true;
};

const std::size_t STACK = 256 * 1024, SHARED = 16 * 1024;

thread_local Index thread, block, threads, blocks;

// What one launch needs; every thread of the host has its own GPU.
struct Gpu {
    jmp_buf scheduler;
    ucontext_t beginning;
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Block> blocks;
    Fiber* now = nullptr;
    Run run = nullptr;
    const l1::Args* args = nullptr;
    // Since something last went on.
    unsigned long idle = 0;
};

static thread_local Gpu gpu;

void wait() {
    if (_setjmp(gpu.now->jump) == 0) _longjmp(gpu.scheduler, 1);
}

// Lets a fiber run until it waits or is done.
static void resume(Fiber& fiber) {
    gpu.now = &fiber;
    thread.x = fiber.thread;
    block.x = fiber.block;
    if (_setjmp(gpu.scheduler) != 0) return;
    if (fiber.has_begun) _longjmp(fiber.jump, 1);
    fiber.has_begun = true;
    swapcontext(&gpu.beginning, &fiber.context);
}

static void meet(Barrier& barrier) {
    const unsigned long generation = barrier.generation;
    if (++barrier.arrived == barrier.expected) {
        barrier.arrived = 0;
        ++barrier.generation;
        gpu.idle = 0;
        return;
    }
    while (barrier.generation == generation) wait();
}

static Block& own_block() { return gpu.blocks[gpu.now->block % gpu.blocks.size()]; }

void meet_block() { meet(own_block().barrier); }
void meet_warp() { meet(own_block().of_warps[gpu.now->thread / L1_WARP]); }

void* shared(std::size_t bytes) {
    if (bytes > SHARED) std::abort();
    std::vector<std::max_align_t>& memory = own_block().memory;
    if (memory.empty()) {
        memory.resize(bytes / sizeof(std::max_align_t) + 1);
        // What lies there from another block is to be of no use.
        std::memset(static_cast<void*>(memory.data()), 0xff, bytes);
    }
    return memory.data();
}

static void begin() {
    for (;;) {
        gpu.run(*gpu.args);
        gpu.now->is_done = true;
        wait();
    }
}

// Runs some blocks at once, to their ends.
static void run(unsigned first, unsigned count) {
    gpu.blocks.resize(count);
    for (Block& block : gpu.blocks) {
        block.barrier = Barrier();
        block.barrier.expected = L1_THREADS;
        block.of_warps.assign(L1_THREADS / L1_WARP, Barrier());
        for (Barrier& barrier : block.of_warps) barrier.expected = L1_WARP;
        block.memory.clear();
    }
    const std::size_t all = std::size_t(count) * L1_THREADS;
    while (gpu.fibers.size() < all) {
        gpu.fibers.emplace_back(new Fiber);
        Fiber& fiber = *gpu.fibers.back();
        fiber.stack.reset(new char[STACK]);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, begin, 0);
    }
    for (std::size_t i = 0; i < all; ++i) {
        Fiber& fiber = *gpu.fibers[i];
        fiber.thread = unsigned(i % L1_THREADS);
        fiber.block = first + unsigned(i / L1_THREADS);
        fiber.is_done = false;
    }
    gpu.idle = 0;
    for (std::size_t left = all; left > 0;) {
        // Not always in the same order: who comes first must not matter.
        static thread_local unsigned long turn = 0;
        ++turn;
        for (std::size_t k = 0; k < all; ++k) {
            Fiber& fiber = *gpu.fibers[turn % 2 ? k : all - 1 - k];
            if (fiber.is_done) continue;
            resume(fiber);
            if (fiber.is_done) {
                --left;
                gpu.idle = 0;
            }
        }
        if (++gpu.idle > 100000) {
            std::fprintf(stderr, "l1: threads of an emulated kernel wait for each other for ever\n");
            std::abort();
        }
    }
}

}  // namespace emulated

#include "../device/launch.h"

#include "../device/curves.cu"
#include "../device/groups.cu"
#include "../device/steps.cu"
#include "../device/sums.cu"

// Returns 0, or 1 where there is no such kernel. `together`: whether all blocks are resident at once.
extern "C" int l1_emulated_launch(const char* name, unsigned grid, int together, const l1::Args* args) {
    const auto found = emulated::kernels().find(name);
    if (found == emulated::kernels().end()) return 1;
    emulated::gpu.run = found->second;
    emulated::gpu.args = args;
    emulated::threads.x = L1_THREADS;
    emulated::blocks.x = grid;
    if (together) {
        emulated::run(0, grid);
    } else {
        for (unsigned block = 0; block < grid; ++block) emulated::run(block, 1);
    }
    return 0;
}
