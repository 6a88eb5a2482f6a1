//! Units written by hand, and random manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::base::name::{ImageRef, Owner, Platform, TagTemplate, Visibility};
use crate::base::span::Span;
use crate::dockerfile::Dockerfile;
use crate::manifest::Workspace;
use crate::manifest::workspace::{
    BuildOrigin, ExternalBase, InputScope, Moved, Origin, Removed, ServiceSettings, Unit, UnitId,
    UnitPattern,
};

/// Returns a unit built from a Dockerfile with this comment.
pub(super) fn built(name: &str, words: &str, needs: &[usize]) -> Unit {
    let dockerfile = Dockerfile::parse(&format!("# {words}\nFROM scratch\n")).unwrap();
    let origin = Origin::Build(BuildOrigin {
        context: Path::new(".").into(),
        dockerfile_path: Path::new("Dockerfile").into(),
        dockerfile_inside: Some("Dockerfile".to_owned()),
        inputs: InputScope::Reached,
        args: BTreeMap::new(),
        target: None,
        dockerfile_start: 0,
        dockerfile: Arc::new(dockerfile),
        bases: Vec::new(),
        externals: Vec::new(),
    });
    unit(name, origin, needs)
}

/// Returns the build origin of a unit.
pub(super) fn build_of(unit: &mut Unit) -> &mut BuildOrigin {
    match &mut unit.origin {
        Origin::Build(build) => build,
        Origin::Mirror(_) => panic!("{} is mirrored", unit.key),
    }
}

/// Adds an external base to a unit.
pub(super) fn on(image: &str, mut unit: Unit) -> Unit {
    let (image, platform) = (image.to_owned(), Some(unit.platform));
    let base = ExternalBase { range: 0..0, image, platform, span: Span::new(0, 0) };
    build_of(&mut unit).externals.push(base);
    unit
}

/// Returns a mirrored unit.
pub(super) fn mirrored(name: &str, source: &str) -> Unit {
    unit(name, Origin::Mirror(source.parse().unwrap()), &[])
}

/// Gives a unit a tag with its fingerprint.
pub(super) fn open(template: &str, unit: Unit) -> Unit {
    let template: TagTemplate = template.parse().unwrap();
    let mut key = unit.key.clone();
    key.tag = template.placeholder_tag();
    Unit { key, content_tag: Some(template), ..unit }
}

fn unit(name: &str, origin: Origin, needs: &[usize]) -> Unit {
    let key = if name.contains(':') { name.to_owned() } else { format!("{name}:v1") };
    let key: ImageRef = key.parse().unwrap();
    Unit {
        image: key.name.clone(),
        key,
        content_tag: None,
        image_tag: None,
        old_names: Vec::new(),
        platform: Platform::Amd64,
        owner: None,
        visibility: None,
        timeout: None,
        max_age: None,
        protect: None,
        groups: BTreeSet::new(),
        labels: BTreeMap::new(),
        origin,
        needs: needs.iter().map(|&need| UnitId(need)).collect(),
        depth: 0,
        span: Span::new(0, 0),
    }
}

/// Returns a workspace of these units, which must have bases first.
pub(super) fn world(units: Vec<Unit>) -> Workspace {
    Workspace {
        images: units.len(),
        units,
        settings: ServiceSettings::default(),
        moved: Vec::new(),
        removed: Vec::new(),
        warnings: Vec::new(),
        held: BTreeSet::new(),
        skipped: Vec::new(),
        files: Vec::new(),
        sources: Arc::default(),
    }
}

fn pattern(text: &str) -> UnitPattern {
    text.parse().unwrap()
}

/// Adds `moved:` entries to a workspace.
pub(super) fn moving(pairs: &[(&str, &str)], world: Workspace) -> Workspace {
    let moved = |(from, to): &(&str, &str)| Moved {
        from: pattern(from),
        to: pattern(to),
        span: Span::new(0, 0),
    };
    Workspace { moved: pairs.iter().map(moved).collect(), ..world }
}

/// Adds `removed:` entries to a workspace; true to delete the image.
pub(super) fn removing(names: &[(&str, bool)], world: Workspace) -> Workspace {
    let removed = |(from, destroy): &(&str, bool)| Removed {
        from: pattern(from),
        destroy: *destroy,
        span: Span::new(0, 0),
    };
    Workspace { removed: names.iter().map(removed).collect(), ..world }
}

