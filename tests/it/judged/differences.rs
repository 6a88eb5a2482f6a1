//! The known differences between imgplan and BuildKit's `dockerfile2llb`, each with its reason.

use super::{Answer, Ours, Question};

/// A kind of difference.
pub(super) struct Difference {
    /// The reason, in one sentence.
    pub(super) name: &'static str,
    /// True if the difference explains these answers: the judge's, then imgplan's.
    pub(super) is: fn(&Question, &Answer, &Ours) -> bool,
}

/// The first one that applies counts.
pub(super) const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "the base image may set a variable of a path, so imgplan takes the whole context; the \
               judge's base images set only PATH",
        is: |_, theirs, ours| {
            let same = theirs.error.is_none() && theirs.images == ours.answer.images;
            let required = theirs.error.as_ref().is_some_and(|error| error.ends_with(": needed"));
            ours.is_unresolved && (same || required)
        },
    },
    Difference {
        name: "BuildKit sends the whole context because of a tmpfs mount, which reads nothing of it",
        is: |question, theirs, ours| {
            let same = theirs.images == ours.answer.images && ours.answer.error.is_none();
            question.text.contains("type=tmpfs") && theirs.whole && !ours.answer.whole && same
        },
    },
    Difference {
        name: "BuildKit looks for a git repository in the context too, beside downloading it",
        is: |_, theirs, ours| {
            let is_git = |path: &&String| path.starts_with("git@") || path.starts_with("git:/");
            let others = theirs.local.iter().filter(|path| !is_git(path));
            theirs.images == ours.answer.images && others.eq(&ours.paths)
        },
    },
];
