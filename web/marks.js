// Shows findings on nodes: a ring around the node and text below it.
// The marks are plain elements over the canvas, positioned in every frame. This works with both of
// the page's renderers of nodes and patches neither.
import { app } from "../../scripts/app.js";
import { element, message, say } from "./shared.js";

const MOST = 6; // texts below a node
const NARROWEST = 280;
const SMALLEST = 0.7; // lowest scale of texts
const LOOK_MS = 400;

let marks = [];
let layer = null;
let lookedAt = 0;

// Returns the nodes of a finding: node 12, and for 12:3 also node 3 in the subgraph of node 12.
function nodesOf(path) {
  const nodes = [];
  let graph = app.rootGraph ?? app.graph;
  for (const part of path ? path.split(":") : []) {
    const node = graph?.getNodeById?.(part) ?? graph?.getNodeById?.(Number(part));
    if (!node) break;
    nodes.push(node);
    graph = node.subgraph;
  }
  return nodes;
}

// The parts of a node that the user may change because of a finding; a change removes the mark.
function state(node) {
  return JSON.stringify([
    node.mode,
    node.widgets?.map((widget) => (widget.serialize === false ? null : widget.value)),
    node.inputs?.map((input) => input.link),
    node.outputs?.map((output) => output.links),
  ]);
}

export function clear() {
  marks.forEach((mark) => mark.remove());
  marks = [];
}

// Replaces the shown findings; returns the nodes that have one.
export function show(findings) {
  clear();
  const byNode = new Map();
  for (const finding of findings) {
    for (const node of nodesOf(finding.node)) {
      byNode.set(node, [...(byNode.get(node) ?? []), finding]);
    }
  }
  layer ??= element("div", "zimage-layer");
  app.canvas.canvas.parentElement.append(layer);
  for (const [node, own] of byNode) marks.push(new Mark(node, own));
  if (marks.length) requestAnimationFrame(frame);
  return [...byNode.keys()];
}

class Mark {
  constructor(node, findings) {
    this.node = node;
    this.findings = findings;
    this.state = state(node);
    const worst = findings.some((finding) => finding.severity === "error") ? "error" : "warning";
    this.ring = element("div", `zimage-ring zimage-${worst}`);
    this.note = element("div", `zimage-note zimage-${worst}`);
    this.note.dataset.node = String(node.id);
    layer.append(this.ring, this.note);
    this.write();
  }

  // Shows errors in full, and warnings as a count that expands on hovering.
  write() {
    const close = element("button", "zimage-close", "×");
    close.title = say("隐藏", "Hide");
    close.onclick = () => {
      this.remove();
      marks = marks.filter((mark) => mark !== this);
    };
    const errors = this.findings.filter((finding) => finding.severity === "error");
    const warnings = this.findings.filter((finding) => finding.severity !== "error");
    const texts = [...errors, ...warnings].slice(0, MOST).map((finding) => this.line(finding));
    const rest = this.findings.length - texts.length;
    if (rest > 0) texts.push(element("p", "zimage-warning", say(`另有 ${rest} 条`, `${rest} more`)));
    if (warnings.length) {
      texts.push(element("p", "zimage-count", say(`⚠ ${warnings.length} 条警告`, `⚠ ${warnings.length}`)));
    }
    this.note.replaceChildren(close, ...texts);
  }

  line(finding) {
    const line = element("p", `zimage-${finding.severity}`);
    const input = [...(this.node.widgets ?? []), ...(this.node.inputs ?? [])].find(
      (candidate) => candidate.name === finding.input,
    );
    const label = input?.label ?? input?.localized_name;
    if (label && label !== finding.input) line.append(element("b", "", `${label} `));
    line.append(message(finding));
    return line;
  }

  get isStale() {
    const { graph, id } = this.node;
    return graph?.getNodeById?.(id) !== this.node || state(this.node) !== this.state;
  }

  place({ scale, offset }) {
    const shown = this.node.graph === app.canvas.graph;
    this.ring.hidden = this.note.hidden = !shown;
    if (!shown) return;
    const [left, top, width, height] = this.node.boundingRect ?? this.node.getBounding();
    const x = (left + offset[0]) * scale;
    const y = (top + offset[1]) * scale;
    const size = Math.max(scale, SMALLEST);
    this.ring.style.transform = `translate(${x}px, ${y}px)`;
    this.ring.style.width = `${width * scale}px`;
    this.ring.style.height = `${height * scale}px`;
    this.note.style.transform = `translate(${x}px, ${y + height * scale + 6}px) scale(${size})`;
    this.note.style.width = `${Math.max((width * scale) / size, NARROWEST)}px`;
  }

  remove() {
    this.ring.remove();
    this.note.remove();
  }
}

function frame(now) {
  if (!marks.length) return;
  if (now - lookedAt > LOOK_MS) {
    lookedAt = now;
    marks.filter((mark) => mark.isStale).forEach((mark) => mark.remove());
    marks = marks.filter((mark) => !mark.isStale);
  }
  marks.forEach((mark) => mark.place(app.canvas.ds));
  requestAnimationFrame(frame);
}
