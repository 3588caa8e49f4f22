// The tone bench: sets up a call, lets the box render it, plays it here or on the box's own loudspeaker, and shows what that really does.

import { at, element, say, tiles } from "./dom.js";
import { count } from "./format.js";

const API = "/api/v1/tone";
const SETTLE_MS = 400;
const form = at("setup");
const PERSPECTIVES = {
  "recorddn-hears": "The recorded party hears",
  "otherdn-hears": "The other party hears",
  "channel-1": "Channel 1 of the recording",
  "channel-2": "Channel 2 of the recording",
};

async function ask(method, path) {
  const answer = await fetch(API + path, { method });
  if (answer.status === 401) location.assign("/"); // where one logs in
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail);
  return said;
}

// ---- the call

function setup() {
  const fields = new URLSearchParams();
  for (const field of form.elements) {
    if (!field.name) continue;
    fields.set(field.name, field.type === "checkbox" ? field.checked : field.value.trim());
  }
  return fields.toString();
}

const views = Object.entries(PERSPECTIVES).map(([name, title]) => {
  const tile = element("li");
  const holds = element("p");
  const audio = element("audio");
  audio.controls = true;
  audio.preload = "none";
  audio.setAttribute("aria-label", `${title}: play here`);
  const button = element("button", "Play on the box");
  button.type = "button";
  button.setAttribute("aria-label", `${title}: play on the box's own loudspeaker`);
  button.addEventListener("click", () => order(`/play/${name}?${setup()}`, `${title}: plays on the box`));
  tile.dataset.name = name;
  tile.append(element("h3", title), holds, audio, button);
  at("perspectives").append(tile);
  return { name, title, holds, audio };
});

async function show() {
  if (!form.checkValidity()) {
    say(at("verdict"), "A value is out of its range.");
    at("verdict").className = "verdict warning";
    return;
  }
  const query = setup();
  try {
    const facts = await ask("GET", `/call?${query}`);
    if (query !== setup()) return; // changed meanwhile: the next answer counts
    verdict(facts);
    facts.perspectives.forEach(({ tone }, n) => {
      const { name, holds, audio } = views[n];
      say(holds, tone ? `with the tone, ${count(facts.tones_at_ms.length)} times` : "never with the tone");
      holds.className = tone ? "good" : "";
      const source = `${API}/call/${name}.wav?${query}`;
      if (audio.getAttribute("src") !== source) audio.src = source;
    });
    const picture = at("picture");
    picture.alt = views.map(({ title, holds }) => `${title}: ${holds.textContent}`).join("; ");
    picture.src = `${API}/call/picture.svg?${query}`;
    picture.hidden = false;
    const times = facts.tones_at_ms.map((ms) => `${(ms / 1000).toFixed(2)} s`);
    say(at("tones"), times.length ? `Tones begin at ${times.slice(0, 40).join(", ")}${times.length > 40 ? " …" : ""}.` : "");
  } catch (error) {
    say(at("verdict"), error.message);
    at("verdict").className = "verdict critical";
  }
}

function verdict({ no_tone, all_party_consent, one_party_consent }) {
  const [text, mood] = no_tone ? [`No tone sounds: ${no_tone}.`, "critical"]
    : all_party_consent ? ["Both parties hear the tone: consent of all parties.", "good"]
      : one_party_consent ? ["One party hears the tone: not enough where the law asks for the consent of all.", "warning"]
        : ["Nobody hears the tone.", "critical"];
  say(at("verdict"), text);
  at("verdict").className = `verdict ${mood}`;
}

let waiting;
form.addEventListener("input", ({ target }) => {
  if (["frequency_hz", "on_ms", "tonesilenceduration"].includes(target.name)) at("preset").value = "";
  clearTimeout(waiting);
  waiting = setTimeout(show, SETTLE_MS);
});
form.addEventListener("submit", (event) => event.preventDefault());

async function presets() {
  const all = await ask("GET", "/presets");
  at("preset").append(...all.map(({ country, frequency_hz, on_ms }) => {
    const option = element("option", `${country}: ${frequency_hz} Hz, ${on_ms} ms`);
    option.value = country;
    return option;
  }));
  at("preset").value = "us";
  at("preset").addEventListener("change", () => {
    const preset = all.find(({ country }) => country === at("preset").value);
    if (!preset) return;
    form.elements.frequency_hz.value = preset.frequency_hz;
    form.elements.on_ms.value = preset.on_ms;
    form.elements.tonesilenceduration.value = preset.off_ms;
  });
}

