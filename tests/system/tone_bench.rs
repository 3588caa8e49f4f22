//! The page's tone bench in a real Chromium: an engineer changes the configuration, sees and hears what it does, and lets the box play it.

use serde_json::{Value, json};

use super::browser::{Browser, begin};
use super::sidecar::{Sidecar, exclusive};
use super::site::Site;

/// A box with a loudspeaker that keeps pace; and what holds it.
fn site_with_speaker() -> (Site, Sidecar, tempfile::TempDir) {
    let shared = tempfile::tempdir().unwrap();
    let (folder, devices) = exclusive(&shared.path().join("lock"));
    let sidecar = Sidecar::start_with(folder, &devices, "one");
    let site = Site::start_with(&format!("[tone]\nsidecar = \"{}\"\n", sidecar.path("socket").display()));
    (site, sidecar, shared)
}

fn open(browser: &Browser, site: &Site) {
    browser.open(&format!("http://{}:8080/tones", site.ip));
    browser.wait_for("the verdict", |page| page.text("#verdict").contains("consent of all parties"));
}

fn set(browser: &Browser, field: &str, value: &Value) {
    let script = format!(
        "const field = document.querySelector('#setup').elements['{field}'];\
         if (field.type === 'checkbox') field.checked = {value}; else field.value = {value};\
         field.dispatchEvent(new Event('input', {{bubbles: true}}));"
    );
    browser.run(&script);
}

fn click(browser: &Browser, selector: &str) {
    browser.run(&format!("document.querySelector({selector:?}).click()"));
}

/// Plays a perspective in the browser for a moment; its length in seconds.
fn hear(browser: &Browser, perspective: &str) -> f64 {
    let audio = format!("document.querySelector('[data-name={perspective}] audio')");
    let play = format!("{audio}.muted = true; {audio}.play()");
    browser.devtools("Runtime.evaluate", json!({"expression": play, "userGesture": true})); // nothing sounds before somebody has pressed something
    browser.wait_for("sound", |page| page.run(&format!("return {audio}.currentTime > 0.1")) == true);
    browser.run(&format!("{audio}.pause(); return {audio}.duration")).as_f64().unwrap()
}

#[test]
fn an_engineer_sees_and_hears_what_the_options_do_and_lets_the_box_play_it() {
    let (site, mut sidecar, _shared) = site_with_speaker();
    let browser = Browser::start();
    begin(&browser, &site);
    open(&browser, &site);
    let holds = |name: &str| browser.text(&format!("[data-name={name}] p"));
    assert_eq!(
        ["recorddn-hears", "channel-1", "channel-2"].map(holds),
        ["with the tone, 3 times", "never with the tone", "never with the tone"]
    );
    set(&browser, "chan1", &"otherdnhears".into());
    browser.wait_for("the tone in channel 1", |_| holds("channel-1") == "with the tone, 3 times");
    set(&browser, "recorddn_hears", &false.into());
    browser.wait_for("the verdict of one party", |page| page.text("#verdict").starts_with("One party hears the tone"));
    set(&browser, "pause_at_s", &"10".into());
    set(&browser, "pause_s", &"10".into());
    browser.wait_for("the pause", |page| page.text("#tones") == "Tones begin at 0.00 s, 20.00 s, 35.50 s.");
    assert_eq!(hear(&browser, "channel-1"), 40.0);
    browser.wait_for("the picture", |page| page.run("return document.querySelector('#picture').naturalWidth > 0") == true);
    set(&browser, "tonesilenceduration", &"".into());
    browser.wait_for("why no tone sounds", |page| page.text("#verdict").contains("tonesilenceduration is not set"));
    click(&browser, "[data-name=channel-1] button");
    browser.wait_for("the refusal", |page| page.text("#asked").contains("no tone sounds"));

    set(&browser, "tonesilenceduration", &"1000".into());
    browser.wait_for("the tone again", |page| page.text("#verdict").starts_with("One party"));
    click(&browser, "[data-name=channel-1] button");
    browser.wait_for("the loudspeaker", |page| page.text("#speaker") == "It plays. Channel 1 of the recording.");
    browser.wait_for("its timing", |page| {
        page.text("#played tbody tr:nth-child(1) td:nth-child(3)") == "1,500.0 ms"
            || page.text("#played tbody tr:nth-child(1) td:nth-child(3)") == "1500.0 ms"
    });
    assert_eq!(browser.text("#played tbody tr:nth-child(1) td:nth-child(4)"), "0.0 ms");
    click(&browser, "#pause");
    browser.wait_for("the pause", |page| page.text("#speaker").starts_with("It is paused."));
    assert_eq!(sidecar.ask(&json!({"cmd": "status"}))["state"], "paused");
    click(&browser, "#resume");
    browser.wait_for("the resumption", |page| page.text("#speaker").starts_with("It plays."));
    click(&browser, "#stop");
    browser.wait_for("its end", |page| page.text("#speaker").starts_with("It is silent."));
    assert!(browser.errors().iter().all(|error| error.contains("409")), "{:?}", browser.errors());
}

#[test]
fn a_busy_loudspeaker_is_shown_and_the_bench_is_usable_on_a_phone_and_a_desk_by_day_and_by_night() {
    let (site, mut sidecar, shared) = site_with_speaker();
    let (folder, devices) = exclusive(&shared.path().join("lock"));
    let mut other = Sidecar::start_with(folder, &devices, "one");
    let play = json!({"cmd": "play", "frequency_hz": 1400, "on_ms": 500, "off_ms": 1500});
    assert_eq!(other.ask(&play)["state"], "playing");
    let browser = Browser::start();
    begin(&browser, &site);
    for (name, width, height) in [("desk", 1_280, 900), ("phone", 390, 844)] {
        for scheme in ["light", "dark"] {
            browser.look(width, height, scheme);
            open(&browser, &site);
            click(&browser, "[data-name=otherdn-hears] button");
            browser.wait_for("the state", |page| page.text("#speaker").contains("Another program has its device"));
            browser
                .wait_for("the picture", |page| page.run("return document.querySelector('#picture').naturalWidth > 0") == true);
            assert_eq!(browser.run("return document.documentElement.scrollWidth > innerWidth"), false, "{name} scrolls sideways");
            assert_eq!(browser.errors(), Vec::<String>::new());
            if let Some(axe) = std::env::var_os("NEAREND_AXE") {
                assert_eq!(browser.faults(&std::fs::read_to_string(axe).unwrap()), json!([]), "{name}, {scheme}");
                browser.picture(&format!("tones-{name}-{scheme}"));
            }
        }
    }
    other.ask(&json!({"cmd": "stop"}));
    browser.wait_for("the device, once it is free", |page| page.text("#speaker") == "It plays. The other party hears.");
    sidecar.ask(&json!({"cmd": "stop"}));
}
