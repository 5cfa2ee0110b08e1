// Finds the text encoder of a node.
const PAIR = "ZImageDualLoader";
const DEEPEST = 100; // nested subgraphs

// Follows the CLIP input of a node to its loader, through other nodes and subgraphs. The result is
// the dual loader with its BERT file, or Qwen3 for any other loader.
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

// Returns the node that an input is linked to, null without a link.
function source(node, index) {
  let graph = node.graph;
  let link = graph?.getLink?.(node.inputs?.[index]?.link);
  for (let steps = 0; link && steps < DEEPEST; steps++) {
    const origin = graph.getNodeById(link.origin_id);
    if (link.origin_id === graph.inputNode?.id) {
      const box = boxOf(graph); // leave the subgraph
      graph = box?.graph;
      link = graph?.getLink(box.inputs[link.origin_slot]?.link);
    } else if (origin?.subgraph) {
      graph = origin.subgraph; // enter the subgraph
      link = graph.getLink(graph.outputs[link.origin_slot]?.linkIds?.[0]);
    } else {
      return origin ?? null;
    }
  }
  return null;
}

// Returns the first node that represents a subgraph.
function boxOf(graph) {
  const graphs = [graph.rootGraph, ...(graph.rootGraph?.subgraphs?.values() ?? [])];
  return graphs.flatMap((each) => each?.nodes ?? []).find((node) => node.subgraph === graph);
}
