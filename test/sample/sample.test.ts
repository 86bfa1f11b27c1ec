import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadSample, type Sample, type WireDocument } from '../../src/sample/load.ts'

const folder = new URL('../../sample', import.meta.url).pathname
const now = new Date('2026-11-24T09:00:00.250Z')
const sample = await loadSample(folder, now)
const documents = new Map(sample.documents.map((document) => [document.id, document]))

describe('what is there', () => {
  test('about sixty documents worth reading, in eight collections, for twelve people', () => {
    expect(sample.documents.length).toBeGreaterThanOrEqual(60)
    expect(sample.documents.length).toBeLessThanOrEqual(66)
    expect(new Set(sample.documents.map(({ collection }) => collection)).size).toBe(8)
    expect(sample.people).toHaveLength(12)
    expect(new Set(sample.documents.map(({ title }) => title)).size).toBe(sample.documents.length)
    for (const { id, text } of sample.documents) {
      const words = text.split(/\s+/).length
      expect(words, id).toBeGreaterThanOrEqual(150)
      expect(words, id).toBeLessThanOrEqual(700)
    }
  })

  test('every document that a text points to exists', () => {
    const collections = sample.collections.map(({ id }) => id).join('|')
    const pointers = sample.documents.flatMap(({ id, text }) =>
      [...text.matchAll(new RegExp(`\`((?:${collections})/[a-z0-9/.-]+\\.md)\``, 'g'))].map((m) => ({
        id,
        to: m[1],
      })),
    )
    expect(pointers.length).toBeGreaterThan(10)
    expect(pointers.filter(({ to }) => !documents.has(to ?? ''))).toEqual([])
  })

  test('nothing is open to everybody: user:* only marks what is sensitive', () => {
    const stars = allTuples(sample).filter(({ user }) => user === 'user:*')
    expect(new Set(stars.map(({ relation }) => relation))).toEqual(new Set(['sensitive']))
    expect(JSON.stringify(sample.documents.map(({ access }) => access))).not.toContain('user:*')
  })

  test('periods become moments counted from the seeding, without fractions', () => {
    const [grant] = document('engineering/products/d4/recall-2026-03/root-cause.md').access.viewers
    expect(grant).toEqual({ user: 'user:jon', expires_at: '2026-12-08T09:00:00Z' })
    expect(lending('user:anne').expiresAt.toISOString()).toBe('2027-02-22T09:00:00.000Z')
  })
})

