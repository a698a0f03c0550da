//! The start of a connection: a WebSocket upgrade request, or a header of the PROXY protocol.
#![no_main]

use drawhall::config::ip_range::IpRange;
use drawhall::transport::proxy::{self, Header};
use drawhall::transport::trust::Trusted;
use drawhall::transport::websocket::Upgrade;
use libfuzzer_sys::fuzz_target;

const HEAD: &[u8] =
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

fuzz_target!(|bytes: &[u8]| {
    request(bytes);
    request(&[HEAD, bytes].concat());
    for start in [&b""[..], b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"] {
        let bytes = [start, bytes].concat();
        match proxy::read(&bytes) {
            Header::Found { len, .. } => {
                assert!(len <= bytes.len());
                assert_eq!(proxy::read(&bytes[..len]), proxy::read(&bytes), "what follows does not matter");
            }
            Header::Partial | Header::Bad | Header::None => {}
        }
    }
});

fn request(bytes: &[u8]) {
    let Ok(Some(upgrade)) = Upgrade::read(bytes) else { return };
    assert!(upgrade.len <= bytes.len());
    let trusted = Trusted::new(&[IpRange::parse("10.0.0.0/8").expect("a network")]);
    let address = |text: &str| trusted.peer(text.parse().expect("an address"));
    let stranger = address("192.0.2.1");
    let client = trusted.resolve(stranger, &upgrade.forwarded).expect("an untrusted peer is its own client");
    assert_eq!(client.ip(), stranger.ip());
    let _ = trusted.resolve(address("10.0.0.1"), &upgrade.forwarded);
}
