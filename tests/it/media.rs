//! Images, documents and uploaded files, end to end on the simulator.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray, UInt64Array};
use parquet::arrow::ArrowWriter;
use rowmill::simulator::ApiCall;

use crate::support::{Sim, Workdir};

/// A job over a source, with the given messages and further keys of `[request]`.
fn job(source: &str, key: &str, request: &str) -> String {
    format!(
        r#"[job]
name = "media"

[source]
path = "{source}"

[key]
columns = ["{key}"]

[request]
model = "claude-haiku-4-5"
max_tokens = 200
{request}

[retry]
server_error = 0

[output]
path = "out.parquet"
"#
    )
}

/// A PNG of one color; its pixels are never read.
fn png(width: u32, height: u32) -> Vec<u8> {
    let chunk = |name: &[u8], data: &[u8]| {
        [&(data.len() as u32).to_be_bytes()[..], name, data, &[0; 4]].concat()
    };
    let header = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes(),
        &[8, 2, 0, 0, 0],
    ]
    .concat();
    [
        &b"\x89PNG\r\n\x1a\n"[..],
        &chunk(b"IHDR", &header),
        &chunk(b"IDAT", &[0; 9]),
        &chunk(b"IEND", &[]),
    ]
    .concat()
}

/// The tokens of an image that needs no scaling, by the published formula.
fn patches(width: u64, height: u64) -> u64 {
    width.div_ceil(28) * height.div_ceil(28)
}

/// The photos of the samples, and two empty images of known size, by name.
fn pictures() -> Vec<(String, Vec<u8>)> {
    let photos = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_data/plants/photos");
    let mut pictures: Vec<_> = fs::read_dir(photos)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect();
    pictures.push(("large.png".to_owned(), png(640, 427)));
    pictures.push(("small.png".to_owned(), png(102, 102)));
    pictures
}

#[test]
fn pictures_cost_the_same_by_path_and_by_bytes() {
    let pictures = pictures();
    let names = || pictures.iter().map(|(name, _)| name.as_str());
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(names()));
    let bytes = pictures.iter().map(|(_, bytes)| bytes);
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(bytes));
    let mut tokens = Vec::new();
    for (source, image) in [
        ("rows.csv", r#"{ column = "id", media_type = "image/png" }"#),
        ("rows.parquet", r#"{ column = "photo" }"#),
    ] {
        let work = Workdir::new();
        let request = format!(
            "messages = \
             [{{ role = \"user\", content = [{{ image = {image} }}, {{ text = \"What is on it?\" }}] }}]"
        );
        work.write("job.toml", job(source, "id", &request));
        for (name, bytes) in &pictures {
            work.write(name, bytes);
        }
        work.write(
            "rows.csv",
            format!("id\n{}\n", names().collect::<Vec<_>>().join("\n")),
        );
        let columns = [("id", Arc::clone(&ids)), ("photo", Arc::clone(&bytes))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = fs::File::create(work.path("rows.parquet")).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
        let table = work.parquet("out.parquet");
        let by_name: BTreeMap<String, u64> = table
            .column("id")
            .into_iter()
            .zip(table.column("_rm_input_tokens"))
            .map(|(name, tokens)| (name, tokens.parse().unwrap()))
            .collect();
        assert_eq!(by_name.len(), pictures.len());
        tokens.push(by_name);
    }
    assert_eq!(tokens[0], tokens[1]);
    // The text of the prompt costs the same for all.
    assert_eq!(
        tokens[0]["large.png"] - tokens[0]["small.png"],
        patches(640, 427) - patches(102, 102)
    );
}

#[test]
fn sends_a_long_document_with_every_row_or_once() {
    let novel: String = (0..5_000)
        .map(|n| format!("In chapter {n}, somebody pays a visit and says little. "))
        .collect();
    let part = &novel[..250_000];
    let mut sizes = Vec::new();
    for upload in ["false", "true"] {
        let work = Workdir::new();
        let request = format!(
            r#"messages = [{{ role = "user", content = [
{{ document = {{ file = "novel.txt", title = "The visits", upload = {upload} }}, cache = "1h" }},
{{ text = "Who is {{{{ name }}}}?" }},
] }}]"#
        );
        work.write("novel.txt", part)
            .write("job.toml", job("rows.csv", "name", &request));
        work.write("rows.csv", "name\nLizzy\nJane\nMr. Collins\n");
        let run = work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
        assert_eq!(
            run.stderr
                .contains("is part of every request; `upload = true` sends it once"),
            upload == "false"
        );
        let table = work.parquet("out.parquet");
        assert!(
            table
                .column("_rm_status")
                .iter()
                .all(|status| status == "succeeded")
        );
        let cached = |row: usize| {
            let written = table.column("_rm_cache_creation_1h_input_tokens")[row]
                .parse::<u64>()
                .unwrap();
            written
                + table.column("_rm_cache_read_input_tokens")[row]
                    .parse::<u64>()
                    .unwrap()
        };
        assert!(
            (0..3).all(|row| cached(row) > 10_000),
            "the document stands in the cached prefix"
        );
        let plan = work
            .rowmill(&["check", "job.toml", "--json"])
            .expect(0)
            .json();
        sizes.push((cached(0), plan["rows"]["body_bytes"].as_u64().unwrap()));
    }
    assert_eq!(sizes[0].0, sizes[1].0, "it costs the same tokens");
    assert!(
        sizes[0].1 > 3 * 250_000 && sizes[1].1 < 3_000,
        "but travels once: {sizes:?}"
    );
}

