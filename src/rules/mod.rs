//! What is decided: pure state machines without I/O, clocks or actors.

pub mod undo;
