//! The objects of a shared state: small files in an object store or in a folder, each read and written
//! as a whole, with conditional writes.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as ObjectPath;
use object_store::{
    ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
    UpdateVersion,
};
use tokio::task::spawn_blocking;

use super::folder::StateFolder;
use super::object::{ObjectError, PutError, Version};
use crate::base::input::InputKind;
use crate::base::state_url::{StatePlace, StateUrl, StoreKind};

/// Maximum time of one request, so that a lease can be renewed after a lost one.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(15);

/// Maximum time of a request and its retries.
const MAX_RETRY_TIME: Duration = Duration::from_secs(20);

/// Maximum number of retries of a request.
const MAX_RETRIES: usize = 4;

/// The objects of one shared state. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Objects {
    /// Objects of a bucket, below a path.
    Bucket { store: Arc<dyn ObjectStore>, path: String },
    /// Files of a folder.
    Folder(Arc<StateFolder>),
}

impl Objects {
    /// Connects to the place of a shared state. Nothing is requested yet. Credentials and endpoints
    /// come from the environment, as the cloud's own tools read them (`AWS_…`, `GOOGLE_…`,
    /// `AZURE_…`), or from the machine's role.
    ///
    /// # Errors
    ///
    /// Fails if the environment has invalid settings.
    pub(super) fn connect(url: &StateUrl) -> Result<Self, ObjectError> {
        let (kind, bucket, path) = match &url.place {
            StatePlace::Folder(folder) => {
                return Ok(Self::Folder(Arc::new(StateFolder::at(folder))));
            }
            StatePlace::Bucket { store, bucket, path } => (store, bucket, path),
        };
        crate::http::transport::install_tls_provider();
        let client = ClientOptions::new()
            .with_timeout(MAX_REQUEST_TIME)
            .with_connect_timeout(MAX_REQUEST_TIME / 3);
        let retry = RetryConfig {
            max_retries: MAX_RETRIES,
            retry_timeout: MAX_RETRY_TIME,
            ..RetryConfig::default()
        };
        let store: Result<Arc<dyn ObjectStore>, Error> = match kind {
            StoreKind::S3 => AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_client_options(with_http(client, "AWS_ALLOW_HTTP"))
                .with_retry(retry)
                .build()
                .map(|store| Arc::new(store) as _),
            StoreKind::Gcs => GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_client_options(with_http(client, "GOOGLE_ALLOW_HTTP"))
                .with_retry(retry)
                .build()
                .map(|store| Arc::new(store) as _),
            StoreKind::Azure => MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .with_client_options(with_http(client, "AZURE_ALLOW_HTTP"))
                .with_retry(retry)
                .build()
                .map(|store| Arc::new(store) as _),
        };
        Ok(Self::Bucket { store: store?, path: path.clone() })
    }

    /// Reads an object. `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be reached, refuses the request, or if the object is larger than a
    /// lockfile may be.
    pub(super) async fn get(&self, name: &str) -> Result<Option<(Vec<u8>, Version)>, ObjectError> {
        let (store, at) = match self {
            Self::Folder(folder) => {
                let (folder, name) = (Arc::clone(folder), name.to_owned());
                return blocking(move || folder.get(&name)).await;
            }
            Self::Bucket { store, path } => (store, object_path(path, name)),
        };
        let result = match store.get(&at).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            result => result?,
        };
        let version = UpdateVersion {
            e_tag: result.meta.e_tag.clone(),
            version: result.meta.version.clone(),
        };
        let max_bytes = InputKind::Lockfile.max_bytes();
        let too_large = || ObjectError(format!("{at} has more than {max_bytes} bytes"));
        if result.meta.size > max_bytes {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(result.meta.size).unwrap_or_default());
        let mut stream = result.into_stream();
        while let Some(piece) = stream.try_next().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > max_bytes {
                return Err(too_large());
            }
        }
        Ok(Some((bytes, Version(version))))
    }

    /// Writes an object if it still has the expected version; `None`: if it does not exist. Returns
    /// its new version.
    ///
    /// # Errors
    ///
    /// Fails with [`PutError::Conflict`] if the object has another version. That may be the version of
    /// this very write, if its response was lost and the store's client sent it again.
    pub(super) async fn put_if(
        &self,
        name: &str,
        bytes: Vec<u8>,
        expected: Option<&Version>,
    ) -> Result<Version, PutError> {
        let (store, at) = match self {
            Self::Folder(folder) => {
                let (folder, name) = (Arc::clone(folder), name.to_owned());
                let expected = expected.cloned();
                return blocking(move || folder.put_if(&name, &bytes, expected.as_ref())).await;
            }
            Self::Bucket { store, path } => (store, object_path(path, name)),
        };
        let mode = match expected {
            None => PutMode::Create,
            Some(Version(version)) => PutMode::Update(version.clone()),
        };
        let options = PutOptions { mode, ..PutOptions::default() };
        match store.put_opts(&at, bytes.into(), options).await {
            Ok(result) => Ok(Version(result.into())),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                Err(PutError::Conflict)
            }
            // The object was removed meanwhile. Of a new object, the bucket is not found.
            Err(Error::NotFound { .. }) if expected.is_some() => Err(PutError::Conflict),
            Err(error) => Err(PutError::Failed(error.into())),
        }
    }

    /// Returns the names of the objects in a folder, without the folder, sorted.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be reached or refuses the request.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<String>, ObjectError> {
        let mut names = match self {
            Self::Folder(files) => {
                let (files, folder) = (Arc::clone(files), folder.to_owned());
                blocking(move || files.list(&folder)).await?
            }
            Self::Bucket { store, path } => {
                let prefix = object_path(path, folder);
                let objects: Vec<_> = store.list(Some(&prefix)).try_collect().await?;
                let name = |at: &ObjectPath| {
                    let parts: Option<Vec<String>> = at
                        .prefix_match(&prefix)
                        .map(|parts| parts.map(|part| part.as_ref().to_owned()).collect());
                    parts.map(|parts| parts.join("/"))
                };
                objects.iter().filter_map(|object| name(&object.location)).collect()
            }
        };
        names.sort_unstable();
        Ok(names)
    }

    /// Removes an object. One that does not exist is no error.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be reached or refuses the request.
    pub(super) async fn delete(&self, name: &str) -> Result<(), ObjectError> {
        match self {
            Self::Folder(folder) => {
                let (folder, name) = (Arc::clone(folder), name.to_owned());
                blocking(move || folder.delete(&name)).await
            }
            Self::Bucket { store, path } => match store.delete(&object_path(path, name)).await {
                Err(Error::NotFound { .. }) => Ok(()),
                result => Ok(result?),
            },
        }
    }
}

fn object_path(path: &str, name: &str) -> ObjectPath {
    ObjectPath::from(format!("{path}/{name}"))
}

/// Allows a store without TLS if the environment says so, as for a server on the own machine.
fn with_http(client: ClientOptions, variable: &str) -> ClientOptions {
    let allows = std::env::var(variable).is_ok_and(|value| value == "true" || value == "1");
    client.with_allow_http(allows)
}

/// Runs file operations on a thread for blocking work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
