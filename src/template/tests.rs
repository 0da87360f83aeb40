use std::fs;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    DurationSecondArray, FixedSizeListArray, Float32Array, Float64Array, Int64Array,
    LargeStringArray, ListArray, MapBuilder, NullArray, RecordBatch, StringArray, StringBuilder,
    StringViewArray, StructArray, Time32SecondArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};

use std::path::{Path, PathBuf};

use minijinja::{ErrorKind, Value};

use super::prompt::{
    BlockSpec, CacheTtl, MessageSpec, Prompt, PromptContext, PromptFault, PromptLimits, PromptPart,
    Role, SystemSpec,
};
use super::row::RenderTable;
use super::*;
use crate::media::MediaFacts;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

fn schema(names: &[&str]) -> Schema {
    Schema::new(
        names
            .iter()
            .map(|name| Field::new(*name, DataType::Utf8, true))
            .collect::<Vec<_>>(),
    )
}

/// Renders a template for the first row.
fn render(template: &str, rows: &RecordBatch) -> Result<String, RenderError> {
    let mut templates = Templates::new(Path::new("."));
    templates.add_text("t", template.to_owned()).unwrap();
    templates.render("t", RenderTable::new(rows, None).row(0))
}

fn check(template: &str, columns: &[&str]) -> Result<TemplateColumns, Error> {
    let mut templates = Templates::new(Path::new("."));
    templates.add_text("t", template.to_owned())?;
    templates.check("t", &schema(columns))?;
    Ok(templates.columns("t", &schema(columns)))
}

fn named(names: &[&str]) -> TemplateColumns {
    TemplateColumns::Named(names.iter().map(|&name| name.to_owned()).collect())
}

/// Writes files into a new folder.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn user(text: &str) -> MessageSpec {
    MessageSpec {
        role: Some(Role::User),
        text: Some(text.to_owned()),
        ..MessageSpec::default()
    }
}

fn assistant(text: &str) -> MessageSpec {
    MessageSpec {
        role: Some(Role::Assistant),
        ..user(text)
    }
}

fn prompt(
    system: &[BlockSpec],
    messages: &[MessageSpec],
    columns: &[&str],
) -> Result<Prompt, Error> {
    Prompt::compile(
        &SystemSpec::Blocks(system.to_vec()),
        messages,
        &PromptContext::in_folder(Path::new(".")),
        &schema(columns),
    )
}

fn block(text: &str) -> BlockSpec {
    BlockSpec {
        text: Some(text.to_owned()),
        ..BlockSpec::default()
    }
}

#[test]
fn renders_cells_of_every_type() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None])]);
    let fixed =
        FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), Some(2)])], 2);
    let fields: Vec<(Arc<Field>, ArrayRef)> = vec![
        (
            Arc::new(Field::new("z", DataType::Utf8, true)),
            text("\"q\""),
        ),
        (
            Arc::new(Field::new("a", DataType::Boolean, true)),
            Arc::new(BooleanArray::from(vec![Some(false)])),
        ),
    ];
    let structure = StructArray::from(fields);
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("k");
    map.values().append_value("<v>");
    map.append(true).unwrap();
    let cases: Vec<(ArrayRef, &str)> = vec![
        (text("a <b> & 'c'"), "a <b> & 'c'"),
        (Arc::new(LargeStringArray::from(vec!["x"])), "x"),
        (
            Arc::new(StringViewArray::from(vec![
                "a string view that is not inlined",
            ])),
            "a string view that is not inlined",
        ),
        (
            Arc::new(DictionaryArray::<Int32Type>::from_iter(["d"])),
            "d",
        ),
        (Arc::new(Int64Array::from(vec![-5])), "-5"),
        (
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            "18446744073709551615",
        ),
        (Arc::new(Float64Array::from(vec![0.1])), "0.1"),
        (Arc::new(Float64Array::from(vec![5.0])), "5.0"),
        (Arc::new(Float64Array::from(vec![1e300])), "1e300"),
        (Arc::new(Float64Array::from(vec![f64::NAN])), "NaN"),
        (Arc::new(Float32Array::from(vec![0.1])), "0.1"),
        (Arc::new(BooleanArray::from(vec![true])), "true"),
        (Arc::new(BooleanArray::from(vec![None])), ""),
        (Arc::new(NullArray::new(1)), ""),
        (Arc::new(Date32Array::from(vec![19_723])), "2024-01-01"),
        (
            Arc::new(TimestampMillisecondArray::from(vec![1_500])),
            "1970-01-01T00:00:01.5",
        ),
        (
            Arc::new(TimestampMillisecondArray::from(vec![0]).with_timezone("UTC")),
            "1970-01-01T00:00:00Z",
        ),
        (
            Arc::new(TimestampMillisecondArray::from(vec![0]).with_timezone("+01:30")),
            "1970-01-01T01:30:00+01:30",
        ),
        (Arc::new(Time32SecondArray::from(vec![3_661])), "01:01:01"),
        (Arc::new(DurationSecondArray::from(vec![5_400])), "PT1H30M"),
        (
            Arc::new(
                Decimal128Array::from(vec![1_250])
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
            "12.50",
        ),
        (Arc::new(list), "[1,null]"),
        (Arc::new(fixed), "[1,2]"),
        (Arc::new(structure), "{\"z\":\"\\\"q\\\"\",\"a\":false}"),
        (Arc::new(map.finish()), "{\"k\":\"<v>\"}"),
    ];
    for (array, expected) in cases {
        let data_type = array.data_type().clone();
        assert_eq!(
            render("{{ x }}", &batch(vec![("x", array)])).unwrap(),
            expected,
            "{data_type}"
        );
    }
}

