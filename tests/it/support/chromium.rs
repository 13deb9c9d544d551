//! A headless Chromium, where one is installed, spoken to by the Chrome DevTools Protocol over a pipe: JSON texts,
//! each ended by NUL. It is started by a shell, which makes its input and output the descriptors 3 and 4.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::wait::obtain;

/// As Debian's package installs it.
const PROGRAM: &str = "/usr/bin/chromium";
/// It takes seconds to start on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const OPTIONS: [&str; 11] = [
    "--headless",
    // tests may run as root
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    "about:blank",
];

/// One browser with one page. It is ended when this is dropped.
pub struct Chromium {
    child: Child,
    input: ChildStdin,
    answers: Receiver<Value>,
    next: Cell<u64>,
    session: String,
    _profile: TempDir,
}

impl Chromium {
    /// A browser for a reader of `language`, or `None`, with a message, where none is installed.
    pub fn start(language: &str) -> Option<Self> {
        if !Path::new(PROGRAM).try_exists().unwrap_or(false) {
            println!("left out: {PROGRAM} is not there (Debian's package chromium)");
            return None;
        }
        let profile = tempfile::tempdir().expect("a profile");
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null", PROGRAM])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args([format!("--lang={language}"), format!("--accept-lang={language}")])
            .args(OPTIONS)
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a browser");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for text in BufReader::new(output).split(0) {
                let Some(value) = text.ok().and_then(|text| serde_json::from_slice(&text).ok()) else {
                    return;
                };
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let session = String::new();
        let mut browser = Self { child, input, answers, next: Cell::new(1), session, _profile: profile };
        browser.attach();
        Some(browser)
    }

    fn attach(&mut self) {
        let targets = self.call("Target.getTargets", json!({}));
        let targets = targets["targetInfos"].as_array().unwrap().clone();
        let page = targets.into_iter().find(|target| target["type"] == "page").expect("a page");
        let attached =
            self.call("Target.attachToTarget", json!({ "targetId": page["targetId"], "flatten": true }));
        self.session = attached["sessionId"].as_str().unwrap().to_owned();
        self.call("Page.enable", json!({}));
    }

    /// Calls a method of the protocol and gives back its result.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.next.replace(self.next.get() + 1);
        let mut request = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            request["sessionId"] = json!(self.session);
        }
        self.input.write_all(format!("{request}\0").as_bytes()).expect("a browser that reads");
        let until = Instant::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let answer = self.answers.recv_timeout(left).unwrap_or_else(|error| panic!("{method}: {error}"));
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// Opens a page.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// A window of this size, of a telephone or not.
    pub fn resize(&mut self, width: u32, height: u32) {
        let mobile = width < 600;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Runs JavaScript in the page and gives back its value.
    #[track_caller]
    pub fn run(&mut self, script: &str) -> Value {
        let asked = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let outcome = self.call("Runtime.evaluate", asked);
        assert!(outcome["exceptionDetails"].is_null(), "{script}: {outcome}");
        outcome["result"]["value"].clone()
    }

    /// Waits until JavaScript in the page is true. An error, as of an element that is not there yet, is not true.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, script: &str) {
        let guarded =
            format!("(() => {{ try {{ return Boolean({script}); }} catch {{ return false; }} }})()");
        obtain(LIMIT, what, || (self.run(&guarded) == true).then_some(()));
    }

    /// Presses a key, such as `Tab` or `Enter`.
    pub fn press(&mut self, key: &str, text: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            _ => 0,
        };
        let mut event = json!({ "type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", event);
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