#[test]
fn counts_the_tokens_of_a_shared_document_that_a_message_goes_on_behind() {
    let (work, sim) = (Workdir::new(), Sim::start());
    let document = "{ document = { file = \"guide.txt\", upload = UPLOAD } }";
    let request = format!(
        "messages = [{{ role = \"user\", content = [{document}, {{ text = \"{{{{ id }}}}\" }}] }}]"
    );
    work.write("rows.csv", "id\na\nb\n")
        .write("guide.txt", "Water it. ".repeat(500));
    work.write(
        "job.toml",
        job("rows.csv", "id", &request.replace("UPLOAD", "false")),
    );
    work.rowmill_at(&sim.url(), &["plan", "job.toml", "--calibrate", "2"])
        .expect(0);
    assert!(sim.calls(ApiCall::CountTokens) > 2);
    work.write(
        "job.toml",
        job("rows.csv", "id", &request.replace("UPLOAD", "true")),
    );
    let refused = work
        .rowmill_at(&sim.url(), &["plan", "job.toml", "--calibrate", "2"])
        .expect(2);
    refused.says("1 file that requests name is not uploaded");
}

#[test]
fn the_job_of_the_requests_page_runs() {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/requests.md")).unwrap();
    let blocks = |fence: &str| {
        page.split(fence)
            .skip(1)
            .map(|block| block.split("```").next().unwrap())
            .collect::<Vec<_>>()
    };
    let (tomls, commands) = (blocks("```toml\n"), blocks("```sh\n"));
    let work = crate::readme::with_samples();
    work.write("leaves.toml", tomls[0]);
    let mut ran = 0;
    for command in commands[0].lines() {
        let words: Vec<&str> = command
            .split('#')
            .next()
            .unwrap()
            .split_whitespace()
            .skip(1)
            .collect();
        work.rowmill(&words).expect(0);
        ran += 1;
    }
    assert_eq!(ran, 4);
    assert_eq!(
        work.parquet("leaves.parquet").column("_rm_status"),
        ["succeeded"; 8]
    );
    // The other examples are valid keys of `[request]`.
    for example in &tomls[1..] {
        let messages = if example.starts_with("content") {
            format!("[[messages]]\nrole = \"user\"\n{example}")
        } else {
            (*example).to_owned()
        };
        let request = format!("model = \"m\"\nmax_tokens = 1\n{messages}");
        toml::from_str::<rowmill::request::RequestSpec>(&request)
            .unwrap_or_else(|error| panic!("{error} in\n{example}"));
    }
}

const UPLOADS: &str = "messages = [{ role = \"user\", content = [\n\
    { document = { file = \"guide.txt\", upload = true }, cache = \"5m\" },\n\
    { image = { column = \"photo\", upload = true } }, { text = \"What is it?\" } ] }]";

fn uploading() -> Workdir {
    let work = Workdir::new();
    work.write("rows.csv", "id,photo\na,one.png\nb,two.png\nc,one.png\n");
    work.write("one.png", png(10, 20))
        .write("two.png", png(30, 40))
        .write("guide.txt", "The guide.\n");
    work.write("job.toml", job("rows.csv", "id", UPLOADS));
    work
}

fn statuses(work: &Workdir) -> Vec<String> {
    work.parquet("out.parquet").column("_rm_status")
}

