//! Commands of operators in the chat (`operatorChatCommands`): undo what somebody drew, and a link to the page for more.
//!
//! Clients have no commands for these requests. A line that is a command is not shown to others. Source:
//! docs/spec/session.md#commands-in-the-chat.

use drawhall_protocol::message::Chat;
use drawhall_protocol::reply::{Notice, ServerReply};

use super::admin::AdminError;
use super::{Cx, Member, MemberKey, SessionMachine, UndoRequest};
use crate::rules::username;

/// Characters of an unknown name that are repeated; names have at most 22.
const MAX_SHOWN_NAME: usize = 30;
/// Answer to `!help`.
const HELP: &str = "!undo NAME undoes what somebody drew last, also of one who has left; !undo NAME 5 only the newest \
                    five actions. !redo NAME brings them back. !link gives you a page on which you can undo, remove \
                    what somebody drew, and go back in time. Others do not see these lines.";

/// A command in the chat.
#[derive(Debug, PartialEq, Eq)]
enum ChatCommand<'a> {
    /// Undo or redo actions of a person.
    Undo {
        /// What follows the command: a name, perhaps with a number behind it.
        of: &'a str,
        redo: bool,
    },
    Link,
    Help,
}

impl ChatCommand<'_> {
    /// `None` if it is no command.
    fn parse(text: &str) -> Option<ChatCommand<'_>> {
        let (word, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        let of = rest.trim();
        match word {
            "!undo" | "!redo" if of.is_empty() => Some(ChatCommand::Help),
            "!undo" => Some(ChatCommand::Undo { of, redo: false }),
            "!redo" => Some(ChatCommand::Undo { of, redo: true }),
            "!link" if of.is_empty() => Some(ChatCommand::Link),
            "!help" if of.is_empty() => Some(ChatCommand::Help),
            _ => None,
        }
    }
}

impl SessionMachine {
    /// Performs a command of an operator. `false` if the message is none, and to be handled as chat.
    pub(super) fn chat_command(&mut self, key: MemberKey, chat: &Chat, cx: &mut Cx<'_>) -> bool {
        let is_text = self.shared.settings.operator_chat_commands && chat.oflags == 0;
        // What the host or a resetter uploads is content.
        if !is_text || self.is_uploader(key) || !self.members.get(key).is_some_and(Member::is_operator) {
            return false;
        }
        let Some(command) = ChatCommand::parse(&chat.message) else { return false };
        let answer = match command {
            ChatCommand::Undo { of, redo } => {
                self.undo_by_name(key, of, redo, cx).unwrap_or_else(|error| error.to_string())
            }
            ChatCommand::Link => match self.link_for(key, cx) {
                Some(link) => format!("This link is for you only and valid for 15 minutes: {link}"),
                None => "There are no links: the page of this server has no public address.".to_owned(),
            },
            ChatCommand::Help => HELP.to_owned(),
        };
        if let Some(member) = self.members.get(key) {
            let reply = ServerReply::Msg(Notice { message: answer, ..Notice::default() });
            self.reply_to(member.conn(), &reply, cx);
        }
        true
    }

    /// Undoes or redoes actions of whoever had this name last and has some; returns the answer.
    fn undo_by_name(
        &mut self,
        key: MemberKey,
        of: &str,
        redo: bool,
        cx: &mut Cx<'_>,
    ) -> Result<String, AdminError> {
        let by = self.members.get(key).map_or_else(String::new, |member| member.name().to_owned());
        self.follow_history();
        if self.has_much_to_follow() {
            return Ok(
                "Much was drawn just now, and the server still reads it. Try again in a minute.".into()
            );
        }
        let (person, name, count) = match self.person_called(of, redo)? {
            Some((person, name)) => (person, name, None),
            None => {
                let numbered = of.rsplit_once(char::is_whitespace);
                let numbered = numbered.and_then(|(name, count)| Some((name.trim(), count.parse().ok()?)));
                let found = match numbered {
                    Some((name, count)) if count > 0 => {
                        self.person_called(name, redo)?.map(|(person, name)| (person, name, Some(count)))
                    }
                    _ => None,
                };
                let Some(found) = found else {
                    // No longer than a name: what was written may be as long as a message.
                    let name: String = of.chars().filter(|c| !c.is_control()).take(MAX_SHOWN_NAME).collect();
                    return Ok(format!("Nobody called {name} is here, or has drawn lately."));
                };
                found
            }
        };
        let request = UndoRequest { person, name: None, count, redo, by, link: None };
        let undone = self.undo_person(&request, cx)?;
        let (did, actions) =
            (if redo { "Redid" } else { "Undid" }, if undone.count == 1 { "action" } else { "actions" });
        Ok(format!("{did} {} {actions} of {name}; {} more possible.", undone.count, undone.left))
    }

    /// Who had this name last: of several, the last one of whom something can be undone or redone.
    fn person_called(&mut self, name: &str, redo: bool) -> Result<Option<(i64, String)>, AdminError> {
        let machine = self.undo_machine()?;
        let wanted = username::skeleton(name);
        let is_called = |known: &str| !known.is_empty() && username::skeleton(known) == wanted;
        let people: Vec<_> = machine.people().iter().filter(|person| is_called(&person.name)).collect();
        let reachable = |index| if redo { machine.redoable(index) } else { machine.undoable(index) };
        let active = people.iter().rev().find(|person| reachable(person.index).is_ok_and(|count| count > 0));
        Ok(active.or(people.last()).map(|person| (person.index, person.name.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_commands_are_commands() {
        for chat in ["", "undo B", "!!! wow", "!undone", "!link me", "!help!", "look: !undo B", "/undo B"] {
            assert_eq!(ChatCommand::parse(chat), None, "{chat}");
        }
        assert_eq!(
            ChatCommand::parse(" !undo  B b 5 "),
            Some(ChatCommand::Undo { of: "B b 5", redo: false })
        );
        assert_eq!(ChatCommand::parse("!redo B"), Some(ChatCommand::Undo { of: "B", redo: true }));
        assert_eq!(ChatCommand::parse("!undo"), Some(ChatCommand::Help));
        assert_eq!(ChatCommand::parse("!link"), Some(ChatCommand::Link));
    }
}
