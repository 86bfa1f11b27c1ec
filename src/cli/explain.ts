import type { Explained, MembershipPage, Reason, WhoCanPage } from '@remit/contract/explain'
import type { Command } from 'commander'
import { printable } from '../kernel/printable.ts'
import { type AskDeps, askAs } from './as-person.ts'
import { anyType, bare, repeatable, typed } from './ids.ts'
import { type NotHere, neverHereWords, noneOr } from './listing.ts'

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

/** `explain`, `who-can` and `groups`: all ask as a signed-in administrator, never with machine rights. */
export function addExplainCommands(program: Command, dependencies: AskDeps): void {
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
    const question = {
      user: typed('user')(user),
      relation,
      object: objectOf(relation, object),
      agent,
      delegation,
      ...(grants.length > 0 && { grants }),
      at: time,
    }
    const answer = await askAs<Omit<Explained, keyof NotHere> & Partial<NotHere>>(
      dependencies,
      readerOf(flags),
      '/explain',
      {
        body: question,
      },
    )
    if (flags.json) return terminal.out(JSON.stringify(answer))
    if (answer.closed !== undefined) terminal.out(printable(answer.closed))
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
    await printPages(dependencies, flags, {
      path: '/who-can',
      question: { relation, object: objectOf(relation, object) },
      rowsOf: ({ subjects }: WhoCanPage) => subjects,
      lineOf: subjectLine,
      whenEmpty: 'Nobody.',
      whyEmpty: ({ limited_by }: WhoCanPage) => limited_by,
      lacking: 'people',
    })
  })

  asWhom(
    program
      .command('groups <who>')
      .description('The groups that a person is in, and through which; or whom a group holds.'),
  ).action(async (input: string, flags: AsWhom) => {
    const subject = typed('user')(input)
    await printPages(dependencies, flags, {
      path: '/memberships',
      question: subject.startsWith('user:') ? { user: subject } : { group: subject },
      rowsOf: ({ memberships }: MembershipPage) => memberships,
      lineOf: (membership) => membershipLine(membership, subject),
      whenEmpty: 'None.',
      lacking: 'some',
    })
  })
}

interface Paged<Page, Row> {
  readonly path: string
  readonly question: object
  readonly rowsOf: (page: Page) => readonly Row[]
  readonly lineOf: (row: Row) => string
  readonly whenEmpty: string
  /** Why a page is empty, where it says. */
  readonly whyEmpty?: (page: Page) => string | null
  /** What is missing from a list that is not complete. */
  readonly lacking: string
}

/** Prints every page of a list, a line for each of its rows. */
async function printPages<Page extends NotHere & Pick<WhoCanPage, 'cursor' | 'complete'>, Row>(
  dependencies: AskDeps,
  flags: AsWhom,
  { path, question, rowsOf, lineOf, whenEmpty, whyEmpty, lacking }: Paged<Page, Row>,
): Promise<void> {
  const { terminal } = dependencies
  let isComplete = true
  let found = 0
  let page: Page | undefined
  do {
    const body = { ...question, cursor: page?.cursor ?? undefined }
    page = await askAs<Page>(dependencies, readerOf(flags), path, { body })
    const rows = rowsOf(page)
    for (const row of rows) terminal.out(flags.json ? JSON.stringify(row) : printable(lineOf(row)))
    found += rows.length
    isComplete &&= page.complete
  } while (page.cursor !== null)
  if (found === 0 && isComplete) terminal.say(printable(whyEmpty?.(page) ?? noneOr(whenEmpty, page)))
  if (!isComplete) terminal.say(`The list may lack ${lacking}: the replica or OpenFGA could not tell all.`)
}

const counted = { allowed: '', denied: '  does not count now', error: '  OpenFGA did not say' }

function membershipLine(membership: MembershipPage['memberships'][number], subject: string): string {
  const until = membership.until === null ? '' : `  until ${membership.until}`
  return membership.member === subject
    ? `${membership.group}  ${membership.via ?? membership.relation}${until}${counted[membership.counts]}`
    : `${membership.member}  ${membership.relation}${until}${counted[membership.counts]}`
}

