// One customer as elements.

import { element } from './elements.js';

/** The elements of an answer of `api/customers/…`. */
export function customerOf(answer, words, tongue) {
  const days = new Intl.DateTimeFormat(tongue, { year: 'numeric', month: 'short', day: 'numeric' });
  const minutes = new Intl.DateTimeFormat(tongue, {
    year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hour12: false,
  });
  const at = (format, moment) => (moment ? element('time', { datetime: moment }, format.format(new Date(moment))) : words.unknown);
  return [
    head(answer.customer, words),
    ...notices(answer.relation, words, (moment) => (moment ? days.format(new Date(moment)) : words.unknown)),
    section(words.notes, notes(answer.relation, words)),
    section(words.tags, tags(answer.tags, words)),
    section(words.source, source(answer, words, (moment) => at(minutes, moment))),
    section(words.colleagues, colleagues(answer.colleagues, words, days)),
    section(words.events, events(answer.events, words, (moment) => at(minutes, moment))),
  ];
}

function head(customer, words) {
  const name = customer.name || words.unnamed;
  const works = [customer.corp_full_name || customer.corp_name, customer.position].filter(Boolean).join(' · ');
  const kind = { 1: ['wechat', words.wechat], 2: ['wecom', words.wecom] }[customer.type];
  return element('header', { class: 'head' },
    avatar(customer.avatar, name),
    element('div', { class: 'head-text' },
      element('h1', {},
        element('span', { class: 'name' }, name),
        kind && element('span', { class: `kind ${kind[0]}` }, kind[1]),
        words.genders[customer.gender] && element('span', { class: 'gender' }, words.genders[customer.gender])),
      works && element('p', { class: 'works' }, works)));
}

function avatar(address, name) {
  // By characters and not by halves of them: names begin with emoji.
  const initial = element('span', { class: 'avatar initial', 'aria-hidden': 'true' }, [...name][0]);
  if (!address) {
    return initial;
  }
  const picture = element('img', {
    class: 'avatar', src: address, alt: '', width: '52', height: '52', referrerpolicy: 'no-referrer', decoding: 'async',
  });
  picture.addEventListener('error', () => picture.replaceWith(initial));
  return picture;
}

function notices(relation, words, day) {
  if (relation.status === 'ended_by_customer') {
    return [element('p', { class: 'notice ended' }, words.ended(day(relation.lost_at)))];
  }
  return relation.unseen_since ? [element('p', { class: 'notice' }, words.unseen)] : [];
}

function notes(relation, words) {
  const phones = (relation.remark_mobiles || []).map((mobile) => element('span', { class: 'line' }, mobile));
  return facts([
    [words.remark, relation.remark],
    [words.description, relation.description],
    [words.remarkCorp, relation.remark_corp_name],
    [words.mobiles, phones.length ? phones : null],
  ]) || nothing(words.noNotes);
}

function tags(groups, words) {
  if (!groups.length) {
    return nothing(words.noTags);
  }
  return element('dl', { class: 'groups' }, groups.map((group) => element('div', { class: 'group' },
    element('dt', {}, group.group || words.noGroup),
    element('dd', {}, group.tags.map((tag) => element('span', { class: `tag ${tag.type_key}` },
      tag.name,
      words.tagKinds[tag.type_key] && element('span', { class: 'tag-kind' }, words.tagKinds[tag.type_key])))))));
}

function source({ customer, relation }, words, moment) {
  const starters = { [customer.external_userid]: words.byCustomer, admin: words.byAdmin };
  return facts([
    [words.addedAt, moment(relation.added_at)],
    [words.addedHow, way(relation, words)],
    [words.addedBy, starters[relation.added_by] || relation.added_by],
    [words.channel, relation.state],
  ]);
}

function way(relation, words) {
  return words.addWays[relation.add_way_key] || (relation.add_way === null ? words.unknown : words.other(relation.add_way));
}

function colleagues(others, words, days) {
  if (!others.length) {
    return nothing(words.noColleagues);
  }
  return element('ul', { class: 'rows' }, others.map((other) => element('li', {},
    element('span', {}, other.name || other.userid),
    other.added_at && element('span', { class: 'aside' }, words.since(days.format(new Date(other.added_at)))))));
}

function events(happened, words, moment) {
  if (!happened.length) {
    return nothing(words.noEvents);
  }
  return element('ol', { class: 'rows events' }, happened.map((event) => element('li', {},
    element('span', {}, words.changes[event.change] || event.change),
    element('span', { class: 'aside' }, moment(event.at)))));
}

function section(title, content) {
  return element('section', { class: 'weui-cells' }, element('h2', {}, title), content);
}

function facts(rows) {
  const known = rows.filter(([, value]) => value);
  return known.length > 0 && element('dl', { class: 'facts' }, known.map(([name, value]) => element('div', {},
    element('dt', {}, name),
    element('dd', {}, value))));
}

function nothing(text) {
  return element('p', { class: 'nothing' }, text);
}