#[test]
fn reaches_into_nested_cells() {
    let tags = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(3), Some(4)])]);
    let fields: Vec<(Arc<Field>, ArrayRef)> = vec![(
        Arc::new(Field::new("name", DataType::Utf8, true)),
        text("Ann"),
    )];
    let rows = batch(vec![
        ("tags", Arc::new(tags)),
        ("who", Arc::new(StructArray::from(fields))),
    ]);
    for (template, expected) in [
        (
            "{{ tags[1] }} {{ tags|length }} {{ tags|first }} {{ tags|join('/') }}",
            "4 2 3 3/4",
        ),
        (
            "{% for t in tags %}{{ loop.index }}:{{ t }} {% endfor %}",
            "1:3 2:4 ",
        ),
        (
            "{{ who.name }} {{ who['name'] }} \
             {% for k, v in who|items %}{{ k }}={{ v }}{% endfor %}",
            "Ann Ann name=Ann",
        ),
        ("{{ who.age|default('?') }} {{ 3 in tags }}", "? true"),
    ] {
        assert_eq!(render(template, &rows).unwrap(), expected, "{template}");
    }
}

#[test]
fn renders_null_as_nothing_everywhere() {
    let rows = batch(vec![
        ("x", Arc::new(StringArray::from(vec![None::<&str>]))),
        ("y", text("y")),
    ]);
    for (template, expected) in [
        ("[{{ x }}]", "[]"),
        ("[{{ 'a' ~ x ~ 'b' }}]", "[ab]"),
        (
            "[{{ x|upper }}{{ x|trim }}{{ x|replace('a', 'b') }}{{ x|truncate(3) }}{{ x|oneline }}]",
            "[]",
        ),
        ("[{{ [x, y]|join('-') }}]", "[-y]"),
        (
            "{{ x is none }} {{ x is null }} {{ x is not none }} {{ x is defined }} {{ y is none }}",
            "true true false true false",
        ),
        ("{{ 'yes' if x else 'no' }}", "no"),
        (
            "{{ x|default('d') }} {{ x|d('e') }} {{ y|default('d') }}",
            "d e y",
        ),
        (
            "{{ x|json }} {{ [x]|json }} {{ row|json }}",
            "null [null] {\"x\":null,\"y\":\"y\"}",
        ),
        ("{{ [x, none] }}{{ none }}", "[null,null]"),
        ("{{ x|date('%Y') }}{{ x|number(2) }}", ""),
    ] {
        assert_eq!(render(template, &rows).unwrap(), expected, "{template}");
    }
}

/// A row with a null, a NaN and ordinary values.
fn row_with_a_null() -> RecordBatch {
    let tags = ListArray::from_iter_primitive::<Int64Type, _, _>([None::<Vec<Option<i64>>>]);
    let inner: Vec<(Arc<Field>, ArrayRef)> = vec![(
        Arc::new(Field::new("score", DataType::Int64, true)),
        Arc::new(Int64Array::from(vec![None])),
    )];
    let meta = StructArray::from(inner);
    let Ok(gone) = StructArray::try_new(
        meta.fields().clone(),
        meta.columns().to_vec(),
        Some(vec![false].into()),
    ) else {
        unreachable!("a null struct of one row")
    };
    batch(vec![
        ("x", Arc::new(Int64Array::from(vec![None]))),
        ("t", Arc::new(StringArray::from(vec![None::<&str>]))),
        ("flag", Arc::new(BooleanArray::from(vec![None]))),
        ("due", Arc::new(Date32Array::from(vec![None]))),
        ("nan", Arc::new(Float64Array::from(vec![f64::NAN]))),
        ("n", Arc::new(Int64Array::from(vec![7]))),
        ("s", text("abc")),
        ("tags", Arc::new(tags)),
        ("meta", Arc::new(meta)),
        ("gone", Arc::new(gone)),
    ])
}

