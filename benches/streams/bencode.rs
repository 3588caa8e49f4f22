//! Bencode, in which rtpengine's control port is spoken to.

use std::collections::BTreeMap;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(i64),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// A map of texts.
    pub(crate) fn texts(entries: &[(&str, &str)]) -> Value {
        Value::Map(entries.iter().map(|(key, text)| ((*key).to_owned(), Value::Text((*text).to_owned()))).collect())
    }

    /// The entry of a map.
    pub(crate) fn entry(&self, key: &str) -> Option<&Value> {
        if let Value::Map(entries) = self { entries.get(key) } else { None }
    }

    /// The values in a map or a list.
    pub(crate) fn values(&self) -> Vec<&Value> {
        match self {
            Value::List(values) => values.iter().collect(),
            Value::Map(entries) => entries.values().collect(),
            Value::Number(_) | Value::Text(_) => Vec::new(),
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    pub(crate) fn number(&self) -> Option<i64> {
        if let Value::Number(number) = self { Some(*number) } else { None }
    }

    pub(crate) fn encode(&self) -> String {
        let text = |text: &str| format!("{}:{text}", text.len());
        match self {
            Value::Number(number) => format!("i{number}e"),
            Value::Text(plain) => text(plain),
            Value::List(values) => format!("l{}e", values.iter().map(Value::encode).collect::<String>()),
            Value::Map(entries) => {
                format!("d{}e", entries.iter().map(|(key, value)| text(key) + &value.encode()).collect::<String>())
            }
        }
    }

    /// Reads a value from the front of `bytes` and moves behind it; none when there is none.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Value> {
        let (first, rest) = bytes.split_first()?;
        match first {
            b'i' => {
                *bytes = rest;
                number(bytes, b'e').map(Value::Number)
            }
            b'l' => {
                *bytes = rest;
                let mut values = Vec::new();
                while !at_end(bytes)? {
                    values.push(Value::decode(bytes)?);
                }
                Some(Value::List(values))
            }
            b'd' => {
                *bytes = rest;
                let mut entries = BTreeMap::new();
                while !at_end(bytes)? {
                    let Value::Text(key) = Value::decode(bytes)? else { return None };
                    entries.insert(key, Value::decode(bytes)?);
                }
                Some(Value::Map(entries))
            }
            _ => {
                let length = usize::try_from(number(bytes, b':')?).ok()?;
                let (text, rest) = bytes.split_at_checked(length)?;
                *bytes = rest;
                Some(Value::Text(String::from_utf8_lossy(text).into_owned()))
            }
        }
    }
}

/// Moves behind the `e` of a list or map, if it is next; none at the end of the input.
fn at_end(bytes: &mut &[u8]) -> Option<bool> {
    let (first, rest) = bytes.split_first()?;
    let is_end = *first == b'e';
    if is_end {
        *bytes = rest;
    }
    Some(is_end)
}

fn number(bytes: &mut &[u8], until: u8) -> Option<i64> {
    let length = bytes.iter().position(|byte| *byte == until)?;
    let (digits, rest) = bytes.split_at_checked(length)?;
    *bytes = rest.get(1..)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
