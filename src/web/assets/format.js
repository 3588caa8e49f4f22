// Numbers as people read them.

export const count = (n) => n.toLocaleString("en");

export function duration(s) {
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s / 60) % 60)} min`;
  return `${count(Math.floor(s / 86400))} d ${Math.floor((s / 3600) % 24)} h`;
}

export function bytes(n) {
  for (const [unit, size] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6]]) {
    if (n >= size) return `${(n / size).toFixed(1)} ${unit}`;
  }
  return `${Math.round(n / 1000)} kB`;
}

// In the browser's time zone, in the order that no two countries read differently: 2026-03-02 14:05:59.
export const time = (iso) => new Date(iso).toLocaleString("sv");

export const known = (value, show) => (value === null || value === undefined ? "unknown" : show(value));
