//! The load that Redis brings along to measure itself.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Connections, each with one request under way.
pub(crate) const CLIENTS: u32 = 50;

/// Requests a second of each command.
#[derive(Debug)]
pub(crate) struct Throughput(Vec<(String, f64)>);

impl Throughput {
    /// Runs so many requests of each command to the end, one request at a time on each connection.
    pub(crate) fn of(port: u16, requests: u32, what: &[&str]) -> Result<Throughput> {
        let output = Command::new("redis-benchmark")
            .args(["-p", &port.to_string(), "-n", &requests.to_string(), "-c", &CLIENTS.to_string()])
            .args(["-P", "1", "--csv"])
            .args(what)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .context("start `redis-benchmark`: is it installed?")?;
        if !output.status.success() {
            bail!("load Redis: `redis-benchmark` ended with {}", output.status);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let found: Vec<(String, f64)> = text.lines().filter_map(parse).collect();
        if found.is_empty() {
            bail!("understand `redis-benchmark`: it printed `{}`", text.trim());
        }
        Ok(Throughput(found))
    }

    /// Requests a second of a command that begins like this.
    pub(crate) fn per_second(&self, command: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| name.starts_with(command)).map(|(_, per_second)| *per_second)
    }
}

/// A name and a number in quotes, more numbers behind them; the heading has none.
fn parse(line: &str) -> Option<(String, f64)> {
    let mut fields = line.trim().trim_matches('"').split("\",\"");
    let name = fields.next()?.to_owned();
    Some((name, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heading_is_passed_over() {
        assert_eq!(parse(r#""test","rps","avg_latency_ms""#), None);
        assert_eq!(parse(r#""GET","91743.12","0.287","0.104""#), Some(("GET".to_owned(), 91743.12)));
        assert_eq!(parse(r#""SET lock:__rand_int__ x","1.5","0.2""#).map(|(_, n)| n), Some(1.5));
    }
}
