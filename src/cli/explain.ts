import type { Command } from 'commander'
import type { Fetch } from '../delegation/tokens/fetch-json.ts'
import { type AsPersonDeps, personToken } from './as-person.ts'
import { type Explained, explanationLines } from './explain-tree.ts'
import { anyType, bare, repeatable, typed } from './ids.ts'
import { type NotHere, neverHereWords, noneOr } from './listing.ts'
import { createRemitHttp, problemOf } from './remit-http.ts'
import { printable, type Terminal } from './terminal.ts'

/** What the commands that explain decisions work with. */
export interface ExplainCommandDeps extends AsPersonDeps {
  readonly terminal: Terminal
  readonly fetch: Fetch
  readonly publicUrl: string
}

/** As which administrator a question is asked, and how its answer is printed. */
export interface AsWhom {
  readonly as?: string
  readonly token?: string
  readonly url?: string
  readonly json: boolean
}

interface ExplainFlags extends AsWhom {
  readonly agent?: string
  readonly delegation?: string
  readonly grant: string[]
  readonly at?: string
}

interface WhoCanAnswer extends NotHere {
  readonly subjects: readonly { readonly kind: string; readonly user: string; readonly via: string | null }[]
  readonly cursor: string | null
  readonly complete: boolean
}

interface MembershipsAnswer extends NotHere {
  readonly memberships: readonly {
    readonly member: string
    readonly relation: string
    readonly group: string
    readonly counts: 'allowed' | 'denied' | 'error'
    readonly via: string | null
    readonly until: string | null
  }[]
  readonly cursor: string | null
  readonly complete: boolean
}

/** `explain`, `who-can` and `groups`: all ask as a signed-in administrator, never with machine rights. */
export function addExplainCommands(program: Command, dependencies: ExplainCommandDeps): void {
  const { terminal } = dependencies
  asWhom(
    program
      .command('explain <user> <relation> <object>')
      .description('Why a user has a relation to an object, or has not.')
      .option('--agent <agent>', 'the agent that asks for the user', bare('agent'))
      .option('--delegation <id>', 'under which the agent asks', bare('delegation'))
      .option('--grant <id>', 'approval that it presents; repeat for more', repeatable(bare('grant')), [])
      .option('--at <time>', 'clock for conditions, ISO 8601; the tuples are today’s'),
  ).action(async (user: string, relation: string, object: string, flags: ExplainFlags) => {
    const { agent, delegation, grant: grants, at: time } = flags
    const answer = await ask<Explained & Partial<NotHere>>(dependencies, flags, '/explain', {
      user: typed('user')(user),
      relation,
      object: objectOf(relation, object),
      ...(agent !== undefined && { agent }),
      ...(delegation !== undefined && { delegation }),
      ...(grants.length > 0 && { grants }),
      ...(time !== undefined && { at: time }),
    })
    if (flags.json) return terminal.out(JSON.stringify(answer))
    if (time !== undefined) terminal.out(`By the clock of ${answer.at}, on today’s tuples:`)
    for (const line of explanationLines(answer)) terminal.out(printable(line))
    const unknown = neverHereWords({ never_here: [], ...answer })
    if (unknown !== undefined) terminal.say(unknown)
  })

  asWhom(
    program
      .command('who-can <relation> <object>')
      .description('The people who have a relation to an object, and how each gets it.'),
  ).action(async (relation: string, object: string, flags: AsWhom) => {
    let isComplete = true
    let found = 0
    let cursor: string | null = null
    let notHere: NotHere = { never_here: [] }
    do {
      const page: WhoCanAnswer = await ask(dependencies, flags, '/who-can', {
        relation,
        object: objectOf(relation, object),
        ...(cursor !== null && { cursor }),
      })
      for (const subject of page.subjects)
        terminal.out(flags.json ? JSON.stringify(subject) : printable(subjectLine(subject)))
      found += page.subjects.length
      isComplete &&= page.complete
      cursor = page.cursor
      notHere = page
    } while (cursor !== null)
    if (found === 0 && isComplete) terminal.say(noneOr('Nobody.', notHere))
    if (!isComplete) terminal.say('The list may lack people: the replica or OpenFGA could not tell all.')
  })

  asWhom(
    program
      .command('groups <who>')
      .description('The groups that a person is in, and through which; or whom a group holds.'),
  ).action(async (input: string, flags: AsWhom) => {
    const subject = typed('user')(input)
    const query = subject.startsWith('user:') ? { user: subject } : { group: subject }
    let isComplete = true
    let found = 0
    let cursor: string | null = null
    let notHere: NotHere = { never_here: [] }
    do {
      const page: MembershipsAnswer = await ask(dependencies, flags, '/memberships', {
        ...query,
        ...(cursor !== null && { cursor }),
      })
      for (const membership of page.memberships)
        terminal.out(flags.json ? JSON.stringify(membership) : printable(membershipLine(membership, subject)))
      found += page.memberships.length
      isComplete &&= page.complete
      cursor = page.cursor
      notHere = page
    } while (cursor !== null)
    if (found === 0 && isComplete) terminal.say(noneOr('None.', notHere))
    if (!isComplete) terminal.say('The list may lack some: the replica or OpenFGA could not tell all.')
  })
}

