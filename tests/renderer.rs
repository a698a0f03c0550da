//! Pictures of sessions by an external program: what it is given, what it may do, and what becomes of one that hangs,
//! floods, crashes, lies or starts others.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

#[cfg(target_os = "linux")]
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::client::Received;
use common::http::{request, text};
#[cfg(target_os = "linux")]
use common::skip::skip;
use common::{Client, TestServer};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use drawhall::app::ServeOptions;
use drawhall::blocking::CancelOnDrop;
use drawhall::metrics::Metrics;
use drawhall::renderer::{Format, RenderError, RenderPermit, Renderer, TimelapseFormat};
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{
    CanvasResize, ClassicDab, DrawDabsClassic, FeatureLimits, FillRect, LayerACL, LayerRetitle,
    LayerTreeCreate, Layout, Leave, Message, PenUp, PutTileZstd, UndoPoint, UserACL,
};
use drawhall_protocol::recording::Header;
use drawhall_protocol::recording::dprec::{DprecReader, header_bytes};
use drawhall_protocol::{Frame, ProtocolVersion};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_drawhall");
/// Writes the first bytes of a PNG where a picture is expected, as `drawpile-cmd` names it.
const LEAVE_PNG: &str = r#"printf '\211PNG\r\n\032\nrest' > "${5%.png}-1.png""#;

/// A program in a directory of its own that does what the script says.
struct Script {
    directory: tempfile::TempDir,
    metrics: Arc<Metrics>,
}

impl Script {
    fn new(script: &str) -> Script {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Script { directory, metrics: Arc::default() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("program")
    }

    fn renderer(&self) -> Renderer {
        Renderer::new(Some(self.path()), Some(PROGRAM.into()), self.metrics.clone())
    }

    /// Permission to run it, which nobody else has.
    fn permit(&self) -> RenderPermit {
        permit(&self.renderer())
    }

    fn run(&self) -> Result<Vec<u8>, RenderError> {
        self.permit().picture(recording(), Format::Png)
    }

    fn counted(&self) -> String {
        let page = self.metrics.page(&Default::default());
        let lines = page.lines().filter(|line| line.starts_with("drawhall_renders_total{"));
        lines.collect::<Vec<_>>().join(" ")
    }
}

fn permit(renderer: &Renderer) -> RenderPermit {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(renderer.acquire()).unwrap()
}

fn recording() -> Vec<u8> {
    let header = header_bytes(&Header::of_version(&ProtocolVersion::dp(4, 25, 1))).unwrap();
    [header, Frame::new(128, 1, &[]).unwrap().as_bytes().to_vec()].concat()
}

/// The reason why a program failed.
fn failure(script: &str) -> String {
    match Script::new(script).run() {
        Err(RenderError::Failed(reason)) => reason,
        other => panic!("{script}: {other:?}"),
    }
}

#[test]
fn the_program_gets_the_recording_and_leaves_the_picture() {
    let script = Script::new(&format!(
        r#"[ "$1 $2 $3 $4" = "--acl --format png --out" ] || exit 7
[ -z "$USER$CARGO_MANIFEST_DIR" ] || exit 8
[ "$6" = "$HOME/session.dprec" ] || exit 9
read -r beginning < "$6"; case "$beginning" in DPREC*) ;; *) exit 10 ;; esac
{LEAVE_PNG}"#
    ));
    assert_eq!(script.run().unwrap(), b"\x89PNG\r\n\x1a\nrest");
    assert_eq!(script.counted(), "drawhall_renders_total{result=\"ok\"} 1");
    let ora = Script::new(r#"printf 'PK\003\004' > "${5%.ora}-1.ora""#);
    assert_eq!(ora.permit().picture(recording(), Format::Ora).unwrap(), b"PK\x03\x04");
}

#[test]
fn a_thumbnail_is_a_small_jpeg() {
    let thumbnail = |script: &str| Script::new(script).permit().thumbnail(recording());
    let jpeg = r#"printf '\377\330\377rest' > "${5%.jpg}-1.jpg""#;
    assert_eq!(thumbnail(jpeg).unwrap(), b"\xff\xd8\xffrest");
    let large = format!("{jpeg}; exec /usr/bin/truncate -s 3M thumbnail-1.jpg");
    for script in [&large, "echo text > thumbnail-1.jpg"] {
        let refused = thumbnail(script).unwrap_err().to_string();
        assert!(refused.contains("what it left is no small jpg picture"), "{refused}");
    }
}

#[test]
fn a_program_that_hangs_is_killed() {
    let script = Script::new("exec sleep 1000");
    let renderer = script.renderer().with_timeout(Duration::from_millis(200));
    assert!(matches!(permit(&renderer).picture(recording(), Format::Png), Err(RenderError::Timeout)));
    assert_eq!(script.counted(), "drawhall_renders_total{result=\"timeout\"} 1");
}

#[test]
fn a_program_that_fails_in_any_way_is_an_error() {
    for (script, expected) in [
        ("exit 3", "exit status: 3"),
        ("echo oops >&2; kill -SEGV $$", "oops"),
        ("exit 0", "it left 0 pictures instead of one"),
        ("echo text > picture-1.png; echo text > picture-2.png", "it left 2 pictures instead of one"),
        ("echo text > picture-1.png", "what it left is no png picture"),
        ("i=0; while [ $i -lt 100000 ]; do echo flood; i=$((i+1)); done >&2; exit 4", "exit status: 4: flo"),
    ] {
        let reason = failure(script);
        assert!(reason.contains(expected), "{script}: {reason}");
    }
    let nowhere = Renderer::new(Some("/nowhere/program".into()), Some(PROGRAM.into()), Arc::default());
    let error = permit(&nowhere).picture(recording(), Format::Png).unwrap_err();
    assert!(error.to_string().contains("/nowhere/program"), "{error}");
}

