//! Recording who has joined and left, for moderators.

use super::Session;
use crate::rules::session::effects::ConnId;
use crate::rules::sighting::{ModerationRecord, Sighting, recorded_title};
use crate::rules::time::Timestamp;

impl Session {
    /// Somebody has joined.
    pub(super) fn somebody_joined(&mut self, conn: ConnId, now: Timestamp) {
        let Some(identity) = self.machine.identity_of(conn) else { return };
        let sighting = Sighting {
            device: identity.sid.clone(),
            account: identity.auth_id.clone(),
            name: identity.name.clone(),
            address: identity.address.map_or_else(String::new, |a| a.to_canonical().to_string()),
            session: self.machine.id().to_owned(),
            title: recorded_title(self.machine.title()),
            at_ms: now.utc_ms,
            joined: true,
        };
        if let Some(member) = self.members.get_mut(&conn) {
            member.seen = Some(Box::new(sighting.clone()));
        }
        self.record_sighting(Box::new(sighting));
    }

    /// Forgets a connection; somebody who had joined has left.
    pub(super) fn forget_member(&mut self, conn: ConnId) {
        let Some(mut sighting) = self.members.remove(&conn).and_then(|member| member.seen) else { return };
        sighting.at_ms = Timestamp::now().utc_ms;
        sighting.joined = false;
        self.record_sighting(sighting);
    }

    /// Queues a record; when the queue is full it is lost, as the writer may be slower than a flood of joins.
    fn record_sighting(&self, sighting: Box<Sighting>) {
        if self.machine.settings().people_days.0 > 0
            && let Some(records) = &self.records
        {
            let record = ModerationRecord::Seen(sighting);
            let size = record.size();
            // Losing one is no reason to disturb anybody.
            let _ = records.try_push(record, size);
        }
    }
}
