// The document. What it shows about somebody is in one element, and `clear` empties that before anything else.

import { customerOf } from './customer.js';
import { element, fill } from './elements.js';

const SAYING_MILLISECONDS = 4000;

export class View {
  constructor(document, words, tongue) {
    this.document = document;
    this.words = words;
    this.tongue = tongue;
    this.main = document.getElementById('main');
    this.status = document.getElementById('status');
    this.drawn = '';
    this.synced = null;
    document.title = words.title;
    setInterval(() => this.tellAge(), 1000);
  }

  /** Nothing about any customer is in the document after this. */
  clear() {
    this.drawn = '';
    this.synced = null;
    fill(this.main);
    fill(this.status);
  }

  /** Say what is being waited for, in place of everything. */
  wait(text) {
    this.clear();
    this.main.setAttribute('aria-busy', 'true');
    fill(this.main, element('div', { class: 'wait', role: 'status' },
      element('i', { class: 'weui-loading', 'aria-hidden': 'true' }),
      element('p', {}, text)));
  }

  /** Say what is wrong, in place of everything. `action` is the words of a button and what it does. */
  fail(failure, action) {
    const code = [failure.kind, failure.detail].filter(Boolean).join(' ');
    const standing = this.main.firstElementChild;
    if (!this.drawn && standing && standing.dataset.code === code) {
      return;
    }
    this.clear();
    this.main.removeAttribute('aria-busy');
    const [title, text] = this.words.failures[failure.kind] || this.words.failures.failed;
    const button = action && element('button', { type: 'button', class: 'weui-btn weui-btn_primary' }, action.text);
    fill(this.main, element('div', { class: 'weui-msg failure', role: 'alert', 'data-failure': failure.kind, 'data-code': code },
      element('div', { class: 'weui-msg__icon-area' }, element('i', { class: 'weui-icon-warn weui-icon_msg-primary', 'aria-hidden': 'true' })),
      element('div', { class: 'weui-msg__text-area' },
        element('h1', { class: 'weui-msg__title' }, title),
        element('p', { class: 'weui-msg__desc' }, text)),
      element('div', { class: 'weui-msg__opr-area' }, element('p', { class: 'weui-btn-area' }, button)),
      element('p', { class: 'code' }, this.words.code, element('code', {}, code))));
    if (button) {
      button.addEventListener('click', action.run);
    }
  }

  /** Show a customer; `refresh` is what the button does. Only what changed is drawn anew. */
  show(answer, refresh) {
    const { synced, refreshed, ...rest } = answer;
    const content = JSON.stringify(rest);
    if (!this.drawn) {
      this.frame(refresh);
    }
    if (content !== this.drawn) {
      fill(this.article, customerOf(answer, this.words, this.tongue));
      this.drawn = content;
    }
    this.synced = { age: synced && synced.age_seconds, since: performance.now(), stale: false };
    this.tellAge();
  }

  /** What is shown could not be brought up to date. */
  outdated() {
    if (this.synced) {
      this.synced.stale = true;
      this.tellAge();
    }
  }

  /** The button waits for its answer. */
  refreshing(busy) {
    if (this.drawn) {
      this.button.disabled = busy;
      fill(this.button, busy ? this.words.refreshing : this.words.refresh);
    }
  }

  /** Tell it to those who hear the page, and unless it is `quiet` to those who see it. */
  say(text, { quiet = false } = {}) {
    clearTimeout(this.saying);
    this.status.classList.toggle('quiet', quiet);
    fill(this.status, text);
    this.saying = setTimeout(() => fill(this.status), SAYING_MILLISECONDS);
  }

  frame(refresh) {
    this.clear();
    this.main.removeAttribute('aria-busy');
    this.article = element('article', {});
    this.age = element('span', { class: 'age' });
    this.button = element('button', { type: 'button', class: 'weui-btn weui-btn_mini weui-btn_default' }, this.words.refresh);
    this.button.addEventListener('click', refresh);
    fill(this.main, element('div', { class: 'bar' }, this.age, this.button), this.article);
  }

  tellAge() {
    if (!this.synced) {
      return;
    }
    const { age, since, stale } = this.synced;
    const told = typeof age === 'number' ? this.words.synced(this.span(age + (performance.now() - since) / 1000)) : this.words.unknown;
    const text = stale ? `${told} · ${this.words.stale}` : told;
    if (this.age.textContent !== text) {
      this.age.textContent = text;
    }
  }

  span(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    if (whole < 60) {
      return this.words.seconds(whole);
    }
    if (whole < 3600) {
      return this.words.minutes(Math.floor(whole / 60));
    }
    return whole < 86400 ? this.words.hours(Math.floor(whole / 3600)) : this.words.days(Math.floor(whole / 86400));
  }
}