#[test]
fn uploads_each_file_once_and_remembers_it() {
    let (work, sim) = (uploading(), Sim::start());
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("uploaded 3 files");
    assert_eq!(
        sim.calls(ApiCall::Upload),
        3,
        "two rows have the same picture"
    );
    assert_eq!(statuses(&work), ["succeeded"; 3]);
    let memory = work.read(".rowmill/files.json");
    assert!(
        !memory.contains("guide"),
        "names say nothing of the job: {memory}"
    );

    work.write("two.png", png(31, 40));
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("uploaded 1 file")
        .says("2 files were uploaded before");
    assert_eq!(sim.calls(ApiCall::Upload), 4, "only what is new");
    assert!(!work.path(".rowmill/media/.uploads").exists());

    // A month later the files and the stored ids have expired.
    sim.set_ahead(31 * 24 * 3_600);
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("uploaded 3 files");
    assert_eq!(statuses(&work), ["succeeded"; 3]);

    // Another provider does not have them.
    let other = Sim::start();
    work.rowmill_at(&other.url(), &["run", "job.toml"])
        .expect(0)
        .says("uploaded 3 files");
}

#[test]
fn uploads_bytes_of_cells_and_leaves_no_copy() {
    let (work, sim) = (uploading(), Sim::start());
    let base64 = "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAEElEQVR42mP4z8AAQQxwFgBB0gX7b/EWxwAAAABJRU5ErkJggg==";
    work.write(
        "rows.csv",
        format!("id,photo\na,\"data:image/png;base64,{base64}\"\n"),
    );
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("uploaded 2 files");
    assert_eq!(statuses(&work), ["succeeded"]);
    assert!(
        work.files().iter().all(|file| !file.contains(".uploads")),
        "{:?}",
        work.files()
    );
}

#[test]
fn uploads_nothing_unless_every_row_is_good() {
    let (work, sim) = (uploading(), Sim::start());
    work.write("two.png", &png(30, 40)[..30]);
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(2)
        .says("row 2")
        .says("broken");
    assert_eq!(sim.calls(ApiCall::Upload), 0);
    for command in ["plan", "check", "preview"] {
        work.write("two.png", png(30, 40));
        work.rowmill_at(&sim.url(), &[command, "job.toml"])
            .expect(0);
    }
    assert_eq!(
        sim.calls(ApiCall::Upload) + sim.calls(ApiCall::Files),
        0,
        "a dry run uploads nothing"
    );
    work.rowmill_at(&sim.url(), &["plan", "job.toml", "--out", "run"])
        .expect(2)
        .says("3 files that requests name are not uploaded");
    assert!(!work.path("run").exists());
}

#[test]
fn tries_an_upload_again_and_remembers_what_got_through() {
    let work = uploading();
    let again = "[[calls]]\non = 'upload'\nnth = [1]\ndo = 'reset_after'\n[[calls]]\non = \
        'upload'\nnth = [2]\ndo = 'status'\nstatus = 529";
    let sim = Sim::with(again);
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("uploaded 3 files");
    assert_eq!(sim.calls(ApiCall::Upload), 5);
    assert_eq!(statuses(&work), ["succeeded"; 3]);

    let work = uploading();
    let sim = Sim::with(
        "[[calls]]\non = 'upload'\nfrom = 3\ntimes = 1\ndo = 'status'\nstatus = 400\nmessage = 'no \
         more of this'",
    );
    let failed = work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(4);
    let failed = failed
        .says("cannot upload the files")
        .says("no more of this")
        .says("no request was sent");
    assert!(
        failed.stderr.contains("uploaded files are kept"),
        "{}",
        failed.stderr
    );
    assert_eq!(sim.calls(ApiCall::Create), 0);
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("uploaded before");
    assert_eq!(sim.calls(ApiCall::Upload), 4);
}

#[test]
fn a_file_id_that_does_not_exist_fails_its_row_alone() {
    let (work, sim) = (Workdir::new(), Sim::start());
    let request = "messages = \
        [{ role = \"user\", content = [{ image = { column = \"photo\" } }, { text = \"What is it?\" }] }]";
    work.write(
        "rows.csv",
        "id,photo\na,file_011CNha8iCJcU1wXNR6q4V8w\nb,one.png\n",
    )
    .write("one.png", png(10, 10));
    work.write("job.toml", job("rows.csv", "id", request));
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(3);
    let table = work.parquet("out.parquet");
    assert_eq!(table.column("_rm_status"), ["errored", "succeeded"]);
    assert_eq!(table.column("_rm_error_type")[0], "not_found_error");
}

