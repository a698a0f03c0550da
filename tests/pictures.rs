//! Sessions that begin with a picture, from the request to what a client gets; and the process that reads pictures.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{Cursor, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Client, TestServer, eventually};
use drawhall::app::ServeOptions;
use drawhall_canvas::codec::{Form, Tile, decode_tile};
use drawhall_protocol::message::{DefaultLayer, Layout, Message};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_drawhall");

fn server(options: ServeOptions) -> TestServer {
    TestServer::start_with("", ServeOptions { admin_port: Some(0), ..options })
}

/// A PNG of opaque pixels, `0xRRGGBB`.
fn png(width: u32, height: u32, pixel: impl Fn(u32, u32) -> u32) -> Vec<u8> {
    let mut data = Vec::new();
    for at in 0..width * height {
        data.extend_from_slice(&pixel(at % width, at / width).to_be_bytes()[1..]);
    }
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(Cursor::new(&mut out), width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&data).unwrap();
    writer.finish().unwrap();
    out
}

/// Pixels with every kind of tile: noise, one colour, edges.
fn drawing(x: u32, y: u32) -> u32 {
    if x < 128 { 0x00_ff_80 } else { (x * 7919 + y * 104_729) & 0x00ff_ffff }
}

/// What somebody who joins gets, to the end of the picture.
fn joined(server: &TestServer, session: &str) -> Vec<Message> {
    let mut client = server.connect();
    client.join("Ann", session);
    content(&mut client)
}

fn content(client: &mut Client) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        let received = client.next().expect("the connection is open");
        if received.kind < 64 {
            continue;
        }
        assert_eq!(received.user, 0);
        messages.push(Message::decode(received.kind, &received.payload, Layout::V4_24).unwrap());
        if received.kind == DefaultLayer::TYPE {
            return messages;
        }
    }
}

/// The pixels of the only layer, `0xRRGGBB`; those without a tile are 0.
fn pixels(messages: &[Message], width: usize, height: usize) -> Vec<u32> {
    let columns = width.div_ceil(64);
    let mut pixels = vec![0; width * height];
    for message in messages {
        let Message::PutTile(put) = message else { continue };
        let tile = decode_tile(&put.image, Form::Zlib).unwrap();
        let first = usize::from(put.row) * columns + usize::from(put.col);
        for at in first..=first + usize::from(put.repeat) {
            let (left, top) = (at % columns * 64, at / columns * 64);
            for (y, x) in
                (top..height.min(top + 64)).flat_map(|y| (left..width.min(left + 64)).map(move |x| (y, x)))
            {
                let pixel = match &tile {
                    Tile::Solid(colour) => *colour,
                    Tile::Pixels(tile) => tile[(y - top) * 64 + x - left],
                };
                pixels[y * width + x] = pixel & 0x00ff_ffff;
            }
        }
    }
    pixels
}

fn assert_drawing(messages: &[Message], width: u32, height: u32) {
    let Message::CanvasResize(resize) = &messages[0] else { panic!("{:?}", messages[0]) };
    assert_eq!((resize.right, resize.bottom), (width as i32, height as i32));
    let found = pixels(messages, width as usize, height as usize);
    let wrong = (0..width * height).find(|at| found[*at as usize] != drawing(at % width, at / width));
    assert_eq!(wrong, None, "a pixel differs");
}

/// Posts a body with these headers; the status and the answer.
fn post(server: &TestServer, headers: &str, body: &[u8]) -> (u16, Value) {
    post_part(server, headers, body, body.len())
}

