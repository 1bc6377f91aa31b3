//! Readers for /proc files; every parser is a pure function from bytes to a value.
