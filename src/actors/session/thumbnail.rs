//! Thumbnails that the server makes at intervals (`thumbnailInterval`), by an external program on the blocking pool.
//! They wait for nobody: while another picture is made, they are put off.

use actix::prelude::*;

use super::Session;
use crate::blocking::Job;
use crate::renderer::{MAX_RECORDING, RenderError, RenderPermit};
use crate::rules::session::input::Input;
use crate::rules::session::thumbnail::{Jpeg, Rendered};

impl From<RenderError> for Rendered<Jpeg> {
    fn from(error: RenderError) -> Rendered<Jpeg> {
        match error {
            RenderError::Busy => Rendered::Busy,
            RenderError::NoSpace => Rendered::NoSpace,
            error => Rendered::Failed(error.to_string()),
        }
    }
}

impl Session {
    /// Makes a thumbnail; the result is an input.
    pub(super) fn make_thumbnail(&mut self, ctx: &mut Context<Self>) {
        let renderer = self.renderer.clone().only_if_idle();
        let permit = async move { renderer.acquire().await };
        ctx.spawn(permit.into_actor(self).map(|permit, session, ctx| {
            if session.ended {
                return;
            }
            match permit {
                Ok(permit) => session.render_thumbnail(permit, ctx),
                Err(error) => session.handle(ctx, Input::ThumbnailMade(error.into())),
            }
        }));
    }

    fn render_thumbnail(&mut self, permit: RenderPermit, ctx: &mut Context<Self>) {
        let size = self.machine.history().size();
        if size > MAX_RECORDING {
            return self.handle(ctx, Input::ThumbnailMade(RenderError::TooLarge.into()));
        }
        let (snapshot, protocol) = (self.snapshot(), self.machine.protocol().clone());
        let cancel = snapshot.cancel();
        let permit = permit.cancelled_by(&cancel);
        self.rendering = Some(cancel);
        let pool = self.blocking_pool.clone();
        let read = pool.run(Job::ReadHistory, move || snapshot.recording(&protocol, size, &mut |_| {}));
        let made = async move {
            let made = match read.await {
                Some(Ok(recording)) => pool.run(Job::FileIo, move || permit.thumbnail(recording)).await,
                Some(Err(error)) => return Rendered::Failed(error.to_string()),
                None => None,
            };
            match made {
                Some(Ok(picture)) => Rendered::Made(Jpeg(picture)),
                Some(Err(error)) => error.into(),
                None => Rendered::Failed("making it has panicked".to_owned()),
            }
        };
        ctx.spawn(made.into_actor(self).map(|rendered, session, ctx| {
            session.rendering = None;
            if !session.ended {
                session.handle(ctx, Input::ThumbnailMade(rendered));
            }
        }));
    }
}
