// The chat client's page. `simulatorClient` is what the bridge in the frame goes by (see shim.js), and what a test or a
// curious person may set.

const client = {
  corpid: '', userid: '', customer: '', entry: 'single_chat_tools',
  version: '4.1.36', language: 'zh', scheme: 'Light', mode: 'normal', spelling: 'windows', delay: 0, calls: [],
  openAnew, switchAccount, switchChat,
};
window.simulatorClient = client;

const at = (id) => document.getElementById(id);
let corps = [];
let chats = [];

function make(tag, attributes, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children.filter((child) => child));
  return made;
}

async function ask(path, fields) {
  const response = await fetch(`/simulator/${path}`, fields && {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(fields),
  });
  const answer = await response.json();
  if (!response.ok) {
    throw new Error(answer.error || `HTTP ${response.status}`);
  }
  return answer;
}

function log(text, refused) {
  const moment = new Date().toTimeString().slice(0, 8);
  at('log').prepend(make('li', { className: refused ? 'refused' : '' }, `${moment} ${text}`));
}

async function act(action, fields) {
  try {
    const { changes, pushes, note } = await ask(`corps/${encodeURIComponent(client.corpid)}/${action}`, fields);
    const told = pushes.map((push) => `${push.change} → ${push.outcome}`).join(', ');
    log(`${action}: ${told || note || (changes.length ? 'not pushed' : 'done')}`);
    await loadChats();
    return changes;
  } catch (error) {
    log(`${action}: ${error.message}`, true);
    return [];
  }
}

// Whose client this is. A switch is a fresh opening of the sidebar, as with the real client; `keepStorage` leaves what
// the pages keep in sessionStorage, as some clients do.
async function switchAccount(corpid, userid, { keepStorage = false } = {}) {
  client.corpid = corpid;
  client.userid = userid;
  document.cookie = `wecom_simulator_account=${encodeURIComponent(corpid)}:${encodeURIComponent(userid)};path=/;SameSite=Lax`;
  if (!keepStorage) {
    Object.keys(sessionStorage).filter((key) => key.startsWith('wecom-crm:')).forEach((key) => sessionStorage.removeItem(key));
  }
  at('corp').value = corpid;
  showEmployees();
  at('employee').value = userid;
  client.customer = '';
  // The sidebar of the account before must not look at the chats of this one.
  at('frame').replaceChildren();
  await loadChats();
  const first = chats.find((chat) => chat.stands) || chats[0];
  client.customer = first ? first.external_userid : '';
  showChats();
  openAnew();
}

function switchChat(externalUserid) {
  client.customer = externalUserid;
  showChats();
}

/** A new frame, as when the employee opens the sidebar. */
function openAnew() {
  const agents = corpOf(client.corpid).agents;
  const { agentid } = agents.find((one) => one.customer_data) || agents[0];
  const path = `/sidebar/${encodeURIComponent(client.corpid)}/${agentid}`;
  at('address').textContent = path;
  client.calls.length = 0;
  at('frame').replaceChildren(make('iframe', { src: path, title: 'Sidebar' }));
}

function corpOf(corpid) {
  return corps.find((corp) => corp.corpid === corpid);
}

async function loadChats() {
  const { corpid, userid } = client;
  const query = new URLSearchParams({ corpid, userid });
  const loaded = await ask(`client/chats?${query}`);
  if (corpid === client.corpid && userid === client.userid) {
    chats = loaded.chats;
    showChats();
  }
}

function showEmployees() {
  const { employees, tags } = corpOf(client.corpid);
  at('employee').replaceChildren(...employees.map((one) => make('option', { value: one.userid }, `${one.name} (${one.userid})`)));
  at('tag').replaceChildren(...tags.map((tag) => make('option', { value: tag.tag_id }, tag.name)));
}

