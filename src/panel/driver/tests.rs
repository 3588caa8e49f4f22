//! The edge with files for hardware, and the socket with a panel that is there, that is not, and that does not read.

use std::time::Duration;

use super::super::Lights;
use super::super::board::{Board as File, Wiring};
use super::super::light::{Colour, Pattern};
use super::*;

fn wiring(panel: &str) -> Wiring {
    toml::from_str::<File>(&format!("name = \"b\"\n{panel}")).unwrap().panel
}

#[test]
fn a_simulated_panel_is_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut lamps = Lamps::new(open(&Wiring::default(), folder.path()).unwrap());
    let lights = Lights {
        power: Light::new(Colour::Yellow, Pattern::Slow),
        fault: Light::new(Colour::Red, Pattern::Steady),
        ..Lights::default()
    };
    lamps.show(lights, Duration::ZERO).unwrap();
    let shown = || fs::read_to_string(folder.path().join("lights")).unwrap();
    assert_eq!(shown(), "power yellow\nrecording off\nwan off\nfault red\n");
    lamps.show(lights, Duration::from_millis(500)).unwrap();
    assert_eq!(shown(), "power off\nrecording off\nwan off\nfault red\n");
    assert!(!lamps.is_down().unwrap());
    fs::write(folder.path().join("button"), "").unwrap();
    assert!(lamps.is_down().unwrap());
}

#[test]
fn the_led_class_is_written_and_input_events_are_read() {
    let root = tempfile::tempdir().unwrap();
    for led in ["green:power", "red:power"] {
        fs::create_dir_all(root.path().join("sys/class/leds").join(led)).unwrap();
        fs::write(root.path().join("sys/class/leds").join(led).join("brightness"), "7").unwrap();
    }
    let event = |kind: u16, value: i32| {
        let mut bytes = vec![0; 2 * size_of::<usize>()];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0x02, 0x01]);
        bytes.extend(value.to_ne_bytes());
        bytes
    };
    fs::create_dir_all(root.path().join("dev/input")).unwrap();
    fs::write(root.path().join("dev/input/event0"), [event(1, 1), event(0, 0)].concat()).unwrap();
    let panel = "[panel]\nkind = \"led-class\"\n[panel.lights.power]\ngreen = \"green:power\"\nred = \"red:power\"\nactive_low = true\n\
                 [panel.button]\nplace = \"event0\"\n";
    let mut leds = led_class::Leds::open(&wiring(panel), root.path()).unwrap();
    leds.show(Name::Power, [true, false]).unwrap();
    let brightness = |led: &str| fs::read_to_string(root.path().join("sys/class/leds").join(led).join("brightness")).unwrap();
    assert_eq!((brightness("green:power").as_str(), brightness("red:power").as_str()), ("0", "1"), "lit by a low level");
    leds.show(Name::Wan, [true, true]).unwrap();
    assert!(leds.is_down().unwrap() && leds.is_down().unwrap(), "until an event says otherwise");
    let missing = wiring("[panel]\nkind = \"led-class\"\n[panel.lights.power]\ngreen = \"nowhere\"\n");
    assert!(led_class::Leds::open(&missing, root.path()).is_err_and(|e| e.to_string().contains("nowhere")));
    let pin = wiring("[panel]\nkind = \"led-class\"\n[panel.lights.power]\ngreen = 17\n");
    assert!(led_class::Leds::open(&pin, root.path()).is_err_and(|e| e.to_string().contains("Pin(17)")));
}

#[test]
fn the_newest_word_counts_and_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mouth = Mouth::new(path.clone());
    mouth.say(&Word::default()); // nobody listens
    let ear = Ear::listen(&path).unwrap();
    assert_eq!(ear.hear(), None);
    for running in 0..10_000 {
        mouth.say(&Word { running, ..Word::default() }); // nobody reads: the queue is full soon
    }
    while ear.hear().is_some() {}
    mouth.say(&Word { running: 7, ..Word::default() });
    UnixDatagram::unbound().unwrap().send_to(b"{\"running\":", &path).unwrap();
    UnixDatagram::unbound().unwrap().send_to(&[b'x'; 5_000], &path).unwrap();
    assert_eq!(ear.hear().map(|word| word.running), Some(7));
    let again = Ear::listen(&path).unwrap();
    mouth.say(&Word { running: 8, ..Word::default() });
    assert_eq!(again.hear().map(|word| word.running), Some(8), "a panel that has started again hears");
}
