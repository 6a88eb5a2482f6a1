//! Listing, deleting, renaming and moving images, with the local server inside the process and a
//! paused clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use imgplan::test_support::api::wire::BuildImageRequest;
use imgplan::test_support::api::{
    Attempts, Client, Endpoint, RateLimiter, RemoteImageState, Repeat, Transport, TransportError,
    list_images,
};
use imgplan::test_support::base::image_path::ImagePath;
use imgplan::test_support::base::kind::ImageKind;
use imgplan::test_support::base::limit::{Class, Limit};
use imgplan::test_support::base::name::{ImageRef, Owner, Visibility};
use imgplan::test_support::base::owner::DefaultOwner;
use imgplan::test_support::base::secret::ApiKey;
use imgplan::test_support::context::{History, StatCache};
use imgplan::test_support::event::{Phase, RunEvent, Summary};
use imgplan::test_support::manifest::workspace::UnitId;
use imgplan::test_support::manifest::{Invocation, Workspace};
use imgplan::test_support::plan::{self, Action, Change, Plan, Step};
use imgplan::test_support::run::{self, Run, RunOptions};
use imgplan::test_support::server::{self, Server, ServerConfig};
use imgplan::test_support::state::{Built, Record, StatePaths, Store};
use imgplan::test_support::survey::{self, Caches, Query, Refresh, ServiceQuery};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A limit that no test reaches.
const UNLIMITED: Limit = Limit { count: 10_000, window: Duration::from_secs(60) };

/// A project and a service.
struct Project {
    dir: TempDir,
    server: Arc<Server>,
    client: Client,
    /// Timeout of a run.
    timeout: Option<Duration>,
    events: Vec<RunEvent>,
}

/// Sends requests to a server inside the process.
struct InProcess(Arc<Server>);

impl Transport for InProcess {
    fn send(
        &self,
        request: reqwest::Request,
    ) -> BoxFuture<'_, Result<reqwest::Response, TransportError>> {
        async move {
            let request: axum::http::Request<reqwest::Body> = request.try_into().unwrap();
            let response = self.0.call(request.map(axum::body::Body::new)).await;
            let cut = |cut: server::ConnectionCut| TransportError {
                sent: true,
                message: cut.to_string(),
            };
            let (head, body) = response.map_err(cut)?.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            Ok(axum::http::Response::from_parts(head, body).into())
        }
        .boxed()
    }
}

impl Project {
    /// Creates a project whose client and server have these rate limits.
    async fn with(limits: &[&str], config: ServerConfig) -> Self {
        let mut all: BTreeMap<Class, Limit> =
            Class::ALL.into_iter().map(|class| (class, UNLIMITED)).collect();
        for text in limits {
            let (class, limit) = text.split_once('=').unwrap();
            all.insert(class.parse().unwrap(), limit.parse().unwrap());
        }
        let texts = all.iter().map(|(class, limit)| format!("{class}={limit}").parse().unwrap());
        let config = ServerConfig { listen: None, limits: texts.collect(), ..config };
        let server = Arc::new(server::start(config).await.unwrap());
        let key = ApiKey::new("key");
        let endpoint =
            Endpoint { url: server.url(), key, key_from: None, owner: DefaultOwner::default() };
        let limits: Vec<(Class, Limit)> = all.into_iter().collect();
        let transport = Arc::new(InProcess(Arc::clone(&server)));
        let client =
            Client::with_transport(&endpoint, RateLimiter::new(&limits), transport).unwrap();
        let dir = tempfile::tempdir().unwrap();
        Self { dir, server, client, timeout: None, events: Vec::new() }
    }

    async fn new() -> Self {
        Self::with(&[], ServerConfig::default()).await
    }

    /// Transfers images with these names and the tag `latest` to an owner.
    async fn transfer(&self, owner: &Owner, names: &[String]) {
        let sources: Vec<String> = names.iter().map(|name| format!("quay.io/o/{name}")).collect();
        for sources in sources.chunks(200) {
            let request = BuildImageRequest {
                source_image: Some(sources.join(",")),
                team_id: match owner {
                    Owner::Team(id) => Some(id.clone()),
                    _ => None,
                },
                ..BuildImageRequest::default()
            };
            let (mut attempts, stop) =
                (Attempts::new(Repeat::LookUpFirst), CancellationToken::new());
            self.client.initiate(&request, &mut attempts, None, &stop).await.unwrap();
        }
        self.server.idle().await;
    }

