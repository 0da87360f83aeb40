//! The provider a command talks to: the real one, by the environment, or the simulator in this
//! process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rowmill::catalog::Catalog;
use rowmill::journal::Plan;
use rowmill::provider::anthropic::{self, Anthropic, AnthropicSpec, Credential};
use rowmill::provider::{self, BatchApi, Timeouts};
use rowmill::simulator::{self, RunningSimulator, Simulator, SimulatorSpec};
use secrecy::SecretString;
use tokio::runtime::Runtime;

use super::explain::{self, Failure};
use super::screen::Screen;

/// The built-in simulator gives the same answers each time.
const SEED: u64 = 1;

/// An open way to a provider.
pub(crate) struct Connection {
    pub(crate) api: Anthropic,
    /// Always there; taken when the connection goes.
    runtime: Option<Runtime>,
    simulator: Option<RunningSimulator>,
}

/// Where the environment says that the provider is, as plans name it. That takes no key.
pub(crate) fn origin_of_environment() -> Result<String, Failure> {
    let mut spec = AnthropicSpec::new(Credential::ApiKey(SecretString::from("none")));
    if let Some(url) = variable("ANTHROPIC_BASE_URL") {
        spec.base_url = url;
    }
    Ok(Anthropic::new(spec).map_err(environment)?.origin())
}

/// What the connection must know of the job.
pub(crate) struct ApiOptions<'a> {
    pub(crate) api_version: Option<&'a str>,
    pub(crate) betas: &'a [String],
}

impl Connection {
    /// Connects to the provider that the environment names. Nothing is sent yet.
    pub(crate) fn real(api_options: &ApiOptions<'_>) -> Result<Connection, Failure> {
        let mut spec = AnthropicSpec::new(credential()?);
        if let Some(url) = variable("ANTHROPIC_BASE_URL") {
            spec.base_url = url;
        }
        spec.workspace_id = variable("ANTHROPIC_WORKSPACE_ID");
        if let Some(text) = variable("ANTHROPIC_CUSTOM_HEADERS") {
            spec.custom_headers = anthropic::custom_headers(&text).map_err(environment)?;
        }
        if let Some(seconds) = variable("ROWMILL_IDLE_TIMEOUT").and_then(|text| text.parse().ok()) {
            // For the tests: silence that ends a call, in seconds.
            let idle = Duration::try_from_secs_f64(seconds).unwrap_or(spec.timeouts.idle);
            spec.timeouts = Timeouts {
                idle,
                call: idle.min(spec.timeouts.call),
                ..spec.timeouts
            };
        }
        api_options.apply(&mut spec);
        Ok(Connection {
            api: Anthropic::new(spec).map_err(environment)?,
            runtime: Some(runtime()?),
            simulator: None,
        })
    }

    /// Starts the simulator in this process, with its batches kept under `state`, and connects to
    /// it.
    pub(crate) fn simulator(
        state: &Path,
        processing: Duration,
        api_options: &ApiOptions<'_>,
        catalog: &Arc<Catalog>,
        screen: &Screen,
    ) -> Result<Connection, Failure> {
        screen.banner();
        let runtime = runtime()?;
        let folder = state.join(".simulator");
        rowmill::durable::create_private_dir(&folder).map_err(|e| {
            Failure::words(
                explain::CHANGE,
                format!("cannot create `{}`: {e}", folder.display()),
                "choose another folder with --state",
            )
        })?;
        let spec = SimulatorSpec::new(SEED, folder, Arc::new(Timestamp::now));
        let spec = SimulatorSpec {
            processing,
            catalog: Arc::clone(catalog),
            ..spec
        };
        let running = runtime.block_on(Simulator::start(
            spec,
            SocketAddr::from(([127, 0, 0, 1], 0)),
        ));
        let running = running.map_err(|e| {
            use std::error::Error as _;
            let message =
                explain::with_causes(&format!("the simulator cannot start: {e}"), e.source());
            match e {
                simulator::Error::Locked { .. } => Failure::words(
                    explain::LOCKED,
                    message,
                    "wait until the other run on the simulator is done, or use another --state",
                ),
                simulator::Error::Folder { .. } => Failure::words(
                    explain::CHANGE,
                    message,
                    "choose another folder with --state",
                ),
                _ => Failure::words(explain::BUG, message, ""),
            }
        })?;
        let mut spec = AnthropicSpec::new(Credential::ApiKey(SecretString::from("simulated")));
        spec.base_url = running.base_url();
        api_options.apply(&mut spec);
        Ok(Connection {
            api: Anthropic::new(spec).map_err(environment)?,
            runtime: Some(runtime),
            simulator: Some(running),
        })
    }

    /// Where the batches are, for the plan: a run goes on only where it began.
    pub(crate) fn origin(&self) -> String {
        if self.simulator.is_some() {
            Plan::IN_PROCESS.to_owned()
        } else {
            self.api.origin()
        }
    }

    /// Whether the answers are made up: the simulator is in this process, or is what answers on
    /// this machine.
    pub(crate) fn is_simulated(&self) -> bool {
        self.simulator.is_some() || self.block_on(self.api.is_simulator())
    }

    /// Runs something that waits to its end.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime().block_on(work)
    }

    /// Runs something beside everything else.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime().spawn(work);
    }

    fn runtime(&self) -> &Runtime {
        self.runtime
            .as_ref()
            .expect("the runtime goes with the connection")
    }
}

impl Drop for Connection {
    /// Ends the simulator, if there is one, and waits for nothing else: what counts is in the
    /// journal.
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        if let Some(simulator) = self.simulator.take() {
            runtime.block_on(simulator.stop());
        }
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

impl ApiOptions<'_> {
    fn apply(&self, spec: &mut AnthropicSpec) {
        if let Some(version) = self.api_version {
            version.clone_into(&mut spec.api_version);
        }
        spec.betas = self.betas.to_vec();
    }
}

fn credential() -> Result<Credential, Failure> {
    if let Some(key) = variable("ANTHROPIC_API_KEY") {
        return Ok(Credential::ApiKey(SecretString::from(key)));
    }
    if let Some(token) = variable("ANTHROPIC_AUTH_TOKEN") {
        return Ok(Credential::AuthToken(SecretString::from(token)));
    }
    let hint = match variable("ANTHROPIC_BASE_URL") {
        Some(url) => format!(
            "set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN) for {url}; `rowmill \
            sim` takes any text"
        ),
        None => "set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN), or try the job for free with \
            --simulate"
            .to_owned(),
    };
    Err(Failure::words(
        explain::CREDENTIALS,
        "there is no key",
        hint,
    ))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

fn environment(error: provider::Error) -> Failure {
    let hint = match &error {
        provider::Error::PlainHttp { .. } => "write ANTHROPIC_BASE_URL with `https://`",
        provider::Error::BaseUrl { .. } => "correct ANTHROPIC_BASE_URL",
        provider::Error::HeaderLine { .. } => {
            "write ANTHROPIC_CUSTOM_HEADERS as lines of `Name: value`"
        }
        _ => {
            "see the environment variables ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN and \
             ANTHROPIC_CUSTOM_HEADERS"
        }
    };
    Failure::words(explain::CHANGE, error.to_string(), hint)
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::words(explain::BUG, format!("cannot start the runtime: {e}"), ""))
}
