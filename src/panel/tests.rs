//! The panel step by step: words, blink codes, a bouncing button.

use super::board::{Board, Kind, Name, Place};
use super::light::Colour::{Off, Red};
use super::*;

fn at(ms: u64) -> MonoTime {
    MonoTime(1_000_000_000 + ms * 1_000)
}

/// A panel with a button that was seen up.
fn panel() -> Panel {
    let mut panel = Panel::default();
    hold(&mut panel, 0, 100, false);
    panel
}

/// The level every 10 ms; gives what was asked for, and when.
fn hold(panel: &mut Panel, from_ms: u64, to_ms: u64, is_down: bool) -> Vec<(u64, Wish)> {
    (from_ms..to_ms).step_by(10).filter_map(|ms| Some((ms, panel.level(at(ms), is_down)?))).collect()
}

#[test]
fn a_daemon_that_says_nothing_is_shown() {
    let mut panel = panel();
    let silent = panel.lights(at(0));
    assert_eq!(silent.power, Light::new(Colour::Yellow, Pattern::Slow));
    assert_eq!(silent.fault, Light::new(Colour::Red, Pattern::Code(4)));
    panel.hear(at(0), Word { running: 2, ..Word::default() });
    let well = panel.lights(at(4_990));
    assert_eq!(well.power, Light::new(Colour::Green, Pattern::Steady));
    assert_eq!(well.recording, well.power);
    assert_eq!((well.wan, well.fault), (well.power, Light::default()));
    assert_eq!(panel.lights(at(5_000)), silent, "five seconds later it is silent again");
}

#[test]
fn the_most_urgent_fault_is_the_one_that_blinks() {
    let mut panel = panel();
    let mut shown = |word: Word| {
        panel.hear(at(0), word);
        panel.lights(at(1))
    };
    let clock = Word { clock_wrong: true, warnings: 1, ..Word::default() };
    let critical = Word { critical: 1, ..clock.clone() };
    let refusing = Word { refusing: true, ..critical.clone() };
    let lights = [clock, critical, refusing].map(&mut shown);
    assert_eq!(lights.map(|l| l.fault), [3, 2, 1].map(|times| Light::new(Colour::Red, Pattern::Code(times))));
    assert_eq!(lights.map(|l| l.power), [Colour::Yellow, Colour::Yellow, Colour::Red].map(|c| Light::new(c, Pattern::Steady)));
    let waiting = shown(Word { waiting: 3, ..Word::default() });
    assert_eq!(waiting.wan, Light::new(Colour::Yellow, Pattern::Slow));
    let cut = shown(Word { waiting: 3, target_trouble: true, ..Word::default() });
    assert_eq!(cut.wan, Light::new(Colour::Red, Pattern::Slow));
}

#[test]
fn a_code_of_three_flashes_three_times_and_pauses() {
    let light = Light::new(Colour::Red, Pattern::Code(3));
    let seen: Vec<Colour> = (0..3_000).step_by(10).map(|ms| light.at(Duration::from_millis(ms))).collect();
    let flashes = seen.windows(2).filter(|pair| *pair == [Off, Red]).count() + usize::from(seen[0] == Red);
    assert_eq!(flashes, 3);
    assert!(seen[130..].iter().all(|colour| *colour == Off), "a pause of 1.7 s behind the third");
    assert_eq!(light.at(Duration::from_millis(3_000)), Red, "and again");
    assert_eq!(Light::default().at(Duration::ZERO), Off);
    assert_eq!(Light::halves(Colour::Yellow), [true, true]);
}

#[test]
fn a_bouncing_short_press_asks_once() {
    let mut panel = panel();
    panel.hear(at(0), Word::default());
    let mut wishes = Vec::new();
    for ms in 100..130 {
        wishes.extend(panel.level(at(ms), ms % 3 == 0));
    }
    wishes.extend(hold(&mut panel, 130, 400, true).into_iter().map(|(_, wish)| wish));
    for ms in 400..430 {
        wishes.extend(panel.level(at(ms), ms % 2 == 0));
    }
    wishes.extend(hold(&mut panel, 430, 1_000, false).into_iter().map(|(_, wish)| wish));
    assert_eq!(wishes, [Wish::SayStatus(0)]);
}

