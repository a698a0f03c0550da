//! Creating sessions from templates when somebody joins them.

use std::sync::Arc;

use actix::prelude::*;

use super::directory::{Missing, Waiter};
use super::loading::emit;
use super::{FoundSession, Server, SessionMachine};
use crate::blocking::Job;
use crate::rules::login::LookupAnswer;
use crate::rules::rng::Rng;
use crate::rules::session::{Cx, Refusal};
use crate::rules::template::{Messages, Template};
use crate::rules::time::Timestamp;
use crate::storage::template::{TemplateError, Templates};
use crate::trace::Origin;

impl Server {
    /// Descriptions of listed templates without a running session, as JSON.
    pub(super) fn listed_templates(&self, moderator: bool) -> Vec<String> {
        let shown = |t: &&Template| (moderator || !t.unlisted()) && self.directory.find(&t.alias).is_none();
        self.templates.all().filter(shown).map(|t| t.description().to_string()).collect()
    }

    /// A template without a session, by alias or by the id reserved for it.
    fn template(&self, name: &str) -> Option<&Template> {
        let by_id = || self.template_ids.iter().find(|(_, id)| *id == name).map(|(alias, _)| alias.as_str());
        let template = self.templates.find(name).or_else(|| self.templates.find(by_id()?))?;
        self.directory.find(&template.alias).is_none().then_some(template)
    }

    fn template_id(&mut self, alias: &str) -> String {
        self.template_ids.entry(alias.to_owned()).or_insert_with(super::new_session_id).clone()
    }

    pub(super) fn find_template(&mut self, name: &str) -> Option<FoundSession> {
        let (alias, protocol) = self.template(name).map(|t| (t.alias.clone(), t.protocol.clone()))?;
        Some(FoundSession { id: self.template_id(&alias), protocol })
    }

    pub(super) fn look_up_template(&mut self, name: &str, invite: &str) -> Option<LookupAnswer> {
        if self.directory.find(name).is_some() {
            return None;
        }
        let (alias, description) = self.template(name).map(|t| (t.alias.clone(), t.description()))?;
        if !invite.is_empty() {
            let refusal = Refusal::error("inviteNotFound", "Invite is invalid or has been revoked");
            return Some(LookupAnswer::Refused(refusal));
        }
        Some(LookupAnswer::Template { id: self.template_id(&alias), description })
    }

    pub(super) fn is_instantiating(&self, name: &str) -> bool {
        self.template(name).is_some_and(|t| self.instantiating.contains_key(&t.alias))
    }

    /// Creates a session from a template.
    pub(super) fn with_template(&mut self, name: &str, waiter: Waiter, ctx: &mut Context<Self>) {
        let Some(template) = self.template(name).cloned().filter(|_| !self.refuses_sessions()) else {
            return waiter(Err(Missing::NotFound));
        };
        let waiters = self.instantiating.entry(template.alias.clone()).or_default();
        waiters.push(waiter);
        if waiters.len() > 1 {
            return;
        }
        let (source, templates) = (template.clone(), self.templates.clone());
        let reading = self.parts.blocking_pool.run(Job::FileIo, move || templates.messages(&source));
        ctx.spawn(reading.into_actor(self).map(move |messages, server, ctx| {
            let messages = messages.unwrap_or(Err(TemplateError::Empty));
            server.instantiate(&template, messages, ctx);
        }));
    }

    fn instantiate(
        &mut self,
        template: &Template,
        messages: Result<Messages, TemplateError>,
        ctx: &mut Context<Self>,
    ) {
        let alias = &template.alias;
        let waiters = self.instantiating.remove(alias).unwrap_or_default();
        let id = self.template_id(alias);
        let begun = match messages {
            // Nothing would stop it or close its files.
            Ok(_) if self.refuses_sessions() => None,
            Ok(messages) => {
                let (now, mut rng) = (Timestamp::now(), Rng::unseeded());
                let mut cx = Cx::new(now, &mut rng);
                let shared = self.rules.shared.clone();
                let origin = self.if_traced(|| Origin::Made {
                    template: Box::new(template.clone()),
                    messages: messages.clone(),
                    passwords: Vec::new(),
                });
                let machine = SessionMachine::from_template(shared, id.clone(), template, messages, &mut cx);
                emit(&cx.effects, &id);
                self.begin(machine, origin, None, now, ctx)
            }
            Err(error) => {
                tracing::warn!("template {}: {error}", template.path.display());
                None
            }
        };
        if begun.is_some() {
            self.template_ids.remove(alias);
            for url in &template.metadata.announcements {
                self.announce_at(&id, url, ctx);
            }
        }
        waiters.into_iter().for_each(|waiter| waiter(begun.as_ref().ok_or(Missing::NotFound)));
        self.stopped_if_idle();
    }
}

/// The template directory was scanned.
#[derive(Message)]
#[rtype(result = "()")]
pub struct NewTemplates(pub Arc<Templates>);

impl Handler<NewTemplates> for Server {
    type Result = ();

    fn handle(&mut self, NewTemplates(templates): NewTemplates, _: &mut Self::Context) {
        self.templates = templates;
    }
}
