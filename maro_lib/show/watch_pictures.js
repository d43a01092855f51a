// The pictures of a game, for watch.js, with which this is one script: lines of suspicion and trust, who suspects whom,
// who asked whom.

const [WIDE, HIGH, LEFT, RIGHT, TOP, LOW] = [420, 132, 30, 128, 10, 22]; // of a picture, and its margins
const LINE = 13; // from one name to the next
const [ACROSS, DOWN] = [300, 220]; // of the picture of who asked whom

// What shows a mystery: how suspicion and trust go, who asked whom, who suspects whom.
function suspected(game, times) {
  const [suspicion, trust] = ["suspicion", "trust"].map((what) => chart(game, times, what));
  const graph = redrawn((step) => asked(game, step));
  const matrix = redrawn((step) => opinions(game, times, step));
  return times.length ? [suspicion, graph, matrix, trust] : [graph];
}

// A picture that is made anew at every step.
function redrawn(parts) {
  const element = make("figure");
  return { figure: element, show: (step) => element.replaceChildren(...parts(step)) };
}

// How a kind of opinion about each player goes.
function chart(game, times, what) {
  const known = game.players.map((_, seat) =>
    times.map((m) => [m.step, mean(m, what, seat)]).filter(([, value]) => value !== null),
  );
  return lineChart(game, what, known, [0, 1, 2], (step) => finding(game, times, what, step));
}

