use drawhall_protocol::Frame;
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{
    FeatureAccessLevels, LayerACL, SessionOwner, SyncSelectionTile, TrustedUsers, UserACL,
};
use proptest::prelude::*;

use super::permissions::LOCKED;
use super::*;

const DABS: u8 = 148;
const V25: Layout = Layout::V4_25;

/// One message of a generated history.
#[derive(Debug, Clone, Copy)]
enum Op {
    Point(u8),
    Draw(u8),
    Sync(u8),
    UndoOf { by: u8, of: u8 },
    RedoOf { by: u8, of: u8 },
    Depth(u8),
    Soft,
    MarkNextUndone,
    Lock(bool),
    Enter(u8),
    Exit(u8),
}

use Op::*;

fn frame(kind: u8, user: u8, payload: &[u8]) -> Vec<u8> {
    Frame::new(kind, user, payload).unwrap().as_bytes().to_vec()
}

fn typed(message: impl Into<Message>, user: u8) -> Vec<u8> {
    message.into().to_frame(user, V25).unwrap().as_bytes().to_vec()
}

impl Op {
    fn bytes(self) -> Vec<u8> {
        match self {
            Point(user) => frame(UndoPoint::TYPE, user, &[]),
            Draw(user) => frame(DABS, user, &[1, 2, 3]),
            Sync(user) => frame(SyncSelectionTile::TYPE, user, &[]),
            UndoOf { by, of } => typed(Undo { override_user: of, redo: false }, by),
            RedoOf { by, of } => typed(Undo { override_user: of, redo: true }, by),
            Depth(depth) => typed(UndoDepth { depth }, 0),
            Soft => frame(SoftReset::TYPE, 0, &[]),
            MarkNextUndone => typed(Undo { override_user: 0, redo: false }, 0),
            Lock(on) => typed(LayerACL { id: 0, flags: if on { LOCKED } else { 0 }, exclusive: vec![] }, 0),
            Enter(user) => typed(Join { name: format!("u{user}"), ..Default::default() }, user),
            Exit(user) => frame(Leave::TYPE, user, &[]),
        }
    }
}

fn scan_bytes(bytes: &[u8]) -> Scan {
    let mut scan = Scan::new(V25, 0);
    for frame in frames(bytes) {
        scan.feed(frame);
    }
    scan
}

fn scan(ops: &[Op]) -> Scan {
    scan_bytes(&ops.iter().flat_map(|op| op.bytes()).collect::<Vec<u8>>())
}

/// The states of all entries, `d`, `u` or `g`.
fn states(ops: &[Op]) -> String {
    scan(ops).entries().iter().map(|entry| letter(entry.state)).collect()
}

fn letter(state: EntryState) -> char {
    match state {
        EntryState::Done => 'd',
        EntryState::Undone => 'u',
        EntryState::Gone => 'g',
    }
}

fn undo(user: u8) -> Op {
    UndoOf { by: user, of: 0 }
}

fn redo(user: u8) -> Op {
    RedoOf { by: user, of: 0 }
}

#[test]
fn undo_takes_back_the_newest_action_of_its_sender() {
    assert_eq!(states(&[Point(1), Draw(1), Point(2), Draw(2), undo(1)]), "uudd");
    assert_eq!(states(&[Point(1), Draw(1), Point(1), Draw(1), undo(1)]), "dduu");
    assert_eq!(states(&[Point(1), Draw(1), Point(1), Draw(1), undo(1), undo(1)]), "uuuu");
}

#[test]
fn undo_reaches_everything_of_the_user_behind_the_point() {
    assert_eq!(states(&[Point(1), Draw(2), Draw(1), Point(2), Draw(1), undo(1)]), "ududu");
}

#[test]
fn undo_of_another_user_is_that_users_undo_whoever_sends_it() {
    assert_eq!(states(&[Point(1), Draw(1), Point(2), Draw(2), UndoOf { by: 2, of: 1 }]), "uudd");
    assert_eq!(states(&[Point(1), Draw(1), UndoOf { by: 0, of: 1 }, RedoOf { by: 0, of: 1 }]), "dd");
}

