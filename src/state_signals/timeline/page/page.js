// What people do with the page.
(() => {
  const byId = (id) => document.getElementById(id);
  const model = modelOf(JSON.parse(byId("data").textContent));
  const stage = byId("stage"), element = byId("plot"), tip = byId("tip");
  const canvas = new Canvas(element, model);
  const spacer = stage.appendChild(document.createElement("div"));
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  const filter = { search: "", event: "", hidden: new Set(), together: model.groups.length < model.responders.length };
  let lanes = [], span = wholeOf(model), chosen = null, hover = null, isAsked = false;

  const make = (name, text, more = {}) => Object.assign(document.createElement(name), { textContent: text }, more);

  // Drawing

  function refresh() {
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(() => {
      isAsked = false;
      canvas.draw({ lanes, span, scroll: stage.scrollTop, chosen, hover, event: filter.event, dark: scheme.matches });
    });
  }

  function layout() {
    const content = canvas.head + Math.max(2, lanes.length) * ROW;
    const height = Math.min(content, Math.max(160, Math.round(window.innerHeight * 0.7)));
    canvas.resize(stage.clientWidth, height);
    spacer.style.height = `${content - height}px`;
    canvas.span = span;
    refresh();
  }

  function applyFilter() {
    lanes = lanesOf(model, filter);
    if (chosen && !lanes.some((lane) => lane.bars.includes(chosen))) chosen = null;
    byId("event").value = filter.event;
    byId("together").checked = filter.together;
    for (const button of byId("statuses").children) button.setAttribute("aria-pressed", String(!filter.hidden.has(button.dataset.status)));
    for (const row of byId("rounds").tBodies[0].rows) row.hidden = Boolean(filter.event) && row.dataset.event !== filter.event;
    layout();
  }

  function show(next) {
    span = canvas.span = next;
    refresh();
  }

  function showRound(round) {
    const ends = round.actions.map((action) => action.end);
    const end = Math.max(round.published, round.ended === null ? round.published : round.ended, ...ends);
    const margin = Math.max((end - round.published) * 0.15, 1e-4);
    const whole = wholeOf(model);
    show([Math.max(whole[0], round.published - margin), Math.min(whole[1], end + margin)]);
  }

  function filterEvent(event) {
    filter.event = filter.event === event ? "" : event;
    applyFilter();
    say(filter.event ? `Only ${event} is shown.` : "All events are shown.");
  }

  function showAll() {
    Object.assign(filter, { search: "", event: "" });
    filter.hidden.clear();
    byId("search").value = "";
    chosen = null;
    show(wholeOf(model));
    applyFilter();
    say("");
  }

  function say(text) { byId("said").textContent = text; }

  // Choosing with the keyboard

  function choose(action, row) {
    if (!action) return;
    chosen = action;
    const top = row * ROW, room = canvas.height - canvas.head;
    if (top < stage.scrollTop) stage.scrollTop = top;
    else if (top + ROW > stage.scrollTop + room) stage.scrollTop = top + ROW - room;
    if (action.end < span[0] || action.start > span[1]) show(moved(model, span, (action.start + action.end) / 2 - (span[0] + span[1]) / 2));
    say(told(model, action).join("; "));
    refresh();
  }

  function step(rows, columns) {
    const row = lanes.findIndex((lane) => lane.bars.includes(chosen));
    if (row < 0) return choose(lanes.length ? barAt(lanes[0], span[0], Infinity) : null, 0);
    if (columns) return choose(lanes[row].bars[lanes[row].bars.indexOf(chosen) + columns], row);
    for (let next = row + rows; next >= 0 && next < lanes.length; next += rows)
      if (lanes[next].bars.length) return choose(lanes[next].bars.find((bar) => bar.round === chosen.round) || barAt(lanes[next], chosen.start, Infinity), next);
    return undefined;
  }

  const middle = () => (span[0] + span[1]) / 2, length = () => span[1] - span[0];
  const keys = {
    ArrowLeft: () => step(0, -1), ArrowRight: () => step(0, 1), ArrowUp: () => step(-1, 0), ArrowDown: () => step(1, 0),
    "+": () => show(zoomed(model, span, 0.5, chosen ? chosen.start : middle())), "-": () => show(zoomed(model, span, 2, middle())),
    a: () => show(moved(model, span, -length() / 4)), d: () => show(moved(model, span, length() / 4)),
    z: () => chosen && showRound(model.rounds[chosen.round]), 0: () => show(wholeOf(model)), Escape: showAll,
    Enter: () => chosen && filterEvent(model.rounds[chosen.round].event), "/": () => byId("search").focus(),
  };
  keys["="] = keys["+"];
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  // Pointing

  function pointed(event) {
    const box = element.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    if (x < canvas.left) return { x };
    const reach = (canvas.moment(x + 6) - canvas.moment(x)) || 0, moment = canvas.moment(x), row = canvas.lane(y, stage.scrollTop);
    if (row >= 0) return { x, action: row < lanes.length ? barAt(lanes[row], moment, reach) : null };
    const near = model.rounds.filter((round) => Math.abs(round.published - moment) <= reach);
    return { x, round: near.sort((a, b) => Math.abs(a.published - moment) - Math.abs(b.published - moment))[0] };
  }

  function point(event) {
    const { action, round } = pointed(event);
    hover = action || null;
    const lines = action ? told(model, action) : round ? [round.name, `published at ${round.published.toFixed(6)} s`, outcomes(model, round) || "nobody answered"] : [];
    tip.hidden = !lines.length;
    tip.textContent = lines.join("\n");
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, event.clientY + 18 + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 10 : event.clientY + 18)}px`;
    element.style.cursor = action || round ? "pointer" : "";
    refresh();
  }

  let drag = null;
  element.addEventListener("pointerdown", (event) => {
    if (event.button === 0) drag = { x: event.clientX, y: event.clientY, span, scroll: stage.scrollTop, hasMoved: false };
  });
  element.addEventListener("pointermove", (event) => {
    if (!drag) return point(event);
    const by = event.clientX - drag.x;
    if (!drag.hasMoved && Math.hypot(by, event.clientY - drag.y) < 4) return undefined;
    if (!drag.hasMoved) element.setPointerCapture(event.pointerId);
    drag.hasMoved = true;
    tip.hidden = true;
    element.classList.add("grabbed");
    if (event.pointerType === "mouse") stage.scrollTop = drag.scroll - (event.clientY - drag.y);
    return show(moved(model, drag.span, (-by / (canvas.width - canvas.left)) * (drag.span[1] - drag.span[0])));
  });
  element.addEventListener("pointerup", (event) => {
    element.classList.remove("grabbed");
    const isClick = drag && !drag.hasMoved;
    drag = null;
    if (!isClick) return;
    const { action, round } = pointed(event);
    if (action) chosen = action;
    if (action || round) filterEvent((round || model.rounds[action.round]).event);
  });
  element.addEventListener("pointercancel", () => { drag = null; element.classList.remove("grabbed"); });
  element.addEventListener("pointerleave", () => { hover = null; tip.hidden = true; refresh(); });
  element.addEventListener("wheel", (event) => {
    const { x } = pointed(event);
    if (x < canvas.left) return;
    tip.hidden = true;
    event.preventDefault();
    const amount = event.deltaY || event.deltaX;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) show(moved(model, span, Math.sign(amount) * length() * 0.1));
    else show(zoomed(model, span, 1.2 ** Math.sign(amount), canvas.moment(x)));
  }, { passive: false });

  // What stands around it

  function fillControls() {
    for (const event of model.events) byId("event").append(make("option", event, { value: event }));
    for (const [status, colours] of Object.entries(model.statuses)) {
      if (!model.counts[status]) continue;
      const button = make("button", "", { type: "button" });
      button.dataset.status = status;
      const patch = document.createElement("i");
      const paint = () => { patch.style.background = colours[scheme.matches ? 1 : 0]; };
      paint();
      scheme.addEventListener("change", paint);
      button.append(patch, `${SIGNS[status] ? `${SIGNS[status]} ` : ""}${status} (${model.counts[status].toLocaleString("en")})`);
      button.addEventListener("click", () => {
        if (!filter.hidden.delete(status)) filter.hidden.add(status);
        applyFilter();
      });
      byId("statuses").append(button);
    }
    byId("together").parentElement.hidden = model.groups.length >= model.responders.length;
    byId("search").addEventListener("input", () => { filter.search = byId("search").value; applyFilter(); });
    byId("event").addEventListener("change", () => { filter.event = byId("event").value; applyFilter(); });
    byId("together").addEventListener("change", () => { filter.together = byId("together").checked; stage.scrollTop = 0; applyFilter(); });
    byId("reset").addEventListener("click", showAll);
    byId("help").addEventListener("click", () => {
      byId("keys").hidden = !byId("keys").hidden;
      byId("help").setAttribute("aria-expanded", String(!byId("keys").hidden));
    });
    for (const note of model.notes) byId("notes").append(make("li", note));
    if (!model.notes.length) byId("notes").replaceWith(make("p", "Nothing went wrong, and nobody kept others waiting for long."));
  }

  function fillRounds() {
    const body = byId("rounds").tBodies[0];
    for (const round of model.rounds) {
      const row = body.insertRow();
      const found = responses(round);
      const half = found.length >> 1, median = found.length ? (found.length % 2 ? found[half] : (found[half - 1] + found[half]) / 2) : null;
      const late = round.stragglers.slice(0, 3).map((who) => model.responders[who]).join(", ");
      const cells = [`${round.published.toFixed(3)} s`, round.name, outcomes(model, round) || "nobody", median === null ? "" : seconds(median),
        found.length ? seconds(found.at(-1)) : "", round.wait === null ? "not" : round.ended === null ? "open" : seconds(round.ended - round.published),
        late ? `${late}${round.stragglers.length > 3 ? ` and ${round.stragglers.length - 3} others` : ""}, ${seconds(round.cost)}` : ""];
      for (const cell of cells) row.insertCell().textContent = cell;
      row.dataset.event = round.event;
      row.tabIndex = 0;
      row.title = "Zoom to this round";
      if (round.actions.some((action) => model.troubles.has(action.status))) row.className = "trouble";
      const go = () => { showRound(round); element.scrollIntoView({ block: "nearest" }); };
      row.addEventListener("click", go);
      row.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
    }
  }

  stage.addEventListener("scroll", refresh);
  scheme.addEventListener("change", refresh);
  new ResizeObserver(layout).observe(stage);
  window.addEventListener("resize", layout);
  fillControls();
  fillRounds();
  applyFilter();
})();
