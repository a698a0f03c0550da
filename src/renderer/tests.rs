//! What is given to the program, and where it is found. How it is run is tested in `tests/renderer.rs`.

use std::os::unix::fs::PermissionsExt as _;
use std::pin::Pin;
use std::task::{Context, Waker};

use drawhall_protocol::recording::Header;
use drawhall_protocol::recording::dprec::header_bytes;
use drawhall_protocol::{Frame, ProtocolVersion};

use super::*;

fn recording(version: ProtocolVersion, messages: &[(u8, &[u8])]) -> Vec<u8> {
    let mut recording = header_bytes(&Header::of_version(&version)).unwrap();
    for (kind, payload) in messages {
        recording.extend_from_slice(Frame::new(*kind, 1, payload).unwrap().as_bytes());
    }
    recording
}

#[test]
fn messages_that_clients_ignore_are_left_out() {
    let version = || ProtocolVersion::dp(4, 25, 1);
    let short: (u8, &[u8]) = (137, b"too short");
    let undo_point: (u8, &[u8]) = (128, b"");
    for given in [
        vec![undo_point, undo_point],
        vec![undo_point, short, undo_point],
        vec![short, short, undo_point, short, undo_point, short],
    ] {
        let fed = known_messages(recording(version(), &given)).unwrap();
        assert_eq!(fed, recording(version(), &[undo_point, undo_point]), "{given:?}");
    }
    let torn = [recording(version(), &[undo_point]), vec![0, 9, 128]].concat();
    assert_eq!(known_messages(torn).unwrap(), recording(version(), &[undo_point]));
}

#[test]
fn what_a_program_may_understand_differently_is_refused() {
    let refused = |version, messages: &[(u8, &[u8])]| match known_messages(recording(version, messages)) {
        Err(RenderError::Unknown(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let dp = ProtocolVersion::dp;
    assert_eq!(refused(dp(4, 25, 1), &[(183, b"x")]), "message type 183 is not in use");
    assert_eq!(refused(dp(4, 24, 0), &[(177, &[0; 7])]), "message type 177 does not exist before dp:4.25");
    assert_eq!(refused(dp(4, 26, 0), &[]), "the protocol version");
    assert_eq!(refused(dp(5, 0, 0), &[]), "the protocol version");
    assert!(known_messages(recording(dp(4, 24, 0), &[])).is_ok());
    assert!(matches!(known_messages(b"no recording".to_vec()), Err(RenderError::Unknown(_))));
}

#[test]
fn the_default_program_is_looked_for_in_path() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join(DEFAULT_PROGRAM);
    let search = std::env::join_paths([Path::new("/nowhere"), directory.path()]).unwrap();
    assert_eq!(find_program(None, DEFAULT_PROGRAM, Some(&search)), None);
    std::fs::write(&program, "").unwrap();
    assert_eq!(find_program(None, DEFAULT_PROGRAM, Some(&search)), None, "it may not be executed");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(find_program(None, DEFAULT_PROGRAM, Some(&search)).as_ref(), Some(&program));
    assert_eq!(find_program(None, DEFAULT_PROGRAM, None), None);
    let wanted = Path::new("/somewhere/else");
    assert_eq!(find_program(Some(wanted), DEFAULT_PROGRAM, Some(&search)).as_deref(), Some(wanted));
    let name = Path::new(DEFAULT_PROGRAM);
    assert_eq!(
        find_program(Some(name), DEFAULT_PROGRAM, Some(&search)),
        Some(program),
        "as a shell finds it"
    );
    let here = std::env::current_dir().unwrap();
    let relative = find_program(Some(Path::new("./tools/other")), DEFAULT_PROGRAM, Some(&search));
    assert_eq!(relative, Some(here.join("tools/other")), "it is started in another directory");
    assert_eq!(
        find_program(Some(Path::new("other")), DEFAULT_PROGRAM, Some(&search)),
        Some(here.join("other"))
    );
}

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<RenderPermit, RenderError>> + 'a>>;

fn with_program() -> Renderer {
    Renderer::new(Some("/bin/true".into()), Some("/bin/true".into()), Arc::default())
}

#[tokio::test]
async fn one_at_a_time_and_three_wait() {
    let renderer = with_program();
    let first = renderer.acquire().await.unwrap();
    let is_pending =
        |permit: &mut Waiting<'_>| permit.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
    let mut waiting: Vec<Waiting<'_>> = (0..3).map(|_| Box::pin(renderer.acquire()) as Waiting<'_>).collect();
    assert!(waiting.iter_mut().all(is_pending));
    assert!(matches!(renderer.acquire().await, Err(RenderError::Busy)));
    drop(waiting.pop());
    let mut last = Box::pin(renderer.acquire()) as Waiting<'_>;
    assert!(is_pending(&mut last), "there is room again when somebody is gone");
    drop(first);
    assert!(waiting.remove(0).await.is_ok());
}

#[tokio::test]
async fn what_nobody_waits_for_is_refused_while_the_program_runs() {
    let renderer = with_program();
    let background = renderer.clone().only_if_idle();
    let first = renderer.acquire().await.unwrap();
    assert!(matches!(background.acquire().await, Err(RenderError::Busy)));
    drop(first);
    let _permit = background.acquire().await.unwrap();
    let waits = std::pin::pin!(renderer.acquire()).poll(&mut Context::from_waker(Waker::noop())).is_pending();
    assert!(waits, "others wait for it as for anybody");
    assert!(matches!(background.acquire().await, Err(RenderError::Busy)));
}

#[tokio::test]
async fn nothing_begins_while_the_disk_is_nearly_full() {
    let renderer = with_program();
    let running = renderer.acquire().await.unwrap();
    let mut waiting = Box::pin(renderer.acquire()) as Waiting<'_>;
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let others = renderer.clone();
    others.set_lacks_space(true);
    for refused in [renderer.clone().only_if_idle(), renderer.clone()] {
        assert!(matches!(refused.acquire().await, Err(RenderError::NoSpace)));
    }
    drop(running);
    assert!(matches!(waiting.await, Err(RenderError::NoSpace)), "it has waited meanwhile");
    others.set_lacks_space(false);
    assert!(renderer.acquire().await.is_ok());
}

#[tokio::test]
async fn nothing_is_started_once_the_server_stops() {
    let renderer = with_program();
    renderer.stop().await;
    assert!(matches!(renderer.acquire().await, Err(RenderError::Cancelled)));
}

#[tokio::test]
async fn without_a_program_it_is_said_where_to_get_it() {
    let error = Renderer::default().acquire().await.unwrap_err();
    assert!(error.to_string().contains("--canvas-renderer"), "{error}");
}
