//! Deterministic random numbers: unpredictable without the seed, reproducible with it.
//!
//! No crate: recorded traces have the seed of each session and digests of what was made with it, so this sequence has
//! to be there as long as they are to replay. A second generator beside it would only be more code.

use sha2::{Digest as _, Sha256};

/// A random generator: SHA-256 of a secret seed and a counter.
#[derive(Clone)]
pub struct Rng {
    /// `None`: it gives nothing.
    seed: Option<[u8; 32]>,
    counter: u64,
}

/// Does not print the seed, which is a secret.
impl std::fmt::Debug for Rng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rng").field("counter", &self.counter).finish_non_exhaustive()
    }
}

impl Rng {
    /// A generator without a seed, which gives nothing: where random numbers are not wanted, or cannot be had.
    pub fn unseeded() -> Rng {
        Rng { seed: None, counter: 0 }
    }

    /// A generator that reproduces the sequence of this seed.
    pub fn from_seed(seed: [u8; 32]) -> Rng {
        Rng { seed: Some(seed), counter: 0 }
    }

    /// The seed, to reproduce the sequence.
    pub fn seed(&self) -> Option<[u8; 32]> {
        self.seed
    }

    /// Up to 32 random bytes; `None` without a seed.
    pub(crate) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        const { assert!(N <= 32) };
        let seed = self.seed?;
        self.counter += 1;
        let digest = Sha256::new().chain_update(seed).chain_update(self.counter.to_le_bytes()).finalize();
        let mut bytes = [0; N];
        bytes.copy_from_slice(&digest[..N]);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_sequence() {
        let mut one = Rng::from_seed([1; 32]);
        let mut again = Rng::from_seed([1; 32]);
        let first: Option<[u8; 8]> = one.bytes();
        assert!(first.is_some());
        assert_eq!(first, again.bytes());
        assert_ne!(first, one.bytes());
        assert_ne!(first, Rng::from_seed([2; 32]).bytes());
        assert_ne!(Rng::from_seed([1; 32]).bytes::<8>(), Rng::from_seed([2; 32]).bytes());
        assert_eq!(Rng::unseeded().bytes::<8>(), None);
    }
}