/// Maximum age of units with one in random manifests.
pub(super) const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// Tag of a random image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RandomTag {
    V1,
    V2,
    Content,
}

/// Settings of a random image; its name is its number.
#[derive(Debug, Clone)]
pub(super) struct RandomImage {
    pub(super) name: u8,
    pub(super) words: u8,
    /// Numbers of the bases; only lower ones count.
    pub(super) needs: Vec<u8>,
    pub(super) visibility: Option<Visibility>,
    pub(super) team: Option<bool>,
    pub(super) mirror: bool,
    pub(super) platforms: &'static [Platform],
    pub(super) tag: RandomTag,
    pub(super) aging: bool,
    pub(super) protect: Option<bool>,
    pub(super) external: bool,
    pub(super) arg: Option<u8>,
}

/// A random manifest.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) likes: Vec<RandomImage>,
    /// Old and new number; true if only the tag `v1` moves.
    moved: Vec<(u8, u8, bool)>,
    removed: Vec<(u8, bool)>,
}

const NAMES: u8 = 8;

fn like() -> impl Strategy<Value = RandomImage> {
    let visibility = prop_oneof![
        2 => Just(None),
        1 => Just(Some(Visibility::Public)),
        1 => Just(Some(Visibility::Private)),
    ];
    let platforms = prop_oneof![
        4 => Just(&[Platform::Amd64][..]),
        1 => Just(&[Platform::Arm64][..]),
        1 => Just(&Platform::ALL[..]),
    ];
    let tag = prop_oneof![
        4 => Just(RandomTag::V1),
        1 => Just(RandomTag::V2),
        2 => Just(RandomTag::Content),
    ];
    let protect = prop_oneof![6 => Just(None), 1 => Just(Some(true)), 1 => Just(Some(false))];
    let team = prop_oneof![4 => Just(None), 1 => Just(Some(true)), 1 => Just(Some(false))];
    let needs = prop::collection::vec(0..NAMES, 0..3);
    let first = (0..NAMES, 0u8..3, needs, visibility, team, prop::bool::weighted(0.3));
    let flags = (prop::bool::weighted(0.2), protect, prop::bool::weighted(0.2));
    let arg = prop::option::weighted(0.1, 0u8..2);
    (first, platforms, tag, flags, arg).prop_map(|(first, platforms, tag, flags, arg)| {
        let (name, words, needs, visibility, team, mirror) = first;
        let (aging, protect, external) = flags;
        RandomImage {
            name,
            words,
            needs,
            visibility,
            team,
            mirror,
            platforms,
            tag,
            aging,
            protect,
            external,
            arg,
        }
    })
}

pub(super) fn manifest() -> impl Strategy<Value = Manifest> {
    let likes = prop::collection::vec(like(), 0..9);
    let moved = prop::collection::vec((0..NAMES, 0..NAMES, any::<bool>()), 0..4);
    let removed = prop::collection::vec((0..NAMES, any::<bool>()), 0..3);
    (likes, moved, removed).prop_map(|(likes, moved, removed)| {
        let mut names = BTreeSet::new();
        let likes = likes.into_iter().filter(|like| names.insert(like.name)).collect();
        Manifest { likes, moved, removed }
    })
}

/// Returns two manifests that share some images.
pub(super) fn two_manifests() -> impl Strategy<Value = (Manifest, Manifest)> {
    let one = (manifest(), manifest(), prop::collection::vec(any::<bool>(), NAMES as usize));
    one.prop_map(|(before, other, fresh)| {
        let mut after = other.clone();
        let is_fresh = |like: &RandomImage| fresh.get(usize::from(like.name)) == Some(&true);
        after.likes.retain(is_fresh);
        after.likes.extend(before.likes.iter().filter(|like| !is_fresh(like)).cloned());
        (before, after)
    })
}

