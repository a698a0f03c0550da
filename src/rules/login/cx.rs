//! What the login machine is given with an input: the time of connecting, random numbers, and where its effects go.

use super::{Arrival, LoginEffect};

/// Random numbers of a login: SplitMix64, reproducible from the seed in its [`Arrival`]. They decide when a ban that
/// looks like network trouble strikes, and are the nonces for the auth server.
#[derive(Debug, Clone)]
pub struct LoginRng {
    state: u64,
}

impl LoginRng {
    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Time and randomness of one connection, for all inputs of its login.
#[derive(Debug, Clone)]
pub struct LoginSource {
    rng: LoginRng,
    connected_ms: i64,
}

impl LoginSource {
    /// For the login of this connection.
    pub fn new(arrival: &Arrival) -> LoginSource {
        LoginSource { rng: LoginRng { state: arrival.rng_seed }, connected_ms: arrival.utc_ms }
    }

    /// For one input.
    pub fn cx(&mut self) -> LoginCx<'_> {
        LoginCx { connected_ms: self.connected_ms, rng: &mut self.rng, effects: Vec::new() }
    }
}

/// What the login machine is given with an input.
#[derive(Debug)]
pub struct LoginCx<'a> {
    /// Time of connecting, milliseconds since 1970: tokens and bans are judged by it.
    pub connected_ms: i64,
    /// Random numbers.
    pub rng: &'a mut LoginRng,
    /// What is to be done, in order.
    pub effects: Vec<LoginEffect>,
}

impl LoginCx<'_> {
    /// Wants something done.
    pub(super) fn push(&mut self, effect: LoginEffect) {
        self.effects.push(effect);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let numbers = |state| {
            let mut rng = LoginRng { state };
            [(); 3].map(|()| rng.next())
        };
        // The generator's published test vector: traces of earlier versions replay only with the same numbers.
        assert_eq!(
            numbers(1_234_567),
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }
}
