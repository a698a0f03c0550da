//! Autoreset: has an operator's client reduce the history when it grows past a threshold. Source:
//! docs/spec/session.md#autoreset.

use drawhall_protocol::command::ReadyToAutoReset;
use drawhall_protocol::reply::{AutoReset, ServerReply, SizeLimit};

use super::{ResetEngine, human_size};
use crate::log::{Level, Topic};
use crate::rules::session::member::{Member, ResetRole};
use crate::rules::session::{Cx, Effect, MemberKey, SessionMachine};
use crate::rules::time::Timestamp;

/// How long to wait for answers after the query, and after the first answer, in milliseconds.
const RESPONSE_MS: u64 = 3_000;
/// Time-out for the chosen client to begin, or between two chunks of a streamed reset, in milliseconds. (The
/// reference waits forever, and never queries again.)
const REQUEST_MS: u64 = 120_000;
/// Delay before the next attempt after a failure, in milliseconds.
const RETRY_MS: u64 = 30_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// Operators' clients have been queried.
    Queried,
    /// At least one client has answered.
    Waiting,
    /// A client has been chosen and told to reset.
    Requested,
}

#[derive(Debug, Clone, PartialEq)]
struct Candidate {
    user: u8,
    can_stream: bool,
    os_quality: i8,
    net_quality: f64,
    average_ping: f64,
    /// Order of answering, from 1.
    order: usize,
}

/// State of the autoreset.
#[derive(Debug, Default)]
pub(super) struct AutoResetState {
    stage: Stage,
    payload: String,
    counter: u32,
    candidates: Vec<Candidate>,
    /// Deadline of the stage, monotonic milliseconds.
    due: Option<u64>,
    /// Earliest time of the next attempt, monotonic milliseconds.
    not_before: u64,
}

impl AutoResetState {
    pub(super) fn deadline(&self) -> Option<u64> {
        self.due
    }

    /// Milliseconds until the next attempt may begin.
    pub(super) fn delay(&self, now: Timestamp) -> u64 {
        self.not_before.saturating_sub(now.monotonic_ms)
    }

    /// The state, in the words of the admin API.
    pub(super) fn status(&self) -> &'static str {
        match self.stage {
            Stage::Idle => "not sent",
            Stage::Queried => "queried",
            Stage::Waiting => "waiting for responses",
            Stage::Requested => "requested",
        }
    }

    /// The chosen client makes progress; extends its deadline.
    pub(super) fn request_goes_on(&mut self, now: Timestamp) {
        self.due = Some(now.monotonic_ms + REQUEST_MS);
    }

    /// The requested reset is complete.
    pub(super) fn request_done(&mut self) {
        self.due = None;
    }

    /// Correlator of the requested reset.
    pub(super) fn requested_correlator(&self) -> Option<&str> {
        (self.stage == Stage::Requested).then_some(self.payload.as_str())
    }

    /// Whether no client is asked or resets.
    pub(super) fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }

    /// Whether an attempt may begin.
    fn may_begin(&self, now: Timestamp) -> bool {
        self.stage == Stage::Idle && now.monotonic_ms >= self.not_before
    }

    /// Clients are queried with this payload.
    fn query(&mut self, payload: String, now: Timestamp) {
        self.counter += 1;
        self.payload = payload;
        self.candidates.clear();
        self.stage = Stage::Queried;
        self.due = Some(now.monotonic_ms + RESPONSE_MS);
    }

    /// Ends the attempt, if there is one; the next one may begin after `retry_ms`.
    fn clear(&mut self, retry_ms: u64, now: Timestamp) {
        self.stage = Stage::Idle;
        self.due = None;
        self.candidates.clear();
        self.not_before = now.monotonic_ms + retry_ms;
    }
}

impl ResetEngine {
    /// Whoever has left or is no longer operator is not chosen.
    pub(in crate::rules::session) fn forget_candidate(&mut self, id: u8) {
        self.autoreset.candidates.retain(|c| c.user != id);
    }
}

impl SessionMachine {
    /// Threshold at which an autoreset is requested: the session's, plus the size after the last reset, at most nine
    /// tenths of the size limit. 0 for never.
    pub(in crate::rules::session) fn effective_threshold(&self) -> u64 {
        if self.properties.autoreset_threshold() == 0 {
            return 0;
        }
        let own = self.properties.raised_autoreset_threshold(&self.shared.settings);
        let threshold = own + self.resets.base;
        match self.history.limit() {
            0 => threshold,
            limit => threshold.min(limit / 10 * 9 + limit % 10 * 9 / 10),
        }
    }