    /// Returns the sorted images of an owner.
    async fn images_of(&self, owner: &Owner) -> Vec<String> {
        let images = list_images(&self.client, owner, None).await.unwrap().images;
        let mut names: Vec<String> =
            images.iter().map(|image| image.key().unwrap().to_string()).collect();
        names.sort();
        names
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn store(&self) -> Store {
        Store::open(StatePaths::beside(self.dir.path()), "service").unwrap()
    }

    /// Plans and applies a manifest.
    async fn apply(&mut self, manifest: &str) -> Summary {
        self.write("imgplan.yaml", manifest);
        self.carry_out(None).await
    }

    /// Applies a plan with these steps.
    async fn run(&mut self, steps: Vec<(&str, Action)>) -> Summary {
        let step = |(key, action): (&str, Action)| Step {
            key: key.parse().unwrap(),
            kind: ImageKind::Mirror,
            action,
            reasons: Vec::new(),
            needs: Vec::new(),
            added: false,
        };
        let steps: Vec<Step> = steps.into_iter().map(step).collect();
        let units = steps.len();
        self.carry_out(Some(Plan { steps, units, ..Plan::default() })).await
    }

    async fn carry_out(&mut self, plan: Option<Plan>) -> Summary {
        let manifest = self.dir.path().join("imgplan.yaml");
        let workspace = Workspace::load(&Invocation::file(manifest), &|_| None).unwrap();
        let mut store = self.store();
        let work = StatePaths::beside(self.dir.path()).work;
        let caches = Caches { stat: StatCache::read(&work), history: History::at(&work) };
        let client = self.client.clone();
        let default_owner = &Owner::Personal;
        let service = ServiceQuery { client: &client, default_owner, refresh: Refresh::None };
        let query =
            Query { service: Some(service), ..Query::offline(&workspace, store.state(), caches) };
        let facts = survey::facts(query).await.unwrap();
        let plan = plan.unwrap_or_else(|| {
            plan::build(&workspace, &facts, store.state(), &plan::PlanOptions::default())
        });
        let options = RunOptions {
            builds: 64,
            transfers: 1000,
            owner: Owner::Personal,
            timeout: self.timeout,
        };
        let workspace = &workspace;
        let run = Run { plan: &plan, workspace, facts: &facts, client, options };
        let (_keep, mut signals) = tokio::sync::mpsc::unbounded_channel();
        let mut tell = |event: &RunEvent| self.events.push(event.clone());
        let summary = run::execute(run, (&mut store, None), &mut tell, &mut signals).await.unwrap();
        store.commit().unwrap();
        summary
    }

    /// Returns the recorded path, owner and visibility of an image.
    fn recorded(&self, key: &str) -> Option<(String, Owner, Visibility)> {
        let store = self.store();
        let built = store.state().entries.get(&key.parse::<ImageRef>().unwrap())?.built.clone()?;
        Some((built.path.to_string(), built.owner, built.visibility))
    }
}

/// Returns a manifest of mirrors with the tag `1`.
fn mirrors(names: &[String]) -> String {
    let line = |name: &String| format!("  - {{source: \"quay.io/o/{name}:1\"}}\n");
    let lines: Vec<String> = names.iter().map(line).collect();
    format!("version: 1\nimages:\n{}", lines.concat())
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("i{n:03}")).collect()
}

fn change() -> Change {
    Change { of: Owner::Personal, from: None, visibility: None, owner: None }
}

fn update(change: Change) -> Action {
    Action::Update { unit: UnitId(0), change }
}

fn rename(from: &str) -> Action {
    update(Change { from: Some(from.parse().unwrap()), ..change() })
}

fn remove() -> Action {
    Action::Delete { owner: Owner::Personal, after: None, changed: None }
}

fn team() -> Owner {
    Owner::Team("t1".to_owned())
}

