//! Copies of one recording that two boxes have made (Genesys `dest2`): which is the better one, and why. Pure.

use std::cmp::Reverse;

use serde::Serialize;
use serde_json::Value;

/// What of a copy decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Copied {
    /// Its folder.
    pub folder: String,
    /// The box that made it.
    #[serde(rename = "box")]
    pub box_name: String,
    /// Its files are as they were made.
    pub is_intact: bool,
    /// Parties of whom something was heard.
    pub parties: usize,
    /// Audio that is not there, of both parties, in milliseconds.
    pub missing_ms: u64,
    /// Its length, in milliseconds.
    pub length_ms: u64,
    /// Packets that never came.
    pub lost: u64,
}

impl Copied {
    /// Reads what its `recording.json` says; what is not there counts as nothing.
    pub fn read(folder: String, document: &Value, is_intact: bool) -> Copied {
        let nearend = &document["nearend"];
        let list = |name: &str| nearend[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let is_heard = |channel: u64| {
            let legs = list("legs").iter().filter(|leg| leg["channel"] == channel);
            legs.map(|leg| number(&leg["packets"]) + number(&leg["masked"])).sum::<u64>() > 0
        };
        let duration = document["mediaFiles"][0]["duration"].as_str().and_then(|text| text.parse().ok());
        Copied {
            folder,
            box_name: nearend["box"].as_str().unwrap_or("?").to_owned(),
            is_intact,
            parties: [1, 2].into_iter().filter(|channel| is_heard(*channel)).count(),
            missing_ms: list("gaps").iter().map(|gap| number(&gap["lengthMs"])).sum(),
            length_ms: duration.unwrap_or(0),
            lost: list("legs").iter().map(|leg| number(&leg["lost"])).sum(),
        }
    }
}

/// The better of two, and why: the first in which they differ of intact files, parties heard, audio missing, length, packets lost.
pub fn better<'c>(a: &'c Copied, b: &'c Copied) -> (&'c Copied, String) {
    // The greater is the better.
    let key = |c: &Copied| (c.is_intact, c.parties, Reverse(c.missing_ms), c.length_ms, Reverse(c.lost));
    let (good, other) = if key(b) > key(a) { (b, a) } else { (a, b) };
    let why = match () {
        () if good.is_intact != other.is_intact => "the files of the other one are not as they were made".into(),
        () if good.parties != other.parties => {
            format!("{} of the parties is heard, {} in the other", good.parties, other.parties)
        }
        () if good.missing_ms != other.missing_ms => {
            format!("{} ms of audio are missing, {} ms in the other", good.missing_ms, other.missing_ms)
        }
        () if good.length_ms != other.length_ms => format!("it is {} ms long, the other {} ms", good.length_ms, other.length_ms),
        () if good.lost != other.lost => format!("{} packets were lost, {} of the other", good.lost, other.lost),
        () => "neither is better: the first one".into(),
    };
    (good, why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn copy(folder: &str) -> Copied {
        let gap = |ms: u64| json!({ "channel": 1, "startMs": 0, "lengthMs": ms, "reason": "lost" });
        let leg = |channel: u64, packets: u64| json!({ "channel": channel, "packets": packets, "masked": 0, "lost": 3 });
        let nearend = json!({ "box": "b", "gaps": [gap(20), gap(40)], "legs": [leg(1, 50), leg(2, 50)] });
        let document = json!({ "mediaFiles": [{ "duration": "1000" }], "nearend": nearend });
        Copied::read(folder.into(), &document, true)
    }

    #[test]
    fn what_decides_is_read() {
        let expected = Copied {
            folder: "x".into(),
            box_name: "b".into(),
            is_intact: true,
            parties: 2,
            missing_ms: 60,
            length_ms: 1_000,
            lost: 6,
        };
        assert_eq!(copy("x"), expected);
        assert_eq!(Copied::read("x".into(), &json!({}), true).parties, 0);
    }

    #[test]
    fn the_first_difference_decides_and_is_told() {
        let good = copy("x");
        let worse: [(Copied, &str); 5] = [
            (Copied { is_intact: false, missing_ms: 0, ..copy("y") }, "not as they were made"),
            (Copied { parties: 1, missing_ms: 0, ..copy("y") }, "2 of the parties is heard, 1"),
            (Copied { missing_ms: 61, length_ms: 2_000, ..copy("y") }, "60 ms of audio are missing, 61 ms"),
            (Copied { length_ms: 999, lost: 0, ..copy("y") }, "1000 ms long, the other 999 ms"),
            (Copied { lost: 7, ..copy("y") }, "6 packets were lost, 7"),
        ];
        for (worse, words) in &worse {
            for (found, why) in [better(&good, worse), better(worse, &good)] {
                assert!(found.folder == "x" && why.contains(words), "{why}");
            }
        }
        assert_eq!(better(&good, &copy("y")).0.folder, "x");
    }
}
