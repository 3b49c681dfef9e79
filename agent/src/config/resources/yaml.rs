//! YAML (and so JSON) as a tree in which everything has its place.
//!
//! What a file can make of itself is bounded: nesting, and what aliases copy.
//! Types of plain scalars are those of YAML 1.2's core schema (section 10.3.2),
//! which JSON's are too. A merge key (`<<`) is understood, because what reads
//! files for Kuma does (`sigs.k8s.io/yaml`).

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use hashbrown::{HashMap, HashSet};

/// Mappings and lists within each other at most.
const MAX_DEPTH: usize = 64;
/// What aliases may copy in a file, roughly in bytes.
const MAX_COPIED: usize = 4 << 20;
/// Documents of a file that may be broken before the rest is given up.
const MAX_BROKEN: usize = 20;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) span: Range<usize>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a mapping and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Node,
}

/// What is wrong with the syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) hint: &'static str,
}

impl Value {
    /// What it is, for people.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// Roughly what a copy takes.
    fn weight(&self) -> usize {
        let inside: usize = match &self.value {
            Value::Null | Value::Bool(_) => 0,
            Value::Number(text) | Value::Text(text) => text.len(),
            Value::List(items) => items.iter().map(Self::weight).sum(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| entry.key.len() + entry.value.weight())
                .sum(),
        };
        size_of::<Entry>() + inside
    }
}

/// The documents of a text that say something, and what is wrong with its
/// syntax. Of a document whose syntax is broken nothing is read; what comes
/// behind it is.
pub(super) fn read(text: &str) -> (Vec<Node>, Vec<Problem>) {
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    let mut broken = 0;
    loop {
        let mut building = Building::default();
        match building.document(&mut parser) {
            Ok(true) => {
                let node = building.done.filter(|node| node.value != Value::Null);
                documents.extend(node);
                problems.append(&mut building.problems);
            }
            Ok(false) => break,
            Err(mut problem) => {
                if problem.hint.is_empty() {
                    problem.hint = hint(text, problem.span.start);
                }
                problems.append(&mut building.problems);
                problems.push(problem);
                broken += 1;
                let more = matches!(parser.proceed_next_document(), Ok(true));
                if !more || broken >= MAX_BROKEN {
                    break;
                }
            }
        }
    }
    (documents, problems)
}

/// A document that is being put together.
#[derive(Default)]
struct Building {
    open: Vec<Open>,
    /// None where the node has not ended.
    anchors: HashMap<usize, Option<Node>>,
    copied: usize,
    problems: Vec<Problem>,
    done: Option<Node>,
}

/// A collection whose end has not come.
struct Open {
    anchor: usize,
    span: Range<usize>,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map(Pairs),
}

#[derive(Default)]
struct Pairs {
    entries: Vec<Entry>,
    seen: HashSet<String>,
    /// A key whose value has not come.
    key: Option<(String, Range<usize>)>,
}

