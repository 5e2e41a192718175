"use strict";
// What the page knows, and what of it is shown. Nothing here touches the page.

function modelOf(raw) {
  const rounds = raw.rounds.map(([event, name, tag, published, ended, wait, stragglers, cost, seq], number) =>
    ({ event, name, tag, published, ended, wait, stragglers, cost, seq, number, actions: [] }));
  const byResponder = raw.responders.map(() => []);
  for (const [who, round, status, start, end, response = null, message = null, progress = null, took = null] of raw.actions) {
    const action = { who, round, status, start, end, response, message, progress: progress || [], took };
    byResponder[who].push(action);
    rounds[round].actions.push(action);
  }
  byResponder.forEach((actions) => actions.sort((a, b) => a.start - b.start));
  const counts = {};
  for (const round of rounds) for (const action of round.actions) counts[action.status] = (counts[action.status] || 0) + 1;
  return { ...raw, rounds, byResponder, counts, troubles: new Set(raw.troubles), events: [...new Set(rounds.map((r) => r.event))] };
}

// The lanes that a filter leaves: {search, event, hidden: Set of statuses, together}.
function lanesOf(model, filter) {
  const wanted = filter.search.trim().toLowerCase();
  const isWanted = (who) => model.responders[who].toLowerCase().includes(wanted);
  const isShown = (action) => !filter.hidden.has(action.status) && (!filter.event || model.rounds[action.round].event === filter.event);
  const groups = filter.together
    ? model.groups.map(([label, members]) => ({ label, members: members.filter(isWanted) }))
    : model.responders.map((label, who) => ({ label, members: isWanted(who) ? [who] : [] }));
  const lanes = groups
    .filter((group) => group.members.length)
    .map((group) => ({ ...group, bars: group.members.flatMap((who) => model.byResponder[who].filter(isShown)) }));
  lanes.forEach((lane) => lane.members.length > 1 && lane.bars.sort((a, b) => a.start - b.start));
  return filter.hidden.size || filter.event ? lanes.filter((lane) => lane.bars.length) : lanes;
}

function seconds(value) {
  const digits = (number) => (number < 9.995 ? number.toFixed(2) : number < 99.95 ? number.toFixed(1) : number.toFixed(0));
  if (value < 0.9995e-3) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 0.9995) return `${digits(value * 1e3)} ms`;
  if (value < 99.95) return `${digits(value)} s`;
  const whole = Math.round(value);
  if (value < 3599.5) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  const minutes = Math.round(value / 60);
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

// 1, 2 or 5 times a power of ten: the first that is as much.
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least * (1 - 1e-9));
}

// A part of the run: zoomed by a factor around a moment, never beyond the run, and never to nothing.
function zoomed(model, span, factor, around) {
  const whole = wholeOf(model);
  const length = Math.min(whole[1] - whole[0], Math.max(1e-5, (span[1] - span[0]) * factor));
  return moved(model, [around - ((around - span[0]) / (span[1] - span[0])) * length, 0], 0, length);
}

function moved(model, span, by, length = span[1] - span[0]) {
  const whole = wholeOf(model);
  const start = Math.min(Math.max(span[0] + by, whole[0]), Math.max(whole[0], whole[1] - length));
  return [start, start + length];
}

function wholeOf(model) {
  const margin = Math.max((model.end - model.start) * 0.01, 1e-5);
  return [model.start - margin, model.end + margin];
}

// The bar of a lane that is at a moment, or else the nearest within reach.
function barAt(lane, moment, reach) {
  let best = null, nearest = reach;
  for (const bar of lane.bars) {
    const distance = Math.max(bar.start - moment, moment - bar.end, 0);
    if (distance < nearest || (distance === nearest && best && bar.end - bar.start < best.end - best.start)) [best, nearest] = [bar, distance];
  }
  return best;
}

function told(model, action) {
  const round = model.rounds[action.round];
  const lines = [`${model.responders[action.who]}: ${action.status}`, `${round.name}${round.tag && round.tag !== "No tag specified" ? `, tag ${round.tag}` : ""}`];
  lines.push(`published at ${round.published.toFixed(6)} s`);
  if (action.start > round.published) lines.push(`received ${seconds(action.start - round.published)} later`);
  if (action.response !== null) lines.push(`answered ${seconds(action.response)} after publication`);
  else lines.push(`no answer after ${seconds(Math.max(0, action.end - round.published))}`);
  if (action.took !== null) lines.push(`took ${seconds(action.took)} by its own clock`);
  if (round.stragglers.includes(action.who) && round.cost > 0) lines.push(`kept the others waiting for ${seconds(round.cost)}`);
  for (const [at, text] of action.progress) lines.push(`working, ${seconds(at - round.published)} in${text ? `: ${text}` : ""}`);
  if (action.message) lines.push(`“${action.message}”`);
  return lines;
}

function outcomes(model, round) {
  const counts = {};
  for (const action of round.actions) counts[action.status] = (counts[action.status] || 0) + 1;
  return Object.keys(model.statuses).filter((status) => counts[status]).map((status) => `${counts[status]} ${status}`).join(", ");
}

function responses(round) {
  return round.actions.filter((a) => a.response !== null && a.status !== "late").map((a) => a.response).sort((a, b) => a - b);
}
