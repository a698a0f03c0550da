//! What of a session is still to be written to its recording.

/// What to append to a session's recording.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ToRecord {
    /// Begin a new recording, with the whole history.
    pub restart: bool,
    /// What entered the history since the last call.
    pub bytes: Vec<u8>,
}

/// The part of a history that waits for the recorder. Nothing waits while a restart does.
#[derive(Debug, Default)]
pub(super) struct RecordingQueue {
    is_on: bool,
    restart_due: bool,
    waiting: Vec<u8>,
}

impl RecordingQueue {
    /// Starts recording.
    pub(super) fn start(&mut self) {
        self.is_on = true;
        self.restart_due = true;
    }

    /// Frames have entered the history.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if self.is_on && !self.restart_due {
            self.waiting.extend_from_slice(bytes);
        }
    }

    /// The history has been replaced.
    pub(super) fn restart(&mut self) {
        self.restart_due = self.is_on;
        self.waiting.clear();
    }

    /// Drains what to append. A restart waits until the session runs.
    pub(super) fn drain(&mut self, is_running: bool) -> ToRecord {
        let restart = is_running && std::mem::take(&mut self.restart_due);
        let bytes = std::mem::take(&mut self.waiting);
        ToRecord { restart, bytes: if restart { Vec::new() } else { bytes } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_restarts_at_a_reset_and_then_grows() {
        let mut recording = RecordingQueue::default();
        recording.append(b"before it is on");
        assert_eq!(recording.drain(true), ToRecord::default());
        recording.start();
        recording.append(b"in the history, which is recorded whole");
        assert_eq!(recording.drain(false), ToRecord::default(), "it waits until the session runs");
        assert_eq!(recording.drain(true), ToRecord { restart: true, bytes: Vec::new() });
        recording.append(b"ab");
        recording.append(b"c");
        assert_eq!(recording.drain(true), ToRecord { restart: false, bytes: b"abc".to_vec() });
        recording.append(b"lost with the old history");
        recording.restart();
        assert_eq!(recording.drain(true), ToRecord { restart: true, bytes: Vec::new() });
    }
}
