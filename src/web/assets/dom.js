// What all parts of the page draw with; no text is ever taken for HTML.

export const at = (id) => document.getElementById(id);
export const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};
// Texts that did not change are left alone: a screen reader would say them again.
export const say = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

const STATES = {
  recording: "recording",
  paused: "paused",
  ended: "to be finished",
  finished: "waits for the data centre",
  delivered: "delivered",
  released: "delivered, local copy gone",
};
export const parties = (call) => call.parties.join(" – ") || "?";
export const state = (call) => [STATES[call.state] ?? call.state, ...call.flags, ...(call.tone === "fail" ? ["tone missing"] : [])].join(", ");

// Names and what they are at present.
export function tiles(list, rows) {
  if (list.children.length !== rows.length) {
    list.replaceChildren(...rows.map(([name]) => {
      const tile = element("div");
      tile.append(element("dt", name), element("dd"));
      return tile;
    }));
  }
  rows.forEach(([, value], n) => say(list.children[n].lastChild, value));
}

// Keeps rows and their buttons in place, so that the keyboard's focus stays where it is.
export function table(box, none, heads, rows) {
  if (rows.length === 0) {
    if (box.textContent !== none) box.replaceChildren(element("p", none));
    return null;
  }
  let body = box.querySelector("tbody");
  if (!body) {
    const made = element("table");
    const head = element("tr");
    head.append(...heads.map((name) => {
      const cell = element("th", name);
      cell.scope = "col";
      return cell;
    }));
    made.append(element("thead"), element("tbody"));
    made.firstChild.append(head);
    box.replaceChildren(made);
    body = made.lastChild;
  }
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, y) => {
    const row = body.rows[y] ?? body.insertRow();
    cells.forEach((text, x) => {
      const cell = row.cells[x] ?? row.insertCell();
      cell.dataset.head = heads[x];
      say(cell, text);
    });
  });
  return body;
}
