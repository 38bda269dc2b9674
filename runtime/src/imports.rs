//! Names of interfaces: which version stands for which, and words for whoever imports what nobody gives. No I/O.

use std::fmt;

use semver::Version;

/// Offers that a message names for one import.
const NEAREST_MAX: usize = 4;

/// `package:path/interface@version`, in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    pub(crate) interface: &'a str,
    pub(crate) version: Option<&'a str>,
}

impl<'a> Name<'a> {
    pub(crate) fn parse(name: &'a str) -> Name<'a> {
        match name.split_once('@') {
            Some((interface, version)) => Name { interface, version: Some(version) },
            None => Name { interface: name, version: None },
        }
    }

    fn package(&self) -> &'a str {
        self.interface.split_once('/').map_or(self.interface, |(package, _)| package)
    }
}

/// Whether one name of an interface stands for the other: the same interface in versions that semver calls compatible.
/// Whether what is in them fits is another question.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (Name::parse(one), Name::parse(other));
    one.interface == other.interface
        && (one.version == other.version
            || match (track(one.version), track(other.version)) {
                (Some(one), Some(other)) => one == other,
                _ => false,
            })
}

/// The versions that are compatible with this one share it; a pre-release is compatible with itself alone.
fn track(version: Option<&str>) -> Option<(u64, u64)> {
    let version = Version::parse(version?).ok()?;
    if !version.pre.is_empty() {
        return None;
    }
    match (version.major, version.minor) {
        (0, 0) => None,
        (0, minor) => Some((0, minor)),
        (major, _) => Some((major, 0)),
    }
}

/// `0.2.7` fits `0.2`; any other version fits itself alone.
pub(crate) fn fits(version: &str, offered: &str) -> bool {
    let series = offered.split('.').count() == 2;
    version == offered
        || (series
            && version.strip_prefix(offered).and_then(|rest| rest.strip_prefix('.')).is_some_and(
                |patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()),
            ))
}

/// An interface that somebody gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// With its version.
    pub(crate) name: String,
    /// The container that exports it; `None` for the host.
    pub(crate) by: Option<String>,
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            None => write!(f, "the host offers {}", self.name),
            Some(by) => write!(f, "container {by} exports {}", self.name),
        }
    }
}

/// What comes next to the wanted interface: itself in other versions, else its package, else what containers export.
pub(crate) fn nearest(wanted: &str, offers: &[Offer]) -> String {
    let name = Name::parse(wanted);
    let of = |fits: &dyn Fn(&Name<'_>, &Offer) -> bool| -> Vec<&Offer> {
        offers.iter().filter(|offer| fits(&Name::parse(&offer.name), offer)).collect()
    };
    let is_interface = wanted.contains('/');
    let same = of(&|offered, _| offered.interface == name.interface);
    let package = of(&|offered, _| is_interface && offered.package() == name.package());
    let containers = of(&|_, offer| offer.by.is_some());
    let found = [same, package, containers].into_iter().find(|found| !found.is_empty());
    let Some(found) = found else {
        return match is_interface {
            true => format!("nothing of {} is offered", name.package()),
            false => "only interfaces are offered, not bare functions".to_owned(),
        };
    };
    let mut words: Vec<String> =
        found.iter().take(NEAREST_MAX).map(|offer| offer.to_string()).collect();
    if found.len() > NEAREST_MAX {
        words.push(format!("and {} more", found.len() - NEAREST_MAX));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_for_each_other_as_semver_has_it() {
        for (one, other, same) in [
            ("a:b/c", "a:b/c", true),
            ("a:b/c", "a:b/c@1.0.0", false),
            ("a:b/c@0.2.1", "a:b/c@0.2.9", true),
            ("a:b/c@0.2.1", "a:b/c@0.3.0", false),
            ("a:b/c@1.2.0", "a:b/c@1.7.0", true),
            ("a:b/c@1.2.0", "a:b/c@2.0.0", false),
            ("a:b/c@0.0.1", "a:b/c@0.0.2", false),
            ("a:b/c@0.2.0-draft", "a:b/c@0.2.0", false),
            ("a:b/c@0.2.0-draft", "a:b/c@0.2.0-draft", true),
            ("a:b/c@1.0.0", "a:b/d@1.0.0", false),
        ] {
            assert_eq!(is_same(one, other), same, "{one} {other}");
        }
    }

    #[test]
    fn a_series_stands_for_its_patch_versions() {
        for (version, offered, expected) in [
            ("0.2.0", "0.2", true),
            ("0.2.12", "0.2", true),
            ("0.2.", "0.2", false),
            ("0.20.1", "0.2", false),
            ("0.2.0-rc-2023-11-10", "0.2", false),
            ("0.2.0-draft", "0.2.0-draft", true),
            ("0.2.0", "0.2.0-draft", false),
        ] {
            assert_eq!(fits(version, offered), expected, "{version} {offered}");
        }
    }

    #[test]
    fn the_nearest_offers_are_named_first() {
        let offer = |name: &str, by: Option<&str>| Offer {
            name: name.to_owned(),
            by: by.map(str::to_owned),
        };
        let offers = [
            offer("wasi:cli/environment@0.2", None),
            offer("wasi:cli/exit@0.2", None),
            offer("wasi:io/poll@0.2", None),
            offer("acme:door/bell@2.0.0", Some("adapter")),
        ];
        for (wanted, expected) in [
            ("wasi:cli/environment@0.9.0", "the host offers wasi:cli/environment@0.2"),
            ("acme:door/bell@1.2.3", "container adapter exports acme:door/bell@2.0.0"),
            (
                "wasi:cli/more@0.2.0",
                "the host offers wasi:cli/environment@0.2, the host offers wasi:cli/exit@0.2",
            ),
            ("other:thing/x", "container adapter exports acme:door/bell@2.0.0"),
        ] {
            assert_eq!(nearest(wanted, &offers), expected);
        }
        assert_eq!(nearest("other:thing/x", &offers[..3]), "nothing of other:thing is offered");
        assert_eq!(
            nearest("ring", &offers[..3]),
            "only interfaces are offered, not bare functions"
        );
    }
}
