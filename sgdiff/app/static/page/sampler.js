// From noise to latents: DPM-Solver++ 2M with guidance, as in chapter 9 (`sgdiff.method.samplers`). The names are those of the
// chapter: a_t signal and b_t noise of a timestep, x the noisy latents, x0 the clean ones that the network believes in.

export class Schedule {
  constructor({ alphas_cumprod, prediction, shift }) {
    this.signal = alphas_cumprod.map(Math.sqrt); this.noise = alphas_cumprod.map(a => Math.sqrt(1 - a));
    this.prediction = prediction; this.shift = shift;
  }
  levels(t) { return t < 0 ? [1, 0] : [this.signal[t], this.noise[t]]; }        // -1 is clean
  x0(x, t, answer) {                                // the clean latents that an answer means
    const [a, b] = this.levels(t);
    return this.prediction === "eps" ? x.map((v, i) => (v - b * answer[i]) / a) : x.map((v, i) => a * v - b * answer[i]);
  }
}

export function angleTimesteps(schedule, n, power = 1.5) {          // n falling timesteps, then -1
  const angle = schedule.signal.map((a, t) => Math.atan2(schedule.noise[t], schedule.shift * a)), chosen = [];
  let before = angle.length;
  for (let k = n; k > 0; k--) {
    const wanted = Math.PI / 2 * (k / n) ** power;
    const nearest = angle.reduce((best, v, t) => Math.abs(v - wanted) < Math.abs(angle[best] - wanted) ? t : best, 0);
    chosen.push(before = Math.min(Math.max(nearest, k - 1), before - 1));       // room for the k - 1 that follow
  }
  return [...chosen, -1];
}

export function solverStep(schedule, x, x0, x0Before, [before, t, s]) {         // from timestep t to s
  const [at, bt] = schedule.levels(t), [as, bs] = schedule.levels(s), shrink = bs * at / (bt * as);
  let guess = x0;
  if (x0Before && shrink > 0) {
    const [a, b] = schedule.levels(before), ahead = Math.log(shrink) / (2 * Math.log(at * b / (bt * a)));
    guess = x0.map((v, i) => v - ahead * (v - x0Before[i]));
  }
  return x.map((v, i) => bs / bt * v + as * (1 - shrink) * guess[i]);
}

// denoise(x, t) -> answer; tell(step, x0) after each step may return false to stop. All are Float32Array.
export async function sample({ schedule, denoise, noise, steps, tell }) {
  const ts = angleTimesteps(schedule, steps);
  let x = noise, before = null;
  for (let i = 0; i < steps; i++) {
    const x0 = schedule.x0(x, ts[i], await denoise(x, ts[i]));
    x = solverStep(schedule, x, x0, before, [ts[Math.max(i - 1, 0)], ts[i], ts[i + 1]]);
    before = x0;
    if (await tell?.(i + 1, x0) === false) return null;
  }
  return x;
}

// Guidance: which conditions are asked, with which weight; what has none is not asked.
export function asked(guidance, relations) {
  return [["nothing", 1 - guidance], ["objects", -relations], ["graph", guidance + relations]].filter(([, weight]) => weight);
}

export function weighed(answers, weights) {         // answers of all conditions one after the other -> their weighted sum
  const n = answers.length / weights.length;
  return Float32Array.from({ length: n }, (_, i) => weights.reduce((sum, w, k) => sum + w * answers[k * n + i], 0));
}
