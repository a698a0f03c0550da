//! Numbers for random histories that are the same everywhere.

/// SplitMix64.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// The next number, below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// A user id from 1 to `users`.
    pub(crate) fn user(&mut self, users: u64) -> u8 {
        (self.below(users) + 1) as u8
    }
}
