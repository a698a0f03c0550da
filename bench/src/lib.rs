//! Load generator for servers of the Drawpile protocol.
//!
//! It measures any server by its address. Each case prints one line of JSON. Everything runs in one thread, so that the
//! generator takes at most one core. `docs/PERFORMANCE.md` says how the figures are meant.
//!
//! | module | owns |
//! | --- | --- |
//! | [`connection`] | TCP, TLS and WebSocket, as a stream of messages |
//! | [`client`] | logging in, hosting, joining |
//! | [`cases`] | what is measured |
//! | [`process`] | CPU time and memory of the server |
//! | [`server`] | servers that are started to be measured |
//! | [`compare`] | two servers in turn, medians and ratios |
//! | [`limit`] | what the machine can do without a server |

pub mod cases;
pub mod client;
pub mod compare;
pub mod connection;
pub mod figures;
pub mod limit;
pub mod process;
pub mod server;
mod tls;
mod websocket;

/// The server that is measured, and how it is reached.
#[derive(Debug, Clone)]
pub struct Target {
    /// Host and port.
    pub address: String,
    /// How messages travel.
    pub transport: connection::Transport,
    /// The server's process, whose CPU time and memory are counted.
    pub process: Option<process::Process>,
    /// Protocol version of the sessions.
    pub protocol: String,
}