describe('who can read what', () => {
  test('anne reads more than twenty, bob reads others, and the question is answered for both', () => {
    const anne = readable('user:anne')
    const bob = readable('user:bob')
    expect(anne.length).toBeGreaterThan(20)
    expect(bob.length).toBeGreaterThan(20)
    expect(anne.filter((id) => !bob.includes(id)).length).toBeGreaterThan(10)
    expect(bob.filter((id) => !anne.includes(id))).toContain('support/inbox/ticket-4398.md')

    const cause = 'engineering/products/d4/recall-2026-03/root-cause.md'
    const cost = 'finance/recall/recall-cost-2026.md'
    const script = 'support/playbooks/recall/d4-recall-script.md'
    expect(lent('user:anne')).toEqual(expect.arrayContaining([cause, cost, script]))
    expect(lent('user:bob')).toContain(script)
    expect(lent('user:bob')).not.toContain(cause)
    expect(lent('user:bob')).not.toContain(cost)
  })

  test('each answer to the question holds all of its words in one document, for keyword search', () => {
    for (const id of ['finance/recall/recall-cost-2026.md', 'support/playbooks/recall/d4-recall-script.md']) {
      expect(document(id).text, id).toMatch(/went wrong/i)
      for (const word of ['March', 'pump', 'recall', 'cost']) expect(document(id).text, id).toContain(word)
    }
  })

  test('carol lends everything and reads nothing, herself or through her agent', () => {
    expect(lending('user:carol').scope).toEqual(['organization:wrenfield'])
    expect(readable('user:carol')).toEqual([])
    expect(lent('user:carol')).toEqual([])
  })

  test('a person is blocked whose group could read, and a group whose members could', () => {
    const audit = document('engineering/products/d4/recall-2026-03/evidence/kestel-audit.md')
    expect(viewersOf(audit, now)).toContain('user:hugo')
    expect(canRead('user:hugo', audit, now)).toBe(false)
    expect(canRead('user:emil', audit, now)).toBe(true)

    const tender = document('customers/tenders/skellin-county.md')
    for (const user of ['user:bob', 'user:dan']) {
      expect(viewersOf(tender, now)).toContain(user)
      expect(canRead(user, tender, now)).toBe(false)
    }
    expect(canRead('user:anne', tender, now)).toBe(true)
  })

  test('jon reads the root cause for fourteen days and not a second longer', () => {
    const cause = document('engineering/products/d4/recall-2026-03/root-cause.md')
    expect(canRead('user:jon', cause, new Date('2026-12-08T08:59:59Z'))).toBe(true)
    expect(canRead('user:jon', cause, new Date('2026-12-08T09:00:00Z'))).toBe(false)
  })

  test('no agent gets a sensitive document, although its lender reads it', () => {
    const sensitive = sample.documents.filter(isSensitive).map(({ id }) => id)
    expect(sensitive).toEqual([
      'board/minutes/2026-03-19.md',
      'board/minutes/2026-06-18.md',
      'board/minutes/2026-09-24.md',
      'board/risk-register.md',
      'engineering/security/wr-sec-2026-02.md',
      'legal/settlements/kestel-polymers.md',
      'people/pay/bands-2026.md',
      'people/pay/review-round-2026.md',
    ])
    expect(readable('user:anne')).toContain('board/minutes/2026-03-19.md')
    expect(readable('user:ida')).toContain('people/pay/bands-2026.md')
    for (const { subject } of sample.delegations) {
      expect(
        lent(subject).filter((id) => sensitive.includes(id)),
        subject,
      ).toEqual([])
    }
  })

  test('what a person reads but has not lent stays out of reach of the agent', () => {
    const manual = 'engineering/products/d4/service-manual.md'
    expect(readable('user:bob')).toContain(manual)
    expect(lent('user:bob')).not.toContain(manual)
    expect(lent('user:dan').every((id) => id.startsWith('support/playbooks/'))).toBe(true)
    expect(lent('user:dan').length).toBeGreaterThan(3)
  })

  test('the net cost stands in sensitive papers only', () => {
    const telling = sample.documents.filter(({ text }) => text.includes('137,600'))
    expect(telling.length).toBeGreaterThan(0)
    expect(telling.every(isSensitive)).toBe(true)
  })

  test('the text that gives orders to agents is read by those who lend the inbox', () => {
    expect(document('support/inbox/ticket-4471.md').text).toContain('Ignore all previous instructions')
    expect(lent('user:bob')).toContain('support/inbox/ticket-4471.md')
  })

  test("the reader's guide counts as we count", async () => {
    const guide = await readFile(join(folder, 'README.md'), 'utf8')
    for (const { key } of sample.people) {
      const [, own, agents] = new RegExp(`\\| \`${key}\` \\|.*\\| (\\d+) \\| (\\d+|–) \\|`).exec(guide) ?? []
      const hasLent = sample.delegations.some(({ subject }) => subject === `user:${key}`)
      expect([own, agents], key).toEqual([
        String(readable(`user:${key}`).length),
        hasLent ? String(lent(`user:${key}`).length) : '–',
      ])
    }
  })
})

