//! Reads a request: its head once for all requests that share it, its messages each time.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use super::model_rules::ModelRules;
use super::tools::RequestTools;
use super::values::ParamValues;
use super::{AnswerFormat, CallContext, Endpoint, ParsedRequest, RequestHead, system};
use crate::catalog::{Catalog, Model};
use crate::request::betas::INTERLEAVED_THINKING;
use crate::simulator::cache::{Prefix, Ttl};
use crate::simulator::files::FileStore;
use crate::simulator::media::MediaReader;
use crate::simulator::reply::ErrorReply;
use crate::simulator::{forms, labels, messages, tokens};

/// Reads requests; remembers heads.
pub(in crate::simulator) struct RequestReader {
    catalog: Arc<Catalog>,
    pub(super) heads: HashMap<[u8; 32], Result<Arc<RequestHead>, ErrorReply>>,
    media: MediaReader,
}

/// Heads that are remembered; a run has one, or a few.
pub(super) const MAX_HEADS: usize = 64;

pub(super) type Fields<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

impl RequestReader {
    pub(in crate::simulator) fn new(catalog: Arc<Catalog>, files: Arc<FileStore>) -> RequestReader {
        RequestReader {
            catalog,
            heads: HashMap::new(),
            media: MediaReader::new(files),
        }
    }

    /// Reads and checks one request.
    pub(in crate::simulator) fn read(
        &mut self,
        params: &str,
        context: CallContext<'_>,
    ) -> Result<ParsedRequest, ErrorReply> {
        let fields = split(params)?;
        let head = self.head(&fields, context)?;
        let messages = fields
            .iter()
            .rev()
            .find(|(key, _)| key == "messages")
            .ok_or_else(|| ErrorReply::invalid("messages: Field required"))?;
        let row = messages::read(&head, messages.1, context, &mut self.media)?;
        let total = row.input_tokens
            + if context.endpoint == Endpoint::CountTokens {
                0
            } else {
                1
            };
        if total > head.model.context_tokens {
            let (found, most) = (row.input_tokens, head.model.context_tokens);
            return Err(ErrorReply::invalid(format!(
                "prompt is too long: {found} tokens > {most} maximum"
            )));
        }
        Ok(ParsedRequest { head, row })
    }

    fn head(
        &mut self,
        fields: &Fields<'_>,
        context: CallContext<'_>,
    ) -> Result<Arc<RequestHead>, ErrorReply> {
        let key = fingerprint(fields, context);
        if let Some(known) = self.heads.get(&key) {
            return known.clone();
        }
        let head = self.read_head(fields, context).map(Arc::new);
        if self.heads.len() >= MAX_HEADS {
            self.heads.clear();
        }
        self.heads.insert(key, head.clone());
        head
    }

    fn read_head(
        &self,
        fields: &Fields<'_>,
        context: CallContext<'_>,
    ) -> Result<RequestHead, ErrorReply> {
        let params = ParamValues::read(fields)?;
        params.check_names(context)?;
        let (model_id, model) = self.model(&params)?;
        let rules = ModelRules {
            id: &model_id,
            model: &model,
            context,
        };
        params.check_values(&rules)?;
        let max_tokens = rules.max_tokens(params.get("max_tokens"))?;
        rules.sampling(&params)?;
        let effort = rules.effort(&params)?;
        let tools = RequestTools::read(params.get("tools"))?;
        tools.check_models(&rules, &self.catalog)?;
        // Between calls of tools, the budget is for all turns together.
        let is_interleaved = context.has_beta(INTERLEAVED_THINKING) && !tools.is_empty();
        let most_budget = if is_interleaved { u64::MAX } else { max_tokens };
        let thinking = rules.thinking(params.get("thinking"), most_budget, effort.as_deref())?;
        tools.check_schemas(params.answer_schema())?;
        let server_tools = tools.of_the_provider();
        let forced = tools.choice(params.get("tool_choice"), &rules, thinking)?;
        let format = rules.format(&params)?;

        let mut prefix = Prefix::new(model.min_cache_tokens);
        prefix.context(&[
            model_id.as_bytes(),
            format
                .as_ref()
                .map(Value::to_string)
                .unwrap_or_default()
                .as_bytes(),
        ]);
        prefix.add_tokens(
            tokens::PER_REQUEST
                + format
                    .as_ref()
                    .map_or(0, |f| tokens::count(model.tokenizer, &f.to_string())),
        );
        tools.into_prefix(&mut prefix, &model, params.get("tool_choice"))?;
        let system = system::read(params.get("system"), &mut prefix, model.tokenizer)?;
        let other = ["tool_choice", "thinking"]
            .map(|key| params.get(key).map(Value::to_string).unwrap_or_default());
        prefix.context(&[
            other[0].as_bytes(),
            other[1].as_bytes(),
            effort.as_deref().unwrap_or_default().as_bytes(),
        ]);

        let shape = match (format, forced) {
            (Some(schema), _) => AnswerFormat::Json(schema),
            (None, Some(callable)) => AnswerFormat::Tools(callable),
            (None, None) => AnswerFormat::Free,
        };
        Ok(RequestHead {
            max_tokens,
            thinking,
            effort,
            shape,
            labels: labels::find(&system),
            form: forms::find(&system),
            server_tools,
            stop_sequences: params.texts("stop_sequences")?,
            inference_geo: params
                .get("inference_geo")
                .and_then(Value::as_str)
                .map(str::to_owned),
            automatic_mark: Ttl::of(params.get("cache_control"), "")?,
            prefix,
            model,
            model_id,
        })
    }

    fn model(&self, params: &ParamValues) -> Result<(String, Model), ErrorReply> {
        let name = params
            .get("model")
            .ok_or_else(|| ErrorReply::invalid("model: Field required"))?;
        let name = name
            .as_str()
            .ok_or_else(|| ErrorReply::invalid("model: Input should be a valid string"))?;
        match self.catalog.model(name) {
            Some((id, model)) => Ok((id.to_owned(), model.clone())),
            None => Err(ErrorReply::not_found(format!("model: {name}"))),
        }
    }
}

/// Takes `params` apart without looking into the values.
fn split(params: &str) -> Result<Fields<'_>, ErrorReply> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Fields<'de>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut fields = Vec::with_capacity(12);
            while let Some(key) = map.next_key::<Key<'de>>()? {
                fields.push((key.0, map.next_value()?));
            }
            Ok(fields)
        }
    }
    #[derive(serde::Deserialize)]
    struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

    let mut deserializer = serde_json::Deserializer::from_str(params);
    let fields = serde::Deserializer::deserialize_map(&mut deserializer, Visitor)
        .and_then(|f| deserializer.end().map(|()| f));
    fields.map_err(|e| {
        let text = e.to_string();
        ErrorReply::invalid(format!(
            "The request body is not valid JSON: {}",
            text.split(" at line ").next().unwrap_or_default()
        ))
    })
}

fn fingerprint(fields: &Fields<'_>, context: CallContext<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[
        context.endpoint as u8,
        u8::from(context.new_version),
        u8::try_from(context.betas.len()).unwrap_or(u8::MAX),
    ]);
    for beta in context.betas {
        hasher
            .update(&(beta.len() as u64).to_le_bytes())
            .update(beta.as_bytes());
    }
    for (key, value) in fields.iter().filter(|(key, _)| key != "messages") {
        for part in [key.as_bytes(), value.get().as_bytes()] {
            hasher
                .update(&(part.len() as u64).to_le_bytes())
                .update(part);
        }
    }
    *hasher.finalize().as_bytes()
}