function showChats() {
  at('chats').replaceChildren(...chats.map((chat) => {
    const name = chat.remark || chat.name;
    const kind = chat.stands ? (chat.type === 2 ? `@${chat.corp_name || 'WeCom'}` : '@WeChat') : `ended by ${chat.lost_by}`;
    const button = make('button', { type: 'button' },
      make('span', { className: 'face' }, [...name][0] || '?'),
      make('span', { className: 'who' },
        make('span', { className: 'name' }, name),
        make('span', { className: `kind ${chat.stands ? (chat.type === 2 ? 'wecom' : '') : 'ended'}` }, kind)));
    button.setAttribute('aria-current', String(chat.external_userid === client.customer));
    button.addEventListener('click', () => switchChat(chat.external_userid));
    return make('li', {}, button);
  }));
  showChat();
}

let shown = '';
function showChat() {
  const chat = chats.find((one) => one.external_userid === client.customer);
  at('title').textContent = chat ? chat.remark || chat.name : 'No chat is open';
  at('doing').disabled = !chat;
  at('delete').disabled = !chat;
  at('customer-delete').disabled = !chat || !chat.stands;
  at('add-again').disabled = !chat || chat.stands;
  // Whoever is typing must not lose it.
  const key = JSON.stringify([client.corpid, client.userid, chat && [chat.external_userid, chat.remark, chat.description]]);
  if (key !== shown) {
    shown = key;
    at('remark').value = chat ? chat.remark : '';
    at('description').value = chat ? chat.description : '';
    at('conversation').replaceChildren(...(chat ? [
      make('p', { className: 'bubble' }, '您好，请问上次说的报价有了吗？'),
      make('p', { className: 'bubble mine' }, '有的，我看一下您的资料，马上发给您。'),
    ] : []));
  }
}

const pair = () => ({ customer: client.customer, employee: client.userid });

function listen(id, event, work) {
  at(id).addEventListener(event, (happened) => {
    if (event === 'submit') {
      happened.preventDefault();
    }
    work(happened.target);
  });
}

listen('corp', 'change', (choice) => switchAccount(choice.value, corpOf(choice.value).employees[0].userid));
listen('employee', 'change', (choice) => switchAccount(client.corpid, choice.value));
for (const name of ['version', 'language', 'scheme', 'entry', 'mode', 'delay']) {
  listen(name, 'change', (choice) => {
    client[name] = name === 'delay' ? Number(choice.value) : choice.value;
    openAnew();
  });
}
listen('drop', 'change', (box) => ask('faults', { drop: box.checked ? 1 : 0 }).then(() => log(box.checked ? 'pushes are dropped' : 'pushes are made')));
listen('reopen', 'click', openAnew);
listen('new', 'submit', async () => {
  const [added] = await act('add', { employee: client.userid, name: at('new-name').value });
  if (added) {
    at('new-name').value = '';
    switchChat(added.customer);
  }
});
listen('edit', 'submit', () => act('edit', { ...pair(), remark: at('remark').value, description: at('description').value }));
listen('give-tag', 'click', () => act('tag', { ...pair(), tag: at('tag').value }));
listen('take-tag', 'click', () => act('untag', { ...pair(), tag: at('tag').value }));
listen('delete', 'click', () => act('delete', pair()));
listen('customer-delete', 'click', () => act('customer-delete', pair()));
listen('add-again', 'click', () => act('add', pair()));

// Others make changes too. Only the chats are read again; the sidebar looks after itself.
setInterval(() => !document.hidden && client.userid && loadChats().catch(() => {}), 4000);

({ corps } = await ask('client/state'));
at('corp').replaceChildren(...corps.map((corp) => make('option', { value: corp.corpid }, corp.name)));
const asked = new URLSearchParams(location.search);
const begin = corpOf(asked.get('corpid')) || corps[0];
const who = begin.employees.find((one) => one.userid === asked.get('userid')) || begin.employees[0];
for (const name of ['version', 'language', 'scheme', 'entry', 'mode']) {
  if (asked.has(name)) {
    client[name] = asked.get(name);
  }
  at(name).value = client[name];
}
await switchAccount(begin.corpid, who.userid);
