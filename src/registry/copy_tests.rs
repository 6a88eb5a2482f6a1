//! Tests of copies and removals with fake registries in the process: tokens, upload URLs, refusals.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{ImageCopier, Registries, RegistryConfig, RegistryError, TagRemoval};
use crate::base::reference::{OciDigest, RegistryRef};
use crate::http::fake::{FakeRequest, FakeServer, Reply};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &[u8] = b"{\"os\":\"linux\"}";

/// Returns the manifest of an image whose only blob is [`CONFIG`].
fn image() -> Value {
    let config = json!({"digest": OciDigest::of(CONFIG), "size": CONFIG.len()});
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []})
}

/// Answers as `source.example`, which has the image, and as `own.example`, which has nothing and accepts
/// everything. Uploads go to `upload`.
fn registries(request: &FakeRequest, upload: &str) -> Reply {
    let (method, url) = request.line.split_once(' ').unwrap();
    let is_source = url.starts_with("https://source.example/");
    match method {
        "GET" if is_source && url.contains("/manifests/") => {
            Reply::json(200, &image()).header("content-type", MANIFEST)
        }
        "GET" if is_source => Reply::new(200, CONFIG),
        "POST" => Reply::new(202, "").header("location", upload),
        "PUT" => Reply::new(201, ""),
        "DELETE" => Reply::new(202, ""),
        _ => Reply::new(404, ""),
    }
}

/// Copies `source.example/app:1` to `own.example/app:1`.
async fn copy(server: &Arc<FakeServer>) -> Result<(), RegistryError> {
    let client = || {
        let transport = Some(Arc::clone(server) as _);
        Registries::new(RegistryConfig { transport, ..RegistryConfig::default() }).unwrap()
    };
    let [from, to] = ["source.example/app:1", "own.example/app:1"].map(reference);
    let copier = ImageCopier::new(client());
    let copied = copier.copy(&client(), &from, None, &to, &|_| ()).await?;
    copier.publish(&copied, &|_| ()).await
}

fn reference(text: &str) -> RegistryRef {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_blob_is_sent_with_one_put_and_the_tag_is_written_last() {
    let fake = FakeServer::new(|request| registries(request, "/v2/app/blobs/uploads/1?_state=s"));
    copy(&fake).await.unwrap();
    let blob = OciDigest::of(CONFIG);
    let manifest = OciDigest::of(image().to_string().as_bytes());
    let query = format!("_state=s&digest={}", blob.to_string().replace(':', "%3A"));
    assert_eq!(
        fake.lines(),
        [
            "GET https://source.example/v2/app/manifests/1".to_owned(),
            format!("HEAD https://own.example/v2/app/manifests/{manifest}"),
            format!("HEAD https://own.example/v2/app/blobs/{blob}"),
            "POST https://own.example/v2/app/blobs/uploads/".to_owned(),
            format!("GET https://source.example/v2/app/blobs/{blob}"),
            format!("PUT https://own.example/v2/app/blobs/uploads/1?{query}"),
            "PUT https://own.example/v2/app/manifests/1".to_owned(),
        ]
    );
    let requests = fake.requests();
    assert_eq!(requests[3].headers["content-length"], "0");
    assert_eq!(requests[5].headers["content-length"], CONFIG.len().to_string());
    assert_eq!(requests[6].headers["content-type"], MANIFEST);
    assert_eq!(requests[6].body, image().to_string().as_bytes());
}

#[tokio::test(start_paused = true)]
async fn each_request_has_a_token_for_its_access_and_an_upload_to_another_host_has_none() {
    let upload = "https://storage.example/put?signature=s3cr3t";
    let scopes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&scopes);
    let fake = FakeServer::new(move |request| {
        let url = request.line.split_once(' ').unwrap().1;
        if let Some((_, scope)) = url.split_once("scope=") {
            let scope = scope.replace("%3A", ":").replace("%2C", ",");
            seen.lock().unwrap().push(scope.clone());
            return Reply::json(200, &json!({"token": scope, "expires_in": 300}));
        }
        let needed = match request.line.split_once(' ').unwrap().0 {
            "POST" | "PUT" => "repository:app:pull,push",
            _ => "repository:app:pull",
        };
        let token = format!("Bearer {needed}");
        if url.contains("//own.example/") && request.authorization() != Some(&token) {
            let challenge = r#"Bearer realm="https://auth.example/token",service="s""#;
            return Reply::new(401, "").header("www-authenticate", challenge);
        }
        registries(request, upload)
    });
    copy(&fake).await.unwrap();
    let scopes = scopes.lock().unwrap();
    assert_eq!(*scopes, ["repository:app:pull", "repository:app:pull,push"]);
    let requests = fake.requests();
    let put = requests.iter().find(|request| request.line.contains("storage.example")).unwrap();
    assert!(put.line.starts_with("PUT https://storage.example/put?signature=s3cr3t&digest="));
    assert_eq!(put.authorization(), None);
}

