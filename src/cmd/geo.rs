//! `nearend geo`: at which location a call is recorded, and why.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use nearend::geo::{self, Call, Dynamic, FullTime, Origin, Profile, Recorded, Selective};
use nearend::model::Side;
use serde_json::{Value, json};

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
    #[arg(long, value_enum, default_value = "full-time")]
    trigger: Trigger,
    /// Where the call came from
    #[arg(long, value_enum, required_if_eq("trigger", "full-time"))]
    direction: Option<Direction>,
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
    #[arg(long, value_enum, required_if_eq("trigger", "full-time"))]
    recorded: Option<RecordedDns>,
    /// Value of the extension `record`, for the triggers strategy and dynamic
    #[arg(long, value_enum, default_value = "source")]
    record: RecordSide,
    /// Geo-location of the DN that a dynamic request names
    #[arg(long, value_name = "LOCATION")]
    this_dn: Option<String>,
    /// Geo-location of the DN at its other end
    #[arg(long, value_name = "LOCATION")]
    other_dn: Option<String>,
    /// Locations of the pools of media servers, in order of preference; `-` is the single pool at the data centre
    #[arg(long, value_name = "LOCATION", value_delimiter = ',', requires = "recorders")]
    media_servers: Vec<String>,
    /// The same of the recorders
    #[arg(long, value_name = "LOCATION", value_delimiter = ',', requires = "media_servers")]
    recorders: Vec<String>,
    /// A profile of the tenant, with its geo-location if it has one; may be given several times
    #[arg(long, value_name = "NAME[=LOCATION]")]
    profile: Vec<String>,
    /// Which of the profiles is the default
    #[arg(long, value_name = "NAME", requires = "profile")]
    default_profile: Option<String>,
    /// For programs
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Trigger {
    /// Recording is enabled on a DN
    FullTime,
    /// A routing strategy asks for it
    Strategy,
    /// Somebody asks for it during the call
    Dynamic,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Direction {
    Inbound,
    Outbound,
}

#[derive(Clone, Copy, ValueEnum)]
enum RecordedDns {
    Caller,
    Agent,
    #[value(name = "caller+agent")]
    CallerAndAgent,
    Customer,
    #[value(name = "customer+agent")]
    CustomerAndAgent,
}

#[derive(Clone, Copy, ValueEnum)]
enum RecordSide {
    Source,
    Destination,
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
    match explain.answer() {
        Ok(answer) if explain.json => println!("{answer:#}"),
        Ok(answer) => print!("{}", explain.in_words(&answer)),
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

impl Explain {
    fn call(&self) -> Call {
        let side = match self.record {
            RecordSide::Source => Side::Source,
            RecordSide::Destination => Side::Destination,
        };
        let (trunk, agent) = (self.trunk.clone(), self.agent.clone());
        match self.trigger {
            Trigger::Strategy => Call::Strategy(Selective { side, trunk, agent }),
            Trigger::Dynamic => Call::Dynamic(Dynamic { side, this_dn: self.this_dn.clone(), other_dn: self.other_dn.clone() }),
            Trigger::FullTime => Call::FullTime(FullTime {
                outbound: self.direction == Some(Direction::Outbound),
                trunk,
                routing_point: self.routing_point.clone(),
                extension: self.extension.clone(),
                agent,
                recorded: self.recorded.map_or_else(Recorded::default, RecordedDns::dns),
            }),
        }
    }

    fn answer(&self) -> Result<Value, String> {
        let selection = self.call().select();
        let selected = selection.selected.as_deref();
        let mut answer = json!({ "selected": selected, "from": selection.from, "passed": selection.passed });
        if !self.media_servers.is_empty() {
            let pools = geo::serve(&pools(&self.media_servers), &pools(&self.recorders), selected)?;
            answer["pools"] = json!(pools);
        }
        if !self.profile.is_empty() {
            let profiles = self.profiles()?;
            let chosen = geo::choose(&profiles, selected);
            answer["profile"] = json!(chosen.map(|(profile, why)| json!({ "name": profile.name, "by": why })));
        }
        Ok(answer)
    }

    fn profiles(&self) -> Result<Vec<Profile>, String> {
        let is_default = |name: &str| self.default_profile.as_deref() == Some(name);
        let profile = |text: &String| {
            let (name, location) = text.split_once('=').map_or((text.as_str(), None), |(name, l)| (name, Some(l)));
            Profile { name: name.into(), geo_location: location.map(str::to_owned), is_default: is_default(name) }
        };
        let profiles: Vec<Profile> = self.profile.iter().map(profile).collect();
        match &self.default_profile {
            Some(name) if !profiles.iter().any(|profile| profile.is_default) => {
                Err(format!("--default-profile {name}: there is no --profile of that name"))
            }
            _ => Ok(profiles),
        }
    }

    fn in_words(&self, answer: &Value) -> String {
        let selection = self.call().select();
        let passed = |origin: &Origin| format!("{:<14} no location\n", origin.name());
        let mut text: String = selection.passed.iter().map(passed).collect();
        match (&selection.selected, selection.from) {
            (Some(location), Some(from)) => text += &format!("{:<14} {location}   <- counts\n", from.name()),
            _ => text += "none of these has a location: the call has none\n",
        }
        let shown = |value: &Value| value.as_str().unwrap_or("the data centre").to_owned();
        if let Some(pools) = answer.get("pools") {
            let elsewhere = if pools["elsewhere"] == true { " (no pool at the location itself)" } else { "" };
            text +=
                &format!("media servers  {}{elsewhere}\nrecorders      {}\n", shown(&pools["media"]), shown(&pools["recorder"]));
        }
        match answer.get("profile") {
            Some(Value::Null) => text += "profile        none: no location matches, none is named record, none is the default\n",
            Some(profile) => text += &format!("profile        {} (by {})\n", shown(&profile["name"]), shown(&profile["by"])),
            None => {}
        }
        text
    }
}

impl RecordedDns {
    fn dns(self) -> Recorded {
        let (agent, outside) = match self {
            RecordedDns::Caller | RecordedDns::Customer => (false, true),
            RecordedDns::Agent => (true, false),
            RecordedDns::CallerAndAgent | RecordedDns::CustomerAndAgent => (true, true),
        };
        Recorded { agent, outside }
    }
}

fn pools(locations: &[String]) -> Vec<Option<String>> {
    locations.iter().map(|location| Some(location.clone()).filter(|l| l != "-")).collect()
}
