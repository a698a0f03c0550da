// Small line charts.

const NS = "http://www.w3.org/2000/svg";

/** A chart of numbers, oldest first. */
export function chart(label, numbers) {
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("viewBox", "0 0 100 30");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "chart");
  svg.setAttribute("role", "img");
  const last = numbers.at(-1) ?? 0;
  const most = Math.max(...numbers, 1);
  svg.setAttribute("aria-label", `${label}: now ${Math.round(last)}, at most ${Math.round(most)} in the last hour`);
  if (numbers.length > 1) {
    const step = 100 / (numbers.length - 1);
    const points = numbers.map((n, at) => `${(at * step).toFixed(2)} ${(29 - (n / most) * 27).toFixed(2)}`);
    for (const [shape, name] of [[`M${points.join("L")}L100 30L0 30Z`, "area"], [`M${points.join("L")}`, ""]]) {
      const path = document.createElementNS(NS, "path");
      path.setAttribute("d", shape);
      if (name) path.setAttribute("class", name);
      svg.append(path);
    }
  }
  return svg;
}

/** What was added in each step, a second. */
export const rates = (numbers, seconds) =>
  numbers.slice(1).map((n, at) => Math.max(0, n - numbers[at]) / seconds);
