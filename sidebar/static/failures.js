// Everything that can go wrong, named by what the employee can do about it. The words are in words.js.

/** `kind` is also the code that the employee passes on to the engineer; `detail` is a number of the platform's. */
export class Failure extends Error {
  constructor(kind, detail) {
    super(detail ? `${kind} ${detail}` : kind);
    this.kind = kind;
    this.detail = detail ? String(detail) : '';
  }
}

// In this order: an answer may match several. The SDK removes underscores from answers, and clients of different
// systems word them differently, so only parts are compared (document 90509 and the SDK's own source).
const ANSWERS = [
  ['url domain', () => 'domain'],
  ['invalid signature', signature],
  ['without context', () => 'entry'],
  ['nopermission', () => 'permission'],
  ['permissiondenied', () => 'permission'],
  ['offlineverifying', () => 'permission'],
  ['allowlist', () => 'permission'],
  ['functionnotexist', () => 'old-client'],
  ['functionnotfound', () => 'old-client'],
];

// Document 90313.
const NUMBERS = {
  40093: signature,
  // A ticket of another app, or of the other kind.
  42012: signature,
  // Another corp's corpid; the member who is logged in to the client belongs to another corp.
  40013: () => 'identity',
  92002: () => 'identity',
};

function signature(registration) {
  return registration === 'agentconfig' ? 'agent-ticket' : 'corp-ticket';
}

/** The failure that a rejected answer of the SDK means. What is one already is given back. */
export function failureOf(answer) {
  if (answer instanceof Failure) {
    return answer;
  }
  const said = String((answer && (answer.errMsg || answer.message)) || '');
  const registration = said.split(':', 1)[0].toLowerCase();
  const squeezed = said.toLowerCase().replace(/[\s_]/g, '');
  const found = /[?&]e=(\d+)/.exec(said);
  const number = found ? Number(found[1]) : 0;
  for (const [part, kind] of ANSWERS) {
    if (squeezed.includes(part.replace(' ', ''))) {
      return new Failure(kind(registration), number);
    }
  }
  if (NUMBERS[number]) {
    return new Failure(NUMBERS[number](registration), number);
  }
  if (registration === 'agentconfig') {
    // Without a reason: the app that is open is not the one that was signed for.
    return new Failure('identity', number);
  }
  return new Failure('client', number);
}

/** `work`, or a failure of this kind when it takes longer than so many milliseconds. */
export function within(milliseconds, kind, work) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Failure(kind)), milliseconds);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
