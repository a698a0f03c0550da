//! Figures: delays as percentiles, rates by CPU time, medians.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// Longest delay that is told apart, in microseconds.
const MAX_US: u64 = 600_000_000;

/// Delays.
#[derive(Debug)]
pub struct Delays(Histogram<u64>);

impl Default for Delays {
    fn default() -> Delays {
        // The bounds are constants that are valid.
        Delays(Histogram::new_with_max(MAX_US, 3).unwrap_or_else(|_| unreachable!("valid bounds")))
    }
}

impl Delays {
    /// Counts a delay.
    pub fn record(&mut self, delay: Duration) {
        self.0.saturating_record(u64::try_from(delay.as_micros()).unwrap_or(MAX_US).max(1));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Percentiles, in microseconds.
    pub fn to_json(&self) -> Value {
        let at = |percent| self.0.value_at_quantile(percent);
        json!({"p50_us": at(0.5), "p95_us": at(0.95), "p99_us": at(0.99), "max_us": self.0.max()})
    }
}

/// So much in a second of CPU time; `None` if the time was too short to count.
pub fn per_cpu_second(amount: f64, cpu_seconds: f64) -> Option<f64> {
    (cpu_seconds > 0.0).then(|| amount / cpu_seconds)
}

/// The middle one, or the mean of the two in the middle; `None` of nothing.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = numbers.get(middle)?;
    Some(if numbers.len() % 2 == 1 { *upper } else { (numbers[middle - 1] + upper) / 2.0 })
}

/// All numbers of a result by their path, as `delay.p50_us`.
pub fn numbers(result: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    collect("", result, &mut found);
    found
}

fn collect(path: &str, value: &Value, found: &mut Map<String, Value>) {
    match value {
        Value::Number(_) => {
            found.insert(path.to_owned(), value.clone());
        }
        Value::Object(members) => {
            for (name, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                collect(&format!("{path}{dot}{name}"), member, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn delays_are_told_in_percentiles() {
        let mut delays = Delays::default();
        (1..=100).for_each(|ms| delays.record(Duration::from_millis(ms)));
        delays.record(Duration::from_secs(10_000));
        let json = delays.to_json();
        assert!(json["p50_us"].as_u64().unwrap().abs_diff(51_000) < 100, "{json}");
        assert!(json["max_us"].as_u64().unwrap() >= MAX_US - MAX_US / 1000, "{json}");
    }

    #[test]
    fn numbers_are_found_by_their_path() {
        let found = numbers(&json!({"case": "idle", "a": 1, "b": {"c": 2.5, "d": [3]}}));
        assert_eq!(Value::Object(found), json!({"a": 1, "b.c": 2.5}));
    }

    #[test]
    fn no_time_gives_no_rate() {
        assert_eq!(per_cpu_second(5.0, 0.0), None);
        assert_eq!(per_cpu_second(5.0, 2.0), Some(2.5));
    }
}
