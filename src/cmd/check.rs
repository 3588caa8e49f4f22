//! `nearend check`: what the daemon would run by, or everything that is wrong with the file.

use std::path::Path;
use std::process::ExitCode;

use nearend::config::{self, Diagnostic, Loaded};
use serde_json::json;

/// Checks the file and prints what would be used. Exit code 0, or 2 when it cannot be used.
pub(crate) fn run(path: &Path, json: bool) -> ExitCode {
    let result = config::load(path);
    let valid = result.is_ok();
    if json {
        println!("{:#}", as_json(&result));
    } else {
        report(path, &result);
    }
    if valid { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn as_json(result: &Result<Loaded, Vec<Diagnostic>>) -> serde_json::Value {
    match result {
        Ok(loaded) => json!({ "valid": true, "config": loaded.config, "warnings": loaded.warnings, "errors": [] }),
        Err(errors) => json!({ "valid": false, "config": null, "warnings": [], "errors": errors }),
    }
}

/// For people: the configuration on stdout, in the form of the file itself; what is to be said about it on stderr.
fn report(path: &Path, result: &Result<Loaded, Vec<Diagnostic>>) {
    match result {
        Ok(loaded) => {
            println!("# {} is valid. With all defaults it says:\n", path.display());
            print!("{}", as_toml(loaded));
            loaded.warnings.iter().for_each(|warning| eprintln!("{warning}"));
        }
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            let (count, s) = (errors.len(), if errors.len() == 1 { "" } else { "s" });
            eprintln!("{count} error{s}; nothing was started or changed");
        }
    }
}

fn as_toml(loaded: &Loaded) -> String {
    // Every value of Config is a string, a number, a list or a table of these, all of which TOML can write.
    toml::to_string(&loaded.config).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_file_is_shown_with_its_defaults_and_reads_back() {
        let loaded = config::parse("n.toml", "[site]\nname = \"branch-17\"\n").unwrap();
        let shown = as_toml(&loaded);
        assert!(shown.contains("name = \"branch-17\"") && shown.contains("ports = \"20000-29999\""), "{shown}");
        assert_eq!(config::parse("shown", &shown).unwrap().config, loaded.config);
        let json = as_json(&Ok(loaded));
        assert_eq!(json["valid"], true);
        assert_eq!(json["config"]["sip"]["session_expires"], "30m");
        assert_eq!(json["config"]["tenant"][0]["id"], "default");
    }

    #[test]
    fn errors_have_their_place_in_json() {
        let json = as_json(&config::parse("n.toml", "[rtp]\nports = 5\n"));
        assert_eq!(json["valid"], false);
        assert_eq!((&json["errors"][0]["line"], &json["errors"][0]["column"]), (&json!(2), &json!(9)));
        assert_eq!(json["errors"][0]["key"], "[rtp] ports");
    }

    #[test]
    fn the_exit_code_tells() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nearend.toml");
        assert_eq!(run(&file, true), ExitCode::from(2));
        std::fs::write(&file, format!("[site]\ndata_dir = {:?}\n", dir.path())).unwrap();
        assert_eq!(run(&file, false), ExitCode::SUCCESS);
    }
}
