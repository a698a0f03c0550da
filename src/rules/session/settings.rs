//! The server's settings change at run time.

use super::{Cx, SessionMachine};
use crate::config::ServerSettings;
use crate::log::{Level, Topic};

impl SessionMachine {
    /// Applies new settings of the server.
    pub fn set_shared(&mut self, shared: ServerSettings, cx: &mut Cx<'_>) {
        let old = std::mem::replace(&mut self.shared, shared);
        let (before, after) = (&old.settings, &self.shared.settings);
        let mut changed = before.idle_time_limit != after.idle_time_limit
            || before.minimum_autoreset_threshold != after.minimum_autoreset_threshold
            || before.allow_idle_override != after.allow_idle_override
            || before.prefer_web_sockets != after.prefer_web_sockets
            || (before.session_size_limit != after.session_size_limit
                && self.properties.override_size() == 0)
            || before.force_nsfm != after.force_nsfm;
        if !after.allow_idle_override {
            changed |= std::mem::take(&mut self.properties.flags_mut().idle_override);
        }
        let force_nsfm = self.properties.force_nsfm(after);
        self.properties.set_autoreset_threshold(self.properties.autoreset_threshold(), after);
        self.apply_limits();
        if force_nsfm {
            self.note(Level::Info, Topic::Status, "Forced NSFM after config change", cx);
        }
        if changed {
            self.send_settings(cx);
        }
    }
}
