// Where the parts of a pipe's graph stand. A grid has a column for `in`, and for each stage one for the
// edge before it and two for itself, as lanes begin and end at its middle; then one for the last edge
// and one for outputs.

// Where each stage, edge and output of a pipe stands: stages and the output of the last in a row, and
// below it a lane for each other output, and for each stage that is reached by a jump.
export function plan(pipe) {
  const stages = pipe.stages ?? [];
  const last = stages.length - 1;
  const index = new Map(stages.map((stage, i) => [stage.name, i]));
  const told = (pipe.edges ?? []).filter(edge => edge.from === "in" || index.has(edge.from));
  const edges = told.length ? told : chain(pipe, stages);
  const at = edge => (edge.output ? Infinity : index.get(edge.to) ?? Infinity);
  const from = edge => index.get(edge.from) ?? -1;

  const exits = edges.filter(edge => at(edge) === Infinity);
  const straight = exits.filter(edge => from(edge) === last);
  const main = (straight.find(edge => edge.to === "default") ?? straight[0])?.to;
  const row = edges.filter(edge => at(edge) === from(edge) + 1 || (from(edge) === last && edge.to === main));
  const lanes = new Map();
  for (const edge of edges) {
    if (row.includes(edge)) continue;
    const key = at(edge) === Infinity ? `out ${edge.to}` : `stage ${edge.to}`;
    if (!lanes.has(key)) lanes.set(key, { key, to: edge.to, at: at(edge), edges: [] });
    lanes.get(key).edges.push({ ...edge, at: from(edge) });
  }
  // Jumps above, then what leaves late: so lines cross as seldom as they can.
  const first = lane => Math.min(...lane.edges.map(edge => edge.at));
  const sorted = [...lanes.values()].sort((a, b) => (a.at === Infinity) - (b.at === Infinity) || first(b) - first(a));
  return { stages, row: row.map(edge => ({ ...edge, at: from(edge) })), lanes: sorted, main };
}

// What is drawn where nobody told the edges.
function chain(pipe, stages) {
  const names = ["in", ...stages.map(stage => stage.name), "default"];
  return names.slice(1).map((to, i) => ({
    from: names[i],
    to,
    rate: i === 0 ? pipe.in_rate : stages[i - 1].rate,
    spark: stages[Math.max(i - 1, 0)]?.spark,
    output: i === stages.length,
  }));
}

// The pieces of a graph in the order in which they are read, each with its columns and row.
export function parts({ stages, row, lanes, main }) {
  const found = [{ key: "in", kind: "end", label: "in", columns: "1 / 2", row: 1 }];
  const edge = at => row.filter(one => one.at === at);
  stages.forEach((stage, i) => {
    for (const one of edge(i - 1)) found.push(edgePart(one, i));
    const exits = lanes.flatMap(lane => lane.edges.filter(one => one.at === i));
    found.push({ key: `stage ${stage.name}`, kind: "stage", stage, exits, columns: `${3 + 3 * i} / ${5 + 3 * i}`, row: 1 });
  });
  for (const one of edge(stages.length - 1)) found.push(edgePart(one, stages.length));
  if (main !== undefined) found.push({ key: "out", kind: "end", label: main, columns: end(stages), row: 1 });
  lanes.forEach((lane, i) => {
    for (const one of lane.edges)
      found.push({ key: `lane ${one.from} ${lane.key}`, kind: "lane", edge: one, depth: i + 1, jump: lane.at !== Infinity, columns: across(one, lane, stages) });
    if (lane.at === Infinity) found.push({ key: lane.key, kind: "end", label: lane.to, columns: end(stages), row: i + 2 });
  });
  return found;
}

const end = stages => `${3 + 3 * stages.length} / ${4 + 3 * stages.length}`;
const edgePart = (edge, i) => ({ key: `edge ${edge.from} ${edge.to}`, kind: "edge", edge, columns: `${2 + 3 * i} / ${3 + 3 * i}`, row: 1 });

function across(edge, lane, stages) {
  const to = lane.at === Infinity ? 3 + 3 * stages.length : 4 + 3 * lane.at;
  return `${edge.at < 0 ? 1 : 4 + 3 * edge.at} / ${to}`;
}
