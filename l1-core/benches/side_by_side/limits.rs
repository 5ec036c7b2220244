//! Bare loops over the same arrays, on all cores, with the machine's widest vectors: what no kernel can beat.

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

/// Numbers that a thread takes at a time.
const CHUNK: usize = 16 * 1024;

/// Arrays like those of a step: weights, gradients, and as much state as is asked for.
pub(crate) struct Arrays {
    pub(crate) w: Vec<Vec<f32>>,
    pub(crate) g: Vec<Vec<f32>>,
    pub(crate) state: Vec<[Vec<f32>; 2]>,
}

impl Arrays {
    pub(crate) fn new(count: usize, length: usize) -> Self {
        let array = |fill: f32| vec![vec![fill; length]; count];
        let state = (0..count).map(|_| [vec![0.1; length], vec![0.2; length]]).collect();
        Self { w: array(0.05), g: array(1e-9), state }
    }

    /// Reads w.
    pub(crate) fn read_w(&self) -> f32 {
        let chunks = self.w.par_iter().flat_map(|w| w.par_chunks(CHUNK));
        chunks.map(|w| Arch::new().dispatch(Read(w))).sum()
    }

    /// Reads w, updates g.
    pub(crate) fn update_g_from_w(&mut self) {
        let pairs = self.g.par_iter_mut().zip(&self.w);
        pairs.for_each(|(g, w)| {
            g.par_chunks_mut(CHUNK).zip(w.par_chunks(CHUNK)).for_each(|(g, w)| Arch::new().dispatch(Add1(g, w)));
        });
    }

    /// Reads g, updates w and one array of state.
    pub(crate) fn update_w_and_one(&mut self) {
        let tensors = self.w.par_iter_mut().zip(&self.g).zip(&mut self.state);
        tensors.for_each(|((w, g), [b, _])| {
            let chunks = w.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).zip(b.par_chunks_mut(CHUNK));
            chunks.for_each(|((w, g), b)| Arch::new().dispatch(Add2(w, b, g)));
        });
    }

    /// Reads g, updates w and two arrays of state.
    pub(crate) fn update_w_and_two(&mut self) {
        let tensors = self.w.par_iter_mut().zip(&self.g).zip(&mut self.state);
        tensors.for_each(|((w, g), [m, v])| {
            let chunks = w.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK));
            let chunks = chunks.zip(m.par_chunks_mut(CHUNK)).zip(v.par_chunks_mut(CHUNK));
            chunks.for_each(|(((w, g), m), v)| Arch::new().dispatch(Add3(w, m, v, g)));
        });
    }

    /// Reads g alone, as a check of all gradients before a step has to.
    pub(crate) fn read_g(&self) -> f32 {
        let chunks = self.g.par_iter().flat_map(|g| g.par_chunks(CHUNK));
        chunks.map(|g| Arch::new().dispatch(Read(g))).sum()
    }
}

struct Read<'a>(&'a [f32]);
struct Add1<'a>(&'a mut [f32], &'a [f32]);
struct Add2<'a>(&'a mut [f32], &'a mut [f32], &'a [f32]);
struct Add3<'a>(&'a mut [f32], &'a mut [f32], &'a mut [f32], &'a [f32]);

impl NullaryFnOnce for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        // As many sums as hide the latency of an addition.
        let mut sums = [0f32; 64];
        for values in self.0.as_chunks::<64>().0 {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += *value;
            }
        }
        sums.iter().sum()
    }
}

impl NullaryFnOnce for Add1<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.0.iter_mut().zip(self.1).for_each(|(a, g)| *a += *g);
    }
}

impl NullaryFnOnce for Add2<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for ((a, b), g) in self.0.iter_mut().zip(self.1).zip(self.2) {
            *a += *g;
            *b += *g;
        }
    }
}

impl NullaryFnOnce for Add3<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (((a, b), c), g) in self.0.iter_mut().zip(self.1).zip(self.2).zip(self.3) {
            *a += *g;
            *b += *g;
            *c += *g;
        }
    }
}
