// The canvas: a fixed head with clock and phases, below it the lanes, of which only those in sight are drawn.
const ROW = 22, AXIS = 22, LEVEL = 20, SIGNS = { failed: "✗", missing: "?", lost: "■", late: "»", left: "«", pending: "…" };

class Canvas {
  constructor(canvas, model) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.model = model;
    this.cuts = new Map();
    this.levels = Math.min(3, model.phases.reduce((most, phase) => Math.max(most, phase[3] + 1), 0));
    this.head = AXIS + this.levels * LEVEL + 8;
  }

  resize(width, height) {
    const ratio = window.devicePixelRatio || 1;
    [this.width, this.height] = [width, height];
    [this.canvas.width, this.canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    this.canvas.style.height = `${height}px`;
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const font = "12px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif";
    if (font !== this.font || width !== this.measured) [this.font, this.measured, this.cuts] = [font, width, new Map()];
    this.left = Math.min(230, Math.max(110, width * 0.22));
  }

  x(moment) { return this.left + ((moment - this.span[0]) / (this.span[1] - this.span[0])) * (this.width - this.left); }
  moment(x) { return this.span[0] + ((x - this.left) / (this.width - this.left)) * (this.span[1] - this.span[0]); }
  lane(y, scroll) { return y < this.head ? -1 : Math.floor((y - this.head + scroll) / ROW); }

  cut(text, room) {
    const key = `${Math.floor(room)} ${text}`;
    if (!this.cuts.has(key)) {
      if (this.cuts.size > 5000) this.cuts.clear();
      let shown = text.length > 300 ? `${text.slice(0, 300)}…` : text;
      if (this.pen.measureText(shown).width > room) {
        let least = 0, most = shown.length;
        while (least < most) {
          const half = (least + most + 1) >> 1;
          if (this.pen.measureText(`${shown.slice(0, half)}…`).width <= room) least = half;
          else most = half - 1;
        }
        shown = least ? `${shown.slice(0, least)}…` : "";
      }
      this.cuts.set(key, shown);
    }
    return this.cuts.get(key);
  }

  draw({ lanes, span, scroll, chosen, hover, event, dark }) {
    const { pen } = this;
    const style = getComputedStyle(document.documentElement);
    [this.span, this.dark] = [span, dark];
    this.ink = Object.fromEntries(["ink", "soft", "paper", "line", "stripe", "accent"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    pen.font = this.font;
    pen.textBaseline = "middle";
    pen.fillStyle = this.ink.paper;
    pen.fillRect(0, 0, this.width, this.height);
    this.lanes(lanes, scroll, chosen, hover, event);
    this.header();
  }

  lanes(lanes, scroll, chosen, hover, event) {
    const { pen } = this;
    const first = Math.max(0, Math.floor(scroll / ROW)), last = Math.min(lanes.length, Math.ceil((scroll + this.height - this.head) / ROW));
    const top = (row) => this.head + row * ROW - scroll;
    for (let row = first; row < last; row += 1) {
      pen.fillStyle = row % 2 ? this.ink.paper : this.ink.stripe;
      pen.fillRect(0, top(row), this.width, ROW);
    }
    pen.save();
    pen.beginPath();
    pen.rect(this.left, this.head, this.width - this.left, this.height - this.head);
    pen.clip();
    this.bands(event);
    for (let row = first; row < last; row += 1) this.bars(lanes[row], top(row), chosen, hover);
    if (!lanes.length) this.text("nothing is left of what was asked for", (this.left + this.width) / 2, this.head + 20, this.ink.soft, "center");
    pen.restore();
    for (let row = first; row < last; row += 1) {
      const label = this.cut(lanes[row].label, this.left - 14);
      this.text(label, this.left - 8, top(row) + ROW / 2, this.ink.ink, "right");
    }
  }

  bands(event) {
    const { pen, model } = this;
    for (const round of model.rounds) {
      if (event && round.event !== event) continue;
      const end = round.ended === null ? (round.wait === null ? round.published : model.duration) : round.ended;
      const [from, to] = [this.x(round.published), this.x(end)];
      if (to < this.left || from > this.width) continue;
      pen.fillStyle = this.dark ? "#5aa5d62e" : "#0072b220";
      pen.fillRect(from, this.head, Math.max(1, to - from), this.height - this.head);
    }
  }

  bars(lane, top, chosen, hover) {
    const { pen, model } = this;
    const signs = [];
    for (const bar of lane.bars) {
      const from = this.x(bar.start), to = Math.max(this.x(bar.end), from + 2);
      if (to < this.left || from > this.width) continue;
      const isTrouble = model.troubles.has(bar.status);
      pen.globalAlpha = lane.members.length > 1 && !isTrouble ? 0.55 : 1;
      pen.fillStyle = model.statuses[bar.status][this.dark ? 1 : 0];
      pen.fillRect(from, top + 4, to - from, ROW - 8);
      pen.globalAlpha = 1;
      pen.fillStyle = this.ink.ink;
      for (const [at] of bar.progress) pen.fillRect(this.x(at), top + 6, 1.5, ROW - 12);
      if (SIGNS[bar.status]) signs.push([bar, to]);
      if (bar === chosen || bar === hover) {
        pen.strokeStyle = this.ink.ink;
        pen.lineWidth = bar === chosen ? 2 : 1;
        pen.strokeRect(from - 1.5, top + 2.5, to - from + 3, ROW - 5);
      }
    }
    for (const [bar, to] of signs) {
      pen.font = `bold ${this.font}`;
      this.text(SIGNS[bar.status], to + 3, top + ROW / 2, model.statuses[bar.status][this.dark ? 1 : 0], "left");
      pen.font = this.font;
    }
  }

  header() {
    const { pen, model } = this;
    pen.fillStyle = this.ink.paper;
    pen.fillRect(0, 0, this.width, this.head);
    pen.strokeStyle = this.ink.line;
    pen.lineWidth = 1;
    pen.strokeRect(-1, this.head - 0.5, this.width + 2, 0);
    this.axis();
    pen.save();
    pen.beginPath();
    pen.rect(this.left, 0, this.width - this.left, this.head);
    pen.clip();
    for (const [name, start, end, level] of model.phases) {
      if (level >= this.levels) continue;
      const from = Math.max(this.x(start), this.left - 4), to = Math.min(Math.max(this.x(end), this.x(start) + 2), this.width + 4);
      if (to < this.left || from > this.width) continue;
      const top = AXIS + level * LEVEL;
      pen.fillStyle = this.dark ? ["#2f6f9c", "#3d86b8", "#5aa5d6"][level] : ["#0072b2", "#3d8fc4", "#5aa5d6"][level];
      pen.fillRect(from, top + 2, to - from, LEVEL - 4);
      this.text(this.cut(name, to - from - 8), (from + to) / 2, top + LEVEL / 2, "#fff", "center");
    }
    for (const round of model.rounds) {
      const at = this.x(round.published);
      if (at < this.left || at > this.width) continue;
      pen.fillStyle = this.ink.accent;
      pen.beginPath();
      pen.moveTo(at - 3.5, this.head - 7);
      pen.lineTo(at + 3.5, this.head - 7);
      pen.lineTo(at, this.head - 1);
      pen.fill();
    }
    pen.restore();
    this.text(this.cut(model.exporter, this.left - 14), this.left - 8, AXIS + Math.max(1, this.levels) * LEVEL / 2, this.ink.ink, "right");
  }

  axis() {
    const { pen } = this;
    const step = niceStep((this.span[1] - this.span[0]) / Math.max(2, (this.width - this.left) / 110));
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    for (let tick = Math.ceil(this.span[0] / step); tick * step <= this.span[1]; tick += 1) {
      const at = this.x(tick * step);
      pen.fillStyle = this.ink.line;
      pen.fillRect(at, AXIS - 5, 1, this.head - AXIS + 5);
      this.text(`${(tick * step).toFixed(digits)} s`, at + 3, 10, this.ink.soft, "left");
    }
  }

  text(text, x, y, colour, align) {
    this.pen.fillStyle = colour;
    this.pen.textAlign = align;
    this.pen.fillText(text, x, y);
  }
}