    /// Queries operators' clients when the history has grown past the threshold.
    pub(in crate::rules::session) fn check_autoreset(&mut self, cx: &mut Cx<'_>) {
        let resets = &self.resets;
        let may_begin = resets.is_running() && resets.autoreset.may_begin(cx.now);
        if !may_begin || resets.compaction.is_running() || !self.is_past_threshold() {
            return;
        }
        let threshold = self.effective_threshold();
        let own = human_size(self.properties.autoreset_threshold());
        let text = format!("Autoreset threshold ({own}, effectively {}) reached.", human_size(threshold));
        self.note(Level::Info, Topic::Status, text, cx);
        let warning = SizeLimit { size: self.history.size(), max_size: threshold };
        self.to_all(&ServerReply::SizeLimit(warning), cx);
        let payload = format!("1:{}:{}", self.resets.autoreset.counter, cx.now.utc_ms);
        let query = ServerReply::AutoReset(AutoReset {
            max_size: self.history.limit(),
            query: true,
            payload: Some(payload.clone()),
            ..AutoReset::default()
        });
        for member in &mut self.members {
            let asked = member.is_operator() && !member.is_ghost() && !member.oldv;
            member.reset_role = if asked { ResetRole::Queried } else { ResetRole::None };
        }
        for member in self.members.iter().filter(|m| m.reset_role == ResetRole::Queried) {
            self.reply_to(member.conn(), &query, cx);
        }
        self.resets.autoreset.query(payload, cx.now);
    }

    /// An operator's client is ready to reset.
    pub(in crate::rules::session) fn ready_to_autoreset(
        &mut self,
        key: MemberKey,
        ready: &ReadyToAutoReset,
        cx: &mut Cx<'_>,
    ) {
        let Some(member) = self.members.get_mut(key) else { return };
        let id = member.id;
        if member.is_ghost() {
            let text = format!("User {id} is not an operator, but sent ready-to-autoreset");
            member.reset_role = ResetRole::None;
            return self.rule_break(key, text, cx);
        }
        if member.reset_role != ResetRole::Queried {
            let text = format!("User {id} responded to an autoreset request without being in query state");
            return self.rule_break(key, text, cx);
        }
        if !matches!(self.resets.autoreset.stage, Stage::Queried | Stage::Waiting) {
            member.reset_role = ResetRole::None;
            return;
        }
        if !ready.payload.is_empty() && ready.payload != self.resets.autoreset.payload {
            let text = format!("User {id} responded with incorrect autoreset payload");
            return self.rule_break(key, text, cx);
        }
        member.reset_role = ResetRole::Responded;
        let order = self.resets.autoreset.candidates.len() + 1;
        self.resets.autoreset.candidates.push(Candidate::of(id, ready, order));
        let all_answered = self.members.iter().all(|m| m.reset_role != ResetRole::Queried);
        if all_answered {
            self.resets.autoreset.stage = Stage::Waiting;
            self.choose_candidate(cx);
        } else if self.resets.autoreset.stage == Stage::Queried {
            self.resets.autoreset.stage = Stage::Waiting;
            self.resets.autoreset.due = Some(cx.now.monotonic_ms + RESPONSE_MS);
        }
    }

    pub(in crate::rules::session) fn autoreset_tick(&mut self, cx: &mut Cx<'_>) {
        if self.resets.autoreset.due.is_none_or(|due| cx.now.monotonic_ms < due) {
            return;
        }
        self.resets.autoreset.due = None;
        match self.resets.autoreset.stage {
            Stage::Queried => {
                let text = "Autoreset failed with no candidates to perform it";
                self.note(Level::Warn, Topic::Status, text, cx);
                self.autoreset_failed(cx);
            }
            Stage::Waiting => self.choose_candidate(cx),
            Stage::Requested => self.request_lost("took too long for", cx),
            Stage::Idle => {}
        }
    }

    /// The chosen client has failed.
    fn request_lost(&mut self, what: &str, cx: &mut Cx<'_>) {
        let chosen = self.members.iter().find(|m| m.reset_role.is_chosen()).map(|m| (m.id, m.conn()));
        let who = chosen.map_or_else(|| "whoever was asked".to_owned(), |(id, _)| format!("user {id}"));
        self.note(Level::Warn, Topic::Status, format!("Autoreset failed: {who} {what} it"), cx);
        if let (Some((_, conn)), Some(_)) = (chosen, &self.resets.staged) {
            self.send_progress(conn, true, cx);
        }
        self.autoreset_failed(cx);
    }

    /// A chosen member has left, or is no longer operator, before it has begun.
    pub(in crate::rules::session) fn chosen_lost(&mut self, role: ResetRole, what: &str, cx: &mut Cx<'_>) {
        if self.resets.autoreset.stage == Stage::Requested && role.is_chosen() && self.resets.staged.is_none()
        {
            self.request_lost(what, cx);
        }
    }

    fn choose_candidate(&mut self, cx: &mut Cx<'_>) {
        self.resets.autoreset.due = None;
        let mut candidates = std::mem::take(&mut self.resets.autoreset.candidates);
        candidates.sort_by(Candidate::compare);
        let fit = |c: &Candidate| self.member_by_id(c.user).is_some_and(|m| m.is_operator() && !m.is_ghost());
        let Some(best) = candidates.into_iter().find(fit) else {
            let text = "Autoreset triggered, but no user available to execute it with";
            self.note(Level::Warn, Topic::Status, text, cx);
            return self.autoreset_failed(cx);
        };
        self.resets.autoreset.stage = Stage::Requested;
        self.resets.autoreset.request_goes_on(cx.now);
        let request = ServerReply::AutoReset(AutoReset {
            max_size: self.history.limit(),
            query: false,
            payload: None,
            correlator: best.can_stream.then(|| self.resets.autoreset.payload.clone()),
            stream: best.can_stream.then(|| "gzip1".to_owned()),
        });
        if let Some(member) = self.member_mut(best.user) {
            member.reset_role = if best.can_stream { ResetRole::AwaitingStream } else { ResetRole::Awaiting };
            let conn = member.conn();
            self.reply_to(conn, &request, cx);
        }
    }

