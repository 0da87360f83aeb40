//! `rowmill models`: the models this version knows, and the provider's own list of them.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use rowmill::catalog::{Catalog, Lifecycle, Model, Price, Prices, Retired, Thinking, Tokenizer};
use rowmill::durable;
use rowmill::provider::BatchApi as _;
use rowmill::provider::refresh::Refresh;
use serde_json::json;

use super::args::{Common, Models};
use super::connect;
use super::explain::{self, Failure};
use super::format::count;
use super::layout::Column;
use super::screen::{Screen, shown_to, table};
use super::words;

pub(crate) fn run(
    args: &Models,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Screen,
) -> Result<u8, Failure> {
    if args.refresh {
        return refresh(args, common, catalog, screen);
    }
    match &args.model {
        Some(id) => one(id, catalog, screen),
        None => {
            all(catalog, screen);
            Ok(explain::DONE)
        }
    }
}

fn all(catalog: &Catalog, screen: &Screen) {
    if screen.json {
        screen.json(&json!({
            "date": catalog.date,
            "models": catalog.models,
            "retired": catalog.retired,
            "overridden": catalog.overridden,
        }));
        return;
    }
    let columns = [
        Column::Id("model"),
        Column::Text("stage"),
        Column::Text("until"),
        Column::Number("context"),
        Column::Number("answer"),
        Column::Number("caches from"),
        Column::Number("in"),
        Column::Number("out"),
        Column::Id("successor"),
    ];
    let row = |(id, model): (&String, &Model)| {
        let price = |price: fn(&Prices) -> Price| {
            batch_price(model, price).unwrap_or_else(|| "?".to_owned())
        };
        vec![
            short_id(id, &model.aliases).to_owned(),
            model.lifecycle.as_str().to_owned(),
            until(model),
            count(model.context_tokens),
            count(most_output(model)),
            count(model.min_cache_tokens),
            price(|prices| prices.input),
            price(|prices| prices.output),
            model.successor.clone().unwrap_or_default(),
        ]
    };
    screen.data(table(&columns, catalog.models.iter().map(row)));
    let gone = |(id, model): (&String, &Retired)| {
        let day = model.retires.map(|day| day.to_string()).unwrap_or_default();
        vec![
            short_id(id, &model.aliases).to_owned(),
            day,
            model.successor.clone().unwrap_or_default(),
        ]
    };
    let columns = [
        Column::Id("retired"),
        Column::Text("on"),
        Column::Id("successor"),
    ];
    screen.data(format!(
        "\n{}",
        table(&columns, catalog.retired.iter().map(gone))
    ));
    screen.say(format!(
        "as of {}; limits in tokens, batch prices in US dollars per million tokens. `rowmill \
         models MODEL` shows all facts about a model",
        catalog.date
    ));
}

fn one(id: &str, catalog: &Catalog, screen: &Screen) -> Result<u8, Failure> {
    let advice = catalog.advice(id, today()).map(|notice| notice.to_string());
    let Some((own, model)) = catalog.model(id) else {
        if let Some((own, retired)) = catalog.retired(id) {
            if screen.json {
                screen.json(&json!({ "id": own, "lifecycle": "retired", "model": retired, "advice": advice }));
            } else {
                screen.data(advice.unwrap_or_else(|| format!("model `{own}` is retired")));
            }
            return Ok(explain::DONE);
        }
        let nearest = catalog.nearest(id);
        let hint = if nearest.is_empty() {
            "`rowmill models` lists the models; `rowmill models --refresh` asks the provider for \
             newer ones"
                .to_owned()
        } else {
            format!("did you mean `{}`?", nearest.join("`, `"))
        };
        return Err(Failure::words(
            explain::CHANGE,
            format!("unknown model `{id}`"),
            hint,
        ));
    };
    if screen.json {
        screen.json(&json!({ "id": own, "model": model, "advice": advice, "overridden": catalog.overridden.contains(own) }));
        return Ok(explain::DONE);
    }
    screen.data(describe(own, model, catalog));
    if let Some(advice) = advice {
        screen.warn(advice);
    }
    Ok(explain::DONE)
}

