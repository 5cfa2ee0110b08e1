// Which text encoder a node reads its prompts with.
const PAIR = "ZImageDualLoader";
const DEEPEST = 100; // subgraphs within each other

// What the CLIP of a node comes from, through whatever changes it, into and out of subgraphs:
// our loader of a pair, with the BERT file that it names, or anything else, which is Qwen3.
export function encoderOf(node) {
  const seen = new Set();
  for (let at = node; at && !seen.has(at); ) {
    seen.add(at);
    if ((at.comfyClass ?? at.type) === PAIR) {
      const bert = at.widgets?.find((widget) => widget.name === "bert_name")?.value;
      return { encoder: "dual", ...(typeof bert === "string" && { bert }) };
    }
    const inputs = at.inputs ?? [];
    const clip = inputs.findIndex((input) => input.type === "CLIP");
    at = source(at, clip < 0 && inputs.length === 1 ? 0 : clip); // a reroute has one input
  }
  return { encoder: "qwen3" };
}

// The node that an input gets its value from, null when there is none.
function source(node, index) {
  let graph = node.graph;
  let link = graph?.getLink?.(node.inputs?.[index]?.link);
  for (let steps = 0; link && steps < DEEPEST; steps++) {
    const origin = graph.getNodeById(link.origin_id);
    if (link.origin_id === graph.inputNode?.id) {
      const box = boxOf(graph); // out of the subgraph
      graph = box?.graph;
      link = graph?.getLink(box.inputs[link.origin_slot]?.link);
    } else if (origin?.subgraph) {
      graph = origin.subgraph; // into it
      link = graph.getLink(graph.outputs[link.origin_slot]?.linkIds?.[0]);
    } else {
      return origin ?? null;
    }
  }
  return null;
}

// The first node that stands for a subgraph.
function boxOf(graph) {
  const all = [graph.rootGraph, ...(graph.rootGraph?.subgraphs?.values() ?? [])];
  return all.flatMap((one) => one?.nodes ?? []).find((node) => node.subgraph === graph);
}
