use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{free_port, until, until_some};

/// What Chromium needs to run as root, without a display and without a network.
const FLAGS: [&str; 12] = [
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
    "--force-prefers-reduced-motion",
    "--window-size=1280,900",
];

/// What a page is looked at with, and the media features that say so: by day, by night, and both ways in which people ask for
/// more contrast.
pub const LOOKS: [(&str, &[(&str, &str)]); 4] = [
    ("light", &[("prefers-color-scheme", "light")]),
    ("dark", &[("prefers-color-scheme", "dark")]),
    ("forced colours", &[("prefers-color-scheme", "dark"), ("forced-colors", "active")]),
    ("more contrast", &[("prefers-color-scheme", "light"), ("prefers-contrast", "more")]),
];

/// How long a browser may take to end.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A real Chromium with a new profile. Ends with the value.
#[derive(Debug)]
pub struct Browser {
    /// The WebDriver session, for what is not covered here.
    pub client: Client,
    session: String,
    port: u16,
    _driver: Child,
    _profile: TempDir,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Browser {
        Browser::with(&[]).await
    }

    /// Starts one with more flags.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn with(flags: &[&str]) -> Browser {
        let port = free_port();
        let driver = Command::new("chromedriver")
            .args([format!("--port={port}"), "--silent".to_owned()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver; `cargo xtask setup` installs it");
        let profile = TempDir::new().unwrap();
        let mut args: Vec<String> = FLAGS.iter().chain(flags).map(|&flag| flag.to_owned()).collect();
        args.push(format!("--user-data-dir={}", profile.path().display()));
        let capabilities = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let client = until_some("chromium to start", async || {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(capabilities.clone()).connect(&format!("http://127.0.0.1:{port}")).await.ok()
        })
        .await;
        let session = client.session_id().await.unwrap().expect("a session");
        Browser { client, session, port, _driver: driver, _profile: profile }
    }

    /// Opens a page.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Runs a script in the page: the body of a function that may `return`.
    ///
    /// # Panics
    /// When it throws.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Everything that can be read on the page.
    pub async fn text(&self) -> String {
        // The page may be between two documents.
        match self.client.execute("return document.body ? document.body.innerText : ''", Vec::new()).await {
            Ok(text) => text.as_str().unwrap_or_default().to_owned(),
            Err(_) => String::new(),
        }
    }

    /// Waits until these words can be read on the page.
    pub async fn until_text(&self, words: &str) -> String {
        until(&format!("`{words}` on the page"), async || self.text().await, |text| text.contains(words)).await
    }

    /// Waits until these words cannot be read on the page any more.
    pub async fn until_no_text(&self, words: &str) -> String {
        until(&format!("no `{words}` on the page"), async || self.text().await, |text| !text.contains(words)).await
    }

    /// The visible element with this role and a name that contains `name`, as assistive technology knows them.
    pub async fn by_role(&self, role: &str, name: &str) -> Element {
        until_some(&format!("{role} `{name}`"), async || self.try_by_role(role, name).await).await
    }

    /// The same, if it is there now.
    pub async fn try_by_role(&self, role: &str, name: &str) -> Option<Element> {
        for candidate in self.client.find_all(Locator::Css(selector(role))).await.ok()? {
            let id = candidate.element_id();
            let is_displayed = candidate.is_displayed().await.unwrap_or(false);
            if is_displayed
                && self.computed(&id, "computedrole").await.as_deref() == Some(role)
                && self.computed(&id, "computedlabel").await.is_some_and(|label| label.contains(name))
            {
                return Some(candidate);
            }
        }
        None
    }

    /// Clicks the element with this role and name.
    pub async fn click(&self, role: &str, name: &str) {
        until_some(&format!("{role} `{name}` to be clicked"), async || {
            self.try_by_role(role, name).await?.click().await.ok()
        })
        .await;
    }

    /// Has pages be looked at with these media features, as in [`LOOKS`].
    pub async fn look(&self, features: &[(&str, &str)]) {
        let features: Vec<Value> =
            features.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.cdp("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// The page as a PNG.
    ///
    /// # Panics
    /// When there is none.
    pub async fn screenshot(&self) -> Vec<u8> {
        self.client.screenshot().await.unwrap()
    }

    /// A command of Chromium's own protocol, `Emulation.setEmulatedMedia` for example.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn cdp(&self, command: &str, params: Value) -> Value {
        let command = ChromeCommand { path: "goog/cdp/execute", body: json!({ "cmd": command, "params": params }) };
        self.client.issue_cmd(command).await.unwrap()
    }

    /// Chromium's own word on an element.
    async fn computed(&self, element: &str, what: &'static str) -> Option<String> {
        let command = ElementQuery { element: element.to_owned(), what };
        self.client.issue_cmd(command).await.ok()?.as_str().map(str::to_owned)
    }
}

impl Drop for Browser {
    /// Ends the browser through its driver: a driver that is killed leaves its browser running. By hand, because
    /// nothing can be awaited here.
    fn drop(&mut self) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return };
        let request = format!(
            "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
            self.session, self.port
        );
        // What cannot be ended cannot be helped either.
        let _ = stream.set_read_timeout(Some(QUIT_TIMEOUT));
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

/// Elements that can have a role without being asked one by one.
fn selector(role: &str) -> &'static str {
    match role {
        "button" => "button, [role=button]",
        "DisclosureTriangle" => "summary",
        "link" => "a[href]",
        "textbox" | "searchbox" | "combobox" => "input, textarea, select",
        "option" => "[role=option]",
        "row" => "tr, [role=row]",
        "dialog" => "dialog, [role=dialog]",
        "alert" => "[role=alert]",
        "status" => "[role=status], output",
        "checkbox" => "input[type=checkbox], [role=checkbox]",
        "heading" => "h1, h2, h3, h4, [role=heading]",
        _ => "*",
    }
}

#[derive(Debug)]
struct ChromeCommand {
    path: &'static str,
    body: Value,
}

impl fantoccini::wd::WebDriverCompatibleCommand for ChromeCommand {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

#[derive(Debug)]
struct ElementQuery {
    element: String,
    what: &'static str,
}

impl fantoccini::wd::WebDriverCompatibleCommand for ElementQuery {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/element/{}/{}", session.unwrap_or_default(), self.element, self.what))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::GET, None)
    }
}
