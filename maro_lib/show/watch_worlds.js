// A game of another world than the mystery, for watch.js, with which this is one script: who got what, who reached the
// goal, what the world notes of the game and of each move.

const NOTE = "note "; // before the name of a world's own column of actions
const [NAMED, BAR, VALUED] = [96, 20, 110]; // of the picture of payoffs: its names, a bar's height, its numbers
const MOST_COURSES = 3;

const worldOf = (game) => index.worlds.get(game.world);
const worded = (name) => name.replaceAll("_", " ");
const noteNames = (game) =>
  Object.keys(game.actions)
    .filter((name) => name.startsWith(NOTE))
    .map((name) => name.slice(NOTE.length));
const notesOf = (game, i) =>
  noteNames(game)
    .map((name) => [name, at(game, NOTE + name, i)])
    .filter(([, said]) => said);

function meaningOf(game, table, name) {
  const meanings = worldOf(game).meanings[table];
  return Object.hasOwn(meanings, name) ? meanings[name] : ""; // a name may be one that every object of a script has
}

const note = (game, table, name, said) =>
  make("span", { class: "chip", title: meaningOf(game, table, name) }, `${worded(name)} ${said}`);

// What a command of a world is called when somebody has given it.
const inflected = (kind) => (kind ? `${kind}${/(s|sh|ch|x|z)$/.test(kind) ? "es" : "s"}` : "");

// What a world notes of a whole game, and when a goal is reached there.
function noted(game) {
  if (!worldOf(game)) return [];
  const { success } = worldOf(game);
  const facts = Object.entries(game.facts || {}).map(([name, said]) => note(game, "games", name, said));
  return [make("p", {}, ...facts), success ? make("p", { class: "muted" }, `The goal: ${success}.`) : null];
}

// Who got what and who reached the goal, seat by seat, open at once.
function results(game, columns) {
  const payoffs = (game.payoffs || []).map(numeral);
  const cells = { ...columns, payoffs: ["got", (_, seat) => make("b", {}, payoffs[seat])], roles: ["role", String] };
  const differ = new Set(game.roles || []).size > 1;
  const known = [differ ? "roles" : "", "factions", "policies", "payoffs", "success"].filter(
    (name) => name && (game[name] || []).some((value) => value !== ""),
  );
  const own = Object.entries(game.by_seat || {}).filter(([, said]) => said.some((x, seat) => x !== payoffs[seat]));
  const heads = known.map((name) => make("th", {}, cells[name][0]));
  const more = own.map(([name]) => make("th", { title: meaningOf(game, "games", name) }, worded(name)));
  const rows = game.players.map((name, seat) => {
    const said = known.map((column) => cells[column][1](game[column][seat], seat));
    const all = [nameOf(game, name), ...said, ...own.map(([, values]) => values[seat])];
    return make("tr", {}, ...all.map((cell) => make("td", {}, cell)));
  });
  const whole = make("table", {}, make("tr", {}, make("th", {}, "player"), ...heads, ...more), ...rows);
  return make("details", { class: "results", open: true }, make("summary", {}, "Who got what"), whole);
}

// What is drawn of such a game.
function pictured(game) {
  const courses = noteNames(game)
    .map((name) => [name, points(game, name)])
    .filter(([, known]) => known.flat().length > 1)
    .slice(0, MOST_COURSES)
    .map(([name, known]) => course(game, name, known));
  const kinds = aimedKinds(game);
  const graph = kinds.length && game.players.length > 2 ? [redrawn((step) => aims(game, step, kinds))] : [];
  return [...((game.payoffs || []).length ? [payoffs(game)] : []), ...courses, ...graph];
}

function topOf(game, values) {
  const top = Math.max(...values);
  const names = game.players.filter((_, seat) => values[seat] === top);
  return [top, names.flatMap((name, k) => [k ? ", " : "", nameOf(game, name)]), names.length === values.length];
}

// A bar for each seat: what it got; pale where the goal was missed.
function payoffs(game) {
  const values = game.payoffs.map((x) => x ?? 0);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const x = (value) => NAMED + (WIDE - NAMED - VALUED) * ((value - low) / (high - low || 1));
  const bars = game.players.flatMap((name, seat) => {
    const [from, to] = [x(Math.min(0, values[seat])), x(Math.max(0, values[seat]))];
    const box = { x: from, y: seat * BAR + 3, width: Math.max(to - from, 1), height: BAR - 6 };
    const is = game.success[seat];
    const text = `${numeral(game.payoffs[seat])} · ${is ? "reached" : "missed"}`;
    return [
      draw("text", { x: NAMED - 6, y: seat * BAR + 14, "text-anchor": "end" }, short(name, 12)),
      draw("rect", { ...box, fill: colour(seat), class: is ? "bar" : "bar missed" }),
      draw("text", { x: to + 6, y: seat * BAR + 14 }, text),
    ];
  });
  const frame = { viewBox: `0 0 ${WIDE} ${BAR * values.length + 4}`, role: "img", "aria-label": "who got what" };
  const [top, names, alike] = topOf(game, values);
  const said = alike ? [`All got ${numeral(top)}`] : ["Got most: ", ...names, ` (${numeral(top)})`];
  const caption = make("figcaption", {}, ...said, `; ${won(game)}`);
  return { figure: make("figure", {}, caption, draw("svg", frame, ...bars)), show: () => {} };
}

// A noted number at each move that has one, by seat; nothing of what is no number.
function points(game, name) {
  const said = Array.from({ length: size(game) }, (_, i) => at(game, NOTE + name, i) || "");
  if (said.some((text) => text && !Number.isFinite(Number(text)))) return [];
  return game.players.map((_, seat) =>
    said.map((text, i) => [i, text, at(game, "seat", i) ?? 0])
      .filter(([, text, who]) => text && who === seat)
      .map(([i, text]) => [i, Number(text)]),
  );
}

// How a noted number goes, and who has most of it up to a step.
function course(game, name, known) {
  const values = known.flat().map(([, value]) => value);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const ticks = [...new Set([low, 0, high])];
  const head = worded(name);
  const said = (step) => {
    const own = known.map((all) => all.filter(([i]) => i <= step).map(([, value]) => value));
    if (!own.flat().length) return [`${head}: nothing yet`];
    const means = own.map((some) => (some.length ? sum(some) / some.length : -Infinity));
    const [top, names, alike] = topOf(game, means);
    const mean = ` (${numeral(Number(top.toPrecision(3)))} on average)`;
    return [`${head}: `, ...(alike ? ["the same for all"] : ["most by ", ...names]), mean];
  };
  const made = lineChart(game, head, known, ticks.length > 1 ? ticks : [0, 1], said);
  made.figure.append(make("p", { class: "muted" }, meaningOf(game, "actions", name)));
  return made;
}

const aimedKinds = (game) => [
  ...new Set((game.actions.kind || []).filter((_, i) => at(game, "target", i) && !at(game, "illegal", i))),
];

// Who aimed what at whom up to a step.
function aims(game, step, kinds) {
  const { edges, got } = aimed(game, step, kinds);
  const counts = game.players.map((_, seat) => sum(kinds.map((kind) => got.get(kind).get(seat) || 0)));
  const [top, names] = topOf(game, counts);
  const said = top ? ["Aimed at most: ", ...names, ` (${top})`] : ["Nobody has aimed anything at anybody yet"];
  const key = `An arrow: ${kinds.map(inflected).join(", ")}; thicker: more often.`;
  return [
    make("figcaption", {}, ...said),
    circle(game, edges, "who aimed what at whom"),
    make("p", { class: "muted" }, key),
  ];
}