#[tokio::test(start_paused = true)]
async fn all_images_of_two_owners_are_listed_by_pages() {
    let project = Project::new().await;
    project.transfer(&Owner::Personal, &names(600)).await;
    project.transfer(&team(), &names(3)).await;
    let lists = || project.server.counts_of(Class::List).accepted;
    let before = lists();
    let images = list_images(&project.client, &Owner::Personal, None).await.unwrap().images;
    assert_eq!((images.len(), lists() - before), (600, 3));
    assert!(images.iter().all(|image| image.state == RemoteImageState::Available));
    let image = images.iter().find(|image| image.name == "i042").unwrap();
    assert_eq!(image.path.as_ref().map(ImagePath::as_str), Some("prime/local/i042:latest"));
    assert_eq!(image.visibility, Some(Visibility::Private));
    assert!(image.changed.is_some() && image.id.is_some());
    let of_team = list_images(&project.client, &team(), Some("I00")).await.unwrap().images;
    assert_eq!(of_team[0].path.as_ref().map(ImagePath::as_str), Some("prime/team-t1/i002:latest"));
    assert_eq!(of_team.len(), 3);
    let one = list_images(&project.client, &Owner::Personal, Some("i599")).await.unwrap().images;
    assert_eq!(one.len(), 1);
    assert_eq!(list_images(&project.client, &Owner::Platform, None).await.unwrap().images, []);
}

#[tokio::test(start_paused = true)]
async fn deleting_affects_one_owner_and_may_be_repeated() {
    let project = Project::new().await;
    project.transfer(&Owner::Personal, &names(2)).await;
    project.transfer(&team(), &names(2)).await;
    let (stop, image) = (CancellationToken::new(), "i000:latest".parse().unwrap());
    for _ in 0..2 {
        project.client.delete(&team(), &image, &stop).await.unwrap();
    }
    assert_eq!(project.images_of(&team()).await, ["i001:latest"]);
    assert_eq!(project.images_of(&Owner::Personal).await, ["i000:latest", "i001:latest"]);
}

#[tokio::test(start_paused = true)]
async fn many_updates_of_one_run_share_requests() {
    let mut project = Project::new().await;
    project.apply(&mirrors(&names(250))).await;
    let (deleted, stop) = ("i123:1", CancellationToken::new());
    project.client.delete(&Owner::Personal, &deleted.parse().unwrap(), &stop).await.unwrap();
    let keys: Vec<String> = names(250).iter().map(|name| format!("{name}:1")).collect();
    let public = Change { visibility: Some(Visibility::Public), ..change() };
    let steps = keys.iter().map(|key| (key.as_str(), update(public.clone()))).collect();
    let summary = project.run(steps).await;
    assert_eq!((summary.updated, summary.failures.len(), summary.skipped.len()), (249, 1, 0));
    let failure = &summary.failures[0];
    assert_eq!((failure.unit.to_string().as_str(), failure.phase), (deleted, Phase::Update));
    assert_eq!(failure.message, "cannot update the image: Image i123:1 not found");
    assert!(failure.help.as_ref().unwrap().contains("deleted, renamed or moved"));
    assert_eq!(project.server.counts_of(Class::Update).accepted, 3);
    for (key, entry) in &project.store().state().entries {
        let expected =
            if key.to_string() == deleted { Visibility::Private } else { Visibility::Public };
        assert_eq!(entry.built.as_ref().unwrap().visibility, expected, "{key}");
    }
    let images = list_images(&project.client, &Owner::Personal, None).await.unwrap().images;
    assert!(images.iter().all(|image| image.visibility == Some(Visibility::Public)));
}

