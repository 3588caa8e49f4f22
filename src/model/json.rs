//! What another station wants kept, as JSON: neither read nor changed on its way. Kept as text, because a tree of values takes
//! ten times as much memory, for every session that is up.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// A JSON value as text. In the JSON around it, it is that value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// `value` as JSON.
    ///
    /// # Errors
    /// When it cannot be put into JSON, as a map whose keys are no strings.
    pub fn of(value: &impl Serialize) -> serde_json::Result<Json> {
        to_raw_value(value).map(Json)
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is something else.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(self.0.get())
    }
}

/// Null.
impl Default for Json {
    fn default() -> Json {
        Json(RawValue::NULL.to_owned())
    }
}

/// By their text.
impl PartialEq for Json {
    fn eq(&self, other: &Json) -> bool {
        self.0.get() == other.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_value_like_any_other_in_what_surrounds_it() {
        let written = r#"[{"b":1,"a":[null,"ü\n"]},null]"#;
        let read: Vec<Json> = serde_json::from_str(written).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
        assert_eq!(read[1], Json::default());
        assert_eq!(read[0].read::<serde_json::Value>().unwrap()["a"][1], "ü\n");
        assert_eq!(Json::of(&7).unwrap().read::<u64>().unwrap(), 7);
        assert!(read[0].read::<u64>().is_err());
    }
}
