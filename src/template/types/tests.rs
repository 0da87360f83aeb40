use arrow::datatypes::{DataType, Field, Schema};

use super::*;

fn schema() -> Schema {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let list = |item: DataType| DataType::List(field("item", item).into());
    let meta = vec![
        field("score", DataType::Int64),
        field("name", DataType::Utf8),
        field("ok", DataType::Boolean),
        field(
            "deep",
            DataType::Struct(vec![field("n", DataType::Float64)].into()),
        ),
    ];
    Schema::new(vec![
        field("active", DataType::Utf8),
        field("zip", DataType::Utf8),
        field("Customer name", DataType::LargeUtf8),
        field("flag", DataType::Boolean),
        field("n", DataType::Int64),
        field("f", DataType::Float64),
        field("due", DataType::Date32),
        field("price", DataType::Decimal128(10, 2)),
        field("meta", DataType::Struct(meta.into())),
        field("tags", list(DataType::Utf8)),
        field("nums", list(DataType::Int64)),
        field(
            "people",
            list(DataType::Struct(vec![field("age", DataType::Int64)].into())),
        ),
        field("void", DataType::Null),
        field(
            "kind",
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        ),
    ])
}

fn findings(source: &str) -> TypeFindings {
    let schema = schema();
    let syntax = SyntaxConfig::default();
    let names = super::super::names::find(&parse(source, "t", syntax.clone()).unwrap());
    let assigned = names.assigned.iter().map(String::as_str).collect();
    check(
        source,
        "t",
        &syntax,
        &KnownNames {
            schema: &schema,
            assigned: &assigned,
            is_root: true,
        },
    )
}

#[test]
fn finds_comparisons_that_are_the_same_for_every_row_however_they_are_written() {
    for (source, column) in [
        ("{{ active == true }}", "active"),
        ("{{ true == active }}", "active"),
        ("{{ active != false }}", "active"),
        ("{{ flag == 'true' }}", "flag"),
        ("{{ flag in ['true', 'yes'] }}", "flag"),
        ("{{ active in [1, 2] }}", "active"),
        ("{{ active not in (1, 2) }}", "active"),
        ("{{ n in ['1', '2'] }}", "n"),
        ("{{ n == '1' }}", "n"),
        ("{{ f < 'a' }}", "f"),
        ("{{ zip > 100 }}", "zip"),
        ("{{ zip > -100 }}", "zip"),
        ("{{ 0 < zip < 9 }}", "zip"),
        ("{{ zip is eq(1) }}", "zip"),
        ("{{ zip is equalto 1 }}", "zip"),
        ("{{ zip is gt(1) and n }}", "zip"),
        ("{{ zip is not lessthan 3 }}", "zip"),
        ("{{ zip is in [1, 2] }}", "zip"),
        ("{{ active is true }}", "active"),
        ("{{ active is not false }}", "active"),
        ("{{ zip|upper == 1 }}", "zip"),
        ("{{ zip|trim|replace('a', 'b') >= 1 }}", "zip"),
        ("{{ (zip) == 1 }}", "zip"),
        ("{{ ((zip)) == (1) }}", "zip"),
        ("{{ zip == 1 + 2 }}", "zip"),
        ("{{ zip == n }}", "zip"),
        ("{{ n == zip }}", "zip"),
        ("{{ zip == flag }}", "zip"),
        ("{{ zip == meta.score }}", "zip"),
        ("{% set v = zip %}{{ v == 1 }}", "zip"),
        (
            "{% set v = zip|lower %}{% set w = v %}{% if w == 1 %}{% endif %}",
            "zip",
        ),
        ("{% set one = 1 %}{{ zip == one }}", "zip"),
        (
            "{% if n %}{% set v = zip %}{% else %}{% set v = zip %}{% endif %}{{ v == 1 }}",
            "zip",
        ),
        ("{% with v = zip %}{{ v > 3 }}{% endwith %}", "zip"),
        ("{{ due > 20260101 }}", "due"),
        ("{{ due == n }}", "due"),
        ("{{ price > 5 }}", "price"),
        ("{{ meta.score == '5' }}", "meta.score"),
        ("{{ meta['name'] == 5 }}", "meta.name"),
        ("{{ meta.ok == 'yes' }}", "meta.ok"),
        ("{{ row.meta.deep.n == 'x' }}", "meta.deep.n"),
        ("{{ row.zip == 1 }}", "zip"),
        ("{{ row['Customer name'] == 1 }}", "Customer name"),
        ("{{ kind == 1 }}", "kind"),
        ("{{ 'a' if zip == 1 else 'b' }}", "zip"),
        ("{% if n %}{% elif zip == 1 %}{% endif %}", "zip"),
        ("{% for t in tags %}{{ t == 1 }}{% endfor %}", "tags[…]"),
        ("{% for t in nums if t == '1' %}{% endfor %}", "nums[…]"),
        (
            "{% for p in people %}{{ p.age > '3' }}{% endfor %}",
            "people[…].age",
        ),
        (
            "{{ people|selectattr('age', 'gt', '3')|list }}",
            "people[…].age",
        ),
        ("{{ tags|select('eq', 1)|list }}", "tags[…]"),
        ("{{ tags[0] == 1 }}{{ tags|first == 1 }}", "tags[…]"),
        ("{{ 1 in tags }}", "tags[…]"),
        ("{{ n in tags }}", "tags[…]"),
        ("{{ tags == 'a' }}", "tags"),
        ("{{ meta == 'a' }}", "meta"),
        (
            "{% for i in range(3) %}{{ loop.index == zip }}{{ i == zip }}{% endfor %}",
            "zip",
        ),
        (
            "{% macro m(x) %}{{ x == true }}{% endmacro %}{{ m(active) }}",
            "active",
        ),
        (
            "{% macro m(x, y='a') %}{{ y == 1 }}{% endmacro %}{{ m(1, y=zip) }}",
            "zip",
        ),
        ("{% macro m() %}{{ zip == 1 }}{% endmacro %}", "zip"),
        ("{{ (zip if n else zip) == 1 }}", "zip"),
        ("{{ n|string == 5 }}", "n"),
        ("{{ zip|int == '5' }}", "zip"),
        ("{{ tags|length == '5' or zip == 1 }}", "zip"),
        (
            "{{ [zip == 1] }}{{ {'a': zip == 1}.a }}{{ f(zip == 1) }}",
            "zip",
        ),
        ("{{ not zip == 1 }}", "zip"),
        ("{% filter replace(zip == 1, 'a') %}{% endfilter %}", "zip"),
        ("{% block b %}{{ zip == 1 }}{% endblock %}", "zip"),
    ] {
        let found = findings(source);
        let [
            ConstantComparison::Types {
                line: 1,
                column: named,
                ..
            },
            ..,
        ] = found.constant.as_slice()
        else {
            panic!("{source}: {found:?}")
        };
        assert_eq!(named, column, "{source}");
    }
}