// Values over the steps of a game: a line each, in the player's colour, thick for a culprit.
function lineChart(game, what, known, ticks, said) {
  const end = Math.max(size(game) - 1, 1);
  const [low, high] = [ticks[0], ticks[ticks.length - 1]];
  const x = (step) => LEFT + (WIDE - LEFT - RIGHT) * (step / end);
  const y = (value) => HIGH - LOW - (HIGH - LOW - TOP) * ((value - low) / (high - low || 1));
  const veil = draw("rect", { y: 0, height: HIGH - LOW + 2, class: "veil" });
  const now = draw("line", { y1: TOP - 6, y2: HIGH - LOW, class: "now" });
  const lines = game.players.map((_, seat) => line(game, known[seat], seat, x, y));
  const svg = draw(
    "svg",
    { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": `${what} over time`, click: jump },
    ...grid(game, x, y, ticks),
    ...lines.flatMap((one) => one.parts),
    veil,
    now,
    ...labels(game, lines),
  );
  function jump(event) {
    const box = svg.getBoundingClientRect();
    const share = (((event.clientX - box.left) / box.width) * WIDE - LEFT) / (WIDE - LEFT - RIGHT);
    go(Math.round(Math.min(Math.max(share, 0), 1) * end));
  }
  const caption = make("figcaption");
  const show = (step) => {
    veil.setAttribute("x", x(step));
    veil.setAttribute("width", WIDE - RIGHT + 2 - x(step));
    for (const side of ["x1", "x2"]) now.setAttribute(side, x(step));
    caption.replaceChildren(...said(step));
  };
  return { figure: make("figure", {}, caption, svg), show };
}

// The scale of values, and where rounds begin.
function grid(game, x, y, ticks) {
  const scale = ticks.flatMap((value) => [
    draw("line", { x1: LEFT, x2: WIDE - RIGHT, y1: y(value), y2: y(value), class: "grid" }),
    draw("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, numeral(value)),
  ]);
  const rounds = game.actions.round || [];
  const begins = rounds.map((k, i) => [k, i]).filter(([k, i]) => i && k !== rounds[i - 1]);
  const word = begins.length <= 5 ? "round " : ""; // else there is room for their numbers alone
  const parts = begins.flatMap(([k, i]) => [
    draw("line", { x1: x(i), x2: x(i), y1: TOP, y2: HIGH - LOW, class: "grid" }),
    draw("text", { x: x(i) + 3, y: HIGH - 8 }, `${word}${k}`),
  ]);
  return [...scale, ...parts];
}

function line(game, known, seat, x, y) {
  const points = known.map(([step, value]) => [x(step).toFixed(1), y(value).toFixed(1)]);
  const style = { stroke: colour(seat), class: isCulprit(game, seat) ? "line culprit" : "line" };
  const dots = points.map(([cx, cy]) => draw("circle", { cx, cy, r: 2.5, fill: colour(seat) }));
  const parts = [draw("polyline", { points: points.map((point) => point.join(",")).join(" "), ...style }), ...dots];
  return { name: game.players[seat], seat, parts, y: points.length ? Number(points[points.length - 1][1]) : null };
}

// Names at the ends of lines, moved apart so that none lies on another.
function labels(game, lines) {
  const ends = lines.filter((one) => one.y !== null).sort((a, b) => a.y - b.y);
  const places = ends.map((end) => end.y);
  for (let k = 1; k < places.length; k++) places[k] = Math.max(places[k], places[k - 1] + LINE);
  for (let k = places.length - 1, low = HIGH - LOW + LINE / 2; k >= 0; k--, low = places[k + 1] - LINE)
    places[k] = Math.min(places[k], low);
  return ends.flatMap((end, k) => {
    const [from, to, guilty] = [WIDE - RIGHT + 2, WIDE - RIGHT + 10, isCulprit(game, end.seat)];
    const name = short(end.name, guilty ? 12 : 18) + (guilty ? " (culprit)" : "");
    const dash = draw("line", { x1: from, x2: to, y1: end.y, y2: places[k], stroke: colour(end.seat) });
    return [dash, draw("text", { x: to + 3, y: places[k] + 4, class: guilty ? "guilty" : "" }, name)];
  });
}

function finding(game, times, what, step) {
  const moment = times.filter((m) => m.step <= step).pop();
  const verb = { suspicion: ["suspected", "Suspicion"], trust: ["trusted", "Trust"] }[what];
  if (!moment) return [`${verb[1]}: nobody has been asked yet`];
  const values = game.players.map((_, seat) => mean(moment, what, seat) ?? 0);
  const top = Math.max(...values);
  if (!top) return [`${verb[1]}: nobody is ${verb[0]}`];
  const most = game.players.filter((_, seat) => values[seat] === top);
  const names = most.flatMap((name, k) => [k ? ", " : "", nameOf(game, name)]);
  return [`Most ${verb[0]}: `, ...names, ` (${top.toFixed(1)} of 2, as the others say)`];
}

// Who suspects whom at the last moment before a step: a row rates, a column is rated.
function opinions(game, times, step) {
  const moment = times.filter((m) => m.step <= step).pop();
  const caption = make(
    "figcaption",
    {},
    moment ? "Who suspects whom, 0 to 2: a row says it of a column" : "Who suspects whom: not asked yet",
  );
  if (!moment) return [caption];
  const mark = (seat) =>
    tinted(make("th", { title: game.players[seat] }, short(game.players[seat], 7)), `${colour(seat)}4d`);
  const body = game.players.map((_, rater) => {
    const row = moment.suspicion[rater] || [];
    const cells = game.players.map((_, rated) => {
      const value = row[rated] ?? -1;
      return value < 0
        ? make("td", { class: "none" })
        : tinted(make("td", {}, value), rgba(index.colours.suspicion, value / 2));
    });
    return make("tr", {}, mark(rater), ...cells);
  });
  const head = make("tr", {}, make("th"), ...game.players.map((_, seat) => mark(seat)));
  return [caption, make("table", { class: "matrix" }, head, ...body)];
}

// Who asked whom up to a step, and who voted for whom: players on a circle, an arrow for each pair.
function asked(game, step) {
  const { edges, got } = aimed(game, step, ["ask", "vote"]);
  const votes = got.get("vote").size > 0;
  const caption = make("figcaption", {}, ...most(game, got.get(votes ? "vote" : "ask"), votes));
  const kinds = votes ? "asks (solid), votes for (dashed)" : "asks";
  const ring = (game.culprits || []).length ? "; ring: culprit" : "";
  const key = make("p", { class: "muted" }, `An arrow: ${kinds}; thicker: more often${ring}.`);
  return [caption, circle(game, edges, "who asked whom"), key];
}

// Players on a circle, and an arrow for each pair of which one aimed something at the other.
function circle(game, edges, label) {
  const place = (seat) => {
    const turn = (2 * Math.PI * seat) / game.players.length - Math.PI / 2;
    return [ACROSS / 2 + 84 * Math.cos(turn), DOWN / 2 + 74 * Math.sin(turn), turn];
  };
  const arrows = edges.flatMap((edge) => arrow(edge, place(edge.from), place(edge.to)));
  const players = game.players.flatMap((_, seat) => player(game, seat, ...place(seat)));
  const frame = { viewBox: `0 0 ${ACROSS} ${DOWN}`, role: "img", "aria-label": label };
  return draw("svg", frame, ...arrows, ...players);
}

// The pairs of whom one aimed something of some kinds (a question, a vote) at the other, and how often each got one.
function aimed(game, step, kinds) {
  const edges = new Map();
  const got = new Map(kinds.map((kind) => [kind, new Map()]));
  for (let i = 0; i <= step; i++) {
    const [kind, from, to] = [at(game, "kind", i), at(game, "seat", i), seatOf(game, at(game, "target", i))];
    if (to < 0 || at(game, "illegal", i) || !got.has(kind)) continue;
    const key = `${kind} ${from} ${to}`;
    edges.set(key, { kind, from, to, n: (edges.get(key)?.n || 0) + 1, latest: i === step });
    got.get(kind).set(to, (got.get(kind).get(to) || 0) + 1);
  }
  return { edges: [...edges.values()], got };
}

function player(game, seat, x, y, turn) {
  const name = game.players[seat];
  const guilty = isCulprit(game, seat);
  const side = Math.abs(Math.cos(turn)) < 0.2 ? "middle" : Math.cos(turn) > 0 ? "start" : "end";
  const off = { middle: [0, Math.sin(turn) * 18 + 4], start: [11, 4], end: [-11, 4] }[side];
  const style = { x: x + off[0], y: y + off[1], "text-anchor": side, class: guilty ? "guilty" : "" };
  return [
    ...(guilty ? [draw("circle", { cx: x, cy: y, r: 9.5, class: "ring" })] : []),
    draw("circle", { cx: x, cy: y, r: 6.5, fill: colour(seat) }, draw("title", {}, name)),
    draw("text", style, short(name, 11)),
  ];
}

function most(game, got, votes) {
  if (!got.size) return ["Nobody has asked anybody yet"];
  const top = Math.max(...got.values());
  const names = [...got]
    .filter(([, n]) => n === top)
    .flatMap(([seat], k) => [k ? ", " : "", nameOf(game, game.players[seat])]);
  return [votes ? "Most votes: " : "Asked most: ", ...names, ` (${top})`];
}

function arrow(edge, [x1, y1], [x2, y2]) {
  const far = Math.hypot(x2 - x1, y2 - y1) || 1;
  const [dx, dy] = [(x2 - x1) / far, (y2 - y1) / far];
  const [mx, my] = [(x1 + x2) / 2 - dy * 16, (y1 + y2) / 2 + dx * 16]; // bent, so that both ways are seen
  const tip = Math.hypot(x2 - mx, y2 - my);
  const [tx, ty] = [(x2 - mx) / tip, (y2 - my) / tip];
  const [ex, ey] = [x2 - tx * 12, y2 - ty * 12];
  const wide = 1 + Math.min(edge.n, 6);
  const style = { class: `edge ${edge.kind === "vote" ? "vote" : ""}${edge.latest ? " latest" : ""}` };
  const head = [
    [ex, ey],
    [ex - tx * 8 - ty * (3 + wide), ey - ty * 8 + tx * (3 + wide)],
    [ex - tx * 8 + ty * (3 + wide), ey - ty * 8 - tx * (3 + wide)],
  ];
  const line = {
    d: `M${x1},${y1} Q${mx},${my} ${ex - tx * 6},${ey - ty * 6}`,
    stroke: colour(edge.from),
    "stroke-width": wide,
  };
  return [
    draw("path", { ...style, ...line, fill: "none" }),
    draw("polygon", { ...style, points: head.join(" "), fill: colour(edge.from) }),
  ];
}
