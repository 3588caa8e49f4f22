//! `nearend rules`: which rule counts for a call, and why the others do not.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use nearend::clock::Now;
use nearend::config::{self, Config};
use nearend::model::{CallFacts, CallUuid, Direction, DnType, SwitchId, TenantId, WallTime};
use nearend::rules::{Decision, Rules, Step};
use serde_json::{Value, json};

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
    #[arg(long, value_name = "KEY=VALUE", value_parser = attached)]
    attached: Vec<(String, String)>,
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
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<WallTime>,
    /// For programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  nearend rules explain --dn 7010 --direction inbound --dnis 18005550199
  nearend rules explain --config nearend.toml --dn 7010 --attached skill=cards --at 2026-03-02T09:00:00-06:00 --json";

fn attached(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "expected KEY=VALUE".to_owned())
}

fn time(text: &str) -> Result<WallTime, String> {
    let time = text.parse::<jiff::Timestamp>();
    time.map(|time| WallTime(time.as_microsecond())).map_err(|_| "expected a time such as 2026-03-02T09:00:00-06:00".to_owned())
}

/// Runs the subcommand. Exit code 0, or 2 when the configuration cannot be used.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let Command::Explain(explain) = &arguments.command;
    match explain.read() {
        Ok(config) => {
            let decision = Rules::new(config.rules.clone(), config.calendars.clone()).decide(&explain.facts(&config));
            match explain.json {
                true => println!("{:#}", as_json(&decision)),
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

    fn facts(&self, config: &Config) -> CallFacts {
        let switch = self.switch.as_ref().map(|id| SwitchId(id.as_str().into()));
        let owner =
            || config.tenants.iter().find(|tenant| switch.as_ref().is_some_and(|switch| tenant.switches.contains(switch)));
        let named = self.tenant.as_ref().map(|id| TenantId(id.as_str().into()));
        let tenant = named.or_else(|| owner().map(|tenant| tenant.id.clone())).unwrap_or_else(TenantId::default_tenant);
        CallFacts {
            call_uuid: self.call_uuid.as_ref().map(|uuid| CallUuid(uuid.as_str().into())),
            dn: self.dn.clone(),
            dn_type: DnType::ALL.into_iter().find(|kind| self.dn_type.as_deref() == Some(kind.name())),
            other_dn: self.other_dn.clone(),
            agent: self.agent.clone(),
            ani: self.ani.clone(),
            dnis: self.dnis.clone(),
            direction: Direction::ALL.into_iter().find(|direction| self.direction.as_deref() == Some(direction.name())),
            attached: self.attached.iter().cloned().collect(),
            switch,
            ..CallFacts::unknown(tenant, self.at.unwrap_or_else(|| Now::read().wall))
        }
    }
}

fn as_json(decision: &Decision) -> Value {
    json!({ "rule": decision.rule, "action": decision.action, "steps": decision.steps })
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
