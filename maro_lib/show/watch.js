// The page on which games are watched. It makes elements of text, never of markup, and asks no network.
// `index` lists all games; a game is unpacked from its chunk when it is opened.

const LISTED = 200; // games that are listed at a time
const PHASES = new Map([
  ["intro", "Introductions"],
  ["vote", "The vote"],
]); // that are no round
const PAUSE = 900; // milliseconds that a move is shown
const SVG = "http://www.w3.org/2000/svg";
const page = document.getElementById("page");
const state = { shown: [], k: -1, step: 0, beside: "", rule: "", views: [], timer: 0 };
const chunks = new Map();
let index, list, slider, caption;
const stage = document.createElement("section");

// --- data -------------------------------------------------------------------------------------------

async function unpack(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

async function load(k) {
  const n = Math.floor(k / index.chunk);
  if (!chunks.has(n)) chunks.set(n, unpack(`chunk-${n}`));
  return { ...entry(k), ...(await chunks.get(n))[k % index.chunk] };
}

function entry(k) {
  const games = index.games;
  const own = Object.fromEntries(Object.keys(games).map((name) => [name, games[name][k]]));
  const set = index.sets[own.set];
  return { ...own, k, set, id: `${set.place}/${own.game}`, pair: `${set.base || set.place}/${own.game}` };
}

const at = (game, name, i) => (game.actions[name] || [])[i]; // what an action has not is undefined
const size = (game) => (game.actions.seat || []).length;
const colour = (seat) => index.seats[(seat < 0 ? index.seats.length - 1 : seat) % index.seats.length];
const rgba = (rgb, strength) => `rgba(${rgb.join(",")},${(0.55 * strength).toFixed(2)})`;
const seatOf = (game, name) => game.players.indexOf(name);
const isCulprit = (game, seat) => (game.culprits || []).includes(game.players[seat]);
const encoded = (text) => encodeURIComponent(text).replaceAll("%2F", "/");
const link = (id, step) => `#game=${encoded(id)}&step=${step}`;

// Moments at which opinions were stated: ratings that follow one another are one, and its last step is its time.
function moments(game) {
  const found = [];
  for (let i = 0; i < size(game); i++) {
    if (!at(game, "suspicion", i) && !at(game, "trust", i)) continue;
    const last = found[found.length - 1];
    const goes = last && last.step === i - 1 && !(at(game, "seat", i) in last.suspicion);
    const now = goes ? last : { suspicion: {}, trust: {} };
    if (!goes) found.push(now);
    now.step = i;
    for (const what of ["suspicion", "trust"]) now[what][at(game, "seat", i)] = at(game, what, i) || [];
  }
  return found;
}

// What the others say of a seat at a moment, on average; nothing if nobody says anything.
function mean(moment, what, seat) {
  const said = Object.values(moment[what])
    .map((row) => row[seat])
    .filter((x) => x >= 0);
  return said.length ? said.reduce((a, b) => a + b) / said.length : null;
}

// --- elements ---------------------------------------------------------------------------------------

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const make = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
const draw = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
const tinted = (element, background) => (element.style.setProperty("background", background), element);
const short = (text, n) => (text.length > n ? `${text.slice(0, n - 1)}…` : text);

function nameOf(game, name) {
  const hex = colour(seatOf(game, name));
  return tinted(make("bdi", { class: "name" }, name), `${hex}4d`);
}

function choose(label, options, chosen, onchange) {
  const made = options.map(([value, text]) => make("option", { value }, text));
  const select = make("select", { change: () => onchange(select.value), "aria-label": label }, ...made);
  select.value = chosen;
  return make("label", {}, `${label} `, select);
}

function button(text, label, click) {
  return make("button", { type: "button", "aria-label": label, title: label, click }, text);
}

// --- the list ---------------------------------------------------------------------------------------

const MOST = "most payoff in all first";
const sum = (values) => values.reduce((a, b) => a + (b ?? 0), 0);
const ORDERS = {
  "as played": (a, b) => a.k - b.k,
  "strangest first": (a, b) => (a.expected ?? 9) - (b.expected ?? 9) || a.k - b.k,
  "most illegal replies first": (a, b) => b.illegal - a.illegal || a.k - b.k,
  "longest first": (a, b) => b.actions - a.actions || a.k - b.k,
  [MOST]: (a, b) => sum(b.payoffs) - sum(a.payoffs) || a.k - b.k,
};

const GAINS = { 1: "trained does better than base", "-1": "trained does worse than base" }; // in the same game
const GOALS = new Map([
  ["all", ["reached by all", (e) => e.reached === e.seats]],
  ["some", ["reached by some", (e) => e.reached > 0 && e.reached < e.seats]],
  ["none", ["reached by nobody", (e) => e.reached === 0]],
]);

function sidebar() {
  const entries = index.games.game ? index.games.game.map((_, k) => entry(k)) : [];
  state.entries = entries;
  const chosen = { set: "", world: "", winner: "", goal: "", script: "", match: "", illegal: false, text: "" };
  chosen.order = "as played";
  const refresh = () => listGames(entries, chosen);
  const set = (name) => (value) => ((chosen[name] = value), refresh());
  const pairs = (names) => names.map((name) => [name, name || "nobody"]);
  const values = (name, some) => pairs([...new Set(some.map((e) => e[name]))].sort());
  const [sided, others] = [entries.filter(hasWinner), entries.filter((e) => !hasWinner(e))];
  const worlds = values("world", entries);
  const goals = [...GOALS].map(([value, [text]]) => [value, text]);
  const orders = Object.keys(ORDERS).filter((name) => others.length || name !== MOST);
  const fields = [
    choose("played", [["", "all"], ...index.sets.map((s, k) => [String(k), s.title])], "", set("set")),
    worlds.length > 1 ? choose("world", [["", "all"], ...worlds], "", set("world")) : null,
    sided.length ? choose("won by", [["", "anybody"], ...values("winner", sided)], "", set("winner")) : null,
    others.length ? choose("goals", [["", "reached by any number"], ...goals], "", set("goal")) : null,
    choose(sided.length ? "script" : "scenario", [["", "all"], ...values("script", entries)], "", set("script")),
    choose("order", pairs(orders), chosen.order, set("order")),
  ].filter(Boolean);
  const outcomes = [["", "all"], ...["1", "-1"].map((gain) => [gain, GAINS[gain]])];
  if (index.sets.some((s) => s.base)) fields.push(choose("match", outcomes, "", set("match")));
  const illegal = make("input", { type: "checkbox", change: () => set("illegal")(illegal.checked) });
  const text = make("input", { type: "search", "aria-label": "find", input: () => set("text")(text.value) });
  fields.push(make("label", {}, illegal, " with illegal replies"), make("label", {}, "find ", text));
  const left = Object.entries(index.left_out).map(([place, why]) => make("p", { class: "left" }, `${place}: ${why}`));
  list = { count: make("p", { class: "muted", role: "status" }), rows: make("ol", { class: "games" }) };
  refresh();
  const parts = [make("div", { class: "filters" }, ...fields), ...left, list.count, list.rows];
  return make("details", { class: "list", open: true }, make("summary", {}, `Games of ${index.title}`), ...parts);
}

function listGames(entries, chosen) {
  const text = chosen.text.toLowerCase();
  const kept = (e) =>
    (chosen.set === "" || e.set === index.sets[chosen.set]) &&
    (chosen.world === "" || e.world === chosen.world) &&
    (chosen.winner === "" || e.winner === chosen.winner) &&
    (chosen.goal === "" || (!hasWinner(e) && GOALS.get(chosen.goal)[1](e))) &&
    (chosen.script === "" || e.script === chosen.script) &&
    (chosen.match === "" || e.gain === Number(chosen.match)) &&
    (!chosen.illegal || e.illegal > 0) &&
    (!text || `${e.game} ${e.script} ${e.set.title}`.toLowerCase().includes(text));
  state.shown = entries.filter(kept).sort(ORDERS[chosen.order]);
  list.count.textContent = `${state.shown.length.toLocaleString("en")} of ${entries.length.toLocaleString("en")} games`;
  list.rows.replaceChildren();
  listMore();
}

function listMore() {
  list.rows.querySelector(".more")?.remove();
  const from = list.rows.children.length;
  list.rows.append(...state.shown.slice(from, from + LISTED).map(row));
  const left = state.shown.length - list.rows.children.length;
  if (left > 0)
    list.rows.append(make("li", { class: "more" }, button(`${left.toLocaleString("en")} more`, "more", listMore)));
  markRow();
}

function row(e) {
  const facts = [
    hasWinner(e) ? "" : `got ${e.payoffs.slice(0, 8).map(numeral).join(", ")}${e.seats > 8 ? ", …" : ""}`,
    `${e.actions} actions`,
    e.illegal ? `${e.illegal} illegal` : "",
    e.expected === null ? "" : `log p ${e.expected}`,
  ];
  const match = GAINS[e.gain];
  const head = make("span", {}, make("bdi", {}, e.game), " ", make("span", { class: "chip" }, won(e)));
  const about = [short(e.script, 40), e.set.title, ...facts, match].filter(Boolean).join(" · ");
  return make(
    "li",
    { "data-id": e.id },
    make("a", { href: link(e.id, 0) }, head, make("span", { class: "muted" }, about)),
  );
}

const hasWinner = (e) => e.winner !== null; // a side that won, as in a mystery; else each seat has a goal
const numeral = (x) => (x === null ? "?" : String(x).replace("-", "−"));

function won(e) {
  if (!hasWinner(e)) return `${e.reached} of ${e.seats} reached their goal`;
  return e.winner ? `${e.winner}${e.winner === "civilian" ? "s" : ""} won` : "no winner";
}

function markRow() {
  for (const li of list.rows.children) {
    const link = li.querySelector("a");
    if (link) link.toggleAttribute("aria-current", state.k >= 0 && li.dataset.id === state.entries[state.k].id);
  }
}

// --- a game -----------------------------------------------------------------------------------------

function view(game) {
  const steps = size(game);
  const times = moments(game);
  const lines = make("ol", { class: "moves", tabindex: "0" });
  const pictures = worldOf(game) ? pictured(game) : suspected(game, times);
  const rows = [];
  let part = "";
  for (let i = 0; i < steps; i++) {
    const title = partOf(game, i);
    if (title !== part) lines.append(make("li", { class: "part" }, (part = title)));
    rows.push(move(game, i));
    lines.append(rows[i]);
  }
  if (game.ending)
    lines.append(make("li", { class: "part" }, "How it ends"), make("li", { class: "text", dir: "auto" }, game.ending));
  const figures = pictures.map((one) => one.figure);
  const body = make("div", { class: "body" }, lines, make("div", { class: "pictures" }, ...figures));
  const element = make("article", { lang: game.language || "en" }, heading(game), body);
  const show = (step) => {
    const now = Math.min(step, steps - 1);
    rows.forEach((li, i) => li.classList.toggle("later", i > now));
    rows.forEach((li, i) => li.toggleAttribute("aria-current", i === now));
    if (rows[now]) centre(lines, rows[now]);
    pictures.forEach((one) => one.show(now));
  };
  return { element, show, game, said: (step) => sentence(game, Math.min(step, steps - 1)) };
}

function centre(lines, li) {
  const off = li.offsetTop; // `lines` is what it is measured from
  if (off < lines.scrollTop || off + li.offsetHeight > lines.scrollTop + lines.clientHeight)
    lines.scrollTop = off - lines.clientHeight / 3;
}

function heading(game) {
  const chips = [game.set.title, game.game, game.cell, `seed ${game.seed}`].filter(Boolean);
  const accused =
    game.accused === undefined ? [] : [" Accused: ", game.accused ? nameOf(game, game.accused) : "nobody", "."];
  const outcome = [make("b", {}, `${won(game)[0].toUpperCase()}${won(game).slice(1)}.`), ...accused];
  const about = make("p", {}, ...outcome, " ", ...chips.map((chip) => make("span", { class: "chip" }, chip)));
  return make("header", {}, make("h2", {}, make("bdi", {}, game.script)), about, ...noted(game), table(game));
}

function table(game) {
  const chip = (text, seat) => make("span", { class: isCulprit(game, seat) ? "chip culprit" : "chip" }, text);
  const columns = {
    factions: [worldOf(game) ? "side" : "faction", chip],
    policies: ["played by", (text) => short(text, 60)],
    votes: ["voted for", (name) => (name ? nameOf(game, name) : "")],
    success: ["goal", (is) => make("span", { class: is ? "goal" : "" }, is ? "reached" : "missed")],
  };
  if (worldOf(game)) return results(game, columns);
  const known = Object.keys(columns).filter((name) => game[name] && game[name].length);
  const heads = ["player", ...known.map((name) => columns[name][0])].map((head) => make("th", {}, head));
  const rows = game.players.map((name, seat) => {
    const cells = known.map((column) => columns[column][1](game[column][seat], seat));
    return make("tr", {}, ...[nameOf(game, name), ...cells].map((cell) => make("td", {}, cell)));
  });
  const whole = make("table", {}, make("tr", {}, ...heads), ...rows);
  return make("details", { class: "seats" }, make("summary", {}, "Who sits where"), whole);
}

function partOf(game, i) {
  const round = at(game, "round", i) ?? 0;
  const before = worldOf(game) && !round ? "Before the first round" : `Round ${round}`;
  return (!worldOf(game) && PHASES.get(at(game, "phase", i))) || before;
}

function verb(game, i) {
  const kind = at(game, "kind", i);
  return index.verbs.get(kind) || (worldOf(game) ? inflected(kind || "") : kind);
}

const agent = (game, i) => game.players[at(game, "seat", i) ?? 0] || "";

function sentence(game, i) {
  if (i < 0) return "no moves";
  const whom = at(game, "target", i) || at(game, "place", i) || "";
  const notes = notesOf(game, i).map(([name, said]) => `${name} ${said}`);
  const more = notes.length ? ` (${notes.join(", ")})` : "";
  return `${partOf(game, i)}: ${agent(game, i)} ${verb(game, i)} ${whom}`.trim() + more;
}

function move(game, i) {
  const seat = at(game, "seat", i) ?? 0;
  const target = at(game, "target", i);
  const marks = [
    at(game, "illegal", i) ? "against the rules" : "",
    at(game, "retry", i) ? "second try" : "",
    at(game, "kind", i) === "vote" && isCulprit(game, seatOf(game, target)) ? "guilty" : "",
    at(game, "private", i) ? "private" : "",
  ].filter(Boolean);
  const what = make(
    "div",
    {},
    nameOf(game, agent(game, i)),
    ` ${verb(game, i)} `,
    target ? nameOf(game, target) : null,
    at(game, "place", i) ? make("b", {}, at(game, "place", i)) : null,
    ...marks.map((mark) => make("span", { class: `chip ${mark === "against the rules" ? "warning" : ""}` }, mark)),
    ...notesOf(game, i).flatMap(([name, said]) => [" ", note(game, "actions", name, said)]),
  );
  const rated = at(game, "suspicion", i) || at(game, "trust", i);
  const text = rated ? ratings(game, i) : make("div", { class: "text", dir: "auto" }, at(game, "text", i) || "");
  const found = at(game, "found", i);
  const whose = at(game, "secret", i) ? "this player alone knows what: " : "";
  const clue = found ? make("div", { class: "text found", dir: "auto" }, `${whose}${found}`) : null;
  const said = make("div", { class: "said" }, what, text, clue);
  said.style.setProperty("border-color", colour(seat));
  const step = make("a", { class: "step", href: link(game.id, i), title: "a permanent link to this step" }, i);
  return make("li", { class: "move" }, step, credit(game, i), said);
}

function ratings(game, i) {
  const parts = Object.entries({ suspicion: "suspects ", trust: " trusts " }).map(([what, verb]) => {
    const row = at(game, what, i) || [];
    const named = row.map((x, seat) => [x, seat]).filter(([x]) => x > 0);
    const chip = (x, seat) => make("span", { class: "chip" }, `${short(game.players[seat], 24)} ${x}`);
    const chips = named.map(([x, seat]) => tinted(chip(x, seat), rgba(index.colours[what], x / 2)));
    return make("span", {}, verb, ...(chips.length ? chips : ["nobody"]));
  });
  return make("div", { class: "rated" }, ...parts);
}

// --- credit -----------------------------------------------------------------------------------------

function credit(game, i) {
  if (!state.rule) return null;
  const all = game.actions[`credit ${state.rule}`] || [];
  const top = Math.max(...all.map((x) => Math.abs(x ?? 0)), 0);
  const x = all[i] ?? null;
  const said =
    x === null ? "" : x === 0 ? "0" : `${x > 0 ? "+" : "−"}${Math.abs(x).toFixed(Math.abs(x) < 0.005 ? 4 : 2)}`;
  const made = make("span", { class: "credit", title: `credit by ${state.rule}` }, said);
  return x && top ? tinted(made, rgba(index.colours[x > 0 ? "praise" : "blame"], Math.abs(x) / top)) : made;
}

const rules = (game) =>
  Object.keys(game.actions)
    .filter((name) => name.startsWith("credit "))
    .map((name) => name.slice(7));

// --- the page ---------------------------------------------------------------------------------------

function go(step) {
  const end = Math.max(...state.views.map((one) => size(one.game))) - 1;
  state.step = Math.min(Math.max(step, 0), end);
  slider.max = end;
  slider.value = state.step;
  slider.setAttribute("aria-valuetext", state.views[0].said(state.step));
  caption.textContent = `step ${state.step} of ${end} · ${state.views[0].said(state.step)}`;
  for (const one of state.views) one.show(state.step);
  const beside = state.views[1] ? `&beside=${encoded(state.views[1].game.set.place)}` : "";
  history.replaceState(null, "", link(state.views[0].game.id, state.step) + beside);
}

function play() {
  const was = state.timer;
  clearInterval(state.timer);
  state.timer = was ? 0 : setInterval(() => (state.step < Number(slider.max) ? go(state.step + 1) : play()), PAUSE);
}

// Where two games part.
function parted(one, other) {
  const differ = (_, i) => ["seat", "kind", "text"].some((name) => at(one, name, i) !== at(other, name, i));
  const step = Array.from({ length: Math.max(size(one), size(other)) }).findIndex(differ);
  const said = step < 0 ? "Both games are the same." : button(`They part at step ${step}`, "go there", () => go(step));
  return make("p", { class: "parted" }, said);
}

async function openGame(k, step) {
  const wanted = `${k} ${state.beside} ${state.rule}`;
  state.k = k;
  state.wanted = wanted;
  const own = await load(k);
  const others = state.entries.filter((e) => e.pair === own.pair && e.k !== k);
  const second = others.find((e) => e.set.place === state.beside);
  const games = second ? [own, await load(second.k)] : [own];
  if (state.wanted !== wanted) return; // somebody has gone on to another game meanwhile
  state.views = games.map(view);
  const tables = make("div", { class: "views", "data-n": games.length }, ...state.views.map((one) => one.element));
  stage.replaceChildren(controls(own, others, second), ...(second ? [parted(...games)] : []), tables);
  go(step);
  markRow();
}

function controls(game, others, second) {
  slider = make("input", {
    type: "range",
    min: 0,
    max: 1,
    "aria-label": "step",
    input: () => go(Number(slider.value)),
  });
  caption = make("output", { class: "caption" });
  const near = (by) => () => {
    const at = state.shown.findIndex((e) => e.k === state.k) + by;
    if (state.shown[at]) location.hash = link(state.shown[at].id, 0);
  };
  const again = (name) => (value) => ((state[name] = value), openGame(state.k, state.step));
  const known = rules(game).map((name) => [name, name]);
  const rule = choose("colour by credit", [["", "none"], ...known], state.rule, again("rule"));
  const sets = others.map((e) => [e.set.place, e.set.title]);
  const beside = choose("beside it", [["", "nothing"], ...sets], second ? state.beside : "", again("beside"));
  const steps = [
    button("◀", "one step back", () => go(state.step - 1)),
    slider,
    button("▶", "one step on", () => go(state.step + 1)),
    button("play", "let it run, or stop", play),
  ];
  const legend = state.rule
    ? make(
        "span",
        { class: "muted" },
        tinted(make("span", { class: "chip" }, "praise"), rgba(index.colours.praise, 1)),
        tinted(make("span", { class: "chip" }, "blame"), rgba(index.colours.blame, 1)),
      )
    : null;
  const more = [
    button("↑ game", "the game before it in the list", near(-1)),
    button("↓ game", "the next game of the list", near(1)),
  ];
  return make(
    "div",
    { class: "controls" },
    make("div", { class: "steps" }, ...steps, ...more),
    caption,
    make("div", { class: "choices" }, rule, legend, others.length ? beside : null),
  );
}

// Open what the address names; without a name, the first game of the list.
function follow() {
  const asked = new URLSearchParams(location.hash.slice(1) || window.name); // a frame's name: see watch.py
  if (!state.entries.length) return;
  const found = state.entries.find((e) => e.id === asked.get("game"));
  const first = asked.get("game") ? null : state.shown[0];
  if (!found && !first) {
    stage.replaceChildren(make("p", {}, `There is no game ${asked.get("game")} on this page.`));
    return;
  }
  if (asked.has("beside")) state.beside = asked.get("beside"); // else what was chosen for the game before
  openGame((found || first).k, Math.trunc(Number(asked.get("step"))) || 0);
}

function onkey(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || !state.views.length || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.target.closest("input,select")) return; // the slider moves itself
  event.preventDefault();
  go(state.step + step);
}

async function main() {
  index = await unpack("index");
  index.verbs = new Map(Object.entries(index.verbs)); // a kind may be any text
  index.worlds = new Map(Object.entries(index.worlds)); // and so may a world's name
  const side = sidebar();
  page.replaceChildren(side, stage);
  requestAnimationFrame(() => performance.mark("listed"));
  addEventListener("hashchange", follow);
  addEventListener("keydown", onkey);
  follow();
}

main();
