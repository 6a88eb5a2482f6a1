//! Items for the tests, benches and fuzz targets. A dev-dependency of this crate on itself turns the
//! feature `test-support` on; every other item is private to the crate, so that the compiler finds
//! dead code.

#![allow(missing_docs, reason = "the items are documented where they are defined")]

pub mod api {
    pub use crate::api::client::Client;
    pub use crate::api::endpoint::Endpoint;
    pub use crate::api::inventory::{RemoteImageState, list_images};
    pub use crate::api::rate_limiter::RateLimiter;
    pub use crate::api::response::{BuildProgress, RemoteBuild};
    pub use crate::api::retry::{Attempts, Repeat};

    pub use crate::http::transport::{Transport, TransportError};

    pub mod wire {
        pub use crate::api::wire::{
            BuildImageRequest, ImageUpdate, UpdateSet, UpdateSource, WireOwner,
        };
    }
}

pub mod base {
    pub mod digest {
        pub use crate::base::digest::{Digest, Fingerprint};
    }
    pub mod glob {
        pub use crate::base::glob::Glob;
    }
    pub mod image_path {
        pub use crate::base::image_path::ImagePath;
    }
    pub mod kind {
        pub use crate::base::kind::ImageKind;
    }
    pub mod input {
        pub use crate::base::input::INPUT_KINDS;
    }
    pub mod limit {
        pub use crate::base::limit::{Class, ClassLimit, Limit, parse_duration};
    }
    pub mod name {
        pub use crate::base::name::{BuildId, ImageRef, NameError, Owner, Platform, Visibility};
        pub use crate::base::template::TagTemplate;
    }
    pub mod nearest {
        pub use crate::base::nearest::nearest;
    }
    pub mod owner {
        pub use crate::base::owner::DefaultOwner;
    }
    pub mod reference {
        pub use crate::base::reference::{OciDigest, RegistryRef};
    }
    pub mod secret {
        pub use crate::base::secret::{ApiKey, scrub};
    }
    pub mod share {
        pub use crate::base::share::Share;
    }
    pub mod size {
        pub use crate::base::size::parse_size;
    }
    pub mod span {
        pub use crate::base::span::Problem;
    }
    pub mod text {
        pub use crate::base::text::list;
    }
    pub mod work_dir {
        pub use crate::base::work_dir::names::WORK_PATHS;
    }
}

pub mod context {
    pub use crate::context::cache::StatCache;
    pub use crate::context::follow::ContextRead;
    pub use crate::context::history::History;
    pub use crate::context::pack::{pack, spool};
    pub use crate::context::placement::{DockerfileToSend, Placement};
    pub use crate::context::scan::{ScanRequest, scan_all};

    pub mod ignore {
        pub use crate::context::ignore::{IgnoreError, IgnorePatterns};
    }
}

pub mod dockerfile {
    pub use crate::dockerfile::lower::{LowerError, LowerSubject};
    pub use crate::dockerfile::model::{Dockerfile, DockerfileError, Reference, ReferenceKind};
    pub use crate::dockerfile::platform::ReferencePlatform;
    pub use crate::dockerfile::reach::{BuildReach, ReachRequest, WholeContext};
    pub use crate::dockerfile::reached::{ReachedPath, ReadBy, Trigger};
}

pub mod event {
    pub use crate::event::{Phase, RunEvent, StopReason, Summary, TargetFailure};
}

pub mod http {
    pub use crate::http::notice::Notice;
    pub use crate::http::transport::install_tls_provider;
}

pub mod manifest {
    pub use crate::manifest::invocation::Invocation;
    pub use crate::manifest::load::ManifestError;
    pub use crate::manifest::schema::schema;
    pub use crate::manifest::workspace::Workspace;

    pub mod workspace {
        pub use crate::manifest::workspace::{BuildOrigin, Origin, Unit, UnitId};
    }
}

pub mod plan {
    pub use crate::plan::build::build;
    pub use crate::plan::decide::{Decision, decide};
    pub use crate::plan::facts::Facts;
    pub use crate::plan::options::PlanOptions;
    pub use crate::plan::saved::SavedPlan;
    pub use crate::plan::steps::{Action, Change, Create, Plan, Step};
}

pub mod registry {
    pub use crate::registry::copy::{CopiedImage, ImageCopier};
    pub use crate::registry::credentials::Credentials;
    pub use crate::registry::error::{RegistryError, RegistryErrorKind};
    pub use crate::registry::registries::{Registries, RegistryConfig, Resolved};
}

pub mod run {
    pub use crate::run::driver::execute;
    pub use crate::run::options::{Run, RunOptions};
}

pub mod server {
    pub use crate::server::builds::ServerBuild;
    pub use crate::server::config::{ApiVersion, BulkShape, DockerHub, ServerConfig};
    pub use crate::server::engine::Capabilities;
    pub use crate::server::engine::config::{
        BuildNetwork, EngineConfig, EngineKind, PushRegistry, RegistryTrust,
    };
    pub use crate::server::error::ServerError;
    pub use crate::server::fault::{Fault, FaultKind};
    pub use crate::server::inject::ConnectionCut;
    pub use crate::server::registry_client::ServerRegistryConfig;
    pub use crate::server::traffic::{ClassCounts, LoggedRequest, RequestCounts};
    pub use crate::server::{Server, start};
}

pub mod state {
    pub use crate::state::State;
    pub use crate::state::journal::Record;
    pub use crate::state::lockfile::{
        BuildStage, Built, Entry, Failed, Inputs, Pending, Pin, Submission,
    };
    pub use crate::state::paths::StatePaths;
    pub use crate::state::store::Store;

    pub mod journal {
        pub use crate::state::journal::{BuildOutcome, Header, decode, line};
    }

    pub mod error {
        pub use crate::state::error::{JournalError, LockfileError};
    }

    pub mod decode {
        pub use crate::state::decode::decode;
    }
    pub mod encode {
        pub use crate::state::encode::encode;
    }
}

pub mod survey {
    pub use crate::survey::{Caches, PinSource, Query, Refresh, ServiceQuery, facts};
}