fn describe(id: &str, model: &Model, catalog: &Catalog) -> String {
    let aliases = if model.aliases.is_empty() {
        String::new()
    } else {
        format!(" (also {})", model.aliases.join(", "))
    };
    let overridden = if catalog.overridden.contains(id) {
        ", with your overrides"
    } else {
        ""
    };
    let list = |words: &[String]| {
        if words.is_empty() {
            "none".to_owned()
        } else {
            words.join(", ")
        }
    };
    let mut lines = vec![
        format!(
            "model      {id}{aliases}, as of {}{overridden}",
            catalog.date
        ),
        format!(
            "stage      {}{}",
            model.lifecycle.as_str(),
            lived_until(model)
        ),
    ];
    if let Some(successor) = &model.successor {
        lines.push(format!("successor  {successor}"));
    }
    let beta = model
        .max_batch_output_tokens
        .map(|most| format!(", {} with the beta `output-300k-2026-03-24`", count(most)));
    lines.push(format!(
        "prompt     at most {} tokens, counted with the {}",
        count(model.context_tokens),
        tokenizer(model)
    ));
    lines.push(format!(
        "answer     at most {} tokens{}",
        count(model.max_output_tokens),
        beta.unwrap_or_default()
    ));
    lines.push(format!(
        "cache      prefixes of {} tokens or more",
        count(model.min_cache_tokens)
    ));
    lines.push(format!(
        "thinking   {}; refused: {}",
        thinking(model.thinking),
        list(&model.thinking_refused)
    ));
    lines.push(format!("effort     {}", list(&model.effort)));
    let takes = [
        (model.structured_output, "structured output"),
        (model.forced_tools, "forced tool calls"),
        (model.prefill, "prefill"),
        (model.system_messages, "messages of the role `system`"),
        (
            model.sampling,
            "sampling parameters, under API version 2023-06-01",
        ),
    ];
    let words = |wanted: bool| {
        let words: Vec<&str> = takes
            .iter()
            .filter(|(takes, _)| *takes == wanted)
            .map(|(_, what)| *what)
            .collect();
        if words.is_empty() {
            "none of these".to_owned()
        } else {
            words.join("; ")
        }
    };
    lines.push(format!("supports   {}", words(true)));
    lines.push(format!("refuses    {}", words(false)));
    lines.push(match &model.prices {
        None => "prices     unknown: a plan with this model is an error until you add prices to a \
            file for --models"
            .to_owned(),
        Some(_) => {
            let price = |price: fn(&Prices) -> Price| {
                batch_price(model, price).unwrap_or_else(|| "?".to_owned())
            };
            format!(
                "prices     in {}, out {}, cache write {} (5 m) and {} (1 h), read {}: US dollars \
                 per million tokens in a batch",
                price(|prices| prices.input),
                price(|prices| prices.output),
                price(|prices| prices.cache_write_5m),
                price(|prices| prices.cache_write_1h),
                price(|prices| prices.cache_read),
            )
        }
    });
    one_a_line(lines)
}

/// Lines of a report; a line end in a name does not begin a new one.
fn one_a_line(lines: Vec<String>) -> String {
    lines
        .iter()
        .map(|line| shown_to(line, 2_000))
        .collect::<Vec<_>>()
        .join("\n")
}

fn today() -> Date {
    Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}

fn refresh(
    args: &Models,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Screen,
) -> Result<u8, Failure> {
    let client = connect::client()?;
    let list = connect::runtime()?.block_on(client.models());
    let list = list.map_err(|source| rowmill::engine::Error::Provider {
        action: rowmill::engine::Action::ListModels,
        source: Box::new(source),
        kept: rowmill::engine::Kept::Nothing,
    })?;
    let refresh = Refresh::of(catalog, &list);
    let seen = today();
    let written = if refresh.is_empty() {
        None
    } else {
        Some(write(args, common, &refresh, seen)?)
    };
    if screen.json {
        screen.json(&json!({ "date": Timestamp::now(), "origin": client.origin(), "refresh": refresh, "written": written }));
        return Ok(explain::DONE);
    }
    screen.data(refresh_report(&refresh, list.len()));
    match written {
        Some(file) => screen.say(format!(
            "written to {0}; `--models {0}` or ROWMILL_MODELS overrides the built-in table with it",
            file.display()
        )),
        None => screen.say(format!(
            "the table of {} agrees with the list",
            catalog.date
        )),
    }
    Ok(explain::DONE)
}

