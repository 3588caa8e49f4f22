//! The status page in a real Chromium, driven by WebDriver: what a person sees, and what happens when a button is pressed. With `NEAREND_AXE`
//! (see scripts/page-check) the page is also held against the rules of axe-core, and pictures of it are kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::senders::msr;
use super::site::{PASSWORD, Site};

const PATIENCE: Duration = Duration::from_secs(120);

/// Nobody clicks here.
const PLAY: &str = "--autoplay-policy=no-user-gesture-required";

pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.exchange("DELETE", "", &Value::Null); // ends Chromium
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    pub(crate) fn start() -> Browser {
        let mut driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse().ok());
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Browser { driver, port: port.unwrap(), session: String::new(), profile };
        let data = format!("--user-data-dir={}", browser.profile.path().display());
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", PLAY, &data];
        let options = json!({"goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}});
        let made = browser.exchange("POST", "", &json!({"capabilities": {"alwaysMatch": options}}));
        browser.session = made["sessionId"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        browser
    }

    /// One request of WebDriver; gives `value`.
    fn exchange(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let session = if self.session.is_empty() { String::new() } else { format!("/{}", self.session) };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} /session{session}{path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        // It keeps the connection open, whatever it is told.
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).unwrap();
            if let Some((_, value)) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut json = vec![0; length];
        answer.read_exact(&mut json).unwrap();
        serde_json::from_slice::<Value>(&json).unwrap()["value"].take()
    }

    pub(crate) fn run(&self, script: &str) -> Value {
        self.exchange("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    pub(crate) fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.exchange("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    pub(crate) fn open(&self, url: &str) {
        assert_eq!(self.exchange("POST", "/url", &json!({"url": url})), Value::Null);
    }

    pub(crate) fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.innerText ?? ''");
        self.run(&script).as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn wait_for(&self, what: &str, is_there: impl Fn(&Browser) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_there(self) {
            assert!(Instant::now() < until, "{what} did not come: {}", self.text("body"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the console shows in red.
    pub(crate) fn errors(&self) -> Vec<String> {
        let log = self.exchange("POST", "/se/log", &json!({"type": "browser"}));
        let severe = log.as_array().into_iter().flatten().filter(|line| line["level"] == "SEVERE");
        severe.map(|line| line["message"].to_string()).collect()
    }

    /// A phone or a desk, by day or by night.
    pub(crate) fn look(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", scheme);
    }

    /// Faults that axe-core calls serious or critical.
    pub(crate) fn faults(&self, axe: &str) -> Value {
        self.run(&format!("{axe}; window.axe = axe;"));
        let script = "axe.run().then(found => arguments[0](found.violations.filter(v => ['serious', 'critical'].includes(v.impact))\
                      .map(v => [v.id, v.nodes[0].html])))";
        self.exchange("POST", "/execute/async", &json!({"script": script, "args": []}))
    }

    pub(crate) fn picture(&self, name: &str) {
        let height = self.run("return document.documentElement.scrollHeight").as_f64().unwrap_or(0.0);
        let width = self.run("return innerWidth").as_f64().unwrap_or(0.0);
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let shot = self.devtools("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true, "clip": clip}));
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), BASE64.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
    }
}

fn web(site: &Site) -> String {
    format!("http://{}:8080/", site.ip)
}

/// Types into a field, as a person would.
fn fill(browser: &Browser, field: &str, text: &str) {
    browser.run(&format!("document.querySelector('{field}').value = {text:?}"));
}

/// The first use of a box, through the page.
pub(crate) fn begin(browser: &Browser, site: &Site) {
    browser.open(&web(site));
    browser.wait_for("the first use", |page| page.text("#door-title") == "First use");
    for (field, text) in [("#code", site.code().as_str()), ("#name", "anna"), ("#password", PASSWORD)] {
        fill(browser, field, text);
    }
    browser.run("document.querySelector('#door-submit').click()");
    browser.wait_for("the page behind the door", |page| page.text("#who-name") == "user anna, admin");
}

/// Whether the page behind the door is shown; what is hidden still has its text.
fn is_inside(browser: &Browser) -> bool {
    browser.run("return document.querySelector('#inside').hidden") == false
}

fn log_in(browser: &Browser, password: &str) {
    browser.wait_for("the door", |page| page.text("#door-title") == "Log in");
    fill(browser, "#name", "anna");
    fill(browser, "#password", password);
    browser.run("document.querySelector('#door-submit').click()");
}

/// Finds the recording in the list, sees its picture, plays it.
fn hear(browser: &Browser, id: &str) {
    browser.run("location.hash = '#here'");
    browser.wait_for("an empty list", |page| page.text("#listed").starts_with("Everything on this box"));
    browser.run("location.hash = '#recordings'");
    browser.wait_for("the recording", |page| page.text("#listed tbody a") == id);
    browser.run("document.querySelector('#listed tbody a').click()");
    browser.wait_for("its picture", |page| page.run("return document.querySelectorAll('#picture path').length") == 2);
    assert!(browser.text("#one-facts").contains("Paused"), "{}", browser.text("#one-facts"));
    browser.run("document.querySelector('#player').play()");
    browser.wait_for("it to play", |page| page.run("return document.querySelector('#player').currentTime").as_f64() > Some(0.2));
    let level = "return Math.max(...[...document.querySelectorAll('#picture path')].map(path => path.getBBox().height))";
    assert!(browser.run(level).as_f64() > Some(2.0), "somebody speaks in it");
    if std::env::var_os("NEAREND_AXE").is_some() {
        browser.picture("recording");
    }
    browser.run("location.hash = ''");
}

#[test]
fn a_person_sees_a_call_pauses_it_and_is_told_when_the_box_is_gone() {
    let mut site = Site::start();
    let browser = Browser::start();
    begin(&browser, &site);
    browser.wait_for("the verdict", |page| page.text("#verdict") == "Every call that arrives is recorded.");
    assert_eq!(browser.text("#calls"), "No call is being recorded.");
    let (to, local) = (format!("sip:{}", site.sip()), site.peer().to_string());
    let button = "#calls button";
    std::thread::scope(|scope| {
        let call = scope.spawn(|| msr(&site, &to, &["--local", &local, "--duration", "600s"]));
        browser.wait_for("the call", |page| page.text("#calls tbody").contains("recording") && page.text(button) == "Pause");
        browser.run("document.querySelector('#calls button').click()");
        browser.wait_for("its pause", |page| page.text(button) == "Resume" && page.text("#asked").contains("paused"));
        let paused = "return fetch('/api/v1/status').then(answer => answer.json()).then(status => status.calls[0].state)";
        assert_eq!(browser.run(paused), "paused");
        browser.run("document.querySelector('#calls button').click()");
        browser.wait_for("its resumption", |page| page.text(button) == "Pause");
        browser.run("document.querySelector('#calls button').focus()");
        let packets = browser.text("#calls td:nth-child(4)");
        browser.wait_for("more packets", |page| page.text("#calls td:nth-child(4)") != packets);
        let focused = "return document.activeElement.ariaLabel";
        assert!(browser.run(focused).as_str().is_some_and(|label| label.starts_with("Pause the recording of 70")), "focus stays");
        let id = browser.text("#calls td");
        let stopped =
            browser.run(&format!("return fetch('/api/v1/calls/{id}/stop', {{method: 'POST'}}).then(answer => answer.status)"));
        assert_eq!(stopped, 200, "{id}");
        let _ = call.join(); // the box has hung up
    });
    browser.wait_for("its delivery", |page| page.text("#recent tbody").contains("delivered"));
    let id = browser.text("#recent tbody a");
    hear(&browser, &id);
    assert_eq!(browser.errors(), Vec::<String>::new());
    site.kill();
    browser.wait_for("the loss", |page| page.text("#link").contains("No connection to the box"));
    site.run();
    log_in(&browser, "not the password");
    browser.wait_for("the refusal", |page| page.text("#door-said").contains("are wrong"));
    log_in(&browser, PASSWORD);
    browser.wait_for("the return", |page| page.text("#link").is_empty() && is_inside(page));
    browser.run("document.querySelector('#logout').click()");
    browser.wait_for("the door again", |page| page.text("#door-title") == "Log in" && !is_inside(page));
}

#[test]
fn what_is_wrong_is_said_with_what_to_do_on_a_phone_and_a_desk_by_day_and_by_night() {
    let site = Site::start_with("[tone]\naudiosrc = \"file:///nothing/<b>here</b>.wav\"\n");
    let browser = Browser::start();
    browser.open(&web(&site));
    browser.wait_for("the first use", |page| page.text("#door-title") == "First use");
    if let Some(axe) = std::env::var_os("NEAREND_AXE") {
        assert_eq!(browser.faults(&std::fs::read_to_string(axe).unwrap()), json!([]), "the door");
        browser.picture("door");
    }
    begin(&browser, &site);
    for (name, width, height) in [("desk", 1_280, 900), ("phone", 390, 844)] {
        for scheme in ["light", "dark"] {
            browser.look(width, height, scheme);
            browser.open(&web(&site));
            browser.wait_for("the alarm", |page| page.text("#alarms").contains("No tone sounds in calls"));
            assert!(browser.text("#alarms").contains("<b>here</b>"), "what others say stays text");
            browser.wait_for("the plots' place", |page| page.text("#plots").contains("begin five minutes"));
            assert_eq!(browser.run("return document.documentElement.scrollWidth > innerWidth"), false, "{name} scrolls sideways");
            assert_eq!(browser.errors(), Vec::<String>::new());
            if let Some(axe) = std::env::var_os("NEAREND_AXE") {
                assert_eq!(browser.faults(&std::fs::read_to_string(axe).unwrap()), json!([]), "{name}, {scheme}");
                browser.picture(&format!("{name}-{scheme}"));
            }
        }
    }
}
