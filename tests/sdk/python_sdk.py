"""Drives the simulator with Anthropic's Python SDK, unchanged.

    python tests/sdk/python_sdk.py http://127.0.0.1:PORT

The server is a fresh one, with faults.toml beside this file and batches that take about a second:
rowmill sim --faults tests/sdk/faults.toml --processing 1200ms
Prints a line for each thing that holds; stops with exit code 1 at the first that does not.
"""

import sys
import time

import anthropic

MODEL = "claude-haiku-4-5"
HELLO = [{"role": "user", "content": "Is the sky blue? Answer with one of: yes, no."}]
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["a", "b"]}, "note": {"type": "string"}},
    "required": ["label", "note"],
    "additionalProperties": False,
}


def ok(what, holds, seen=None):
    if not holds:
        print(f"not ok: {what}: {seen!r}")
        sys.exit(1)
    print(f"ok: {what}")


def refused(what, error, call):
    try:
        result = call()
    except error as e:
        ok(what, type(e) is error and e.request_id, e)
        return e
    ok(what, False, result)


def row(custom_id, **changes):
    return {"custom_id": custom_id, "params": {"model": MODEL, "max_tokens": 300, "messages": HELLO, **changes}}


def valid(line):
    return type(line).model_validate(line.model_dump(by_alias=True)) == line


def wait(client, batch_id):
    for _ in range(600):
        batch = client.messages.batches.retrieve(batch_id)
        if batch.processing_status == "ended":
            return batch
        ok_counts = batch.request_counts
        if ok_counts.succeeded + ok_counts.errored + ok_counts.canceled + ok_counts.expired:
            ok("counters stay 0 until the end", False, batch)
        time.sleep(0.05)
    ok("the batch ends", False, batch)


def main(base_url):
    print(f"anthropic {anthropic.__version__}")
    # Strict: every answer is checked against the types of the SDK.
    client = anthropic.Anthropic(base_url=base_url, api_key="not-a-key", _strict_response_validation=True)
    batches = client.messages.batches

    models = list(client.models.list(limit=2))
    ok("models are listed over pages", len({m.id for m in models}) == len(models) > 0, models)
    model = client.models.retrieve(MODEL)
    ok("a model has limits and capabilities", model.max_tokens > 0 and model.capabilities.batch.supported, model)
    refused("an unknown model is not found", anthropic.NotFoundError, lambda: client.models.retrieve("claude-0"))

    counted = client.messages.count_tokens(model=MODEL, messages=HELLO)
    message = client.messages.create(model=MODEL, max_tokens=300, messages=HELLO)
    ok("tokens are counted as billed", counted.input_tokens == message.usage.input_tokens > 0, (counted, message.usage))
    ok("a message answers with a label", message.content[0].text in ("yes", "no"), message)
    refused(
        "a message without room is a bad request",
        anthropic.BadRequestError,
        lambda: client.messages.create(model=MODEL, max_tokens=10**9, messages=HELLO, timeout=600),
    )

    rows = [row(f"row-{n}") for n in range(20)]
    rows.append(row("json", output_config={"format": {"type": "json_schema", "schema": SCHEMA}}))
    rows.append(row("tool", tools=[{"name": "file", "input_schema": SCHEMA}], tool_choice={"type": "any"}))
    rows.append(row("bad", model="claude-0"))
    rows.append(row("hot", temperature=0.5))
    batch = batches.create(requests=rows)
    ok("a batch begins in progress", batch.processing_status == "in_progress" and batch.results_url is None, batch)
    ok("all of it is processing", batch.request_counts.processing == len(rows), batch)
    ok("it expires after a day", (batch.expires_at - batch.created_at).total_seconds() == 86400, batch)
    same_size = [b for b in batches.list() if b.request_counts.processing == len(rows)]
    ok("the SDK's own retry of a lost create makes a second batch", len(same_size) == 2, same_size)

    try:
        batches.results(batch.id)
        ok("results before the end are refused", False)
    except anthropic.AnthropicError:
        ok("results before the end are refused", True)
    ended = wait(client, batch.id)
    counts = ended.request_counts
    ok("the counters sum up", (counts.succeeded, counts.errored, counts.processing) == (len(rows) - 2, 2, 0), counts)
    results = {line.custom_id: line.result for line in batches.results(batch.id)}
    ok("every line has the shape of the SDK's types", all(valid(line) for line in batches.results(batch.id)))
    ok("every row has one result", set(results) == {r["custom_id"] for r in rows}, results.keys())
    ok("a plain row succeeded", results["row-0"].message.usage.service_tier == "batch", results["row-0"])
    text = next(b.text for b in results["json"].message.content if b.type == "text")
    ok("the JSON row fits its schema", '"label":"' in text, text)
    ok("the tool row calls its tool", results["tool"].message.content[0].input["label"] in ("a", "b"), results["tool"])
    ok("an unknown model is learned at the end", results["bad"].error.error.type == "not_found_error", results["bad"])
    ok("so are sampling parameters", results["hot"].error.error.type == "invalid_request_error", results["hot"])

    for n in range(5):
        batches.create(requests=[row(f"page-{n}")])
    listed = list(batches.list(limit=2))
    ok("batches are listed over pages", len({b.id for b in listed}) == len(listed) == 7, listed)
    ok("newest first", [b.created_at for b in listed] == sorted((b.created_at for b in listed), reverse=True), listed)
    back = {b.id for b in batches.list(limit=3, before_id=listed[-1].id)}
    ok("and backwards", back == {b.id for b in listed[:-1]}, back)

    canceled = batches.create(requests=[row(f"c-{n}") for n in range(100)])
    canceling = batches.cancel(canceled.id)
    ok("a cancel is tried again after a 529", canceling.processing_status == "canceling", canceling)
    counts = wait(client, canceled.id).request_counts
    ok("a canceled batch ends", counts.canceled > 0 and counts.canceled + counts.succeeded == 100, counts)
    refused("an ended batch cannot be canceled", anthropic.NotFoundError, lambda: batches.cancel(canceled.id))

    refused("a wrong key is told apart", anthropic.AuthenticationError, lambda: batches.delete(canceled.id))
    deleted = batches.delete(canceled.id)
    ok("an ended batch is deleted", deleted.type == "message_batch_deleted", deleted)
    refused("and is gone", anthropic.NotFoundError, lambda: batches.retrieve(canceled.id))

    refused("an id of 65 characters is a bad request", anthropic.BadRequestError, lambda: batches.create(requests=[row("a" * 65)]))
    refused("an empty batch is a bad request", anthropic.BadRequestError, lambda: batches.create(requests=[]))
    hasty = client.with_options(max_retries=0)
    many = [row(f"q-{n}") for n in range(201)]
    limited = refused("a full queue is a rate limit", anthropic.RateLimitError, lambda: hasty.messages.batches.create(requests=many))
    ok("and says when to come back", int(limited.response.headers["retry-after"]) > 0, limited.response.headers)
    long = [{"role": "user", "content": "x" * 33_000_000}]
    try:
        client.messages.create(model=MODEL, max_tokens=10, messages=long)
        ok("33 MB are too large for a message", False)
    except anthropic.APIStatusError as e:
        ok("33 MB are too large for a message", e.status_code == 413, e)


if __name__ == "__main__":
    main(sys.argv[1])