#[test]
fn undo_reaches_the_newest_actions_of_everybody_only() {
    let mut ops = vec![Depth(3), Point(1), Draw(1), Point(2), Point(2)];
    assert_eq!(states(&[ops.as_slice(), &[undo(1)]].concat()), "uudd");
    ops.push(Point(2));
    assert_eq!(states(&[ops.as_slice(), &[undo(1)]].concat()), "ddddd");
}

#[test]
fn undone_points_count_for_the_depth() {
    let ops = [Depth(3), Point(1), Point(2), Point(2), undo(2), undo(2), Point(3), undo(1)];
    assert_eq!(states(&ops), "duud");
}

#[test]
fn selection_tiles_are_not_undone() {
    assert_eq!(states(&[Point(1), Sync(1), Draw(1), undo(1)]), "udu");
}

#[test]
fn redo_brings_back_the_oldest_undone_action() {
    let ops = [Point(1), Draw(1), Point(1), Draw(1), undo(1), undo(1), redo(1)];
    assert_eq!(states(&ops), "dduu");
    assert_eq!(states(&[ops.as_slice(), &[redo(1)]].concat()), "dddd");
}

#[test]
fn redo_after_an_action_that_is_done_brings_back_what_follows_it() {
    assert_eq!(states(&[Point(1), Point(1), Point(1), undo(1), undo(1), redo(1)]), "ddu");
}

#[test]
fn redo_beyond_the_depth_does_nothing() {
    // The state at the barrier counts as a point: four points are more than the depth.
    let ops = [Depth(3), Point(1), Point(1), Point(1), undo(1), undo(1), undo(1)];
    assert_eq!(states(&[ops.as_slice(), &[redo(1)]].concat()), "uuu");
    let ops = [Depth(4), Point(1), Point(1), Point(1), undo(1), undo(1), undo(1)];
    assert_eq!(states(&[ops.as_slice(), &[redo(1)]].concat()), "duu");
}

#[test]
fn what_was_undone_is_gone_when_the_user_draws_on() {
    let ops = [Point(1), Draw(1), undo(1), Point(1), Draw(1)];
    assert_eq!(states(&ops), "ggdd");
    assert_eq!(states(&[ops.as_slice(), &[redo(1)]].concat()), "ggdd");
    assert_eq!(states(&[Point(1), undo(1), Point(2)]), "ud", "another user's action changes nothing");
}

#[test]
fn what_is_out_of_reach_does_not_become_gone() {
    let ops = [Depth(3), Point(1), Draw(1), undo(1), Point(2), Point(2), Point(1)];
    assert_eq!(states(&ops), "uuddd");
}

#[test]
fn entries_without_a_point_belong_to_the_action_before() {
    // Drawn after the undo without a point of its own, it is undone and redone with the point before it.
    let ops = [Point(1), Point(1), undo(1), Draw(1), undo(1)];
    assert_eq!(states(&ops), "uuu");
    assert_eq!(states(&[ops.as_slice(), &[redo(1)]].concat()), "duu");
    assert_eq!(states(&[ops.as_slice(), &[redo(1), redo(1)]].concat()), "ddd");
}

#[test]
fn barriers_make_everything_final() {
    for barrier in [Soft, Depth(60)] {
        let ops = [Point(1), Draw(1), Point(2), undo(2), barrier, undo(1), redo(2)];
        assert_eq!(states(&ops), "ddu");
    }
}

#[test]
fn the_depth_is_30_at_first_and_at_least_3() {
    let depth = |ops: &[Op]| scan(ops).machine().points().depth();
    assert_eq!(
        (depth(&[]), depth(&[Depth(0)]), depth(&[Depth(255)]), depth(&[Depth(9), Soft])),
        (30, 3, 255, 9)
    );
}

