// The WeCom client, through the official SDK. The SDK waits for ever for a client that does not answer, so every
// call has a limit here.

import { Failure, failureOf, within } from './failures.js';

const BRIDGE_MILLISECONDS = 6000;
const LOADING_MILLISECONDS = 15000;
const REGISTERING_MILLISECONDS = 12000;
const ANSWER_MILLISECONDS = 3000;
const TRIES = 3;

const APIS = ['getContext', 'getCurExternalContact'];
// Where the client knows one customer (document 94315). Old clients do not tell the entry.
const ENTRIES = ['single_chat_tools', 'contact_profile', 'single_kf_tools', 'chain_single_chat_tools', 'chat_attachment'];
const GROUPS = ['group_chat_tools', 'chain_group_chat_tools', 'internal_group_chat_board'];
const REGISTRATION = /^(agentConfig|preVerifyJSAPI|config):/i;
const TICKET_FAILURES = { 'corp-ticket': 'config', 'agent-ticket': 'agent' };

/** Whether the page was opened in WeCom, by the same mark that the SDK goes by. */
export function insideWeCom() {
  return /wxwork\/[\d.]+/i.test(navigator.userAgent);
}

// A failed registration leaves a rejected promise inside the SDK that nobody can wait for.
window.addEventListener('unhandledrejection', (event) => {
  const { reason } = event;
  if (reason instanceof Failure || (reason && REGISTRATION.test(reason.errMsg || ''))) {
    event.preventDefault();
  }
});

export class Client {
  /** `sign(kind, url, rejected)` gives the service's signature; `rejected` names a ticket that the client refused. */
  constructor({ corpid, agentid, sign }) {
    this.corpid = corpid;
    this.agentid = agentid;
    this.sign = sign;
    this.sdk = null;
    this.tickets = {};
    this.rejected = {};
    this.refusal = null;
  }

  /** Register this page with the client. Rejects with a Failure. */
  async open() {
    await bridge();
    // Not before: the SDK looks for the bridge once, when it is loaded, and misses one that comes without its event.
    this.sdk = await within(LOADING_MILLISECONDS, 'network', import('./vendor/wecom.prod.js')).catch(() => {
      throw new Failure('network');
    });
    const signer = (kind) => async (url) => {
      const answer = await this.sign(kind, url, this.rejected[kind]);
      if (answer.ticket === this.rejected[kind]) {
        throw this.refusal;
      }
      this.tickets[kind] = answer.ticket;
      return answer;
    };
    this.sdk.register({
      corpId: this.corpid,
      agentId: this.agentid,
      jsApiList: APIS,
      getConfigSignature: signer('config'),
      getAgentConfigSignature: signer('agent'),
    });
    const register = () => this.call(REGISTERING_MILLISECONDS, () => this.sdk.ensureConfigReady());
    try {
      await register();
    } catch (failure) {
      const kind = TICKET_FAILURES[failure.kind];
      if (!kind || !this.tickets[kind]) {
        throw failure;
      }
      // The ticket may have died early; the service gets another one if it can.
      this.rejected[kind] = this.tickets[kind];
      this.refusal = failure;
      await register();
    }
  }

  /** Rejects with a Failure unless the page was opened where there is one customer. */
  async checkEntry() {
    let entry;
    try {
      ({ entry } = await this.patiently(() => this.sdk.getContext()));
    } catch (failure) {
      if (failure.kind === 'old-client') {
        // Before 3.0.24. The question for the customer tells as well.
        return;
      }
      throw failure;
    }
    if (!ENTRIES.includes(entry)) {
      throw new Failure(GROUPS.includes(entry) ? 'group-chat' : 'entry');
    }
  }

  /** The external_userid of the customer whose chat is open. Rejects with a Failure. */
  async customer(tries = TRIES) {
    const { userId } = await this.patiently(() => this.sdk.getCurExternalContact(), tries);
    if (!userId) {
      throw new Failure('client');
    }
    return userId;
  }

  // A client on Windows sometimes does not answer one question, and answers the next.
  async patiently(ask, tries = TRIES) {
    for (let left = tries; ; left -= 1) {
      try {
        return await this.call(ANSWER_MILLISECONDS, ask);
      } catch (failure) {
        if (failure.kind !== 'bridge-silent' || left <= 1) {
          throw failure;
        }
      }
    }
  }

  async call(milliseconds, ask) {
    try {
      return await within(milliseconds, 'bridge-silent', ask());
    } catch (answer) {
      throw failureOf(answer);
    }
  }
}

/** The client puts its bridge into the page before it loads or soon after. */
function bridge() {
  return new Promise((resolve, reject) => {
    const since = Date.now();
    const look = () => {
      if (window.WeixinJSBridge) {
        resolve();
      } else if (Date.now() - since > BRIDGE_MILLISECONDS) {
        reject(new Failure('bridge-missing'));
      } else {
        setTimeout(look, 50);
      }
    };
    look();
  });
}