    /// The attempt has failed; the next one may begin after [`RETRY_MS`]. Meanwhile the server may do it.
    pub(in crate::rules::session) fn autoreset_failed(&mut self, cx: &mut Cx<'_>) {
        self.clear_autoreset(RETRY_MS, cx.now);
        cx.push(Effect::NumbersChanged);
        self.begin_compaction(cx);
    }

    /// Ends the attempt, if there is one; the next one may begin after `retry_ms`.
    pub(in crate::rules::session) fn clear_autoreset(&mut self, retry_ms: u64, now: Timestamp) {
        self.resets.autoreset.clear(retry_ms, now);
        self.resets.abort_unfinished_stream();
        for member in &mut self.members {
            member.reset_role = ResetRole::None;
        }
    }

    /// A member is no longer operator.
    pub(in crate::rules::session) fn deopped(&mut self, id: u8, cx: &mut Cx<'_>) {
        self.resets.forget_candidate(id);
        if !self.resets.abort_stream_of(id) {
            let role = self.member_by_id(id).map_or(ResetRole::None, |m| m.reset_role);
            return self.chosen_lost(role, "lost operator status before", cx);
        }
        let text = format!("User {id} deopped while streaming autoreset");
        self.note(Level::Warn, Topic::Status, text, cx);
        if let Some(conn) = self.member_by_id(id).map(Member::conn) {
            self.send_progress(conn, true, cx);
        }
        self.autoreset_failed(cx);
    }
}

impl Candidate {
    fn of(user: u8, ready: &ReadyToAutoReset, order: usize) -> Self {
        let can = |what: &str| ready.capabilities.iter().any(|c| c == what);
        let os_quality = match ready.os.as_str() {
            // These have little memory and are suspended in the background.
            "emscripten" | "android" | "ios" => -1,
            "windows" | "macos" | "linux" | "unix" => 1,
            _ => 0,
        };
        let net_quality = match ready.net {
            None => 0.0,
            Some(net) if can("net") => net,
            // Clients without that capability report the inverse.
            Some(net) if net < 50.0 => 100.0,
            Some(_) => 0.0,
        };
        let pings: Vec<f64> = ready.pings.iter().copied().filter(|p| *p > 0.0).collect();
        let average_ping =
            if pings.is_empty() { 0.0 } else { pings.iter().sum::<f64>() / pings.len() as f64 };
        Self { user, can_stream: can("gzip1"), os_quality, net_quality, average_ping, order }
    }

    /// The better candidate compares as less.
    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let ping = |c: &Self| if c.average_ping > 0.0 { c.average_ping } else { f64::MAX };
        other
            .can_stream
            .cmp(&self.can_stream)
            .then(other.os_quality.cmp(&self.os_quality))
            .then(other.net_quality.total_cmp(&self.net_quality))
            .then(ping(self).total_cmp(&ping(other)))
            .then(self.order.cmp(&other.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(
        os: &str,
        net: Option<f64>,
        pings: &[f64],
        capabilities: &[&str],
        order: usize,
    ) -> Candidate {
        let ready = ReadyToAutoReset {
            os: os.into(),
            net,
            pings: pings.to_vec(),
            capabilities: capabilities.iter().map(|c| (*c).to_owned()).collect(),
            ..ReadyToAutoReset::default()
        };
        Candidate::of(order as u8, &ready, order)
    }

    #[test]
    fn the_best_candidate_streams_sits_at_a_desktop_and_is_near() {
        let mut all = [
            candidate("android", Some(90.0), &[1.0], &["net"], 1),
            candidate("linux", Some(80.0), &[50.0], &["net"], 2),
            candidate("linux", Some(80.0), &[40.0, 0.0, 20.0], &["net"], 3),
            candidate("linux", Some(80.0), &[30.0], &["net"], 4),
            candidate("", Some(90.0), &[], &["net"], 5),
            candidate("ios", None, &[], &["gzip1"], 6),
            candidate("linux", Some(81.0), &[], &["net"], 7),
        ];
        all.sort_by(Candidate::compare);
        assert_eq!(all.map(|c| c.order), [6, 7, 3, 4, 2, 5, 1]);
    }

    #[test]
    fn net_counts_the_other_way_round_without_the_capability() {
        assert_eq!(candidate("", Some(10.0), &[], &[], 1).net_quality, 100.0);
        assert_eq!(candidate("", Some(50.0), &[], &[], 1).net_quality, 0.0);
        assert_eq!(candidate("", Some(50.0), &[], &["net"], 1).net_quality, 50.0);
        assert_eq!(candidate("", None, &[], &["net"], 1).net_quality, 0.0);
    }
}
