// Who draws. The processor begins. Where there is a graphics card, a second worker draws there what the processor has drawn,
// while nobody waits; it takes over if its pictures are the same and came sooner. If it fails later, by an error or by silence,
// the processor draws again, beginning with the wish that is open. To the page all of it is one worker.

function same(some, others) {                       // pictures of bytes: within 2 of 255 on 99 of 100 pixels of each
  return some.every((bytes, k) => {
    const far = bytes.map((v, i) => Math.abs(v - others[k][i]) > 2), pixels = bytes.length / 4;
    let apart = 0;
    for (let i = 0; i < pixels; i++) apart += far[4 * i] | far[4 * i + 1] | far[4 * i + 2];
    return apart <= pixels / 100;
  });
}

export class Drawer {
  // make(name) -> Worker; patience: ms of silence that are a failure of the card; idle: ms without a wish before it is tried
  constructor(make, patience = 15_000, idle = 1_000) {
    Object.assign(this, { make, patience, idle, onCard: false, card: null, drawn: 0, open: null, rival: null, trial: null });
    this.worker = this.start("processor");
  }

  start(name) {
    const worker = this.make(name);
    worker.onmessage = ({ data }) => { if (worker === this.worker) this.hear(data); else if (worker === this.rival) this.compare(data); };
    worker.onerror = event => { if (worker === this.rival) this.dismiss(); else if (worker === this.worker) this.onCard ? this.back() : this.onerror(event); };
    return worker;
  }

  after(ms, act) { clearTimeout(this.clock); if (act) this.clock = setTimeout(act, ms); }        // of all that is waited for, only the last

  postMessage(wish) {                               // { draw } or { cancel }, as worker.js takes them
    this.open = wish.draw ? wish : null;
    if (this.trial) this.rival.postMessage({ cancel: true });
    this.trial = null;
    this.worker.postMessage(wish);
    this.watch();
  }

  watch() { this.after(this.patience, this.onCard && this.open && (() => this.back())); }

  hear(data) {                                      // from the worker that draws
    if (this.onCard && data.failed !== undefined) return this.back();
    if (data.ready) this.card ??= data.card;        // whether there is one to be tried
    const wish = this.open, done = data.last && data.id === wish?.draw.id;
    if (done) { this.open = null; this.drawn += 1; }
    if (this.onCard) this.watch();
    this.onmessage({ data });
    if (done && this.card && this.drawn > 1 && !this.open) this.after(this.idle, () => this.compete(wish, data));        // who draws but one needs no faster one
  }

  compete(wish, { drawn, seconds }) {
    this.rival ??= this.start("card");
    this.trial = { wish, drawn, seconds, warm: false };
    this.ask();
  }
  ask() { this.rival.postMessage(this.trial.wish); this.after(this.patience, () => this.dismiss()); }

  compare(data) {                                   // from the worker on trial, which draws twice: the card's programs are made on the way
    if (data.failed !== undefined) return this.dismiss();
    if (!this.trial) return;
    this.after(this.patience, () => this.dismiss());
    const { wish, drawn, seconds, warm } = this.trial;
    if (!data.last || data.id !== wish.draw.id) return;
    if (!same(drawn, data.drawn)) return this.dismiss();
    if (!warm) { this.trial.warm = true; return this.ask(); }
    if (data.seconds >= seconds) return this.dismiss();
    this.worker.terminate();
    Object.assign(this, { worker: this.rival, rival: null, trial: null, card: false, onCard: true });
    this.after();
  }

  dismiss() {                                       // the card has had its chance, in this tab
    this.rival.terminate();
    Object.assign(this, { rival: null, trial: null, card: false });
    this.after();
  }

  back() {
    this.worker.terminate();
    this.onCard = false;
    this.worker = this.start("processor");
    this.after();
    if (this.open) this.worker.postMessage(this.open);
  }
}
