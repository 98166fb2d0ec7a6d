// The page beside the chat, from its opening to the first customer.

import { Client, insideWeCom } from './client.js';
import { Failure } from './failures.js';
import { Follower } from './follow.js';
import { Session } from './session.js';
import { View } from './view.js';
import { language, wordsIn } from './words.js';

const { corpid, agentid, base, session: live } = document.documentElement.dataset;
const tongue = language(document.documentElement.lang);
const words = wordsIn(tongue);

document.documentElement.lang = tongue;
const scheme = /\bColorScheme\/(Dark|Light)\b/i.exec(navigator.userAgent);
if (scheme) {
  // The client's own setting, which may differ from the system's.
  document.body.dataset.weuiTheme = scheme[1].toLowerCase();
}

const view = new View(document, words, tongue);
const session = new Session({
  base,
  live,
  clear: () => view.clear(),
  stuck: () => fail(new Failure('network')),
});
let follower = null;

const RELOAD = { text: words.retry, run: () => location.reload() };
const LOGIN = { text: words.loginAgain, run: () => attempt(() => session.login({ byHand: true })) };
const ACTIONS = { browser: null, 'group-chat': RELOAD, login_loop: LOGIN, login_cookie: LOGIN, identity: LOGIN };

function fail(failure) {
  if (failure.kind === 'leaving') {
    view.wait(words.loggingIn);
    return;
  }
  view.fail(failure, failure.kind in ACTIONS ? ACTIONS[failure.kind] : RELOAD);
}

function attempt(work) {
  try {
    work();
  } catch (error) {
    fail(error instanceof Failure ? error : new Failure('failed'));
  }
}

async function open() {
  if (!insideWeCom()) {
    throw new Failure('browser');
  }
  session.begin();
  view.wait(words.connecting);
  const client = new Client({
    corpid,
    agentid,
    sign: (kind, url, rejected) => session.ask('signature', { method: 'POST', json: { kind, url, rejected } }).then(({ body }) => body),
  });
  await client.open();
  await client.checkEntry();
  follower = new Follower({ client, session, view, words, fail });
  follower.start();
}

// A page that comes back from the browser's memory is as old as it left; nothing of it may be seen.
window.addEventListener('pagehide', () => {
  if (follower) {
    follower.stop();
  }
  view.clear();
});
window.addEventListener('pageshow', (event) => {
  if (event.persisted) {
    location.reload();
  }
});

open().catch((error) => fail(error instanceof Failure ? error : new Failure('failed')));
