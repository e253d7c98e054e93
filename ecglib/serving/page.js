"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const { beats, classes, seconds, rate } = data;
const HTML = "http://www.w3.org/1999/xhtml", SVG = "http://www.w3.org/2000/svg";
const MM = 4, GUTTER = 12 * MM, LANE = 10 * MM, AXIS = 5 * MM; // pixels of the page
const SPEEDS = [2.5, 5, 12.5, 25, 50, 100], SLOWEST = 2, FASTEST = 200; // mm/s
const STEPS = [0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800];
const view = { start: 0, speed: 25, gain: 10, leads: data.leads };
const ectopic = classes.filter((name) => name !== "N");
let cursor = -1, chosen = -1, notice = ""; // seconds from where a next beat is looked for, the beat gone to, what is said

function add(parent, name, attributes = {}, text = null) {
  const element = document.createElementNS(parent.namespaceURI === SVG || name === "svg" ? SVG : HTML, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return parent.appendChild(element);
}

const is = (name) => (i) => name === "unsure" ? beats.unsure[i] === 1 : classes[beats.class[i]] === name;
const clamp = (value, low, high) => Math.max(low, Math.min(value, high));

function clock(time, digits = 0) {
  const tens = 10 ** digits, all = Math.round(time * tens), whole = Math.floor(all / tens);
  const two = (n) => String(n).padStart(2, "0"), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const rest = digits ? "." + String(all % tens).padStart(digits, "0") : "";
  return (hours ? `${hours}:${two(minutes)}` : minutes) + ":" + two(whole % 60) + rest;
}

/** The first beat at or after a time. */
function beatAt(time) {
  let low = 0, high = beats.at.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (beats.at[middle] < time) low = middle + 1; else high = middle;
  }
  return low;
}

/** A line through points first to last, broken where y is null; where many share a column, their lowest and highest. */
function line(first, last, x, y) {
  const dense = last - first > 4 * (x(last - 1) - x(first));
  let d = "", pen = "M", column = null, low = 0, high = 0;
  const draw = (px, py) => { d += `${pen}${px.toFixed(1)} ${py.toFixed(1)}`; pen = "L"; };
  const flush = () => { if (column !== null) { draw(column, low); if (high > low) draw(column, high); column = null; } };
  for (let i = first; i < last; i++) {
    const value = y(i), at = dense ? Math.round(x(i)) : x(i);
    if (value === null) { flush(); pen = "M"; }
    else if (!dense) draw(at, value);
    else if (at === column) { low = Math.min(low, value); high = Math.max(high, value); }
    else { flush(); column = at; low = high = value; }
  }
  flush();
  return d;
}

function ticks(svg, start, end, perSecond, x, y, width) {
  const step = STEPS.find((s) => s * perSecond >= 70) || 86400, digits = step < 1 ? 1 : 0;
  for (let k = Math.ceil(start / step); k * step <= end; k++)
    if (x(k * step) > GUTTER + 16 && x(k * step) < width - 18) add(svg, "text", { x: x(k * step), y, class: "middle" }, clock(k * step, digits));
}

function grid(svg, x0, y0, width, height, offset) {
  add(svg, "rect", { x: x0, y: y0, width, height, class: "paper" });
  for (const [name, step] of [["fine", MM], ["coarse", 5 * MM]]) {
    let d = "";
    for (let x = Math.ceil(-offset / step) * step + offset; x <= width; x += step) d += `M${x0 + x + 0.5} ${y0}v${height}`;
    for (let y = 0; y <= height; y += step) d += `M${x0} ${y0 + y + 0.5}h${width}`;
    add(svg, "path", { d, class: name });
  }
}

/** Of a lead's row its height and where its zero line is, in whole squares of 5 mm that hold all but its rarest values. */
function place(lead, gain) {
  const square = 5 * MM, squares = (mv, least) => clamp(Math.ceil((mv * gain + 2) / 5), least, 8);
  const [below, above] = [squares(-lead.span[0], data.leads.length > 3 ? 1 : 2), squares(lead.span[1], gain / 5)]; // room for the pulse
  return { height: (below + above) * square, zero: above * square };
}

