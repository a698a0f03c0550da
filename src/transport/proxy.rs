//! Parser of the PROXY protocol, versions 1 and 2: a header before all other bytes, in which a proxy names the
//! client.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const V1_START: &[u8] = b"PROXY ";
/// Maximum length of a version 1 header, with CRLF.
const V1_MAX: usize = 107;
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD: usize = 16;
/// Maximum accepted length of a version 2 header, with TLVs.
const V2_MAX: usize = V2_HEAD + 2048;

/// Result of [`read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The bytes are no header.
    None,
    /// More bytes are needed.
    Partial,
    /// The header is invalid.
    Bad,
    Found {
        /// Length in bytes.
        len: usize,
        /// The client; `None` for a connection of the proxy itself.
        source: Option<IpAddr>,
    },
}

/// Parses the first bytes of a connection from a proxy.
pub fn read(bytes: &[u8]) -> Header {
    let starts_with = |start: &[u8]| bytes.iter().zip(start).all(|(a, b)| a == b);
    if starts_with(V1_START) {
        return if bytes.len() < V1_START.len() { Header::Partial } else { read_v1(bytes) };
    }
    if starts_with(V2_START) {
        return if bytes.len() < V2_HEAD { Header::Partial } else { read_v2(bytes) };
    }
    Header::None
}

fn read_v1(bytes: &[u8]) -> Header {
    let Some(end) = bytes.iter().take(V1_MAX).position(|b| *b == b'\n') else {
        return if bytes.len() < V1_MAX { Header::Partial } else { Header::Bad };
    };
    let Some(line) = bytes[..end].strip_suffix(b"\r").and_then(|l| std::str::from_utf8(l).ok()) else {
        return Header::Bad;
    };
    let len = end + 1;
    let words: Vec<&str> = line.split(' ').collect();
    let source: Option<IpAddr> = match words[..] {
        ["PROXY", "UNKNOWN", ..] => return Header::Found { len, source: None },
        ["PROXY", "TCP4", source, _, _, _] => source.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        ["PROXY", "TCP6", source, _, _, _] => source.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        _ => None,
    };
    found(len, source)
}

fn read_v2(bytes: &[u8]) -> Header {
    let (version_and_command, family) = (bytes[12], bytes[13]);
    let len = V2_HEAD + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if version_and_command >> 4 != 2 || len > V2_MAX {
        return Header::Bad;
    }
    let Some(addresses) = bytes.get(V2_HEAD..len) else { return Header::Partial };
    let source: Option<IpAddr> = match (version_and_command & 0xf, family >> 4) {
        // LOCAL, such as a health check, or a family without IP addresses.
        (0, _) | (1, 0 | 3) => return Header::Found { len, source: None },
        (1, 1) if addresses.len() >= 12 => addresses.first_chunk::<4>().map(|a| Ipv4Addr::from(*a).into()),
        (1, 2) if addresses.len() >= 36 => addresses.first_chunk::<16>().map(|a| Ipv6Addr::from(*a).into()),
        _ => None,
    };
    found(len, source)
}

/// A header with a client address; unspecified addresses (`0.0.0.0`, `::`) are invalid.
fn found(len: usize, source: Option<IpAddr>) -> Header {
    match source.filter(|source| !source.is_unspecified()) {
        Some(source) => Header::Found { len, source: Some(source.to_canonical()) },
        None => Header::Bad,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut bytes = V2_START.to_vec();
        bytes.extend([0x20 | command, family << 4 | 1]);
        bytes.extend((addresses.len() as u16).to_be_bytes());
        bytes.extend(addresses);
        bytes
    }

    fn source(bytes: &[u8]) -> Option<String> {
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes[..len]), Header::Partial, "{len} bytes");
        }
        match read(&[bytes, b"more"].concat()) {
            Header::Found { len, source } if len == bytes.len() => source.map(|s| s.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn version_1_is_parsed() {
        assert_eq!(source(b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 27750\r\n").as_deref(), Some("192.0.2.1"));
        assert_eq!(source(b"PROXY TCP6 2001:db8::1 ::1 5000 27750\r\n").as_deref(), Some("2001:db8::1"));
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(source(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), None);
    }

    #[test]
    fn version_2_is_parsed() {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0, 1, 0, 2];
        assert_eq!(source(&v2(1, 1, &v4)).as_deref(), Some("192.0.2.1"));
        assert_eq!(source(&v2(1, 1, &[&v4[..], b"\x03\0\x01x"].concat())).as_deref(), Some("192.0.2.1"));
        let mapped = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().octets();
        assert_eq!(source(&v2(1, 2, &[&mapped[..], &[0; 20]].concat())).as_deref(), Some("192.0.2.7"));
        assert_eq!(source(&v2(0, 0, &[])), None, "a health check");
        assert_eq!(source(&v2(1, 3, &[0; 216])), None, "a socket without an address");
    }

    #[test]
    fn invalid_headers_are_distinguished_from_no_header() {
        for bad in [
            &b"PROXY TCP4 nonsense 10.0.0.1 1 2\r\n"[..],
            b"PROXY TCP4 192.0.2.1\r\n",
            b"PROXY TCP4 0.0.0.0 10.0.0.1 1 2\r\n",
            b"PROXY TCP6 :: ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n",
            b"PROXY \xff\r\n",
            &[b"PROXY TCP4 ".as_slice(), &[b'1'; 100]].concat(),
            &v2(1, 1, &[1, 2, 3]),
            &v2(5, 1, &[0; 12]),
            &[V2_START, &[0x21, 0x11, 0xff, 0xff]].concat(),
            &[V2_START, &[0x31, 0x11, 0, 0]].concat(),
        ] {
            assert_eq!(read(bad), Header::Bad, "{bad:?}");
        }
        assert_eq!(read(b"\0\x05\0\0hello"), Header::None);
        assert_eq!(read(b"POST / HTTP/1.1\r\n"), Header::None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(start in 0usize..3, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let start = [&b""[..], V1_START, V2_START][start];
            let bytes = [start, &bytes].concat();
            if let Header::Found { len, .. } = read(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