// ---- the loudspeaker

async function order(path, done) {
  try {
    const status = await ask("POST", `/speaker${path}`);
    say(at("asked"), status.error ?? done);
    speaker(status);
  } catch (error) {
    say(at("asked"), error.message);
  }
}

at("pause").addEventListener("click", () => order("/pause", "Paused: no tone sounds, and nothing would be recorded."));
at("resume").addEventListener("click", () => order("/resume", "Resumed: the rhythm begins anew with a tone."));
at("stop").addEventListener("click", () => order("/stop", "Stopped."));

const STATES = {
  stopped: "It is silent.",
  playing: "It plays.",
  paused: "It is paused.",
  "no-device": "Its device cannot be used.",
  "device-busy": "Another program has its device; it is used as soon as it is free.",
};

function speaker(status) {
  const { state, play, error } = status;
  const what = play?.hear ? `${PERSPECTIVES[play.hear.perspective]}. ` : play ? "The tone alone. " : "";
  say(at("speaker"), `${STATES[state] ?? state} ${what}${state.includes("device") && error ? error : ""}`.trim());
  at("speaker").className = state.includes("device") ? "critical" : "";
  at("pause").disabled = state !== "playing";
  at("resume").disabled = state !== "paused";
  at("stop").disabled = state === "stopped";
  timing(status);
}

function timing({ device, rate_hz, underruns, device_losses, tones, frames_written, last_tones, play, is_real_time, is_locked }) {
  const rows = [
    ["Device", rate_hz ? `${device}, ${count(rate_hz)} Hz` : device],
    ["Tones", count(tones)],
    ["Handed over", rate_hz ? `${(frames_written / rate_hz).toFixed(1)} s` : "nothing"],
    ["Ran dry", `${count(underruns)} times`],
    ["Device lost", `${count(device_losses)} times`],
    ["Priority of real time", `${is_real_time ? "yes" : "no"}, memory ${is_locked ? "locked" : "not locked"}`],
  ];
  tiles(at("timing"), rows);
  played(last_tones, rate_hz, play, tones);
}

// From tone to tone: by the frames, which is what sounds, and by the clock when they were handed to the device.
function played(list, rate, play, tones) {
  const box = at("played");
  if (!list.length || !rate) {
    if (box.textContent) box.replaceChildren();
    return;
  }
  const planned = play ? play.on_ms + play.off_ms : null;
  const rows = list.map((tone, n) => {
    const before = list[n - 1];
    const spacing = before ? (tone.frame - before.frame) * 1000 / rate : null;
    const handed = before ? (tone.handed_over_us - before.handed_over_us) / 1000 : null;
    const shown = (ms) => (ms === null ? "" : `${ms.toFixed(1)} ms`);
    const off = spacing === null || planned === null ? "" : `${(spacing - planned).toFixed(1)} ms`;
    return [count(tones - list.length + n + 1), `${(tone.frame / rate).toFixed(3)} s`, shown(spacing), off, shown(handed)];
  }).slice(-8).reverse();
  const heads = ["Tone", "Begins at", "Behind the one before", "Off the plan", "By the clock"];
  const text = JSON.stringify(rows);
  if (box.dataset.rows === text && box.firstChild) return;
  box.dataset.rows = text;
  const table = element("table");
  const head = table.createTHead().insertRow();
  head.append(...heads.map((name) => {
    const cell = element("th", name);
    cell.scope = "col";
    return cell;
  }));
  const body = table.createTBody();
  rows.forEach((cells) => {
    const row = body.insertRow();
    cells.forEach((value, x) => {
      const cell = row.insertCell();
      cell.dataset.head = heads[x];
      cell.textContent = value;
    });
  });
  box.replaceChildren(table);
}

function listen() {
  const events = new EventSource(`${API}/speaker/events`);
  events.addEventListener("speaker", (event) => {
    say(at("link"), "");
    speaker(JSON.parse(event.data));
  });
  events.addEventListener("silent", (event) => {
    say(at("link"), "");
    say(at("speaker"), JSON.parse(event.data));
    at("speaker").className = "warning";
    ["pause", "resume", "stop"].forEach((id) => { at(id).disabled = true; });
  });
  events.addEventListener("error", () => say(at("link"), "No connection to the box; what is shown is old."));
}

presets().then(show).catch((error) => say(at("verdict"), error.message));
listen();
