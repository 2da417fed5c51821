//! Comparing what a query returned with what a user expects.

use serde_json::{Map, Value};

use pg::Answer;

/// A number as SQL and YAML write it. Whole ones are compared as such, as a double has 53 bits.
fn number(text: &str) -> Option<f64> {
    let plain = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    text.trim().chars().all(plain).then(|| text.trim().parse().ok())?
}

/// Which of two numbers is larger; `None` when one is no number.
pub(super) fn order(left: &str, right: &str) -> Option<std::cmp::Ordering> {
    match (left.trim().parse::<i128>(), right.trim().parse::<i128>()) {
        (Ok(left), Ok(right)) => Some(left.cmp(&right)),
        _ => number(left)?.partial_cmp(&number(right)?),
    }
}

/// Whether a value is what is expected: text as text, numbers by their value.
fn is(found: Option<&str>, expected: &Value) -> bool {
    let Some(found) = found else { return expected.is_null() };
    match expected {
        Value::Null => false,
        Value::Bool(truth) => found == if *truth { "t" } else { "f" },
        Value::Number(number) => {
            order(found, &number.to_string()).is_some_and(std::cmp::Ordering::is_eq)
        }
        Value::String(text) => found == text,
        // Of a column of type json or an array in JSON.
        Value::Array(_) | Value::Object(_) => {
            serde_json::from_str::<Value>(found).is_ok_and(|found| found == *expected)
        }
    }
}

/// A value as a message has it.
pub(super) fn shown(found: Option<&str>) -> String {
    match found {
        None => "null".to_owned(),
        Some(text) if number(text).is_some() => text.to_owned(),
        Some(text) => format!("\"{text}\""),
    }
}

fn row_shown(row: &[Option<String>]) -> String {
    let values: Vec<String> = row.iter().map(|value| shown(value.as_deref())).collect();
    format!("({})", values.join(", "))
}

/// The one value of an answer: of one row, the first column.
pub(super) fn single(answer: &Answer) -> Result<Option<&str>, String> {
    match answer.rows.as_slice() {
        [row] if !answer.more => Ok(row.first().and_then(Option::as_deref)),
        rows => Err(format!("it returned {}, expected one", rows_counted(rows.len(), answer.more))),
    }
}

fn rows_counted(number: usize, more: bool) -> String {
    match (number, more) {
        (number, true) => format!("more than {number} rows"),
        (0, false) => "no row".to_owned(),
        (1, false) => "1 row".to_owned(),
        (number, false) => format!("{number} rows"),
    }
}

/// Whether an answer is what is expected: a list is all rows, as lists or dictionaries; anything else is the one value.
pub(super) fn compare(answer: &Answer, expected: &Value) -> Result<(), String> {
    let Value::Array(rows) = expected else {
        let found = single(answer)?;
        let ok = is(found, expected);
        return ok
            .then_some(())
            .ok_or_else(|| format!("it returned {}, expected {expected}", shown(found)));
    };
    if answer.more || answer.rows.len() != rows.len() {
        let found = rows_counted(answer.rows.len(), answer.more);
        return Err(format!("it returned {found}, expected {}", rows_counted(rows.len(), false)));
    }
    for (at, (found, expected)) in answer.rows.iter().zip(rows).enumerate() {
        let same = match expected {
            Value::Array(values) => {
                values.len() == found.len()
                    && found.iter().zip(values).all(|(found, value)| is(found.as_deref(), value))
            }
            Value::Object(columns) => has(answer, found, columns)?,
            // A list of scalars: rows of one column.
            scalar => found.len() == 1 && found.iter().all(|found| is(found.as_deref(), scalar)),
        };
        if !same {
            let row = row_shown(found);
            return Err(format!("row {} is {row}, expected {expected}", at.saturating_add(1)));
        }
    }
    Ok(())
}

/// Whether a row has these values in these columns; others do not matter.
fn has(
    answer: &Answer,
    row: &[Option<String>],
    columns: &Map<String, Value>,
) -> Result<bool, String> {
    for (name, expected) in columns {
        let at = answer.columns.iter().position(|column| column == name);
        let at = at.ok_or_else(|| format!("it has no column \"{name}\""))?;
        if !is(row.get(at).and_then(Option::as_deref), expected) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(columns: &[&str], rows: &[&[Option<&str>]]) -> Answer {
        let text = |value: &Option<&str>| value.map(str::to_owned);
        Answer {
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            without_zone: false,
            rows: rows.iter().map(|row| row.iter().map(text).collect()).collect(),
            more: false,
        }
    }

    fn told(answer: &Answer, expected: Value) -> String {
        compare(answer, &expected).unwrap_err()
    }

    #[test]
    fn scalars_are_compared_as_what_they_are() {
        let of = |text| answer(&["a"], &[&[text]]);
        for (found, expected) in [
            (Some("12"), json!(12)),
            (Some("12.50"), json!(12.5)),
            (Some("9007199254740993"), json!(9_007_199_254_740_993_i64)),
            (Some("007"), json!("007")),
            (Some("t"), json!(true)),
            (None, json!(null)),
            (Some("{\"a\": 1}"), json!({"a": 1})),
        ] {
            assert_eq!(compare(&of(found), &expected), Ok(()), "{found:?} {expected}");
        }
        assert_eq!(told(&of(Some("12")), json!(13)), "it returned 12, expected 13");
        assert_eq!(told(&of(Some("7")), json!("007")), "it returned 7, expected \"007\"");
        assert_eq!(told(&of(Some("x")), json!(1)), "it returned \"x\", expected 1");
        assert_eq!(told(&of(None), json!(1)), "it returned null, expected 1");
        assert_eq!(
            told(&of(Some("9007199254740992")), json!(9_007_199_254_740_993_i64)),
            "it returned 9007199254740992, expected 9007199254740993"
        );
        assert_eq!(told(&answer(&["a"], &[]), json!(1)), "it returned no row, expected one");
    }

    #[test]
    fn rows_are_lists_or_dictionaries() {
        let two = answer(&["id", "name"], &[&[Some("1"), Some("a")], &[Some("2"), None]]);
        assert_eq!(compare(&two, &json!([[1, "a"], [2, null]])), Ok(()));
        assert_eq!(compare(&two, &json!([{"id": 1}, {"name": null}])), Ok(()));
        assert_eq!(told(&two, json!([[1, "a"]])), "it returned 2 rows, expected 1 row");
        assert_eq!(
            told(&two, json!([[1, "a"], [2, "b"]])),
            "row 2 is (2, null), expected [2,\"b\"]"
        );
        assert_eq!(told(&two, json!([{"age": 1}, {}])), "it has no column \"age\"");
        let many = Answer { more: true, ..two };
        assert_eq!(told(&many, json!([])), "it returned more than 2 rows, expected no row");
        assert_eq!(compare(&answer(&["a"], &[&[Some("1")], &[Some("2")]]), &json!([1, 2])), Ok(()));
    }
}