const anyObject = anyType('document:handbook/travel.md', 'folder:plans')

/** Only documents can be read; other relations are of several types. */
const objectOf = (relation: string, object: string): string =>
  (relation.startsWith('can_read') ? typed('document') : anyObject)(object)

export const asWhom = (command: Command, byDefault = 'lena where nobody is signed in'): Command =>
  command
    .option('--as <user>', `administrator of the demo who asks (${byDefault})`, bare('user'))
    .option('--token <token>', 'access token of an administrator (default: REMIT_TOKEN, or your sign-in)')
    .option('--url <url>', 'address of the service')
    .option('--json', 'prints what the service answers', false)

function subjectLine({ kind, user, via }: WhoCanPage['subjects'][number]): string {
  if (kind === 'excluded') return `${user}  not, though everyone else`
  return `${kind === 'everyone' ? 'everyone' : user}  ${via ?? 'OpenFGA says so; the replica does not show how'}`
}

/** As whom {@link askAs} asks by these flags. */
export const readerOf = ({ as: user, token, url }: AsWhom) => ({
  user,
  token,
  url,
  userByDefault: 'lena',
  scope: 'security.read',
})

const marks: Readonly<Record<string, string>> = { yes: '+', no: '-', cycle: '?', error: '!' }

/**
 * The answer as lines: the decision, what to know about it, and the tree. `+` holds, `-` does not, `?` and
 * `!` cannot be decided.
 */
export function explanationLines({
  in_words,
  registry,
  agrees,
  replica,
  reason,
  cut,
}: Pick<Explained, 'in_words' | 'registry' | 'agrees' | 'replica' | 'reason' | 'cut'>): readonly string[] {
  return [
    in_words,
    ...(registry === undefined ? [] : [registry.in_words]),
    ...(agrees === false
      ? ['The replica says otherwise than OpenFGA: do not take the tree for the reason.']
      : []),
    ...(replica.state === 'ready' ? [] : [`The replica is not up to date (${replica.state}).`]),
    ...(reason === null ? ['No tree: the replica cannot be used now.'] : ['', ...treeLines(reason)]),
    ...(cut > 0 ? ['', `${cut} more branches are not shown.`] : []),
  ]
}

function treeLines(reason: Reason): string[] {
  const below = reason.because.flatMap((inner, index) => {
    const isLast = index === reason.because.length - 1
    return treeLines(inner).map(
      (line, row) => `${row > 0 ? (isLast ? '   ' : '|  ') : isLast ? '`- ' : '|- '}${line}`,
    )
  })
  return [`${marks[reason.holds] ?? '?'} ${reasonText(reason)}`, ...below]
}

function reasonText(reason: Reason): string {
  const { kind, relation = '', object = '', rule = '', users = [], count = 0, holds } = reason
  switch (kind) {
    case 'tuple':
      return tupleText(reason)
    case 'not':
      return holds === 'yes' ? `not excluded by: ${rule}` : `excluded by: ${rule}`
    case 'rule':
      return rule
    case 'missing':
      return users.length === 0
        ? `${relation} of ${object}: the model knows no way to it`
        : `no tuple: ${users.join(' or ')} ${relation} ${object}`
    case 'self':
      return 'it is the subject itself'
    case 'cycle':
      return `${relation} of ${object}: goes round in a circle`
    case 'depth':
      return `${relation} of ${object}: too deep, not looked at`
    case 'seen':
      return `${relation} of ${object}: as shown elsewhere`
    case 'cut':
      return `${count} more`
    default:
      return `${relation} of ${object}`
  }
}

function tupleText({ tuple, source, written_at: written, condition }: Reason): string {
  const about = [
    source === 'request' ? 'comes with the request' : written && `written ${written}`,
    condition?.until && `${condition.holds === 'yes' ? 'until' : 'ended'} ${condition.until}`,
    condition?.error,
  ].filter((segment) => segment !== undefined && segment !== '')
  const text = `${tuple?.user} ${tuple?.relation} ${tuple?.object}`
  return about.length === 0 ? text : `${text} (${about.join(', ')})`
}