#[test]
fn a_comparison_with_a_null_or_nan_is_false_whatever_the_operator_and_the_side() {
    let rows = row_with_a_null();
    let values = [
        "x",
        "nan",
        "meta.score",
        "gone.score",
        "row.x",
        "row['nan']",
        "(x)",
        "x|int",
        "x|float|round(1)",
        "[x]|first",
    ];
    for value in values {
        for operator in ["==", "!=", "<", "<=", ">", ">=", "in", "not in"] {
            let others: &[&str] = if operator.ends_with("in") {
                &["[1, 2]", "'a'", "tags"]
            } else {
                &["5", "0", "n", value]
            };
            for other in others {
                for template in [
                    format!("{{{{ {value} {operator} {other} }}}}"),
                    format!("{{{{ {other} {operator} [{value}][0] }}}}"),
                ] {
                    if operator.ends_with("in") && template.starts_with(&format!("{{{{ {other}")) {
                        continue;
                    }
                    assert_eq!(render(&template, &rows).unwrap(), "false", "{template}");
                }
            }
        }
        for test in [
            "eq(5)",
            "ne(5)",
            "lt(5)",
            "le(5)",
            "gt(5)",
            "ge(5)",
            "lessthan 5",
            "greaterthan 5",
            "equalto 5",
            "in [1]",
        ] {
            let template = format!("{{{{ {value} is {test} }}}}");
            assert_eq!(render(&template, &rows).unwrap(), "false", "{template}");
        }
    }
    for (template, expected) in [
        (
            "{{ t == 'a' }}{{ t != 'a' }}{{ t < 'a' }}{{ t > 'a' }}{{ 'a' > t }}{{ t in 'abc' }}{{ 'a' in t }}",
            "false".repeat(7),
        ),
        (
            "{{ t|upper != 'A' }}{{ t|trim == '' }}{{ t|lower > '' }}{{ t is startingwith 'a' }}{{ s is endingwith t }}",
            "false".repeat(5),
        ),
        (
            "{{ flag == true }}{{ flag == false }}{{ flag != true }}{{ flag > false }}{{ due > '2026-01-01' }}",
            "false".repeat(5),
        ),
        (
            "{% set v = x %}{{ v > 5 }}{% for v in [x, 7] %} {{ v > 5 }}{% endfor %}",
            "false false true".to_owned(),
        ),
        (
            "{% macro m(v) %}{{ v >= 0 }}{% endmacro %}{{ m(x) }} {{ m(n) }}",
            "false true".to_owned(),
        ),
        (
            "{{ 0 < x < 9 }} {{ 0 < n < 9 }} {{ 0 < n < x }} {{ 9 > n > 0 > -1 }}",
            "false true false true".to_owned(),
        ),
        (
            "{{ not (x > 5) }} {{ not x > 5 }} {{ not (x == 5) }}",
            "true true true".to_owned(),
        ),
        (
            "{{ x is none }} {{ n is none }} {{ nan is nan }} {{ n is nan }} {{ x is nan }}",
            "true false true false false".to_owned(),
        ),
        (
            "{{ [1, x, nan, 7]|select('gt', 0)|list }} \
             {{ [{'a': x}, {'a': 7}]|selectattr('a', '>', 5)|list }}",
            "[1,7] [{\"a\":7}]".to_owned(),
        ),
        (
            "{{ [x, 3, 1, nan]|max }} {{ [x, 3, 1, nan]|min }} {{ [x]|max|default('none') }}",
            "3 1 none".to_owned(),
        ),
        (
            "{{ [x, nan]|max is none }} {{ [x]|min > 0 }} {{ x|max }}",
            "true false ".to_owned(),
        ),
        (
            "({{ x[:2] }}{{ row['x'][1:] ~ x[::-1] }}{{ (x)[:1]|upper }}{{ x|reverse }}) \
             {{ s[:1] }}{{ x[:2] == '' }}",
            "() atrue".to_owned(),
        ),
        (
            "{{ [x, 3, 1]|sort }} {{ [x, 3, 1]|sort(reverse=true) }}",
            "[1,3,null] [null,3,1]".to_owned(),
        ),
        (
            "{{ [{'a': x}, {'a': 2}, {'a': 1}]|sort(attribute='a')|map(attribute='a')|list }}",
            "[1,2,null]".to_owned(),
        ),
        (
            "{{ x|int(4) > 3 }} {{ x|int(default=4) > 3 }} {{ x|default(4) > 3 }}",
            "true true true".to_owned(),
        ),
        (
            "{{ 'HIGH' if x > 5 else 'low' }} {{ [n > 5, x > 5] }} {{ {'k': x > 5} }}",
            "low [true,false] {\"k\":false}".to_owned(),
        ),
        (
            "{% for v in [1, x, 9] if v > 0 %}{{ v }}{% endfor %}{% if s == 'x' %}{% elif x > 5 %}a{% else %}b{% endif %}",
            "19b".to_owned(),
        ),
    ] {
        assert_eq!(render(template, &rows).unwrap(), expected, "{template}");
    }
}

#[test]
fn renders_nothing_of_a_null_struct_or_list_and_finds_nothing_in_it() {
    let rows = row_with_a_null();
    for (template, expected) in [
        (
            "[{{ gone }}{{ gone.score }}{{ gone['score'] }}{{ row.gone.score }}{{ tags }}{{ tags[0] }}]",
            "[]",
        ),
        (
            "{% for tag in tags %}[{{ tag }}]{% else %}none{% endfor %}{% for k, v in gone|items %}{{ k }}{% endfor %}",
            "none",
        ),
        (
            "{{ tags|length }} {{ gone|length }} {{ t|length }} {{ tags|join(',') }}",
            "0 0 0 ",
        ),
        (
            "{{ tags|first }}{{ tags|last }}{{ tags|sort|json }} {{ tags|json }} {{ gone|json }}",
            "[] null null",
        ),
        (
            "{{ 'yes' if gone else 'no' }} {{ tags is none }} {{ gone.score is none }} \
             {{ tags|default([1]) }}",
            "no true true [1]",
        ),
        ("{{ 1 in tags }} {{ 'score' in gone }}", "false false"),
    ] {
        assert_eq!(render(template, &rows).unwrap(), expected, "{template}");
    }
    for template in ["{{ gone.other }}", "{{ meta.other }}"] {
        assert!(
            render(template, &rows)
                .unwrap_err()
                .message
                .contains("is undefined"),
            "{template}"
        );
    }
}

#[test]
fn gives_the_whole_row_as_row() {
    let rows = batch(vec![
        ("Customer name", text("Ann")),
        ("b", text("2")),
        ("row", text("r")),
    ]);
    for (template, expected) in [
        ("{{ row['Customer name'] }}", "Ann"),
        (
            "{{ row.b }} {{ b }} {{ row['row'] }} {{ row.row }}",
            "2 2 r r",
        ),
        (
            "{% for name in row %}{{ name }}={{ row[name] }};{% endfor %}",
            "Customer name=Ann;b=2;row=r;",
        ),
        (
            "{% for name, cell in row|items %}{{ cell }};{% endfor %}{{ row|length }}",
            "Ann;2;r;3",
        ),
        (
            "{{ row|json }}",
            "{\"Customer name\":\"Ann\",\"b\":\"2\",\"row\":\"r\"}",
        ),
        ("{{ 'b' in row }} {{ 'c' in row }}", "true false"),
    ] {
        assert_eq!(render(template, &rows).unwrap(), expected, "{template}");
    }
}

#[test]
fn never_expands_a_cell() {
    let hostile = "{{ y }}{% include 'secret' %}{# x #}{% raw %}";
    let rows = batch(vec![("x", text(hostile)), ("y", text("secret"))]);
    for template in [
        "{{ x }}",
        "{{ x|trim }}",
        "{% set z = x %}{{ z }}",
        "{% filter trim %}{{ x }}{% endfilter %}",
    ] {
        assert_eq!(render(template, &rows).unwrap(), hostile, "{template}");
    }
}

