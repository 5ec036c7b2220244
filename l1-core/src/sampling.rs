//! Rows drawn at random: the same from the same seed, on every machine and in every version.

use candle_core::Tensor;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use crate::{Error, Result};

/// A source of random rows. ChaCha with 8 rounds is specified to the bit, and so is what is made of it here.
#[derive(Debug)]
pub(crate) struct Sampler(ChaCha8Rng);

impl Sampler {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `bound`, each as likely as the others.
    fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        // The numbers that fill whole rounds of `bound`.
        let whole = u64::MAX - u64::MAX % bound.max(1);
        loop {
            let number = self.0.next_u64();
            if number < whole {
                return (number % bound) as usize;
            }
        }
    }

    /// All orders are as likely (Fisher & Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// The numbers below `length` in random order.
    pub(crate) fn order(&mut self, length: usize) -> Vec<usize> {
        let mut order: Vec<_> = (0..length).collect();
        self.shuffle(&mut order);
        order
    }
}

/// These rows of a tensor, in this order.
///
/// * `all`: how many rows it has to have.
pub(crate) fn select(tensor: &Tensor, rows: &[usize], all: usize) -> Result<Tensor> {
    if tensor.dims().first() != Some(&all) {
        let mut expected = tensor.dims().to_vec();
        match expected.first_mut() {
            Some(first) => *first = all,
            None => expected.push(all),
        }
        let found = tensor.shape().clone();
        return Err(Error::ShapeMismatch { argument: "rows", found, expected: expected.into() });
    }
    let index: Vec<_> = rows.iter().map(|row| *row as i64).collect();
    let index = Tensor::from_vec(index, rows.len(), tensor.device())?;
    Ok(tensor.contiguous()?.index_select(&index, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_order_on_every_machine() {
        assert_eq!(Sampler::new(1).order(8), Sampler::new(1).order(8));
        assert_ne!(Sampler::new(1).order(8), Sampler::new(2).order(8));
        // Written down once: a change of it changes everybody's folds.
        assert_eq!(Sampler::new(1).order(8), WRITTEN_DOWN);
    }

    #[test]
    fn each_place_is_as_likely() {
        let mut sampler = Sampler::new(7);
        let mut counts = [[0; 4]; 4];
        for _ in 0..8000 {
            for (place, item) in sampler.order(4).into_iter().enumerate() {
                counts[place][item] += 1;
            }
        }
        // Five standard deviations of a binomial with p = ¼.
        let far = 5.0 * (8000.0f64 * 0.25 * 0.75).sqrt();
        assert!(counts.as_flattened().iter().all(|count| (f64::from(*count) - 2000.0).abs() < far), "{counts:?}");
    }

    /// By a program of its own in Python: ChaCha8 from its specification, its key from the seed as `seed_from_u64` says.
    const WRITTEN_DOWN: [usize; 8] = [0, 2, 3, 4, 5, 6, 7, 1];
}