#[test]
fn undo_of_user_0_for_user_0_marks_the_next_entry_as_undone() {
    let ops = [Point(1), MarkNextUndone, Draw(1), Draw(1), MarkNextUndone, Point(1)];
    assert_eq!(states(&ops), "dudu");
    assert_eq!(states(&[ops.as_slice(), &[redo(1)]].concat()), "dudd");
    assert_eq!(states(&[MarkNextUndone, Soft, Point(1)]), "d");
}

#[test]
fn commands_on_a_locked_canvas_are_ignored_even_those_of_the_server() {
    let ops = [Point(1), Draw(1), Lock(true), UndoOf { by: 0, of: 1 }, Draw(1), Point(1)];
    assert_eq!(states(&ops), "dd");
    assert_eq!(states(&[ops.as_slice(), &[Lock(false), UndoOf { by: 0, of: 1 }]].concat()), "uu");
}

fn history(parts: &[Vec<u8>]) -> Scan {
    scan_bytes(&parts.concat())
}

#[test]
fn commands_of_locked_users_are_ignored() {
    let owner = typed(SessionOwner { users: vec![1] }, 0);
    let lock = |by| typed(UserACL { users: vec![2] }, by);
    let parts = |by| history(&[owner.clone(), lock(by), Point(2).bytes(), Draw(2).bytes(), Draw(3).bytes()]);
    assert_eq!(parts(1).entries().len(), 1);
    assert_eq!(parts(0).entries().len(), 1);
    assert_eq!(parts(2).entries().len(), 3, "only operators lock users");
    let after = [owner.clone(), lock(1), Exit(2).bytes(), Draw(2).bytes()];
    assert_eq!(history(&after).entries().len(), 1, "whoever gets the id next is not locked");
}

#[test]
fn only_operators_lock_the_canvas_and_set_the_depth() {
    let lock = |by| typed(LayerACL { id: 0, flags: LOCKED, exclusive: vec![] }, by);
    let owner = typed(SessionOwner { users: vec![1] }, 0);
    assert!(history(&[owner.clone(), lock(1)]).machine().permissions().canvas_locked());
    assert!(!history(&[owner.clone(), lock(2)]).machine().permissions().canvas_locked());
    let one_layer = typed(LayerACL { id: 256, flags: LOCKED, exclusive: vec![] }, 1);
    assert!(!history(&[owner.clone(), one_layer]).machine().permissions().canvas_locked());
    let depth = |by| typed(UndoDepth { depth: 9 }, by);
    assert_eq!(history(&[owner.clone(), depth(1)]).machine().points().depth(), 9);
    assert_eq!(history(&[owner, depth(2)]).machine().points().depth(), 30);
}

#[test]
fn undo_needs_the_tier_that_operators_have_set() {
    let tiers = |tier| {
        let mut feature_tiers = vec![255; 8];
        feature_tiers.push(tier);
        typed(FeatureAccessLevels { feature_tiers }, 0)
    };
    let joins = [
        typed(SessionOwner { users: vec![1] }, 0),
        typed(TrustedUsers { users: vec![2] }, 0),
        typed(Join { flags: Join::FLAGS_AUTH, ..Join::default() }, 3),
        typed(Join::default(), 4),
    ];
    // Whose undo works, by tier.
    let works = |tier: &[u8], user: u8| {
        let mut parts = joins.to_vec();
        parts.extend(tier.iter().map(|tier| tiers(*tier)));
        parts.extend([Point(user).bytes(), undo(user).bytes()]);
        history(&parts).entries()[0].state == EntryState::Undone
    };
    let all = |tier: &[u8]| (1..=4).filter(|user| works(tier, *user)).collect::<Vec<u8>>();
    assert_eq!(all(&[]), [1, 2, 3, 4]);
    assert_eq!(all(&[0]), [1]);
    assert_eq!(all(&[1]), [1, 2]);
    assert_eq!(all(&[2]), [1, 2, 3]);
    assert_eq!(all(&[3]), [1, 2, 3, 4]);
    assert_eq!(all(&[0, 255]), [1], "255 leaves the tier as it is");
    assert_eq!(all(&[0, 200]), [1, 2, 3, 4], "tiers beyond the last are the last");
    let mut parts = joins.to_vec();
    parts.extend([tiers(0), Point(4).bytes(), UndoOf { by: 0, of: 4 }.bytes()]);
    assert_eq!(history(&parts).entries()[0].state, EntryState::Undone, "the server may always undo");
}

