"""Writes the Parquet files in `parquet/`, `hostile/` and the CSV files in `csv/`: each about one feature of the format, by three writers that are not ours.

    pip install pyarrow==26.0.1 duckdb==2.0.1 polars==2.1.0
    python tests/data/make_tables.py

The files are kept, so that the tests need neither Python nor a network; another version of a writer may write other bytes.
"""

import datetime as dt
import decimal
import json
import pathlib

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
PARQUET, HOSTILE, CSV = HERE / "parquet", HERE / "hostile", HERE / "csv"
for folder in (PARQUET, HOSTILE, CSV):
    folder.mkdir(exist_ok=True)


def write(name, columns, **options):
    options = {"compression": "none", "store_schema": False, **options}
    pq.write_table(pa.table(columns), PARQUET / f"{name}.parquet", **options)


# ---- pyarrow: encodings, compressions, page formats ----

N = 200
numbers = pa.array([None if n % 11 == 0 else n * n for n in range(N)], pa.int64())
words = pa.array([None if n % 13 == 0 else f"word {n % 17} é東" for n in range(N)])
floats = pa.array([n / 7 for n in range(N)], pa.float64())
flags = pa.array([None if n % 5 == 0 else n % 3 == 0 for n in range(N)])

for codec in ("snappy", "gzip", "brotli", "zstd", "lz4"):
    write(f"compressed_{codec}", {"n": numbers, "t": words}, compression=codec)
write("pages_v2", {"n": numbers, "t": words, "b": flags}, data_page_version="2.0", compression="snappy")
write("small_pages", {"n": numbers, "t": words}, data_page_size=64, write_page_index=True, use_dictionary=False)
write("row_groups", {"n": numbers, "t": words}, row_group_size=17)
write("checksums", {"n": numbers, "t": words}, write_page_checksum=True)
write("no_statistics", {"n": numbers, "t": words}, write_statistics=False)
write("no_dictionary", {"n": numbers, "t": words}, use_dictionary=False)
write("dictionary_kept", {"d": words.dictionary_encode()}, store_schema=True)
for name, encoding in {
    "delta_binary_packed": {"n": "DELTA_BINARY_PACKED"},
    "delta_length_byte_array": {"t": "DELTA_LENGTH_BYTE_ARRAY"},
    "delta_byte_array": {"t": "DELTA_BYTE_ARRAY"},
    "byte_stream_split": {"f": "BYTE_STREAM_SPLIT"},
    "rle_booleans": {"b": "RLE"},
}.items():
    write(name, {"n": numbers, "t": words, "f": floats, "b": flags}, use_dictionary=False, column_encoding=encoding)

# ---- pyarrow: types ----

cents = [None, decimal.Decimal("-1.50"), decimal.Decimal("99999.99")]
write("decimals_fixed", {"d": pa.array(cents, pa.decimal128(30, 2)), "e": pa.array(cents, pa.decimal256(60, 2))})
write("decimals_integer", {"d": pa.array(cents, pa.decimal128(9, 2)), "e": pa.array(cents, pa.decimal128(18, 2))}, store_decimal_as_integer=True)
moments = [dt.datetime(2024, 2, 29, 12, 30, 15, 123456), None, dt.datetime(1969, 12, 31, 23, 59, 59)]
for unit in ("ms", "us", "ns"):
    write(f"timestamps_{unit}", {"local": pa.array(moments, pa.timestamp(unit)), "utc": pa.array(moments, pa.timestamp(unit, "UTC"))})
write("timestamps_int96", {"t": pa.array(moments, pa.timestamp("ns"))}, use_deprecated_int96_timestamps=True)
write("days_and_times", {"day": pa.array([dt.date(2024, 2, 29), None, dt.date(1, 1, 1)]), "time": pa.array([dt.time(23, 59, 59, 5), None, dt.time(0)], pa.time64("us"))})
write("binary", {"b": pa.array([b"\0\xff", None, b""]), "f": pa.array([b"abcd", None, b"\0\0\0\0"], pa.binary(4))})
write("floats", {"h": pa.array([0.5, float("nan"), None], pa.float16()), "s": pa.array([1.5, float("inf"), None], pa.float32()), "d": pa.array([-0.0, float("nan"), None])})
write("small_integers", {name: pa.array([0, None, 100], kind) for name, kind in {"i8": pa.int8(), "i16": pa.int16(), "u8": pa.uint8(), "u16": pa.uint16(), "u32": pa.uint32(), "u64": pa.uint64()}.items()})
write("all_null", {"t": pa.array([None] * 5, pa.string()), "n": pa.array([None] * 5, pa.int32())})
write("no_rows", {"t": pa.array([], pa.string()), "n": pa.array([], pa.int64())})
write("lists", {"l": pa.array([[1, None], [], None, [2]]), "ll": pa.array([[["a"], []], None, [None], [["b", "c"]]])})
write("structs", {"s": pa.array([{"a": 1, "b": {"c": "x"}}, None, {"a": None, "b": None}])})
write("maps", {"m": pa.array([[("k", 1), ("l", None)], None, []], pa.map_(pa.string(), pa.int64()))})
write("list_of_structs", {"l": pa.array([[{"a": 1, "t": "x"}, {"a": None, "t": None}], [], None])})
write("old_lists", {"l": pa.array([[1, 2], [], None])}, use_compliant_nested_type=False)
write("odd_names", {"a b": numbers, 'q"uote': words, "1": flags, "ärger": floats})
write("wide", {f"c{n}": pa.array([n, None]) for n in range(60)})

