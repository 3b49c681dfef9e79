//! What a command says on its terminal.
//!
//! `println!` panics where nobody reads any more, as in `nodespan check … |
//! head -1`; a command that has been heard enough of has not failed.

/// Prints a line to standard output.
macro_rules! say {
    ($($what:tt)*) => {
        $crate::cli::say::line(&mut ::std::io::stdout(), ::std::format_args!($($what)*))
    };
}

/// Prints a line to standard error.
macro_rules! complain {
    ($($what:tt)*) => {
        $crate::cli::say::line(&mut ::std::io::stderr(), ::std::format_args!($($what)*))
    };
}

pub(super) use {complain, say};

use std::fmt::Arguments;
use std::io::Write;

/// Writes text and ends its last line, if it has not ended.
pub(super) fn line(to: &mut impl Write, text: Arguments<'_>) {
    let mut text = text.to_string();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let _nobody_reads = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_once_and_closed_pipes_are_no_panic() {
        let mut out = Vec::new();
        line(&mut out, format_args!("a"));
        line(&mut out, format_args!("b\n"));
        assert_eq!(out, b"a\nb\n");
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        line(&mut writer, format_args!("c"));
    }
}