#[test]
fn the_layout_of_older_sessions_is_used() {
    let lock = LayerACL { id: 0, flags: LOCKED, exclusive: vec![1] };
    let mut machine = UndoMachine::new(Layout::V4_24);
    let bytes = Message::from(lock).to_frame(0, Layout::V4_24).unwrap();
    frames(bytes.as_bytes()).for_each(|frame| {
        machine.feed(frame, 0);
    });
    assert!(machine.permissions().canvas_locked());
}

#[test]
fn messages_that_do_not_decode_are_ignored() {
    let bad_point = frame(UndoPoint::TYPE, 1, &[0]);
    let bad_undo = frame(Undo::TYPE, 1, &[0]);
    let bad_depth = frame(UndoDepth::TYPE, 0, &[]);
    let scan = history(&[Point(1).bytes(), bad_point, bad_undo, bad_depth]);
    assert_eq!(scan.entries().iter().map(|e| e.state).collect::<Vec<_>>(), [EntryState::Done]);
}

/// The person that joined with the message of this number.
fn reach(ops: &[Op], person: i64) -> (Result<usize, Unreachable>, Result<usize, Unreachable>) {
    let scan = scan(ops);
    (scan.machine().undoable(person), scan.machine().redoable(person))
}

#[test]
fn actions_of_somebody_who_left_can_be_undone() {
    let ops = [Enter(1), Enter(2), Point(1), Point(1), Point(2), Exit(1)];
    assert_eq!(reach(&ops, 0), (Ok(2), Err(Unreachable::NothingToRedo)));
    assert_eq!(reach(&[ops.as_slice(), &[UndoOf { by: 0, of: 1 }]].concat(), 0), (Ok(1), Ok(1)));
}

#[test]
fn an_id_that_somebody_else_draws_with_is_not_undone() {
    let ops = [Enter(1), Point(1), Exit(1), Enter(1)];
    assert_eq!(reach(&ops, 0).0, Ok(1), "the new holder has not drawn yet");
    let ops = [Enter(1), Point(1), Exit(1), Enter(1), Point(1)];
    assert_eq!(reach(&ops, 0).0, Err(Unreachable::TakenOver { name: "u1".into() }));
    assert_eq!(reach(&ops, 3).0, Ok(1), "and the old one's action is not counted for the new one");
    let undone = [ops.as_slice(), &[undo(1)]].concat();
    assert_eq!(reach(&undone, 0).0, Ok(1), "what the new holder has undone is in nobody's way");
    assert_eq!(reach(&undone, 0).1, Err(Unreachable::NothingToRedo));
}

#[test]
fn nobody_joins_with_the_id_of_the_server() {
    let history = history(&[Enter(0).bytes(), Enter(1).bytes(), Point(0).bytes()]);
    assert_eq!(history.machine().people().iter().map(|person| person.user).collect::<Vec<_>>(), [1]);
}

#[test]
fn reasons_are_given_for_what_cannot_be_reached() {
    let drawn = [Depth(3), Enter(1), Enter(2), Point(1)];
    let ops = [drawn.as_slice(), &[Point(2), Point(2), Point(2)]].concat();
    assert_eq!(reach(&ops, 1).0, Err(Unreachable::NothingToUndo { depth: 3 }));
    assert_eq!(reach(&ops, 77).0, Err(Unreachable::NoSuchPerson));
    let left = [ops.as_slice(), &[Exit(1), Point(2), Point(2)]].concat();
    assert_eq!(reach(&left, 1).0, Err(Unreachable::NoSuchPerson), "they are forgotten");
}

