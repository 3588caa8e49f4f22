//! Lights and button on the GPIO pins of a Raspberry Pi.

use std::io;

use rppal::gpio::{Gpio, InputPin, OutputPin};

use super::super::board::{Name, Place, Wiring};
use super::{Board, halves, no_such};

pub(super) struct Pins {
    lights: Vec<(Name, usize, OutputPin, bool)>,
    /// Towards ground: low when it is down.
    button: Option<InputPin>,
}

impl Pins {
    pub(super) fn open(wiring: &Wiring) -> io::Result<Pins> {
        let gpio = Gpio::new().map_err(io::Error::other)?;
        let pin = |what: &str, place: &Place| match place {
            Place::Pin(number) => gpio.get(*number).map_err(|e| io::Error::other(format!("[panel] {what}: GPIO {number}: {e}"))),
            Place::Led(_) => Err(no_such(what, place)),
        };
        let lights = halves(wiring).map(|(name, half, place, active_low)| {
            let pin = pin("lights", place)?;
            let pin = if active_low { pin.into_output_high() } else { pin.into_output_low() };
            Ok((name, half, pin, active_low))
        });
        let lights = lights.collect::<io::Result<_>>()?;
        let button = wiring.button.as_ref().map(|contact| pin("button", &contact.place)).transpose()?;
        Ok(Pins { lights, button: button.map(rppal::gpio::Pin::into_input_pullup) })
    }
}

impl Board for Pins {
    fn show(&mut self, name: Name, lit: [bool; 2]) -> io::Result<()> {
        for (of, half, pin, active_low) in &mut self.lights {
            if *of == name {
                pin.write((lit[*half] != *active_low).into());
            }
        }
        Ok(())
    }

    fn is_down(&mut self) -> io::Result<bool> {
        Ok(self.button.as_ref().is_some_and(InputPin::is_low))
    }
}