#[test]
fn a_touch_shorter_than_a_bounce_is_nothing() {
    let mut panel = panel();
    assert_eq!(hold(&mut panel, 100, 120, true), []);
    assert_eq!(hold(&mut panel, 120, 500, false), []);
}

#[test]
fn three_seconds_ask_for_a_test_call_when_released() {
    let mut panel = panel();
    assert_eq!(hold(&mut panel, 100, 3_600, true), []);
    assert_eq!(panel.lights(at(3_600)).power, Light::new(Colour::Yellow, Pattern::Steady), "it says that it is long enough");
    assert_eq!(hold(&mut panel, 3_600, 4_000, false), [(3_630, Wish::TestCall)]);
}

#[test]
fn ten_seconds_forget_everything_only_when_confirmed() {
    let mut panel = panel();
    assert_eq!(hold(&mut panel, 100, 10_500, true), []);
    assert_eq!(panel.lights(at(10_500)).fault, Light::new(Colour::Red, Pattern::Fast));
    assert_eq!(hold(&mut panel, 10_500, 15_000, false), []);
    assert_eq!(hold(&mut panel, 15_000, 15_300, true), []);
    assert_eq!(hold(&mut panel, 15_300, 15_500, false), [(15_330, Wish::FactoryReset)]);

    let mut panel = self::panel();
    hold(&mut panel, 100, 10_500, true);
    assert_eq!(hold(&mut panel, 10_500, 40_000, false), [], "nobody confirmed");
    assert!(!panel.button.asks_for_confirmation());
    hold(&mut panel, 40_000, 50_500, true);
    hold(&mut panel, 50_500, 51_000, false);
    assert_eq!(hold(&mut panel, 51_000, 60_000, true), [], "held again instead of pressed");
    assert_eq!(hold(&mut panel, 60_000, 61_000, false), []);
}

#[test]
fn a_stuck_button_does_nothing() {
    let mut panel = Panel::default();
    assert_eq!(hold(&mut panel, 0, 15_000, true), [], "down when the panel began");
    assert_eq!(hold(&mut panel, 15_000, 16_000, false), []);
    hold(&mut panel, 16_000, 80_000, true);
    assert!(!panel.button.asks_for_confirmation(), "a minute is too long for a finger");
    assert_eq!(hold(&mut panel, 80_000, 95_000, false), []);
}

#[test]
fn every_board_has_a_panel_that_can_be_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/board");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut boards = 0;
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        let board: Board = toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap_or_else(|e| panic!("{file:?}: {e}"));
        let pins = board.panel.lights.values().flat_map(|halves| [halves.green.clone(), halves.red.clone()]).flatten();
        let mut places: Vec<String> =
            pins.chain(board.panel.button.map(|contact| contact.place)).map(|p| format!("{p:?}")).collect();
        let number = places.len();
        places.sort();
        places.dedup();
        assert_eq!(places.len(), number, "{file:?}: a pin for two things");
        boards += 1;
    }
    assert!(boards >= 3);
}

#[test]
fn a_board_is_read_as_it_is_written() {
    let text = "name = \"b\"\ncompatible = \"c\"\n[panel]\nkind = \"rppal\"\n[panel.lights.power]\ngreen = 17\n\
                [panel.button]\nplace = \"event0\"\n";
    let panel = toml::from_str::<Board>(text).unwrap().panel;
    assert_eq!((panel.kind, panel.lights[&Name::Power].green.clone()), (Kind::Rppal, Some(Place::Pin(17))));
    assert_eq!(panel.button.unwrap().place, Place::Led("event0".into()));
    assert!(toml::from_str::<Board>("name = \"b\"\n[panel.lights.power]\nblue = 1\n").is_err());
}