/// The rules once more, written differently: the whole history as a list that is walked for each message.
#[derive(Default)]
struct Model {
    /// User, whether it is a point, whether it is a selection tile, state. Points of user 0 are barriers.
    list: Vec<(u8, bool, bool, char)>,
    /// Where the list begins for undo.
    from: usize,
    depth: usize,
    mark: bool,
    locked: bool,
}

impl Model {
    fn of(ops: &[Op]) -> Model {
        let mut model = Model { depth: 30, ..Model::default() };
        model.list.push((0, true, false, 'b'));
        ops.iter().for_each(|op| model.apply(*op));
        model
    }

    fn states(&self) -> String {
        self.list.iter().map(|e| e.3).filter(|state| *state != 'b').collect()
    }

    /// How many points there are from an entry to the end, itself included.
    fn points_from(&self, at: usize) -> usize {
        self.list[at..].iter().filter(|e| e.1).count()
    }

    fn barrier(&mut self) {
        self.from = self.list.len();
        self.list.push((0, true, false, 'b'));
        self.mark = false;
    }

    fn entry(&mut self, user: u8, is_point: bool, is_tile: bool) {
        if self.locked {
            return;
        }
        let marked = std::mem::take(&mut self.mark);
        self.list.push((user, is_point, is_tile, if marked { 'u' } else { 'd' }));
        if marked || !is_point {
            return;
        }
        for at in self.from..self.list.len() - 1 {
            // In reach are the entries that fewer than `depth` points follow.
            let following = self.list[at + 1..].iter().filter(|e| e.1).count();
            let (by, _, _, state) = self.list[at];
            if by == user && state == 'u' && following < self.depth {
                self.list[at].3 = 'g';
            }
        }
    }

    fn target_of_undo(&self, user: u8) -> Option<usize> {
        let done = |at: &usize| self.list[*at].0 == user && self.list[*at].1 && self.list[*at].3 == 'd';
        let newest = (self.from..self.list.len()).filter(done).max()?;
        (self.points_from(newest) <= self.depth).then_some(newest)
    }

    fn target_of_redo(&self, user: u8) -> Option<usize> {
        let points: Vec<usize> = (self.from..self.list.len()).filter(|at| self.list[*at].1).collect();
        let own = |at: &usize, state: char| self.list[*at].0 == user && self.list[*at].3 == state;
        let done = points.iter().copied().filter(|at| own(at, 'd')).max();
        let stop = done.unwrap_or(self.from);
        // Everything from the end to where the search stops is counted.
        if self.points_from(stop) > self.depth {
            return None;
        }
        points.iter().copied().find(|at| *at >= stop && own(at, 'u'))
    }

    fn apply(&mut self, op: Op) {
        match op {
            Point(user) => self.entry(user, true, false),
            Draw(user) => self.entry(user, false, false),
            Sync(user) => self.entry(user, false, true),
            UndoOf { by, of } | RedoOf { by, of } if !self.locked => {
                let user = if of == 0 { by } else { of };
                let is_redo = matches!(op, RedoOf { .. });
                let target = if is_redo { self.target_of_redo(user) } else { self.target_of_undo(user) };
                let Some(target) = target else { return };
                let mut open = true;
                for at in target..self.list.len() {
                    let (by, point, tile, state) = self.list[at];
                    if by != user {
                        continue;
                    }
                    if is_redo {
                        open &= at == target || !point || state == 'g';
                        if open && state == 'u' {
                            self.list[at].3 = 'd';
                        }
                    } else if state == 'd' && !tile {
                        self.list[at].3 = 'u';
                    }
                }
            }
            Depth(depth) => {
                self.depth = usize::from(depth.max(3));
                self.barrier();
            }
            Soft => self.barrier(),
            MarkNextUndone => self.mark |= !self.locked,
            Lock(on) => self.locked = on,
            UndoOf { .. } | RedoOf { .. } | Enter(_) | Exit(_) => {}
        }
    }
}

