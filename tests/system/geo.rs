//! `nearend geo explain`: every row of the published tables, through the command line as scripts use it, and over HTTP.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::site::{Site, data};

/// A row as pairs of option and value, and the location that it expects.
fn read(direction: &str, names: &[&str], line: &str) -> (Vec<(String, String)>, Option<String>) {
    let cells: Vec<&str> = line.split(',').collect();
    let mut pairs = vec![("direction".to_owned(), direction.to_owned())];
    for (name, cell) in names.iter().zip(&cells).filter(|(name, cell)| **name != "selected" && !cell.is_empty()) {
        let option = match *name {
            "trunk" | "customer_trunk" => "trunk",
            "routing_point" => "routing-point",
            "route_call_extension" => "extension",
            "agent" => "agent",
            "recorded" => "recorded",
            other => panic!("unknown column {other}"),
        };
        pairs.push((option.to_owned(), (*cell).to_owned()));
    }
    let selected = cells[names.iter().position(|name| *name == "selected").unwrap()];
    (pairs, Some(selected.to_owned()).filter(|text| !text.is_empty()))
}

fn explain(pairs: &[(String, String)]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearend"));
    command.args(["geo", "explain", "--json"]);
    for (name, value) in pairs {
        command.args([&format!("--{name}"), value]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{pairs:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn all_42_rows_of_the_tables_come_out_as_listed() {
    let site = Site::start();
    let mut count = 0;
    for (file, direction) in [("geo_inbound.csv", "inbound"), ("geo_outbound.csv", "outbound")] {
        let text = fs::read_to_string(data(file)).unwrap();
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let names: Vec<&str> = lines.next().unwrap().split(',').collect();
        for line in lines {
            let (pairs, expected) = read(direction, &names, line);
            let answer = explain(&pairs);
            assert_eq!(answer["selected"].as_str(), expected.as_deref(), "{direction}: {line}");
            assert_eq!(answer["from"].is_null(), expected.is_none(), "{direction}: {line}");
            let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", value.replace('+', "%2B"))).collect();
            let (status, body) = site.get(&format!("/api/v1/geo/explain?{}", query.join("&")));
            assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()), (200, answer), "{direction}: {line}");
            count += 1;
        }
    }
    assert_eq!(count, 42);
    let (status, body) = site.get("/api/v1/geo/explain?direction=up");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &problem["detail"]), (400, &"direction \"up\": expected inbound, outbound".into()));
}