impl Building {
    /// Reads a document; false if there is none.
    fn document<'t>(&mut self, events: &mut Parser<'t, StrInput<'t>>) -> Result<bool, Problem> {
        while let Some(event) = events.next_event() {
            let (event, span) = event.map_err(|error| {
                let at = error.marker().byte_offset().unwrap_or_default();
                problem(&(at..at), error.info(), "")
            })?;
            match event {
                Event::DocumentEnd => return Ok(true),
                Event::StreamEnd => return Ok(false),
                event => self.take(event, &span)?,
            }
        }
        Ok(false)
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Problem> {
        let span = span.byte_range().unwrap_or_default();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), &span);
                self.add(anchor, Node { value, span })
            }
            Event::Alias(anchor) => {
                let value = match self.anchors.get(&anchor) {
                    Some(Some(node)) => {
                        count(&mut self.copied, node, &span)?;
                        node.value.clone()
                    }
                    _ => {
                        let message = "this alias stands within what it refers to";
                        self.problems.push(problem(&span, message, ""));
                        Value::Null
                    }
                };
                self.add(0, Node { value, span })
            }
            Event::SequenceStart(_, anchor, _) => self.begin(anchor, span, Items::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.begin(anchor, span, Items::Map(Pairs::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, span: Range<usize>, items: Items) -> Result<(), Problem> {
        if self.open.len() >= MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} lists and mappings within each other");
            return Err(problem(&span, message, ""));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        self.open.push(Open {
            anchor,
            span,
            items,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.items {
            Items::List(items) => Value::List(items),
            Items::Map(pairs) => Value::Map(self.merge(pairs)),
        };
        let span = open.span;
        self.add(open.anchor, Node { value, span })
    }

    /// Puts a whole node where it belongs.
    fn add(&mut self, anchor: usize, node: Node) -> Result<(), Problem> {
        if anchor != 0 {
            count(&mut self.copied, &node, &node.span)?;
            self.anchors.insert(anchor, Some(node.clone()));
        }
        let Some(open) = self.open.last_mut() else {
            self.done = Some(node);
            return Ok(());
        };
        match &mut open.items {
            Items::List(items) => items.push(node),
            Items::Map(pairs) => match pairs.key.take() {
                None => {
                    let key_span = node.span;
                    let key = match node.value {
                        Value::Text(text) | Value::Number(text) => text,
                        Value::Bool(value) => value.to_string(),
                        other => {
                            let message = format!("{} as a key, wanted a string", other.name());
                            self.problems.push(problem(&key_span, message, ""));
                            String::new()
                        }
                    };
                    pairs.key = Some((key, key_span));
                }
                Some((key, key_span)) => {
                    if !pairs.seen.insert(key.clone()) {
                        let message = format!("`{key}` is there twice");
                        let hint = "remove one of them";
                        self.problems.push(problem(&key_span, message, hint));
                        return Ok(());
                    }
                    pairs.entries.push(Entry {
                        key,
                        key_span,
                        value: node,
                    });
                }
            },
        }
        Ok(())
    }

    /// The entries, with those of the merge key that are not there themselves.
    fn merge(&mut self, pairs: Pairs) -> Vec<Entry> {
        let Pairs {
            mut entries,
            mut seen,
            ..
        } = pairs;
        let Some(place) = entries.iter().position(|entry| entry.key == "<<") else {
            return entries;
        };
        let merged = entries.remove(place).value;
        let maps = match merged.value {
            Value::List(maps) => maps,
            _ => vec![merged],
        };
        for map in maps {
            let Value::Map(others) = map.value else {
                let message = format!("{} behind `<<`, wanted a mapping", map.value.name());
                self.problems.push(problem(&map.span, message, ""));
                continue;
            };
            entries.extend(
                others
                    .into_iter()
                    .filter(|entry| seen.insert(entry.key.clone())),
            );
        }
        entries
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: &Range<usize>,
    ) -> Value {
        let tag = match tag.map(|tag| (tag.core_suffix(), tag)) {
            None => None,
            Some((Some(core), _)) => Some(core),
            // `!` alone says that it is a string (section 6.9.1).
            Some((None, tag)) if tag.original() == "!" => Some("str"),
            Some((None, tag)) => {
                let message = format!("unknown tag `{}`", tag.original());
                self.problems.push(problem(span, message, "remove it"));
                None
            }
        };
        match (style, tag) {
            (_, Some("str")) => Value::Text(text.to_owned()),
            (ScalarStyle::Plain, _) | (_, Some("int" | "float" | "bool" | "null")) => plain(text),
            _ => Value::Text(text.to_owned()),
        }
    }
}

/// Adds a copy of a node to what was copied.
fn count(copied: &mut usize, node: &Node, span: &Range<usize>) -> Result<(), Problem> {
    *copied += node.weight();
    if *copied > MAX_COPIED {
        let message = format!("anchors and aliases copy more than {MAX_COPIED} bytes");
        return Err(problem(span, message, "write it out"));
    }
    Ok(())
}

/// What helps where the syntax breaks off, if that is a usual mistake.
fn hint(text: &str, at: usize) -> &'static str {
    let (before, behind) = text.split_at_checked(at).unwrap_or((text, ""));
    if before.ends_with('\t') || behind.starts_with('\t') {
        "indent with spaces"
    } else if behind.starts_with('*') || before.ends_with('*') {
        "any value is written in quotes: '*'"
    } else if behind.starts_with(['@', '`', '%', '&']) {
        "write it in quotes"
    } else {
        ""
    }
}

fn problem(span: &Range<usize>, message: impl Into<String>, hint: &'static str) -> Problem {
    Problem {
        span: span.clone(),
        message: message.into(),
        hint,
    }
}

/// A plain scalar by the core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if is_number(text) => Value::Number(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    let all = |digits: &str, is: fn(&char) -> bool| {
        !digits.is_empty() && digits.chars().all(|digit| is(&digit))
    };
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, |digit| ('0'..='7').contains(digit));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, char::is_ascii_hexdigit);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    // What else Rust reads as a number begins with a digit here, or a point
    // and a digit.
    let digits = unsigned.strip_prefix('.').unwrap_or(unsigned);
    digits.starts_with(|first: char| first.is_ascii_digit()) && unsigned.parse::<f64>().is_ok()
}
