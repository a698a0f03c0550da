//! Why a request of an administrator fails.

/// Why an operation is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum AdminError {
    #[error("Not found")]
    NotFound,
    #[error("No thumbnail available")]
    NoThumbnail,
    #[error("Client does not have thumbnail capabilities")]
    NoThumbnailCapability,
    #[error("Thumbnail generation already running")]
    ThumbnailPending,
    #[error("Chat not connected")]
    ChatNotJoined,
    #[error("Chat already connected")]
    ChatAlreadyJoined,
    /// The minimum in milliseconds.
    #[error("Timeout too short, must be >= {0} ms")]
    TimeoutTooShort(u64),
    /// The maximum in milliseconds.
    #[error("Timeout too long, must be <= {0} ms")]
    TimeoutTooLong(u64),
    #[error("Text too long for a message")]
    TextTooLong,
    #[error("Password too long")]
    PasswordTooLong,
    #[error("Too many invite codes")]
    TooManyInvites,
    #[error("There are as many sessions as there may be (sessionCountLimit)")]
    TooManySessions,
    /// The alias that is taken.
    #[error("There is a session '{0}' already")]
    SessionExists(String),
    /// The alias that no template has.
    #[error("template: there is no template '{0}'")]
    NoTemplate(String),
    #[error("The session cannot be made")]
    NotCreated,
    #[error("The session cannot be made from the template")]
    NotCreatedFromTemplate,
    /// Its files cannot be read at present, with the reason.
    #[error("The session cannot be loaded at the moment: {0}")]
    Unreadable(String),
    #[error("The server takes no new sessions, as it is about to stop")]
    Stopping,
    /// Name of the server.
    #[error("The session is on the server {0}: ask that one")]
    OnOtherServer(String),
    #[error("The session is being reset or set up: try again when it is done")]
    NotRunning,
    /// Why another history cannot be put in place, or something cannot be undone.
    #[error("Not possible: {0}")]
    NotPossible(String),
    #[error("The list of people is outdated: that is somebody else by now")]
    PeopleOutdated,
    #[error("A reset came in between: try again")]
    ResetMeanwhile,
    #[error("The session is not stored, so there are no earlier histories")]
    NotStored,
    #[error("This link is not valid, or not any more: kick or ban somebody to get another")]
    LinkInvalid,
    #[error("Others read the history of this session: try again when they are done")]
    Busy,
    /// Too many wait for the program that makes images of a canvas, with the reason.
    #[error("Not now: {0}")]
    RendererBusy(String),
    /// The program that makes images of a canvas has no space on the disk, with the reason.
    #[error("Not now: {0}")]
    RendererLacksSpace(String),
    /// A history that cannot be read, with the reason.
    #[error("The history cannot be read: {0}")]
    HistoryUnreadable(String),
}
