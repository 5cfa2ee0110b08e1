// A curve of the last ten minutes; its axis goes from 0 to the peak.
import { element, say } from "./shared.js";

const WINDOW_MS = 600_000;
const WIDTH = 300;
const HEIGHT = 56;
const SVG = "http://www.w3.org/2000/svg";

export function bytes(count) {
  const large = count >= 2 ** 30;
  return `${(count / 2 ** (large ? 30 : 20)).toFixed(large ? 1 : 0)} ${large ? "GiB" : "MiB"}`;
}

function svg(kind, className) {
  const node = document.createElementNS(SVG, kind);
  node.setAttribute("class", className);
  return node;
}

// Samples are stored while the panel is closed, so a curve continues when it is opened again.
export class Curve {
  constructor(name) {
    this.name = name;
    this.samples = [];
    this.box = element("div", "zimage-curve");
    this.value = element("b");
    this.total = element("span", "zimage-faint");
    this.peak = element("span", "zimage-faint");
    this.label = element("span");
    const head = element("div", "zimage-line");
    const use = element("span");
    use.append(this.value, this.total);
    head.append(this.label, use);
    const picture = svg("svg", "zimage-plot");
    picture.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    picture.setAttribute("preserveAspectRatio", "none");
    this.area = svg("path", "zimage-area");
    this.stroke = svg("path", "zimage-stroke");
    picture.append(this.area, this.stroke);
    this.began = element("span");
    const foot = element("div", "zimage-line zimage-faint");
    foot.append(this.began, this.peak);
    this.box.append(head, picture, foot);
  }

  add({ used, total }) {
    this.samples.push({ time: performance.now(), used, total });
    this.draw();
  }

  // Interrupts the curve until the next sample.
  pause() {
    if (this.samples.at(-1)?.used != null) this.samples.push({ time: performance.now(), used: null });
  }

  draw() {
    const now = performance.now();
    this.samples = this.samples.filter((sample) => sample.time > now - WINDOW_MS);
    const { used, total } = this.samples.at(-1);
    const most = Math.max(...this.samples.map((sample) => sample.used ?? 0), 1);
    const place = (sample) => [
      (WIDTH * (1 - (now - sample.time) / WINDOW_MS)).toFixed(1),
      (HEIGHT - 2 - (HEIGHT - 6) * (sample.used / most)).toFixed(1),
    ];
    const lines = [[]];
    for (const sample of this.samples) {
      if (sample.used == null) lines.push([]);
      else lines.at(-1).push(place(sample));
    }
    const drawn = lines.filter((line) => line.length);
    const path = (line) => `M${line.map((point) => point.join(" ")).join("L")}`;
    this.stroke.setAttribute("d", drawn.map(path).join(""));
    this.area.setAttribute(
      "d",
      drawn.map((line) => `${path(line)}V${HEIGHT}H${line[0][0]}Z`).join(""),
    );
    this.label.textContent = this.name();
    this.value.textContent = bytes(used);
    this.total.textContent = ` / ${bytes(total)}`;
    this.began.textContent = say("最近 10 分钟", "last 10 minutes");
    this.peak.textContent = say(`峰值 ${bytes(most)}`, `peak ${bytes(most)}`);
  }
}
