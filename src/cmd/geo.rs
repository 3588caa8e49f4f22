//! `nearend geo`: at which location a call is recorded, and why.

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use nearend::geo::question::{DIRECTIONS, RECORDED, SIDES, TRIGGERS};
use nearend::geo::{Answer, Origin, Question};
use serde_json::Value;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say which geo-location counts for a call, and why
    Explain(Explain),
}

#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Explain {
    /// What the recording begins by
    #[arg(long, value_parser = PossibleValuesParser::new(TRIGGERS), default_value = "full-time")]
    trigger: String,
    /// Where the call came from
    #[arg(long, value_parser = PossibleValuesParser::new(DIRECTIONS))]
    direction: Option<String>,
    /// Geo-location of the trunk: inbound where the call came in, outbound the customer's
    #[arg(long, value_name = "LOCATION")]
    trunk: Option<String>,
    /// Geo-location of the routing point
    #[arg(long, value_name = "LOCATION")]
    routing_point: Option<String>,
    /// Geo-location in the extensions of the routing request
    #[arg(long, value_name = "LOCATION")]
    extension: Option<String>,
    /// Geo-location of the agent's DN
    #[arg(long, value_name = "LOCATION")]
    agent: Option<String>,
    /// The DNs on which recording is enabled
    #[arg(long, value_parser = PossibleValuesParser::new(RECORDED))]
    recorded: Option<String>,
    /// Value of the extension `record`, for the triggers strategy and dynamic
    #[arg(long, value_parser = PossibleValuesParser::new(SIDES), default_value = "source")]
    record: String,
    /// Geo-location of the DN that a dynamic request names
    #[arg(long, value_name = "LOCATION")]
    this_dn: Option<String>,
    /// Geo-location of the DN at its other end
    #[arg(long, value_name = "LOCATION")]
    other_dn: Option<String>,
    /// Locations of the pools of media servers, in order of preference; `-` is the single pool at the data centre
    #[arg(long, value_name = "LOCATION,…")]
    media_servers: Option<String>,
    /// The same of the recorders
    #[arg(long, value_name = "LOCATION,…")]
    recorders: Option<String>,
    /// A profile of the tenant, with its geo-location if it has one; may be given several times
    #[arg(long, value_name = "NAME[=LOCATION]")]
    profile: Vec<String>,
    /// Which of the profiles is the default
    #[arg(long, value_name = "NAME")]
    default_profile: Option<String>,
    /// For programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  nearend geo explain --direction inbound --trunk dallas --agent austin --recorded agent
  nearend geo explain --direction outbound --routing-point dallas --recorded customer+agent --json
  nearend geo explain --trigger strategy --record destination --trunk dallas --agent austin
  nearend geo explain --trigger dynamic --this-dn dallas --media-servers dallas,austin --recorders dallas
  nearend geo explain --trigger dynamic --this-dn dallas --profile tx=dallas --profile record";

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let Command::Explain(explain) = &arguments.command;
    match Question::read(explain.pairs()).and_then(|question| question.answer()) {
        Ok(answer) if explain.json => println!("{:#}", answer.json),
        Ok(answer) => print!("{}", in_words(&answer)),
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

impl Explain {
    /// What was given, by the names that the question has for it.
    fn pairs(&self) -> Vec<(String, String)> {
        let given = [
            ("trigger", Some(&self.trigger)),
            ("direction", self.direction.as_ref()),
            ("trunk", self.trunk.as_ref()),
            ("routing-point", self.routing_point.as_ref()),
            ("extension", self.extension.as_ref()),
            ("agent", self.agent.as_ref()),
            ("recorded", self.recorded.as_ref()),
            ("record", Some(&self.record)),
            ("this-dn", self.this_dn.as_ref()),
            ("other-dn", self.other_dn.as_ref()),
            ("media-servers", self.media_servers.as_ref()),
            ("recorders", self.recorders.as_ref()),
            ("default-profile", self.default_profile.as_ref()),
        ];
        let profiles = self.profile.iter().map(|profile| ("profile", Some(profile)));
        given.into_iter().chain(profiles).filter_map(|(name, value)| Some((name.to_owned(), value?.clone()))).collect()
    }
}

fn in_words(Answer { selection, json }: &Answer) -> String {
    let passed = |origin: &Origin| format!("{:<14} no location\n", origin.name());
    let mut text: String = selection.passed.iter().map(passed).collect();
    match (&selection.selected, selection.from) {
        (Some(location), Some(from)) => text += &format!("{:<14} {location}   <- counts\n", from.name()),
        _ => text += "none of these has a location: the call has none\n",
    }
    let shown = |value: &Value| value.as_str().unwrap_or("the data centre").to_owned();
    if let Some(pools) = json.get("pools") {
        let elsewhere = if pools["elsewhere"] == true { " (no pool at the location itself)" } else { "" };
        text += &format!("media servers  {}{elsewhere}\nrecorders      {}\n", shown(&pools["media"]), shown(&pools["recorder"]));
    }
    match json.get("profile") {
        Some(Value::Null) => text += "profile        none: no location matches, none is named record, none is the default\n",
        Some(profile) => text += &format!("profile        {} (by {})\n", shown(&profile["name"]), shown(&profile["by"])),
        None => {}
    }
    text
}
