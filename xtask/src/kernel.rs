//! The kernels that nodespan must work on.

use std::{fmt, str::FromStr};

/// A kernel line, of which setup takes Debian's newest package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kernel {
    /// 5.10, Debian 11.
    V5_10,
    /// 6.1, Debian 12.
    V6_1,
    /// 6.12, Debian 13.
    V6_12,
    /// The newest 7.x of Debian's backports.
    V7,
}

impl Kernel {
    /// Oldest first.
    pub(crate) const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::V7];

    /// As written on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V7 => "7",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One kernel or all of them, as in `--kernel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernels(pub(crate) Vec<Kernel>);

impl FromStr for Kernels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self(Kernel::ALL.to_vec()));
        }
        text.split(',')
            .map(|name| {
                Kernel::ALL
                    .into_iter()
                    .find(|kernel| kernel.name() == name)
                    .ok_or_else(|| {
                        format!("no kernel {name}: 5.10, 6.1, 6.12, 7, several with commas, or all")
                    })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_one_several_and_all() {
        assert_eq!("6.1".parse(), Ok(Kernels(vec![Kernel::V6_1])));
        assert_eq!(
            "5.10,7".parse(),
            Ok(Kernels(vec![Kernel::V5_10, Kernel::V7]))
        );
        assert_eq!("all".parse(), Ok(Kernels(Kernel::ALL.to_vec())));
        assert!("6".parse::<Kernels>().is_err());
    }
}
