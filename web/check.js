// The menu entry "Check workflow", and the same check after a workflow is refused or fails.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { clear, show } from "./marks.js";
import { ask, message, say, setting } from "./shared.js";

const COMMAND = "ZImage.CheckWorkflow";
const SWITCH = "ZImage.ExplainFailures";

// The error message of this pack's nodes: a code, then the message in Chinese and English.
const CODED = /\[(ZI-[A-Z0-9-]+)\] (.*[。）”]) \/ (.*)/s;

function toast(severity, summary, detail) {
  app.extensionManager?.toast?.add?.({ severity, summary, detail, life: 8000 });
}

// Adds the class of nodes that the page does not know, because the page omits it.
function complete(prompt) {
  const graph = app.rootGraph ?? app.graph;
  return Object.fromEntries(
    Object.entries(prompt).map(([id, entry]) => {
      const type = graph?.getNodeById?.(id)?.type ?? graph?.getNodeById?.(Number(id))?.type;
      return [id, { ...entry, class_type: entry.class_type ?? type }];
    }),
  );
}

function summary(findings) {
  const errors = findings.filter((finding) => finding.severity === "error").length;
  const warnings = findings.length - errors;
  return say(
    `工作流检查：${errors} 个错误，${warnings} 个警告`,
    `Workflow check: ${errors} error(s), ${warnings} warning(s)`,
  );
}

// Checks a prompt in API form and shows the findings; `silent` suppresses other messages.
async function check(prompt, silent) {
  const answer = await ask("/zimage/validate", complete(prompt));
  const findings = answer?.findings;
  if (!findings) {
    const why = answer?.error ? message(answer.error) : say("服务器无响应。", "The server does not respond.");
    if (!silent) toast("warn", say("无法检查工作流", "The workflow was not checked"), why);
    return;
  }
  show(findings);
  if (!findings.length) {
    if (!silent) toast("success", say("工作流没有问题", "The workflow has no errors"));
    return;
  }
  const unplaced = findings.filter((finding) => !finding.node).map(message);
  toast(findings.some((f) => f.severity === "error") ? "error" : "warn", summary(findings), unplaced.join("\n"));
}

async function checkGraph() {
  await check((await app.graphToPrompt()).output, false);
}

function watchRuns() {
  api.addEventListener?.("execution_error", ({ detail }) => {
    const [, code, zh, en] = CODED.exec(detail?.exception_message ?? "") ?? [];
    if (code && setting(SWITCH, true)) {
      show([{ code, zh, en: en.trim(), severity: "error", node: String(detail.node_id) }]);
    }
  });
}

function watchRefusals() {
  const send = api.queuePrompt;
  if (typeof send !== "function") return; // another version of the page; the menu entry still works
  api.queuePrompt = async function (number, data, ...rest) {
    const explain = () => {
      if (setting(SWITCH, true) && data?.output) void check(data.output, true);
    };
    clear(); // before the request, because a node may fail before the response arrives
    try {
      const answer = await send.call(this, number, data, ...rest);
      if (Object.keys(answer?.node_errors ?? {}).length) explain();
      return answer;
    } catch (error) {
      explain();
      throw error;
    }
  };
}

app.registerExtension({
  name: "ZImage.CheckWorkflow",
  commands: [{ id: COMMAND, label: "Check workflow", icon: "pi pi-check-circle", function: checkGraph }],
  menuCommands: [{ path: ["Z-Image"], commands: [COMMAND] }],
  settings: [
    {
      id: SWITCH,
      name: "Explain on the nodes why a workflow did not run",
      category: ["Z-Image", "Workflow", "ExplainFailures"],
      type: "boolean",
      defaultValue: true,
    },
  ],
  getCanvasMenuItems: () => [null, { content: say("检查工作流", "Check workflow"), callback: checkGraph }],
  setup() {
    watchRefusals();
    watchRuns();
  },
});
