//! User accounts as the configuration file stores them (`[users]`).

/// One line of `[users]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    /// Password hash; one that begins with `*` locks the account.
    pub hash: String,
    pub flags: Vec<String>,
}
