// Recordings: the list, what is only on this box, and one of them with its picture, its sound and where it is now.

import { at, element, parties, say, state, table } from "./dom.js";
import { may, send } from "./door.js";
import { bytes, count, duration, known, time } from "./format.js";

const PAGE = 50;
const PLAYABLE = {
  early: "It is not finished yet.",
  sealed: "It is sealed to its tenant's recipients: this box cannot open it any more.",
  gone: "It is delivered, and its copy here is gone; the data centre has it.",
};
let shown = []; // of the list, and what its next page begins with
let next = null;
let onlyHere = false;

const path = (id) => `/api/v1/recordings/${encodeURIComponent(id)}`;

function query(before) {
  const query = new URLSearchParams({ limit: PAGE });
  const given = { state: onlyHere ? "here" : at("filter-state").value, party: at("filter-party").value.trim(), before };
  for (const [name, value] of Object.entries(given)) if (value) query.set(name, value);
  const day = at("filter-day").value;
  if (day) {
    const from = new Date(`${day}T00:00:00`);
    query.set("from", from.toISOString());
    query.set("to", new Date(from.getFullYear(), from.getMonth(), from.getDate() + 1).toISOString());
  }
  return query;
}

async function load(before) {
  try {
    const list = await send("GET", `/api/v1/recordings?${query(before)}`);
    shown = before ? shown.concat(list.recordings) : list.recordings;
    next = list.next;
  } catch (error) {
    say(at("listed-said"), error.message);
    return;
  }
  draw();
}

function draw() {
  const rows = shown.map((call) => [call.id, parties(call), time(call.started), known(call.seconds, duration), state(call)]);
  const none = onlyHere ? "Everything on this box is in the data centre as well." : "No recording is like that.";
  const body = table(at("listed"), none, ["Recording", "Parties", "Began", "Length", "State"], rows);
  shown.forEach((call, y) => {
    const link = element("a", call.id);
    link.href = `#recording/${encodeURIComponent(call.id)}`;
    body.rows[y].cells[0].replaceChildren(link);
  });
  at("more").hidden = next === null;
  say(at("listed-said"), shown.length ? `${count(shown.length)} shown${next === null ? "" : ", there are more"}` : "");
}

export function showList(here) {
  onlyHere = here;
  say(at("listed-title"), here ? "Only on this box" : "Recordings");
  at("here-note").hidden = !here;
  at("filter-state").closest("p").hidden = here;
  load();
}

at("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  load();
});
at("more").addEventListener("click", () => load(next));

// ---- one of them

export async function showOne(id) {
  const player = at("player");
  player.hidden = true;
  player.removeAttribute("src");
  player.load();
  at("picture").replaceChildren();
  say(at("one-title"), id);
  say(at("one-said"), "");
  let one;
  try {
    one = await send("GET", path(id));
  } catch (error) {
    say(at("one-said"), error.message);
    at("one-facts").replaceChildren();
    return;
  }
  facts(one);
  if (one.audio !== "yes") say(at("one-said"), PLAYABLE[one.audio]);
  else if (!may("listener")) say(at("one-said"), "To hear it asks for the role listener.");
  else {
    player.hidden = false;
    player.src = `${path(id)}/audio`;
    try {
      picture(await send("GET", `${path(id)}/peaks?steps=600`), one.metadata);
    } catch (error) {
      say(at("one-said"), error.message);
    }
  }
}

