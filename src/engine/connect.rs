//! A job's options → an open connection to its provider.
//!
//! A run belongs to where its batches are (the plan's origin). The simulator of this process is
//! such a place too, so a simulated run is always resumed on it, whatever provider the engine has.

use std::sync::Arc;
use std::time::Duration;

use crate::journal::Plan;
#[cfg(feature = "simulator")]
use crate::provider::anthropic::Credential;
use crate::provider::anthropic::{self, Anthropic, AnthropicSpec};
#[cfg(feature = "simulator")]
use crate::provider::retry::Clock;
use crate::provider::{BatchApi, BatchFormat};
#[cfg(feature = "simulator")]
use crate::simulator::{RunningSimulator, SimulatorSpec};

use super::{Error, Run};

/// What a connection must know of the job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiOptions {
    /// The API version that the job names.
    pub api_version: Option<String>,
    /// The betas that its requests need.
    pub betas: Vec<String>,
}

impl ApiOptions {
    pub(super) fn of_request(request: &crate::request::RequestSpec) -> ApiOptions {
        ApiOptions {
            api_version: request.api_version.clone(),
            betas: request.betas.clone(),
        }
    }
}

/// A provider as the engine knows it: how a connection is made once the job is known.
///
/// Credentials are looked for when a connection is made and not before, so that a dry run needs
/// none.
pub trait Provider: Send + Sync {
    /// How it writes batches and results.
    fn format(&self) -> &'static dyn BatchFormat;

    /// Where its batches are, without credentials: an address, or a name of the provider's own.
    ///
    /// # Errors
    /// [`Error::Connect`] where the address cannot be used.
    fn origin(&self) -> Result<String, Error>;

    /// Connects. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Connect`] and [`Error::NoCredential`].
    fn connect(&self, options: &ApiOptions) -> Result<Arc<dyn BatchApi>, Error>;
}

/// A ready client is a provider whose connection does not depend on the job.
impl<T: BatchApi + 'static> Provider for Arc<T> {
    fn format(&self) -> &'static dyn BatchFormat {
        BatchApi::format(self.as_ref())
    }

    fn origin(&self) -> Result<String, Error> {
        Ok(BatchApi::origin(self.as_ref()))
    }

    fn connect(&self, _: &ApiOptions) -> Result<Arc<dyn BatchApi>, Error> {
        Ok(Arc::clone(self) as Arc<dyn BatchApi>)
    }
}

/// Anthropic's API, with the version and the betas of the job.
impl Provider for AnthropicSpec {
    fn format(&self) -> &'static dyn BatchFormat {
        anthropic::FORMAT
    }

    fn origin(&self) -> Result<String, Error> {
        Ok(Anthropic::new(self.clone())?.origin())
    }

    fn connect(&self, options: &ApiOptions) -> Result<Arc<dyn BatchApi>, Error> {
        let mut spec = self.clone();
        if let Some(version) = &options.api_version {
            version.clone_into(&mut spec.api_version);
        }
        spec.betas.clone_from(&options.betas);
        Ok(Arc::new(Anthropic::new(spec)?))
    }
}

/// The folder of a state directory in which the simulator of this process keeps its batches.
#[cfg(feature = "simulator")]
pub(super) const SIMULATOR: &str = ".simulator";

/// What the simulator of this process is like.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// Everything random follows from it.
    pub seed: u64,
    /// How long it works on a batch.
    pub processing: Duration,
    /// What goes wrong.
    #[cfg(feature = "simulator")]
    pub faults: crate::simulator::SimFaults,
}

impl Default for SimulatorOptions {
    /// Batches end at once and nothing goes wrong.
    fn default() -> SimulatorOptions {
        SimulatorOptions {
            seed: 1,
            processing: Duration::ZERO,
            #[cfg(feature = "simulator")]
            faults: crate::simulator::SimFaults::default(),
        }
    }
}

/// An open connection.
pub(super) struct Connection {
    api: Arc<dyn BatchApi>,
    runtime: tokio::runtime::Handle,
    #[cfg(feature = "simulator")]
    simulator: Option<RunningSimulator>,
    in_process: bool,
}

impl Connection {
    /// Connects to a provider.
    pub(super) fn real(
        provider: &dyn Provider,
        options: &ApiOptions,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Connection, Error> {
        Ok(Connection {
            api: provider.connect(options)?,
            runtime: runtime.clone(),
            #[cfg(feature = "simulator")]
            simulator: None,
            in_process: false,
        })
    }

    /// Starts the simulator in this process, with its batches kept under `state`, and connects to
    /// it.
    #[cfg(feature = "simulator")]
    pub(super) fn simulator(
        state: &std::path::Path,
        simulator: &SimulatorOptions,
        clock: &Arc<dyn Clock>,
        catalog: &Arc<crate::catalog::Catalog>,
        options: &ApiOptions,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Connection, Error> {
        let folder = state.join(SIMULATOR);
        crate::durable::create_private_dir(&folder).map_err(|cause| {
            crate::simulator::Error::Folder {
                folder: folder.clone(),
                cause,
            }
        })?;
        let (now, slept) = (Arc::clone(clock), Arc::clone(clock));
        let mut spec = SimulatorSpec::new(simulator.seed, folder, Arc::new(move || now.now()));
        if clock.is_manual() {
            spec = spec.with_manual_time(Arc::new(move |time| {
                let clock = Arc::clone(&slept);
                Box::pin(async move { clock.sleep(time).await })
            }));
        }
        let spec = SimulatorSpec {
            processing: simulator.processing,
            faults: simulator.faults.clone(),
            catalog: Arc::clone(catalog),
            ..spec
        };
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let running = runtime.block_on(crate::simulator::Simulator::start(spec, address))?;
        let credential = Credential::ApiKey(secrecy::SecretString::from("simulated"));
        let provider = AnthropicSpec {
            base_url: running.base_url(),
            ..AnthropicSpec::new(credential)
        };
        Ok(Connection {
            api: provider.connect(options)?,
            runtime: runtime.clone(),
            simulator: Some(running),
            in_process: true,
        })
    }

    pub(super) fn api(&self) -> &dyn BatchApi {
        self.api.as_ref()
    }

    /// Where the batches are, for the plan: a run is resumed only where it began.
    pub(super) fn origin(&self) -> String {
        if self.in_process {
            Plan::IN_PROCESS.to_owned()
        } else {
            self.api.origin()
        }
    }

    /// Whether the answers are made up: the simulator is in this process, or is what answers on
    /// this machine.
    pub(super) fn is_simulated(&self) -> bool {
        self.in_process || self.block_on(self.api.is_simulated())
    }

    /// Runs something that waits to its end.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

#[cfg(feature = "simulator")]
impl Drop for Connection {
    /// Stops the simulator, if there is one.
    fn drop(&mut self) {
        if let Some(simulator) = self.simulator.take() {
            self.runtime.block_on(simulator.stop());
        }
    }
}

/// Refuses to resume a run of a provider on the simulator.
pub(super) fn check_simulated(run: &Run, simulate: bool) -> Result<(), Error> {
    if simulate && !run.plan().is_in_process() {
        return Err(Error::NotSimulated {
            run: run.folder().to_path_buf(),
        });
    }
    Ok(())
}
