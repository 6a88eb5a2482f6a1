//! Computes the digest of the parts of a Dockerfile that decide what a build makes. Pure.

use super::model::Dockerfile;
use super::reach::BuildReach;
use crate::base::digest::{Digest, FieldHasher};

impl Dockerfile {
    /// Returns the digest of everything that decides what a build with this reach makes: the
    /// directives, the global ARGs and the stages that the build needs. Comments and other stages do
    /// not change it.
    ///
    /// All global ARGs count, because a trigger of a base from outside of the file may use any.
    ///
    /// ```
    /// use imgplan::test_support::base::name::Platform;
    /// use imgplan::test_support::dockerfile::{Dockerfile, ReachRequest};
    ///
    /// let digest = |text: &str| {
    ///     let file = Dockerfile::parse(text).unwrap();
    ///     file.digest_of(&file.reach(&ReachRequest::new(Platform::Amd64)).unwrap())
    /// };
    /// let with_comments = digest("FROM a AS test\n# of the test\nFROM b\n# of the image\n");
    /// assert_eq!(digest("FROM c AS test\nFROM b\n"), with_comments);
    /// assert_ne!(digest("FROM a AS test\nFROM c\n"), with_comments);
    /// ```
    pub fn digest_of(&self, reach: &BuildReach) -> Digest {
        let mut hasher = FieldHasher::new("dockerfile");
        let mut escape = [0; 4];
        hasher.field(self.escape.encode_utf8(&mut escape).as_bytes());
        hasher.field(self.syntax.as_deref().unwrap_or_default().as_bytes());
        for global in &self.globals {
            hasher.field(self.text[global.span.clone()].as_bytes());
        }
        for &index in &reach.stages {
            let Some(stage) = self.stages.get(index) else { continue };
            hasher.field(stage.digest.as_bytes());
            if reach.copies_by_index {
                hasher.field(&(index as u64).to_le_bytes());
            }
        }
        hasher.finish()
    }
}