function facts(one) {
  const { whereabouts: where, metadata } = one;
  const rows = [
    ["State", state(one)],
    ["Parties", parties(one)],
    ["Tenant", one.tenant],
    ["Began", time(one.started)],
    ["Length", known(one.seconds, duration)],
    ["Where it is", where.onlyHere ? "only on this box" : [...(where.onBox ? ["this box"] : []), ...where.arrivedAt].join(", ") || "the data centre"],
    ["Waits for", where.waitingFor.join(", ") || "nothing"],
    ["Packets lost", `${count(one.lost)} of ${count(one.lost + one.packets)}`],
    ["Files", one.files.map(({ name, bytes: size }) => `${name} (${bytes(size)})`).join(", ") || "none yet"],
  ];
  for (const { target, since, why } of where.setAside) rows.push([`Set aside by ${target}`, `since ${time(since)}: ${why}`]);
  const tones = metadata?.nearend.tones;
  if (tones) {
    for (const { channel, found, expected, faults } of tones.channels) {
      rows.push([`Tones, channel ${channel}`, `${found} of ${expected} ${faults.join("; ")}`]);
    }
  }
  for (const [title, list] of [["Paused", pauses(metadata)], ["Gaps", gaps(metadata)]]) {
    if (list.length) rows.push([title, list.map(({ from, to, what }) => `${at_s(from)}–${at_s(to)}${what ? ` (${what})` : ""}`).join(", ")]);
  }
  at("one-facts").replaceChildren(...rows.map(([name, value]) => {
    const tile = element("div");
    tile.append(element("dt", name), element("dd", value));
    return tile;
  }));
}

const at_s = (ms) => `${(ms / 1000).toFixed(1)} s`;

function gaps(metadata) {
  const all = metadata?.nearend.gaps ?? [];
  return all.filter(({ reason, lengthMs }) => reason !== "pause" && lengthMs >= 100).slice(0, 100)
    .map(({ startMs, lengthMs, reason, channel }) => ({ from: startMs, to: startMs + lengthMs, what: `${reason}, channel ${channel}`, channel }));
}

function pauses(metadata) {
  const found = [];
  for (const { startMs, type, leg } of metadata?.nearend.masks ?? []) {
    const open = found.find((pause) => pause.leg === leg && pause.to === null);
    if (type === "paused" && !open) found.push({ from: startMs, to: null, leg });
    if (type === "resume" && open) open.to = startMs;
  }
  const end = Number(metadata?.mediaFiles[0].duration ?? 0);
  const spans = found.map(({ from, to }) => ({ from, to: to ?? end }));
  return spans.filter(({ from, to }, n) => !spans.slice(0, n).some((one) => one.from === from && one.to === to)); // one for each leg
}

const SVG = "http://www.w3.org/2000/svg";
const shape = (name, attributes) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

// Both channels, one above the other; what was not kept is shaded, and a line says where the player is.
function picture({ lengthMs, channels }, metadata) {
  const [width, height] = [600, 160];
  const x = (ms) => (lengthMs ? (ms / lengthMs) * width : 0);
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img" });
  const words = channels.map((levels, n) => `channel ${n + 1}: loudest ${Math.max(0, ...levels)} %`).join(", ");
  drawing.setAttribute("aria-label", `Waveform of ${at_s(lengthMs)}; ${words}`);
  for (const { from, to } of pauses(metadata)) drawing.append(shape("rect", { class: "pause", x: x(from), y: 0, width: Math.max(1, x(to - from)), height }));
  for (const { from, to, channel } of gaps(metadata)) {
    drawing.append(shape("rect", { class: "gap", x: x(from), y: channel === 2 ? height / 2 : 0, width: Math.max(1, x(to - from)), height: height / 2 }));
  }
  channels.forEach((levels, n) => {
    const middle = height / 4 + (n * height) / 2;
    const step = width / (levels.length || 1);
    const d = levels.map((level, i) => `M${(i + 0.5) * step} ${middle - (level * height) / 420}V${middle + (level * height) / 420 + 0.5}`).join("");
    drawing.append(shape("path", { d, class: "wave", "stroke-width": step * 0.8 }));
  });
  const needle = shape("line", { class: "needle", y1: 0, y2: height });
  drawing.append(needle);
  const player = at("player");
  player.ontimeupdate = () => {
    for (const end of ["x1", "x2"]) needle.setAttribute(end, x(player.currentTime * 1000));
  };
  drawing.addEventListener("click", (event) => {
    const box = drawing.getBoundingClientRect();
    player.currentTime = (((event.clientX - box.left) / box.width) * lengthMs) / 1000;
  });
  at("picture").replaceChildren(drawing);
}