#[test]
fn preview_shows_pictures_and_documents_as_a_person_reads_them() {
    let work = Workdir::new();
    let request = r#"messages = [{ role = "user", content = [
{ document = { text = "Body of {{ id }}", title = "T", context = "C", citations = true } },
{ image = { column = "photo" } }, { image = { url = "https://example.com/a.png" } },
{ text = "What is it?" },
] }]"#;
    work.write("rows.csv", "id,photo\na,one.png\n")
        .write("one.png", png(640, 427))
        .write("job.toml", job("rows.csv", "id", request));
    let shown = work.rowmill(&["preview", "job.toml"]).expect(0).stdout;
    for words in [
        "[document text, 9 B, titled \"T\", context \"C\", with citations]",
        "Body of a",
        "[image png 640x427, 66 B]",
        "[image at https://example.com/a.png]",
    ] {
        assert!(shown.contains(words), "`{words}` is not in\n{shown}");
    }
}

#[cfg(unix)]
#[test]
fn follows_no_link_out_of_the_folder_of_the_table() {
    let work = Workdir::new();
    let request = "messages = \
        [{ role = \"user\", content = [{ image = { column = \"photo\" } }] }]\non_row_error = \
        \"skip\"";
    work.write(
        "data/rows.csv",
        "id,photo\nlink,out.png\nin,in.png\nabove,pics/../../secret.png\n",
    )
    .write("secret.png", png(10, 10));
    work.write("data/real.png", png(10, 10))
        .write("job.toml", job("data/rows.csv", "id", request));
    std::os::unix::fs::symlink("../secret.png", work.path("data/out.png")).unwrap();
    std::os::unix::fs::symlink("real.png", work.path("data/in.png")).unwrap();
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(3);
    let table = work.parquet("out.parquet");
    assert_eq!(
        table.column("_rm_status"),
        ["unsent", "succeeded", "unsent"]
    );
    for row in [0, 2] {
        assert!(
            table.column("_rm_error")[row].contains("lies outside of"),
            "{}",
            table.column("_rm_error")[row]
        );
    }
}

/// The guarantee: 10,000 rows of 150 KB images (1.5 GB) with less than 1 GiB resident.
/// `ROWMILL_PICTURES=500` for a quick check.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "writes 8 GB and takes minutes"]
fn plans_and_sends_many_pictures_in_bounded_memory() {
    const PICTURE_BYTES: usize = 150_000;
    const MOST_RESIDENT_KB: u64 = 1 << 20;
    let rows = std::env::var("ROWMILL_PICTURES")
        .ok()
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(10_000_u64);
    let (work, sim) = (Workdir::new(), Sim::start());
    let request = "messages = \
        [{ role = \"user\", content = [{ image = { column = \"photo\" } }, { text = \"What is it?\" }] }]";
    work.write("job.toml", job("pictures.parquet", "id", request));
    let mut writer = None;
    for from in (0..rows).step_by(100) {
        let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(from..rows.min(from + 100)));
        let photos = (0..ids.len()).map(|_| noise(PICTURE_BYTES));
        let photos: ArrayRef = Arc::new(BinaryArray::from_iter_values(photos));
        let batch = RecordBatch::try_from_iter([("id", ids), ("photo", photos)]).unwrap();
        let writer = writer.get_or_insert_with(|| {
            let file = fs::File::create(work.path("pictures.parquet")).unwrap();
            ArrowWriter::try_new(file, batch.schema(), None).unwrap()
        });
        writer.write(&batch).unwrap();
        writer.flush().unwrap();
    }
    writer.unwrap().close().unwrap();
    for words in [&["submit", "job.toml"][..], &["collect", "job.toml"]] {
        let (code, peak) = watched(work.command_at(&sim.url(), words));
        eprintln!(
            "{rows} pictures of {PICTURE_BYTES} bytes: `{}` had at most {peak} kB resident",
            words[0]
        );
        assert!(code == 0 || code == 5, "{words:?} ended with {code}");
        assert!(peak < MOST_RESIDENT_KB, "{words:?}: {peak} kB");
        sim.settle();
    }
    assert!(statuses(&work).iter().all(|status| status == "succeeded"));
}

/// An incompressible image of N bytes.
#[cfg(target_os = "linux")]
fn noise(bytes: usize) -> Vec<u8> {
    let mut picture = png(640, 427);
    let mut pixels = vec![0; bytes - picture.len() - 12];
    fastrand::fill(&mut pixels);
    let end = picture.split_off(picture.len() - 12);
    picture.extend((pixels.len() as u32).to_be_bytes());
    picture.extend(b"IDAT");
    picture.extend(pixels);
    picture.extend([0; 4]);
    picture.extend(end);
    picture
}

/// Runs a command; returns its exit code and its maximum resident memory, in kB.
#[cfg(target_os = "linux")]
fn watched(mut command: Command) -> (i32, u64) {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line
            .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code().unwrap_or(-1), peak);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