impl Manifest {
    /// Returns the units in the order of the manifest loader.
    pub(super) fn workspace(&self) -> Workspace {
        let mut units: Vec<Unit> = self.likes.iter().flat_map(units).collect();
        let names: Vec<(ImageRef, Platform)> =
            units.iter().map(|unit| (unit.key.clone(), unit.platform)).collect();
        let depth = |index: usize| self.depth(&names[index].0);
        let mut order: Vec<usize> = (0..units.len()).collect();
        order.sort_by_key(|&index| (depth(index), names[index].0.clone()));
        let place = |name: &str, platform| {
            let same = |&index: &usize| names[index].0.name.as_str() == name;
            let of = |&index: &usize| same(&index) && names[index].1 == platform;
            let place = order.iter().position(of);
            place.or_else(|| order.iter().position(same)).map(UnitId)
        };
        for (unit, like) in units.iter_mut().zip(self.of_units()) {
            let needs = like.needs.iter().filter(|need| **need < like.name && !like.mirror);
            let needs = needs.filter_map(|need| place(&format!("u{need}"), unit.platform));
            unit.needs = needs.collect::<BTreeSet<_>>().into_iter().collect();
        }
        let mut slots: Vec<Option<Unit>> = units.into_iter().map(Some).collect();
        let mut workspace = world(order.into_iter().filter_map(|at| slots[at].take()).collect());
        let has = |name: u8| self.likes.iter().any(|like| like.name == name);
        let (mut from, mut to) = (BTreeSet::new(), BTreeSet::new());
        for (old, new, tagged) in &self.moved {
            if !has(*old) && has(*new) && from.insert((old, tagged)) && to.insert((new, tagged)) {
                let tag = if *tagged { ":v1" } else { "" };
                let new = format!("u{new}{tag}");
                let is = |unit: &Unit| pattern(&new).matches(&unit.key);
                if workspace.units.iter().any(is) {
                    let (from, to) = (pattern(&format!("u{old}{tag}")), pattern(&new));
                    workspace.moved.push(Moved { from, to, span: Span::new(0, 0) });
                }
            }
        }
        workspace.moved.sort_by_key(|moved| (moved.from.tag.is_none(), moved.from.clone()));
        let mut removed = BTreeSet::new();
        for (name, destroy) in &self.removed {
            if !has(*name) && from.iter().all(|(from, _)| *from != name) && removed.insert(name) {
                let from = pattern(&format!("u{name}"));
                workspace.removed.push(Removed { from, destroy: *destroy, span: Span::new(0, 0) });
            }
        }
        workspace
    }

    fn of_units(&self) -> impl Iterator<Item = &RandomImage> {
        self.likes.iter().flat_map(|like| like.platforms.iter().map(move |_| like))
    }

    fn depth(&self, key: &ImageRef) -> usize {
        let name = |like: &RandomImage| format!("u{}", like.name);
        let Some(like) = self.likes.iter().find(|like| name(like) == key.name.as_str()) else {
            return 0;
        };
        let needs = like.needs.iter().filter(|need| **need < like.name && !like.mirror);
        let needs = needs.filter(|need| self.likes.iter().any(|other| other.name == **need));
        let below = needs.map(|need| self.depth(&format!("u{need}:v1").parse().unwrap()) + 1);
        below.max().unwrap_or(0)
    }
}

/// Returns the units of one image, without their bases.
fn units(like: &RandomImage) -> Vec<Unit> {
    let tag = match like.tag {
        RandomTag::V1 => "v1",
        RandomTag::V2 => "v2",
        RandomTag::Content => "c-{fingerprint}",
    };
    let of = |platform: &Platform| {
        let template: TagTemplate = tag.parse().unwrap();
        let template = template.for_one_of(*platform, like.platforms.len()).unwrap();
        let name = format!("u{}:{}", like.name, template.placeholder_tag());
        let mut unit = if like.mirror {
            mirrored(&name, &format!("redis:{}", like.words))
        } else {
            // Values are written into the Dockerfile.
            let words = format!("{} {:?}", like.words, like.arg);
            let mut unit = built(&name, &words, &[]);
            if like.external {
                unit = on("debian:12", unit);
            }
            let arg = like.arg.map(|arg| ("A".to_owned(), arg.to_string()));
            build_of(&mut unit).args.extend(arg);
            unit
        };
        unit.content_tag = template.has_fingerprint().then_some(template);
        unit.platform = *platform;
        unit.visibility = like.visibility;
        unit.owner =
            like.team.map(|team| if team { Owner::Team("t".into()) } else { Owner::Personal });
        unit.max_age = like.aging.then_some(WEEK);
        unit.protect = like.protect;
        unit
    };
    like.platforms.iter().map(of).collect()
}
