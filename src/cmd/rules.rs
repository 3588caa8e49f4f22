//! `nearend rules`: which rule counts for a call, and why the others do not.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use nearend::clock::Now;
use nearend::config::{self, Config};
use nearend::model::{Direction, DnType, SwitchId};
use nearend::rules::{Decision, Question, Rules, Step};
use serde_json::json;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say which rule counts for a call, what it wants done, and why the rules before it do not match
    Explain(Explain),
}

#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Explain {
    /// The configuration with the rules
    #[arg(long, value_name = "FILE", default_value = "/etc/nearend/nearend.toml")]
    config: PathBuf,
    /// The DN that may be recorded
    #[arg(long)]
    dn: Option<String>,
    /// Its type
    #[arg(long, value_parser = PossibleValuesParser::new(DnType::ALL.map(DnType::name)))]
    dn_type: Option<String>,
    /// The DN at the other end
    #[arg(long, value_name = "DN")]
    other_dn: Option<String>,
    /// The agent at the DN
    #[arg(long)]
    agent: Option<String>,
    /// Number of the caller
    #[arg(long, value_name = "NUMBER")]
    ani: Option<String>,
    /// Number that was called
    #[arg(long, value_name = "NUMBER")]
    dnis: Option<String>,
    /// Where the call came from and went to
    #[arg(long, value_parser = PossibleValuesParser::new(Direction::ALL.map(Direction::name)))]
    direction: Option<String>,
    /// Attached data; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    attached: Vec<String>,
    /// Whose call it is; without it the tenant of the switch, else `default`
    #[arg(long)]
    tenant: Option<String>,
    /// The switch of the DN
    #[arg(long)]
    switch: Option<String>,
    /// CallUUID, by which shares are drawn; without it the call is in every share
    #[arg(long, value_name = "UUID")]
    call_uuid: Option<String>,
    /// When the call begins, such as 2026-03-02T09:00:00-06:00; without it now
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// For programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  nearend rules explain --dn 7010 --direction inbound --dnis 18005550199
  nearend rules explain --config nearend.toml --dn 7010 --attached skill=cards --at 2026-03-02T09:00:00-06:00 --json";

/// Runs the subcommand. Exit code 0, or 2 when the configuration or the description cannot be used.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let Command::Explain(explain) = &arguments.command;
    match explain.decide() {
        Ok(decision) => {
            match explain.json {
                true => println!("{:#}", json!(decision)),
                false => print!("{}", in_words(&decision)),
            }
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprint!("{message}");
            ExitCode::from(2)
        }
    }
}

impl Explain {
    /// The directories that the file names are not looked at: an answer is wanted on any machine.
    fn read(&self) -> Result<Config, String> {
        let name = self.config.display().to_string();
        let text = std::fs::read_to_string(&self.config).map_err(|error| format!("{name}: {error}\n"))?;
        let loaded = config::parse(&name, &text).map_err(|errors| errors.iter().map(|e| format!("{e}\n")).collect::<String>())?;
        loaded.warnings.iter().filter(|warning| warning.key.starts_with("[[rule]]")).for_each(|warning| eprintln!("{warning}"));
        Ok(loaded.config)
    }

    fn decide(&self) -> Result<Decision, String> {
        let question = Question::read(self.pairs()).map_err(|message| format!("{message}\n"))?;
        let config = self.read()?;
        let owner = |switch: &SwitchId| {
            config.tenants.iter().find(|tenant| tenant.switches.contains(switch)).map(|tenant| tenant.id.clone())
        };
        let facts = question.facts(Now::read().wall, owner);
        Ok(Rules::new(config.rules.clone(), config.calendars.clone()).decide(&facts))
    }

    /// What was given, by the names that the question has for it.
    fn pairs(&self) -> Vec<(String, String)> {
        let given = [
            ("dn", &self.dn),
            ("dn-type", &self.dn_type),
            ("other-dn", &self.other_dn),
            ("agent", &self.agent),
            ("ani", &self.ani),
            ("dnis", &self.dnis),
            ("direction", &self.direction),
            ("tenant", &self.tenant),
            ("switch", &self.switch),
            ("call-uuid", &self.call_uuid),
            ("at", &self.at),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let attached = self.attached.iter().map(|pair| ("attached", pair));
        given.chain(attached).map(|(name, value)| (name.to_owned(), value.clone())).collect()
    }
}

fn in_words(decision: &Decision) -> String {
    let longest = decision.steps.iter().map(|step| step.rule.chars().count()).max().unwrap_or(0);
    let line = |(n, step): (usize, &Step)| match &step.failed {
        None => format!("{:>3}. {:<longest$}  matches\n", n + 1, step.rule),
        Some(failed) => {
            let found = failed.found.as_ref().map_or_else(|| "not known".to_owned(), |found| format!("{found:?}"));
            format!("{:>3}. {:<longest$}  no: {} is {found}, wanted {}\n", n + 1, step.rule, failed.condition, failed.wanted)
        }
    };
    let steps: String = decision.steps.iter().enumerate().map(line).collect();
    let action = &decision.action;
    let verdict = match &decision.rule {
        Some(rule) => format!("{rule:?} counts: record {}", action.record.name()),
        None => "no rule matches: recorded if the media server asks for it; the box itself does not".into(),
    };
    let side = action.side.map(|side| format!(", side {}", side.name()));
    let named = |key: &str, value: &Option<String>| value.as_ref().map(|value| format!(", {key} {value}"));
    let partitions =
        Some(&action.partitions).filter(|list| !list.is_empty()).map(|list| format!(", partitions {}", list.join(" ")));
    let format = action.format.map(|format| format!(", format {}", format.name()));
    let rest = [side, format, named("tone", &action.tone), named("retention class", &action.retention_class), partitions];
    format!("{steps}{verdict}{}\n", rest.into_iter().flatten().collect::<String>())
}
