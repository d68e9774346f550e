//! A real Chromium without a display, driven by its own protocol: <https://chromedevtools.github.io/devtools-protocol/>.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::api::Api;
use crate::process::{Guarded, POLL, START};

/// What it is called on the systems that there are.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// What it needs to run as anybody, without a display and without a network of its own.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--window-size=1440,900",
];

/// The longest script waits for an hour of load in pieces of a minute.
const SILENCE: Duration = Duration::from_secs(150);

/// One page of it.
#[derive(Debug)]
pub(crate) struct Browser {
    socket: WebSocket<TcpStream>,
    asked: u64,
    _process: Guarded,
}

impl Browser {
    pub(crate) fn start() -> Result<Browser> {
        let name = NAMES
            .into_iter()
            .find(|name| Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok())
            .context("find Chromium: is it installed? `cargo xtask setup` does it")?;
        // The folder that it works in is its profile, which goes with it.
        let mut process = Guarded::start(
            Command::new(name)
                .args(FLAGS)
                .args(["--remote-debugging-port=0", "--user-data-dir=.", "about:blank"])
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        let said = process.dir().join("DevToolsActivePort");
        let deadline = Instant::now() + START;
        let port = loop {
            process.must_run(name)?;
            let port = fs::read_to_string(&said).ok().and_then(|text| text.lines().next()?.parse::<u16>().ok());
            if let Some(port) = port {
                break port;
            }
            if Instant::now() > deadline {
                bail!("wait for {name}: it does not say its port");
            }
            std::thread::sleep(POLL);
        };
        let host = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let pages: Vec<Value> =
            serde_json::from_slice(&Api::open(host)?.get("/json/list")?.1).context("understand the list of pages")?;
        let url = pages
            .iter()
            .find(|page| page["type"] == "page")
            .and_then(|page| page["webSocketDebuggerUrl"].as_str())
            .context("find a page")?;
        let stream = TcpStream::connect(host).context("connect to the page")?;
        stream.set_nodelay(true).context("switch off delayed sending")?;
        stream.set_read_timeout(Some(SILENCE)).context("set a timeout")?;
        let (socket, _) = tungstenite::client(url, stream).context("open the page's protocol")?;
        let mut browser = Browser { socket, asked: 0, _process: process };
        for domain in ["Page.enable", "Runtime.enable", "Performance.enable"] {
            browser.command(domain, json!({}))?;
        }
        Ok(browser)
    }

    /// One command, and its answer. What the page says unasked is passed over.
    pub(crate) fn command(&mut self, method: &str, params: Value) -> Result<Value> {
        self.asked += 1;
        let id = self.asked;
        let text = json!({ "id": id, "method": method, "params": params }).to_string();
        self.socket.send(Message::text(text)).with_context(|| format!("send `{method}`"))?;
        loop {
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).with_context(|| format!("hear what became of `{method}`")),
            };
            let Message::Text(text) = message else { continue };
            let mut answer: Value = serde_json::from_str(&text).context("understand the page")?;
            if answer["id"] != id {
                continue;
            }
            if let Some(error) = answer.get("error") {
                bail!("do `{method}`: {error}");
            }
            return Ok(answer["result"].take());
        }
    }

    /// Has a script run in every document before its own.
    pub(crate) fn before_all(&mut self, script: &str) -> Result<()> {
        self.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).map(drop)
    }

    /// Opens a page; does not wait for it.
    pub(crate) fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.command("Page.navigate", json!({ "url": url }))?;
        match answer["errorText"].as_str() {
            Some(error) => bail!("open `{url}`: {error}"),
            None => Ok(()),
        }
    }

    /// What an expression comes to, once it is there if it is a promise.
    pub(crate) fn value(&mut self, expression: &str) -> Result<Value> {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.command("Runtime.evaluate", params)?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("run a script in the page: {}", thrown["exception"]["description"]);
        }
        Ok(answer["result"]["value"].take())
    }

    /// Waits until an expression is true in the page.
    pub(crate) fn until(&mut self, what: &str, expression: &str) -> Result<()> {
        if self.comes_true(expression, START) { Ok(()) } else { bail!("wait for {what} in the page") }
    }

    /// Whether an expression comes true in the page within a time.
    pub(crate) fn comes_true(&mut self, expression: &str, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            // Between two documents there is nothing to ask.
            if self.value(expression).is_ok_and(|value| value == true) {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Runs the page's processor so many times slower.
    pub(crate) fn slow_down(&mut self, times: u32) -> Result<()> {
        self.command("Emulation.setCPUThrottlingRate", json!({ "rate": times })).map(drop)
    }

    /// Types one character, as a keyboard does.
    pub(crate) fn press(&mut self, key: char) -> Result<()> {
        let key = key.to_string();
        self.command("Input.dispatchKeyEvent", json!({ "type": "keyDown", "key": key, "text": key }))?;
        self.command("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key })).map(drop)
    }
}

/// Now, in milliseconds on the clock that pages of this machine tell as `performance.timeOrigin + performance.now()`.
pub(crate) fn wall_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1_000.0
}

/// Numbers in a list that a script answered with.
pub(crate) fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}
