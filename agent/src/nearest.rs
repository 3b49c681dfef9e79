//! The known name that somebody most likely meant.

/// The candidate with the fewest typing mistakes from `wanted`, if these are
/// few for its length: one in three letters, at least one. Case does not
/// count.
#[must_use]
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wanted.to_lowercase();
    let allowed = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            let mistakes = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
            (mistakes, candidate)
        })
        .filter(|(mistakes, _)| *mistakes <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn table() {
        let names = ["include", "exclude", "excludePaths", "ports"];
        for (wanted, expected) in [
            ("exlude", Some("exclude")),
            ("Exclude", Some("exclude")),
            ("exclude_paths", Some("excludePaths")),
            ("port", Some("ports")),
            ("prots", Some("ports")),
            ("service", None),
            ("", None),
        ] {
            assert_eq!(nearest(wanted, names), expected, "{wanted}");
        }
        assert_eq!(
            nearest("jager-collector", ["zipkin", "jaeger-collector"]),
            Some("jaeger-collector")
        );
    }
}
