//! The requests of a job, compiled: the head they share, and each row's own fragment.

use std::fmt;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::hash::RequestHash;
use super::job_checks::{
    check_advisors, check_model, check_prompt_with_schema, check_schemas, large_shared_media,
    limits_of, marks,
};
use super::options::RequestOptions;
use super::per_row::{JobParams, PerRow};
use super::rows::RequestRows;
use super::tools::Tool;
use super::warnings::RequestWarning;
use super::{Error, RequestSpec, RowError, encode, parameters, schema};
use crate::catalog::{Catalog, Thinking};
use crate::media::MediaFacts;
use crate::template::prompt::{Prompt, PromptContext, PromptLimits, SharedBlock, check_marks};
use crate::template::{self, TemplateColumns};

/// The requests of a job, compiled: what they share, and how a row becomes its part.
///
/// ```
/// # use std::{path::Path, sync::Arc};
/// # use arrow::array::{RecordBatch, StringArray};
/// # use rowmill::{catalog::Catalog, request::{RequestSpec, Requests}};
/// let spec: RequestSpec = toml::from_str(
///     r#"model = "claude-haiku-4-5"
///        max_tokens = 10
///        system = "Sort the message into one of: bug, question."
///        messages = [{ role = "user", text = "{{ subject }}" }]"#,
/// )?;
/// let rows = RecordBatch::try_from_iter([("subject", Arc::new(StringArray::from(vec!["It \"crashes\""])) as _)])?;
///
/// let requests = Requests::compile(&spec, Path::new("."), &rows.schema(), Catalog::builtin())?;
/// let mut fragment = Vec::new();
/// requests.render(&rows, 0, &mut fragment)?;
/// assert_eq!(String::from_utf8(fragment)?, r#"{"role":"user","content":"It \"crashes\""}]}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Requests {
    pub(super) prompt: Prompt,
    /// Those of the job's model; the widest where rows choose theirs.
    pub(super) limits: PromptLimits,
    pub(super) head: Vec<u8>,
    /// The hash state after the head, from which each row's hash continues.
    head_hash: blake3::Hasher,
    pub(super) has_shared_messages: bool,
    pub(super) schema: Option<schema::AnswerSchema>,
    pub(super) tools: Vec<Tool>,
    pub(super) job: JobParams,
    pub(super) per_row: PerRow,
    pub(super) warnings: Vec<RequestWarning>,
    files: Vec<(PathBuf, String)>,
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("head_bytes", &self.head.len())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Requests {
    /// Compiles the requests of a job against the columns of its source; paths start from `folder`,
    /// the job's own.
    ///
    /// # Errors
    /// [`Error`]: everything that would fail for every row.
    pub fn compile(
        spec: &RequestSpec,
        folder: &Path,
        columns: &Schema,
        catalog: &Catalog,
    ) -> Result<Requests, Error> {
        Requests::compile_in(spec, &PromptContext::in_folder(folder), columns, catalog)
    }

    /// As [`Requests::compile`], knowing where the table lies and which files have been uploaded.
    ///
    /// # Errors
    /// As there.
    pub fn compile_in(
        spec: &RequestSpec,
        setting: &PromptContext<'_>,
        columns: &Schema,
        catalog: &Catalog,
    ) -> Result<Requests, Error> {
        let folder = setting.folder;
        // Where rows choose their model, what all share is checked for each row by its own model.
        let limits = match catalog.model(&spec.model) {
            _ if spec.per_row.model.is_some() => PromptLimits::WIDEST,
            Some((_, model)) => limits_of(model),
            None => setting.limits,
        };
        let prompt = Prompt::compile(
            &spec.system,
            &spec.messages,
            &PromptContext {
                limits,
                ..setting.clone()
            },
            columns,
        )?;
        let mut files = prompt.files().to_vec();
        // A model that is not in the catalog is newer than this version, and so are its tools.
        let newest_tools = catalog
            .model(&spec.model)
            .is_none_or(|(_, model)| model.thinking != Thinking::Extended);
        let RequestOptions {
            params,
            output_config,
            tools,
            mut features,
            mut warnings,
        } = RequestOptions::compile(spec, newest_tools, folder, &mut files)?;
        warnings.extend(prompt.shared().iter().filter_map(large_shared_media));
        check_marks(&marks(&tools, prompt.shared(), params.get("cache_control")))?;
        check_advisors(&tools, catalog)?;
        let schema = spec
            .schema
            .as_ref()
            .map(|spec| schema::read(spec, folder, &mut files))
            .transpose()?;
        if schema.is_some() {
            check_prompt_with_schema(&prompt)?;
        }
        check_schemas(&tools, schema.as_ref())?;
        features.prefill = prompt.ends_with_prefill();
        features.system_messages = prompt.has_system_messages();
        let job = JobParams {
            model: spec.model.clone(),
            max_tokens: spec.max_tokens,
            features,
        };
        warnings.extend(check_model(spec, &job, catalog)?);
        let output_config = encode::output_config(
            output_config,
            schema.as_ref().map(schema::AnswerSchema::sent),
        );
        let per_row = PerRow::compile(spec, columns, &output_config, catalog)?;
        // What rows set themselves is left out of the head: it closes each fragment instead.
        let head = encode::HeadParts {
            model: (!per_row.has_model()).then_some(spec.model.as_str()),
            max_tokens: (!per_row.has_max_tokens()).then_some(spec.max_tokens),
            params: &params,
            tools: &tools,
            output_config: Some(&output_config)
                .filter(|config| !config.is_empty() && !per_row.has_effort()),
            shared: prompt.shared(),
            is_open: prompt.is_open(),
        }
        .bytes();
        // Hashed once: the head may be megabytes long, and each row's hash is over head and
        // fragment.
        let mut head_hash = blake3::Hasher::new();
        head_hash.update(&head);
        let has_shared_messages = prompt.shared().iter().any(|block| block.role.is_some());
        Ok(Requests {
            prompt,
            limits,
            head,
            head_hash,
            has_shared_messages,
            schema,
            tools,
            job,
            per_row,
            warnings,
            files,
        })
    }

    /// The columns that the templates and the rows' own choices read.
    #[must_use]
    pub fn columns(&self) -> TemplateColumns {
        self.prompt
            .columns()
            .clone()
            .union(TemplateColumns::Named(self.per_row.columns()))
    }

    /// Text columns that templates use as conditions.
    pub(crate) fn conditions(&self) -> &[template::TextCondition] {
        self.prompt.conditions()
    }

    /// The start of `params`, the same in every request: everything up to the first message that
    /// depends on the row.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The head with no message left open, so that another message may follow it: the shared part
    /// may end in the middle of one.
    #[must_use]
    pub fn closed_head(&self) -> Vec<u8> {
        let end: &[u8] = if self.prompt.is_open() { b"]}" } else { b"" };
        [&self.head, end].concat()
    }

    /// What all requests share, in the order the model reads it: system blocks, then the blocks of
    /// the first messages. Tools, which the model reads before, are not among them. A block is text
    /// or, where [`SharedBlock::media`] is not empty, a picture or document.
    #[must_use]
    pub fn shared_text(&self) -> &[SharedBlock] {
        self.prompt.shared()
    }

    /// The pictures and documents among what all requests share.
    #[must_use]
    pub fn shared_media(&self) -> &MediaFacts {
        self.prompt.shared_media()
    }

    /// Whether rows carry pictures or documents, so that their requests differ much in size.
    #[must_use]
    pub fn has_row_media(&self) -> bool {
        self.prompt.has_row_media()
    }

    /// Every template, system file and schema that was read, as the job names it, with its blake3
    /// in hex.
    #[must_use]
    pub fn template_files(&self) -> &[(PathBuf, String)] {
        &self.files
    }

    /// The schema that answers follow: as it was written, and as it is sent.
    #[must_use]
    pub fn answer_schema(&self) -> Option<&schema::AnswerSchema> {
        self.schema.as_ref()
    }

    /// The tools that every request offers, in their order.
    #[must_use]
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// Which parameters rows set.
    #[must_use]
    pub fn per_row(&self) -> PerRowParams {
        PerRowParams {
            model: self.per_row.has_model(),
            max_tokens: self.per_row.has_max_tokens(),
            effort: self.per_row.has_effort(),
            user_id: self.per_row.has_user_id(),
            tag: self.per_row.has_tag(),
        }
    }

    /// What is accepted and may not be meant; none of it stops the job.
    #[must_use]
    pub fn warnings(&self) -> &[RequestWarning] {
        &self.warnings
    }

    /// Whether the last message is the beginning of the answer (a prefill), which newer models
    /// refuse.
    #[must_use]
    pub fn ends_with_prefill(&self) -> bool {
        self.prompt.ends_with_prefill()
    }

    /// Prepares a batch for rendering; cheaper than [`Requests::render`] where several rows of it
    /// are rendered.
    #[must_use]
    pub fn rows(&self, batch: &RecordBatch) -> RequestRows<'_> {
        RequestRows {
            requests: self,
            table: self.prompt.table(batch),
            values: self.per_row.values(batch),
        }
    }

    /// Appends the fragment of one row to `out`.
    ///
    /// # Errors
    /// [`RowError`]: the row cannot be rendered, or a message is empty. `out` is then as it was.
    pub fn render(
        &self,
        batch: &RecordBatch,
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<RequestHash, RowError> {
        self.rows(batch).render(row, out)
    }

    /// The hash of the request with this fragment.
    #[must_use]
    pub fn hash(&self, fragment: &[u8]) -> RequestHash {
        let mut hasher = self.head_hash.clone();
        hasher.update(fragment);
        RequestHash::finish(&hasher)
    }

    /// The whole `params` object of a fragment, as it is sent.
    #[must_use]
    pub fn params_json(&self, fragment: &[u8]) -> Vec<u8> {
        [&self.head, fragment].concat()
    }
}

/// Which parameters rows choose by themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerRowParams {
    /// Their model.
    pub model: bool,
    /// Their `max_tokens`.
    pub max_tokens: bool,
    /// Their effort.
    pub effort: bool,
    /// Whom the request is made for.
    pub user_id: bool,
    /// Their tag, which is not sent.
    pub tag: bool,
}

impl PerRowParams {
    /// The members of `params` that differ from row to row because rows set them.
    #[must_use]
    pub fn members(&self) -> Vec<&'static str> {
        parameters::per_row()
            .filter(|(key, _)| match *key {
                "model" => self.model,
                "max_tokens" => self.max_tokens,
                "effort" => self.effort,
                "user_id" => self.user_id,
                _ => false,
            })
            .map(|(_, parameter)| parameter.name)
            .collect()
    }
}
