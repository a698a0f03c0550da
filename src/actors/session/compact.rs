//! Compacting a history: an external program makes an image of its canvas on the blocking pool, which replaces it here.
//! Joins become small, also with nobody there whose client could do it. Source: docs/spec/session.md#compacting.

use std::collections::BTreeMap;
use std::fmt::Display;

use actix::prelude::*;
use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::frame::{FrameRef, frames};
use drawhall_protocol::message::{Chat, Join, LayerACL, Layout, Leave, Message, SessionOwner, TrustedUsers};
use tokio::sync::oneshot;

use super::Session;
use super::rebuild::HistorySnapshot;
use crate::actors::messages::{Answer, notify};
use crate::blocking::{CancelOnDrop, Job};
use crate::renderer::{MAX_RECORDING, RenderError, RenderPermit, Renderer};
use crate::rules::session::admin::{AdminError, Answered, SessionAnswer};
use crate::rules::session::input::Input;
use crate::rules::session::thumbnail::Rendered;
use crate::rules::session::{Asker, ReadSoFar};
use crate::rules::undo::permissions::{LOCKED, Permissions};
use crate::rules::undo::restored_image::{Present, RestoredImage};

/// Who is there, and who may what: it comes before the image, because clients need it for what follows.
#[derive(Default)]
struct People {
    /// The `Join` of each, by user id.
    joins: BTreeMap<u8, Vec<u8>>,
    owners: Option<Vec<u8>>,
    trusted: Option<Vec<u8>>,
}

impl People {
    fn add(&mut self, frame: FrameRef<'_>) {
        let bytes = || frame.bytes.to_vec();
        match frame.header.kind {
            Join::TYPE => drop(self.joins.insert(frame.header.user, bytes())),
            Leave::TYPE => drop(self.joins.remove(&frame.header.user)),
            SessionOwner::TYPE => self.owners = Some(bytes()),
            TrustedUsers::TYPE => self.trusted = Some(bytes()),
            _ => {}
        }
    }

    /// The beginning of the new history.
    fn image(self, layout: Layout) -> RestoredImage {
        let mut image = RestoredImage::default();
        for (user, join) in self.joins {
            if let Ok((_, Message::Join(Join { name, flags, .. }))) = Message::from_bytes(&join, layout) {
                image.present.insert(user, Present { name, flags });
            }
            image.push(&join);
        }
        self.owners.into_iter().chain(self.trusted).for_each(|message| image.push(&message));
        image
    }
}

/// What a program and the server need of a history.
struct Gathered {
    recording: Vec<u8>,
    people: People,
    /// Who may draw, at its end.
    permissions: Permissions,
    layout: Layout,
}

impl Gathered {
    fn read(
        snapshot: &HistorySnapshot,
        protocol: &ProtocolVersion,
        size: u64,
    ) -> Result<Gathered, AdminError> {
        let (mut people, mut permissions, layout) =
            (People::default(), Permissions::default(), snapshot.layout);
        let recording = snapshot.recording(protocol, size, &mut |frame| {
            people.add(frame);
            if Permissions::concerns(frame.header.kind) {
                permissions.update(frame, layout);
            }
        })?;
        Ok(Gathered { recording, people, permissions, layout })
    }

    /// Has the program make the image, of at most `max` bytes; blocks for minutes.
    fn image(self, permit: &RenderPermit, max: u64) -> Result<RestoredImage, AdminError> {
        let Gathered { recording, people, permissions, layout } = self;
        let not_possible = |error: &dyn Display| AdminError::NotPossible(error.to_string());
        let messages = permit.reset_image(recording).map_err(|error| not_run(&error))?;
        let mut image = people.image(layout);
        for frame in frames(&messages) {
            // Of the messages that the server acts on, an image has pinned messages only.
            if frame.header.kind == Chat::TYPE || frame.header.user == 0 && frame.header.is_opaque() {
                image.push(frame.bytes);
            } else {
                return Err(AdminError::NotPossible("the image has messages that belong in none".to_owned()));
            }
        }
        // Images of clients unlock the canvas. The lock comes last, because it also holds for the server.
        if permissions.canvas_locked() {
            let lock = Message::from(LayerACL { id: 0, flags: LOCKED, exclusive: Vec::new() });
            let lock = lock.to_frame(0, layout).map_err(|error| not_possible(&error))?;
            image.push(lock.as_bytes());
        }
        // A few strokes all over a large canvas take less than its pixels.
        let made = image.bytes.len() as u64;
        if made > max {
            let reason = format!("the image has {made} bytes, the history {max}");
            return Err(AdminError::NotPossible(reason));
        }
        image.follow_permissions(layout);
        Ok(image)
    }
}

/// The result of some work, unless whoever waits for the answer is gone before.
async fn while_asked<T>(answer: &mut Answer<SessionAnswer>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = answer.closed() => None,
    }
}

fn not_run(error: &RenderError) -> AdminError {
    match error {
        RenderError::Busy => AdminError::RendererBusy(error.to_string()),
        RenderError::NoSpace => AdminError::RendererLacksSpace(error.to_string()),
        RenderError::Cancelled => AdminError::Stopping,
        error => AdminError::NotPossible(error.to_string()),
    }
}

