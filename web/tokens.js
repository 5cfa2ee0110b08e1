// Shows under prompt boxes the tokens of each encoder and, struck through, the text beyond the limit.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { encoderOf } from "./encoders.js";
import { ask, element, message, say, setting } from "./shared.js";

const SWITCH = "ZImage.TokenCount";
const PROMPTS = ["prompt", "negative_prompt"];
const FIELDS = { ZImageTextEncode: PROMPTS, ZImageEdit: PROMPTS };
const WAIT_MS = 250;
const ROW = 16;
const CUT_ROWS = 56; // height of three lines of text; more text scrolls
const MARGIN = 6;

const counters = new Set();

function isLinked(node, name) {
  return node.inputs?.some((input) => input.widget?.name === name && input.link != null) ?? false;
}

class Counter {
  constructor(node, names) {
    this.node = node;
    this.box = element("div", "zimage-tokens");
    this.rows = new Map();
    for (const name of names) {
      const widget = node.widgets?.find((candidate) => candidate.name === name);
      if (!widget) continue;
      const row = { widget, line: element("div", "zimage-row"), rest: element("div", "zimage-cut") };
      row.line.dataset.field = row.rest.dataset.field = name;
      row.rest.hidden = true;
      this.box.append(row.line, row.rest);
      this.rows.set(name, row);
      const changed = widget.callback;
      widget.callback = (...values) => {
        changed?.apply(widget, values);
        this.later();
      };
    }
  }

  attach() {
    const height = () => (this.isOn ? this.height() : 0);
    const widget = this.node.addDOMWidget("zimage_tokens", "zimage_tokens", this.box, {
      serialize: false, // not in the prompt …
      hideOnZoom: false,
      margin: MARGIN,
      getMinHeight: height,
      getMaxHeight: height,
    });
    widget.serialize = false; // … and not in the workflow file
    counters.add(this);
    const removed = this.node.onRemoved;
    this.node.onRemoved = (...values) => {
      counters.delete(this);
      return removed?.apply(this.node, values);
    };
    const linked = this.node.onConnectionsChange;
    this.node.onConnectionsChange = (...values) => {
      this.later();
      return linked?.apply(this.node, values);
    };
    const executed = this.node.onExecuted;
    this.node.onExecuted = (output) => {
      this.ran(output);
      return executed?.call(this.node, output);
    };
    this.later();
  }

  get isOn() {
    return setting(SWITCH, true) && !this.missing;
  }

  height() {
    const cut = [...this.rows.values()].filter((row) => !row.rest.hidden).length;
    return this.rows.size * ROW + cut * CUT_ROWS + 2 * MARGIN;
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), WAIT_MS);
  }

  async refresh() {
    this.box.hidden = !this.isOn;
    if (!this.isOn) return;
    const encoder = encoderOf(this.node);
    await Promise.all([...this.rows].map(([name, row]) => this.count(name, row, encoder)));
    this.grow();
  }

  // Enlarges the node for the struck-through text, so that text boxes keep their minimum height.
  grow() {
    const [width, height] = this.node.size;
    const needed = this.node.computeSize?.()[1] ?? 0;
    if (height < needed && !this.node.flags?.collapsed) this.node.setSize([width, needed]);
    this.node.setDirtyCanvas?.(true, true);
  }

  // A linked prompt is known only after it has run.
  linked(name, row, cuts = []) {
    const parts = [element("span", "", say("由连线输入", "linked"))];
    const own = cuts.filter((cut) => cut.field === name);
    const count = own.reduce((sum, { cut }) => sum + [...cut].length, 0);
    if (count) parts.push(unread(count));
    show(row, parts, own.map(({ encoder, cut }) => struck(encoder, cut, "s")));
    this.grow();
  }

  ran(output) {
    for (const [name, row] of this.rows) {
      if (isLinked(this.node, name)) this.linked(name, row, output?.zimage_cut);
    }
  }

  async count(name, row, encoder) {
    const linked = isLinked(this.node, name);
    const key = JSON.stringify([encoder, linked, say("zh", "en"), row.widget.value]);
    if (row.key === key) return;
    row.key = key;
    if (linked) return this.linked(name, row);
    const answer = await ask("/zimage/tokens", { text: String(row.widget.value ?? ""), ...encoder });
    if (row.key !== key) return; // the text has changed meanwhile
    if (!answer) {
      row.key = null;
      return show(row, []);
    }
    if (answer.error) return show(row, [element("span", "zimage-bad", message(answer.error))]);
    render(row, answer);
  }
}

function show(row, parts, rest = []) {
  const label = row.widget.label ?? row.widget.name;
  row.line.replaceChildren(...(parts.length ? [element("b", "", label), ...parts] : []));
  row.line.title = row.line.textContent;
  row.rest.replaceChildren(...rest);
  row.rest.hidden = rest.length === 0;
}

function unread(count) {
  return element("span", "zimage-bad", say(`✂ 有 ${count} 字未读`, `✂ ${count} unread`));
}

function struck(encoder, text, kind) {
  return element(kind, `zimage-${encoder.toLowerCase()}`, text);
}

function render(row, answer) {
  const parts = answer.tag ? [element("span", "zimage-tag", answer.tag)] : [];
  for (const { name, count, limit, enforced } of answer.encoders) {
    const over = count > limit;
    const kind = over ? (enforced ? "zimage-bad" : "zimage-warn") : "";
    parts.push(element("span", kind, `${name} ${count}/${limit}`));
    if (over && !enforced) {
      const more = say("超过官方上限，可能读不准", "above the official limit");
      parts.push(element("span", kind, more));
    }
  }
  const cut = answer.pieces.filter((piece) => piece.cut);
  if (!cut.length) return show(row, parts);
  const count = [...cut.map((piece) => piece.text).join("")].length;
  parts.push(unread(count));
  const texts = answer.pieces.map((piece) =>
    struck(piece.encoder, piece.text, piece.cut ? "s" : "span"),
  );
  show(row, parts, texts);
  row.rest.querySelector("s").scrollIntoView?.({ block: "nearest" });
}

app.registerExtension({
  name: "ZImage.TokenCount",
  settings: [
    {
      id: SWITCH,
      name: "Count tokens under prompts",
      category: ["Z-Image", "Prompts", "TokenCount"],
      type: "boolean",
      defaultValue: true,
      onChange: () => counters.forEach((counter) => counter.later()),
    },
  ],
  setup() {
    // After any change (links, undo, language), only rows with other inputs are counted again.
    api.addEventListener?.("graphChanged", () => counters.forEach((counter) => counter.later()));
  },
  nodeCreated(node) {
    const names = FIELDS[node.comfyClass];
    if (!names || typeof node.addDOMWidget !== "function") return;
    const counter = new Counter(node, names);
    if (counter.rows.size) counter.attach();
  },
});