#[test]
fn what_a_program_may_write_is_limited() {
    let script = Script::new("exec /usr/bin/truncate -s 290M one.png two.png three.png four.png");
    assert!(matches!(script.run(), Err(RenderError::TooMuchWritten)));
    let script =
        Script::new(&format!(r#"i=0; while [ $i -lt 1100 ]; do : > $i; i=$((i+1)); done; {LEAVE_PNG}"#));
    assert!(matches!(script.run(), Err(RenderError::TooMuchWritten)), "many files without content");
    // One file that is too large: the program gets an error, or is killed.
    let reason = failure("exec /usr/bin/truncate -s 2G one.png");
    assert!(reason.contains("File too large") || reason.contains("signal: 25"), "{reason}");
}

/// A script that is run by Perl, which needs no other process for what it does.
#[cfg(target_os = "linux")]
fn perl(script: &str) -> Option<String> {
    if Path::new("/usr/bin/perl").exists() {
        return Some(format!("exec /usr/bin/perl -e '{script}'"));
    }
    skip("perl", "there is no /usr/bin/perl");
    None
}

#[test]
#[cfg(target_os = "linux")]
fn files_that_are_in_no_directory_any_more_count_too() {
    let script = r#"for (1 .. 4) { open($f[$_], ">", "f") or exit 3; truncate($f[$_], 290 << 20) or exit 4; unlink "f" }
        sleep 1000"#;
    let Some(script) = perl(script) else { return };
    let made = Script::new(&script).run();
    assert!(matches!(made, Err(RenderError::TooMuchWritten)), "{made:?}");
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn files_that_are_only_mapped_count_too() {
    // 9: mmap, of one page to read, shared.
    let script = r#"for (1 .. 4) { open($f, "+>", "f") or exit 3; truncate($f, 290 << 20) or exit 4;
            syscall(9, 0, 4096, 1, 1, fileno($f), 0) > 0 or exit 5; unlink "f"; close $f }
        sleep 1000"#;
    let Some(script) = perl(script) else { return };
    let script = Script::new(&script);
    let renderer = script.renderer().with_timeout(Duration::from_secs(60));
    let made = permit(&renderer).picture(recording(), Format::Png);
    assert!(matches!(made, Err(RenderError::TooMuchWritten)), "{made:?}");
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn a_program_leaves_no_memory_and_reaches_no_other_process() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(outside.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    // 240: mq_open, 302: prlimit64 (7: open files), 203: sched_setaffinity, 424: pidfd_send_signal, 72: fcntl (8: owner),
    // 157: prctl (1: signal when the parent ends). The bit makes them calls of the x32 ABI.
    let script = r#"$p = getppid; $l = pack("QQ", 1000, 1000); $x = 0x40000000; $m = "m"; $c = pack("Q", 1);
        %tried = (
            shmget => sub { shmget(0, 4096, 01666) }, msgget => sub { msgget(0, 01666) },
            semget => sub { semget(0, 1, 01666) }, mq => sub { syscall(240, $m, 0102, 0666, 0) >= 0 },
            kill => sub { kill "CONT", $p }, group => sub { setpgrp(0, 0) }, priority => sub { setpriority(0, $p, 19) },
            limit => sub { syscall(302, $p, 7, $l, 0) == 0 }, affinity => sub { syscall(203, $p, 8, $c) == 0 },
            pidfd => sub { syscall(424, 0, 0, 0, 0) == 0 || $! != 1 }, owner => sub { syscall(72, 0, 8, $p) == 0 },
            chmod => sub { chmod 0600, "OUTSIDE" }, parent => sub { syscall(157, 1, 0) == 0 },
            x32 => sub { syscall($x + 39) > 0 || ($! != 1 && $! != 38) },
        );
        for (sort keys %tried) { push @done, $_ if $tried{$_}->() }
        kill "CONT", $$ or push @done, "own signal is refused";
        syscall(302, 0, 7, $l, 0) == -1 or push @done, "higher limit";
        print STDERR "done[@done]\n"; exit 5"#;
    let Some(script) = perl(&script.replace("OUTSIDE", outside.path().to_str().unwrap())) else { return };
    assert_eq!(failure(&script), "exit status: 5: done[]");
    assert_eq!(outside.as_file().metadata().unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_ends_with_whoever_has_started_it() {
    use std::io::BufRead as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};
    let directory = tempfile::tempdir().unwrap();
    let run = |parent: &str, script: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["canvas", "run", "--parent", parent, "--directory"]).arg(directory.path());
        command.args(["--", "/bin/sh", "-c", script]).stdout(Stdio::piped());
        command
    };
    let own = std::process::id().to_string();
    let mut command = run(&own, "echo started; exec sleep 1000");
    // The kernel looks at the thread that has started it.
    let started = std::thread::spawn(move || {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (child, line)
    });
    let (mut child, line) = started.join().unwrap();
    assert_eq!(line, "started\n");
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    // Whoever has started it had ended before.
    assert_eq!(run("1", "exit 0").status().unwrap().code(), Some(1));
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_is_killed_when_nobody_waits_for_its_picture() {
    let cancel = CancelOnDrop::default();
    let script = Script::new("while :; do :; done");
    let permit = script.permit().cancelled_by(&cancel);
    let made = std::thread::spawn(move || permit.picture(recording(), Format::Png));
    common::eventually("the program runs", || is_running(&script.path()));
    drop(cancel);
    let made = made.join().unwrap();
    assert!(matches!(made, Err(RenderError::Cancelled)), "{made:?}");
    assert!(!is_running(&script.path()));
}

#[test]
#[cfg(target_os = "linux")]
fn what_nobody_asked_for_ends_when_somebody_waits() {
    let script =
        Script::new(&format!(r#"case "$5" in *.jpg) while :; do :; done ;; *) {LEAVE_PNG} ;; esac"#));
    let renderer = script.renderer();
    let background = permit(&renderer.clone().only_if_idle());
    let thumbnail = std::thread::spawn(move || background.thumbnail(recording()));
    common::eventually("the program runs", || is_running(&script.path()));
    let asked = std::thread::spawn(move || permit(&renderer).picture(recording(), Format::Png));
    let thumbnail = thumbnail.join().unwrap();
    assert!(matches!(thumbnail, Err(RenderError::Busy)), "{thumbnail:?}");
    assert!(asked.join().unwrap().is_ok());
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_cannot_start_others() {
    // The shell ends with status 2 when it cannot fork.
    for script in ["/bin/sleep 1000 & echo started >&2; exit 5", "(echo child >&2); echo started >&2; exit 5"]
    {
        let reason = failure(script);
        assert!(reason.starts_with("exit status: 2: ") && reason.contains("fork"), "{reason}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_is_left_of_a_program() {
    let reason = failure(r#"echo text > file; echo "$PWD" >&2; exit 1"#);
    let directory = reason.rsplit(": ").next().unwrap();
    assert!(directory.contains("drawhall-picture-"), "{reason}");
    assert!(!Path::new(directory).exists(), "{directory}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_cannot_reach_other_files() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "secret\n").unwrap();
    if !has_landlock() {
        return skip("landlock", "the kernel cannot take files from a process");
    }
    let secret = secret.display();
    let read = format!("[ -e {secret} ] || exit 7; read line < {secret} && exit 8; echo tried >&2; exit 6");
    assert_eq!(failure(&read), "exit status: 6: tried");
    failure(&format!("echo text > {}/new && exit 0; exit 6", outside.path().display()));
    assert!(!outside.path().join("new").exists());
}

/// Whether the kernel can take files from a process.
#[cfg(target_os = "linux")]
fn has_landlock() -> bool {
    use landlock::{ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
    let wanted = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    wanted.handle_access(AccessFs::from_all(ABI::V1)).is_ok_and(|ruleset| ruleset.create().is_ok())
}

#[test]
fn what_is_not_known_is_never_given_to_a_program() {
    let script = Script::new(LEAVE_PNG);
    let unknown = [recording(), Frame::new(183, 1, b"x").unwrap().as_bytes().to_vec()].concat();
    let refused = script.permit().picture(unknown, Format::Png);
    // The program would have left a picture.
    assert!(matches!(refused, Err(RenderError::Unknown(_))), "{refused:?}");
    assert_eq!(script.counted(), "drawhall_renders_total{result=\"refused\"} 1");
}

/// A picture of 64 x 48 pixels of this shade.
fn grey_png(shade: u8) -> Vec<u8> {
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, 64, 48);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(&[shade; 64 * 48]).unwrap();
    png
}

/// A program that makes three frames of a time-lapse, if it is to make a picture every so many actions.
fn timelapse_program(every: usize) -> Script {
    let script = Script::new(&format!(
        r#"[ "$1 $2 $3 $4" = "--acl --format png --out" ] || exit 7
        [ "$6 $7 $8 $9 ${{10}}" = "--maxsize 640x480 --fixedsize --every-seq {every}" ] || exit 8
        here=${{0%/*}}
        exec /bin/cp "$here/frame-1.png" "$here/frame-2.png" "$here/frame-10.png" "$HOME/""#
    ));
    for (number, shade) in [(1, 10), (2, 20), (10, 30)] {
        let path = script.directory.path().join(format!("frame-{number}.png"));
        std::fs::write(path, grey_png(shade)).unwrap();
    }
    script
}

/// The shade of each frame of an animation.
fn shades(animation: &[u8]) -> Vec<u8> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(animation)).read_info().unwrap();
    let frames = reader.info().animation_control().unwrap().num_frames;
    let shade = |_| {
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        pixels[0]
    };
    (0..frames).map(shade).collect()
}

#[test]
fn a_timelapse_has_the_frames_in_order() {
    let mut recording = recording();
    for _ in 0..1000 {
        recording.extend_from_slice(Frame::new(UndoPoint::TYPE, 1, &[]).unwrap().as_bytes());
    }
    let script = timelapse_program(11);
    let animation = script.permit().timelapse(recording.clone(), 100, TimelapseFormat::Apng).unwrap();
    assert_eq!(shades(&animation), [10, 20, 30]);
    assert_eq!(script.counted(), "drawhall_renders_total{result=\"ok\"} 1");
    std::fs::write(script.directory.path().join("frame-2.png"), "text").unwrap();
    match script.permit().timelapse(recording.clone(), 100, TimelapseFormat::Apng) {
        Err(RenderError::Failed(reason)) => assert!(reason.contains("a frame cannot be read"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let nothing = Script::new("exit 0")
        .permit()
        .timelapse(recording, 100, TimelapseFormat::Apng)
        .unwrap_err()
        .to_string();
    assert!(nothing.contains("it left no pictures"), "{nothing}");
}

/// What becomes of a time-lapse of three frames as a video by this program.
fn video(ffmpeg: &Path, format: TimelapseFormat) -> Result<Vec<u8>, RenderError> {
    let script = timelapse_program(1);
    let renderer = script.renderer().with_ffmpeg(Some(ffmpeg.into())).with_timeout(Duration::from_secs(60));
    permit(&renderer).timelapse(recording(), 100, format)
}

#[test]
fn a_video_is_made_of_the_frames_in_order() {
    // The video has the frames behind its beginning.
    let ffmpeg = Script::new(
        r#"for out; do :; done
        [ "$out" = "$HOME/timelapse.webm" ] && [ ! -e video-00004.png ] || exit 7
        printf '\032\105\337\243' > "$out"; exec /bin/cat video-00001.png video-00002.png video-00003.png >> "$out""#,
    );
    let made = video(&ffmpeg.path(), TimelapseFormat::Webm).unwrap();
    assert_eq!(made[4..], [grey_png(10), grey_png(20), grey_png(30)].concat());
}

#[test]
fn an_encoder_that_fails_in_any_way_is_an_error() {
    for (script, expected) in [
        ("exit 3", "ffmpeg: exit status: 3"),
        ("echo no such encoder >&2; exit 1", "no such encoder"),
        ("exit 0", "ffmpeg: it left no video"),
        ("echo text > timelapse.mp4", "what was made is no mp4"),
        ("exec /bin/ln -s /etc/passwd timelapse.mp4", "ffmpeg: "),
    ] {
        let ffmpeg = Script::new(script);
        match video(&ffmpeg.path(), TimelapseFormat::Mp4) {
            Err(RenderError::Failed(reason)) => assert!(reason.contains(expected), "{script}: {reason}"),
            other => panic!("{script}: {other:?}"),
        }
    }
    let large = Script::new("exec /usr/bin/truncate -s 257M timelapse.mp4");
    let refused = video(&large.path(), TimelapseFormat::Mp4);
    assert!(matches!(refused, Err(RenderError::FramesTooLarge)), "{refused:?}");
    let (hangs, script) = (Script::new("exec sleep 1000"), timelapse_program(1));
    let renderer = script.renderer().with_ffmpeg(Some(hangs.path())).with_timeout(Duration::from_secs(2));
    let made = permit(&renderer).timelapse(recording(), 100, TimelapseFormat::Mp4);
    assert!(matches!(made, Err(RenderError::Timeout)), "{made:?}");
    assert_eq!(script.counted(), "drawhall_renders_total{result=\"timeout\"} 1");
}

#[test]
fn without_ffmpeg_it_is_said_how_to_get_it() {
    let (script, folder) = (timelapse_program(1), tempfile::tempdir().unwrap());
    let (server, _ann) = lobby_with_vandal(&script, folder.path());
    let admin = server.admin.unwrap();
    let answer = ask(admin, "timelapse?format=webm", None);
    let said = answer.json["message"].as_str().unwrap_or_default();
    assert!(answer.status == 409 && said.contains("--ffmpeg"), "{} {said}", answer.status);
    let (said, fine) = ctl(admin, &["timelapse", "lobby", "--format", "mp4"]);
    assert!(!fine && String::from_utf8_lossy(&said).contains("--ffmpeg"));
    assert_eq!(ask(admin, "timelapse?format=gif", None).status, 400);
    assert_eq!(ask(admin, "timelapse?format=apng", None).status, 200);
}

#[test]
fn ffmpeg_makes_videos_that_others_can_read() {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| drawhall::renderer::find_program(None, name, Some(&search));
    let (Some(ffmpeg), Some(ffprobe)) = (find("ffmpeg"), find("ffprobe")) else {
        return common::skip::skip("ffmpeg", "there is no ffmpeg with its ffprobe");
    };
    let folder = tempfile::tempdir().unwrap();
    for format in [TimelapseFormat::Webm, TimelapseFormat::Mp4] {
        let file = folder.path().join(format!("video.{}", format.extension()));
        std::fs::write(&file, video(&ffmpeg, format).unwrap()).unwrap();
        let mut probe = std::process::Command::new(&ffprobe);
        probe.args(["-v", "error", "-count_frames", "-show_entries", "stream=width,height,nb_read_frames"]);
        let out = probe.args(["-of", "csv=p=0"]).arg(&file).output().unwrap();
        // The last frame stays for three seconds.
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "640,480,33", "{format:?}");
    }
}

#[test]
fn a_timelapse_with_frames_that_are_too_large_is_refused() {
    let script = Script::new("exec /usr/bin/truncate -s 101M frame-1.png frame-2.png frame-3.png");
    let folder = tempfile::tempdir().unwrap();
    let (server, _ann) = lobby_with_vandal(&script, folder.path());
    let answer = ask(server.admin.unwrap(), "timelapse?frames=600", None);
    let said = answer.json["message"].as_str().unwrap_or_default();
    assert!(answer.status == 409 && said.contains("fewer frames"), "{} {said}", answer.status);
    let page = text(server.admin.unwrap(), "/metrics");
    assert!(page.contains("drawhall_renders_total{result=\"refused\"} 1"), "{page}");
}

#[test]
fn a_picture_that_is_too_large_is_refused() {
    let script = Script::new("exec /usr/bin/truncate -s 257M picture-1.png");
    assert!(matches!(script.run(), Err(RenderError::ResultTooLarge)));
    assert_eq!(script.counted(), "drawhall_renders_total{result=\"refused\"} 1");
}

#[test]
fn a_stored_session_has_a_timelapse() {
    let (script, folder) = (timelapse_program(1), tempfile::tempdir().unwrap());
    let (server, _ann) = lobby_with_vandal(&script, folder.path());
    let admin = server.admin.unwrap();
    let file = folder.path().join("lobby.apng");
    let (said, fine) = ctl(admin, &["timelapse", "lobby", "-o", file.to_str().unwrap()]);
    assert!(fine, "{}", String::from_utf8_lossy(&said));
    assert_eq!(shades(&std::fs::read(&file).unwrap()), [10, 20, 30]);
    let status = |path: &str| request(admin, "GET", path, "", None).status;
    assert_eq!(status("/api/sessions/lobby/timelapse?frames=50"), 200);
    assert_eq!(status("/api/sessions/lobby/timelapse?frames=601"), 400);
    assert_eq!(status("/api/sessions/nowhere/timelapse"), 404);
    assert_eq!(status("/api/ended/nowhere/timelapse"), 404);
}

#[test]
fn an_ended_session_has_a_picture() {
    let (script, sessions) = (Script::new(LEAVE_PNG), tempfile::tempdir().unwrap());
    let options = ServeOptions {
        admin_port: Some(0),
        sessions: Some(sessions.path().into()),
        keep_ended: true,
        canvas_renderer: Some(script.path()),
        ..ServeOptions::default()
    };
    let server = TestServer::start_with("", options);
    let admin = server.admin.unwrap();
    let created = request(admin, "POST", "/api/sessions", "", Some(&json!({"title": "t"})));
    let id = created.json["id"].as_str().unwrap().to_owned();
    let path = format!("/api/ended/{id}/picture");
    assert_eq!(request(admin, "GET", &path, "", None).status, 404, "it has not ended");
    common::eventually("it is stored", || picture(&server, &id, "").0 != 409);
    assert_eq!(request(admin, "DELETE", &format!("/api/sessions/{id}"), "", None).status, 200);
    common::eventually("its files are moved", || {
        request(admin, "GET", "/api/ended", "", None).json["sessions"][0]["id"] == id.as_str()
    });
    let answer = request(admin, "GET", &path, "", None);
    assert!(answer.status == 200 && answer.head.contains("content-type: image/png"), "{}", answer.head);
    assert!(answer.head.contains(&format!("filename=\"{id}.png\"")), "{}", answer.head);
    let (said, fine) = ctl(admin, &["picture", &id, "--ended", "-o", "-"]);
    assert!(fine && said == b"\x89PNG\r\n\x1a\nrest", "{}", String::from_utf8_lossy(&said));
    assert_eq!(request(admin, "GET", "/api/ended/nowhere/picture", "", None).status, 404);
}

/// A server that records its sessions, which are in memory only, in this directory.
fn recording_server(script: &Script, folder: &Path) -> TestServer {
    let options = ServeOptions {
        admin_port: Some(0),
        record: Some(folder.to_str().unwrap().to_owned()),
        canvas_renderer: Some(script.path()),
        ..ServeOptions::default()
    };
    TestServer::start_with("emptySessionLingerTime=1h", options)
}

/// The only recording that is listed, once it is like that.
fn listed_recording(admin: SocketAddr, is_open: bool) -> serde_json::Value {
    let list = || request(admin, "GET", "/api/recordings", "", None).json;
    common::eventually("the recording is listed", || list()["recordings"][0]["open"] == is_open);
    let list = list();
    assert!(list["recorded"] == true && list["more"] == false, "{list}");
    assert_eq!(list["recordings"].as_array().unwrap().len(), 1, "{list}");
    list["recordings"][0].clone()
}

/// The path of a picture of a recording.
fn of_recording(name: &str, what: &str) -> String {
    format!("/api/recordings/{}/{what}", name.replace(' ', "%20"))
}

#[test]
fn recordings_that_the_server_makes_have_pictures() {
    // The picture has the recording that the program was given behind it.
    let script = Script::new(
        r#"out="${5%.png}-1.png"; printf '\211PNG\r\n\032\n' > "$out"; exec /bin/cat "$6" >> "$out""#,
    );
    let folder = tempfile::tempdir().unwrap();
    let server = recording_server(&script, folder.path());
    let admin = server.admin.unwrap();
    let mut ann = server.connect();
    let id = ann.host_running("Ann");
    let listed = listed_recording(admin, true);
    let name = listed["name"].as_str().unwrap().to_owned();
    let file = folder.path().join(&name);
    assert!(listed["session"] == id.as_str() && name.ends_with(&format!(" session {id}.dprec")), "{listed}");
    assert!(listed["changed"].as_str().unwrap().ends_with('Z'), "{listed}");
    let answer = request(admin, "GET", &of_recording(&name, "picture"), "", None);
    assert!(answer.status == 200 && answer.head.contains("content-type: image/png"), "{}", answer.head);
    let saved_as = name.replace([' ', '.'], "_").replace("_dprec", ".png");
    assert!(answer.head.contains(&format!("filename=\"{saved_as}\"")), "{}", answer.head);

    assert_eq!(request(admin, "DELETE", &format!("/api/sessions/{id}"), "", None).status, 200);
    let listed = listed_recording(admin, false);
    assert_eq!(listed["size"], std::fs::metadata(&file).unwrap().len());
    let picture = || {
        let (picture, fine) = ctl(admin, &["picture", &name, "--recording", "-o", "-"]);
        assert!(fine, "{}", String::from_utf8_lossy(&picture));
        picture
    };
    let whole = picture();
    let written = std::fs::read(&file).unwrap();
    let messages = DprecReader::new(written.as_slice()).unwrap().messages_in(&written);
    let known: Vec<u8> = frames(messages)
        .filter(|frame| frame.header.kind != FeatureLimits::TYPE)
        .flat_map(|frame| frame.bytes.to_vec())
        .collect();
    assert!(frames(&known).any(|frame| frame.header.kind == CanvasResize::TYPE));
    assert!(whole.ends_with(&[&written[..written.len() - messages.len()], &known].concat()));
    let mut torn = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    std::io::Write::write_all(&mut torn, &[0, 9, 128]).unwrap();
    assert!(picture() == whole, "it ends behind the last whole message");

    let (said, fine) = ctl(admin, &["recordings"]);
    let said = String::from_utf8(said).unwrap();
    assert!(fine && said.contains(&id) && said.contains(&name), "{said}");
    let (said, fine) = ctl(admin, &["picture", "nothing.dprec", "--recording"]);
    let said = String::from_utf8(said).unwrap();
    assert!(!fine && said.contains("there is no recording 'nothing.dprec'"), "{said}");
}

#[test]
fn names_of_recordings_lead_nowhere_else() {
    let (script, folder) = (Script::new(LEAVE_PNG), tempfile::tempdir().unwrap());
    let (inside, outside) = (folder.path().join("in"), folder.path().join("out.dprec"));
    std::fs::create_dir(&inside).unwrap();
    let mut header = Header::of_version(&ProtocolVersion::dp(4, 25, 1));
    header.set("server-recording", "true");
    std::fs::write(&outside, header_bytes(&header).unwrap()).unwrap();
    std::fs::copy(&outside, inside.join("there.dprec")).unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("link.dprec")).unwrap();
    let server = recording_server(&script, &inside);
    let admin = server.admin.unwrap();
    assert_eq!(listed_recording(admin, false)["name"], "there.dprec");
    let status = |name: &str| request(admin, "GET", &of_recording(name, "picture"), "", None).status;
    assert_eq!(status("there.dprec"), 200);
    let absolute = outside.to_str().unwrap().replace('/', "%2F");
    for name in
        ["link.dprec", "..%2Fout.dprec", "..", "%2E%2E%2Fout.dprec", ".%2Fthere.dprec", &absolute, "x%00"]
    {
        assert_eq!(status(name), 404, "{name}");
    }
    let plain = TestServer::start_with("", ServeOptions { admin_port: Some(0), ..ServeOptions::default() });
    let list = request(plain.admin.unwrap(), "GET", "/api/recordings", "", None).json;
    assert_eq!(list, json!({"recorded": false, "recordings": [], "more": false}));
    let path = of_recording("there.dprec", "picture");
    assert_eq!(request(plain.admin.unwrap(), "GET", &path, "", None).status, 404);
}

#[test]
fn a_recording_has_a_timelapse() {
    let (script, folder) = (timelapse_program(1), tempfile::tempdir().unwrap());
    let server = recording_server(&script, folder.path());
    let admin = server.admin.unwrap();
    let mut ann = server.connect();
    ann.host_running("Ann");
    let name = listed_recording(admin, true)["name"].as_str().unwrap().to_owned();
    let (animation, fine) = ctl(admin, &["timelapse", &name, "--recording", "-o", "-"]);
    assert!(fine, "{}", String::from_utf8_lossy(&animation));
    assert_eq!(shades(&animation), [10, 20, 30]);
    let path = of_recording(&name, "timelapse?frames=601");
    assert_eq!(request(admin, "GET", &path, "", None).status, 400);
}

fn server(program: Option<PathBuf>, sessions: Option<&Path>) -> TestServer {
    let (sessions, admin_port) = (sessions.map(Into::into), Some(0));
    let options = ServeOptions { admin_port, sessions, canvas_renderer: program, ..ServeOptions::default() };
    TestServer::start_with("", options)
}

fn picture(server: &TestServer, session: &str, query: &str) -> (u16, String) {
    let path = format!("/api/sessions/{session}/picture{query}");
    let answer = request(server.admin.unwrap(), "GET", &path, "", None);
    (answer.status, answer.json["message"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_stored_session_has_a_picture() {
    let script = Script::new(LEAVE_PNG);
    let sessions = tempfile::tempdir().unwrap();
    let server = server(Some(script.path()), Some(sessions.path()));
    let created = request(
        server.admin.unwrap(),
        "POST",
        "/api/sessions",
        "",
        Some(&json!({"title": "t", "alias": "lobby"})),
    );
    assert_eq!(created.status, 200, "{}", created.json);
    let id = created.json["id"].as_str().unwrap().to_owned();
    let ask = || request(server.admin.unwrap(), "GET", "/api/sessions/lobby/picture", "", None);
    let mut answer = ask();
    // Its first files may not be written yet.
    common::eventually("it is stored", || {
        let is_stored = answer.status != 409;
        if !is_stored {
            answer = ask();
        }
        is_stored
    });
    assert!(answer.status == 200 && answer.head.contains("content-type: image/png"), "{}", answer.head);
    let head = answer.head;
    assert!(head.contains(&format!("filename=\"{id}.png\"")), "{head}");
    // The program leaves a PNG only.
    let (status, reason) = picture(&server, &id, "?format=ora");
    assert_eq!(status, 500, "{reason}");
    assert_eq!(picture(&server, &id, "?format=gif").0, 400);
    assert_eq!(picture(&server, "nowhere", "").0, 404);
    let page = text(server.admin.unwrap(), "/metrics");
    assert!(page.contains("drawhall_renders_total{result=\"ok\"} 1"), "{page}");
    assert!(page.contains("drawhall_renders_total{result=\"failed\"} 1"), "{page}");
}

#[test]
fn without_a_program_or_a_stored_session_there_is_a_reason() {
    let plain = server(None, None);
    let (status, reason) = picture(&plain, "any", "");
    assert!(status == 409 && reason.contains("--canvas-renderer"), "{status} {reason}");
    let script = Script::new(LEAVE_PNG);
    let in_memory = server(Some(script.path()), None);
    let created =
        request(in_memory.admin.unwrap(), "POST", "/api/sessions", "", Some(&json!({"title": "t"})));
    let (status, reason) = picture(&in_memory, created.json["id"].as_str().unwrap(), "");
    assert!(status == 409 && reason.contains("memory"), "{status} {reason}");
    let sessions = tempfile::tempdir().unwrap();
    let stored = server(Some(script.path()), Some(sessions.path()));
    let created = request(stored.admin.unwrap(), "POST", "/api/sessions", "", Some(&json!({"title": "t"})));
    let id = created.json["id"].as_str().unwrap();
    common::eventually("it is stored", || picture(&stored, id, "").0 == 200);
    // As before the first files are written.
    let files = std::fs::read_dir(sessions.path()).unwrap().flatten();
    files.filter(|file| file.path().is_file()).for_each(|file| std::fs::remove_file(file.path()).unwrap());
    let (status, reason) = picture(&stored, id, "");
    assert!(status == 409 && reason.contains("stored yet"), "{status} {reason}");
}

/// A canvas file of 64 x 64 with one layer in this colour, blue-green-red-alpha in hexadecimal.
fn canvas_file(path: &Path, colour: &str) {
    let sql = format!(
        "pragma application_id = 520585025; pragma user_version = 1;
        create table snapshots (snapshot_id integer primary key, flags integer);
        create table snapshot_metadata (snapshot_id integer, metadata_id integer, value any);
        create table snapshot_layers (snapshot_id integer, layer_index integer, parent_index integer,
            layer_id integer, title text, blend_mode integer, opacity integer, flags integer, fill integer);
        create table snapshot_tiles (snapshot_id integer, layer_index integer, tile_index integer,
            context_id integer, repeat integer, pixels blob);
        create table snapshot_annotations (snapshot_id integer, annotation_index integer, annotation_id integer,
            content text, x integer, y integer, width integer, height integer, background_color integer,
            valign integer, flags integer);
        create table snapshot_tracks (snapshot_id integer, track_index integer, track_id integer, title text);
        create table snapshot_key_frames (snapshot_id integer, track_index integer, frame_index integer,
            title text, layer_id integer);
        create table snapshot_key_frame_layers (snapshot_id integer, track_index integer, frame_index integer,
            layer_id integer, flags integer);
        insert into snapshots values (1, 5);
        insert into snapshot_metadata values (1, 1, 64), (1, 2, 64);
        insert into snapshot_layers values (1, 0, -1, 257, 'Layer', 1, 32768, 0, 0);
        insert into snapshot_tiles values (1, 0, 0, 1, 0, x'{colour}');"
    );
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute(&sql).unwrap();
}

/// A program that makes the file `before.dpcs` of a history, and `after.dpcs` of what `drawhall` has made of that.
fn canvas_program(before: &str, after: &str) -> Script {
    let script =
        Script::new(r#"here=${0%/*}; name=${5##*/}; exec /bin/cp "$here/$name" "${5%.dpcs}-1.dpcs""#);
    canvas_file(&script.directory.path().join("before.dpcs"), before);
    canvas_file(&script.directory.path().join("after.dpcs"), after);
    script
}

/// A canvas of one layer, and a hundred strokes of the server on it.
fn long_history() -> Vec<Message> {
    let mut messages: Vec<Message> = vec![
        CanvasResize { top: 0, right: 64, bottom: 64, left: 0 }.into(),
        LayerTreeCreate { id: 0x101, title: "Layer".into(), ..LayerTreeCreate::default() }.into(),
    ];
    let fill = FillRect { layer: 0x101, mode: 1, x: 0, y: 0, w: 64, h: 64, color: 0xff00_00ff };
    messages.extend((0..100).map(|_| Message::from(fill.clone())));
    messages
}

fn recording_of(messages: &[Message]) -> Vec<u8> {
    let mut recording = header_bytes(&Header::of_version(&ProtocolVersion::dp(4, 25, 1))).unwrap();
    for message in messages {
        recording.extend_from_slice(message.to_frame(0, Layout::V4_25).unwrap().as_bytes());
    }
    recording
}

const BLUE: &str = "ff0000ff";

#[test]
fn a_reset_image_has_the_layers_of_the_messages_and_the_pixels_of_the_program() {
    let script = canvas_program(BLUE, BLUE);
    let image = script.permit().reset_image(recording_of(&long_history())).unwrap();
    let messages: Vec<Message> =
        frames(&image).map(|frame| Message::from_frame(frame, Layout::V4_25).unwrap()).collect();
    let types: Vec<u8> = messages.iter().map(Message::message_type).collect();
    assert_eq!(types, [129, 162, 131, 179, 70, 77, 68]);
    let Message::PutTileZstd(tile) = &messages[3] else { panic!() };
    assert_eq!((tile.user, tile.image.as_slice()), (1, &[0xff, 0, 0, 0xff][..]));
}

#[test]
fn a_program_that_lies_about_a_canvas_changes_nothing() {
    let refused =
        |script: &Script, history: &[Message]| match script.permit().reset_image(recording_of(history)) {
            Err(RenderError::Failed(reason)) => reason,
            other => panic!("{other:?}"),
        };
    let history = long_history();
    // What it makes of the image is another picture than what it made of the history.
    assert_eq!(
        refused(&canvas_program(BLUE, "00ff00ff"), &history),
        "exit status: 1: the canvases look different"
    );
    let other = [&history[..], &[LayerRetitle { id: 0x101, title: "Other".into() }.into()]].concat();
    let reason = refused(&canvas_program(BLUE, BLUE), &other);
    assert!(reason.ends_with("the properties of a layer would be different"), "{reason}");
    let stroke =
        DrawDabsClassic { flags: 1, layer: 0x101, dabs: vec![ClassicDab::default()], ..Default::default() };
    let drawing = [&history[..], &[PenUp { layer: 0 }.into()]].concat();
    assert!(canvas_program(BLUE, BLUE).permit().reset_image(recording_of(&drawing)).is_ok());
    let mut drawn = recording_of(&history);
    drawn.extend_from_slice(Message::from(stroke).to_frame(7, Layout::V4_25).unwrap().as_bytes());
    match canvas_program(BLUE, BLUE).permit().reset_image(drawn) {
        Err(RenderError::Refused(reason)) => assert!(reason.contains("not finished"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// A server with the template "lobby" of a history, and this program.
fn lobby(script: &Script, history: &[Message], folder: &Path) -> TestServer {
    lobby_with("", script, history, folder)
}

fn lobby_with(settings: &str, script: &Script, history: &[Message], folder: &Path) -> TestServer {
    let (sessions, templates) = (folder.join("sessions"), folder.join("templates"));
    std::fs::create_dir_all(&sessions).unwrap();
    std::fs::create_dir_all(&templates).unwrap();
    std::fs::write(templates.join("lobby.dprec"), recording_of(history)).unwrap();
    let options = ServeOptions {
        admin_port: Some(0),
        sessions: Some(sessions),
        templates: Some(templates),
        canvas_renderer: Some(script.path()),
        ..ServeOptions::default()
    };
    TestServer::start_with(settings, options)
}

#[test]
fn a_session_is_compacted_with_somebody_in_it() {
    let script = canvas_program(BLUE, BLUE);
    let folder = tempfile::tempdir().unwrap();
    let server = lobby(&script, &long_history(), folder.path());
    let mut ann = server.connect();
    ann.join("Ann", "lobby");
    ann.until(|received| received.kind == FillRect::TYPE);
    let compact =
        || request(server.admin.unwrap(), "POST", "/api/sessions/lobby/compact", "", Some(&json!({})));
    let answer = compact();
    assert!(answer.status == 200 && answer.json["status"] == "ok", "{}", answer.json);
    ann.until(|received| received.kind == PutTileZstd::TYPE);
    let mut bo = server.connect();
    bo.join("Bo", "lobby");
    let mut types = Vec::new();
    loop {
        let received = bo.next().expect("the connection is open");
        types.extend(Some(received.kind).filter(|kind| *kind >= 32));
        if received.kind == UserACL::TYPE {
            break;
        }
    }
    assert_eq!(types.iter().filter(|kind| **kind == FillRect::TYPE).count(), 0, "{types:?}");
    let image = types.iter().position(|kind| *kind == CanvasResize::TYPE).unwrap();
    assert_eq!(&types[..2], [32, 34], "Ann is there and operator before the image: {types:?}");
    assert!(types[2..image].iter().all(|kind| *kind == 36), "{types:?}");
    // The canvas is compacted already: the same image again.
    assert_eq!(compact().status, 200);
}

#[test]
fn an_image_that_is_larger_than_the_history_does_not_take_its_place() {
    let script = canvas_program(BLUE, BLUE);
    for name in ["before.dpcs", "after.dpcs"] {
        // No tile is like the one before.
        let tiles = format!(
            "update snapshot_metadata set value = 6400;
            with recursive tile(i) as (select 1 union all select i + 1 from tile where i < 9999)
            insert into snapshot_tiles
            select 1, 0, i, 1, 0, case when i % 2 then x'00ff00ff' else x'{BLUE}' end from tile;"
        );
        let path = script.directory.path().join(name);
        SqliteConnection::establish(path.to_str().unwrap()).unwrap().batch_execute(&tiles).unwrap();
    }
    let mut history = long_history();
    history[0] = CanvasResize { top: 0, right: 6400, bottom: 6400, left: 0 }.into();
    let folder = tempfile::tempdir().unwrap();
    let server = lobby(&script, &history, folder.path());
    let mut ann = server.connect();
    ann.join("Ann", "lobby");
    ann.until(|received| received.kind == FillRect::TYPE);
    let admin = server.admin.unwrap();
    let answer = request(admin, "POST", "/api/sessions/lobby/compact", "", Some(&json!({})));
    let said = answer.json["message"].as_str().unwrap();
    assert!(answer.status == 409 && said.contains("the image has") && said.contains("the history"), "{said}");
    let mut bo = server.connect();
    bo.join("Bo", "lobby");
    bo.until(|received| received.kind == FillRect::TYPE);
}

/// A server with the session "lobby" of a long history, and somebody who has drawn in it and left.
fn lobby_with_vandal(script: &Script, folder: &Path) -> (TestServer, Client) {
    let server = lobby(script, &long_history(), folder);
    let mut ann = server.connect();
    ann.join("Ann", "lobby");
    let mut vandal = server.connect();
    let user = vandal.join("Vandal", "lobby");
    scribble(&mut vandal);
    ann.until(|m| m.kind == FillRect::TYPE && m.user == user);
    vandal.close();
    ann.until(|m| m.kind == Leave::TYPE && m.user == user);
    (server, ann)
}

fn send(client: &mut Client, message: Message) {
    let frame = message.to_frame(0, Layout::V4_25).unwrap();
    client.send(frame.as_bytes()[2], 0, &frame.as_bytes()[4..]);
}

fn scribble(client: &mut Client) {
    send(client, UndoPoint {}.into());
    send(client, FillRect { layer: 0x101, mode: 1, x: 5, y: 5, w: 9, h: 9, color: 0xff00_00ff }.into());
}

fn ask(admin: SocketAddr, path: &str, body: Option<&serde_json::Value>) -> common::http::Answer {
    let method = if body.is_some() { "POST" } else { "GET" };
    request(admin, method, &format!("/api/sessions/lobby/{path}"), "", body)
}

/// The messages of the next reset that a client is sent, but for those of the server.
fn next_reset(client: &mut Client) -> Vec<Received> {
    client.reply(|reply| reply["type"] == "reset" && reply["state"] == "reset");
    let mut messages = Vec::new();
    loop {
        let received = client.next().expect("the connection is open");
        if received.json().is_some_and(|reply| reply["type"] == "caughtup" && reply["key"] == 0) {
            return messages;
        }
        messages.push(received);
    }
}

#[test]
fn what_somebody_drew_before_a_compaction_can_still_be_removed() {
    let (script, folder) = (canvas_program(BLUE, BLUE), tempfile::tempdir().unwrap());
    let (server, mut ann) = lobby_with_vandal(&script, folder.path());
    let admin = server.admin.unwrap();
    let lock = Message::from(LayerACL { id: 0, flags: 0x80, exclusive: Vec::new() });
    let lock_payload = lock.to_frame(0, Layout::V4_25).unwrap().as_bytes()[4..].to_vec();
    send(&mut ann, lock);
    ann.until(|m| m.kind == LayerACL::TYPE);
    let answer = ask(admin, "compact", Some(&json!({})));
    assert_eq!(answer.status, 200, "{}", answer.json);
    let is_locked = |messages: &[Received]| {
        let mut locks = messages.iter().filter(|m| m.kind == LayerACL::TYPE);
        locks.next_back().is_some_and(|last| last.payload == lock_payload)
    };
    let image = next_reset(&mut ann);
    assert!(image.iter().all(|m| m.kind != FillRect::TYPE), "it is an image");
    assert!(is_locked(&image), "the lock of the canvas stays");

    common::eventually("the history before is kept", || {
        let list = ask(admin, "everybody", None).json;
        list["acrossReset"] == true || list["reason"].as_str().is_some_and(|r| !r.contains("not stored yet"))
    });
    let list = ask(admin, "everybody", None).json;
    let of_vandal = list["people"].as_array().unwrap().iter().find(|p| p["name"] == "Vandal").cloned();
    let of_vandal = of_vandal.unwrap_or_else(|| panic!("{list}"));
    assert!(list["acrossReset"] == true && of_vandal["beforeReset"] == 1, "{list}");
    let wish = json!({"person": of_vandal["person"], "name": "Vandal"});
    let removed = ask(admin, "remove", Some(&wish));
    assert!(removed.status == 200 && removed.json["acrossReset"] == true, "{}", removed.json);
    let messages = next_reset(&mut ann);
    assert_eq!(messages.iter().filter(|m| m.kind == FillRect::TYPE).count(), 100, "the template's");
    assert!(is_locked(&messages), "the lock of the canvas stays");
}

/// A server that compacts the history of "lobby" as soon as 2 KiB were drawn.
fn compacting_server(script: &Script, folder: &Path) -> TestServer {
    let settings = "compactAtThreshold=true\nautoResetThreshold=2kb\nemptySessionLingerTime=1h";
    lobby_with(settings, script, &long_history(), folder)
}

#[test]
fn a_session_past_its_threshold_is_compacted_when_no_client_does_it() {
    let (script, folder) = (canvas_program(BLUE, BLUE), tempfile::tempdir().unwrap());
    let server = compacting_server(&script, folder.path());
    let mut ann = server.connect();
    let user = ann.join("Ann", "lobby");
    (0..100).for_each(|_| scribble(&mut ann));
    ann.reply(|reply| reply["type"] == "autoreset" && reply["query"] == true);
    let image = next_reset(&mut ann);
    assert!(image.iter().any(|m| m.kind == PutTileZstd::TYPE), "it is an image");
    assert!(image.iter().all(|m| m.kind != FillRect::TYPE || m.user == user));
    let page = text(server.admin.unwrap(), "/metrics");
    assert!(page.contains("drawhall_renders_total{result=\"ok\"} 1"), "{page}");
}

#[test]
fn a_session_past_its_threshold_is_compacted_with_nobody_there() {
    let (script, folder) = (canvas_program(BLUE, BLUE), tempfile::tempdir().unwrap());
    let server = compacting_server(&script, folder.path());
    let admin = server.admin.unwrap();
    let mut ann = server.connect();
    ann.join("Ann", "lobby");
    (0..100).for_each(|_| scribble(&mut ann));
    ann.reply(|reply| reply["type"] == "autoreset" && reply["query"] == true);
    ann.close();
    common::eventually("it is compacted", || {
        let session = request(admin, "GET", "/api/sessions/lobby", "", None).json;
        session["size"].as_u64().is_some_and(|size| size < 1_000)
    });
}

#[test]
fn the_server_makes_thumbnails_with_nobody_there() {
    let script = Script::new(
        r#"[ "$1 $2 $3 $4 $6 $7" = "--acl --format jpg --out --maxsize 640x480" ] || exit 7
        read -r beginning < "$8"; case "$beginning" in DPREC*) ;; *) exit 10 ;; esac
        printf '\377\330\377rest' > "${5%.jpg}-1.jpg""#,
    );
    let folder = tempfile::tempdir().unwrap();
    let options = ServeOptions {
        admin_port: Some(0),
        sessions: Some(folder.path().into()),
        canvas_renderer: Some(script.path()),
        ..ServeOptions::default()
    };
    // It is due when the last user leaves.
    let settings = "thumbnailInterval=1h\npersistence=true\nsessionUnloadTime=1\nemptySessionLingerTime=1h";
    let server = TestServer::start_with(settings, options);
    let admin = server.admin.unwrap();
    let mut ann = server.connect();
    let id = ann.host_running("Ann");
    ann.close();
    let path = format!("/api/sessions/{id}/thumbnail");
    common::eventually("there is a thumbnail", || request(admin, "GET", &path, "", None).status == 200);
    let thumbnail = request(admin, "GET", &path, "", None).json;
    assert_eq!(thumbnail["data"], BASE64.encode(b"\xff\xd8\xffrest"));
    let stored = folder.path().join(format!("{id}.thumbnail"));
    common::eventually("it is stored", || stored.exists());
    assert_eq!(std::fs::read(stored).unwrap(), b"\xff\xd8\xffrest");
}

/// What `drawhall ctl` says, and whether it succeeded.
fn ctl(admin: SocketAddr, args: &[&str]) -> (Vec<u8>, bool) {
    let mut command = std::process::Command::new(PROGRAM);
    let out = command.args(["ctl", "--url", &format!("http://{admin}")]).args(args).output().unwrap();
    let said = if out.status.success() { out.stdout } else { out.stderr };
    (said, out.status.success())
}

#[test]
fn ctl_saves_pictures_and_compacts() {
    let script = Script::new(&format!(
        r#"case "$5" in *.png) {LEAVE_PNG}; exit 0 ;; esac
        here=${{0%/*}}; name=${{5##*/}}; exec /bin/cp "$here/$name" "${{5%.dpcs}}-1.dpcs""#
    ));
    canvas_file(&script.directory.path().join("before.dpcs"), BLUE);
    canvas_file(&script.directory.path().join("after.dpcs"), BLUE);
    let folder = tempfile::tempdir().unwrap();
    let (server, mut ann) = lobby_with_vandal(&script, folder.path());
    let admin = server.admin.unwrap();
    let file = folder.path().join("lobby.png");
    let (said, fine) = ctl(admin, &["picture", "lobby", "-o", file.to_str().unwrap()]);
    assert!(fine, "{}", String::from_utf8_lossy(&said));
    assert_eq!(std::fs::read(&file).unwrap(), b"\x89PNG\r\n\x1a\nrest");
    let (said, fine) = ctl(admin, &["picture", "lobby", "-o", "-"]);
    assert!(fine && said == b"\x89PNG\r\n\x1a\nrest");
    let refused = |args: &[&str]| {
        let (said, fine) = ctl(admin, args);
        assert!(!fine);
        String::from_utf8(said).unwrap()
    };
    let reason = refused(&["picture", "lobby", "--format", "ora", "-o", file.to_str().unwrap()]);
    assert!(reason.contains("(HTTP status 500)"), "{reason}");
    assert!(refused(&["picture", "nowhere"]).contains("there is no session 'nowhere'"));
    assert!(refused(&["compact", "nowhere"]).contains("there is no session 'nowhere'"));
    let (said, fine) = ctl(admin, &["compact", "lobby"]);
    let said = String::from_utf8(said).unwrap();
    assert!(fine && said.starts_with("compacted; "), "{said}");
    assert!(next_reset(&mut ann).iter().any(|m| m.kind == PutTileZstd::TYPE));
}

/// Whether this script runs. Of a process that is about to become it, the command line cannot be relied on.
#[cfg(target_os = "linux")]
fn is_running(path: &Path) -> bool {
    let path = path.to_str().unwrap().as_bytes();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter(|p| p.file_name().to_string_lossy().parse::<u32>().is_ok()).any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let mut parts = line.split(|byte| *byte == 0);
        parts.next() == Some(b"/bin/sh") && parts.next() == Some(path)
    })
}

#[test]
#[cfg(target_os = "linux")]
fn a_session_goes_on_while_it_is_compacted_and_its_end_is_that_of_the_program() {
    let script = Script::new(
        r#"here=${0%/*}; until [ -e "$here/go" ]; do :; done; name=${5##*/}
        exec /bin/cp "$here/$name" "${5%.dpcs}-1.dpcs""#,
    );
    canvas_file(&script.directory.path().join("before.dpcs"), BLUE);
    canvas_file(&script.directory.path().join("after.dpcs"), BLUE);
    let folder = tempfile::tempdir().unwrap();
    let (mut server, mut ann) = lobby_with_vandal(&script, folder.path());
    let admin = server.admin.unwrap();
    let compact = move || std::thread::spawn(move || ask(admin, "compact", Some(&json!({}))).status);
    let runs = || common::eventually("the program runs", || is_running(&script.path()));
    let ended = || common::eventually("the program has ended", || !is_running(&script.path()));

    let compacting = compact();
    runs();
    assert_eq!(ask(admin, "everybody", None).status, 200);
    scribble(&mut ann);
    ann.until(|m| m.kind == FillRect::TYPE && m.user != 0);
    std::fs::write(script.directory.path().join("go"), "").unwrap();
    assert_eq!(compacting.join().unwrap(), 200);
    let messages = next_reset(&mut ann);
    let drawn = messages.iter().filter(|m| m.kind == FillRect::TYPE);
    assert_eq!(drawn.count(), 1, "what came meanwhile follows the image");
    std::fs::remove_file(script.directory.path().join("go")).unwrap();

    let compacting = compact();
    runs();
    assert_eq!(request(admin, "DELETE", "/api/sessions/lobby", "", None).status, 200);
    assert_eq!(compacting.join().unwrap(), 404);
    ended();
    common::eventually("it is only a template again", || {
        let list = request(admin, "GET", "/api/sessions", "", None).json;
        list.as_array().unwrap().iter().any(|session| session["alias"] == "lobby" && session["id"].is_null())
    });

    let mut bo = server.connect();
    bo.join("Bo", "lobby");
    let compacting = compact();
    runs();
    server.stop();
    ended();
    drop(compacting);
}

#[test]
#[cfg(target_os = "linux")]
fn who_sends_on_and_on_does_not_keep_the_program_busy() {
    let script = Script::new("while :; do :; done");
    let folder = tempfile::tempdir().unwrap();
    let (server, _ann) = lobby_with_vandal(&script, folder.path());
    let mut stream = open_request(server.admin.unwrap(), "GET", "/api/sessions/lobby/picture");
    common::eventually("the program runs", || is_running(&script.path()));
    stream.write_all(&[b'x'; 100_000]).unwrap();
    common::eventually("the program has ended", || !is_running(&script.path()));
    let mut beginning = [0; 12];
    stream.read_exact(&mut beginning).unwrap();
    assert_eq!(&beginning, b"HTTP/1.1 503");
}

/// Sends a request whose answer is not read yet.
#[cfg(target_os = "linux")]
fn open_request(admin: SocketAddr, method: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(admin).unwrap();
    let (kind, body) = if method == "POST" { ("Content-Type: application/json\r\n", "{}") } else { ("", "") };
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

#[test]
#[cfg(target_os = "linux")]
fn what_nobody_waits_for_ends_and_others_may_go_on() {
    let script = Script::new(&format!(
        r#"here=${{0%/*}}; until [ -e "$here/go" ]; do :; done
        case "$5" in *.png) {LEAVE_PNG}; exit 0 ;; esac
        name=${{5##*/}}; exec /bin/cp "$here/$name" "${{5%.dpcs}}-1.dpcs""#
    ));
    canvas_file(&script.directory.path().join("before.dpcs"), BLUE);
    canvas_file(&script.directory.path().join("after.dpcs"), BLUE);
    let folder = tempfile::tempdir().unwrap();
    let (server, _ann) = lobby_with_vandal(&script, folder.path());
    let admin = server.admin.unwrap();
    let (picture, compact) = ("/api/sessions/lobby/picture", "/api/sessions/lobby/compact");
    let runs = || common::eventually("the program runs", || is_running(&script.path()));
    let ended = || common::eventually("the program has ended", || !is_running(&script.path()));
    let status = |method: &str, path: &str| {
        let body = (method == "POST").then(|| json!({}));
        request(admin, method, path, "", body.as_ref()).status
    };

    let running = open_request(admin, "GET", picture);
    runs();
    assert_eq!(status("POST", "/api/sessions/nowhere/compact"), 404);
    assert!(is_running(&script.path()), "what cannot be compacted does not wait");
    let mut waiting = vec![open_request(admin, "POST", compact)];
    common::eventually("too many wait", || {
        let mut stream = open_request(admin, "GET", picture);
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut beginning = [0; 12];
        let is_refused = stream.read_exact(&mut beginning).is_ok() && &beginning == b"HTTP/1.1 503";
        waiting.push(stream);
        is_refused
    });
    assert_eq!(status("GET", picture), 503);
    drop((running, waiting));
    ended();

    let compacting = open_request(admin, "POST", compact);
    runs();
    drop(compacting);
    ended();
    std::fs::write(script.directory.path().join("go"), "").unwrap();
    // The last ones may still be about to notice.
    common::eventually("the session can be compacted", || status("POST", compact) == 200);
    common::eventually("there is a picture", || status("GET", picture) == 200);
}