#[tokio::test(start_paused = true)]
async fn renamed_and_moved_images_are_recorded_under_their_new_name() {
    let mut project = Project::new().await;
    project.apply(&mirrors(&names(4))).await;
    let to_team = || Change { owner: Some(team()), ..change() };
    let both = Change { from: Some("i002:1".parse().unwrap()), ..to_team() };
    let steps = vec![
        ("app:v2", rename("i000:1")),
        ("i001:1", update(to_team())),
        ("i002:2", update(both)),
        // The name is free: its image moves to the team.
        ("i001:1", rename("i003:1")),
    ];
    let summary = project.run(steps).await;
    assert_eq!((summary.updated, summary.failures.len()), (4, 0), "{:?}", summary.failures);
    // Their paths are looked up when they are needed.
    let recorded = |owner| Some((String::new(), owner, Visibility::Private));
    assert_eq!(project.recorded("app:v2"), recorded(Owner::Personal));
    assert_eq!(project.recorded("i002:2"), recorded(team()));
    for old in ["i000:1", "i002:1", "i003:1"] {
        assert_eq!(project.recorded(old), None, "{old}");
    }
    assert_eq!(project.images_of(&team()).await, ["i001:1", "i002:2"]);
    assert_eq!(project.images_of(&Owner::Personal).await, ["app:v2", "i001:1"]);
}

#[tokio::test(start_paused = true)]
async fn many_renames_list_no_images() {
    let mut project = Project::new().await;
    project.apply(&mirrors(&names(250))).await;
    let lists = project.server.counts_of(Class::List).accepted;
    let pairs: Vec<(String, String)> =
        names(250).iter().map(|name| (format!("new-{name}:1"), format!("{name}:1"))).collect();
    let steps = pairs.iter().map(|(to, from)| (to.as_str(), rename(from))).collect();
    let summary = project.run(steps).await;
    assert_eq!((summary.updated, summary.failures.len()), (250, 0), "{:?}", summary.failures);
    assert_eq!(project.server.counts_of(Class::Update).accepted, 3);
    assert_eq!(project.server.counts_of(Class::List).accepted, lists);
}

