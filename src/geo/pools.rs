//! Which media servers and which recorders serve a call. Each are a resource group of pools: a single one at the data centre, or
//! one per location. Where both groups have pools per location, one location serves both for one call, so that the
//! replicated audio does not cross the WAN.

use serde::Serialize;

/// The pools of one kind, in order of preference; `None` is the single pool at the data centre.
pub type Group = [Option<String>];

/// What serves a call: of each kind the location of its pool, `None` for the single one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Served {
    /// Of the media servers.
    pub media: Option<String>,
    /// Of the recorders.
    pub recorder: Option<String>,
    /// The location that was selected serves neither.
    pub elsewhere: bool,
}

/// The pools that serve a call whose location is `selected`.
///
/// # Errors
/// Why no pools serve it: what is missing, and what to configure.
pub fn serve(media: &Group, recorders: &Group, selected: Option<&str>) -> Result<Served, String> {
    if media.is_empty() || recorders.is_empty() {
        let kind = if media.is_empty() { "media servers" } else { "recorders" };
        return Err(format!("there is no pool of {kind}; configure one, with or without a location"));
    }
    let served = match has_locations(media) && has_locations(recorders) {
        true => same(media, recorders, selected)?,
        false => (pick(media, selected), pick(recorders, selected)),
    };
    let is_there = |location: &Option<String>| location.as_deref() == selected;
    let elsewhere = selected.is_some() && !is_there(&served.0) && !is_there(&served.1);
    Ok(Served { media: served.0, recorder: served.1, elsewhere })
}

fn has_locations(group: &Group) -> bool {
    group.iter().any(Option::is_some)
}

/// The pool at the location, else the single one, else the first.
fn pick(group: &Group, selected: Option<&str>) -> Option<String> {
    let at = |location: Option<&str>| group.iter().find(|pool| pool.as_deref() == location);
    at(selected).or_else(|| at(None)).or_else(|| group.first()).cloned().flatten()
}

/// The pool of both groups at one location.
fn same(media: &Group, recorders: &Group, selected: Option<&str>) -> Result<(Option<String>, Option<String>), String> {
    let both: Vec<Option<String>> = media.iter().filter(|pool| recorders.contains(pool)).cloned().collect();
    if both.is_empty() {
        return Err("no location has both media servers and recorders; add one of them to a location of the other".into());
    }
    let location = pick(&both, selected);
    Ok((location.clone(), location))
}
