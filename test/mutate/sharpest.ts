/** Which tests judge a file, and whether they use a database. */
export interface Judges {
  readonly tests: readonly string[]
  readonly isStored?: true
}

const gate = [
  ...['test/authz/gate.test.ts', 'test/authz/gate/verdict-cache.test.ts', 'test/authz/gate/waves.test.ts'],
  ...[
    'test/authz/gate/named.test.ts',
    'test/authz/gate/publications.test.ts',
    'test/authz/gate/parts.test.ts',
    'test/authz/gate/telling.test.ts',
    'test/authz/gate/granted.test.ts',
  ],
]

/** The quick tests that know most of a file, where its importers are none, too few or too slow. */
export const sharpest: Readonly<Record<string, Judges>> = {
  'src/authz/gate.ts': { tests: gate },
  'src/authz/gate/decompose-check.ts': {
    tests: ['test/authz/gate/decompose-check.test.ts', 'test/authz/gate/parts.test.ts'],
  },
  'src/authz/gate/granted.ts': { tests: gate },
  'src/authz/gate/limiter.ts': { tests: ['test/authz/gate/limiter.test.ts'] },
  'src/authz/gate/named.ts': { tests: ['test/authz/gate/named.test.ts', 'test/authz/gate.test.ts'] },
  'src/authz/gate/precheck.ts': { tests: gate },
  'src/authz/model/changes.ts': { tests: ['test/authz/model-yeses.test.ts'], isStored: true },
  'src/authz/model/deploy.ts': { tests: ['test/authz/model-starts.test.ts'], isStored: true },
  'src/authz/write-order.ts': { tests: ['test/authz/write-order.test.ts'] },
  'src/authz/gate/verdict-cache.ts': { tests: ['test/authz/gate/held-yeses.test.ts'] },
  'src/delegation/approvals/approvals.ts': {
    tests: ['test/delegation/approvals/approvals.test.ts'],
    isStored: true,
  },
  'src/delegation/approvals/blocks.ts': {
    tests: ['test/delegation/approvals/blocks.test.ts'],
    isStored: true,
  },
  'src/delegation/approvals/changes.ts': {
    tests: ['test/delegation/approvals/changes.test.ts'],
    isStored: true,
  },
  'src/delegation/approvals/decide.ts': {
    tests: ['test/delegation/approvals/decide.test.ts'],
    isStored: true,
  },
  'src/delegation/approvals/grants.ts': {
    tests: ['test/delegation/approvals/grants.test.ts'],
    isStored: true,
  },
  'src/delegation/approvals/terms.ts': { tests: ['test/delegation/approvals/terms.test.ts'] },
  'src/delegation/lending/approval-grant.ts': {
    tests: ['test/delegation/approval-grant.test.ts'],
    isStored: true,
  },
  'src/delegation/oauth/exchange-rules.ts': { tests: ['test/delegation/exchange-rules.test.ts'] },
  'src/delegation/oauth/exchange.ts': { tests: ['test/delegation/exchange.test.ts'], isStored: true },
  'src/delegation/revocation/clock-comparison.ts': { tests: ['test/delegation/clock-comparison.test.ts'] },
  'src/delegation/revocation/revocation-feed.ts': {
    tests: ['test/delegation/revocation-feed-steps.test.ts'],
    isStored: true,
  },
  'src/delegation/tokens/verify.ts': {
    tests: ['test/delegation/verify.test.ts', 'test/delegation/judging.test.ts'],
    isStored: true,
  },
  'src/delegation/vault/path.ts': { tests: ['test/delegation/vault/path.test.ts'] },
  'src/delegation/vault/patterns.ts': { tests: ['test/delegation/vault/patterns.test.ts'] },
  'src/retrieval/approvals.ts': { tests: ['test/retrieval/presenting.test.ts'], isStored: true },
  'src/retrieval/turns.ts': { tests: ['test/retrieval/turns-steps.test.ts'] },
  'src/store/lease.ts': { tests: ['test/store/lease.test.ts'], isStored: true },
}
