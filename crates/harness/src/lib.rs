//! Drives the self-checking test programs through checkpoint and restart.
#![forbid(unsafe_code)]
