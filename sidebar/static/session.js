// Who is logged in. Every fresh opening of the sidebar logs in again, silently: the client may have changed its
// account, and cookies may have survived that. What tells a reload from a fresh opening is the marker.

import { Failure, within } from './failures.js';

const REQUEST_MILLISECONDS = 15000;
const LEAVING_MILLISECONDS = 10000;
const LOGINS_PER_MINUTE = 3;
const PREFIX = 'wecom-crm:';
const ARRIVED = '#session=';

export class Session {
  /**
   * `base` is the page's own path, `live` the session that the page was served in. `clear` takes everything about
   * anybody out of the document; it is called before anybody else can be logged in. `stuck` is called when the login
   * can't be reached.
   */
  constructor({ base, live, clear, stuck }) {
    this.base = base;
    this.live = live;
    this.clear = clear;
    this.stuck = stuck;
    this.leaving = false;
  }

  /** Resolve this opening to the live session. Leaves for the login and rejects with a Failure if it can't. */
  begin() {
    if (location.hash.startsWith(ARRIVED)) {
      const arrived = decodeURIComponent(location.hash.slice(ARRIVED.length));
      // The client signs for the address, and nobody should pass this one on.
      history.replaceState(null, '', location.pathname + location.search);
      if (!arrived || arrived !== this.live) {
        // Logging in again would bring the same: the cookie does not come back.
        forget(PREFIX + this.base);
        throw new Failure('login_cookie');
      }
      keep(PREFIX + this.base, arrived);
      return;
    }
    if (!this.live || kept(PREFIX + this.base) !== this.live) {
      this.login();
    }
  }

  /** Leave for the login, which comes back here. Always throws a Failure: `leaving`, or that it goes in circles. */
  login({ byHand = false } = {}) {
    this.clear();
    forget(PREFIX + this.base);
    const log = `${PREFIX}${this.base}:logins`;
    const minuteAgo = Date.now() - 60000;
    const lately = byHand ? [] : (kept(log) || '').split(' ').filter((moment) => Number(moment) > minuteAgo);
    if (lately.length >= LOGINS_PER_MINUTE) {
      throw new Failure('login_loop');
    }
    keep(log, [...lately, Date.now()].join(' '));
    if (!this.leaving) {
      this.leaving = true;
      setTimeout(this.stuck, LEAVING_MILLISECONDS);
      location.replace(`${this.base}/login?return=${encodeURIComponent(location.pathname + location.search)}`);
    }
    throw new Failure('leaving');
  }

  /**
   * What the service answers below `api/`: `{status, body}` of a success. Rejects with a Failure; when the session is
   * over or another one, it leaves for the login.
   */
  async ask(path, { method = 'GET', json, signal } = {}) {
    const headers = { Accept: 'application/json', 'X-Sidebar-Session': this.live };
    if (json) {
      headers['Content-Type'] = 'application/json';
    }
    const response = await within(REQUEST_MILLISECONDS, 'network', fetch(`${this.base}/api/${path}`, {
      method,
      headers,
      body: json ? JSON.stringify(json) : undefined,
      cache: 'no-store',
      credentials: 'same-origin',
      redirect: 'error',
      signal,
    })).catch(() => {
      throw new Failure('network');
    });
    // A proxy in between answers in its own words.
    const body = await within(REQUEST_MILLISECONDS, 'network', response.json()).catch(() => null);
    if (body && response.ok) {
      return { status: response.status, body };
    }
    if (body && (response.status === 401 || response.status === 409)) {
      this.login();
    }
    const failure = new Failure((body && body.code) || (response.ok ? 'network' : 'unavailable'), (body && body.errcode) || response.status);
    failure.retryAfter = (body && body.retry_after) || 0;
    throw failure;
  }
}

// A browser may refuse storage. Then nothing is remembered, every opening is a fresh one, and the comparison with the
// live session on the way back from the login keeps it from going in circles.

function kept(key) {
  try {
    return sessionStorage.getItem(key);
  } catch (error) {
    return null;
  }
}

function keep(key, value) {
  try {
    sessionStorage.setItem(key, value);
  } catch (error) {
    // See above.
  }
}

function forget(key) {
  try {
    sessionStorage.removeItem(key);
  } catch (error) {
    // See above.
  }
}
