//! The port of links.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use drawhall::app::{ServeOptions, start};
use drawhall::db::Database;
use socket2::{Domain, Socket, Type};

use crate::common::postgres::PostgresDatabase;
use crate::common::{PATIENCE, eventually};
use crate::{node, wait_for};

/// A connection from an address of this machine at which no server is.
fn stranger(number: u8, to: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 1, number), 0)).into()).unwrap();
    socket.connect(&to.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.into()
}

#[actix_rt::test]
async fn links_need_a_database_that_servers_share() {
    let cluster_listen = Some("127.0.0.1:0".parse().unwrap());
    let options = ServeOptions { cluster_listen, ..ServeOptions::default() };
    let error = start(&options).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "--cluster-listen: it needs --cluster");
}

#[test]
fn strangers_get_nothing_at_the_port_of_links() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let table = Database::connect(&database.url().parse().unwrap(), &[]).unwrap();
    let addresses = || table.live_nodes().unwrap().into_iter().map(|node| node.address).collect::<Vec<_>>();
    eventually("both are in the list", || addresses().len() == 2);
    let mut silent = Vec::new();
    for address in addresses() {
        let mut plain = TcpStream::connect(&address).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.write_all(b"{\"kind\":\"watch\"} and more of it").unwrap();
        let mut answer = Vec::new();
        // An alert, or the end at once.
        let _ = plain.read_to_end(&mut answer);
        assert!(answer.len() < 20, "{answer:?}");
        // Silent ones take no place for long: more of them than may be in the handshake.
        silent.extend((0..80).map(|_| TcpStream::connect(&address).unwrap()));
        silent.extend((0..240).map(|number| stranger(number, &address)));
    }
    for (host, joined) in [(&one, &other), (&other, &one)] {
        let mut host = host.connect();
        let session = host.host_running("host");
        wait_for(joined, &session);
        joined.connect().join("guest", &session);
    }
    drop(silent);
}
