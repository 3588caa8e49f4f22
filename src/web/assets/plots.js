// The plots of the last day, drawn by uPlot (https://github.com/leeoniya/uPlot, MIT).

import { bytes, count } from "./format.js";

const PLOTS = [
  { title: "Calls", label: "calls", column: "running", show: count },
  { title: "Packets lost, each five minutes", label: "packets lost", column: "lost", show: count },
  { title: "Waiting for the data centre", label: "waiting", column: "waitingBytes", show: bytes },
  { title: "Disk free", label: "free", column: "freeBytes", show: bytes },
];
const HEIGHT = 160;
const drawn = [];

function width(box) {
  return Math.max(200, box.clientWidth);
}

function options(plot, box) {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: color("--faint-text"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
  return {
    width: width(box),
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: false, y: false } },
    scales: { y: { range: (_, least, most) => [Math.min(0, least), most > 0 ? most * 1.1 : 1] } },
    axes: [{ ...axis, values: (_, times) => times.map(clock) }, { ...axis, size: 64, values: (_, values) => values.map((value) => plot.show(value)) }],
    series: [{}, { label: plot.label, stroke: color("--accent"), fill: color("--accent-faint"), width: 2, points: { show: false } }],
  };
}

const clock = (s) => new Date(s * 1000).toLocaleTimeString("sv", { hour: "2-digit", minute: "2-digit" });

// What a screen reader says instead of the picture.
function words(plot, values) {
  const last = values[values.length - 1];
  return `${plot.title}: now ${plot.show(last)}, at least ${plot.show(Math.min(...values))}, at most ${plot.show(Math.max(...values))}`;
}

export function draw(container, history) {
  for (const { plot, chart } of drawn.splice(0)) {
    chart.destroy();
    plot.figure.remove();
  }
  container.replaceChildren();
  if (history.time.length < 2) {
    container.textContent = "The plots begin five minutes after the start.";
    return;
  }
  for (const plot of PLOTS) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = plot.title;
    const picture = document.createElement("div");
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", words(plot, history[plot.column]));
    figure.append(caption, picture);
    container.append(figure);
    const chart = new uPlot(options(plot, picture), [history.time, history[plot.column]], picture);
    drawn.push({ plot: { ...plot, figure }, chart, picture });
  }
}

addEventListener("resize", () => {
  for (const { chart, picture } of drawn) chart.setSize({ width: width(picture), height: HEIGHT });
});
