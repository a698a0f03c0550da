//! What `drawhall ctl` can be asked to do.

use std::time::Duration;

use clap::Subcommand;

use super::log::LogFilter;
use super::time::{moment, span};

/// A command.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Show the number of users and sessions, and the start time.
    Status,
    /// List sessions, or show one in detail.
    Sessions {
        /// Id or alias.
        session: Option<String>,
    },
    /// List connected users.
    Users,
    /// Create a session with an empty canvas and no host.
    MakeSession {
        /// Fields of the request as KEY=VALUE, such as title=Lobby alias=lobby width=3000.
        fields: Vec<String>,
    },
    /// End a session.
    End {
        /// Id or alias.
        session: String,
        /// Shown to its users.
        #[arg(long, default_value = "")]
        reason: String,
        /// Send no message and keep connections open; users are no longer connected to each other.
        #[arg(long, conflicts_with = "reason")]
        quiet: bool,
    },
    /// Change a session.
    SetSession {
        /// Id or alias.
        session: String,
        /// Fields of the request as KEY=VALUE, such as title=Lobby persistent=true.
        #[arg(required = true)]
        fields: Vec<String>,
    },
    /// List ended sessions that can be restored, or restore one.
    Ended {
        /// Id of the session to restore.
        #[arg(long, value_name = "ID")]
        restore: Option<String>,
    },
    /// List accounts.
    Accounts,
    /// Show which sections of the API are locked against changes; or lock the given sections and unlock all others.
    Locks {
        /// Sections to lock: accounts, bans, extbans, listserverwhitelist, server, sessions.
        sections: Vec<String>,
        /// Unlock all sections.
        #[arg(long, conflicts_with = "sections")]
        none: bool,
        /// Ask for a password that will be needed to change the locks.
        #[arg(long)]
        password: bool,
    },
    /// Disconnect a user.
    Kick {
        /// The uid that `users` shows.
        uid: String,
        /// Shown to the user.
        #[arg(long, default_value = "")]
        message: String,
    },
    /// List who drew in a session, also those who left, and how much of it can be undone.
    People {
        /// Id or alias.
        session: String,
    },
    /// Undo for everybody what somebody drew, newest first.
    Undo {
        /// Id or alias.
        session: String,
        /// Name of the person, or the number that `people` shows.
        person: String,
        /// How many actions; without it all that can be undone.
        #[arg(long, value_name = "N")]
        count: Option<u32>,
        /// Redo what was undone.
        #[arg(long)]
        redo: bool,
    },
    /// Remove everything that somebody drew in a session since the last reset. Says what that means, unless --yes.
    Remove {
        /// Id or alias.
        session: String,
        /// Name of the person, or the number that `people` or this command shows; without it everybody is listed.
        person: Option<String>,
        /// Only what they drew since this time: 10m for ten minutes ago, or such as 2030-01-01T18:00:00Z.
        #[arg(long, value_name = "TIME", value_parser = moment, requires = "person")]
        since: Option<String>,
        /// Do it.
        #[arg(long, requires = "person")]
        yes: bool,
    },
    /// Take back everything that everybody drew in a session since a time. Says what that means, unless --yes.
    Cut {
        /// Id or alias.
        session: String,
        /// The time: 10m for ten minutes ago, or such as 2030-01-01T18:00:00Z; without it possible times are listed.
        #[arg(long, value_name = "TIME", value_parser = moment)]
        until: Option<String>,
        /// Do it.
        #[arg(long, requires = "until")]
        yes: bool,
    },
    /// List the earlier histories of a session, or go back to one.
    Restore {
        /// Id or alias.
        session: String,
        /// Number of the earlier history.
        #[arg(conflicts_with = "newest")]
        generation: Option<u32>,
        /// Go back to the newest one, to before the last reset.
        #[arg(long)]
        newest: bool,
    },
    /// Send a message to one session, or to all.
    Message {
        /// Text of the message.
        text: String,
        /// Id or alias of the session.
        #[arg(long)]
        session: Option<String>,
        /// Show it as an alert instead of in the chat.
        #[arg(long)]
        alert: bool,
    },
    /// List, add or remove bans of IP addresses.
    Bans {
        /// The command.
        #[command(subcommand)]
        action: Option<BanCommand>,
    },
    /// Ban the address of somebody who is connected, or was lately.
    Ban {
        /// Name of the user, or the uid that `users` shows.
        name: String,
        /// How long, such as 12h or 7d [default: without end].
        #[arg(long = "for", value_name = "TIME", value_parser = span)]
        duration: Option<Duration>,
        /// Disconnect the user, too.
        #[arg(long)]
        kick: bool,
        /// Shown to administrators only [default: the name].
        #[arg(long)]
        comment: Option<String>,
    },
    /// Show all settings or one, or change one. Of changed ones the default is shown, too.
    Settings {
        /// Key of the setting.
        key: Option<String>,
        /// New value.
        value: Option<String>,
        /// Set it back to its default.
        #[arg(long, requires = "key", conflicts_with = "value")]
        default: bool,
        /// Show only settings that differ from their default.
        #[arg(long, conflicts_with = "key")]
        changed: bool,
    },
    /// Show the newest lines of the event log.
    Log(LogFilter),
    /// Look for faults of the running server, as `drawhall doctor` does.
    Checks,
    /// Warn everybody and stop the server. Until the end Ctrl-C cancels it.
    Stop {
        /// Time until the end, such as 10m.
        #[arg(long = "in", value_name = "TIME", value_parser = span, default_value = "0s")]
        delay: Duration,
        /// Shown to everybody with the time.
        #[arg(default_value = "")]
        text: String,
    },
}

/// A command for bans.
#[derive(Debug, Subcommand)]
pub(super) enum BanCommand {
    /// Ban an IP address or a range.
    Add {
        /// ADDRESS or ADDRESS/PREFIX.
        range: String,
        /// When the ban expires, such as 2030-01-01.
        #[arg(long, default_value = "2999-12-31")]
        expires: String,
        /// How long, such as 12h or 7d, instead of --expires.
        #[arg(long = "for", value_name = "TIME", value_parser = span, conflicts_with = "expires")]
        duration: Option<Duration>,
        /// Shown to administrators only.
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Remove a ban.
    Remove {
        /// Id of the ban.
        id: u64,
    },
}