#[tokio::test(start_paused = true)]
async fn many_moved_bases_are_listed_once() {
    use std::fmt::Write;
    let mut project = Project::new().await;
    let (mut bases, mut tops) = ("version: 1\nimages:\n".to_owned(), String::new());
    let all: Vec<String> = (0..30).map(|n| format!("b{n:02}")).collect();
    for base in &all {
        project.write(&format!("{base}/Dockerfile"), &format!("FROM scratch\nLABEL v={base}\n"));
        project.write(&format!("top-{base}/Dockerfile"), &format!("FROM {base}\n"));
        writeln!(bases, "  - {{name: {base}, tag: v1, context: {base}}}").unwrap();
        writeln!(tops, "  - {{name: top-{base}, tag: v1, context: top-{base}}}").unwrap();
    }
    project.apply(&bases).await;
    let lost = |base: &String| Record::Updated {
        unit: format!("{base}:v1").parse().unwrap(),
        to: Some(format!("{base}:v1").parse().unwrap()),
        visibility: None,
        owner: None,
        path: None,
    };
    project.store().record(&all.iter().map(lost).collect::<Vec<_>>()).unwrap();
    let before = project.server.counts_of(Class::List).accepted;
    let summary = project.apply(&format!("{bases}{tops}")).await;
    assert_eq!((summary.built, summary.failures.len()), (30, 0), "{:?}", summary.failures);
    // Twenty are searched by name, then all are listed once; the builds are listed as well.
    let lists = project.server.counts_of(Class::List).accepted - before;
    assert!((21..25).contains(&lists), "{lists}");
    for base in &all {
        let path = format!("prime/local/{base}:v1");
        assert_eq!(project.recorded(&format!("{base}:v1")).unwrap().0, path);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_overwritten() {
    let mut project = Project::new().await;
    project.apply(&mirrors(&names(2))).await;
    let summary = project.run(vec![("i001:1", rename("i000:1"))]).await;
    let failure = &summary.failures[0];
    assert_eq!(failure.message, "cannot update the image: Image i001:1 already exists");
    assert!(failure.help.as_ref().unwrap().contains("delete or rename the image"));
    assert_eq!(summary.stopped, None);
    assert_eq!(project.images_of(&Owner::Personal).await, ["i000:1", "i001:1"]);
    assert!(project.recorded("i000:1").is_some(), "recorded under its old name");
}

#[tokio::test(start_paused = true)]
async fn the_path_of_a_moved_base_is_looked_up() {
    let mut project = Project::new().await;
    project.write("base/Dockerfile", "FROM scratch\n");
    project.write("app/Dockerfile", "FROM base\n");
    project.write("web/Dockerfile", "FROM base\n");
    let image = |name: &str| format!("  - {{name: {name}, tag: v1, context: {name}}}\n");
    let manifest = format!("version: 1\nimages:\n{}", image("base"));
    project.apply(&manifest).await;
    let lost = |to: &str| Record::Updated {
        unit: "base:v1".parse().unwrap(),
        to: Some(to.parse().unwrap()),
        visibility: None,
        owner: None,
        path: None,
    };
    project.store().record(&[lost("base:v1")]).unwrap();
    assert_eq!(project.recorded("base:v1").unwrap().0, "");
    let before = project.server.counts_of(Class::List).accepted;
    let all = format!("{manifest}{}{}", image("app"), image("web"));
    let summary = project.apply(&all).await;
    assert_eq!((summary.built, summary.failures.len()), (2, 0), "{:?}", summary.failures);
    assert_eq!(
        project.recorded("base:v1").unwrap().0,
        "prime/local/base:v1",
        "the path is recorded"
    );
    assert_eq!(project.server.counts_of(Class::List).accepted - before, 1);

    // The base does not exist.
    project.store().record(&[lost("base:v1")]).unwrap();
    let stop = CancellationToken::new();
    let base = "base:v1".parse().unwrap();
    project.client.delete(&Owner::Personal, &base, &stop).await.unwrap();
    project.write("app/Dockerfile", "FROM base\nCOPY Dockerfile /\n");
    let summary = project.apply(&all).await;
    let message = "the service does not show the path of its base base:v1";
    assert_eq!(summary.failures[0].message, message);
    assert!(summary.failures[0].help.as_ref().unwrap().contains("renamed or moved"));
}

#[tokio::test(start_paused = true)]
async fn a_base_with_another_name_in_the_service_is_looked_up_by_that_name() {
    let mut project = Project::new().await;
    project.write("base/Dockerfile", "FROM scratch\n");
    project.write("app/Dockerfile", "FROM base\n");
    project.apply("version: 1\nimages:\n  - {name: real, tag: v1, context: base}\n").await;
    let real: ImageRef = "real:v1".parse().unwrap();
    let entry = project.store().state().entries[&real].clone();
    let built = entry.built.unwrap();
    let built = Built { image: Some(real.clone()), path: ImagePath::default(), ..built };
    let moved = Record::Known {
        unit: "base:v1".parse().unwrap(),
        kind: entry.kind,
        platform: entry.platform,
        built: Some(built),
    };
    project.store().record(&[moved, Record::Forgotten { unit: real }]).unwrap();
    let image = |name: &str| format!("  - {{name: {name}, tag: v1, context: {name}}}\n");
    let manifest = format!("version: 1\nimages:\n{}{}", image("base"), image("app"));
    let summary = project.apply(&manifest).await;
    assert_eq!((summary.built, summary.failures.len()), (1, 0), "{:?}", summary.failures);
    assert_eq!(project.recorded("base:v1").unwrap().0, "prime/local/real:v1");
}

#[tokio::test(start_paused = true)]
async fn lost_responses_lead_to_the_right_result() {
    let faults = ["cut-after", "cut-before", "html-after", "late=2s", "500", "429", "html"];
    for (seed, kind) in (0..42).flat_map(|seed| faults.map(|kind| (seed, kind))).step_by(7 + 1) {
        let each = |class: &str| format!("{class}:{kind}:0.4").parse().unwrap();
        let faults = vec![each("update"), each("delete")];
        let mut project =
            Project::with(&[], ServerConfig { faults, seed, ..ServerConfig::default() }).await;
        project.apply(&mirrors(&names(6))).await;
        let public = Change { visibility: Some(Visibility::Public), ..change() };
        let steps = vec![
            ("app:1", rename("i000:1")),
            ("i001:2", rename("i001:1")),
            ("i002:1", update(Change { owner: Some(team()), ..change() })),
            ("i003:1", update(public)),
            ("i004:1", remove()),
        ];
        let summary = project.run(steps).await;
        let context = format!("{kind} {seed}: {:?}", summary.failures);
        assert!(summary.is_complete() && summary.deleted == 1 && summary.updated == 4, "{context}");
        project.server.idle().await;
        let personal = project.images_of(&Owner::Personal).await;
        assert_eq!(personal, ["app:1", "i001:2", "i003:1", "i005:1"], "{context}");
        assert_eq!(project.images_of(&team()).await, ["i002:1"], "{context}");
        assert_eq!(project.recorded("app:1").unwrap().1, Owner::Personal, "{context}");
        assert_eq!(project.recorded("i002:1").unwrap().1, team(), "{context}");
        assert_eq!(
            (project.recorded("i000:1"), project.recorded("i004:1")),
            (None, None),
            "{context}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn deletions_wait_only_for_a_pending_build_of_the_image() {
    let config = ServerConfig { build_time: Duration::from_secs(60), ..ServerConfig::default() };
    let mut project = Project::with(&[], config).await;
    project.timeout = Some(Duration::from_secs(5));
    project.apply(&mirrors(&names(2))).await;
    project.timeout = None;
    let build = |key: &str| {
        let entry = project.store().state().entries[&key.parse::<ImageRef>().unwrap()].clone();
        Some(entry.pending.unwrap().build)
    };
    let after = build("i000:1");
    let start = Instant::now();
    let steps = vec![
        ("i000:1", Action::Delete { owner: Owner::Personal, after, changed: None }),
        // An unknown image is only forgotten.
        ("other:1", remove()),
    ];
    let summary = project.run(steps).await;
    let counts = (summary.deleted, summary.forgotten, summary.failures.len());
    assert_eq!(counts, (1, 1, 0), "{:?}", summary.failures);
    assert!((50..90).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(project.images_of(&Owner::Personal).await, ["i001:1"]);
    assert!(!project.store().state().entries.contains_key(&"i000:1".parse::<ImageRef>().unwrap()));
    let reported = project
        .events
        .iter()
        .any(|event| matches!(event, RunEvent::Progress(active) if active.phase == Phase::Delete));
    assert!(reported, "{:?}", project.events);
}

#[tokio::test(start_paused = true)]
async fn an_image_renamed_during_its_build_is_renamed_afterwards() {
    let config = ServerConfig { build_time: Duration::from_secs(60), ..ServerConfig::default() };
    let mut project = Project::with(&[], config).await;
    project.timeout = Some(Duration::from_secs(5));
    project.apply(&mirrors(&names(1))).await;
    project.timeout = None;
    let build = project.server.builds().remove(0).id;
    let build = imgplan::test_support::base::name::BuildId::new(build).unwrap();
    let then = Some(Change { from: Some("i000:1".parse().unwrap()), ..change() });
    let adopt = Action::Adopt { unit: UnitId(0), build, start: false, then };
    let summary = project.run(vec![("app:v2", adopt)]).await;
    assert!(summary.is_complete(), "{:?}", summary.failures);
    assert_eq!(project.recorded("app:v2").unwrap().0, "", "the path of the build is outdated");
    assert_eq!(project.store().state().entries.len(), 1);
    assert_eq!(project.images_of(&Owner::Personal).await, ["app:v2"]);
}

#[tokio::test(start_paused = true)]
async fn the_limits_of_updates_and_deletions_hold() {
    let limits = ["update=2/60s", "delete=2/60s"];
    let mut project = Project::with(&limits, ServerConfig::default()).await;
    project.apply(&mirrors(&names(505))).await;
    let keys: Vec<String> = names(505).iter().map(|name| format!("{name}:1")).collect();
    let public = Change { visibility: Some(Visibility::Public), ..change() };
    let action = |at: usize| if at < 5 { remove() } else { update(public.clone()) };
    let steps = keys.iter().enumerate().map(|(at, key)| (key.as_str(), action(at))).collect();
    let start = Instant::now();
    let summary = project.run(steps).await;
    assert_eq!((summary.deleted, summary.updated, summary.failures.len()), (5, 500, 0));
    for class in [Class::Update, Class::Delete] {
        let counts = project.server.counts_of(class);
        assert_eq!((counts.accepted, counts.refused, counts.peak), (5, 0, 2), "{class}");
    }
    assert!((120..125).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}
