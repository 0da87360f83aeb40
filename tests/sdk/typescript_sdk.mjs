// Drives the simulator with Anthropic's TypeScript SDK, unchanged.
//
//     node tests/sdk/typescript_sdk.mjs http://127.0.0.1:PORT [FOLDER]
//
// FOLDER is where `npm install @anthropic-ai/sdk` was run; by default the SDK is looked for from this file upwards.
// The server is a fresh one, with faults.toml beside this file and batches that take about a second:
// rowmill sim --faults tests/sdk/faults.toml --processing 1200ms
// Prints a line for each thing that holds; stops with exit code 1 at the first that does not.

import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import path from 'node:path';

const [baseURL, folder] = process.argv.slice(2);
const require = createRequire(folder ? path.resolve(folder, 'x.js') : import.meta.url);
const { Anthropic } = require('@anthropic-ai/sdk');
const entry = require.resolve('@anthropic-ai/sdk');
const { version } = JSON.parse(readFileSync(path.join(path.dirname(entry), 'package.json'), 'utf8'));

const model = 'claude-haiku-4-5';
const messages = [{ role: 'user', content: 'Is the sky blue? Answer with one of: yes, no.' }];
const schema = {
  type: 'object',
  properties: { label: { type: 'string', enum: ['a', 'b'] }, note: { type: 'string' } },
  required: ['label', 'note'],
  additionalProperties: false,
};

function ok(what, holds, seen) {
  if (!holds) {
    console.log(`not ok: ${what}: ${JSON.stringify(seen)}`);
    process.exit(1);
  }
  console.log(`ok: ${what}`);
}

async function refused(what, error, call) {
  try {
    ok(what, false, await call());
  } catch (e) {
    ok(what, e.constructor === error && e.requestID, { name: e.constructor.name, message: e.message });
    return e;
  }
}

const row = (custom_id, changes = {}) => ({ custom_id, params: { model, max_tokens: 300, messages, ...changes } });
const rows = (prefix, n) => Array.from({ length: n }, (_, i) => row(`${prefix}-${i}`));
const all = async (pages) => {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
};

async function wait(batches, id) {
  for (let n = 0; n < 600; n++) {
    const batch = await batches.retrieve(id);
    if (batch.processing_status === 'ended') return batch;
    const { succeeded, errored, canceled, expired } = batch.request_counts;
    if (succeeded + errored + canceled + expired) ok('counters stay 0 until the end', false, batch);
    await new Promise((done) => setTimeout(done, 50));
  }
  ok('the batch ends', false);
}

console.log(`@anthropic-ai/sdk ${version}`);
const client = new Anthropic({ baseURL, apiKey: 'not-a-key' });
const { batches } = client.messages;

const models = await all(client.models.list({ limit: 2 }));
ok('models are listed over pages', models.length > 0 && new Set(models.map((m) => m.id)).size === models.length, models);
const info = await client.models.retrieve(model);
ok('a model has limits and capabilities', info.max_tokens > 0 && info.capabilities.batch.supported, info);
await refused('an unknown model is not found', Anthropic.NotFoundError, () => client.models.retrieve('claude-0'));

const counted = await client.messages.countTokens({ model, messages });
const message = await client.messages.create({ model, max_tokens: 300, messages });
ok('tokens are counted as billed', counted.input_tokens === message.usage.input_tokens, [counted, message.usage]);
ok('a message answers with a label', ['yes', 'no'].includes(message.content[0].text), message);
await refused('a message without room is a bad request', Anthropic.BadRequestError, () =>
  client.messages.create({ model, max_tokens: 1e9, messages }, { timeout: 600_000 }),
);

const requests = [
  ...rows('row', 20),
  row('json', { output_config: { format: { type: 'json_schema', schema } } }),
  row('tool', { tools: [{ name: 'file', input_schema: schema }], tool_choice: { type: 'any' } }),
  row('bad', { model: 'claude-0' }),
  row('hot', { temperature: 0.5 }),
];
const batch = await batches.create({ requests });
ok('a batch begins in progress', batch.processing_status === 'in_progress' && batch.results_url === null, batch);
ok('all of it is processing', batch.request_counts.processing === requests.length, batch);
const twins = (await all(batches.list())).filter((b) => b.request_counts.processing === requests.length);
ok("the SDK's own retry of a lost create makes a second batch", twins.length === 2, twins);

let early;
try {
  await batches.results(batch.id);
} catch (e) {
  early = e;
}
ok('results before the end are refused', early instanceof Anthropic.AnthropicError, early);
const { request_counts } = await wait(batches, batch.id);
ok('the counters sum up', request_counts.succeeded === requests.length - 2 && request_counts.errored === 2, request_counts);
const results = new Map();
for await (const line of await batches.results(batch.id)) results.set(line.custom_id, line.result);
ok('every row has one result', results.size === requests.length && requests.every((r) => results.has(r.custom_id)), [...results.keys()]);
ok('a plain row succeeded', results.get('row-0').message.usage.service_tier === 'batch', results.get('row-0'));
const text = results.get('json').message.content.find((b) => b.type === 'text').text;
ok('the JSON row fits its schema', ['a', 'b'].includes(JSON.parse(text).label), text);
ok('the tool row calls its tool', ['a', 'b'].includes(results.get('tool').message.content[0].input.label), results.get('tool'));
ok('an unknown model is learned at the end', results.get('bad').error.error.type === 'not_found_error', results.get('bad'));
ok('so are sampling parameters', results.get('hot').error.error.type === 'invalid_request_error', results.get('hot'));

for (let n = 0; n < 5; n++) await batches.create({ requests: [row(`page-${n}`)] });
const listed = await all(batches.list({ limit: 2 }));
ok('batches are listed over pages', listed.length === 7 && new Set(listed.map((b) => b.id)).size === 7, listed);
const back = await all(batches.list({ limit: 3, before_id: listed[6].id }));
ok('and backwards', back.length === 6 && new Set(back.map((b) => b.id)).size === 6, back);

const canceled = await batches.create({ requests: rows('c', 100) });
const canceling = await batches.cancel(canceled.id);
ok('a cancel is tried again after a 529', canceling.processing_status === 'canceling', canceling);
const counts = (await wait(batches, canceled.id)).request_counts;
ok('a canceled batch ends', counts.canceled > 0 && counts.canceled + counts.succeeded === 100, counts);
await refused('an ended batch cannot be canceled', Anthropic.NotFoundError, () => batches.cancel(canceled.id));

await refused('a wrong key is told apart', Anthropic.AuthenticationError, () => batches.delete(canceled.id));
const deleted = await batches.delete(canceled.id);
ok('an ended batch is deleted', deleted.type === 'message_batch_deleted', deleted);
await refused('and is gone', Anthropic.NotFoundError, () => batches.retrieve(canceled.id));

await refused('an id of 65 characters is a bad request', Anthropic.BadRequestError, () =>
  batches.create({ requests: [row('a'.repeat(65))] }),
);
await refused('an empty batch is a bad request', Anthropic.BadRequestError, () => batches.create({ requests: [] }));
const hasty = client.withOptions({ maxRetries: 0 });
const limited = await refused('a full queue is a rate limit', Anthropic.RateLimitError, () =>
  hasty.messages.batches.create({ requests: rows('q', 201) }),
);
ok('and says when to come back', Number(limited.headers.get('retry-after')) > 0, limited.headers);
