//! The names that somebody may have meant.

/// The names that were most likely meant by a pattern, the best first.
pub(crate) fn nearest<'n>(pattern: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    const SHOWN: usize = 3;
    // A pattern is compared without its wildcards, with the beginnings of a name and with its end.
    let plain: String = pattern.chars().filter(|character| !"*?[]{}!\\".contains(*character)).collect();
    let plain = plain.trim_matches('.');
    let likeness = |name: &str| {
        let ends = name.match_indices('.').map(|(end, _)| end).chain([name.len()]);
        let starts = ends.map(|end| strsim::normalized_damerau_levenshtein(plain, &name[..end]));
        let last = name.rsplit('.').next().unwrap_or(name);
        starts.chain([strsim::normalized_damerau_levenshtein(plain, last)]).fold(0.0, f64::max)
    };
    let mut names: Vec<(f64, &str)> = names.map(|name| (likeness(name), name)).collect();
    names.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.cmp(other)));
    names.dedup();
    names.into_iter().take(SHOWN).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first() {
        let names = ["encoder.fc.weight", "encoder.lstm.weight_ih_l0", "head.bias", "decoder.weight"];
        let nearest = |pattern| nearest(pattern, names.into_iter())[0].clone();
        assert_eq!(nearest("encoder.lsmt.*"), "encoder.lstm.weight_ih_l0");
        assert_eq!(nearest("haed.*"), "head.bias");
        assert_eq!(nearest("*.baes"), "head.bias");
    }
}
