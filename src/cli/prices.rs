//! `rowmill prices`: the prices of models and of the provider's tools, with their date and sources.

use rowmill::catalog::{Catalog, PriceFactor, Prices as ModelPrices, Rates};
use rowmill::cost::Unpriced;
use rowmill::engine::Error;
use serde::Serialize;
use serde_json::json;

use super::args::Prices;
use super::explain::{self, Failure};
use super::format::count;
use super::layout::Column;
use super::screen::{Screen, shown, shown_to, table};

/// One line of the table: the price_set prices of a model, for prompts of some length.
#[derive(Serialize)]
struct PriceLine<'a> {
    model: &'a str,
    /// The line holds for prompts of more tokens than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    above_prompt_tokens: Option<u64>,
    is_retired: bool,
    is_overridden: bool,
    us_factor: Option<PriceFactor>,
    batch: PriceSet,
    standard: PriceSet,
}

/// Dollars per million tokens.
#[derive(Serialize)]
struct PriceSet {
    input: String,
    output: String,
    cache_write_5m: String,
    cache_write_1h: String,
    cache_read: String,
}

pub(crate) fn run(args: &Prices, catalog: &Catalog, screen: &Screen) -> Result<u8, Failure> {
    let lines = match &args.model {
        Some(model) => lines_of(model, catalog)?,
        None => all_lines(catalog),
    };
    let unpriced: Vec<&str> = match &args.model {
        Some(_) => Vec::new(),
        None => catalog
            .models
            .iter()
            .filter(|(_, model)| model.prices.is_none())
            .map(|(id, _)| id.as_str())
            .collect(),
    };
    if screen.json {
        screen.json(&json!({
            "date": catalog.date,
            "sources": catalog.sources,
            "unit": "US dollars per million tokens",
            "prices": lines,
            "server_tools": catalog.server_tools,
            "without_price": unpriced,
            "overridden": catalog.overridden,
        }));
        return Ok(explain::DONE);
    }
    let (live, gone): (Vec<&PriceLine<'_>>, Vec<&PriceLine<'_>>) =
        lines.iter().partition(|line| !line.is_retired);
    let both = args.model.is_some();
    let tables = [(live, "model"), (gone, "retired model")];
    let tables = tables.iter().filter(|(lines, _)| !lines.is_empty());
    let tables: Vec<String> = tables
        .map(|(lines, name)| price_table(lines, name, both, args.standard))
        .collect();
    screen.data(tables.join("\n\n"));
    screen.data(footer(args, catalog, &unpriced));
    Ok(explain::DONE)
}

