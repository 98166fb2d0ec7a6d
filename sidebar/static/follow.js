// Which customer's chat is open, and that customer on the page. The client tells nobody that the chat was switched, so
// it is asked again and again. An answer for a customer who is not open any more is dropped.

import { Failure } from './failures.js';

const CHAT_MILLISECONDS = 2000;
const CUSTOMER_SECONDS = 5;
const MISSES = 3;
const READING_TRIES = 5;
// These may pass by themselves, and asking again costs the platform nothing.
const PASSING = ['network', 'unavailable', 'database'];
const RETRY_SECONDS = [5, 10, 20, 40, 60];
// A button helps with these, nothing else does.
const FINAL = ['login_loop', 'login_cookie', 'domain', 'url_not_allowed', 'corp-ticket', 'agent-ticket', 'identity', 'permission', 'old-client'];
// What is shown may not stay after these.
const ENDING = [...FINAL, 'not_found', 'leaving'];

export class Follower {
  /** `fail(failure)` shows it in place of everything. */
  constructor({ client, session, view, words, fail }) {
    this.client = client;
    this.session = session;
    this.view = view;
    this.words = words;
    this.fail = fail;
    this.customer = '';
    // Grows with everything that makes answers under way worthless.
    this.turn = 0;
    this.look = 0;
    this.misses = 0;
    this.failures = 0;
    this.asked = 0;
    this.accepted = 0;
    this.stopped = false;
    this.abort = new AbortController();
    this.timers = {};
  }

  /** Follow the client until `stop`. */
  start() {
    document.addEventListener('visibilitychange', () => this.woken());
    window.addEventListener('focus', () => this.woken());
    this.ask();
  }

  /** Drop everything under way; nothing is shown by this object afterwards. */
  stop() {
    this.stopped = true;
    this.drop();
  }

  woken() {
    if (!document.hidden && !this.stopped) {
      this.ask();
      this.again();
    }
  }

  drop() {
    this.turn += 1;
    this.abort.abort();
    this.abort = new AbortController();
    clearTimeout(this.timers.customer);
    this.customer = '';
  }

  async ask() {
    clearTimeout(this.timers.chat);
    this.look += 1;
    const { look } = this;
    try {
      const customer = await this.client.customer(this.customer ? 1 : undefined);
      if (look === this.look && !this.stopped) {
        this.misses = 0;
        this.switched(customer);
      }
    } catch (failure) {
      if (look === this.look && !this.stopped) {
        this.missed(failure);
      }
    }
    if (look === this.look && !this.stopped) {
      this.timers.chat = setTimeout(() => !document.hidden && this.ask(), CHAT_MILLISECONDS);
    }
  }

  // One question without an answer is forgiven; but a customer must not stay beside somebody else's chat.
  missed(failure) {
    this.misses += 1;
    if (failure.kind === 'bridge-silent' && this.customer && this.misses < MISSES) {
      return;
    }
    this.drop();
    this.end(failure);
  }

  switched(customer) {
    if (customer === this.customer) {
      return;
    }
    this.drop();
    this.customer = customer;
    this.view.wait(this.words.loading);
    this.failures = 0;
    this.load(this.turn, READING_TRIES);
  }

  async load(turn, readings) {
    let answer;
    try {
      answer = await this.request();
    } catch (failure) {
      if (turn !== this.turn) {
        return;
      }
      this.end(failure);
      if (PASSING.includes(failure.kind)) {
        this.loadAfter(this.patience(failure), readings);
      }
      return;
    }
    if (turn !== this.turn) {
      return;
    }
    if (answer.status !== 202) {
      this.arrived(answer);
      this.view.say(this.words.shown, { quiet: true });
    } else if (readings > 0) {
      this.view.wait(this.words.reading);
      this.loadAfter(answer.body.retry_after || 1, readings - 1);
    } else {
      this.end(new Failure('not_synced'));
    }
  }

  loadAfter(seconds, readings) {
    const { turn } = this;
    this.timers.customer = setTimeout(() => turn === this.turn && this.load(turn, readings), 1000 * seconds);
  }

  // Seconds, longer and longer.
  patience(failure) {
    const seconds = RETRY_SECONDS[Math.min(this.failures, RETRY_SECONDS.length - 1)];
    this.failures += 1;
    return Math.max(seconds, failure.retryAfter || 0);
  }

  // An older answer must not overwrite a newer one.
  arrived({ body, number }) {
    if (number < this.accepted) {
      return;
    }
    this.accepted = number;
    this.failures = 0;
    if (!body.customer || body.customer.external_userid !== this.customer) {
      this.end(new Failure('failed'));
      return;
    }
    this.view.show(body, () => this.refresh());
    this.later(CUSTOMER_SECONDS);
  }

  later(seconds) {
    const { turn } = this;
    clearTimeout(this.timers.customer);
    this.timers.customer = setTimeout(() => turn === this.turn && this.again(), 1000 * seconds);
  }

  // Bring what is shown up to date.
  async again() {
    const { turn } = this;
    if (!this.view.drawn || document.hidden) {
      return;
    }
    clearTimeout(this.timers.customer);
    try {
      const answer = await this.request();
      if (turn === this.turn && answer.status !== 202) {
        this.arrived(answer);
      }
    } catch (failure) {
      if (turn !== this.turn) {
        return;
      }
      if (ENDING.includes(failure.kind)) {
        this.end(failure);
        return;
      }
      this.view.outdated();
      this.later(this.patience(failure));
      return;
    }
    if (turn === this.turn) {
      this.later(CUSTOMER_SECONDS);
    }
  }

  async refresh() {
    const { turn } = this;
    this.view.refreshing(true);
    this.view.say('');
    try {
      const answer = await this.request('/refresh', 'POST');
      if (turn === this.turn) {
        if (answer.status !== 202) {
          this.arrived(answer);
        }
        this.view.say(answer.body.refreshed ? this.words.refreshed : this.words.stillReading);
      }
    } catch (failure) {
      if (turn === this.turn) {
        if (ENDING.includes(failure.kind)) {
          this.end(failure);
        } else {
          this.view.say((this.words.failures[failure.kind] || this.words.failures.failed)[0]);
        }
      }
    }
    if (turn === this.turn) {
      this.view.refreshing(false);
    }
  }

  async request(more = '', method = 'GET') {
    this.asked += 1;
    const number = this.asked;
    const path = `customers/${encodeURIComponent(this.customer)}${more}`;
    const answer = await this.session.ask(path, { method, signal: this.abort.signal });
    return { ...answer, number };
  }

  end(failure) {
    if (failure.kind === 'leaving') {
      this.stop();
      return;
    }
    this.fail(failure);
    if (FINAL.includes(failure.kind)) {
      this.stop();
    }
  }
}