impl Session {
    /// Compacts the history because of the rules; the result is an input.
    pub(super) fn compact_by_itself(&mut self, ctx: &mut Context<Self>) {
        let (answer, done) = oneshot::channel();
        let renderer = self.renderer.clone().only_if_idle();
        self.compact(renderer, Asker::server(), answer, ctx);
        ctx.spawn(done.into_actor(self).map(|done, session, ctx| {
            if session.ended {
                return;
            }
            let outcome = match done {
                Ok(Ok(_)) => Rendered::Made(()),
                Ok(Err(AdminError::RendererBusy(_) | AdminError::Busy)) => Rendered::Busy,
                Ok(Err(AdminError::RendererLacksSpace(_))) => Rendered::NoSpace,
                Ok(Err(error)) => Rendered::Failed(error.to_string()),
                Err(_) => Rendered::Failed("it was given up".to_owned()),
            };
            session.handle(ctx, Input::CompactionDone(outcome));
        }));
    }

    /// Replaces the history by an image of its canvas. While this waits for the program and while that runs, other
    /// requests go on; if one of them replaces the history, this is refused. It ends when whoever asked is gone.
    pub(super) fn compact(
        &mut self,
        renderer: Renderer,
        by: Asker,
        mut answer: Answer<SessionAnswer>,
        ctx: &mut Context<Self>,
    ) {
        if self.compaction.is_some() {
            return notify(answer, Err(AdminError::Busy));
        }
        if self.machine.history().size() > MAX_RECORDING {
            return notify(answer, Err(AdminError::NotPossible(RenderError::TooLarge.to_string())));
        }
        self.compaction = Some(CancelOnDrop::default());
        let waited = async move {
            let permit = while_asked(&mut answer, renderer.acquire()).await;
            (permit, answer)
        };
        ctx.spawn(waited.into_actor(self).map(move |(permit, answer), session, ctx| {
            // It has ended meanwhile if there is none.
            let permit = permit.filter(|_| !answer.is_closed());
            match (session.compaction.take(), permit) {
                (_, None) => {}
                (None, Some(_)) => notify(answer, Err(AdminError::NotFound)),
                (Some(_), Some(Err(error))) => notify(answer, Err(not_run(&error))),
                (Some(_), Some(Ok(permit))) => session.replace_by_image(permit, by, answer, ctx),
            }
        }));
    }

    fn replace_by_image(
        &mut self,
        permit: RenderPermit,
        by: Asker,
        mut answer: Answer<SessionAnswer>,
        ctx: &mut Context<Self>,
    ) {
        let size = self.machine.history().size();
        let (snapshot, protocol) = (self.snapshot(), self.machine.protocol().clone());
        let read = ReadSoFar { compacts: Some(size), ..snapshot.read(None, false) };
        let cancel = snapshot.cancel();
        let permit = permit.cancelled_by(&cancel);
        self.compaction = Some(cancel);
        let pool = self.blocking_pool.clone();
        let gathered = pool.run(Job::ReadHistory, move || Gathered::read(&snapshot, &protocol, size));
        let made = async move {
            match gathered.await? {
                Ok(gathered) => pool.run(Job::FileIo, move || gathered.image(&permit, size)).await,
                Err(error) => Some(Err(error)),
            }
        };
        let made = async move {
            let made = while_asked(&mut answer, made).await;
            (made, answer)
        };
        ctx.spawn(made.into_actor(self).map(move |(made, answer), session, ctx| {
            session.compaction = None;
            // Without, nobody waits for it.
            let Some(made) = made.filter(|_| !answer.is_closed()) else { return };
            let made = made.unwrap_or_else(|| {
                Err(AdminError::HistoryUnreadable("making the image of the canvas failed".to_owned()))
            });
            let made = if session.ended { Err(AdminError::NotFound) } else { made };
            let what = "Compacted the history".to_owned();
            let done = made.and_then(|image| session.put_in_place(image, what, Some(read), &by, ctx));
            notify(answer, done.map(Answered::Restored));
        }));
    }
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;

    use super::*;

    #[test]
    fn the_new_history_begins_with_who_is_there() {
        let join = |user: u8, name: &str| {
            let payload = [&[0, name.len() as u8], name.as_bytes()].concat();
            Frame::new(Join::TYPE, user, &payload).unwrap().as_bytes().to_vec()
        };
        let frame =
            |kind: u8, user: u8, payload: &[u8]| Frame::new(kind, user, payload).unwrap().as_bytes().to_vec();
        let owners = |users: &[u8]| frame(SessionOwner::TYPE, 0, users);
        let history = [
            join(1, "Ann"),
            owners(&[1]),
            frame(128, 1, &[]),
            join(2, "Bo"),
            frame(Leave::TYPE, 1, &[]),
            owners(&[2]),
        ];
        let mut people = People::default();
        frames(&history.concat()).for_each(|frame| people.add(frame));
        let image = people.image(Layout::V4_25);
        assert_eq!((image.bytes, image.messages), ([join(2, "Bo"), owners(&[2])].concat(), 2));
        assert_eq!(image.present[&2].name, "Bo");
    }
}