#[test]
fn finds_comparisons_with_none_and_the_lines_of_all() {
    for source in [
        "{{ a == none }}",
        "{{ None != n }}",
        "{{ n is eq(none) }}",
        "{% set x = none %}{{ n == x }}",
        "{{ n > none }}",
    ] {
        assert_eq!(
            findings(source).constant,
            [ConstantComparison::None { line: 1 }],
            "{source}"
        );
    }
    let lines = |source: &str| {
        findings(source)
            .constant
            .iter()
            .map(ConstantComparison::line)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        lines("a\n{% if n\n and\n zip == 1 %}\n{{ 1 ==\nzip }}{% endif %}{{ 3 }}\n{{ n == '1' }}"),
        [4, 6, 7]
    );
}

#[test]
fn raises_no_false_alarm() {
    for source in [
        "{{ n == 1 }}{{ n == 1.0 }}{{ f > 3 }}{{ n < f }}{{ n > -3 }}",
        "{{ flag == true }}{{ flag == 1 }}{{ flag in [true] }}{{ flag is true }}{{ n == true }}",
        "{{ active == 'true' }}{{ active == zip }}{{ active in ['a', 'b'] }}{{ active in 'abc' }}{{ 'a' in active }}",
        "{{ active in [1, 'a'] }}{{ active in [] }}{{ n in nums }}{{ 'a' in tags }}{{ n in [1, x] }}",
        "{{ due > '2026-01-01' }}{{ due < row.due }}{{ price == '5.00' }}{{ price|float > 5 }}",
        "{{ zip|int > 5 }}{{ zip|float|round(1) > 5.0 }}{{ zip|length > 5 }}{{ zip|int(0) == 0 }}",
        "{{ n is none }}{{ n is not none }}{{ n is defined }}{{ n is string }}{{ n is divisibleby 3 }}",
        "{{ void == 1 }}{{ void == 'a' }}{{ meta.other == 1 }}{{ unknown == 1 }}{{ row[zip] == 1 }}",
        "{% set v = zip %}{% set v = 3 %}{{ v == 1 }}",
        "{% set zip = zip|int %}{{ zip == 1 }}",
        "{% if n %}{% set v = zip %}{% else %}{% set v = 1 %}{% endif %}{{ v == 1 }}",
        "{% set v = 'a' %}{% for t in tags %}{{ v == 1 }}{% set v = 2 %}{% endfor %}",
        "{% for zip in nums %}{{ zip == 1 }}{% endfor %}{% for k, v in row|items %}{{ v == 1 }}{% endfor %}",
        "{% macro m(zip) %}{{ zip == 1 }}{% endmacro %}{{ m(3) }}",
        "{% macro m(x) %}{{ x == 1 }}{{ x == 'a' }}{% endmacro %}",
        "{% with zip = 1 %}{{ zip == 1 }}{% endwith %}",
        "{% set ns = namespace(v='a') %}{% set ns.v = 1 %}{{ ns.v == 1 }}",
        "{{ n|default('?') == '?' }}{{ zip|default(0) == 0 }}{{ (zip or 0) == 0 }}{{ (zip if n else 0) == 0 }}",
        "{{ (zip ~ n) == '1' }}{{ n|string == '5' }}{{ zip[0] == 'a' }}{{ zip[:2] == 'ab' }}",
        "{{ 'score' in meta }}{{ 'zip' in row }}{{ meta == row }}{{ tags == nums }}{{ tags == ['a'] }}",
        "{{ 1 == '1' }}{{ loop }}{{ people|map(attribute='age')|first > 3 }}{{ nums|max > 3 }}{{ nums|sum > 3 }}",
        "{% import 'x' as zip %}{{ zip == 1 }}",
    ] {
        assert_eq!(findings(source).constant, [], "{source}");
    }
}

