//! Decides the form of a request for transfers. Pure.
//!
//! It is not known which version of the service responds. The first request has the documented fields
//! and no name that the service derives itself, which all versions accept. If the service refuses or
//! misses a field that the manifest does not set, the transfer is requested once more without or with
//! it; if that succeeds, so are all further transfers of the run.

use std::collections::HashSet;

use crate::api::AcceptedBuild;
use crate::api::wire::BuildImageRequest;
use crate::base::image_path::ImagePath;
use crate::base::name::{ImageRef, Owner, Platform, Visibility};
use crate::base::source_ref::RegistryKind;
use crate::run::link::request;

/// Differences from the first form of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct FormChanges {
    /// Leave out the team of a source of Docker Hub.
    without_team: bool,
    /// Ask for a public image of the platform for a source of Docker Hub.
    public: bool,
    /// Send the name that the service derives.
    pub(super) named: bool,
}

impl FormChanges {
    /// Returns the changes of both.
    fn and(self, other: Self) -> Self {
        Self {
            without_team: self.without_team || other.without_team,
            public: self.public || other.public,
            named: self.named || other.named,
        }
    }

    /// Returns true if the request asks for an image of the platform, and its first form does not.
    pub(super) fn moves(self, transfer: &TransferForm) -> bool {
        transfer.owner != Owner::Platform && placement(transfer, self).0 == Owner::Platform
    }

    /// Returns the changes that the text of a refusal suggests for a kind of registry. The text must
    /// name a field or state a demand: the reason of any refusal may contain single words.
    fn suggested(registry: RegistryKind, text: &str) -> Self {
        let text = without_references(&text.to_lowercase());
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let names_name = has(&["image_name", "image_tag", "imagename", "imagetag"]);
        let named = names_name && has(&["required", "missing"]);
        if registry != RegistryKind::DockerHub {
            return Self { named, ..Self::default() };
        }
        let about_hub = has(&["docker hub", "dockerhub"]);
        let is_team = |word: &str| {
            matches!(word.trim_matches(|c: char| !c.is_alphanumeric()), "team" | "teams")
        };
        let refuses_team = has(&["not accept", "not take", "not support", "not allow"])
            && text.split(' ').any(is_team);
        let demands_public =
            has(&["must be public", "always public", "cannot be private", "not be private"]);
        let without_team = has(&["team_id", "teamid"]) || (about_hub && refuses_team);
        let public =
            has(&["visibility", "owner_scope", "ownerscope"]) || (about_hub && demands_public);
        // Without its team, the mirror must not become a personal image.
        Self { without_team, public: public || without_team, named }
    }
}

/// The settings of a transfer that its request depends on.
#[derive(Debug)]
pub(super) struct TransferForm {
    pub(super) unit: ImageRef,
    pub(super) platform: Platform,
    pub(super) owner: Owner,
    /// True if the manifest sets the owner.
    pub(super) owner_is_set: bool,
    pub(super) visibility: Option<Visibility>,
    /// Kind of the registry of the source.
    pub(super) registry: RegistryKind,
    /// Names that the service may derive from the source; that of today's service first.
    pub(super) images: Vec<ImageRef>,
    /// True if the name or tag is not the one that the service derives from the source.
    pub(super) custom_name: bool,
    /// Differences from the first form of the request, after it was refused.
    pub(super) changes: FormChanges,
}

/// Facts about the service that the responses of a run have shown.
#[derive(Debug, Default)]
pub(super) struct ServiceTraits {
    /// True if mirrors of Docker Hub become images of the platform, whoever asks. `None` if no response
    /// has shown it.
    on_platform: Option<bool>,
    /// Differences from the first form that the service has accepted.
    accepted: FormChanges,
    /// Owners whose transfers from a kind of registry count for the personal account.
    on_personal_limit: HashSet<(Owner, RegistryKind)>,
}

impl ServiceTraits {
    /// Returns the request for a batch, which `first` stands for.
    pub(super) fn request(&self, first: &TransferForm, sources: &[String]) -> BuildImageRequest {
        let changes = self.accepted.and(first.changes);
        // A request with several sources cannot have a name.
        let name = (sources.len() == 1).then(|| sent_name(first, changes)).flatten();
        let (owner, visibility) = placement(first, changes);
        BuildImageRequest {
            source_image: Some(sources.join(",")),
            ..request(name, first.platform, &owner, visibility)
        }
    }