#[tokio::test(start_paused = true)]
async fn uploads_are_not_sent_where_the_registry_may_not_lead() {
    for (location, expected) in [
        ("http://own.example/v2/app/blobs/uploads/1", "which is not HTTPS"),
        ("http://127.0.0.1:5000/x", "which is this machine"),
        ("https://169.254.169.254/x", "metadata"),
        ("ftp://x/", "an invalid URL"),
        ("https://u:p@x/", "an invalid URL"),
        ("http://[", "without a valid location"),
    ] {
        let fake = FakeServer::new(|request| registries(request, location));
        let error = copy(&fake).await.unwrap_err();
        assert!(error.message.contains(expected), "{error}");
        assert_eq!(error.reference.registry(), "own.example");
        let put = fake.lines().into_iter().find(|line| line.starts_with("PUT "));
        assert_eq!(put, None, "{location}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_repeated_after_transient_errors_only() {
    for (status, attempts, text) in [
        (500, 3, "HTTP 500: details"),
        (404, 3, "HTTP 404: details"),
        (400, 1, "HTTP 400: details"),
        (413, 1, "HTTP 413: details"),
        (403, 1, "HTTP 403: details"),
    ] {
        let fake = FakeServer::new(move |request| {
            let is_blob = request.line.contains("digest=");
            let errors = json!({"errors": [{"code": "X", "message": "details"}]});
            if request.line.starts_with("PUT ") && is_blob {
                return Reply::json(status, &errors);
            }
            registries(request, "/v2/app/blobs/uploads/1")
        });
        let error = copy(&fake).await.unwrap_err();
        assert!(error.message.contains(text), "{error}");
        let puts = fake.lines().iter().filter(|line| line.starts_with("PUT ")).count();
        assert_eq!(puts, attempts, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_changes_the_manifest_is_an_error() {
    let fake = FakeServer::new(|request| {
        let reply = registries(request, "/v2/app/blobs/uploads/1");
        if request.line.starts_with("PUT ") && request.line.ends_with("/manifests/1") {
            return reply.header("docker-content-digest", &OciDigest::of(b"x").to_string());
        }
        reply
    });
    let error = copy(&fake).await.unwrap_err();
    assert!(error.message.contains("does not have the expected digest"), "{error}");
}

/// Removes `own.example/app:1`, which has the digest of `content`.
async fn remove(
    is_shared: bool,
    delete_status: u16,
) -> (Result<TagRemoval, RegistryError>, Vec<String>) {
    let digest = OciDigest::of(b"content").to_string();
    let fake = FakeServer::new(move |request| match request.line.split_once(' ').unwrap().0 {
        "HEAD" if request.line.ends_with("/manifests/1") => {
            Reply::new(200, "").header("docker-content-digest", &digest)
        }
        "DELETE" => Reply::new(delete_status, ""),
        _ => registries(request, "/v2/app/blobs/uploads/1"),
    });
    let config = RegistryConfig { transport: Some(Arc::clone(&fake) as _), ..Default::default() };
    let own = Registries::new(config).unwrap();
    let removal = own.remove_tag(&reference("own.example/app:1"), |_| is_shared, &|_| ()).await;
    let writes = fake.lines().into_iter().filter(|line| !line.starts_with("HEAD "));
    (removal, writes.map(|line| line.replace("https://own.example/v2/app/", "")).collect())
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_removed_with_its_manifest_or_by_a_placeholder() {
    let content = format!("DELETE manifests/{}", OciDigest::of(b"content"));
    let (removal, writes) = remove(false, 202).await;
    assert_eq!((removal, writes), (Ok(TagRemoval::Removed), vec![content.clone()]));
    let (removal, writes) = remove(false, 404).await;
    assert_eq!((removal, writes), (Ok(TagRemoval::Removed), vec![content.clone()]));
    let (removal, writes) = remove(false, 405).await;
    assert_eq!((removal, writes), (Ok(TagRemoval::Unsupported), vec![content.clone()]));
    let (removal, writes) = remove(false, 400).await;
    assert!(removal.unwrap_err().message.contains("HTTP 400"));
    assert_eq!(writes.len(), 1);

    let (removal, writes) = remove(true, 202).await;
    assert_eq!(removal, Ok(TagRemoval::Removed));
    let methods: Vec<_> = writes.iter().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(methods, ["DELETE", "POST", "PUT", "PUT", "DELETE"], "{writes:?}");
    assert_eq!(writes[3], "PUT manifests/1");
    assert!(writes[0] == writes[4] && !writes.contains(&content), "{writes:?}");
    // A registry that deletes nothing gets no placeholder.
    let (removal, writes) = remove(true, 405).await;
    assert_eq!((removal, writes.len()), (Ok(TagRemoval::Unsupported), 1));
}
