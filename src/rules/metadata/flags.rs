//! The flags of a session.

use serde::{Deserialize, Serialize};

/// Flags of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the protocol's own words")]
pub struct Flags {
    pub persistent: bool,
    pub preserve_chat: bool,
    pub nsfm: bool,
    pub deputies: bool,
    pub auth_only: bool,
    pub idle_override: bool,
    pub allow_web: bool,
    pub auto_title: bool,
    pub invites: bool,
    pub unlisted: bool,
}

impl Flags {
    const WORDS: [&str; 10] = [
        "persistent",
        "preserveChat",
        "nsfm",
        "deputies",
        "authonly",
        "idleoverride",
        "allowweb",
        "autotitle",
        "invites",
        "unlisted",
    ];

    fn get(&self) -> [bool; 10] {
        [
            self.persistent,
            self.preserve_chat,
            self.nsfm,
            self.deputies,
            self.auth_only,
            self.idle_override,
            self.allow_web,
            self.auto_title,
            self.invites,
            self.unlisted,
        ]
    }

    /// Flags from bits in the order of [`Self::words`].
    pub(in crate::rules) fn from_bits(bits: u16) -> Flags {
        let mut flags = Flags::default();
        for (index, flag) in flags.all_mut().into_iter().enumerate() {
            *flag = bits >> index & 1 == 1;
        }
        flags
    }

    fn all_mut(&mut self) -> [&mut bool; 10] {
        [
            &mut self.persistent,
            &mut self.preserve_chat,
            &mut self.nsfm,
            &mut self.deputies,
            &mut self.auth_only,
            &mut self.idle_override,
            &mut self.allow_web,
            &mut self.auto_title,
            &mut self.invites,
            &mut self.unlisted,
        ]
    }

    /// The words of the flags that are set, as in journals.
    pub fn words(&self) -> Vec<&'static str> {
        Self::WORDS.into_iter().zip(self.get()).filter(|(_, set)| *set).map(|(word, _)| word).collect()
    }

    /// Parses words; returns the unknown ones too.
    pub fn from_words(text: &str) -> (Flags, Vec<String>) {
        let (mut bits, mut unknown) = (0, Vec::new());
        for word in text.split_whitespace() {
            match Self::WORDS.iter().position(|w| *w == word) {
                Some(index) => bits |= 1 << index,
                None => unknown.push(word.to_owned()),
            }
        }
        (Self::from_bits(bits), unknown)
    }
}