fn price_table(lines: &[&PriceLine<'_>], name: &str, both: bool, standard: bool) -> String {
    let columns = [
        Column::Id(name),
        Column::Number("input"),
        Column::Number("output"),
        Column::Number("write 5m"),
        Column::Number("write 1h"),
        Column::Number("read"),
        Column::Number("in the US"),
    ];
    let mut rows = Vec::new();
    for line in lines {
        let mark = if line.is_overridden { " *" } else { "" };
        let name = match line.above_prompt_tokens {
            Some(tokens) => format!("  prompts above {}", count(tokens)),
            None => format!("{}{mark}", line.model),
        };
        let us = line
            .us_factor
            .map_or_else(String::new, |factor| format!("x {factor}"));
        let row = |name: String, price_set: &PriceSet| {
            let PriceSet {
                input,
                output,
                cache_write_5m,
                cache_write_1h,
                cache_read,
            } = price_set;
            let mut cells = vec![name];
            cells.extend(
                [input, output, cache_write_5m, cache_write_1h, cache_read]
                    .map(|price| cents(price)),
            );
            cells.push(us.clone());
            cells
        };
        if both {
            rows.push(row(format!("{name}, batch"), &line.batch));
            rows.push(row(format!("{name}, standard"), &line.standard));
        } else {
            rows.push(row(
                name,
                if standard {
                    &line.standard
                } else {
                    &line.batch
                },
            ));
        }
    }
    table(&columns, rows)
}

fn footer(args: &Prices, catalog: &Catalog, unpriced: &[&str]) -> String {
    let tools = &catalog.server_tools;
    let what = match (&args.model, args.standard) {
        (Some(_), _) => "US dollars per million tokens",
        (None, false) => {
            "US dollars per million tokens in a batch; --standard shows prices outside of one"
        }
        (None, true) => "US dollars per million tokens outside of batches",
    };
    let fetch = match tools.web_fetch.to_string().as_str() {
        "0" => "free, except for the tokens of its pages".to_owned(),
        price => format!("{} per 1,000, plus the tokens of its pages", dollars(price)),
    };
    let mut lines = vec![
        String::new(),
        what.to_owned(),
        format!(
            "web search      {} per 1,000, in a batch too",
            dollars(&tools.web_search.to_string())
        ),
        format!("web fetch       {fetch}"),
        format!(
            "code execution  {} per hour, after {} free hours a month that are \
             counted\n                over the whole organization: not included in the cost of a \
             row or run",
            dollars(&tools.code_execution_hour.to_string()),
            count(tools.code_execution_free_hours)
        ),
        format!("as of           {}", catalog.date),
    ];
    for (n, source) in catalog.sources.iter().enumerate() {
        lines.push(format!(
            "{:<16}{}",
            if n == 0 { "sources" } else { "" },
            shown(source)
        ));
    }
    if !unpriced.is_empty() {
        lines.push(format!(
            "without price   {}",
            shown_to(&unpriced.join(", "), 2_000)
        ));
    }
    if !catalog.overridden.is_empty() {
        let ids: Vec<&str> = catalog.overridden.iter().map(String::as_str).collect();
        lines.push(format!(
            "* your own      {}",
            shown_to(&ids.join(", "), 2_000)
        ));
    }
    lines.join("\n")
}

/// An amount of a price list with its sign.
fn dollars(text: &str) -> String {
    format!("${}", cents(text))
}

/// A decimal with two decimals at least.
fn cents(text: &str) -> String {
    match text.split_once('.') {
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => format!("{text}.00"),
        None => text.to_owned(),
        Some((whole, cents)) => format!("{whole}.{cents:0<2}"),
    }
}

fn all_lines(catalog: &Catalog) -> Vec<PriceLine<'_>> {
    let live = catalog
        .models
        .iter()
        .map(|(id, model)| (id, &model.prices, false));
    let gone = catalog
        .retired
        .iter()
        .map(|(id, model)| (id, &model.prices, true));
    let priced = live
        .chain(gone)
        .filter_map(|(id, prices, is_retired)| Some((id, prices.as_ref()?, is_retired)));
    priced
        .flat_map(|(id, prices, is_retired)| lines(id, prices, is_retired, catalog))
        .collect()
}

fn lines_of<'c>(model: &str, catalog: &'c Catalog) -> Result<Vec<PriceLine<'c>>, Failure> {
    let unknown = || Error::UnknownModel {
        model: model.to_owned(),
        nearest: catalog
            .nearest(model)
            .into_iter()
            .map(str::to_owned)
            .collect(),
    };
    let prices = rowmill::cost::prices(catalog, model).map_err(|error| match error {
        Unpriced::UnknownModel { .. } => unknown(),
        error => error.into(),
    })?;
    let (id, is_retired) = match (catalog.model(model), catalog.retired(model)) {
        (Some((id, _)), _) => (id, false),
        (None, Some((id, _))) => (id, true),
        (None, None) => return Ok(Vec::new()),
    };
    Ok(lines(id, prices, is_retired, catalog))
}

fn lines<'c>(
    id: &'c str,
    prices: &ModelPrices,
    is_retired: bool,
    catalog: &Catalog,
) -> Vec<PriceLine<'c>> {
    let bands = prices
        .bands
        .iter()
        .map(|band| Some(band.above_prompt_tokens));
    let line = |above: Option<u64>| {
        let rates = prices.rates(above.map_or(0, |tokens| tokens.saturating_add(1)));
        PriceLine {
            model: id,
            above_prompt_tokens: above,
            is_retired,
            is_overridden: catalog.overridden.contains(id),
            us_factor: prices.us_factor,
            batch: price_set(rates, Some(prices.batch_factor)),
            standard: price_set(rates, None),
        }
    };
    std::iter::once(None).chain(bands).map(line).collect()
}

fn price_set(rates: Rates, factor: Option<PriceFactor>) -> PriceSet {
    let rates = factor.map_or(Some(rates), |factor| rates.times(factor));
    // A price of one's own can be too fine to be halved in whole units.
    let price = |price: fn(Rates) -> rowmill::catalog::Price| {
        rates.map_or_else(|| "?".to_owned(), |rates| price(rates).to_string())
    };
    PriceSet {
        input: price(|rates| rates.input),
        output: price(|rates| rates.output),
        cache_write_5m: price(|rates| rates.cache_write_5m),
        cache_write_1h: price(|rates| rates.cache_write_1h),
        cache_read: price(|rates| rates.cache_read),
    }
}
