//! Creates the engine of a command from arguments and environment.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rowmill::catalog::Catalog;
use rowmill::engine::{ApiOptions, Engine, Error, Provider, SimulatorOptions, StopSignal};
use rowmill::provider::anthropic::{self, Anthropic, AnthropicSpec, Credential};
use rowmill::provider::{BatchApi, BatchFormat};
use secrecy::SecretString;

use super::explain::Failure;
use super::screen::Screen;
use super::signals;

/// An engine with its runs in `state`, whose notices go to the screen and which stops on signals.
pub(crate) fn engine(
    state: &Path,
    processing: Duration,
    catalog: &Arc<Catalog>,
    screen: &Arc<Screen>,
) -> Result<Engine, Failure> {
    let (handle, stop) = StopSignal::new();
    signals::on_signal(move || handle.stop());
    Ok(Engine::new(state)?
        .with_catalog(Arc::clone(catalog))
        .with_provider(Environment)
        .with_simulator(SimulatorOptions {
            processing,
            ..SimulatorOptions::default()
        })
        .with_observer(Arc::clone(screen))
        .with_stop(stop))
}

/// The provider from the environment.
struct Environment;

impl Provider for Environment {
    fn format(&self) -> &'static dyn BatchFormat {
        anthropic::FORMAT
    }

    /// That takes no key.
    fn origin(&self) -> Result<String, Error> {
        let mut spec = AnthropicSpec::new(Credential::ApiKey(SecretString::from("none")));
        if let Some(url) = variable("ANTHROPIC_BASE_URL") {
            spec.base_url = url;
        }
        spec.origin()
    }

    fn connect(&self, options: &ApiOptions) -> Result<Arc<dyn BatchApi>, Error> {
        spec()?.connect(options)
    }
}

/// The connection settings from the environment.
fn spec() -> Result<AnthropicSpec, Error> {
    let mut spec = AnthropicSpec::new(credential()?);
    if let Some(url) = variable("ANTHROPIC_BASE_URL") {
        spec.base_url = url;
    }
    spec.workspace_id = variable("ANTHROPIC_WORKSPACE_ID");
    if let Some(text) = variable("ANTHROPIC_CUSTOM_HEADERS") {
        spec.custom_headers = anthropic::custom_headers(&text)?;
    }
    #[cfg(any(feature = "test-hooks", debug_assertions))]
    shorten_timeouts(&mut spec);
    Ok(spec)
}

/// A client of the API from the environment, for calls that belong to no job.
pub(crate) fn client() -> Result<Anthropic, Failure> {
    Ok(Anthropic::new(spec()?).map_err(Error::from)?)
}

/// A runtime for calls that belong to no job.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    Ok(runtime.map_err(Error::Runtime)?)
}

/// For the tests: the idle timeout of a call, in seconds.
#[cfg(any(feature = "test-hooks", debug_assertions))]
fn shorten_timeouts(spec: &mut AnthropicSpec) {
    let seconds = variable("ROWMILL_IDLE_TIMEOUT").and_then(|text| text.parse().ok());
    if let Some(Ok(idle)) = seconds.map(Duration::try_from_secs_f64) {
        spec.timeouts.idle = idle;
        spec.timeouts.call = idle.min(spec.timeouts.call);
    }
}

fn credential() -> Result<Credential, Error> {
    if let Some(key) = variable("ANTHROPIC_API_KEY") {
        return Ok(Credential::ApiKey(SecretString::from(key)));
    }
    if let Some(token) = variable("ANTHROPIC_AUTH_TOKEN") {
        return Ok(Credential::AuthToken(SecretString::from(token)));
    }
    Err(Error::NoCredential {
        base_url: variable("ANTHROPIC_BASE_URL"),
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}
