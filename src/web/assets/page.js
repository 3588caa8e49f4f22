// The status page: told by the box once a second, drawn without ever taking text for HTML.

import { at, element, parties, say, state, table, tiles } from "./dom.js";
import { enter, may, send } from "./door.js";
import { bytes, count, duration, known, time } from "./format.js";
import { draw } from "./plots.js";
import { showList, showOne } from "./recordings.js";

const PLOT_EVERY_S = 300;
let plotted = 0;
let history = null;

function show(status) {
  document.title = `${status.alarms.length ? `(${status.alarms.length}) ` : ""}${status.site} · Nearend`;
  say(at("site"), status.site);
  say(at("about"), `Nearend ${status.version} · up ${duration(status.uptimeS)} · ${time(status.time)}`);
  const verdict = at("verdict");
  say(verdict, status.refusing ? "New calls are not recorded here." : "Every call that arrives is recorded.");
  verdict.className = `verdict ${status.refusing ? "critical" : "good"}`;
  alarms(status.alarms);
  tiles(at("facts"), facts(status));
  tiles(at("machine"), machine(status));
  calls(status.calls);
  const recent = table(at("recent"), "Nothing has been recorded since the start.", ["Recording", "Parties", "Began", "Length", "Packets", "Lost", "State"],
    status.recent.map((call) => [call.id, parties(call), time(call.started), known(call.seconds, duration), count(call.packets),
      count(call.lost), state(call)]));
  status.recent.forEach((call, y) => {
    const cell = recent.rows[y].cells[0];
    if (cell.firstElementChild?.textContent === call.id) return;
    const link = element("a", call.id);
    link.href = `#recording/${encodeURIComponent(call.id)}`;
    cell.replaceChildren(link);
  });
  table(at("targets"), "No target is configured: recordings stay on this box.", ["Target", "State", "Waiting", "Weight", "Set aside"],
    Object.entries(status.targets).map(([name, target]) => [name, target.trouble ? "in trouble" : "works", count(target.waiting),
      bytes(target.waitingBytes), count(target.setAside)]));
  at("aside-section").hidden = status.aside.length === 0;
  table(at("aside"), "Nothing.", ["Recording", "Target", "Since", "Why"],
    status.aside.map(({ recording, target, since, why }) => [recording, target, time(since), why]));
  plots(status);
}

function alarms(list) {
  at("alarms-section").hidden = list.length === 0;
  const rows = list.map(({ severity, what, todo }) => JSON.stringify([severity, what, todo]));
  const shown = at("alarms");
  if (shown.dataset.rows === rows.join()) return;
  shown.dataset.rows = rows.join();
  shown.replaceChildren(...list.map(({ severity, what, todo }) => {
    const item = element("li", undefined, `alarm ${severity}`);
    item.append(element("strong", `${severity === "critical" ? "Critical" : "Warning"}: ${what}`), element("p", todo));
    return item;
  }));
}

function facts({ running, waiting, totals, disk, assurance, targets }) {
  const weight = Math.max(0, ...Object.values(targets).map((target) => target.waitingBytes));
  const lasts = disk.lastsHours === null ? "long, or not known yet" : duration(disk.lastsHours * 3600);
  return [
    ["Calls now", count(running)],
    ["Recorded today", assurance.summary],
    ["Waiting for the data centre", waiting ? `${count(waiting)}, ${bytes(weight)}` : "nothing"],
    ["Disk lasts without the data centre", lasts],
    ["Delivered since the start", count(totals.delivered)],
    ["Packets lost since the start", `${count(totals.media.lost)} of ${count(totals.media.lost + totals.media.packets)}`],
  ];
}

function machine({ disk, host }) {
  const { medium } = disk;
  const links = host.links.map(({ name, up, mbitPerS }) => `${name} ${up ? "up" : "down"}${mbitPerS ? `, ${count(mbitPerS)} Mbit/s` : ""}`);
  return [
    ["Disk free", `${bytes(disk.freeBytes)}, refuses below ${bytes(disk.floorBytes)}`],
    ["Medium worn", known(medium.usedPercent, (percent) => `${percent} %`)],
    ["Medium lasts", known(medium.leftHours, (hours) => duration(hours * 3600))],
    ["Written per hour", known(medium.bytesPerHour, bytes)],
    ["Temperature", known(host.temperatureC, (degrees) => `${degrees.toFixed(0)} °C`)],
    ["Clock", known(host.clockSynchronised, (is) => (is ? "set by a time server" : "set by nobody"))],
    ["Network", links.length ? links.join("; ") : "unknown"],
    ["Machine started", known(host.booted, time)],
  ];
}

function calls(list) {
  const rows = list.map((call) => [call.id, parties(call), time(call.started), count(call.packets), count(call.lost), state(call)]);
  const body = table(at("calls"), "No call is being recorded.", ["Recording", "Parties", "Began", "Packets", "Lost", "State", "Ask"], rows);
  if (!body) return;
  if (!may("listener")) return;
  list.forEach((call, y) => {
    const row = body.rows[y];
    const cell = row.cells[6] ?? row.insertCell();
    cell.dataset.head = "Ask";
    const verb = call.state === "paused" ? "resume" : "pause";
    let button = cell.querySelector("button");
    if (!button) {
      button = element("button");
      button.type = "button";
      button.addEventListener("click", () => ask(button.dataset.id, button.dataset.verb));
      cell.append(button);
    }
    Object.assign(button.dataset, { id: call.id, verb });
    say(button, verb === "pause" ? "Pause" : "Resume");
    button.setAttribute("aria-label", `${button.textContent} the recording of ${parties(call)}`);
  });
}

async function ask(id, verb) {
  try {
    const said = await send("POST", `/api/v1/calls/${encodeURIComponent(id)}/${verb}`);
    say(at("asked"), `${id}: ${said.state}`);
  } catch (error) {
    say(at("asked"), `${id}: ${error.message}`);
  }
}

async function plots(status) {
  const now = Date.parse(status.time) / 1000;
  if (history && now - plotted < PLOT_EVERY_S) return;
  plotted = now;
  try {
    history = await send("GET", "/api/v1/history");
    draw(at("plots"), history);
  } catch {
    plotted = 0; // at the next word of the box
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => history && draw(at("plots"), history));

// A browser tries again by itself when the line is cut, but not when the box no longer knows who asks.
function listen() {
  const events = new EventSource("/api/v1/events");
  events.addEventListener("status", (event) => {
    say(at("link"), "");
    show(JSON.parse(event.data));
  });
  events.addEventListener("error", () => {
    say(at("link"), "No connection to the box; what is shown is old.");
    if (events.readyState === EventSource.CLOSED) setTimeout(enter, 1000, listen);
  });
}

// Which part is shown stands behind the # of the address, so that it can be kept and gone back to.
function route() {
  const [part, id] = location.hash.slice(1).split("/");
  const list = part === "recordings" || part === "here";
  at("now-part").hidden = list || part === "recording";
  at("list-part").hidden = !list;
  at("one-part").hidden = part !== "recording";
  for (const link of document.querySelectorAll("nav a")) {
    const is = link.hash.slice(1) === (list ? part : part === "recording" ? "recordings" : "");
    if (is) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (list) showList(part === "here");
  else if (part === "recording") showOne(decodeURIComponent(id ?? ""));
  else if (history) draw(at("plots"), history); // it had no width while it was hidden
}

addEventListener("hashchange", route);
enter(() => {
  listen();
  route();
});