/// The same, where the body is said to be longer than what is sent of it.
fn post_part(server: &TestServer, headers: &str, body: &[u8], length: usize) -> (u16, Value) {
    let mut stream = begin_post(server, headers, length);
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    // Behind the answer to a body that is not read, the connection is reset.
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Sends the head of a request with a body of this length.
fn begin_post(server: &TestServer, headers: &str, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server.admin.unwrap()).unwrap();
    let head = format!(
        "POST /api/sessions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

const PNG: &str = "Content-Type: image/png\r\n";

#[test]
fn a_session_begins_with_a_picture_pixel_by_pixel() {
    let server = server(ServeOptions::default());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("drawing.png");
    std::fs::write(&file, png(300, 200, drawing)).unwrap();
    let url = format!("http://{}", server.admin.unwrap());
    let made = Command::new(PROGRAM)
        .args(["ctl", "--url", &url, "--json", "make-session", "title=Zeichnung für Ann", "alias=drawing"])
        .args(["opword=secret", "--image"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(made["title"], "Zeichnung für Ann");
    assert_drawing(&joined(&server, "drawing"), 300, 200);
}

#[test]
fn layers_of_an_openraster_picture_become_layers() {
    let server = server(ServeOptions::default());
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let stack = r#"<image w="300" h="200"><stack><layer name="above" opacity="0.5" composite-op="svg:screen"/>
        <layer name="below" src="data/a.png"/></stack></image>"#;
    let picture = png(300, 200, drawing);
    for (name, content) in
        [("mimetype", &b"image/openraster"[..]), ("stack.xml", stack.as_bytes()), ("data/a.png", &picture)]
    {
        zip.start_file(name, stored).unwrap();
        zip.write_all(content).unwrap();
    }
    let ora = zip.finish().unwrap().into_inner();
    let headers = "Content-Type: image/openraster\r\nX-Session: {\"alias\": \"layers\"}\r\n";
    assert_eq!(post(&server, headers, &ora).0, 200);
    let messages = joined(&server, "layers");
    assert_drawing(&messages, 300, 200);
    let layers: Vec<(String, u8, u8)> = messages
        .windows(2)
        .filter_map(|pair| match pair {
            [Message::LayerTreeCreate(create), Message::LayerAttributes(attributes)] => {
                Some((create.title.clone(), attributes.opacity, attributes.blend))
            }
            _ => None,
        })
        .collect();
    assert_eq!(layers, [("below".to_owned(), 255, 1), ("above".to_owned(), 128, 13)]);
}

#[test]
fn what_is_wrong_with_a_picture_is_told_and_nothing_is_created() {
    let server = server(ServeOptions::default());
    let good = png(100, 100, drawing);
    let refused = |headers: &str, body: &[u8]| {
        let (status, answer) = post(&server, headers, body);
        (status, answer["message"].as_str().unwrap_or_default().to_owned())
    };
    let no_picture = "picture: this is neither a PNG nor an OpenRaster picture".to_owned();
    assert_eq!(refused(PNG, b"GIF89a"), (400, no_picture.clone()));
    assert_eq!(refused(PNG, b""), (400, no_picture));
    let (status, cut) = refused(PNG, &good[..good.len() / 2]);
    assert!(status == 400 && cut.starts_with("picture: the PNG cannot be read: "), "{status} {cut}");
    let sized = format!("{PNG}X-Session: {{\"width\": 5}}\r\n");
    assert_eq!(refused(&sized, &good), (400, "width: the picture has its own".into()));
    let template = format!("{PNG}X-Session: {{\"template\": \"a\"}}\r\n");
    assert_eq!(refused(&template, &good), (400, "template: a picture and a template were given".into()));
    let odd = format!("{PNG}X-Session: [1]\r\n");
    assert_eq!(refused(&odd, &good), (400, "The header X-Session must be a JSON object".into()));
    let (status, _) = post_part(&server, PNG, b"", drawhall::pictures::MAX_PICTURE + 1);
    assert_eq!(status, 413);
    let sessions = common::http::request(server.admin.unwrap(), "GET", "/api/sessions", "", None);
    assert_eq!(sessions.json, json!([]));
    let page = common::http::text(server.admin.unwrap(), "/metrics");
    assert!(page.contains("drawhall_pictures_total{result=\"refused\"} 3"), "{page}");
}

#[test]
fn a_picture_that_is_larger_than_sessions_may_be_is_refused() {
    let options = ServeOptions { admin_port: Some(0), ..ServeOptions::default() };
    let server = TestServer::start_with("sessionSizeLimit=20kb\n", options);
    let (status, answer) = post(&server, PNG, &png(300, 200, drawing));
    assert_eq!(status, 400, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("takes more than 20480 bytes"), "{answer}");
}

#[test]
fn few_pictures_are_in_memory_at_once() {
    let server = server(ServeOptions::default());
    let uploads = [0, 1].map(|_| begin_post(&server, PNG, 1000));
    eventually("a third one is refused", || post(&server, PNG, b"x").0 == 503);
    drop(uploads);
    eventually("it is read when there is room", || post(&server, PNG, b"x").0 == 400);
}

#[test]
fn a_picture_in_the_directory_of_templates_is_a_template() {
    let templates = tempfile::tempdir().unwrap();
    std::fs::write(templates.path().join("lobby.PNG"), png(300, 200, drawing)).unwrap();
    std::fs::write(templates.path().join("broken.ora"), b"PK\x03\x04 nothing").unwrap();
    let server = server(ServeOptions { templates: Some(templates.path().into()), ..ServeOptions::default() });
    let mut client = server.connect();
    let listed = client.ident_for_list("Bo");
    assert_eq!(listed.len(), 1, "the broken one is none: {listed:?}");
    assert_eq!((&listed[0]["alias"], &listed[0]["title"]), (&json!("lobby"), &json!("lobby")));
    assert_drawing(&joined(&server, "lobby"), 300, 200);
    // A file that is added later is seen.
    std::fs::write(templates.path().join("new.png"), png(64, 64, drawing)).unwrap();
    eventually("the new template is listed", || {
        let sessions = common::http::request(server.admin.unwrap(), "GET", "/api/sessions", "", None);
        sessions.json.as_array().unwrap().iter().any(|session| session["alias"] == "new")
    });
}

/// A process that reads a picture of noise, and so has to wait until its messages are read.
fn reading_process() -> Child {
    let mut child = Command::new(PROGRAM)
        .args(["canvas", "import"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let noise = png(400, 400, |x, y| (x + 1).wrapping_mul(y + 7).wrapping_mul(2_654_435_761) >> 8);
    child.stdin.take().unwrap().write_all(&noise).unwrap();
    child
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_that_reads_pictures_is_confined() {
    let mut child = reading_process();
    let proc = Path::new("/proc").join(child.id().to_string());
    let read = |name: &str| std::fs::read_to_string(proc.join(name)).unwrap();
    eventually("it has given up what it does not need", || read("status").contains("\nSeccomp:\t2"));
    assert!(read("status").contains("\nNoNewPrivs:\t1"), "{}", read("status"));
    let limits = read("limits");
    let limit = |name: &str| limits.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let numbers = |name: &str| {
        let line = limit(name);
        line.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).collect::<Vec<_>>()
    };
    assert_eq!(numbers("Max address space"), [1 << 30, 1 << 30]);
    assert_eq!(numbers("Max cpu time"), [50, 50]);
    assert_eq!(numbers("Max processes"), [0, 0]);
    let mut messages = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut messages).unwrap();
    assert!(child.wait().unwrap().success() && messages.len() > 400 * 400);
}