/// Writes what differs. An existing file is not replaced, unless it is the one in use, whose own
/// entries are kept.
fn write(
    args: &Models,
    common: &Common,
    refresh: &Refresh,
    seen: Date,
) -> Result<std::path::PathBuf, Failure> {
    let file = args.out.clone();
    let cannot = |what: &str, error: &dyn std::error::Error| {
        Failure::words(
            explain::CHANGE,
            explain::with_causes(&format!("cannot {what} `{}`", file.display()), Some(error)),
            "",
        )
    };
    let is_in_use = common
        .models
        .as_ref()
        .is_some_and(|own| own.canonicalize().ok() == file.canonicalize().ok());
    if file.exists() && !is_in_use && !args.force {
        return Err(Failure::words(
            explain::CHANGE,
            format!("`{}` exists already", file.display()),
            "choose another file with --out, update it with --models, or replace it with --force",
        ));
    }
    let own = common
        .models
        .as_deref()
        .map(|own| durable::read_text(own, durable::MAX_SETTINGS_BYTES))
        .transpose()
        .map_err(|e| cannot("read", &e))?;
    let text = refresh
        .overrides(
            own.as_deref(),
            &words::provider::overrides_comment(refresh, seen),
        )
        .map_err(|e| cannot("read", &e))?;
    rowmill::durable::write_file(&file, text.as_bytes()).map_err(|e| cannot("write", &e))?;
    Ok(file)
}

fn refresh_report(refresh: &Refresh, listed: usize) -> String {
    let mut lines = vec![format!("{listed} models are listed")];
    for new in &refresh.new {
        let like = new
            .like
            .as_ref()
            .map(|like| format!(", assumed to be like {like}"))
            .unwrap_or_default();
        lines.push(format!("new        {}{like}; add its prices", new.id));
    }
    for changed in &refresh.changed {
        for fact in &changed.facts {
            lines.push(format!(
                "changed    {}: {} is {}, was {}",
                changed.id, fact.key, fact.is, fact.was
            ));
        }
    }
    for gone in &refresh.retired {
        let day = gone
            .retires
            .map(|day| format!(" on {day}"))
            .unwrap_or_default();
        let successor = gone
            .successor
            .as_ref()
            .map(|id| format!("; its successor is {id}"))
            .unwrap_or_default();
        lines.push(format!("retired    {}{day}{successor}", gone.id));
    }
    if !refresh.unlisted.is_empty() {
        lines.push(format!(
            "not listed {}: removed, or not available in this workspace",
            refresh.unlisted.join(", ")
        ));
    }
    one_a_line(lines)
}

fn batch_price(model: &Model, price: fn(&Prices) -> Price) -> Option<String> {
    let prices = model.prices.as_ref()?;
    Some(price(prices).times(prices.batch_factor)?.into())
}

fn short_id<'a>(id: &'a str, aliases: &'a [String]) -> &'a str {
    aliases
        .iter()
        .map(String::as_str)
        .min_by_key(|alias| alias.len())
        .unwrap_or(id)
}

fn most_output(model: &Model) -> u64 {
    model
        .max_batch_output_tokens
        .unwrap_or(0)
        .max(model.max_output_tokens)
}

/// The last day, where it is set.
fn until(model: &Model) -> String {
    model
        .retires
        .filter(|_| model.lifecycle == Lifecycle::Deprecated)
        .map(|day| day.to_string())
        .unwrap_or_default()
}

fn lived_until(model: &Model) -> String {
    match (model.lifecycle, model.retires) {
        (Lifecycle::Deprecated, Some(day)) => format!(", until {day}"),
        (_, Some(day)) => format!(", not retired before {day}"),
        (_, None) => String::new(),
    }
}

fn tokenizer(model: &Model) -> &'static str {
    match model.tokenizer {
        Tokenizer::First => "first tokenizer",
        Tokenizer::Second => "second tokenizer (about 30% more tokens than the first)",
    }
}

fn thinking(thinking: Thinking) -> &'static str {
    match thinking {
        Thinking::Extended => "only with `type = \"enabled\"` and a budget",
        Thinking::AdaptiveOptional => "off by default",
        Thinking::AdaptiveDefault => "on by default",
        Thinking::Always => "always on; counts against `max_tokens`",
    }
}
