//! The console: what the operator sees and types, on the VGA screen and the serial port alike.
//!
//! The screen is a log that scrolls, one line for each thing that happened, with a live line under
//! it: the prompt, or what goes on and since when. Both terminals show the same; what is typed on
//! one stays on that one.
//!
//! From the bottom up, pure unless noted:
//!
//! 1. [`text`]: foreign strings made printable, lines cut and wrapped, durations, amounts, dates.
//! 2. [`keyboard`]: bytes of a terminal to keystrokes.
//! 3. [`entry`]: what one terminal's operator has typed so far, checked as it is typed; what of a key
//!    did not count in [`ignored`], the part for a proxy in [`proxy_entry`].
//! 4. [`sentence`]: each fact, phase and refusal in words, with the remedy.
//! 5. [`model`]: the state, and what each event does to it.
//! 6. [`view`]: the live line, and the bytes that put lines on a screen.
//! 7. [`channel`], [`terminal`], [`run`]: input and output.
//! 8. [`fuzz`]: any keys in any state.
//!
//! Guaranteed: nothing blocks on a terminal, no byte of a foreign string reaches a terminal
//! unescaped, a provisioning key leaves the screen and the console's buffers when it was sent, and a
//! password never reaches the screen.

#![expect(
    clippy::large_enum_variant,
    reason = "messages of half a kilobyte, one at a time: boxing would only add allocations"
)]

pub mod text;

pub mod keyboard;

pub mod entry;
pub mod ignored;
pub mod proxy_entry;

pub mod sentence;

pub mod model;

pub mod view;

pub mod channel;
pub mod run;
pub mod terminal;

pub mod fuzz;

#[cfg(test)]
mod tests;
