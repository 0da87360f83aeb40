//! The system blocks.

use arrow::datatypes::Schema;

use super::text_body::not_empty;
use super::{BlockSpec, SharedBlock, SharedBody, SystemSpec, TextBody, part_error};
use crate::media::MediaFacts;
use crate::template::{Error, Templates};

/// Compiles the system blocks and renders them; they name no column, because they are shared.
pub(super) fn compile_system(
    system: &SystemSpec,
    templates: &mut Templates,
    schema: &Schema,
) -> Result<Vec<SharedBlock>, Error> {
    let written;
    let blocks = match system {
        SystemSpec::Blocks(blocks) => blocks.as_slice(),
        SystemSpec::Text(text) => {
            written = [BlockSpec {
                text: Some(text.clone()),
                ..BlockSpec::default()
            }];
            &written
        }
    };
    let mut shared = Vec::new();
    for (i, block) in blocks.iter().enumerate() {
        let part = format!("system block {}", i + 1);
        if block.image.is_some() || block.document.is_some() {
            let problem = "is a picture or document, and the API takes only text there; make it \
                           the first block of the first message, which is shared and cached just \
                           the same";
            return part_error(&part, problem);
        }
        let body = TextBody::compile(&part, block, templates)?;
        if let TextBody::Template(name) = &body
            && let Some((template, line, name)) = templates.variables(name, schema)
        {
            return Err(Error::SystemVariable {
                part,
                template,
                line,
                name,
            });
        }
        let text = not_empty(&part, body.render_shared(&part, templates)?)?;
        let (cache, media) = (block.cache, MediaFacts::default());
        shared.push(SharedBlock {
            part,
            role: None,
            message: 0,
            text,
            cache,
            media,
            body: SharedBody::Whole,
        });
    }
    Ok(shared)
}