const counted = { allowed: '', denied: '  does not count now', error: '  OpenFGA did not say' }

function membershipLine(membership: MembershipsAnswer['memberships'][number], subject: string): string {
  const until = membership.until === null ? '' : `  until ${membership.until}`
  return membership.member === subject
    ? `${membership.group}  ${membership.via ?? membership.relation}${until}${counted[membership.counts]}`
    : `${membership.member}  ${membership.relation}${until}${counted[membership.counts]}`
}

const anyObject = anyType('document:handbook/travel.md', 'folder:plans')

/** Only documents can be read; other relations are of several types. */
const objectOf = (relation: string, object: string): string =>
  (relation.startsWith('can_read') ? typed('document') : anyObject)(object)

export const asWhom = (command: Command): Command =>
  command
    .option(
      '--as <user>',
      'administrator of the demo who asks (lena where nobody is signed in)',
      bare('user'),
    )
    .option('--token <token>', 'access token of an administrator (default: REMIT_TOKEN, or your sign-in)')
    .option('--url <url>', 'address of the service')
    .option('--json', 'prints what the service answers', false)

function subjectLine({ kind, user, via }: WhoCanAnswer['subjects'][number]): string {
  if (kind === 'excluded') return `${user}  not, though everyone else`
  return `${kind === 'everyone' ? 'everyone' : user}  ${via ?? 'OpenFGA says so; the replica does not show how'}`
}

/** Without a body it is a GET. */
async function ask<T>(
  dependencies: ExplainCommandDeps,
  flags: AsWhom,
  path: string,
  body?: object,
): Promise<T> {
  return (await (await sendAs(dependencies, flags, path, body)).json()) as T
}

/** The answer, whatever its form. Throws what a refusal says. */
export async function sendAs(
  dependencies: ExplainCommandDeps,
  flags: AsWhom,
  path: string,
  body?: object,
  accept = 'application/json',
): Promise<Response> {
  const { token, as: user } = flags
  const url = (flags.url ?? dependencies.publicUrl).replace(/\/$/, '')
  const http = createRemitHttp({
    url,
    token: () =>
      personToken({ url, token, user, userByDefault: 'lena', scope: 'security.read' }, dependencies),
    fetch: dependencies.fetch,
  })
  const response = await http.send(path, () => ({
    headers: { accept, ...(body !== undefined && { 'content-type': 'application/json' }) },
    ...(body !== undefined && { method: 'POST', body: JSON.stringify(body) }),
  }))
  if (!response.ok) throw new Error(await problemOf(response))
  return response
}