#[test]
fn plain_text_is_text_that_renders_as_itself() {
    let rows = batch(vec![("a", text("x"))]);
    for (source, is_plain) in [
        ("", true),
        ("{\"a\": [1, {}]}", true),
        ("{ { % }", true),
        ("two\nlines\n", true),
        ("two\r\nlines\r\n", true),
        ("{{ a }}", false),
        ("{% if a %}{% endif %}", false),
        ("x{# a comment #}", false),
        ("{% raw %}x{% endraw %}", false),
    ] {
        assert_eq!(is_plain_text(source), is_plain, "{source}");
        let rendered = render(source, &rows).unwrap();
        if is_plain {
            assert_eq!(rendered, source.trim_end(), "{source}");
        }
    }
    assert!(!is_plain_text("{{ a"), "not a template at all");
}

#[test]
fn leaves_no_lines_behind_for_tags() {
    let rows = batch(vec![("x", text("1"))]);
    for (template, expected) in [
        ("a\n{% if x %}\nb\n{% endif %}\nc\n", "a\nb\nc"),
        ("a\n  {% if x %}\n  b\n  {% endif %}\n", "a\n  b\n"),
        ("{{ x }}\n\n", "1\n"),
        ("a\n  {%+ if x %}b{% endif +%}\nc", "a\n  b\nc"),
    ] {
        assert_eq!(render(template, &rows).unwrap(), expected, "{template:?}");
    }
}

#[test]
fn keeps_place_and_kind_of_an_error_and_no_contents() {
    let rows = batch(vec![
        ("x", text("private words")),
        ("n", Arc::new(Int64Array::from(vec![i64::MAX]))),
        ("b", Arc::new(BinaryArray::from_vec(vec![b"private"]))),
        ("z", Arc::new(Int64Array::from(vec![None]))),
    ]);
    for (template, line, kind, message) in [
        (
            "a\n{{ row.y }}",
            2,
            "undefined value",
            "`row.y` is undefined",
        ),
        ("{{ x.a.b }}", 1, "undefined value", "`x.a` is undefined"),
        (
            "{{ b }}",
            1,
            "invalid operation",
            "a binary cell cannot be rendered as text; use the filter `base64`",
        ),
        (
            "{{ b|json }}",
            1,
            "invalid operation",
            "a binary cell cannot be rendered as text; use the filter `base64`",
        ),
        (
            "{{ row|json }}",
            1,
            "invalid operation",
            "the column `b` is binary; name the other columns, or use the filter `base64` for it",
        ),
        (
            "{{ x|date('%Y') }}",
            1,
            "invalid operation",
            "`date` got text that is no date or date and time, such as `2024-01-31` or \
             `2024-01-31T18:30:00Z`",
        ),
        (
            "{{ x|number(2) }}",
            1,
            "invalid operation",
            "`number` got a value that is no number",
        ),
        (
            "\n\n{{ n ** 3 }}",
            3,
            "invalid operation",
            "a calculation overflows",
        ),
        (
            "{{ 7 + x }}",
            1,
            "invalid operation",
            "tried to use + operator on unsupported types number and string",
        ),
        (
            "{{ z + 7 }}",
            1,
            "invalid operation",
            "tried to use + operator on unsupported types null and number; replace a null \
             with `|default(0)`, or ask with `{% if … is not none %}`",
        ),
        (
            "{% include x %}",
            1,
            "template not found",
            "the row chooses a template that does not exist in the job's folder",
        ),
        (
            "{% include '../' ~ x %}",
            1,
            "invalid operation",
            "the row chooses a template outside of the job's folder",
        ),
        (
            "{% for i in range(100000) %}{% for j in range(100000) %}{{ i }}{% endfor %}{% endfor %}",
            1,
            "engine ran out of fuel",
            "the row needs more than 1000000 steps; is there a loop without an end?",
        ),
    ] {
        let error = render(template, &rows).unwrap_err();
        let expected = RenderError {
            template: "t".to_owned(),
            line: Some(line),
            kind: kind.to_owned(),
            message: message.to_owned(),
        };
        assert_eq!(error, expected, "{template}");
        assert!(
            !format!("{error} {error:?}").contains("private"),
            "{template}"
        );
    }
}

#[test]
fn survives_templates_without_end() {
    let rows = batch(vec![("x", text("x"))]);
    for template in [
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set n = namespace() %}{% set n.n = n %}{{ n|json }}",
        "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
        "{{ 'x' * 1000000000 }}",
        "{{ x|truncate(1000000000, 'y' * 1000000000) }}",
    ] {
        assert!(render(template, &rows).is_err(), "{template}");
    }
}

#[test]
fn finds_the_columns_that_a_template_reads() {
    let columns = ["a", "b", "title", "Customer name"];
    for (template, expected) in [
        ("{{ a }}", named(&["a"])),
        ("no column", named(&[])),
        ("{{ a|title }}", named(&["a"])),
        ("{% set a = a|trim %}{{ a }}", named(&["a"])),
        ("{% with b = b %}{{ b }}{% endwith %}", named(&["b"])),
        (
            "{{ row.a }}{{ row['Customer name'] }}",
            named(&["a", "Customer name"]),
        ),
        ("{{ row[a] }}", TemplateColumns::All),
        ("{{ row|json }}", TemplateColumns::All),
        ("{% set r = row %}{{ r.a }}", TemplateColumns::All),
        (
            "{% macro m(x) %}{{ x }}{{ b }}{% endmacro %}{{ m(a) }}",
            named(&["a", "b"]),
        ),
        ("{% for a in range(3) %}{{ b }}{% endfor %}", named(&["b"])),
        // A name of the template's own that is read counts as a column: too many is safe.
        (
            "{% for a in range(3) %}{{ a }}{{ b }}{% endfor %}",
            named(&["a", "b"]),
        ),
    ] {
        assert_eq!(check(template, &columns).unwrap(), expected, "{template}");
    }
}

