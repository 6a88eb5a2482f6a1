//! Suggestions for misspelled words. Pure.

/// Returns the known word that is most similar to `word`, ignoring case. `None` if no known word is
/// similar enough to be a plausible suggestion.
///
/// ```
/// use imgplan::test_support::base::nearest::nearest;
/// assert_eq!(nearest("platform", &["platforms", "source"]), Some("platforms"));
/// assert_eq!(nearest("zzz", &["platforms", "source"]), None);
/// ```
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower = word.to_lowercase();
    known
        .iter()
        .map(|&known| (strsim::damerau_levenshtein(&lower, &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= (known.chars().count().max(3) / 3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Returns the question "did you mean `x`?" for the most similar known word, if there is one.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}
