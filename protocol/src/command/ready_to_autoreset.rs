//! `ready-to-autoreset`: an operator's client offers to perform an autoreset.

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `ready-to-autoreset`: an operator's client offers to perform an autoreset.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadyToAutoReset {
    /// The payload of the server's query.
    pub payload: String,
    /// Operating system.
    pub os: String,
    /// Network quality as measured by the client.
    pub net: Option<f64>,
    /// Round-trip times in milliseconds.
    pub pings: Vec<f64>,
    /// `gzip1`: supports streamed resets; `net`: a greater `net` is better.
    pub capabilities: Vec<String>,
}

impl Command for ReadyToAutoReset {
    const NAME: &'static str = "ready-to-autoreset";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        let list = |key: &str| raw.kwarg(key).as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Self {
            payload: raw.kwarg("payload").text(),
            os: raw.kwarg("os").text(),
            net: raw.given("net").map(Lenient::number),
            pings: list("pings").iter().map(Lenient::number).collect(),
            capabilities: list("capabilities").iter().map(Lenient::text).collect(),
        })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.put("payload", self.payload.as_str());
        raw.put("os", self.os.as_str());
        raw.put("net", self.net);
        raw.put("pings", self.pings.as_slice());
        raw.put("capabilities", self.capabilities.as_slice());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn measurements_are_numbers() {
        let ready = ReadyToAutoReset {
            payload: "p".into(),
            os: "x".into(),
            net: Some(1.5),
            pings: vec![0.5, 20.25],
            capabilities: vec!["gzip1".into()],
        };
        let kwargs = r#"{"capabilities":["gzip1"],"net":1.5,"os":"x","payload":"p","pings":[0.5,20.25]}"#;
        assert_round_trip(&ready, &format!(r#"{{"cmd":"ready-to-autoreset","kwargs":{kwargs}}}"#));
    }

    #[test]
    fn mistyped_measurements_are_zero_or_none() {
        let text = r#"{"cmd":"ready-to-autoreset","kwargs":{"net":"fast","pings":["x",2],"capabilities":7}}"#;
        let found = parse::<ReadyToAutoReset>(text).unwrap();
        assert_eq!((found.net, found.pings, found.capabilities), (Some(0.0), vec![0.0, 2.0], vec![]));
    }
}