#[test]
fn names_the_nearest_column_and_the_line() {
    let error = check("a\n{{ body }}\n{{ text }}", &["id", "bodies", "text"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`t` line 2: the input has no column `body`; it has `id`, `bodies`, `text`"
    );
    let Error::UnknownColumn { nearest, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(nearest.as_deref(), Some("bodies"));
    for (template, line, name) in [
        ("{{ row.x }}", 1, "x"),
        ("\n{{ row['x y'] }}", 2, "x y"),
        ("{{ a|default(x) }}", 1, "x"),
        ("{{ x|default('') }}", 1, "x"),
        ("{{ x(1) }}", 1, "x"),
        (
            "{% if a %}\n{% for b in x %}{% endfor %}{% endif %}",
            2,
            "x",
        ),
    ] {
        match check(template, &["a"]) {
            Err(Error::UnknownColumn {
                line: found_line,
                name: found,
                ..
            }) => {
                assert_eq!((found_line, found.as_str()), (line, name), "{template}")
            }
            other => panic!("{template}: {other:?}"),
        }
    }
}

#[test]
fn lets_templates_use_names_of_their_own() {
    for template in [
        "{% if a %}{% set y = 1 %}{% else %}{% set y = 2 %}{% endif %}{{ y }}",
        "{% if x is defined %}{{ x }}{% endif %}",
        "{% if row.x is defined %}{{ row.x }}{% endif %}",
        "{% for i in range(3) %}{{ loop.index }}{% endfor %}",
        "{% set ns = namespace(n=0) %}{% set ns.n = 1 %}{{ ns.n }}{{ dict(k=1) }}",
        "{% macro m(x, y=1) %}{{ x }}{{ y }}{% endmacro %}{{ m(a) }}{% call m(1) %}{% endcall %}",
        "{% block x %}{{ a }}{% endblock %}{{ self.x() }}",
    ] {
        check(template, &["a"]).unwrap_or_else(|e| panic!("{template}: {e}"));
    }
}

#[test]
fn refuses_words_and_comparisons_that_cannot_work() {
    for (template, message) in [
        ("{{ a|uper }}", "`t` line 1: there is no filter `uper`"),
        (
            "\n{% filter nope %}{% endfilter %}",
            "`t` line 2: there is no filter `nope`",
        ),
        ("{{ a is nonne }}", "`t` line 1: there is no test `nonne`"),
        (
            "{{ a == none }}",
            "`t` line 1: a null cell is not equal to `none`, so the comparison is the same for \
             every row",
        ),
        (
            "{{ a",
            "`t` line 1: unexpected end of input, expected end of variable block",
        ),
        (
            "{% if a >= 4 %}{% endif %}",
            "`t` line 1: the column `a` is text and is compared with a number, which is the same \
             for every row",
        ),
    ] {
        assert_eq!(
            check(template, &["a"]).unwrap_err().to_string(),
            message,
            "{template}"
        );
    }
    let Err(Error::UnknownFilter { nearest, .. }) = check("{{ a|truncat(3) }}", &["a"]) else {
        panic!("an unknown filter was taken")
    };
    assert_eq!(nearest.as_deref(), Some("truncate"));
    for template in [
        "{% if a|int >= 4 %}{% endif %}",
        "{% if a is none %}{% endif %}",
        "{% if a == 'x' %}{% endif %}",
        "{% set a = 3 %}{{ a > 2 }}",
    ] {
        check(template, &["a"]).unwrap_or_else(|e| panic!("{template}: {e}"));
    }
}

#[test]
fn counts_what_loaded_templates_read() {
    let folder = folder(&[
        (
            "main.j2",
            "{% from 'macros/m.j2' import card %}{{ card(a) }}{% include 'part.j2' %}",
        ),
        ("part.j2", "{{ b }}{% include 'main.j2' ignore missing %}"),
        (
            "macros/m.j2",
            "{% macro card(x) %}[{{ x }}{{ c }}]{% endmacro %}",
        ),
        (
            "child.j2",
            "{% extends 'base.j2' %}{% block body %}{{ b }}{% endblock %}",
        ),
        ("base.j2", "{{ a }}{% block body %}{% endblock %}"),
        ("dynamic.j2", "{% include a %}"),
    ]);
    let schema = schema(&["a", "b", "c"]);
    for (file, expected, files) in [
        ("main.j2", named(&["a", "b", "c"]), 3),
        ("child.j2", named(&["a", "b"]), 2),
        ("dynamic.j2", TemplateColumns::All, 1),
    ] {
        let mut templates = Templates::new(folder.path());
        let name = templates.add_file(Path::new(file)).unwrap();
        templates.check(&name, &schema).unwrap();
        assert_eq!(templates.columns(&name, &schema), expected, "{file}");
        assert_eq!(templates.files().len(), files, "{file}");
    }
    let rows = batch(vec![("a", text("1")), ("b", text("2")), ("c", text("3"))]);
    let mut templates = Templates::new(folder.path());
    templates.add_file(Path::new("child.j2")).unwrap();
    assert_eq!(
        templates
            .render("child.j2", RenderTable::new(&rows, None).row(0))
            .unwrap(),
        "12"
    );
}

#[test]
fn names_the_fields_that_a_column_has() {
    let rows = row_with_a_null();
    for (template, message) in [
        (
            "{{ meta.other }}",
            "`meta.other` is undefined; `meta` has `score`",
        ),
        (
            "{{ row.gone.other }}",
            "`row.gone.other` is undefined; `gone` has `score`",
        ),
    ] {
        let messages = [user(template)];
        let prompt = Prompt::compile(
            &SystemSpec::default(),
            &messages,
            &PromptContext::in_folder(Path::new(".")),
            &rows.schema(),
        )
        .unwrap();
        let table = prompt.table(&rows);
        match prompt.render(
            &table,
            0,
            &PromptLimits::WIDEST,
            &mut MediaFacts::default(),
            |_| {},
        ) {
            Err(PromptFault::Render(error)) => assert_eq!(error.message, message),
            other => panic!("{template}: {other:?}"),
        }
    }
}

#[test]
fn takes_names_in_any_script() {
    let rows = batch(vec![("Größe", text("XL")), ("名前", text("Ann"))]);
    assert_eq!(
        render(
            "{{ Größe }} {{ row.Größe }} {{ row['Größe'] }} {{ 名前|upper }}",
            &rows
        )
        .unwrap(),
        "XL XL XL ANN"
    );
    assert_eq!(
        check(
            "{{ Größe }}{% if größe is defined %}{% endif %}",
            &["Größe"]
        )
        .unwrap(),
        named(&["Größe"])
    );
    let error = check("{{ Grösse }}", &["Größe"]).unwrap_err();
    assert!(
        matches!(&error, Error::UnknownColumn { nearest: Some(name), .. } if name == "Größe"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn follows_no_link_out_of_the_jobs_folder() {
    use std::os::unix::fs::symlink;
    let folder = folder(&[
        ("job/a.j2", "ok"),
        ("secret.j2", "secret"),
        ("outside/b.j2", "secret"),
    ]);
    let job = folder.path().join("job");
    symlink("../secret.j2", job.join("link.j2")).unwrap();
    symlink("../outside", job.join("dir")).unwrap();
    symlink("a.j2", job.join("inside.j2")).unwrap();
    for (name, tag) in [
        ("link.j2", "include"),
        ("dir/b.j2", "include"),
        ("link.j2", "extends"),
        ("link.j2", "import"),
    ] {
        let text = if tag == "import" {
            format!("{{% import '{name}' as x %}}")
        } else {
            format!("{{% {tag} '{name}' %}}")
        };
        let mut templates = Templates::new(&job);
        let error = templates.add_text("t", text.clone()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "`t` line 1: `{name}` is a link that leads out of the job's folder, and templates \
                 load only what is in it"
            ),
            "{text}"
        );
    }
    let rows = batch(vec![("x", text("link.j2"))]);
    let mut templates = Templates::new(&job);
    templates
        .add_text("t", "{% include x %}".to_owned())
        .unwrap();
    let error = templates
        .render("t", RenderTable::new(&rows, None).row(0))
        .unwrap_err();
    assert_eq!(
        error.message,
        "the row chooses a template outside of the job's folder"
    );
    let mut templates = Templates::new(&job);
    templates
        .add_text("t", "{% include 'inside.j2' %}".to_owned())
        .unwrap();
    assert_eq!(templates.render("t", Value::UNDEFINED).unwrap(), "ok");
}

#[test]
fn compares_in_loaded_templates_by_the_same_rules() {
    let folder = folder(&[
        ("part.j2", "{{ x > 5 }}"),
        ("m.j2", "{% macro m(v) %}{{ v != 5 }}{% endmacro %}"),
    ]);
    let rows = batch(vec![
        ("x", Arc::new(Int64Array::from(vec![None]))),
        ("name", text("part.j2")),
    ]);
    for template in [
        "{% include 'part.j2' %}",
        "{% include name %}",
        "{% from 'm.j2' import m %}{{ m(x) }}",
    ] {
        let mut templates = Templates::new(folder.path());
        templates.add_text("t", template.to_owned()).unwrap();
        assert_eq!(
            templates
                .render("t", RenderTable::new(&rows, None).row(0))
                .unwrap(),
            "false",
            "{template}"
        );
    }
    let mut templates = Templates::new(folder.path());
    templates
        .add_text("t", "{% include 'part.j2' %}".to_owned())
        .unwrap();
    let error = templates.check("t", &schema(&["x"])).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("`part.j2` line 1: the column `x` is text and is compared with a number"),
        "{error}"
    );
}

#[test]
fn loads_only_from_the_jobs_folder() {
    let folder = folder(&[
        ("job/a.j2", "ok"),
        ("secret.j2", "secret"),
        ("job/sub/b.j2", "{% include 'sub/../a.j2' %}"),
    ]);
    let job = folder.path().join("job");
    let absolute = folder.path().join("secret.j2");
    for name in [
        "../secret.j2",
        "sub/../../secret.j2",
        absolute.to_str().unwrap(),
        "..\\\\secret.j2",
        "",
    ] {
        let mut templates = Templates::new(&job);
        let result =
            templates.add_text("t", format!("\n{{% include \"{name}\" ignore missing %}}"));
        // A name with escapes is only looked at while rendering.
        let refused = match result {
            Err(Error::Outside { line: 2, .. }) => true,
            Ok(()) => templates.render("t", Value::from(())).is_err(),
            Err(e) => panic!("{name}: {e}"),
        };
        assert!(refused, "{name}");
    }
    let mut templates = Templates::new(&job);
    templates.add_file(Path::new("sub/b.j2")).unwrap();
    assert_eq!(templates.render("sub/b.j2", Value::from(())).unwrap(), "ok");
    let error = templates
        .add_text("t", "{% include 'none.j2' %}".to_owned())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`t` line 1: cannot read `none.j2` in the job's folder"
    );
}

#[test]
fn renders_system_blocks_once_and_refuses_columns_in_them() {
    let prompt_of = |text: &str| prompt(&[block(text)], &[user("{{ a }}")], &["a"]);
    assert_eq!(
        prompt_of("{% set n = 2 %}Rule {{ n }}.").unwrap().shared()[0].text,
        "Rule 2."
    );
    for (text, name) in [
        ("x\n{{ a }}", "a"),
        ("\n{{ row.a }}", "row"),
        ("\n{{ b }}", "b"),
        ("\n{% if a is defined %}{% endif %}", "a"),
    ] {
        let error = prompt_of(text).err().unwrap();
        let expected = format!(
            "`text of system block 1` line 2: system block 1 names `{name}`, but system blocks are \
             shared by all requests of the run so that the prompt cache can hit"
        );
        assert_eq!(error.to_string(), expected);
    }
    assert!(matches!(
        prompt_of("{% set a = a|trim %}{{ a }}"),
        Err(Error::Shared { .. })
    ));
    for (text, problem) in [
        ("", "system block 1 is empty, which the API refuses"),
        (
            " {# nothing #}\n",
            "system block 1 is empty, which the API refuses",
        ),
    ] {
        assert_eq!(prompt_of(text).err().unwrap().to_string(), problem);
    }
}

#[test]
fn takes_raw_text_as_it_stands() {
    let folder = folder(&[("policy.md", "\u{feff}{{ not a template }}\n")]);
    let spec = BlockSpec {
        file: Some("policy.md".into()),
        raw: true,
        ..BlockSpec::default()
    };
    let prompt = Prompt::compile(
        &SystemSpec::Blocks(vec![spec]),
        &[user("{{ a }}")],
        &PromptContext::in_folder(folder.path()),
        &schema(&["a"]),
    )
    .unwrap();
    assert_eq!(prompt.shared()[0].text, "{{ not a template }}\n");
    assert_eq!(prompt.files()[0].0, Path::new("policy.md"));
}

#[test]
fn shares_leading_messages_that_read_no_column() {
    let messages = [
        user("Example"),
        assistant("Answer"),
        user("{{ a }}"),
        user("Go on."),
        assistant("{ \n"),
    ];
    let prompt = prompt(&[], &messages, &["a"]).unwrap();
    let shared: Vec<_> = prompt
        .shared()
        .iter()
        .map(|block| (block.role, block.text.as_str()))
        .collect();
    assert_eq!(
        shared,
        [
            (Some(Role::User), "Example"),
            (Some(Role::Assistant), "Answer")
        ]
    );
    let rows = batch(vec![("a", text("1"))]);
    let mut rendered = Vec::new();
    let mut take = |part: PromptPart<'_>| match part {
        PromptPart::Text(role, text) => rendered.push((role, text.to_owned())),
        _ => panic!("only messages of one text"),
    };
    prompt
        .render(
            &prompt.table(&rows),
            0,
            &PromptLimits::WIDEST,
            &mut MediaFacts::default(),
            &mut take,
        )
        .unwrap();
    let expected = [
        (Role::User, "1"),
        (Role::User, "Go on."),
        (Role::Assistant, "{"),
    ];
    assert_eq!(
        rendered,
        expected.map(|(role, text)| (role, text.to_owned()))
    );
    assert!(prompt.ends_with_prefill());
}

#[test]
fn refuses_prompts_that_cannot_be_sent() {
    let marked = |text: &str| MessageSpec {
        cache: Some(CacheTtl::OneHour),
        ..user(text)
    };
    let both = BlockSpec {
        file: Some("a".into()),
        ..block("b")
    };
    for (system, messages, problem) in [
        (
            vec![],
            vec![],
            "`request.messages` is empty; a request needs at least one message",
        ),
        (
            vec![],
            vec![assistant("a"), user("{{ a }}")],
            "message 1 must have the role `user`",
        ),
        (
            vec![both],
            vec![user("{{ a }}")],
            "system block 1 needs exactly one of `text`, `file` and `template`",
        ),
        (
            vec![BlockSpec::default()],
            vec![user("{{ a }}")],
            "system block 1 needs exactly one of `text`, `file` and `template`",
        ),
        (
            vec![],
            vec![user(" ")],
            "message 1 is empty, which the API refuses",
        ),
        (
            vec![],
            vec![user("{{ a }}"), marked("shared")],
            "message 2 has a cache mark behind something that is not the same for all rows: what \
             is cached is everything up to the mark, so every row would pay for writing it and \
             none would read it; mark a system block, or move what all rows share to the front",
        ),
    ] {
        assert_eq!(
            prompt(&system, &messages, &["a"])
                .err()
                .unwrap()
                .to_string(),
            problem
        );
    }
}

#[test]
fn reports_empty_messages_by_row() {
    let prompt = prompt(&[], &[user("{{ a }}")], &["a"]).unwrap();
    for cell in [None, Some(""), Some(" \n")] {
        let rows = batch(vec![("a", Arc::new(StringArray::from(vec![cell])))]);
        let fault = prompt.render(
            &prompt.table(&rows),
            0,
            &PromptLimits::WIDEST,
            &mut MediaFacts::default(),
            |_| {},
        );
        assert_eq!(fault, Err(PromptFault::Empty { message: 1 }));
    }
}

#[test]
fn refuses_zones_that_are_not_known_here() {
    let field = Field::new(
        "at",
        DataType::Timestamp(
            arrow::datatypes::TimeUnit::Second,
            Some("Mars/Olympus".into()),
        ),
        true,
    );
    let schema = Schema::new(vec![field, Field::new("a", DataType::Utf8, true)]);
    let compile = |text: &str| {
        Prompt::compile(
            &SystemSpec::default(),
            &[user(text)],
            &PromptContext::in_folder(Path::new(".")),
            &schema,
        )
    };
    assert!(matches!(
        compile("{{ at }}"),
        Err(Error::UnknownZone { .. })
    ));
    assert!(compile("{{ a }}").is_ok());
}

#[test]
fn counts_cache_marks_and_their_order() {
    use CacheTtl::{FiveMinutes, OneHour};
    let marks = |ttls: &[CacheTtl]| {
        ttls.iter()
            .enumerate()
            .map(|(i, ttl)| (format!("block {}", i + 1), *ttl))
            .collect::<Vec<_>>()
    };
    for good in [
        vec![],
        vec![OneHour, OneHour, FiveMinutes, FiveMinutes],
        vec![FiveMinutes],
    ] {
        assert!(prompt::check_marks(&marks(&good)).is_ok());
    }
    for (bad, message) in [
        (
            vec![OneHour; 5],
            "block 5 has the fifth cache mark; the API takes four",
        ),
        (
            vec![OneHour, FiveMinutes, OneHour],
            "block 3 is cached for 1h behind block 2, which is cached for 5m; the API requires the \
             longer life first",
        ),
    ] {
        assert_eq!(
            prompt::check_marks(&marks(&bad)).unwrap_err().to_string(),
            message
        );
    }
}

#[test]
fn renders_the_example_of_every_filter() {
    for filter in filters::FILTERS {
        let rendered = render(filter.example, &batch(vec![("x", text("x"))])).unwrap();
        assert_eq!(rendered, filter.renders, "{}", filter.usage);
    }
}

#[test]
fn filters_keep_to_their_edges() {
    let rows = batch(vec![
        ("x", text("naïve 😀 text")),
        ("b", Arc::new(BinaryArray::from_vec(vec![&[0, 255]]))),
    ]);
    for (template, expected) in [
        ("{{ x|truncate(7) }}", "naïve …"),
        ("{{ x|truncate(7, end='') }}", "naïve 😀"),
        ("{{ x|truncate(12) }}", "naïve 😀 text"),
        ("{{ x|truncate(2, '...') }}", "na"),
        ("{{ x|truncate(0) }}", ""),
        (
            "{{ ' a  b\nc'|truncate_words(2, '') }}|{{ 'a'|truncate_words(0) }}|{{ ' a '|truncate_words(1) }}",
            " a  b|…| a ",
        ),
        ("{{ b|base64 }} {{ ''|base64 }}", "AP8= "),
        ("{{ '2024-01-31'|date('%d.%m.%Y') }}", "31.01.2024"),
        ("{{ '2024-01-31 08:09'|date('%H:%M') }}", "08:09"),
        (
            "{{ '2024-01-31T08:09:10+02:00'|date('%H:%M %z') }}",
            "08:09 +0200",
        ),
        (
            "{{ 2.675|number(2) }} {{ 0.125|number(2) }} {{ 999.995|number(2) }} \
             {{ -0.001|number(2) }}",
            "2.68 0.13 1000.00 0.00",
        ),
        (
            "{{ 12|number(2) }} {{ '007'|number }} {{ 1e21|number(0, ',') }}",
            "12.00 7 1,000,000,000,000,000,000,000",
        ),
        (
            "{{ -1234567|number(thousands=' ') }} {{ '1e3'|number(decimals=1) }}",
            "-1 234 567 1000.0",
        ),
        (
            "{{ {'a': [1, 2.0, true, none, {}], 'b': []}|json }}",
            "{\"a\":[1,2.0,true,null,{}],\"b\":[]}",
        ),
        (
            "{{ {'a': [1]}|tojson(indent=2) }}",
            "{\n  \"a\": [\n    1\n  ]\n}",
        ),
        ("{{ x|hash == x|hash }} {{ x|hash|length }}", "true 32"),
        ("{{ '--A  b--'|slug }}{{ '!?'|slug }}", "a-b"),
        (
            "{{ ''|default('d') }}{{ ''|default('d', true) }}{{ 0|default('d', falsy=true) }}",
            "dd",
        ),
    ] {
        assert_eq!(render(template, &rows).unwrap(), expected, "{template}");
    }
    for template in [
        "{{ x|truncate(-1) }}",
        "{{ x|truncate(3, ending='') }}",
        "{{ '1,5'|number }}",
        "{{ 'NaN'|number }}",
        "{{ '2024-01-31'|date('%z') }}",
        "{{ '2024-02-31'|date('%Y') }}",
    ] {
        assert!(render(template, &rows).is_err(), "{template}");
    }
}

#[test]
fn proposes_only_filters_of_the_engine_that_exist() {
    let templates = Templates::new(Path::new("."));
    let mut state = templates.env.empty_state();
    for name in filters::ENGINE_FILTERS {
        let unknown = state
            .apply_filter(name, &[])
            .is_err_and(|e| e.kind() == ErrorKind::UnknownFilter);
        assert!(!unknown, "{name}");
    }
}

/// Parquet files by other writers.
fn parquet_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parquet");
    let files = fs::read_dir(folder).unwrap();
    files.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn renders_rows_of_parquet_files_by_other_writers() {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let mut templates = Templates::new(Path::new("."));
    templates
        .add_text("t", "{{ row|json }}".to_owned())
        .unwrap();
    for path in parquet_files() {
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap())
            .unwrap()
            .with_limit(300)
            .build()
            .unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            let table = RenderTable::new(&batch, None);
            let columns = batch
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect::<Vec<_>>();
            for row in 0..batch.num_rows() {
                match templates.render("t", table.row(row)) {
                    Ok(text) => {
                        let value: serde_json::Value = serde_json::from_str(&text)
                            .unwrap_or_else(|e| panic!("{}: {e}: {text}", path.display()));
                        assert_eq!(
                            value.as_object().unwrap().len(),
                            columns.len(),
                            "{}",
                            path.display()
                        );
                    }
                    Err(error) => assert!(
                        error.message.contains("base64"),
                        "{}: {error}",
                        path.display()
                    ),
                }
            }
        }
    }
}
