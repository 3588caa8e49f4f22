//! `nearend geo explain`: every row of the published tables, through the command line as scripts use it.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::site::data;

/// Runs a row: which column is which option; gives what was selected and what the row expects.
fn explain(direction: &str, names: &[&str], line: &str) -> (Value, Option<String>) {
    let cells: Vec<&str> = line.split(',').collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearend"));
    command.args(["geo", "explain", "--json", "--direction", direction]);
    for (name, cell) in names.iter().zip(&cells).filter(|(name, cell)| **name != "selected" && !cell.is_empty()) {
        let option = match *name {
            "trunk" | "customer_trunk" => "--trunk",
            "routing_point" => "--routing-point",
            "route_call_extension" => "--extension",
            "agent" => "--agent",
            "recorded" => "--recorded",
            other => panic!("unknown column {other}"),
        };
        command.args([option, cell]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    let selected = cells[names.iter().position(|name| *name == "selected").unwrap()];
    (serde_json::from_slice(&output.stdout).unwrap(), Some(selected.to_owned()).filter(|text| !text.is_empty()))
}

#[test]
fn all_42_rows_of_the_tables_come_out_as_listed() {
    let mut count = 0;
    for (file, direction) in [("geo_inbound.csv", "inbound"), ("geo_outbound.csv", "outbound")] {
        let text = fs::read_to_string(data(file)).unwrap();
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let names: Vec<&str> = lines.next().unwrap().split(',').collect();
        for line in lines {
            let (answer, expected) = explain(direction, &names, line);
            assert_eq!(answer["selected"].as_str(), expected.as_deref(), "{direction}: {line}");
            assert_eq!(answer["from"].is_null(), expected.is_none(), "{direction}: {line}");
            count += 1;
        }
    }
    assert_eq!(count, 42);
}
