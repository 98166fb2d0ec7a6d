// What the real client puts into a page before the page's own scripts: a user agent and window.WeixinJSBridge, which
// checks what the real one checks. Only the simulator serves this, and only its reverse proxy puts it into a page.
//
// It goes by an object `simulatorClient` of the window around the frame (the client page) or of the page's own window
// (a test). Without one it does nothing, as in an ordinary browser. What the object may hold, read at each call:
//   corpid, userid            whose client it is
//   customer                  external_userid of the chat that is open, or ''
//   entry                     where the page was opened (document 94315)
//   version                   of the client: '4.1.36', or '3.0.16', which needs both signatures
//   language, scheme          'zh' or 'en'; 'Light' or 'Dark': part of the user agent
//   mode                      one of MODES
//   spelling                  'windows' or 'mac': they word errors differently
//   delay                     milliseconds before each answer
//   calls                     filled with {name, params, answer}; answer is null while there is none
(() => {
  const MODES = [
    'normal',
    'corp-ticket', 'agent-ticket', // the signature was made with another ticket
    'domain', // the page's address is not on the trusted domain
    'permission', // the app may not use customer contact
    'silent', 'silent-customer', // no answer to anything; none to the question for the customer
    'late', 'late-silently', // the bridge comes after two seconds; without its event
    'bridge-missing', 'browser',
  ];
  const LATE_MILLISECONDS = 2000;
  const QUERY = 'more info at https://open.work.weixin.qq.com/devtool/query?e=';
  const OLD = { since: [3, 0, 24], without: ['getContext'] };
  const CONTEXTS = {
    getCurExternalContact: ['external contact', ['single_chat_tools', 'contact_profile', 'single_kf_tools', 'chat_attachment']],
    getCurExternalChat: ['external chat', ['group_chat_tools']],
  };

  let client = window.simulatorClient;
  try {
    client = (window.parent !== window && window.parent.simulatorClient) || client;
  } catch (error) {
    // A window of another origin around the page has none of ours.
  }
  if (!client) {
    return;
  }
  client.calls = client.calls || [];
  const mode = client.mode || 'normal';
  if (!MODES.includes(mode)) {
    throw new Error(`simulatorClient.mode is one of ${MODES.join(', ')}`);
  }
  if (mode === 'browser') {
    return;
  }

  const version = client.version || '4.1.36';
  const isOld = older(version, OLD.since);
  const agent = `Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/107.0.5304.110 Safari/537.36`
    + ` Language/${client.language || 'zh'} wxwork/${version} (MicroMessenger/6.2) WindowsWechat ColorScheme/${client.scheme || 'Light'}`;
  Object.defineProperty(Navigator.prototype, 'userAgent', { configurable: true, get: () => agent });
  if (mode === 'bridge-missing') {
    return;
  }

  // What the client lets this page do; a signature is good for the address that it was made for.
  const granted = { config: null, agent: null };
  const address = () => location.href.split('#')[0];
  const holds = (kind) => granted[kind] && granted[kind].url === address();

  const registrations = {
    async preVerifyJSAPI(params) {
      const refused = await verified('config', params.appId, null, {
        timestamp: params.verifyTimestamp, nonceStr: params.verifyNonceStr, signature: params.verifySignature,
      });
      if (!refused) {
        granted.config = { url: address(), list: params.verifyJsApiList };
      }
      return refused;
    },
    async agentConfig(params) {
      if (isOld && !holds('config')) {
        return 'fail_the permission value is offline verifying';
      }
      if (params.corpid !== client.corpid) {
        return `fail_corp not match ${QUERY}92002`;
      }
      const refused = await verified('agent', params.corpid, params.agentid, params);
      if (!refused) {
        granted.agent = { url: address(), list: params.jsApiList };
      }
      return refused;
    },
  };
  const functions = {
    getContext: () => ({ entry: client.entry || 'single_chat_tools' }),
    getCurExternalContact: () => ({ userId: client.customer }),
    getCurExternalChat: () => ({ chatId: client.chat }),
  };

  async function verified(kind, corpid, agentid, { timestamp, nonceStr, signature }) {
    const response = await fetch('/simulator/client/verify', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({
        kind, corpid, agentid, timestamp, nonceStr, signature,
        url: address(),
        domain: mode !== 'domain',
        ticket: mode !== `${kind === 'config' ? 'corp' : 'agent'}-ticket`,
      }),
    });
    const { refused, errcode } = await response.json();
    return refused && `fail_${refused} ${QUERY}${errcode}`;
  }

  function refusal(name) {
    if (!(name in functions) || (isOld && OLD.without.includes(name))) {
      return 'function_not_exist';
    }
    const list = holds('agent') ? granted.agent.list : [];
    if (mode === 'permission' || !list.includes(name) || (isOld && !holds('config'))) {
      return client.spelling === 'mac' ? 'fail_nopermission' : 'fail_no permission';
    }
    const [context, entries] = CONTEXTS[name] || [];
    const here = client.entry || 'single_chat_tools';
    if (context && (!entries.includes(here) || (name === 'getCurExternalContact' && !client.customer))) {
      return `${client.spelling === 'mac' ? 'fail_fail_' : 'fail_'}without context of ${context}`;
    }
    return '';
  }

  async function answer(name, params) {
    if (name in registrations) {
      const refused = await registrations[name](params);
      return { err_msg: `${name}:${refused || 'ok'}` };
    }
    const refused = refusal(name);
    return refused ? { err_msg: `${name}:${refused}` } : { err_msg: `${name}:ok`, ...functions[name]() };
  }

  function invoke(name, params, done) {
    // The SDK passes the caller's functions through.
    const plain = JSON.parse(JSON.stringify(params || {}));
    const call = { name, params: plain, answer: null };
    client.calls.push(call);
    const silent = mode === 'silent' || (mode === 'silent-customer' && name === 'getCurExternalContact');
    if (silent) {
      return;
    }
    // The client knows at once and tells later.
    const told = answer(name, plain);
    const delay = client.delay || 0;
    setTimeout(() => told.then((result) => {
      call.answer = result;
      done({ ...result });
    }), delay);
  }

  function appear() {
    window.WeixinJSBridge = { invoke, on() {} };
  }

  function older(version, than) {
    const parts = version.split('.').map(Number);
    const at = parts.findIndex((part, place) => part !== than[place]);
    return at >= 0 && parts[at] < than[at];
  }

  if (mode === 'late' || mode === 'late-silently') {
    setTimeout(() => {
      appear();
      if (mode === 'late') {
        document.dispatchEvent(new Event('WeixinJSBridgeReady'));
      }
    }, LATE_MILLISECONDS);
  } else {
    appear();
  }
})();
