//! Two servers in turn: medians and ratios. Both have the machine to themselves while they are measured, and whatever
//! else goes on there meets both.

use std::io;

use serde_json::{Map, Value, json};

use crate::Target;
use crate::cases::Case;
use crate::figures::{median, numbers};
use crate::server::{ServerCommand, free_port};

/// Runs a case with both servers in turn, `rounds` times each. Each run has a server of its own. Prints each result;
/// returns medians and the ratios of the second server's to the first's.
///
/// # Errors
/// When a server does not start or stop, or a run fails.
pub async fn compare(
    target: &Target,
    servers: &[ServerCommand; 2],
    case: &Case,
    rounds: usize,
) -> io::Result<Value> {
    let mut results: [Vec<Map<String, Value>>; 2] = Default::default();
    for _ in 0..rounds {
        for (server, results) in servers.iter().zip(&mut results) {
            let address = format!("127.0.0.1:{}", free_port(None)?);
            let running = server.start(&address).await?;
            let target = Target { address, process: Some(running.process()), ..target.clone() };
            let result = case.run(&target).await?;
            running.stop().await?;
            println!("{result}");
            results.push(numbers(&result));
        }
    }
    Ok(summary(&results))
}

/// Medians of both and their ratio, for each figure that both have.
fn summary(results: &[Vec<Map<String, Value>>; 2]) -> Value {
    let mut figures = Map::new();
    let names: Vec<String> =
        results[0].first().map(|first| first.keys().cloned().collect()).unwrap_or_default();
    for name in names {
        let of = |results: &[Map<String, Value>]| {
            median(results.iter().filter_map(|r| r.get(&name)?.as_f64()).collect())
        };
        if let (Some(a), Some(b)) = (of(&results[0]), of(&results[1])) {
            let ratio = (a != 0.0).then(|| b / a);
            figures.insert(name, json!({"a": a, "b": b, "ratio": ratio}));
        }
    }
    json!({"case": "compare", "rounds": results[0].len(), "medians": figures})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_their_ratio_are_told() {
        let of = |numbers: &[f64]| numbers.iter().map(|n| super::numbers(&json!({"x": n}))).collect();
        let summary = summary(&[of(&[1.0, 9.0, 2.0]), of(&[5.0, 3.0, 4.0])]);
        assert_eq!(summary["medians"]["x"], json!({"a": 2.0, "b": 4.0, "ratio": 2.0}));
    }
}