    /// Returns the transfer to request after a refusal with this text, or `None` if another form
    /// would not help: the manifest sets the refused field, or the text names none.
    pub(super) fn changed(&self, transfer: &TransferForm, text: &str) -> Option<FormChanges> {
        let before = self.accepted.and(transfer.changes);
        let after = before.and(FormChanges::suggested(transfer.registry, text));
        let form = |changes| (sent_name(transfer, changes), placement(transfer, changes));
        (form(before) != form(after)).then_some(after)
    }

    /// Takes over the form of accepted transfers, and completes the paths of mirrors of Docker Hub:
    /// some responses have only the first of many, and a build that was looked up may show none. If no
    /// response shows where the mirrors are, they are where today's service makes them: the service of
    /// August 2026 shows the path of every build.
    pub(super) fn learn(&mut self, accepted: &mut [(&TransferForm, &mut AcceptedBuild)]) {
        for (transfer, accepted) in accepted.iter() {
            self.accepted = self.accepted.and(transfer.changes);
            let image = platform_image(transfer).map(ImagePath::from);
            if image.is_some() && accepted.path.is_some() && transfer.owner != Owner::Platform {
                self.on_platform = Some(image == accepted.path);
            }
        }
        for (transfer, accepted) in accepted.iter_mut() {
            let image = platform_image(transfer).map(ImagePath::from);
            accepted.path = match (self.on_platform, accepted.path.take()) {
                (Some(true), path) => image.or(path),
                (Some(false), path) => path,
                (None, path) => path.or(image),
            };
        }
    }

    /// Returns the owner whose limit counts the first of the waiting transfers, and the maximum size
    /// of its batch, given the number of those that can go with it.
    pub(super) fn limits(&self, first: &TransferForm, alike: u32) -> (Owner, u32) {
        let max = if self.accepted.named { 1 } else { alike };
        (self.payer(first).clone(), max)
    }

    /// Returns the owner whose limit counts a transfer.
    pub(super) fn payer<'t>(&self, transfer: &'t TransferForm) -> &'t Owner {
        let owner = &transfer.owner;
        let on_personal = self.on_personal_limit.contains(&(owner.clone(), transfer.registry));
        if on_personal { &Owner::Personal } else { owner }
    }

    /// Notes that transfers like this one count for the personal account.
    pub(super) fn counts_as_personal(&mut self, transfer: &TransferForm) {
        self.on_personal_limit.insert((transfer.owner.clone(), transfer.registry));
    }
}

/// Returns a text without the image references in it, whose names may be those of fields.
fn without_references(text: &str) -> String {
    let is_reference = |word: &str| word.trim_end_matches([':', ',', '.']).contains(['/', ':']);
    let words: Vec<&str> = text.split_whitespace().filter(|word| !is_reference(word)).collect();
    words.join(" ")
}

/// Returns the image of the platform that the service makes of a source of Docker Hub.
fn platform_image(transfer: &TransferForm) -> Option<&ImageRef> {
    transfer.images.first().filter(|_| transfer.registry == RegistryKind::DockerHub)
}

/// Returns the name to send, if the service is not to derive it.
fn sent_name(transfer: &TransferForm, changes: FormChanges) -> Option<&ImageRef> {
    if transfer.custom_name {
        return Some(&transfer.unit);
    }
    // Only names of the platform have a namespace.
    let on_platform = placement(transfer, changes).0 == Owner::Platform;
    let fits = |image: &&ImageRef| on_platform || !image.name.has_namespace();
    let mut images = [&transfer.unit].into_iter().chain(&transfer.images);
    changes.named.then(|| images.find(fits).unwrap_or(&transfer.unit))
}