/** A strip of ECG paper from a time on: 1 mm is MM pixels. */
function drawStrip(svg, { start, speed, gain, leads }, width) {
  const perSecond = speed * MM, w = width - GUTTER, places = leads.map((lead) => place(lead, gain));
  const rows = places.reduce((sum, { height }) => sum + height, 0);
  const end = start + w / perSecond, x = (time) => GUTTER + (time - start) * perSecond;
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${LANE + rows + AXIS}`);
  grid(svg, 0, LANE, GUTTER, rows, 0);
  grid(svg, GUTTER, LANE, w, rows, -(Math.round(start * perSecond) % (5 * MM)));
  const inside = add(svg, "svg", { x: GUTTER, y: LANE, width: w, height: rows });
  const lane = add(svg, "svg", { x: GUTTER, y: 0, width: w, height: LANE });
  for (let i = beatAt(start - 1); i < beats.at.length && beats.at[i] <= end + 1; i++) drawBeat(lane, inside, i, x, rows, perSecond);
  for (const time of data.others.filter((time) => time > start && time < end))
    add(add(lane, "text", { x: x(time) - GUTTER, y: 18, class: "other middle" }, "?"), "title", {}, "not classified");
  let top = 0;
  leads.forEach((lead, k) => {
    const middle = top + places[k].zero, scale = gain * MM * data.step, first = Math.max(0, Math.floor(start * rate) - 1);
    const last = Math.min(lead.steps.length, Math.ceil(end * rate) + 2);
    const y = (i) => lead.steps[i] === -32768 ? null : middle - lead.steps[i] * scale;
    if (lead.recorded && last > first) add(inside, "path", { d: line(first, last, (i) => x(i / rate) - GUTTER, y), class: "trace" });
    const pulse = `M${MM} ${LANE + middle}h${2 * MM}v${-gain * MM}h${5 * MM}v${gain * MM}h${2 * MM}`; // 1 mV, 5 mm wide
    add(svg, "path", { d: pulse, class: "pulse" });
    const name = add(svg, "text", { x: GUTTER + 5, y: LANE + top + 14, class: "lead" }, lead.name + (lead.recorded ? "" : " not recorded"));
    if (lead.used && data.leads.length > 1) add(name, "title", {}, "read by the model");
    top += places[k].height;
  });
  ticks(svg, start, Math.min(end, seconds), perSecond, x, LANE + rows + 14, width);
  return end;
}

function drawBeat(lane, inside, i, x, rows, perSecond) {
  const name = classes[beats.class[i]], at = x(beats.at[i]) - GUTTER, sure = beats.sure[i];
  const room = Math.min(at - x(beats.at[i - 1] ?? -9) + GUTTER, x(beats.at[i + 1] ?? Infinity) - GUTTER - at);
  const style = { "data-class": name };
  if (name !== "N") add(inside, "rect", { ...style, x: at - 0.09 * perSecond, y: 0, width: 0.2 * perSecond, height: rows, class: "band" });
  if (i === chosen) add(inside, "path", { ...style, d: `M${at} 0v${rows}`, class: "picked" });
  if (room < 11) return void add(lane, "path", { ...style, d: `M${at} 12v${name === "N" ? 4 : 12}`, class: "tick" });
  if (i === chosen) add(lane, "rect", { ...style, x: at - 9, y: 4, width: 18, height: 18, rx: 4, class: "chosen" });
  const text = add(lane, "text", { ...style, x: at, y: 18, class: "beat" }, name);
  add(text, "title", {}, `${name}, ${sure} %`);
  if (beats.unsure[i] && room >= 27) add(lane, "text", { x: at, y: 34, class: "unsure" }, `${sure} %`);
}

/** The whole recording: heart rate, gaps, and a lane of ticks for each ectopic class and for unsure beats. */
function drawTrend(svg, width) {
  const lanes = [...ectopic.filter((name) => beats.class.includes(classes.indexOf(name))), "unsure"];
  const top = 12, high = 150, bottom = top + high, height = bottom + 14 + 16 * lanes.length + 24;
  const x = (time) => GUTTER + (time / seconds) * (width - GUTTER - 14), known = beats.rate.filter((r) => r !== null);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const low = known.reduce((a, b) => Math.min(a, b), 300), most = known.reduce((a, b) => Math.max(a, b), 0);
  const from = Math.floor(Math.min(low, 200) / 20) * 20, to = Math.max(from + 60, Math.ceil(most / 20) * 20);
  const y = (r) => bottom - ((r - from) / (to - from)) * high;
  for (let r = from; r <= to; r += to - from > 120 ? 40 : 20) {
    add(svg, "path", { d: `M${GUTTER} ${Math.round(y(r)) + 0.5}H${width - 14}`, class: "rule" });
    add(svg, "text", { x: GUTTER - 8, y: y(r) + 4, class: "right" }, r);
  }
  for (const { kind, start, end, text } of data.events) {
    if (kind !== "no beats") continue;
    const shade = { x: x(start), y: top, width: Math.max(1, x(end) - x(start)), height: height - top - 24, class: "gap" };
    add(add(svg, "rect", shade), "title", {}, text);
  }
  const rateAt = (i) => beats.rate[i] === null ? null : y(beats.rate[i]);
  if (known.length) add(svg, "path", { d: line(0, beats.at.length, (i) => x(beats.at[i]), rateAt), class: "rate" });
  else add(svg, "text", { x: GUTTER + 8, y: top + high / 2 }, "no heart rate");
  lanes.forEach((name, k) => {
    const base = bottom + 14 + 16 * k, marked = beats.at.filter((_, i) => is(name)(i));
    const columns = new Set(marked.map((time) => Math.round(2 * x(time)) / 2));
    add(svg, "text", { x: GUTTER - 8, y: base + 11, class: "right" }, name);
    add(svg, "path", { d: [...columns].map((px) => `M${px} ${base + 2}v11`).join(""), class: "tick", "data-class": name });
  });
  ticks(svg, 0, seconds, (width - GUTTER) / seconds, x, height - 8, width);
  const range = known.length ? `${Math.round(low)} to ${Math.round(most)} a minute` : "not known";
  svg.setAttribute("aria-label", `Heart rate over ${clock(seconds)}: ${range}. Ectopic beats are marked below it.`);
  return add(svg, "rect", { y: top, height: height - top - 24, class: "window" });
}

// --- what is shown, and moving there ----------------------------------------------------------------------------------

const strip = $("strip"), trend = $("trend");
const width = () => Math.max(strip.clientWidth, 240), visible = () => (width() - GUTTER) / (view.speed * MM);
const timeAt = (px) => view.start + (px - GUTTER) / (view.speed * MM);
let marker = null, waiting = 0, speaking = 0;

function show(start = view.start) {
  const fine = view.speed * MM; // whole pixels, so that the grid stays sharp
  view.start = clamp(Math.round(start * fine) / fine, 0, Math.max(0, seconds - visible()));
  waiting ||= requestAnimationFrame(render);
}

function render() {
  waiting = 0;
  const end = Math.min(drawStrip(strip, view, width()), seconds), whole = trend.clientWidth - GUTTER - 14;
  $("speed").textContent = `${+view.speed.toFixed(1)} mm/s`;
  marker.setAttribute("x", GUTTER + (view.start / seconds) * whole);
  marker.setAttribute("width", Math.max(3, ((end - view.start) / seconds) * whole));
  clearTimeout(speaking);
  speaking = setTimeout(() => say(end), 200);
}

function say(end) {
  const name = classes[beats.class[chosen]];
  const which = chosen < 0 ? "" : ` · ${name} at ${clock(beats.at[chosen], 1)}, ${beats.sure[chosen]} % sure`;
  $("where").textContent = `${clock(view.start, 1)} to ${clock(end, 1)} of ${clock(seconds)}${which}${notice}`;
}

function move(start, from = null, beat = -1, said = "") {
  [cursor, chosen, notice] = [from, beat, said];
  show(start);
}

const pan = (by) => move(view.start + by);
const go = (time, beat = -1) => move(time - visible() / 2, time, beat);

/** Zoom about a place of the strip, by default the beat that was gone to or the middle. */
function zoom(speed, px = null) {
  const middle = cursor !== null && cursor >= 0 ? GUTTER + (cursor - view.start) * view.speed * MM : (width() + GUTTER) / 2;
  const at = px ?? clamp(middle, GUTTER, width()), time = timeAt(at);
  view.speed = clamp(speed, SLOWEST, FASTEST);
  show(time - (at - GUTTER) / (view.speed * MM));
}

function zoomStep(sign) {
  const next = sign > 0 ? SPEEDS.find((s) => s > view.speed * 1.01) : SPEEDS.findLast((s) => s < view.speed / 1.01);
  if (next) zoom(next);
}

function step(name, sign) {
  const from = cursor ?? view.start + visible() / 2, wanted = is(name);
  let i = sign > 0 ? beatAt(from + 0.001) : beatAt(from - 0.001) - 1;
  while (i >= 0 && i < beats.at.length && !wanted(i)) i += sign;
  if (i >= 0 && i < beats.at.length) go(beats.at[i], i);
  else move(view.start, cursor, chosen, ` · no ${sign > 0 ? "further" : "earlier"} ${name} beat`);
}

// --- controls ---------------------------------------------------------------------------------------------------------

const moves = {
  ArrowRight: () => pan(visible() / 5), ArrowLeft: () => pan(-visible() / 5), PageDown: () => pan(visible()), PageUp: () => pan(-visible()),
  Home: () => move(0, -1), End: () => move(seconds, seconds + 1),
  "+": () => zoomStep(1), "=": () => zoomStep(1), "-": () => zoomStep(-1),
};

function controls() {
  for (const name of [...ectopic, "unsure"]) {
    const n = beats.at.filter((_, i) => is(name)(i)).length, key = name[0].toLowerCase();
    if (!n && !["S", "V", "unsure"].includes(name)) continue;
    const pair = add($("jumps"), "div", { class: "pair", role: "group", "aria-label": `${name} beats`, "data-class": name });
    const back = add(pair, "button", { type: "button", "aria-label": `Previous ${name}`, title: `Shift+${key}` }, "‹");
    const next = add(pair, "button", { type: "button", title: key }, "Next ");
    add(next, "b", {}, name);
    add(next, "small", {}, ` ${n}`);
    [back.onclick, next.onclick] = [() => step(name, -1), () => step(name, 1)];
    back.disabled = next.disabled = !n;
    [moves[key], moves[key.toUpperCase()]] = [() => step(name, 1), () => step(name, -1)];
    $("letters").append(", ");
    add($("letters"), "kbd", {}, key);
    $("letters").append(` next ${name}`);
  }
  const every = data.leads.map((lead) => [lead.name, [lead]]), read = data.leads.filter((lead) => lead.used);
  const choices = [["all", data.leads], ...(read.length < every.length && read.length ? [["the model's", read]] : []), ...(every.length > 1 ? every : [])];
  choices.forEach(([name], i) => add($("leads"), "option", { value: i }, name));
  $("leads").onchange = () => { view.leads = choices[$("leads").value][1]; show(); };
  $("gain").onchange = () => { view.gain = +$("gain").value; show(); };
  $("slower").onclick = moves["-"];
  $("faster").onclick = moves["+"];
  addEventListener("keydown", (event) => {
    const target = event.target, page = target === document.body;
    if (event.ctrlKey || event.altKey || event.metaKey || target.tagName === "SELECT" || !(page || $("reader").contains(target))) return;
    if (!moves[event.key] || (page && event.key.length > 1 && !event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    moves[event.key]();
  });
}

function pointing() {
  const fingers = new Map(), mean = (xs) => xs.reduce((a, b) => a + b) / xs.length, spread = (xs) => Math.max(...xs) - Math.min(...xs);
  strip.onpointerdown = (event) => {
    if (event.button) return;
    strip.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event.clientX);
  };
  strip.onpointerup = strip.onpointercancel = (event) => fingers.delete(event.pointerId);
  strip.onpointermove = (event) => {
    if (!fingers.has(event.pointerId)) return;
    const before = [...fingers.values()];
    fingers.set(event.pointerId, event.clientX);
    const now = [...fingers.values()], left = strip.getBoundingClientRect().left;
    if (now.length > 1 && spread(before) > 8 && spread(now) > 8) zoom((view.speed * spread(now)) / spread(before), mean(before) - left);
    pan((mean(before) - mean(now)) / (view.speed * MM));
  };
  strip.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan((event.deltaX || event.deltaY) / (view.speed * MM));
    else zoom(view.speed * 1.002 ** -event.deltaY, event.clientX - strip.getBoundingClientRect().left);
  }, { passive: false });
  trend.onpointerdown = (event) => { trend.setPointerCapture(event.pointerId); trend.onpointermove(event); };
  trend.onpointermove = (event) => {
    if (!event.buttons) return;
    const box = trend.getBoundingClientRect(), perPixel = seconds / (box.width - GUTTER - 14);
    const time = clamp((event.clientX - box.left - GUTTER) * perPixel, 0, seconds);
    let near = -1; // an ectopic beat within three pixels is meant
    for (let i = beatAt(time - 3 * perPixel); beats.at[i] <= time + 3 * perPixel; i++)
      if (classes[beats.class[i]] !== "N" && (near < 0 || Math.abs(beats.at[i] - time) < Math.abs(beats.at[near] - time))) near = i;
    go(near < 0 ? time : beats.at[near], near);
  };
}

function listEvents() {
  for (const kind of new Set(data.events.map((event) => event.kind))) add($("kind"), "option", {}, kind);
  const rows = data.events.map((event) => {
    const row = add($("rows"), "tr"), time = clock(event.start, 1);
    add(add(row, "td"), "button", { type: "button", "aria-label": `${event.kind} at ${time}, go there` }, time);
    add(row, "td", {}, event.kind);
    add(row, "td", {}, `${(event.end - event.start).toFixed(1)} s`);
    add(row, "td", {}, event.text);
    row.onclick = () => {
      go(Math.min((event.start + event.end) / 2, event.start + visible() / 2 - 0.5));
      strip.focus({ preventScroll: true });
      $("reader").scrollIntoView({ block: "nearest" });
    };
    return row;
  });
  if (!rows.length) add(add($("rows"), "tr"), "td", { colspan: 4 }, "none");
  $("kind").onchange = () => rows.forEach((row, i) => { row.hidden = $("kind").value !== "" && $("kind").value !== data.events[i].kind; });
}

/** For paper 180 mm wide: the strip on the screen, and of each kind of event the longest. */
function forPrint() {
  const paper = 180 * MM, strips = [["as on the screen", view.start]], long = new Map();
  for (const event of data.events)
    if (!long.has(event.kind) || event.end - event.start > long.get(event.kind).end - long.get(event.kind).start) long.set(event.kind, event);
  for (const event of long.values()) strips.push([`${event.kind}: ${event.text}`, event.start - 0.6]);
  $("printed").replaceChildren();
  strips.forEach(([what, from], k) => {
    const start = clamp(from, 0, Math.max(0, seconds - 6)), figure = add($("printed"), "figure"), shown = k ? { ...view, speed: 25, gain: 10 } : view;
    add(figure, "figcaption", {}, `${clock(start, 1)} · ${what} · ${+shown.speed.toFixed(1)} mm/s, ${shown.gain} mm/mV`);
    drawStrip(add(figure, "svg", { class: "ecg" }), { ...shown, start: Math.round(start * shown.speed * MM) / (shown.speed * MM) }, paper);
  });
  drawTrend(trend, paper);
}

const redraw = () => { marker = drawTrend(trend, Math.max(trend.clientWidth, 240)); show(); };

async function unpack(lead) {
  const bytes = Uint8Array.from(atob(lead.data), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer()), n = raw.length / 2;
  lead.steps = new Int16Array(n); // from zigzag differences, all low bytes before all high ones
  for (let i = 0, sum = 0; i < n; i++) {
    const change = raw[i] | (raw[n + i] << 8);
    lead.steps[i] = sum += (change >>> 1) ^ -(change & 1);
    sum = lead.steps[i];
  }
  delete lead.data;
}

async function begin() {
  document.title = `${data.record} · annotated ECG`;
  $("record").textContent = data.record;
  for (const [name, value] of data.facts) {
    const fact = add($("facts"), "div", { class: value.length > 90 ? "wide" : value.length > 30 ? "double" : "" });
    add(fact, "dt", {}, name);
    add(fact, "dd", {}, value);
  }
  for (const [name, value, unit, detail] of data.tiles) {
    const tile = add($("tiles"), "div");
    add(tile, "dt", {}, name);
    add(add(tile, "dd", {}, value), "small", {}, unit);
    add(tile, "dd", {}, detail);
  }
  for (const text of data.made) add($("made"), "li", {}, text);
  await Promise.all(data.leads.map(unpack));
  controls();
  listEvents();
  pointing();
  new ResizeObserver(redraw).observe(strip);
  redraw();
  addEventListener("beforeprint", forPrint);
  addEventListener("afterprint", redraw);
}

begin().catch((error) => {
  $("broken").hidden = false;
  $("broken").textContent = `The signal can't be shown here (${error}). It takes a browser of 2023 or later.`;
  throw error;
});
