//! XᵀHX over the coordinates that have been in use, kept for as long as the curvature H stays.

use super::{columns::Columns, loss::Curvature};
use crate::kernel::simd;

const NONE: u32 = u32::MAX;

/// A coordinate is `column·k + output`, of W for the first p columns and of the intercept in the last; a slot is its place in the matrix.
#[derive(Debug)]
pub(super) struct Gram {
    outputs: usize,
    /// The coordinate of each slot.
    pub(super) coordinates: Vec<usize>,
    slot_of: Vec<u32>,
    /// Slots and columns of each output.
    by_output: Vec<(Vec<usize>, Vec<usize>)>,
    matrix: Vec<f64>,
    stride: usize,
    weighted: Vec<f64>,
    sums: Vec<f64>,
}

impl Gram {
    pub(super) fn new(outputs: usize, coordinates: usize) -> Self {
        Self {
            outputs,
            coordinates: Vec::new(),
            slot_of: vec![NONE; coordinates],
            by_output: vec![(Vec::new(), Vec::new()); outputs],
            matrix: Vec::new(),
            stride: 0,
            weighted: Vec::new(),
            sums: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.coordinates.len()
    }

    pub(super) fn clear(&mut self) {
        for coordinate in self.coordinates.drain(..) {
            self.slot_of[coordinate] = NONE;
        }
        for (slots, columns) in &mut self.by_output {
            slots.clear();
            columns.clear();
        }
    }

    pub(super) fn slot(&self, coordinate: usize) -> Option<usize> {
        let slot = self.slot_of[coordinate];
        (slot != NONE).then_some(slot as usize)
    }

    #[inline(always)]
    pub(super) fn row(&self, slot: usize) -> &[f64] {
        &self.matrix[slot * self.stride..][..self.coordinates.len()]
    }

    #[inline(always)]
    pub(super) fn at(&self, a: usize, b: usize) -> f64 {
        self.matrix[a * self.stride + b]
    }

    /// The slots of coordinates that follow each other, which become neighbours if none of them is in use.
    pub(super) fn add(
        &mut self,
        columns: &Columns,
        curvature: &Curvature,
        coordinates: std::ops::Range<usize>,
    ) -> usize {
        let first = coordinates.start;
        if let Some(slot) = self.slot(first) {
            return slot;
        }
        let slot = self.len();
        for coordinate in coordinates {
            self.make_room();
            simd::run(Add { gram: self, columns, curvature, coordinate });
        }
        slot
    }

    fn make_room(&mut self) {
        let used = self.len();
        if used < self.stride {
            return;
        }
        let stride = (2 * self.stride).max(64);
        let mut matrix = vec![0.0; stride * stride];
        for row in 0..used {
            matrix[row * stride..][..used].copy_from_slice(&self.matrix[row * self.stride..][..used]);
        }
        (self.matrix, self.stride) = (matrix, stride);
    }
}

struct Add<'a> {
    gram: &'a mut Gram,
    columns: &'a Columns,
    curvature: &'a Curvature,
    coordinate: usize,
}

impl simd::Loop for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { gram, columns, curvature, coordinate } = self;
        let (slot, stride) = (gram.coordinates.len(), gram.stride);
        let (column, output) = (coordinate / gram.outputs, coordinate % gram.outputs);
        gram.coordinates.push(coordinate);
        gram.slot_of[coordinate] = slot as u32;
        gram.by_output[output].0.push(slot);
        gram.by_output[output].1.push(column);
        for other in 0..gram.outputs {
            let (slots, others) = &gram.by_output[other];
            let Some(curvature) = curvature.of(output, other) else {
                for &other in slots {
                    gram.matrix[slot * stride + other] = 0.0;
                    gram.matrix[other * stride + slot] = 0.0;
                }
                continue;
            };
            gram.weighted.clear();
            gram.weighted.extend(columns.column(column).iter().zip(curvature).map(|(x, h)| x * h));
            columns.dots(others.iter().copied(), &gram.weighted, &mut gram.sums);
            for (&other, sum) in slots.iter().zip(&gram.sums) {
                gram.matrix[slot * stride + other] = *sum;
                gram.matrix[other * stride + slot] = *sum;
            }
        }
    }
}