fn user() -> impl Strategy<Value = u8> {
    1u8..=5
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        30 => user().prop_map(Point),
        20 => user().prop_map(Draw),
        3 => user().prop_map(Sync),
        15 => (user(), prop_oneof![3 => Just(0u8), 1 => user()]).prop_map(|(by, of)| UndoOf { by, of }),
        10 => (user(), prop_oneof![3 => Just(0u8), 1 => user()]).prop_map(|(by, of)| RedoOf { by, of }),
        5 => user().prop_map(|of| UndoOf { by: 0, of }),
        5 => user().prop_map(|of| RedoOf { by: 0, of }),
        1 => (3u8..=60).prop_map(Depth),
        1 => Just(Soft),
        1 => Just(MarkNextUndone),
        1 => any::<bool>().prop_map(Lock),
        4 => user().prop_map(Enter),
        4 => user().prop_map(Exit),
    ]
}

fn any_history() -> impl Strategy<Value = Vec<Op>> {
    (3u8..=12, prop::collection::vec(any_op(), 0..120)).prop_map(|(depth, mut ops)| {
        ops.insert(0, Depth(depth));
        ops
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_machine_agrees_with_the_list_that_is_walked(ops in any_history()) {
        prop_assert_eq!(states(&ops), Model::of(&ops).states());
    }

    #[test]
    fn memory_is_bounded_by_the_depth_and_the_number_of_ids(ops in any_history()) {
        let scan = scan(&ops);
        let machine = scan.machine();
        prop_assert!(machine.points().iter().count() <= usize::from(machine.points().depth()) + 1);
        prop_assert!(machine.people().iter().count() <= usize::from(machine.points().depth()) + 1 + 254);
    }

    #[test]
    fn exactly_the_actions_that_are_said_to_be_reachable_are_undone_and_redone(ops in any_history()) {
        let ops = [ops, vec![Lock(false)]].concat();
        let people: Vec<(i64, u8)> = scan(&ops).machine().people().iter().map(|p| (p.index, p.user)).collect();
        for (person, of) in people {
            for by_redo in [false, true] {
                let mut scan = scan(&ops);
                let machine = scan.machine();
                let count = if by_redo { machine.redoable(person) } else { machine.undoable(person) };
                let bytes = if by_redo { RedoOf { by: 0, of }.bytes() } else { UndoOf { by: 0, of }.bytes() };
                let mut hits = 0;
                loop {
                    let step = frames(&bytes).map(|frame| scan.feed(frame)).last();
                    match step {
                        Some(Step::Undone(point) | Step::Redone(point)) if point.person == person => hits += 1,
                        _ => break,
                    }
                }
                prop_assert_eq!(count.unwrap_or(0), hits);
            }
        }
    }

    #[test]
    fn redo_by_the_server_takes_back_its_undo(ops in any_history(), count in 1usize..5) {
        let ops = [ops, vec![Lock(false)]].concat();
        let before = scan(&ops);
        let Some(person) = before.machine().people().iter().next().cloned() else { return Ok(()) };
        let count = count.min(before.machine().undoable(person.index).unwrap_or(0));
        let undone = [ops.clone(), vec![UndoOf { by: 0, of: person.user }; count]].concat();
        let reachable = scan(&undone).machine().redoable(person.index).unwrap_or(0);
        // Older undone actions may come back first, and none where the search passes the depth.
        if reachable == count && before.machine().redoable(person.index).is_err() {
            let redone = [undone, vec![RedoOf { by: 0, of: person.user }; count]].concat();
            let points = |scan: &Scan| scan.machine().points().iter().map(|p| p.state).collect::<Vec<_>>();
            prop_assert_eq!(points(&scan(&redone)), points(&before));
        }
    }
}

/// What everything before can be replaced by an image of, without any client noticing: from there on undo and redo find
/// the same, now and later. It is the last point but `depth - 1`, or an earlier one that something behind it depends on.
///
/// `ops` begin with the message that sets the depth.
fn closed_cut(ops: &[Op], depth: usize) -> usize {
    let mut machine = UndoMachine::new(V25);
    let (mut points, mut begun) = (Vec::new(), std::collections::HashMap::new());
    let depends_on = |(at, op): (usize, &Op)| {
        let bytes = op.bytes();
        let step = frames(&bytes).map(|frame| machine.feed(frame, 0)).last();
        match step {
            Some(Step::Begun { point, .. }) => {
                points.push(at);
                begun.insert(point, at);
                at
            }
            Some(Step::Undone(point) | Step::Redone(point)) => begun[&point.number],
            // It may have passed all points within the depth; with fewer it would stop at the beginning instead.
            _ if matches!(op, RedoOf { .. }) => points.len().checked_sub(depth).map_or(0, |n| points[n]),
            _ => at,
        }
    };
    let depends_on: Vec<usize> = ops.iter().enumerate().map(depends_on).collect();
    let mut cut = points.len().checked_sub(depth).map_or(0, |n| points[n]);
    while let Some(earlier) = depends_on[cut..].iter().min().filter(|earlier| **earlier < cut) {
        cut = *earlier;
    }
    cut
}

/// States of the entries of the messages from one on, and which entries before are on the canvas.
fn states_around(ops: &[Op], cut: usize) -> (Vec<(u8, EntryState)>, Vec<u32>) {
    let scan = scan(ops);
    let (before, after): (Vec<&ScannedMessage>, Vec<&ScannedMessage>) =
        scan.entries().iter().partition(|entry| (entry.message as usize) < cut);
    let done = before.iter().filter(|entry| entry.state == EntryState::Done);
    (after.iter().map(|entry| (entry.user, entry.state)).collect(), done.map(|entry| entry.message).collect())
}

#[test]
fn a_history_is_closed_behind_what_later_undos_have_reached() {
    let points = |count| std::iter::repeat_n(Point(1), count);
    let ops: Vec<Op> = std::iter::once(Depth(3)).chain(points(9)).collect();
    assert_eq!(closed_cut(&ops, 3), 7);
    let ops: Vec<Op> =
        [Depth(3)].into_iter().chain(points(5)).chain([undo(1), undo(1), Point(2), Point(2)]).collect();
    assert_eq!(closed_cut(&ops, 3), 4, "the second undo has reached the point of message 4");
    // The redo has passed three points without one that is done; behind message 3 it would find two and the beginning.
    let ops = [Depth(3), Point(1), Point(2), Point(1), undo(1), Point(2), Point(2), redo(1), Point(2)];
    assert_eq!(states(&ops), "dduddd");
    assert_eq!(closed_cut(&ops, 3), 3);
}

fn deed_of_many() -> impl Strategy<Value = Op> {
    let user = || 1u8..5;
    prop_oneof![
        4 => user().prop_map(Point),
        3 => user().prop_map(Draw),
        1 => user().prop_map(Sync),
        3 => undo_or_redo(),
    ]
}

fn undo_or_redo() -> impl Strategy<Value = Op> {
    (1u8..5, 0u8..5, any::<bool>()).prop_map(
        |(by, of, is_redo)| {
            if is_redo { RedoOf { by, of } } else { UndoOf { by, of } }
        },
    )
}

proptest! {
    /// An image of the state at a closed cut, followed by the rest, is the same as everything: now, and after any undo and
    /// redo that follows.
    #[test]
    fn an_image_of_a_closed_cut_makes_no_difference(
        depth in 3u8..9,
        deeds in prop::collection::vec(deed_of_many(), 20..160),
        more in prop::collection::vec(undo_or_redo(), 200),
    ) {
        let all = [&[Depth(depth)][..], &deeds].concat();
        let cut = closed_cut(&all, depth.into());
        // An image begins a history; the depth is part of it.
        let rest = [&[Depth(depth)][..], &all[cut.max(1)..]].concat();
        let at_cut = states_around(&all[..cut], cut).1;
        for later in [0, more.len()] {
            let (states, before) = states_around(&[&all[..], &more[..later]].concat(), cut.max(1));
            let (alone, _) = states_around(&[&rest[..], &more[..later]].concat(), 1);
            prop_assert_eq!(&states, &alone);
            prop_assert!(cut == 0 || before == at_cut, "nothing before the cut changes");
        }
    }
}
