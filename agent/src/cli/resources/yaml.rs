//! JSON values as YAML.

use std::fmt::Write as _;

use serde_json::Value;

/// A value as a document: mappings and lists in block style, each scalar so
/// that it is read as what it is (YAML 1.2, also by readers of 1.1).
pub(super) fn write(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => block(value, 0, &mut text),
        Value::Array(items) if !items.is_empty() => block(value, 0, &mut text),
        _ => {
            text.push_str(&inline(value));
            text.push('\n');
        }
    }
    text
}

/// A mapping or list that has something; the cursor is where it begins.
fn block(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let mut first = true;
    let mut begin = |text: &mut String| {
        if !std::mem::take(&mut first) {
            text.push_str(&indent);
        }
    };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                begin(text);
                let _infallible = write!(text, "{}:", string(name));
                nested(value, depth, text);
            }
        }
        Value::Array(items) => {
            for value in items {
                begin(text);
                text.push('-');
                match value {
                    Value::Object(_) | Value::Array(_) if !is_empty(value) => {
                        text.push(' ');
                        block(value, depth + 1, text);
                    }
                    _ => {
                        let _infallible = writeln!(text, " {}", inline(value));
                    }
                }
            }
        }
        _ => {}
    }
}

/// What stands behind `name:`.
fn nested(value: &Value, depth: usize, text: &mut String) {
    if is_empty(value) {
        let _infallible = writeln!(text, " {}", inline(value));
        return;
    }
    // A list may stand as far left as its name.
    let depth = match value {
        Value::Object(_) => depth + 1,
        _ => depth,
    };
    let _infallible = write!(text, "\n{}", "  ".repeat(depth));
    block(value, depth, text);
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        Value::String(text) => string(text),
        other => other.to_string(),
    }
}

/// A string without quotes if nobody can take it for anything else.
fn string(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    // Booleans and null of YAML 1.1, which other readers still know.
    let lower = text.to_ascii_lowercase();
    let is_word = matches!(
        &*lower,
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    // `:` is only something with a space behind it, or at the end.
    let colons = !text.ends_with(':');
    let is_plain = begins && colons && !is_word && text.chars().all(|c| plain(c) || c == ':');
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' | '\u{a1}'..='\u{2027}' | '\u{2030}'..='\u{d7ff}' => quoted.push(c),
            c if u32::from(c) <= 0xffff => {
                let _infallible = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => {
                let _infallible = write!(quoted, "\\U{:08x}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resources;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn it_looks_as_people_write_it() {
        let value = json!({
            "type": "TrafficTrace", "name": "all", "empty": [], "none": {}, "null": null,
            "selectors": [{"match": {"kuma.io/service": "*", "version": "1.0"}}, [], [[1, true]]],
            "conf": {"url": "http://z:9411/api/v2/spans", "ratio": 30.5},
        });
        let text = "\
conf:
  ratio: 30.5
  url: http://z:9411/api/v2/spans
empty: []
name: all
none: {}
\"null\": null
selectors:
- match:
    kuma.io/service: \"*\"
    version: \"1.0\"
- []
- - - 1
    - true
type: TrafficTrace
";
        assert_eq!(write(&value), text);
        assert_eq!(write(&json!([])), "[]\n");
        assert_eq!(write(&json!("a b")), "\"a b\"\n");
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            ".{0,12}",
            "[-a-z0-9:# .~*&!|>%@`?'\"{}\\[\\],]{0,8}",
            prop::sample::select(vec![
                "true",
                "No",
                "~",
                "null",
                "1e3",
                "0x1f",
                "1:30",
                "- a",
                "a: b",
                "a:",
                "#",
                "---",
                "<<",
                "=",
                ".nan",
                "2024-01-01",
                "\u{feff}",
                "\u{85}",
                "\u{2028}",
                "\u{7f}",
                "a\r\nb",
            ])
            .prop_map(str::to_owned),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e9..1e9_f64).prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..4)
                    // A merge key is no key of its own.
                    .prop_map(|map| map.into_iter().filter(|(key, _)| key != "<<").collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(inside in value()) {
            let document = json!({"type": "Mesh", "inside": inside});
            let text = write(&document);
            let read = resources::values("test", &text);
            let read = read.unwrap_or_else(|report| panic!("{report}\n{text}"));
            prop_assert_eq!(&Value::Object(read[0].clone()), &document, "{}", text);
        }
    }
}
