//! Randomness of the operating system, for generators that are given to the rules.

use crate::rules::rng::Rng;

/// A generator with a seed from the operating system; one that gives nothing if that has none.
pub(crate) fn seeded_rng() -> Rng {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_or_else(|_| Rng::unseeded(), |()| Rng::from_seed(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generator_has_a_seed_of_its_own() {
        let (one, other) = (seeded_rng().seed(), seeded_rng().seed());
        assert!(one.is_some() && one != other);
    }
}