#[test]
fn names_the_column_its_type_and_the_fix() {
    use ComparisonFix as Fix;
    let column = |name: &str| name.to_owned();
    for (source, name, is, with, fix) in [
        (
            "{{ active == true }}",
            "active",
            OperandType::Own(TypeClass::Text),
            ComparedWith::Constant(TypeClass::Boolean),
            Fix::SetBoolean {
                column: column("active"),
            },
        ),
        (
            "{{ row['Customer name'] > 1 }}",
            "Customer name",
            OperandType::Own(TypeClass::Text),
            ComparedWith::Constant(TypeClass::Number),
            Fix::ConvertOrSetInteger {
                column: column("Customer name"),
            },
        ),
        (
            "{{ n == '1' }}",
            "n",
            OperandType::Own(TypeClass::Number),
            ComparedWith::Constant(TypeClass::Text),
            Fix::UnquoteNumber,
        ),
        (
            "{{ flag == 'a' }}",
            "flag",
            OperandType::Own(TypeClass::Boolean),
            ComparedWith::Constant(TypeClass::Text),
            Fix::UnquoteBoolean,
        ),
        (
            "{{ zip == n }}",
            "zip",
            OperandType::Own(TypeClass::Text),
            ComparedWith::Column {
                column: column("n"),
                is: OperandType::Own(TypeClass::Number),
            },
            Fix::ConvertOrSetInteger {
                column: column("zip"),
            },
        ),
        (
            "{{ due > 5 }}",
            "due",
            OperandType::Date,
            ComparedWith::Constant(TypeClass::Number),
            Fix::CompareWithDateText,
        ),
        (
            "{{ price > 5 }}",
            "price",
            OperandType::Decimal,
            ComparedWith::Constant(TypeClass::Number),
            Fix::ConvertToFloat,
        ),
        (
            "{{ n|string == 5 }}",
            "n",
            OperandType::AsWritten(TypeClass::Text),
            ComparedWith::Constant(TypeClass::Number),
            Fix::ConvertToFloat,
        ),
    ] {
        let expected = ConstantComparison::Types {
            line: 1,
            column: column(name),
            is,
            with,
            fix,
        };
        assert_eq!(findings(source).constant, [expected], "{source}");
    }
}

#[test]
fn collects_text_columns_that_are_conditions() {
    for (source, columns) in [
        ("{% if active %}{% endif %}", vec!["active"]),
        (
            "{% if not active and n or zip %}{% endif %}",
            vec!["active", "zip"],
        ),
        ("{{ 'a' if active else 'b' }}", vec!["active"]),
        ("{% if n %}{% elif row.active %}{% endif %}", vec!["active"]),
        ("{{ not active }}", vec!["active"]),
        (
            "{% set v = active|lower|trim %}{% if v %}{% endif %}",
            vec!["active"],
        ),
        (
            "{% if active|default('false') %}{% endif %}{{ zip|bool }}",
            vec!["active", "zip"],
        ),
        ("{% for t in tags if active %}{% endfor %}", vec!["active"]),
        (
            "{% macro m(x) %}{% if x %}{% endif %}{% endmacro %}{{ m(active) }}",
            vec!["active"],
        ),
        (
            "{% if active == 'true' or flag or n or due or zip|length %}{% endif %}{{ zip or 'x' }}",
            vec![],
        ),
    ] {
        let found: Vec<String> = findings(source)
            .conditions
            .into_iter()
            .map(|(_, column)| column)
            .collect();
        assert_eq!(found, columns, "{source}");
    }
}
