//! Accounts as a configuration file has them.

/// An account of `[users]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User name.
    pub name: String,
    /// Password hash; one that begins with `*` locks the account.
    pub hash: String,
    /// Account flags.
    pub flags: Vec<String>,
}
