//! Why a test failed.

use std::fmt;

/// What went wrong, as text for the one who reads the test's output.
pub struct Failure(String);

/// Result of a step of a test.
pub type Result<T> = std::result::Result<T, Failure>;

/// Result of a test.
pub type Outcome = Result<()>;

impl Failure {
    /// A failure with this text.
    pub fn new(text: impl Into<String>) -> Failure {
        Failure(text.into())
    }

    /// Puts a line before the text.
    pub fn within(self, place: impl fmt::Display) -> Failure {
        Failure(format!("{place}: {}", self.0))
    }
}

/// libtest prints a failed test's error by `Debug`.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Failure(text)
    }
}

/// Fails with this text unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err($crate::Failure::new(format!($($text)*)));
        }
    };
}

/// Fails unless both are equal, with both and this text.
#[macro_export]
macro_rules! ensure_equal {
    ($got:expr, $wanted:expr, $($text:tt)*) => {
        match (&$got, &$wanted) {
            (got, wanted) => $crate::ensure!(
                got == wanted, "{}: got {:?}, not {:?}", format!($($text)*), got, wanted
            ),
        }
    };
}