describe('a broken sample', () => {
  let copy: string
  beforeAll(async () => {
    copy = await mkdtemp(join(tmpdir(), 'sample-'))
  })
  afterAll(() => rm(copy, { recursive: true }))

  const letter = 'documents/customers/recall/letter-2026-03-12.md'
  const cases = [
    ['an unknown key', 'company.yaml', 'question:', 'answer: none\nquestion:', /answer/],
    [
      'a group that is not there',
      'company.yaml',
      "['group:eng#member']",
      "['group:engg#member']",
      /group:engg does not exist/,
    ],
    ['a person who is not there', letter, 'owner: user:jon', 'owner: user:john', /user:john does not exist/],
    [
      'a folder that is not there',
      letter,
      'folder:customers/recall',
      'folder:customers/none',
      /folder:customers\/none/,
    ],
    [
      'a folder of another collection',
      letter,
      'folder:customers/recall',
      'folder:finance/recall',
      /another collection/,
    ],
    [
      'a group that contains itself',
      'company.yaml',
      "['user:anne']",
      "['group:eng#member']",
      /group:eng contains itself/,
    ],
    ['a viewer that is everybody', 'company.yaml', "['group:eng#member']", "['user:*']", /viewers/],
    ['a period in months', 'company.yaml', 'expires_in: P14D', 'expires_in: P1M', /period/],
    [
      'an id that is not its path',
      letter,
      'id: customers/recall/letter',
      'id: customers/letter',
      /its id is/,
    ],
    ['an undeclared metadata field', letter, 'status: final', 'state: final', /metadata\.state/],
    ['a document without front matter', letter, '---\n', '', /front matter/],
    ['a group outside the prefixes', 'company.yaml', '      - quality\n', '', /quality: no service/],
  ] as const

  test.each(cases)('is refused for %s, saying where', async (_, file, from, to, message) => {
    await cp(folder, copy, { recursive: true })
    const text = await readFile(join(copy, file), 'utf8')
    expect(text).toContain(from)
    await writeFile(join(copy, file), text.replace(from, to))
    await expect(loadSample(copy, now)).rejects.toThrow(message)
  })
})

// A dumb reading of the rules, by sets of names, that shares nothing with what it judges.

function document(id: string): WireDocument {
  const found = documents.get(id)
  if (found === undefined) throw new Error(`no document ${id}`)
  return found
}

function lending(subject: string) {
  const found = sample.delegations.find((delegation) => delegation.subject === subject)
  if (found === undefined) throw new Error(`${subject} has lent nothing`)
  return found
}

function allTuples({ tuples }: Sample) {
  return [...tuples.directory, ...tuples.collections, ...tuples.folders]
}

function usersOf(relation: string, object: string, at: Date): string[] {
  return allTuples(sample)
    .filter((tuple) => tuple.relation === relation && tuple.object === object)
    .filter(({ condition }) => condition === undefined || at < new Date(condition.context.expires_at))
    .map(({ user }) => user)
}

/** `group:x#member` → its people, however deep. */
function peopleOf(subject: string, at: Date): string[] {
  const [object, relation] = subject.split('#')
  if (object === undefined || relation === undefined) return [subject]
  const admins = object.startsWith('organization:') ? usersOf('admin', object, at) : []
  return [...admins, ...usersOf('member', object, at).flatMap((user) => peopleOf(user, at))]
}

/** A folder or collection with everything above it. */
function chain(object: string): string[] {
  return [object, ...usersOf('parent', object, now).flatMap(chain)]
}

function viewersOf({ access }: WireDocument, at: Date): string[] {
  const own = access.viewers.flatMap((viewer) => {
    if (typeof viewer === 'string') return [viewer]
    return at < new Date(viewer.expires_at) ? [viewer.user] : []
  })
  const inherited = access.parents.flatMap(chain).flatMap((object) => usersOf('viewer', object, at))
  return [access.owner, ...own, ...inherited].flatMap((subject) => peopleOf(subject, at))
}

function canRead(user: string, document: WireDocument, at: Date): boolean {
  const blocked = document.access.blocked.flatMap((subject) => peopleOf(subject, at))
  return viewersOf(document, at).includes(user) && !blocked.includes(user)
}

function isSensitive({ access, collection }: WireDocument): boolean {
  const above = [...access.parents.flatMap(chain), `collection:${collection}`]
  return access.sensitive || above.some((object) => usersOf('sensitive', object, now).length > 0)
}

function readable(user: string): string[] {
  return sample.documents.filter((document) => canRead(user, document, now)).map(({ id }) => id)
}

/** What the agent of this person's delegation gets. */
function lent(user: string): string[] {
  const { scope } = lending(user)
  return sample.documents
    .filter((document) => canRead(user, document, now) && !isSensitive(document))
    .filter(({ id, access, collection }) => {
      const places = [`document:${id}`, ...access.parents.flatMap(chain), `collection:${collection}`]
      const organizations = places.flatMap((place) => usersOf('organization', place, now))
      return [...places, ...organizations].some((place) => scope.some((object) => object === place))
    })
    .map(({ id }) => id)
}
