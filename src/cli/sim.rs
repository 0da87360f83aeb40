//! `rowmill sim`: the simulator as a server of its own.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use rowmill::catalog::Catalog;
use rowmill::durable;
use rowmill::simulator::{self, SimFaults, Simulator, SimulatorSpec};

use super::args::Sim;
use super::explain::{self, Failure};
use super::screen::Screen;

pub(crate) fn run(args: &Sim, catalog: &Arc<Catalog>, screen: &Screen) -> Result<u8, Failure> {
    let temporary = tempfile::tempdir().map_err(|e| cannot("create a temporary folder", &e))?;
    let folder = args
        .folder
        .clone()
        .unwrap_or_else(|| temporary.path().to_path_buf());
    rowmill::durable::create_private_dir(&folder)
        .map_err(|e| cannot("create the simulator's folder", &e))?;
    let spec = SimulatorSpec::new(args.seed, folder, Arc::new(Timestamp::now));
    let mut spec = SimulatorSpec {
        processing: args.processing,
        catalog: Arc::clone(catalog),
        ..spec
    };
    if let Some(file) = &args.faults {
        let text = durable::read_text(file, durable::MAX_SETTINGS_BYTES);
        let text = text.map_err(|e| cannot(&format!("read `{}`", file.display()), &e))?;
        spec.faults = SimFaults::from_toml(&text).map_err(|e| {
            Failure::words(
                explain::CHANGE,
                format!("`{}`: {e}", file.display()),
                "docs/simulator.md lists all faults",
            )
        })?;
    }
    let runtime = tokio::runtime::Runtime::new().map_err(|e| cannot("start the runtime", &e))?;
    runtime.block_on(async {
        let running = Simulator::start(spec, args.listen)
            .await
            .map_err(|e| cannot_start(&e))?;
        if screen.json {
            screen.json(&serde_json::json!({ "base_url": running.base_url() }));
        } else {
            screen.data(format!(
                "export ANTHROPIC_BASE_URL={}\nexport ANTHROPIC_API_KEY=simulated",
                running.base_url()
            ));
        }
        screen.say(
            "SIMULATED: answers are invented; nothing is sent to a provider, nothing is billed. \
            Press Ctrl-C to stop.",
        );
        super::signals::wanted().await;
        running.stop().await;
        Ok(explain::DONE)
    })
}

fn cannot_start(error: &simulator::Error) -> Failure {
    let simulator::Error::Listen { address, cause } = error else {
        return Failure::words(
            explain::CHANGE,
            explain::with_causes(&error.to_string(), error.source()),
            "",
        );
    };
    let why = match cause.kind() {
        io::ErrorKind::AddrInUse => "another program is already listening there".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are for privileged programs".to_owned()
        }
        _ => cause.to_string(),
    };
    let hint =
        "choose another port with --listen, such as `--listen 127.0.0.1:0` for any free port";
    Failure::words(
        explain::CHANGE,
        format!("cannot listen on {address}: {why}"),
        hint,
    )
}

fn cannot(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::words(explain::CHANGE, format!("cannot {what}: {error}"), "")
}
