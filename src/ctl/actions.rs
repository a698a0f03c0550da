//! What `drawhall ctl` can be asked to do.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, value_parser};
use drawhall::renderer::{DEFAULT_FRAMES, MAX_FRAMES};

use super::invitations::Invitations;
use super::keep_out::{Banned, KeepOut};
use super::log::LogFilter;
use super::picture::{PictureFormat, Subject, TimelapseFormat};
use super::reports::{PersonArgs, Reports};
use super::time::{moment, span};
use super::timeline::TimelineFilter;

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
    /// Create a session with an empty canvas or a picture on it, and no host.
    MakeSession {
        /// Fields of the request as KEY=VALUE, such as title=Lobby alias=lobby width=3000.
        fields: Vec<String>,
        /// Begin with this picture: a PNG, or OpenRaster (.ora) with its layers.
        #[arg(long, value_name = "FILE")]
        image: Option<PathBuf>,
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
    /// List recordings of sessions that the server has made (`--record`).
    Recordings,
    /// List accounts.
    Accounts,
    /// List invitations, links that make an account for the admin page; make one, or withdraw one.
    Invitations(Invitations),
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
    /// Warn a user of a session; warnings are counted.
    Warn {
        /// Id or alias.
        session: String,
        /// Name of the user, or user id.
        user: String,
        /// Shown to the user.
        message: String,
    },
    /// Restrict a user of a session for a time; holds when they come again.
    Restrict {
        /// Id or alias.
        session: String,
        /// Name of the user, or user id.
        user: String,
        /// mute, nodraw (may look but not draw) or slow.
        #[arg(value_parser = ["mute", "nodraw", "slow"])]
        kind: String,
        /// How long, such as 10m or 1d; at most 30 days.
        #[arg(long = "for", value_name = "TIME", value_parser = span, default_value = "10m")]
        duration: Duration,
        /// Shown to the user.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// List what people may not do in a session for a time, or end a restriction early.
    Restrictions {
        /// Id or alias.
        session: String,
        /// Id of the restriction to end.
        #[arg(long, value_name = "ID")]
        lift: Option<u64>,
    },
    /// Close a session to people who were not in it yet, for a time.
    CloseSession {
        /// Id or alias.
        session: String,
        /// How long, such as 30m; 0 opens it.
        #[arg(long = "for", value_name = "TIME", value_parser = span, default_value = "30m")]
        duration: Duration,
    },
    /// Show how much of its size limit a session has used, and who has used it.
    Space {
        /// Id or alias.
        session: String,
    },
    /// Show chat and events of sessions of the last day, oldest first.
    Timeline(TimelineFilter),
    /// Erase the chat of a person, and all events about them.
    Erase {
        /// Name (look-alikes count), account, system id or address.
        person: String,
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
    /// Remove everything that somebody drew in a session. Says what that means, unless --yes.
    Remove {
        /// Id or alias.
        session: String,
        /// Name of the person, or the number that `people` or this command shows; without it everybody is listed.
        person: Option<String>,
        /// Only what they drew since this time: 10m for ten minutes ago, or such as 2030-01-01T18:00:00Z.
        #[arg(long, value_name = "TIME", value_parser = moment, requires = "person")]
        since: Option<String>,
        /// Not what they drew before the last reset.
        #[arg(long, requires = "person")]
        since_reset: bool,
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
    /// Save the canvas of a stored session as a picture. Needs --canvas-renderer on the server.
    Picture {
        #[command(flatten)]
        of: Subject,
        /// PNG, or OpenRaster with layers.
        #[arg(long, value_enum, default_value_t = PictureFormat::Png)]
        format: PictureFormat,
        /// The file; - is standard output [default: SESSION.png or SESSION.ora].
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Save how a stored session was drawn, as an animated PNG or a video. Needs --canvas-renderer on the server.
    Timelapse {
        #[command(flatten)]
        of: Subject,
        /// About how many frames, 1 to 600.
        #[arg(long, value_name = "N", default_value_t = DEFAULT_FRAMES as u16,
            value_parser = value_parser!(u16).range(1..=MAX_FRAMES as i64))]
        frames: u16,
        /// Animated PNG, or a video, which needs ffmpeg on the server.
        #[arg(long, value_enum, default_value_t = TimelapseFormat::Apng)]
        format: TimelapseFormat,
        /// The file; - is standard output [default: SESSION.apng and so on].
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Replace the history of a session by an image of its canvas, so that joining is quick. Needs --canvas-renderer on
    /// the server.
    Compact {
        /// Id or alias.
        session: String,
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
    /// Ban a person and disconnect all of their connections. Bans the device, unless the address is asked for.
    #[command(visible_alias = "ban-person")]
    KeepOut(KeepOut),
    /// List bans of persons, show one, or change its end and texts in place.
    Banned(Banned),
    /// End a ban: the person may come in again.
    #[command(visible_alias = "unban")]
    LetIn {
        /// Id of the ban, as `banned` shows it.
        id: String,
    },
    /// List abuse reports, show one, take or handle it.
    Reports(Reports),
    /// Look for people who are here or were lately, or show one: names, devices, visits, notes, bans, what was done.
    Person(PersonArgs),
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