/// Returns the owner and visibility to ask for.
fn placement(transfer: &TransferForm, changes: FormChanges) -> (Owner, Option<Visibility>) {
    let (owner, visibility) = (transfer.owner.clone(), transfer.visibility);
    let is_hub = transfer.registry == RegistryKind::DockerHub;
    if !is_hub || (transfer.owner_is_set && owner != Owner::Platform) {
        return (owner, visibility);
    }
    match owner {
        _ if changes.public && visibility != Some(Visibility::Private) => {
            (Owner::Platform, Some(Visibility::Public))
        }
        Owner::Team(_) if changes.without_team => (Owner::Personal, visibility),
        owner => (owner, visibility),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::name::BuildId;
    use crate::base::source_ref::SourceRef;

    /// A transfer from words: source, owner (`team` or `team!` if the manifest sets it), visibility,
    /// and a name of its own.
    fn transfer(words: &str) -> TransferForm {
        let mut words = words.split(' ');
        let source: SourceRef = words.next().unwrap().parse().unwrap();
        let owner = words.next().unwrap();
        let visibility = words.next().unwrap().parse().ok();
        let (name, tag) = source.destination(owner.starts_with("platform")).unwrap();
        let custom = words.next().map(|name| name.parse().unwrap());
        TransferForm {
            unit: custom.clone().unwrap_or(ImageRef { name, tag }),
            platform: Platform::Amd64,
            owner: match owner.trim_end_matches('!') {
                "personal" => Owner::Personal,
                "platform" => Owner::Platform,
                team => Owner::Team(team.to_owned()),
            },
            owner_is_set: owner.ends_with('!'),
            visibility,
            registry: source.registry_kind(),
            images: source.destinations(),
            custom_name: custom.is_some(),
            changes: FormChanges::default(),
        }
    }

    /// The fields of a request that depend on its form.
    fn fields(traits: &ServiceTraits, transfer: &TransferForm) -> String {
        let request = traits.request(transfer, &["source".to_owned()]);
        let name = request.image_name.map(|name| format!("{name}:{}", request.image_tag.unwrap()));
        let fields = [name, request.team_id, request.visibility, request.owner_scope];
        fields.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    const NO_TEAM: &str = "Docker Hub source builds do not accept team_id";
    const PUBLIC: &str = "Docker Hub source builds must be public";
    const NO_NAME: &str = "Docker Hub source builds do not accept a custom destination";
    const NAMED: &str = "body.image_name: field required; body.image_tag: field required";

    #[test]
    fn only_a_field_or_a_demand_suggests_another_form() {
        for (text, expected) in [
            ("Docker Hub image acme/app:1 not found or private", ""),
            ("teamspeak: not found, or not allowed, on Docker Hub", ""),
            ("Docker Hub has no acme/visibility:1", ""),
            ("no public image `acme/team_id` on Docker Hub", ""),
            ("Docker Hub images cannot be private: docker.io/library/redis:7", "public"),
            ("Docker Hub mirrors do not accept a team.", "public without_team"),
            (PUBLIC, "public"),
            (NO_TEAM, "public without_team"),
        ] {
            let FormChanges { without_team, public, named } =
                FormChanges::suggested(RegistryKind::DockerHub, text);
            let fields = [(public, "public"), (without_team, "without_team"), (named, "named")];
            let set: Vec<&str> =
                fields.into_iter().filter(|field| field.0).map(|field| field.1).collect();
            assert_eq!(set.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn only_fields_that_the_manifest_does_not_set_are_changed() {
        for (words, refusal, first, second) in [
            ("redis:7 personal -", NO_TEAM, "INHERIT", Some("PUBLIC platform")),
            ("redis:7 personal -", PUBLIC, "INHERIT", Some("PUBLIC platform")),
            ("redis:7 personal -", NAMED, "INHERIT", Some("redis:7 INHERIT")),
            ("redis:7 personal -", "Invalid source image", "INHERIT", None),
            ("redis:7 personal -", "redis:7 is private", "INHERIT", None),
            ("redis:7 personal! -", PUBLIC, "INHERIT", None),
            ("redis:7 personal private", PUBLIC, "PRIVATE", None),
            ("redis:7 personal public", PUBLIC, "PUBLIC", Some("PUBLIC platform")),
            ("redis:7 personal - my:7", NO_NAME, "my:7 INHERIT", None),
            ("redis:7 t1 -", NO_TEAM, "t1 INHERIT", Some("PUBLIC platform")),
            ("redis:7 t1 -", "body.teamId: extra field", "t1 INHERIT", Some("PUBLIC platform")),
            ("redis:7 t1 private", NO_TEAM, "t1 PRIVATE", Some("PRIVATE")),
            ("redis:7 t1! -", NO_TEAM, "t1 INHERIT", None),
            ("redis:7 t1! private", PUBLIC, "t1 PRIVATE", None),
            ("redis:7 platform! public", PUBLIC, "PUBLIC platform", None),
            ("grafana/grafana:10 t1 -", NAMED, "t1 INHERIT", Some("grafana:10 t1 INHERIT")),
            ("ghcr.io/o/app:1 t1 -", NO_TEAM, "t1 INHERIT", None),
            ("ghcr.io/o/app:1 t1 -", "body.visibility: bad", "t1 INHERIT", None),
            ("ghcr.io/o/app:1 personal -", NAMED, "INHERIT", Some("app:1 INHERIT")),
            (
                "ghcr.io/o/app:1 platform! public",
                NAMED,
                "PUBLIC platform",
                Some("o/app:1 PUBLIC platform"),
            ),
        ] {
            let mut traits = ServiceTraits::default();
            let mut transfer = transfer(words);
            assert_eq!(fields(&traits, &transfer), first, "{words}");
            let changes = traits.changed(&transfer, refusal);
            assert_eq!(changes.is_some(), second.is_some(), "{words}: {refusal}");
            let Some(changes) = changes else { continue };
            transfer.changes = changes;
            assert_eq!(fields(&traits, &transfer), second.unwrap(), "{words}: {refusal}");
            assert_eq!(traits.changed(&transfer, refusal), None, "only once: {words}");
            // Other transfers are changed once it was accepted.
            transfer.changes = FormChanges::default();
            assert_eq!(fields(&traits, &transfer), first);
            transfer.changes = changes;
            traits.learn(&mut [(&transfer, &mut accepted("b-1", None))]);
            assert_eq!(fields(&traits, &self::transfer(words)), second.unwrap(), "{words}");
        }
    }

    fn accepted(build: &str, path: Option<&str>) -> AcceptedBuild {
        AcceptedBuild {
            build: BuildId::new(build).unwrap(),
            path: path.and_then(ImagePath::new),
            upload: None,
            expires_in: None,
            visibility: None,
            source: None,
        }
    }

    #[test]
    fn one_path_tells_where_all_mirrors_of_docker_hub_are() {
        for (owner, first, other, expected) in [
            ("personal", Some("redis:7"), None, Some("grafana/grafana:10")),
            ("t1", Some("redis:7"), Some("vm/x:1"), Some("grafana/grafana:10")),
            ("personal", Some("prime/me/redis:7"), None, None),
            ("platform!", Some("redis:7"), None, Some("grafana/grafana:10")),
            ("personal", None, None, Some("grafana/grafana:10")),
            ("t1", None, None, Some("grafana/grafana:10")),
            ("personal", None, Some("prime/me/grafana:10"), Some("prime/me/grafana:10")),
        ] {
            let mut traits = ServiceTraits::default();
            let redis = transfer(&format!("redis:7 {owner} -"));
            let grafana = transfer(&format!("grafana/grafana:10 {owner} -"));
            let app = transfer("ghcr.io/o/app:1 personal -");
            let [mut first, mut other, mut last] = [first, other, None].map(|p| accepted("b", p));
            traits.learn(&mut [(&grafana, &mut other), (&redis, &mut first), (&app, &mut last)]);
            assert_eq!(
                other.path.as_ref().map(ImagePath::as_str),
                expected,
                "{owner} {:?}",
                first.path
            );
            assert_eq!(last.path, None);
        }
    }

    #[test]
    fn only_a_request_for_the_platform_moves_a_mirror() {
        for (words, refusal, moves) in [
            ("redis:7 t1 -", NO_TEAM, true),
            ("redis:7 personal -", PUBLIC, true),
            // The name is the one that the service derives.
            ("ghcr.io/o/app:1 personal -", NAMED, false),
            // The manifest says private: only the ambient team is left out.
            ("redis:7 t1 private", NO_TEAM, false),
        ] {
            let transfer = transfer(words);
            let changes = ServiceTraits::default().changed(&transfer, refusal).unwrap();
            assert_eq!(changes.moves(&transfer), moves, "{words}");
        }
    }
}