# ---- duckdb and polars: the same kinds of columns by other hands ----

duckdb.sql(
    "COPY (SELECT n::INTEGER AS id, CASE WHEN n % 7 <> 0 THEN 'text ' || n END AS t, n / 3 AS f, n % 2 = 0 AS b,"
    " DATE '2024-01-01' + n::INTEGER AS day, TIMESTAMP '2024-01-01 00:00:00' + to_hours(n::INTEGER) AS at,"
    " (n / 8)::DECIMAL(12, 3) AS money, [n, n + 1] AS l, {'a': n, 'b': 'x'} AS s FROM range(100) r(n))"
    f" TO '{PARQUET / 'duckdb_types.parquet'}' (FORMAT parquet, COMPRESSION snappy)"
)
duckdb.sql(
    "COPY (SELECT TIMETZ '12:00:00+02' AS tz, INTERVAL 3 DAY AS i, '9c5b94b1-35ad-49bb-b118-8e8fc24abf80'::UUID AS u, 5::HUGEINT AS h)"
    f" TO '{PARQUET / 'duckdb_rare_types.parquet'}' (FORMAT parquet)"
)
polars.DataFrame(
    {"id": range(50), "t": [f"t{n}" for n in range(50)], "c": ["a", "b"] * 25, "l": [[n] * (n % 3) for n in range(50)]},
    schema_overrides={"c": polars.Categorical},
).write_parquet(PARQUET / "polars_types.parquet", compression="zstd", row_group_size=20)

# ---- hostile: each ends in one clear message ----

whole = (PARQUET / "no_dictionary.parquet").read_bytes()
small = (PARQUET / "checksums.parquet").read_bytes()


def hostile(name, data):
    (HOSTILE / name).write_bytes(data)


hostile("page_without_header.parquet", whole[:4] + b"\xff" * 40 + whole[44:])
hostile("bytes_missing_inside.parquet", whole[:60] + whole[90:])
hostile("page_changed_under_its_checksum.parquet", small[:200] + bytes([small[200] ^ 1]) + small[201:])
hostile("footer_too_long.parquet", whole[:-8] + b"\x7f\x7f\x7f\x7f" + whole[-4:])
hostile("footer_overwritten.parquet", whole[:-60] + b"\xff" * 52 + whole[-8:])
hostile("quote_never_closed.csv", b'a,b\n1,"x\n2,y\n')
hostile("not_utf8.csv", b"a,b\n1,caf\xe9\n")
hostile("too_many_cells.csv", b"a,b\n1,2\n1,2,3\n")
hostile("too_few_cells.csv", b"a,b,c\n1,2,3\n1,2\n")

# ---- CSV: the file, and the rows it must give ----

for name, (text, rows) in {
    "plain": ("a,b\n1,2\n", [{"a": "1", "b": "2"}]),
    "crlf": ("a,b\r\n1,2\r\n", [{"a": "1", "b": "2"}]),
    "no_last_line_break": ("a,b\n1,2", [{"a": "1", "b": "2"}]),
    "comma_in_quotes": ('a,b\n"1,5",x\n', [{"a": "1,5", "b": "x"}]),
    "doubled_quotes": ('a,b\n"say ""hi""",x\n', [{"a": 'say "hi"', "b": "x"}]),
    "line_break_in_quotes": ('a,b\n"one\ntwo",x\n', [{"a": "one\ntwo", "b": "x"}]),
    "crlf_in_quotes": ('a,b\r\n"one\r\ntwo",x\r\n', [{"a": "one\r\ntwo", "b": "x"}]),
    "json_in_quotes": ('a,b\n"{""k"": [1, ""x""]}",x\n', [{"a": '{"k": [1, "x"]}', "b": "x"}]),
    "empty_cells": ('a,b,c\n,"",x\n', [{"a": "", "b": "", "c": "x"}]),
    "other_scripts": ("a,b\né東,ש\n", [{"a": "é東", "b": "ש"}]),
}.items():
    (CSV / f"{name}.csv").write_bytes(text.encode())
    (CSV / f"{name}.json").write_text(json.dumps(rows, ensure_ascii=False) + "\n")
